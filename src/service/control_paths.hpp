// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The paths of the control socket, for both its ends.
#pragma once

#include <string_view>

namespace walign::service {

inline constexpr std::string_view kDeadLetters = "/v1/dead-letters/";
inline constexpr std::string_view kVerify = "/v1/verify";
inline constexpr std::string_view kCutover = "/v1/cutover";
inline constexpr std::string_view kCancelCutover = "/v1/cutover/cancel";

}  // namespace walign::service
