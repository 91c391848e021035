// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A dead letter as text and as JSON: the change that could not be applied, column by column.
#pragma once

#include "command.hpp"
#include "walign/apply.hpp"

namespace walign::cli {

std::string dead_letters_table(const std::vector<apply::DeadLetter>& letters);
std::string dead_letter_text(const apply::DeadLetter& letter, const std::string& config_option);
// With the event: all that there is to know.
Json dead_letter_json(const apply::DeadLetter& letter, bool with_event);

}  // namespace walign::cli
