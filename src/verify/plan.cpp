// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "plan.hpp"

namespace walign::verify {

namespace {

using mapping::Route;
using pg::quote_ident;

bool is_one_of(const std::string& name, std::initializer_list<std::string_view> all) {
  return std::find(all.begin(), all.end(), name) != all.end();
}

// Types whose equal values have equal texts, and that sort in the same way everywhere.
bool sorts_everywhere(const pg::TypeName& type) {
  return type.schema == "pg_catalog" &&
         is_one_of(type.name, {"int2", "int4", "int8", "oid", "uuid", "bool", "bytea", "date", "time",
                               "timestamp", "timestamptz"});
}
bool is_text(const pg::TypeName& type) {
  return type.schema == "pg_catalog" && is_one_of(type.name, {"text", "varchar", "name"});
}

// A value of one, assigned to the other, has the same text.
bool same_text(const pg::Column& from, const pg::Column& to) {
  if (from.base_type == to.base_type && from.declared == to.declared) return true;
  const auto both = [&](auto&& is) { return is(from.base_type) && is(to.base_type); };
  const auto integer = [](const pg::TypeName& t) {
    return t.schema == "pg_catalog" && is_one_of(t.name, {"int2", "int4", "int8"});
  };
  const auto varying = [](const pg::TypeName& t) {
    return t.schema == "pg_catalog" && is_one_of(t.name, {"text", "varchar"});
  };
  return both(integer) || both(varying);
}

class Planning {
 public:
  Planning(const stream::Prepared& prepared, const Route& route, const SortsByBytes& on_source,
           const SortsByBytes& on_target)
      : prepared_(prepared),
        route_(route),
        source_(prepared.source_catalog.at({route.source.schema, route.source.name})),
        target_(prepared.target_catalog.at({route.target.schema, route.target.name})),
        on_source_(on_source),
        on_target_(on_target) {}

  Plan plan(const config::Backfill& limits) {
    plan_.route = &route_;
    plan_.rows_per_chunk = mapping::rows_per_chunk(limits, source_);
    plan_.rows_estimated = std::max(0.0, source_.estimated_rows);
    plan_.tells_extras = route_.sole_writer || route_.target_where.has_value();
    for (const auto& c : route_.columns) plan_.target_columns.push_back(quote_ident(c.name));
    find_key();
    find_lookups();
    if (route_.key.empty()) {
      plan_.way = Way::content;
      plan_.key.clear();
      plan_.notes.push_back(plan_.tells_extras
                                ? "it has no key: compared by the number of rows and the sum of their hashes"
                                : "it has no key and several sources: it cannot be compared");
    } else {
      plan_.way = by_hashes() ? Way::hashes : Way::mapped;
      if (!plan_.tells_extras) {
        plan_.notes.push_back(
            "several sources lead to it, without target_where: rows too many cannot be told");
      }
    }
    std::vector<std::string> names;
    for (const auto& k : plan_.key) names.push_back(k.source);
    if (plan_.way != Way::hashes) plan_.sql = mapping::compare_sql(route_, names, kMostKept);
    return std::move(plan_);
  }

 private:
  void find_key() {
    for (const auto& name : mapping::copy_way(route_, source_, target_).key) {
      const auto* column = source_.column(name);
      if (column == nullptr) continue;
      KeyColumn key{name, column->base_type.sql(), "", "", column->equality_schema};
      for (const auto& c : route_.columns) {
        if (c.expression != cat("src.", quote_ident(name))) continue;
        key.target = c.name;
        key.target_type = c.base_type_sql;
      }
      plan_.key.push_back(std::move(key));
    }
    // One operator for a whole row.
    const bool alike = std::all_of(plan_.key.begin(), plan_.key.end(), [&](const KeyColumn& k) {
      return k.operators == plan_.key.front().operators;
    });
    if (!alike) plan_.key.clear();
    plan_.keys_map =
        !plan_.key.empty() && std::all_of(route_.key_inputs.begin(), route_.key_inputs.end(), [&](int i) {
          const auto& name = route_.source_columns[static_cast<std::size_t>(i)].name;
          return std::any_of(plan_.key.begin(), plan_.key.end(),
                             [&](const auto& k) { return k.source == name; });
        });
    std::set<std::string> copies;
    for (const auto& k : plan_.key) copies.insert(k.target);
    std::set<std::string> wanted;
    for (const int c : route_.key) wanted.insert(route_.columns[static_cast<std::size_t>(c)].name);
    plan_.keys_are_copies = plan_.keys_map && copies == wanted && copies.size() == plan_.key.size();
  }

  void find_lookups() {
    for (const auto& c : route_.columns) {
      const bool reads = std::any_of(route_.reads.begin(), route_.reads.end(), [&](const auto& table) {
        return c.expression.find(table.name) != std::string::npos;
      });
      if (reads) plan_.lookups.push_back(c.name);
    }
  }

  [[nodiscard]] bool sorts_equally(const KeyColumn& key) const {
    const auto* from = source_.column(key.source);
    const auto* to = target_.column(key.target);
    if (from == nullptr || to == nullptr) return false;
    if (sorts_everywhere(from->base_type)) return true;
    return is_text(from->base_type) && on_source_.contains(key.source) && on_target_.contains(key.target);
  }

