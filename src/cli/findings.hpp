// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What prepare() found, as preflight prints it and as others refuse to go on with it.
#pragma once

#include "command.hpp"
#include "walign/stream.hpp"

namespace walign::cli {

// A row per finding, its remedy indented under it.
std::string findings_text(const mapping::Findings& findings);
Json findings_json(const mapping::Findings& findings);

// Throws Error(precondition) with the checks that failed.
[[noreturn]] void refuse(const mapping::Findings& failed);
// prepare(), where every check must hold; Error(precondition) with the failed ones.
stream::Prepared prepare_or_refuse(const config::Config& config, const Interrupt& interrupt);

}  // namespace walign::cli
