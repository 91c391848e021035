// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A change of sides in words: what is said before it is begun, its steps, and what came of it.
#pragma once

#include "command.hpp"
#include "walign/cutover.hpp"

namespace walign::cli {

// What is asked for, as it is typed: cutover, rollback --rehearse.
std::string typed_as(const cutover::Request& request);

// What will happen, before it is asked whether it may.
std::string announcement(const cutover::Request& request, const config::Config& config);

// A line for a step that has ended; one above them all.
std::string step_head();
std::string step_line(const cutover::Progress& step);

// The gates that are shut, from a report or a status, each with what opens it, and who keeps them shut. Indented, empty
// where all hold.
std::string shut_gates(const Json& document);

// What came of it and what to do next. `option`: Context::config_option().
std::string outcome_text(const cutover::Request& request, const cutover::Result& result,
                         const std::string& option);
// The report as it was kept; where there is none, what is known.
std::string report_text(const cutover::Result& result);

// 84.2 ms, 3.4 s
std::string ms_text(double ms);

}  // namespace walign::cli
