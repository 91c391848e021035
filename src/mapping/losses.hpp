// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a mapping loses without a word, and what it means only at the moment in which it is read.
#pragma once

#include "tables.hpp"

namespace walign::mapping {

// Warnings of columns whose assignment rounds or cuts: PostgreSQL does so without an error.
void warn_of_losses(const Route& route, const pg::Table& source, const pg::Table& target, Findings& findings);

// Dates and times such as 'now' and 'today' in a rule's SQL, which PostgreSQL replaces by what they are when a
// statement is prepared: refused where they are cast to a type of dates and times, warned of where they stand alone.
void check_moments(const config::TableRule& rule, const std::string& label, Findings& findings);

// The literal, if there is one, and whether it is a date or time for certain. For tests.
struct Moment {
  std::string literal;
  bool certain = false;
};
std::optional<Moment> find_moment(std::string_view sql);

}  // namespace walign::mapping
