// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A status, as status --json has it, for people.
#pragma once

#include "command.hpp"

namespace walign::cli {

// `remark`: below everything else; may be empty.
std::string status_text(const Json& status, const std::string& remark);

}  // namespace walign::cli
