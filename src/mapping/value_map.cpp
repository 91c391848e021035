// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "value_map.hpp"

namespace walign::mapping {

namespace {

using config::ColumnRule;
using pg::quote_ident;
using pg::quote_literal;

std::string as_text(const std::string& column) { return cat(src(column), "::pg_catalog.text"); }

std::string literal(const std::optional<std::string>& value) {
  return value ? quote_literal(*value) : std::string("NULL");
}

std::string shown(const std::optional<std::string>& value) { return value ? *value : std::string("NULL"); }

// Types of pg_catalog whose values = does not compare, or not whole (circle: by area).
bool compares_by_text(const pg::TypeName& type) {
  static const std::set<std::string> kOthers = {"json", "xml",  "point",  "box",    "lseg",
                                                "path", "line", "circle", "polygon"};
  return type.schema != "pg_catalog" || kOthers.contains(type.name);
}

bool maps_null(const ColumnRule& rule) {
  return std::any_of(rule.values.begin(), rule.values.end(), [](const auto& pair) { return !pair.from; });
}

}  // namespace

std::string src(const std::string& column) { return cat("src.", quote_ident(column)); }

std::string value_map_sql(const ColumnRule& rule, const pg::Column& target, const std::string& otherwise) {
  const std::string input = as_text(rule.source);
  std::string null_case = "NULL";
  std::string cases;
  for (const auto& pair : rule.values) {
    if (!pair.from) {
      null_case = literal(pair.to);
    } else {
      cases += cat(" WHEN ", input, " = ", quote_literal(*pair.from), " THEN ", literal(pair.to));
    }
  }
  return cat("(CASE WHEN ", src(rule.source), " IS NULL THEN ", null_case, cases, " ELSE ",
             rule.has_else ? literal(rule.value) : otherwise, " END)::", target.base_type.sql());
}

std::string unmapped_value_sql(const std::string& route, const std::string& column,
                               const std::string& value) {
  return cat("walign.unmapped_value(", quote_literal(route), ", ", quote_literal(column), ", ", value,
             "::pg_catalog.text)");
}

std::string why_not_one_to_one(const ColumnRule& rule, const pg::Column& source) {
  if (rule.has_else) return "its value map has an else:, and what that stood for cannot be told";
  std::map<std::optional<std::string>, std::optional<std::string>> seen;
  if (!maps_null(rule) && !source.not_null) seen.emplace(std::nullopt, std::nullopt);
  for (const auto& pair : rule.values) {
    const auto [first, fresh] = seen.emplace(pair.to, pair.from);
    if (fresh) continue;
    return cat("its value map makes ", shown(pair.to), " of both ", shown(first->second), " and ",
               shown(pair.from));
  }
  return "";
}

std::string inverse_map_sql(const ColumnRule& rule, const std::string& route, const pg::Column& source,
                            const pg::Column& target, bool known) {
  const bool by_text = !known || compares_by_text(target.base_type);
  const std::string unmapped = unmapped_value_sql(route, source.name, src(target.name));
  std::string null_case = maps_null(rule) ? unmapped : "NULL";
  std::string cases;
  for (const auto& pair : rule.values) {
    if (!pair.to) {
      null_case = literal(pair.from);
    } else {
      const std::string is =
          by_text ? cat(as_text(target.name), " = ", quote_literal(*pair.to))
                  : cat(src(target.name), " = ", quote_literal(*pair.to), "::", target.base_type.sql());
      cases += cat(" WHEN ", is, " THEN ", literal(pair.from));
    }
  }
  return cat("(CASE WHEN ", src(target.name), " IS NULL THEN ", null_case, cases, " ELSE ", unmapped,
             " END)::", source.base_type.sql());
}

}  // namespace walign::mapping
