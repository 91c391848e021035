// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A status, as status --json has it, for people.
#pragma once

#include "command.hpp"

namespace walign::cli {

// `remark`: below everything else; may be empty. `columns`: of the terminal; 0: as wide as it comes. Where the tables
// do not fit, each has its figures below its name.
std::string status_text(const Json& status, const std::string& remark, std::size_t columns = 0);
// The most of it on one line.
std::string status_line(const Json& status, const std::string& remark);

}  // namespace walign::cli
