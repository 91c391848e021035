// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The pieces that statements are made of: rows of text arrays, keys and their match, counts that must be hit.
#pragma once

#include "walign/mapping.hpp"

namespace walign::mapping {

std::string target_sql(const Route& route);
std::uint64_t fnv1a(std::string_view text, std::uint64_t hash = 0xcbf29ce484222325ULL);
std::string hex(std::uint64_t value);
// With its name, which its text decides.
Statement named(Statement statement);
std::string wrong_count(const Route& route, std::string_view doing);
std::string expect(std::string_view count, std::string_view wanted, std::string_view label);
std::string count_param(const Statement& s);

const TargetColumn& column(const Route& route, int index);
std::vector<int> all_columns(const Route& route);
bool is_key(const Route& route, int c);
// The union of the inputs of some columns and of more, ascending; never empty, so that unnest has an argument.
std::vector<int> inputs_of(const Route& route, const std::vector<int>& columns, const std::vector<int>& more);

// (SELECT u.c0::"pg_catalog"."int4" AS "id", ... FROM unnest($1::text[], ...) AS u(c0, ...))
std::string rows_of(const Route& route, const std::vector<int>& inputs, std::size_t first_param,
                    bool weights);
// The same, numbered from 1 in the order of the arrays; with the weights that parameter `weights` holds, if any.
std::string numbered_rows(const Route& route, const std::vector<int>& inputs, std::size_t first_param,
                          std::size_t weights);

// The expression of each of some target columns as e0, e1, ... (index into Route::columns).
std::string select_columns(const Route& route, const std::vector<int>& columns);
// The key's expressions, typed as the target's columns, as k0, k1, ...
std::string select_key(const Route& route);
std::string match_key(const Route& route, std::string_view from);
std::string column_names(const Route& route, const std::vector<int>& columns);
std::string column_values(const std::vector<int>& columns, std::string_view from);

// Throws Error(conflict): a value that did not change was not sent.
[[noreturn]] void missing_value(const Route& route, std::string_view what, int input);
// The columns that an UPDATE sets: computable ones, without the key unless it may have changed. Throws as above
// where one needs an unchanged value and a changed one.
std::vector<int> updated_columns(const Route& route, const ColumnSet& unchanged, bool with_key);
void check_filter_inputs(const Route& route, const ColumnSet& unchanged);
bool sets_identity_always(const Route& route, const std::vector<int>& set);

}  // namespace walign::mapping
