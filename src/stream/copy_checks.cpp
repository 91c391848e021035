// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "copy_checks.hpp"

#include <map>

namespace walign::stream {

namespace {

using config::TableName;
using mapping::Finding;

// Routes whose copy has begun, by label, and whether it is complete.
std::map<std::string, bool> read_begun(const config::Config& config, pg::Connection& target) {
  std::map<std::string, bool> begun;
  if (!target.exec("SELECT pg_catalog.to_regclass('walign.copy') IS NOT NULL").boolean(0, 0)) return begun;
  const auto r =
      target.query("SELECT route, complete FROM walign.copy WHERE stream = $1", {config.stream_name()});
  for (int i = 0; i < r.rows(); ++i) begun.emplace(r.str(i, 0), r.boolean(i, 1));
  return begun;
}

bool has_rows(const mapping::Route& route, pg::Connection& target) {
  const std::string where = route.target_where ? cat(" WHERE ", *route.target_where) : std::string();
  return target
      .exec(cat("SELECT EXISTS (SELECT FROM ", pg::qualified(route.target.schema, route.target.name), where,
                ")"))
      .boolean(0, 0);
}

constexpr const char* kHowToGoOn =
    "empty the table, or let existing_rows: empty do it; or let existing_rows: adopt compare its rows; or, "
    "if these are the source's rows that you brought yourself, start with --no-backfill";

class Checking {
 public:
  Checking(const CopyChecks& checks, mapping::Findings& findings)
      : config_(checks.config),
        p_(checks.prepared),
        source_(checks.source),
        target_(checks.target),
        replica_role_(checks.replica_role),
        findings_(findings),
        begun_(read_begun(config_, target_)),
        left_(routes_left()) {}

  void check() {
    if (left_.empty()) return;
    std::set<TableName> tables;
    std::set<TableName> targets;
    for (const auto* route : left_) {
      tables.insert(route->source);
      targets.insert(route->target);
    }
    check_schemas("target", target_, p_.target, targets);
    bool readable = check_schemas("source", source_, p_.source, tables);
    for (const auto& table : tables) readable = check_readable(table) && readable;
    if (readable) ok("source tables", cat(p_.source.role, " may read all that are copied"));
    if (!replica_role_) check_foreign_keys();
    check_temporary_tables();
    if (!mapping::any_failed(findings_)) check_existing_rows();
    check_circles();
    say_what_is_copied(tables);
    // Beside the workers: on the source the loop, its monitor and the one that asks for keys; on the target the one
    // that applies and the one that keeps chunks; on both the verification's.
    check_connections("source", source_, p_.source, 4 + config_.backfill.workers);
    check_connections("target", target_, p_.target, 3 + config_.backfill.workers);
  }

 private:
  void ok(std::string subject, std::string what) {
    findings_.push_back({Finding::Level::ok, std::move(subject), std::move(what), ""});
  }
  void add(Finding::Level level, std::string subject, std::string what, std::string remedy) {
    findings_.push_back({level, std::move(subject), std::move(what), std::move(remedy)});
  }

  std::vector<const mapping::Route*> routes_left() {
    std::vector<const mapping::Route*> left;
    for (const auto& route : p_.routes) {
      const auto begun = begun_.find(route.label());
      if (begun == begun_.end() || !begun->second) left.push_back(&route);
    }
    return left;
  }

  const pg::Table& source_table(const TableName& name) const {
    return p_.source_catalog.at({name.schema, name.name});
  }

  // A privilege on a table is none without its schema's.
  bool check_schemas(const std::string& side, pg::Connection& connection, const pg::ServerFacts& server,
                     const std::set<TableName>& tables) {
    std::set<std::string> schemas;
    for (const auto& table : tables) schemas.insert(table.schema);
    bool may = true;
    for (const auto& schema : schemas) {
      const auto usage = connection.query("SELECT pg_catalog.has_schema_privilege($1, 'USAGE')", {schema});
      if (usage.boolean(0, 0)) continue;
      may = false;
      add(Finding::Level::fail, cat(side, " schema ", schema), cat("role ", server.role, " may not use it"),
          cat("GRANT USAGE ON SCHEMA ", pg::quote_ident(schema), " TO ", pg::quote_ident(server.role)));
    }
    return may;
  }

