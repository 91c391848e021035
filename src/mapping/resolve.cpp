// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One rule and two tables become a route: source columns typed, target columns matched, key chosen.
#include "losses.hpp"
#include "tables.hpp"
#include "value_map.hpp"

namespace walign::mapping {

namespace {

using config::ColumnKind;
using config::ColumnRule;
using pg::quote_ident;
using pg::quote_literal;

constexpr const char* kText = R"("pg_catalog"."text")";

// Builds one route. A member per question; each leaves its findings behind.
class RouteBuilder {
 public:
  RouteBuilder(const TablePair& pair, const pg::Catalog& source_catalog, const std::set<pg::TypeName>& types,
               Findings& findings)
      : rule_(*pair.rule),
        source_(*pair.source),
        target_(*pair.target),
        catalog_(source_catalog),
        types_(types),
        findings_(findings) {}

  Route build(int id) {
    route_.id = id;
    route_.place = rule_.place;
    route_.source = {source_.schema, source_.name};
    route_.target = {target_.schema, target_.name};
    route_.filter = rule_.where;
    route_.target_where = rule_.target_where;
    route_.inserts_only = rule_.inserts_only;
    route_.one_way = rule_.one_way;
    route_.reverse_key = rule_.reverse_key;
    route_.target_referenced = target_.referenced;
    route_.identity_full = source_.replica_identity == 'f';
    route_.leaves = source_.leaves;
    add_source_columns();
    add_target_columns();
    check_rules_used();
    find_unplaced();
    choose_key();
    warn_of_losses(route_, source_, target_, findings_);
    check_moments(rule_, name(), findings_);
    return std::move(route_);
  }

 private:
  [[nodiscard]] std::string name() const { return route_.label(); }
  void fails(std::string what, std::string remedy) {
    findings_.push_back(fail(name(), std::move(what), std::move(remedy)));
  }

  // In the identity of the table, and of every leaf: each has its own.
  [[nodiscard]] bool in_identity(const std::string& column) const {
    const auto has = [&](const pg::Table& table) {
      const auto identity = table.identity_columns();
      return std::find(identity.begin(), identity.end(), column) != identity.end();
    };
    if (source_.leaves.empty()) return has(source_);
    return std::all_of(source_.leaves.begin(), source_.leaves.end(), [&](const auto& leaf) {
      const auto found = catalog_.find({leaf.schema, leaf.name});
      return found != catalog_.end() && has(found->second);
    });
  }

  void add_source_columns() {
    for (const auto& c : source_.columns) {
      if (c.generated) continue;  // not in the stream
      SourceColumn column;
      column.name = c.name;
      column.type_oid = c.type_oid;
      column.travels_as_text = !types_.contains(c.base_type);
      column.type_sql = column.travels_as_text ? kText : c.base_type.sql();
      column.part_of_identity = in_identity(c.name);
      column.toastable = c.toastable;
      column.nullable = !c.not_null;
      route_.source_columns.push_back(std::move(column));
    }
  }

  [[nodiscard]] int source_index(const std::string& column) const {
    for (std::size_t i = 0; i < route_.source_columns.size(); ++i) {
      if (route_.source_columns[i].name == column) return static_cast<int>(i);
    }
    return -1;
  }

  [[nodiscard]] const ColumnRule* rule_for(const std::string& target_column) const {
    const auto found = std::find_if(rule_.columns.begin(), rule_.columns.end(), [&](const ColumnRule& r) {
      return r.target == target_column && r.kind != ColumnKind::drop;
    });
    return found == rule_.columns.end() ? nullptr : &*found;
  }

  [[nodiscard]] bool dropped(const std::string& source_column) const {
    return std::any_of(rule_.columns.begin(), rule_.columns.end(), [&](const ColumnRule& r) {
      return r.kind == ColumnKind::drop && r.target == source_column;
    });
  }

  // Named by a rename or a value map under another name: it does not also go to its own name.
  [[nodiscard]] bool renamed_away(const std::string& source_column) const {
    return std::any_of(rule_.columns.begin(), rule_.columns.end(), [&](const ColumnRule& r) {
      return (r.kind == ColumnKind::rename || r.kind == ColumnKind::values) && r.source == source_column &&
             r.target != source_column;
    });
  }

  // The source's text as the target's type where the source's type is unknown there; else as it is, so that
  // the assignment decides whether it fits.
  [[nodiscard]] std::string plain(int input, const pg::Column& target) const {
    const auto& source = route_.source_columns[static_cast<std::size_t>(input)];
    if (!source.travels_as_text || target.base_type.sql() == kText) return src(source.name);
    return cat(src(source.name), "::", target.base_type.sql());
  }

