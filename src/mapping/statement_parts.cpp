// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "statement_parts.hpp"

#include <cstdio>

namespace walign::mapping {

using pg::qualified;
using pg::quote_ident;
using pg::quote_literal;

std::string target_sql(const Route& route) { return qualified(route.target.schema, route.target.name); }

std::uint64_t fnv1a(std::string_view text, std::uint64_t hash) {
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  return hash;
}

std::string hex(std::uint64_t value) {
  char buffer[20];
  std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(value));
  return buffer;
}

Statement named(Statement statement) {
  statement.name = cat("walign_", hex(fnv1a(statement.sql)));
  return statement;
}

std::string wrong_count(const Route& route, std::string_view doing) {
  return quote_literal(cat(doing, " ", route.target.to_string()));
}

std::vector<int> inputs_of(const Route& route, const std::vector<int>& columns,
                           const std::vector<int>& more) {
  std::set<int> all(more.begin(), more.end());
  for (const int c : columns) {
    const auto& inputs = route.columns[static_cast<std::size_t>(c)].inputs;
    all.insert(inputs.begin(), inputs.end());
  }
  if (all.empty()) all.insert(0);
  return {all.begin(), all.end()};
}

const TargetColumn& column(const Route& route, int index) {
  return route.columns[static_cast<std::size_t>(index)];
}

std::string rows_of(const Route& route, const std::vector<int>& inputs, std::size_t first_param,
                    bool weights) {
  std::string select;
  std::string arrays;
  std::string names;
  std::size_t param = first_param;
  for (const int input : inputs) {
    const auto& source = route.source_columns[static_cast<std::size_t>(input)];
    const std::string_view comma = arrays.empty() ? "" : ", ";
    select += cat(comma, "u.c", input, "::", source.type_sql, " AS ", quote_ident(source.name));
    arrays += cat(comma, "$", param++, "::pg_catalog.text[]");
    names += cat(comma, "c", input);
  }
  if (weights) {
    select += ", u.w::pg_catalog.int8 AS \"walign.w\"";
    arrays += cat(", $", param, "::pg_catalog.text[]");
    names += ", w";
  }
  return cat("(SELECT ", select, " FROM unnest(", arrays, ") AS u(", names, "))");
}

std::string numbered_rows(const Route& route, const std::vector<int>& inputs, std::size_t first_param,
                          std::size_t weights) {
  std::string select;
  std::string arrays;
  std::string names;
  std::size_t param = first_param;
  for (const int input : inputs) {
    const auto& source = route.source_columns[static_cast<std::size_t>(input)];
    select += cat("u.c", input, "::", source.type_sql, " AS ", quote_ident(source.name), ", ");
    arrays += cat(arrays.empty() ? "" : ", ", "$", param++, "::pg_catalog.text[]");
    names += cat("c", input, ", ");
  }
  if (weights != 0) {
    select += "u.w::pg_catalog.int8 AS \"walign.w\", ";
    arrays += cat(", $", weights, "::pg_catalog.text[]");
    names += "w, ";
  }
  return cat("(SELECT ", select, "u.n AS \"walign.n\" FROM unnest(", arrays, ") WITH ORDINALITY AS u(", names,
             "n))");
}

std::string count_param(const Statement& s) {
  return cat("$", s.inputs.size() + s.old_inputs.size() + (s.counts_weights ? 1 : 0) + 1,
             "::pg_catalog.int8");
}

std::string expect(std::string_view count, std::string_view wanted, std::string_view label) {
  return cat("walign.expect(", count, ", ", wanted, ", ", label, ")");
}

std::string select_columns(const Route& route, const std::vector<int>& columns) {
  std::string out;
  for (const int c : columns) out += cat(out.empty() ? "" : ", ", column(route, c).expression, " AS e", c);
  return out;
}

std::string select_key(const Route& route) {
  std::string out;
  for (const int c : route.key) {
    out += cat(out.empty() ? "" : ", ", "(", column(route, c).expression,
               ")::", column(route, c).base_type_sql, " AS k", c);
  }
  return out;
}

std::string match_key(const Route& route, std::string_view from) {
  std::string out;
  for (const int c : route.key) {
    out += cat(out.empty() ? "" : " AND ", "t.", quote_ident(column(route, c).name), " ",
               column(route, c).equals, " ", from, ".k", c);
  }
  return out;
}

std::string column_names(const Route& route, const std::vector<int>& columns) {
  std::string out;
  for (const int c : columns) out += cat(out.empty() ? "" : ", ", quote_ident(column(route, c).name));
  return out;
}

std::string column_values(const std::vector<int>& columns, std::string_view from) {
  std::string out;
  for (const int c : columns) out += cat(out.empty() ? "" : ", ", from, ".e", c);
  return out;
}

std::vector<int> all_columns(const Route& route) {
  std::vector<int> all;
  for (std::size_t c = 0; c < route.columns.size(); ++c) all.push_back(static_cast<int>(c));
  return all;
}

bool is_key(const Route& route, int c) {
  return std::find(route.key.begin(), route.key.end(), c) != route.key.end();
}

[[noreturn]] void missing_value(const Route& route, std::string_view what, int input) {
  const auto& source = route.source_columns[static_cast<std::size_t>(input)];
  throw Error(
      ErrorKind::conflict,
      cat(route.label(), ": ", what, " needs the value of ", source.name,
          ", which did not change and was not sent (TOAST)"),
      cat("ALTER TABLE ", qualified(route.source.schema, route.source.name),
          " REPLICA IDENTITY FULL, so that old rows carry it; changes already in the WAL can be set aside "
          "with on_conflict: dead_letter"));
}

namespace {

// Whether a column can be computed; throws where it needs an unchanged value and a changed one.
bool computable(const Route& route, const TargetColumn& c, const ColumnSet& unchanged) {
  const auto is_unchanged = [&](int input) { return unchanged[static_cast<std::size_t>(input)]; };
  const auto first = std::find_if(c.inputs.begin(), c.inputs.end(), is_unchanged);
  if (first == c.inputs.end()) return true;
  if (!std::all_of(c.inputs.begin(), c.inputs.end(), is_unchanged)) {
    missing_value(route, cat("the expression of column ", c.name), *first);
  }
  return false;
}

}  // namespace

std::vector<int> updated_columns(const Route& route, const ColumnSet& unchanged, bool with_key) {
  std::vector<int> set;
  for (const int c : all_columns(route)) {
    if (computable(route, column(route, c), unchanged) && (with_key || !is_key(route, c))) set.push_back(c);
  }
  return set;
}

void check_filter_inputs(const Route& route, const ColumnSet& unchanged) {
  for (const int input : route.filter_inputs) {
    if (unchanged[static_cast<std::size_t>(input)]) missing_value(route, "the filter (where)", input);
  }
}

bool sets_identity_always(const Route& route, const std::vector<int>& set) {
  return std::any_of(set.begin(), set.end(), [&](int c) { return column(route, c).identity_always; });
}

}  // namespace walign::mapping