  bool check_readable(const TableName& name) {
    const auto& table = source_table(name);
    const std::string sql = pg::qualified(name.schema, name.name);
    const std::string role = pg::quote_ident(p_.source.role);
    if (!table.can_select) {
      add(Finding::Level::fail, name.to_string(),
          cat("role ", p_.source.role, " may not read it on the source, so its rows cannot be copied"),
          cat("GRANT SELECT ON ", sql, " TO ", role));
      return false;
    }
    return !table.row_security || check_row_security(name, table, role);
  }

  // The stream has every row whatever the policies; a SELECT has not (and, with row_security off, fails).
  bool check_row_security(const TableName& name, const pg::Table& table, const std::string& role) {
    const auto r =
        source_.query("SELECT pg_catalog.row_security_active($1::oid)", {std::to_string(table.oid)});
    if (!r.boolean(0, 0)) return true;
    add(Finding::Level::fail, name.to_string(),
        cat("has row-level security on the source, which holds for role ", p_.source.role,
            ": it cannot read every row, so they cannot be copied"),
        cat("ALTER ROLE ", role, " BYPASSRLS"));
    return false;
  }

  // Chunks come in no order that a foreign key could rely on.
  void check_foreign_keys() {
    std::set<TableName> targets;
    for (const auto& route : p_.routes) targets.insert(route.target);
    for (const auto* route : left_) {
      const auto r = target_.query(
          "SELECT DISTINCT n.nspname, c.relname FROM pg_catalog.pg_constraint k "
          "JOIN pg_catalog.pg_class c ON c.oid = k.confrelid "
          "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
          "WHERE k.contype = 'f' AND k.conrelid = $1::oid ORDER BY 1, 2",
          {std::to_string(p_.target_catalog.at({route->target.schema, route->target.name}).oid)});
      for (int i = 0; i < r.rows(); ++i) {
        const TableName referenced{r.str(i, 0), r.str(i, 1)};
        if (!targets.contains(referenced)) continue;
        add(Finding::Level::fail, route->label(),
            cat("its foreign key to ", referenced.to_string(),
                " would be enforced while both are copied, and a row can come before the one that it refers "
                "to"),
            cat("GRANT SET ON PARAMETER session_replication_role TO ", pg::quote_ident(p_.target.role),
                ", as superuser of the target; or add the foreign key after the copy"));
      }
    }
  }

  // Whichever is copied first finds nothing in the other.
  void check_circles() {
    for (const auto& circle : mapping::copy_order(p_.routes).circles) {
      std::vector<std::string> names;
      bool copied = false;
      for (const auto i : circle) {
        const auto& route = p_.routes[i];
        names.push_back(route.label());
        copied = copied ||
                 std::any_of(left_.begin(), left_.end(), [&](const auto* r) { return r->id == route.id; });
      }
      if (!copied) continue;
      add(Finding::Level::fail, "expressions",
          cat("of these tables each looks into the next one, the last into the first, so that none can be "
              "copied "
              "before its readers: ",
              join(names, ", ")),
          "leave one of the lookups out of the mapping, and compute its column on the target (a view, a "
          "trigger); or "
          "bring the rows yourself and start with --no-backfill");
    }
  }

  void check_existing_rows() {
    for (const auto* route : left_) {
      if (begun_.contains(route->label()) || !has_rows(*route, target_)) continue;
      const std::string table = route->target.to_string();
      switch (config_.existing_rows) {
        case config::ExistingRows::refuse:  // no failure: with --no-backfill the rows may well be there
          add(Finding::Level::warn, table,
              "already has rows on the target: `walign run` will refuse to copy into it", kHowToGoOn);
          break;
        case config::ExistingRows::adopt: check_may_be_adopted(*route); break;
        case config::ExistingRows::empty: check_may_be_emptied(*route); break;
      }
    }
  }

