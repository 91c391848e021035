// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "target_row.hpp"

namespace walign::backfill {

using mapping::Route;

namespace {

const mapping::SourceColumn& input(const Route& route, int index) {
  return route.source_columns[static_cast<std::size_t>(index)];
}

// A row of parameters with the source's names and types, to be called src.
class SourceRow {
 public:
  void add(const mapping::SourceColumn& column) {
    items_ += cat(items_.empty() ? "" : ", ", "($", ++count_, "::pg_catalog.text)::", column.type_sql, " AS ",
                  pg::quote_ident(column.name));
  }
  [[nodiscard]] std::string sql() const { return cat("(SELECT ", items_, ")"); }

 private:
  std::string items_;
  int count_ = 0;
};

// The target's key, computed over src; its columns have names that no other has, so that a target_where beside it
// means the target's.
std::string keys_of(const Route& route, const SourceRow& row) {
  std::string out;
  for (const int c : route.key) {
    const auto& column = route.columns[static_cast<std::size_t>(c)];
    out += cat(out.empty() ? "" : ", ", "(", column.expression, ")::", column.base_type_sql, " AS \"walign.k",
               c, "\"");
  }
  return cat("(SELECT ", out, " FROM ", row.sql(), " AS src)");
}

std::string match_key(const Route& route) {
  std::string out;
  for (const int c : route.key) {
    const auto& column = route.columns[static_cast<std::size_t>(c)];
    out += cat(out.empty() ? "" : " AND ", "t.", pg::quote_ident(column.name), " ", column.equals,
               " m.\"walign.k", c, "\"");
  }
  return out;
}

}  // namespace

bool finds_row(const Route& route, const std::vector<KeyColumn>& key) {
  if (key.empty() || route.key.empty()) return false;
  return std::all_of(route.key_inputs.begin(), route.key_inputs.end(), [&](int index) {
    return std::any_of(key.begin(), key.end(),
                       [&](const KeyColumn& column) { return column.name == input(route, index).name; });
  });
}

Sql delete_row(const Route& route, const std::vector<KeyColumn>& columns, const Key& key) {
  WALIGN_CHECK(columns.size() == key.size() && finds_row(route, columns));
  SourceRow row;
  for (const auto& column : columns) {
    const auto found = std::find_if(route.source_columns.begin(), route.source_columns.end(),
                                    [&](const auto& c) { return c.name == column.name; });
    WALIGN_CHECK(found != route.source_columns.end());
    row.add(*found);
  }
  return {cat("DELETE FROM ", pg::qualified(route.target.schema, route.target.name), " AS t USING ",
              keys_of(route, row), " AS m WHERE ", match_key(route),
              route.target_where ? cat(" AND (", *route.target_where, ")") : std::string()),
          key};
}

std::string enters_filter_sql(const Route& route, bool only_absent) {
  SourceRow row;
  std::set<int> added;
  for (const auto* inputs : {&route.filter_inputs, &route.key_inputs}) {
    for (const int index : *inputs) {
      if (added.insert(index).second) row.add(input(route, index));
    }
  }
  const std::string absent =
      cat(" AND NOT EXISTS (SELECT FROM ", pg::qualified(route.target.schema, route.target.name), " AS t, ",
          keys_of(route, row), " AS m WHERE ", match_key(route), ")");
  return cat("SELECT (", *route.filter, ") IS TRUE", only_absent ? absent : std::string(), " FROM ",
             row.sql(), " AS src");
}

}  // namespace walign::backfill