  bool by_hashes() {
    const auto names = mapping::plain_columns(route_);
    if (!names || route_.filter || !plan_.tells_extras || !plan_.keys_are_copies) return false;
    if (prepared_.source.encoding != prepared_.target.encoding) return false;
    for (std::size_t i = 0; i < names->size(); ++i) {
      const auto* from = source_.column((*names)[i]);
      const auto* to = target_.column(route_.columns[i].name);
      if (from == nullptr || to == nullptr || !same_text(*from, *to)) return false;
      plan_.source_columns.push_back(quote_ident(from->name));
    }
    return std::all_of(plan_.key.begin(), plan_.key.end(),
                       [this](const auto& k) { return sorts_equally(k); });
  }

  const stream::Prepared& prepared_;
  const Route& route_;
  const pg::Table& source_;
  const pg::Table& target_;
  const SortsByBytes& on_source_;
  const SortsByBytes& on_target_;
  Plan plan_;
};

std::string operation(const KeyColumn& column, std::string_view symbol) {
  if (column.operators == "pg_catalog") return std::string(symbol);
  return cat("OPERATOR(", quote_ident(column.operators), ".", symbol, ")");
}

std::string name_of(const KeyColumn& column, Side side) {
  return quote_ident(side == Side::source ? column.source : column.target);
}

std::string value_of(const KeyColumn& column, Side side, const std::string& text) {
  return cat(pg::quote_literal(text), "::", side == Side::source ? column.source_type : column.target_type);
}

// (a, b), or without parentheses where there is one.
std::string row_of(const std::vector<std::string>& items) {
  return items.size() == 1 ? items.front() : cat("(", join(items, ", "), ")");
}

std::string names_of(const Plan& plan, Side side) {
  std::vector<std::string> names;
  for (const auto& k : plan.key) names.push_back(name_of(k, side));
  return row_of(names);
}

std::string values_of(const Plan& plan, Side side, const Key& key) {
  WALIGN_CHECK(key.size() == plan.key.size());
  std::vector<std::string> values;
  for (std::size_t i = 0; i < key.size(); ++i) values.push_back(value_of(plan.key[i], side, key[i]));
  return row_of(values);
}

}  // namespace

SortsByBytes read_sorts_by_bytes(pg::Connection& connection, const pg::Table& table) {
  const auto r = connection.query(
      "SELECT a.attname FROM pg_catalog.pg_attribute a "
      "JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database() "
      "JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation "
      "WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped AND "
      "c.collisdeterministic "
      "AND CASE CASE c.collprovider WHEN 'd' THEN d.datlocprovider ELSE c.collprovider END "
      "WHEN 'c' THEN CASE c.collprovider WHEN 'd' THEN d.datcollate ELSE c.collcollate END IN ('C', 'POSIX') "
      "WHEN 'b' THEN true ELSE false END",
      {cat(table.oid)});
  SortsByBytes out;
  for (int i = 0; i < r.rows(); ++i) out.insert(r.str(i, 0));
  return out;
}

Plan make_plan(const stream::Prepared& prepared, const Route& route, const config::Backfill& limits,
               const SortsByBytes& on_source, const SortsByBytes& on_target) {
  return Planning(prepared, route, on_source, on_target).plan(limits);
}

std::string range_condition(const Plan& plan, Side side, const Range& range) {
  std::vector<std::string> parts;
  const auto add = [&](const Key& key, std::string_view symbol) {
    parts.push_back(
        cat(names_of(plan, side), " ", operation(plan.key.front(), symbol), " ", values_of(plan, side, key)));
  };
  if (range.lower) add(*range.lower, range.after_lower ? ">" : ">=");
  if (range.upper) add(*range.upper, range.after_upper ? "<=" : "<");
  // A row that has not been given its key yet: the other side has it under one that is.
  if (side == Side::source && plan.route->drawn_key) {
    parts.push_back(cat(quote_ident(plan.route->drawn_key->target_column), " IS NOT NULL"));
  }
  return parts.empty() ? "true" : join(parts, " AND ");
}

std::string keys_condition(const Plan& plan, Side side, const std::vector<Key>& keys) {
  if (keys.empty()) return "false";
  std::vector<std::string> values;
  values.reserve(keys.size());
  for (const auto& key : keys) values.push_back(values_of(plan, side, key));
  if (plan.key.size() > 1) return cat(names_of(plan, side), " IN (VALUES ", join(values, ", "), ")");
  if (plan.key.front().operators == "pg_catalog")
    return cat(names_of(plan, side), " IN (", join(values, ", "), ")");
  return cat(names_of(plan, side), " ", operation(plan.key.front(), "="), " ANY (ARRAY[", join(values, ", "),
             "])");
}

std::string cut_sql(const Plan& plan, const Range& range) {
  std::vector<std::string> names;
  for (const auto& k : plan.key) names.push_back(name_of(k, Side::source));
  const std::string all = join(names, ", ");
  return cat("SELECT ", all, " FROM ", plan.source_table(), " WHERE ",
             range_condition(plan, Side::source, range), " ORDER BY ", all, " OFFSET ", plan.rows_per_chunk,
             " LIMIT 1");
}

}  // namespace walign::verify