  void check_may_be_adopted(const mapping::Route& route) {
    const std::string table = route.target.to_string();
    if (route.key.empty()) {
      add(Finding::Level::fail, table,
          "has rows on the target and no key by which they could be compared (existing_rows: adopt)",
          cat("give ", table, " a primary key, made of the replica identity of ", route.source.to_string(),
              ", and name it with key: where it is not found; or empty the table"));
      return;
    }
    if (!mapping::truncate_sql(route, false)) {
      add(Finding::Level::fail, table,
          cat("has rows on the target, and which of them are those of ", route.source.to_string(),
              " cannot be told, so existing_rows: adopt cannot compare them"),
          "give each of the rules that lead to it a target_where:, or empty the table");
      return;
    }
    const auto& source = source_table(route.source);
    const auto& target = p_.target_catalog.at({route.target.schema, route.target.name});
    if (mapping::copy_way(route, source, target).at_aligned_moment &&
        source.bytes > mapping::most_bytes_at_once(config_.backfill)) {
      add(Finding::Level::fail, table,
          "has rows on the target and unique indexes beside its key, so existing_rows: adopt compares it as "
          "one "
          "chunk, and it is too large for that",
          "drop these indexes until the table is copied, and make them again (CREATE UNIQUE INDEX "
          "CONCURRENTLY); "
          "or let existing_rows: empty delete the rows; or allow larger chunks: the limit is 16 times "
          "backfill: "
          "{ chunk_bytes }");
      return;
    }
    const auto others = referring_from_outside(route);
    std::string what =
        cat("already has rows on the target: `walign run` will make ",
            route.target_where ? cat("those WHERE ", *route.target_where) : std::string("them"),
            " what the source has, and DELETE those that it has not (existing_rows: adopt)");
    if (!others.empty())
      what += cat("; ", join(others, ", "), " may refer to some by a foreign key, which is not checked");
    add(Finding::Level::warn, table, what, "existing_rows: refuse keeps them");
  }

  void check_may_be_emptied(const mapping::Route& route) {
    const std::string table = route.target.to_string();
    if (!mapping::truncate_sql(route, false)) {
      add(Finding::Level::fail, table,
          cat("has rows on the target, and which of them are those of ", route.source.to_string(),
              " cannot be told, so existing_rows: empty cannot delete them"),
          "give each of the rules that lead to it a target_where:, or empty the table");
      return;
    }
    const auto others = referring_from_outside(route);
    if (!others.empty()) {
      add(Finding::Level::fail, table,
          cat("has rows on the target that existing_rows: empty would delete, and ", join(others, ", "),
              ", with rows of its own, refers to it by a foreign key"),
          "empty these tables first, or drop the foreign key until the rows are copied");
      return;
    }
    add(Finding::Level::warn, table,
        cat("already has rows on the target: `walign run` will DELETE ",
            route.target_where ? cat("those WHERE ", *route.target_where) : std::string("all of them"),
            " before it copies (existing_rows: empty)"),
        "existing_rows: refuse keeps them");
  }

  // Tables that the migration does not fill, with rows that would refer to nothing.
  std::vector<std::string> referring_from_outside(const mapping::Route& route) {
    const auto r = target_.query(
        "SELECT DISTINCT n.nspname, c.relname, pg_catalog.has_table_privilege(c.oid, 'SELECT') "
        "FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = $1::oid ORDER BY 1, 2",
        {std::to_string(p_.target_catalog.at({route.target.schema, route.target.name}).oid)});
    std::vector<std::string> out;
    for (int i = 0; i < r.rows(); ++i) {
      const TableName name{r.str(i, 0), r.str(i, 1)};
      const bool ours = std::any_of(p_.routes.begin(), p_.routes.end(),
                                    [&](const mapping::Route& other) { return other.target == name; });
      if (ours) continue;
      const bool may_have_rows =
          !r.boolean(i, 2) ||
          target_.exec(cat("SELECT EXISTS (SELECT FROM ", pg::qualified(name.schema, name.name), ")"))
              .boolean(0, 0);
      if (may_have_rows) out.push_back(name.to_string());
    }
    return out;
  }