  void add_plain(TargetColumn& column, const std::string& source_column, const pg::Column& target) {
    const int input = source_index(source_column);
    if (input < 0) {
      const pg::Column* generated = source_.column(source_column);
      fails(generated != nullptr ? cat("source column ", source_column, " is generated and not in the stream")
                                 : cat("column ", target.name, ": the source has no column ", source_column),
            generated != nullptr ? cat("give its expression: ", target.name, ": { sql: \"...\" }, or ",
                                       source_column, ": false")
                                 : "correct the name in walign.yaml");
      return;
    }
    column.expression = plain(input, target);
    column.inputs = {input};
    column.probed = true;
    route_.columns.push_back(std::move(column));
  }

  void add_by_rule(TargetColumn column, const ColumnRule& rule, const pg::Column& target) {
    switch (rule.kind) {
      case ColumnKind::rename: add_plain(column, rule.source, target); return;
      case ColumnKind::values:
        if (source_index(rule.source) < 0) {
          fails(cat("column ", target.name, ": the source has no column ", rule.source),
                "name it with from: in the value map");
          return;
        }
        column.expression =
            value_map_sql(rule, target, unmapped_value_sql(name(), target.name, src(rule.source)));
        column.inputs = {source_index(rule.source)};
        column.probed = true;
        break;
      case ColumnKind::constant:
        column.expression =
            cat(rule.value ? quote_literal(*rule.value) : "NULL", "::", target.base_type.sql());
        column.probed = true;
        break;
      case ColumnKind::sql: column.expression = cat("(", rule.sql, ")"); break;
      case ColumnKind::drop: return;
    }
    route_.columns.push_back(std::move(column));
  }

  void add_target_columns() {
    for (const auto& target : target_.columns) {
      const ColumnRule* rule = rule_for(target.name);
      if (target.generated) {
        if (rule != nullptr) {
          fails(cat("column ", target.name, " is generated on the target"), "leave it out of columns:");
        }
        continue;
      }
      TargetColumn column;
      column.name = target.name;
      column.base_type_sql = target.base_type.sql();
      column.declared = target.declared;
      if (rule != nullptr) column.rule = *rule;
      if (target.equality_schema != "pg_catalog") {
        column.equals = cat("OPERATOR(", quote_ident(target.equality_schema), ".=)");
      }
      column.identity_always = target.identity == 'a';
      column.nullable = !target.not_null;
      const bool by_name = rule == nullptr && !rule_.only && source_.column(target.name) != nullptr &&
                           !dropped(target.name) && !renamed_away(target.name);
      if (rule != nullptr) {
        add_by_rule(std::move(column), *rule, target);
      } else if (by_name) {
        add_plain(column, target.name, target);
      } else {
        if (target.not_null && !target.has_default && target.identity == 0) {
          fails(
              cat("target column ", target.name, " is NOT NULL, has no default, and nothing is mapped to it"),
              cat("map it in columns:, or ALTER TABLE ", pg::qualified(target_.schema, target_.name),
                  " ALTER COLUMN ", quote_ident(target.name), " SET DEFAULT ..."));
        }
        route_.other_columns.push_back(target.name);
      }
    }
  }

  void check_rules_used() {
    for (const auto& rule : rule_.columns) {
      if (rule.kind == ColumnKind::drop) {
        if (source_.column(rule.target) == nullptr) {
          fails(cat("columns: ", rule.target, ": false, but the source has no such column"), "remove it");
        }
      } else if (target_.column(rule.target) == nullptr) {
        fails(cat("the target has no column ", rule.target),
              "correct the name in walign.yaml, or add the column");
      }
    }
  }

  void find_unplaced() {
    if (rule_.only) return;
    for (const auto& column : route_.source_columns) {
      if (dropped(column.name) || renamed_away(column.name)) continue;
      const bool by_name = std::any_of(route_.columns.begin(), route_.columns.end(),
                                       [&](const TargetColumn& c) { return c.name == column.name; });
      if (!by_name) route_.unplaced.push_back(column.name);
    }
  }

  void choose_key() {
    if (route_.inserts_only) return;
    std::vector<std::string> key = rule_.key;
    if (key.empty() && target_.primary_key() != nullptr) key = target_.primary_key()->columns;
    if (key.empty()) {
      fails("the target has no primary key", cat("ALTER TABLE ", pg::qualified(target_.schema, target_.name),
                                                 " ADD PRIMARY KEY (...); or name unique columns with key: "
                                                 "[...]; or inserts_only: true for a table "
                                                 "that only takes inserts"));
      return;
    }
    if (!has_unique_index(key)) return;
    for (const auto& name : key) {
      const auto found = std::find_if(route_.columns.begin(), route_.columns.end(),
                                      [&](const TargetColumn& c) { return c.name == name; });
      if (found == route_.columns.end()) {
        fails(cat("key column ", name, " is not mapped"), "map it in columns:, or choose another key: [...]");
        route_.key.clear();
        return;
      }
      route_.key.push_back(static_cast<int>(found - route_.columns.begin()));
    }
    check_identity_exists();
  }

