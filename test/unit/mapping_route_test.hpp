// Catalogs in a line per column, for tests of routes and statements.
#pragma once

#include <sstream>

#include "support/catch.hpp"
#include "walign/mapping.hpp"

namespace route_test {

using namespace walign;
using walign::test::has;

inline pg::Index index(const std::string& name, const std::vector<std::string>& columns) {
  pg::Index out;
  out.name = name;
  out.columns = columns;
  out.unique = true;
  return out;
}

// "name type [key] [not null] [default] [generated] [always]"
inline pg::Column column(const std::string& line) {
  std::istringstream words(line);
  pg::Column out;
  std::string type;
  words >> out.name >> type;
  out.type = out.base_type = {"pg_catalog", type};
  out.type_oid = type == "int4" ? 23 : type == "text" ? 25 : 1700;
  out.toastable = type != "int4";
  out.not_null = has(line, " key") || has(line, " not null");
  out.has_default = has(line, " default");
  out.generated = has(line, " generated");
  out.identity = has(line, " always") ? 'a' : '\0';
  return out;
}

inline pg::Table table(const std::string& name, const std::vector<std::string>& lines) {
  pg::Table out;
  const auto dot = name.find('.');
  out.schema = name.substr(0, dot);
  out.name = name.substr(dot + 1);
  out.can_select = out.can_insert = out.can_update = out.can_delete = out.can_truncate = true;
  std::vector<std::string> key;
  for (const auto& line : lines) {
    out.columns.push_back(column(line));
    if (has(line, " key")) key.push_back(out.columns.back().name);
  }
  if (!key.empty()) {
    out.indexes.push_back(index(out.name + "_pkey", key));
    out.indexes.back().primary = true;
  }
  return out;
}

struct World {
  pg::Catalog source, target;
  std::string tables;
  std::function<mapping::ExpressionFacts(const std::string&)> answer = [](const std::string&) {
    return mapping::ExpressionFacts{};
  };

  void source_table(const pg::Table& t) { source.insert_or_assign({t.schema, t.name}, t); }
  void target_table(const pg::Table& t) { target.insert_or_assign({t.schema, t.name}, t); }
  void both(const pg::Table& t) {
    source_table(t);
    target_table(t);
  }
  [[nodiscard]] mapping::Resolution resolve() const {
    const auto config =
        config::parse("migration: m\nsource: host=a\ntarget: host=b\nstate: /tmp/none\ntables:\n" + tables,
                      "test.yaml", [](const std::string&) { return std::nullopt; });
    return mapping::resolve(config, source, target,
                            {{"pg_catalog", "int4"}, {"pg_catalog", "text"}, {"pg_catalog", "numeric"}});
  }
  mapping::Findings finish(mapping::Route& route) const {
    std::vector<mapping::ExpressionFacts> facts;
    for (const auto& sql : mapping::expressions_to_probe(route)) {
      const bool bare = sql.size() > 1 && sql.front() == '(' && sql.back() == ')';
      facts.push_back(answer(bare ? sql.substr(1, sql.size() - 2) : sql));
    }
    return mapping::complete(route, facts);
  }
  // As `run` does: complete() only where resolve() found nothing that fails, except that all is asked here.
  [[nodiscard]] mapping::Findings all_findings() const {
    auto resolution = resolve();
    auto findings = std::move(resolution.findings);
    for (auto& route : resolution.routes) {
      auto more = finish(route);
      findings.insert(findings.end(), more.begin(), more.end());
    }
    return findings;
  }
  [[nodiscard]] mapping::Route completed() const {
    auto route = resolve().routes.at(0);
    finish(route);
    return route;
  }
};

inline std::vector<std::string> names(const mapping::Route& route) {
  std::vector<std::string> out;
  for (const auto& c : route.columns) out.push_back(c.name + "=" + c.expression);
  return out;
}

}  // namespace route_test