  void check_temporary_tables() {
    const bool needed = std::any_of(left_.begin(), left_.end(), [&](const mapping::Route* route) {
      const auto& target = p_.target_catalog.at({route->target.schema, route->target.name});
      const auto way = mapping::copy_way(*route, source_table(route->source), target);
      if (!way.piped || way.at_aligned_moment) return true;
      return config_.existing_rows == config::ExistingRows::adopt && has_rows(*route, target_);
    });
    const auto may =
        target_.exec("SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')");
    if (!needed || may.boolean(0, 0)) return;
    add(Finding::Level::fail, "target temporary tables",
        cat("role ", p_.target.role, " may not make any, and rows are copied through them"),
        cat("GRANT TEMPORARY ON DATABASE ", pg::quote_ident(p_.target.database), " TO ",
            pg::quote_ident(p_.target.role)));
  }

  void say_what_is_copied(const std::set<TableName>& tables) {
    double rows = 0;
    std::int64_t bytes = 0;
    int unknown = 0;
    for (const auto& name : tables) {
      const auto& table = source_table(name);
      rows += std::max(0.0, table.estimated_rows);
      bytes += table.bytes;
      if (table.estimated_rows < 0) ++unknown;
    }
    const auto pretty =
        source_.query("SELECT pg_catalog.pg_size_pretty($1::bigint)", {std::to_string(bytes)});
    std::string what =
        cat("about ", static_cast<std::int64_t>(rows), " rows, ", pretty.str(0, 0), ", in ", tables.size(),
            tables.size() == 1 ? " table" : " tables", ", without indexes: is there room on the target?");
    if (unknown > 0) what += cat(" (", unknown, " never analysed: ANALYZE tells how many rows)");
    ok("to be copied", what);
  }

  // Sessions of this migration are not counted: the sidecar may be running.
  void check_connections(const std::string& side, pg::Connection& connection, const pg::ServerFacts& server,
                         int needed) {
    const auto r = connection.query(
        "SELECT pg_catalog.current_setting('max_connections')::int, "
        "pg_catalog.current_setting('superuser_reserved_connections')::int + "
        "coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0), "
        "(SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datid IS NOT NULL AND "
        "coalesce(backend_type, 'client backend') = 'client backend' AND "
        "NOT pg_catalog.starts_with(application_name, $1))",
        {config_.stream_name() + " "});
    const auto free = r.integer(0, 0) - r.integer(0, 2) - (server.superuser ? 0 : r.integer(0, 1));
    const std::string subject = side + " connections";
    if (free >= needed) {
      ok(subject, cat(needed, " needed, ", free, " free"));
      return;
    }
    add(Finding::Level::warn, subject, cat(needed, " needed, ", std::max<std::int64_t>(0, free), " free"),
        cat("close some, or fewer backfill: { workers: ", config_.backfill.workers,
            " }; or ALTER SYSTEM SET max_connections = ", r.integer(0, 0) + needed, ", and restart the ",
            side));
  }

  const config::Config& config_;
  const Prepared& p_;
  pg::Connection& source_;
  pg::Connection& target_;
  const bool replica_role_;
  mapping::Findings& findings_;
  const std::map<std::string, bool> begun_;
  const std::vector<const mapping::Route*> left_;
};

}  // namespace

void check_copy(const CopyChecks& checks, mapping::Findings& findings) { Checking(checks, findings).check(); }

void refuse_existing_rows(const config::Config& config, const std::vector<mapping::Route>& routes,
                          pg::Connection& target) {
  if (config.existing_rows != config::ExistingRows::refuse) return;
  const auto begun = read_begun(config, target);
  for (const auto& route : routes) {
    if (begun.contains(route.label()) || !has_rows(route, target)) continue;
    throw Error(ErrorKind::precondition, cat(route.target.to_string(), " on the target already has rows"),
                kHowToGoOn);
  }
}

mapping::Findings settings_without_effect(const config::Config& config) {
  mapping::Findings out;
  const auto warn = [&](const char* setting, const char* instead) {
    out.push_back({Finding::Level::warn, setting,
                   cat("is accepted but not acted on in this version: ", instead),
                   cat("take ", setting, " out of ", config.file)});
  };
  if (config.apply.workers > 1) warn("apply.workers", "one connection applies");
  return out;
}

}  // namespace walign::stream