  bool has_unique_index(const std::vector<std::string>& key) {
    const std::set<std::string> wanted(key.begin(), key.end());
    bool deferrable = false;
    for (const auto& index : target_.indexes) {
      if (std::set<std::string>(index.columns.begin(), index.columns.end()) != wanted) continue;
      if (index.usable_as_key()) return true;
      deferrable = deferrable || !index.immediate;
    }
    const std::string columns = join(key, ", ");
    fails(deferrable ? cat("the unique constraint on (", columns,
                           ") is deferrable: it is not enforced while "
                           "walign applies, so it cannot be the key")
                     : cat("the target has no unique index on exactly (", columns, ")"),
          cat("CREATE UNIQUE INDEX CONCURRENTLY ON ", pg::qualified(target_.schema, target_.name), " (",
              columns, ")"));
    return false;
  }

  void check_identity_exists() {
    const bool any = std::any_of(route_.source_columns.begin(), route_.source_columns.end(),
                                 [](const SourceColumn& c) { return c.part_of_identity; });
    if (any) return;
    const std::string table = pg::qualified(source_.schema, source_.name);
    fails("UPDATE and DELETE on the source do not say which row they mean: it has no replica identity",
          cat("ALTER TABLE ", table,
              " ADD PRIMARY KEY (...); or REPLICA IDENTITY USING INDEX ...; or REPLICA "
              "IDENTITY FULL; or inserts_only: true for a table that only takes inserts",
              source_.leaves.empty() ? "" : " (each partition has its own)"));
  }

