// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What becomes of the proposed rules, asked of those who decide it: the mapping and both servers, as preflight does.
#include "init.hpp"

namespace walign::cli::init {

namespace {

using mapping::Finding;
using mapping::Findings;
using mapping::Route;

config::TableRule rule_of(const Draft& draft) {
  const std::string text =
      cat("migration: m\nsource: host=a\ntarget: host=b\nstate: s\ntables:\n", rule_text(draft));
  return config::parse(text, "walign.yaml", [](const std::string&) { return std::nullopt; }).tables.front();
}

std::string said(const Finding& finding) {
  return finding.remedy.empty() ? finding.what : cat(finding.what, "\n", finding.remedy);
}

// What it may do is a matter of GRANT and not of walign.yaml.
void forget_privileges(pg::Catalog& catalog) {
  for (auto& [name, table] : catalog) {
    table.can_select = table.can_insert = table.can_update = table.can_delete = table.can_truncate = true;
    table.is_owner = true;
    table.row_security = false;
  }
}

bool may(pg::Connection& connection, const char* privilege) {
  return connection
      .query("SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), $1)", {privilege})
      .boolean(0, 0);
}

// An index that could say which row an UPDATE or DELETE means, where nothing does yet.
const pg::Index* possible_identity(const pg::Table& table) {
  for (const auto& index : table.indexes) {
    const bool never_null = std::all_of(index.columns.begin(), index.columns.end(), [&](const auto& name) {
      const auto* column = table.column(name);
      return column != nullptr && column->not_null;
    });
    if (index.usable_as_key() && never_null) return &index;
  }
  return nullptr;
}

class Judging {
 public:
  Judging(std::vector<Draft>& drafts, const config::Config& config, Servers& servers)
      : drafts_(drafts),
        config_(config),
        servers_(servers),
        types_(pg::read_types(servers.target)),
        may_probe_(may(servers.target, "TEMPORARY")) {
    forget_privileges(servers.source_catalog);
    forget_privileges(servers.target_catalog);
  }

  void judge() {
    for (auto& draft : drafts_) {
      if (auto route = choose_key(draft)) routes_.emplace_back(&draft, std::move(*route));
    }
    if (apply::schema_installed(servers_.target) || may(servers_.target, "CREATE")) check_statements();
    std::erase_if(routes_, [](const auto& one) { return !one.first->obstacles.empty(); });
    check_ways_back();
    for (const auto& [draft, route] : routes_) say_rows(*draft);
  }

 private:
  struct Tried {
    std::optional<Route> route;
    Findings findings;
  };

  Tried try_out(const Draft& draft) {
    config::Config config = config_;
    config.tables = {rule_of(draft)};
    auto resolution = mapping::resolve(config, servers_.source_catalog, servers_.target_catalog, types_);
    Tried out{std::nullopt, std::move(resolution.findings)};
    if (mapping::any_failed(out.findings) || resolution.routes.size() != 1) return out;
    auto& route = resolution.routes.front();
    if (!mapping::expressions_to_probe(route).empty() && !may_probe_) return out;
    const auto more = mapping::complete(route, apply::probe(servers_.target, route));
    out.findings.insert(out.findings.end(), more.begin(), more.end());
    if (!mapping::any_failed(out.findings)) out.route = std::move(route);
    return out;
  }

  // The primary key of the target or, where that cannot be it, the first unique index that can.
  std::optional<Route> choose_key(Draft& draft) {
    auto first = try_out(draft);
    if (first.route) return taken(draft, std::move(first));
    const bool keyless = draft.pair.target->primary_key() == nullptr;
    std::vector<std::string> best;
    for (const auto& index : draft.pair.target->indexes) {
      if (index.primary || !index.usable_as_key()) continue;
      draft.key = index.columns;
      auto next = try_out(draft);
      if (next.route) {
        draft.remarks.push_back(cat(
            keyless ? "the target has no primary key" : "the source does not make the target's primary key",
            ": rows are found by unique index ", index.name));
        return taken(draft, std::move(next));
      }
      if (!keyless || !best.empty()) continue;
      best = index.columns;
      first = std::move(next);
    }
    draft.key = best;
    for (const auto& finding : first.findings) {
      if (finding.level == Finding::Level::fail) draft.obstacles.push_back(said(finding));
    }
    name_identity(draft);
    return std::nullopt;
  }

