// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A value map as SQL, there and back.
#pragma once

#include "walign/mapping.hpp"

namespace walign::mapping {

// A column of the row that a statement reads, which is called src there.
std::string src(const std::string& column);

// The target's value, over src; `otherwise` is the SQL for a value that the map does not have.
std::string value_map_sql(const config::ColumnRule& rule, const pg::Column& target,
                          const std::string& otherwise);
// Raises kUnmappedValue. `value` is SQL.
std::string unmapped_value_sql(const std::string& route, const std::string& column, const std::string& value);

// Why the map has no inverse; empty if it has one.
std::string why_not_one_to_one(const config::ColumnRule& rule, const pg::Column& source);
// The source's value, over src, which has the target's column. `known`: its type exists on the source.
std::string inverse_map_sql(const config::ColumnRule& rule, const std::string& route,
                            const pg::Column& source, const pg::Column& target, bool known);

}  // namespace walign::mapping