  const config::TableRule& rule_;
  const pg::Table& source_;
  const pg::Table& target_;
  const pg::Catalog& catalog_;
  const std::set<pg::TypeName>& types_;
  Findings& findings_;
  Route route_;
};

void mark_shared_targets(std::vector<Route>& routes, Findings& findings) {
  std::map<TableName, int> writers;
  for (const auto& route : routes) ++writers[route.target];
  for (auto& route : routes) {
    route.sole_writer = writers[route.target] == 1;
    if (route.sole_writer || route.target_where) continue;
    findings.push_back(warn(route.label(),
                            "several sources lead to this target, so a TRUNCATE of one cannot be applied",
                            "say which target rows are its own with target_where:"));
  }
}

}  // namespace

Resolution resolve(const config::Config& config, const pg::Catalog& source, const pg::Catalog& target,
                   const std::vector<pg::TypeName>& target_types) {
  Resolution out;
  const std::set<pg::TypeName> types(target_types.begin(), target_types.end());
  for (const auto& pair : pair_tables(config, source, target, out.findings)) {
    check_tables(pair, out.findings);
    out.routes.push_back(
        RouteBuilder(pair, source, types, out.findings).build(static_cast<int>(out.routes.size())));
  }
  mark_shared_targets(out.routes, out.findings);
  return out;
}

// ------------------------------------------------------------------------ what the target said of it

namespace {

void take_inputs(const Route& route, const ExpressionFacts& facts, std::vector<int>& inputs) {
  for (std::size_t i = 0; i < route.source_columns.size(); ++i) {
    const auto& name = route.source_columns[i].name;
    if (std::find(facts.columns.begin(), facts.columns.end(), name) != facts.columns.end()) {
      inputs.push_back(static_cast<int>(i));
    }
  }
}

void judge(const Route& route, const std::string& what, const ExpressionFacts& facts, Findings& findings) {
  if (!facts.error.empty()) {
    findings.push_back(
        fail(route.label(), cat(what, ": the target rejects it: ", facts.error),
             "correct the SQL in walign.yaml: it sees the source's columns as src.NAME, and must "
             "name tables and functions with their schema"));
  }
  if (!facts.unstable.empty()) {
    findings.push_back(fail(
        route.label(),
        cat(what, " calls ", join(facts.unstable, ", "), ": its value would differ each time it is computed"),
        "use only functions of the row's values; let a default of the target fill in times and random "
        "values"));
  }
}

void take_reads(Route& route, const std::string& what, const ExpressionFacts& facts, Findings& findings) {
  route.reads.insert(facts.reads.begin(), facts.reads.end());
  if (facts.opaque.empty()) return;
  route.reads_unseen = true;
  findings.push_back(
      warn(route.label(),
           cat(what, " calls ", join(facts.opaque, ", "),
               ", which may read tables that walign cannot see: this table's changes are never "
               "written together with another's (slower)"),
           "write the lookup as a SELECT in walign.yaml, or, if it reads no table, declare the "
           "function IMMUTABLE"));
}

// An expression of several columns needs all of them, also those that an UPDATE did not send.
void warn_about_toast(const Route& route, const std::string& what, const std::vector<int>& inputs,
                      Findings& findings) {
  if (route.identity_full || route.inserts_only) return;
  for (const int input : inputs) {
    const auto& column = route.source_columns[static_cast<std::size_t>(input)];
    if (!column.toastable) continue;
    findings.push_back(warn(route.label(),
                            cat(what, " reads ", column.name,
                                ", which an UPDATE does not send when it is large and "
                                "unchanged (TOAST); such a change could not be applied"),
                            cat("ALTER TABLE ", pg::qualified(route.source.schema, route.source.name),
                                " REPLICA IDENTITY FULL")));
  }
}

// A key of NULL finds no row: an UPDATE or DELETE of it could not be applied, and with a filter nothing would even
// say so.
void check_key_null(const Route& route, const TargetColumn& column, Findings& findings) {
  if (!column.nullable || column.inputs.size() != 1) return;
  const auto& source = route.source_columns[static_cast<std::size_t>(column.inputs.front())];
  if (!source.nullable || column.expression != cat("src.", quote_ident(source.name))) return;
  findings.push_back(
      fail(route.label(),
           cat("key column ", column.name, " may be NULL on both sides, and NULL identifies no row"),
           cat("ALTER TABLE ", pg::qualified(route.source.schema, route.source.name), " ALTER COLUMN ",
               quote_ident(source.name), " SET NOT NULL; or choose another key: [...]")));
}

void check_key(Route& route, Findings& findings) {
  std::set<int> inputs;
  for (const int c : route.key) {
    const auto& column = route.columns[static_cast<std::size_t>(c)];
    inputs.insert(column.inputs.begin(), column.inputs.end());
    check_key_null(route, column, findings);
  }
  route.key_inputs.assign(inputs.begin(), inputs.end());
  if (!route.key.empty() && inputs.empty()) {
    findings.push_back(fail(route.label(),
                            "the key is made of constants only: every row would have the same key",
                            "choose a key: that contains a column of the source"));
  }
  for (const int input : inputs) {
    const auto& column = route.source_columns[static_cast<std::size_t>(input)];
    if (column.part_of_identity) continue;
    findings.push_back(
        fail(route.label(),
             cat("the key is computed from ", column.name,
                 ", which is not in the source's replica identity: a DELETE would not carry it"),
             cat("ALTER TABLE ", pg::qualified(route.source.schema, route.source.name),
                 " REPLICA IDENTITY FULL (or USING INDEX with an index that has it)")));
  }
}

}  // namespace

std::vector<std::string> expressions_to_probe(const Route& route) {
  std::vector<std::string> out;
  for (const auto& column : route.columns) {
    if (!column.probed) out.push_back(column.expression);
  }
  if (route.filter) out.push_back(*route.filter);
  return out;
}

Findings complete(Route& route, const std::vector<ExpressionFacts>& facts) {
  Findings findings;
  std::size_t next = 0;
  for (auto& column : route.columns) {
    if (column.probed) continue;
    const auto& fact = facts.at(next++);
    judge(route, cat("column ", column.name), fact, findings);
    take_reads(route, cat("column ", column.name), fact, findings);
    take_inputs(route, fact, column.inputs);
    column.probed = true;
    if (column.inputs.size() > 1)
      warn_about_toast(route, cat("column ", column.name), column.inputs, findings);
  }
  if (route.filter) {
    const auto& fact = facts.at(next++);
    judge(route, "where", fact, findings);
    take_reads(route, "where", fact, findings);
    take_inputs(route, fact, route.filter_inputs);
    warn_about_toast(route, "where", route.filter_inputs, findings);
  }
  check_key(route, findings);
  for (const auto& name : going_nowhere(route)) findings.push_back(goes_nowhere(route, name));
  return findings;
}

std::vector<std::string> going_nowhere(const Route& route) {
  std::vector<std::string> out;
  for (const auto& name : route.unplaced) {
    const bool used = std::any_of(route.columns.begin(), route.columns.end(), [&](const TargetColumn& c) {
      return std::any_of(c.inputs.begin(), c.inputs.end(), [&](int input) {
        return route.source_columns[static_cast<std::size_t>(input)].name == name;
      });
    });
    if (!used) out.push_back(name);
  }
  return out;
}

Finding goes_nowhere(const Route& route, const std::string& column) {
  return fail(route.label(), cat("source column ", column, " goes nowhere: the target has no such column"),
              cat("map it in columns:, or say that it is not copied with ", column, ": false"));
}

}  // namespace walign::mapping
