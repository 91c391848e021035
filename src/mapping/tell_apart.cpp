// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Several sources to one target, one source to several targets: what comes back where.
#include "invert.hpp"

namespace walign::mapping {

namespace {

using config::ColumnKind;
using config::ColumnRule;

class Group {
 public:
  Group(const std::vector<Route>& routes, std::vector<WayBack>& ways, std::vector<std::size_t> members)
      : routes_(routes), ways_(ways), members_(std::move(members)) {}

  // Routes of one target: each gets a filter.
  void by_target() {
    for (const std::size_t i : members_) {
      if (!ways_[i].route) continue;
      if (!ways_[i].route->filter) take_constants(i);
    }
    if (std::none_of(members_.begin(), members_.end(), [&](std::size_t i) { return ways_[i].route; })) return;
    const std::size_t first = members_.front();
    ways_[first].findings.push_back(warn(
        routes_[first].target.to_string(),
        "way back: several sources lead to it; a row that belongs to none of them is carried to none",
        "let a CHECK on the target permit only rows that target_where:, or the constant, of one selects"));
  }

  // Routes of one source: one of them at most comes back.
  void by_source() {
    std::vector<std::size_t> coming;
    for (const std::size_t i : members_) {
      if (!ways_[i].one_way) coming.push_back(i);
    }
    if (coming.size() < 2) return;
    std::vector<std::string> targets;
    for (const std::size_t i : coming) targets.push_back(routes_[i].target.to_string());
    for (const std::size_t i : coming) {
      refuse(i,
             cat("source ", routes_[i].source.to_string(), " leads to ", join(targets, " and to "),
                 ", and only one of them can give its rows back"),
             "one_way: true for all of them but one");
    }
  }

 private:
  void refuse(std::size_t i, std::string what, std::string remedy) {
    ways_[i].findings.push_back(fail(ways_[i].label, cat("no way back: ", what), std::move(remedy)));
    ways_[i].route.reset();
  }

  static const ColumnRule* constant(const Route& route, const std::string& name) {
    for (const auto& c : route.columns) {
      if (c.name == name && c.rule && c.rule->kind == ColumnKind::constant) return &*c.rule;
    }
    return nullptr;
  }

  // Which constant of route i tells it from route j; empty if none does. A target_where is taken at its word.
  [[nodiscard]] std::string telling(std::size_t i, std::size_t j) const {
    for (const auto& c : routes_[i].columns) {
      const ColumnRule* mine = constant(routes_[i], c.name);
      if (mine == nullptr) continue;
      const ColumnRule* theirs = constant(routes_[j], c.name);
      if (routes_[j].target_where || (theirs != nullptr && theirs->value != mine->value)) return c.name;
    }
    return "";
  }

  void take_constants(std::size_t i) {
    std::set<std::string> columns;
    for (const std::size_t j : members_) {
      if (i == j) continue;
      const std::string column = telling(i, j);
      if (column.empty()) {
        refuse(i,
               cat("source ", routes_[j].source.to_string(), " leads to ", routes_[i].target.to_string(),
                   " too, and whose a row is cannot be told"),
               "say which target rows are its own with target_where:, or give each source another "
               "{ constant: ... } in a column");
        return;
      }
      columns.insert(column);
    }
    std::string filter;
    for (const auto& name : columns) {
      filter += cat(filter.empty() ? "" : " AND ", is_constant(*ways_[i].route, *constant(routes_[i], name)));
    }
    ways_[i].route->filter = filter;
  }

  static std::string is_constant(const Route& back, const ColumnRule& rule) {
    const std::string column = cat("src.", pg::quote_ident(rule.target));
    if (!rule.value) return cat(column, " IS NULL");
    const auto sent = std::find_if(back.source_columns.begin(), back.source_columns.end(),
                                   [&](const SourceColumn& c) { return c.name == rule.target; });
    return cat(column, " = ", pg::quote_literal(*rule.value), "::", sent->type_sql);
  }

  const std::vector<Route>& routes_;
  std::vector<WayBack>& ways_;
  const std::vector<std::size_t> members_;
};

// The target's columns from which these of the source are copied; nothing where one is not simply copied.
std::optional<std::set<std::string>> given_by(const Route& back, const std::vector<std::string>& columns) {
  std::set<std::string> out;
  for (const auto& name : columns) {
    const auto found = std::find_if(back.columns.begin(), back.columns.end(),
                                    [&](const TargetColumn& c) { return c.name == name && c.probed; });
    if (found == back.columns.end()) return std::nullopt;
    for (const int input : found->inputs)
      out.insert(back.source_columns[static_cast<std::size_t>(input)].name);
  }
  return out;
}

bool is_unique(const pg::Table& table, const std::set<std::string>& columns) {
  return std::any_of(table.indexes.begin(), table.indexes.end(), [&](const pg::Index& index) {
    return index.usable_as_key() && std::all_of(index.columns.begin(), index.columns.end(),
                                                [&](const auto& name) { return columns.contains(name); });
  });
}

}  // namespace

void warn_of_collisions(WayBack& way, const pg::Catalog& source, const pg::Catalog& target) {
  if (!way.route) return;
  const auto& into = source.at({way.route->target.schema, way.route->target.name});
  const auto& from = target.at({way.route->source.schema, way.route->source.name});
  for (const auto& index : into.indexes) {
    if (index.expressions || index.partial) continue;
    const auto columns = given_by(*way.route, index.columns);
    if (!columns || is_unique(from, *columns)) continue;
    const std::vector<std::string> names(columns->begin(), columns->end());
    way.findings.push_back(warn(
        way.label,
        cat("way back: the source's ", index.name, " permits one row with each (", join(index.columns, ", "),
            "), and nothing on the target does: a second one made there stops the way back"),
        cat("CREATE UNIQUE INDEX CONCURRENTLY ON ", pg::qualified(from.schema, from.name), " (",
            join(names, ", "), ")")));
  }
}

void tell_apart(const std::vector<Route>& routes, std::vector<WayBack>& ways) {
  std::map<TableName, std::vector<std::size_t>> by_source, by_target;
  for (std::size_t i = 0; i < routes.size(); ++i) {
    by_source[routes[i].source].push_back(i);
    by_target[routes[i].target].push_back(i);
  }
  for (auto& [name, members] : by_source) {
    if (members.size() > 1) Group(routes, ways, std::move(members)).by_source();
  }
  for (auto& [name, members] : by_target) {
    if (members.size() > 1) Group(routes, ways, std::move(members)).by_target();
  }
}

}  // namespace walign::mapping