  static std::optional<Route> taken(Draft& draft, Tried tried) {
    for (const auto& finding : tried.findings) {
      if (finding.level == Finding::Level::warn) draft.remarks.push_back(finding.what);
    }
    return std::move(tried.route);
  }

  static void name_identity(Draft& draft) {
    const auto& source = *draft.pair.source;
    const auto* index = source.identity_columns().empty() ? possible_identity(source) : nullptr;
    if (index == nullptr) return;
    draft.obstacles.push_back(cat("one of its unique indexes would do for the source:\nALTER TABLE ",
                                  pg::qualified(source.schema, source.name), " REPLICA IDENTITY USING INDEX ",
                                  pg::quote_ident(index->name)));
  }

  // All at once; only what is refused is looked at column by column.
  void check_statements() {
    std::vector<Route> all;
    for (const auto& [draft, route] : routes_) all.push_back(route);
    for (const auto& finding : apply::check_statements(servers_.target, all)) {
      if (finding.level != Finding::Level::fail) continue;
      for (auto& [draft, route] : routes_) {
        if (route.label() == finding.subject && !refuse_columns(*draft, route))
          draft->obstacles.push_back(said(finding));
      }
    }
  }

  bool refuse_columns(Draft& draft, const Route& route) {
    bool any = false;
    for (const auto& column : route.columns) {
      Route alone = route;
      alone.columns = {column};
      alone.key.clear();
      if (!mapping::any_failed(apply::check_statements(servers_.target, {alone}))) continue;
      any = true;
      refuse_column(draft, route, column);
    }
    return any;
  }

  static void refuse_column(Draft& draft, const Route& route, const mapping::TargetColumn& column) {
    if (column.inputs.size() != 1) {
      draft.obstacles.push_back(cat("the target refuses what column ", column.name, " is given"));
      return;
    }
    const auto& name = route.source_columns[static_cast<std::size_t>(column.inputs.front())].name;
    const auto& source = *draft.pair.source->column(name);
    const auto& target = *draft.pair.target->column(column.name);
    draft.obstacles.push_back(cat("column ", name, ", ", source.declared, ", cannot be assigned to ",
                                  column.name, ", ", target.declared, ", without an expression"));
    const std::string value =
        cat("{ sql: ", yaml(cat("src.", pg::quote_ident(name), "::text::", target.base_type.sql())),
            ", reverse: ", yaml(cat(pg::quote_ident(column.name), "::text::", source.base_type.sql())), " }");
    std::erase_if(draft.columns, [&](const auto& entry) { return entry.column == column.name; });
    draft.columns.push_back({column.name, value, "by way of text: does every value there is allow it?"});
    if (name == column.name) return;
    draft.columns.push_back({name, "false", "it is the column above"});
  }

  void check_ways_back() {
    stream::Prepared prepared;
    prepared.source = pg::read_server(servers_.source);
    prepared.target = pg::read_server(servers_.target);
    prepared.source_catalog = servers_.source_catalog;
    prepared.target_catalog = servers_.target_catalog;
    config::Config config = config_;
    config.tables.clear();
    for (const auto& [draft, route] : routes_) {
      prepared.routes.push_back(route);
      config.tables.push_back(rule_of(*draft));
    }
    const auto ways = stream::ways_back(config, prepared, servers_.source, servers_.target).tables;
    for (std::size_t i = 0; i < ways.size(); ++i) {
      for (const auto& finding : ways[i].findings) {
        if (finding.level == Finding::Level::fail) routes_[i].first->one_way = true;
        if (finding.level != Finding::Level::ok) routes_[i].first->remarks.push_back(finding.what);
      }
    }
  }

  // Said where it can be seen; preflight says the rest.
  void say_rows(Draft& draft) {
    const auto& table = *draft.pair.target;
    try {
      const auto any = servers_.target.exec(
          cat("SELECT EXISTS (SELECT FROM ", pg::qualified(table.schema, table.name), ")"));
      if (!any.boolean(0, 0)) return;
      draft.remarks.emplace_back("the target has rows already: see existing_rows below");
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::query && error.kind() != ErrorKind::precondition) throw;
    }
  }

  std::vector<Draft>& drafts_;
  const config::Config& config_;
  Servers& servers_;
  const std::vector<pg::TypeName> types_;
  const bool may_probe_;
  std::vector<std::pair<Draft*, Route>> routes_;
};

}  // namespace

void judge(std::vector<Draft>& drafts, const config::Config& config, Servers& servers) {
  Judging(drafts, config, servers).judge();
}

}  // namespace walign::cli::init
