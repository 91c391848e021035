// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The sequences that walign.count_write() counts in.
#pragma once

#include "fence.hpp"

namespace walign::cutover {

std::string make_counters(const FenceId& id);
std::string drop_counters(const FenceId& id);

}  // namespace walign::cutover
