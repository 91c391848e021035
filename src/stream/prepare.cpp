// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Everything that can be found out before anything is touched.
#include "additions.hpp"
#include "copy_checks.hpp"
#include "settings.hpp"
#include "walign/versions.hpp"

namespace walign::stream {

namespace {

using mapping::Finding;
using mapping::Findings;

constexpr const char* kLockPatience = "5s";

// Whether the slot exists.
bool check_slot_room(const config::Config& config, pg::Connection& connection, const Settings& settings,
                     Checks& check) {
  if (source::read_slot(connection, config.slot_name())) {
    check.that(true, "source slot", cat(config.slot_name(), " exists"), Finding::Level::ok, "", "");
    return true;
  }
  check.that(!config.slot_is_brought(), "source slot", cat(config.slot_name(), " will be made"),
             Finding::Level::fail, cat("slot: ", config.slot_name(), " does not exist"),
             cat("SELECT pg_create_logical_replication_slot('", config.slot_name(),
                 "', 'pgoutput'), after the publication; or remove slot: from walign.yaml"));
  check.that(settings.used_slots < settings.max_slots, "source max_replication_slots",
             cat(settings.used_slots, " of ", settings.max_slots, " used"), Finding::Level::fail,
             cat("all ", settings.max_slots, " replication slots are used"),
             cat("ALTER SYSTEM SET max_replication_slots = ", settings.max_slots + 5,
                 ", and restart the source; or drop a slot that nobody reads"));
  return false;
}

void check_source(const config::Config& config, const pg::ServerFacts& server, pg::Connection& connection,
                  Findings& findings) {
  const Settings settings = read_settings(connection);
  Checks check(findings);
  using Level = Finding::Level;
  check.that(pg::is_supported(server.version), "source version", cat(pg::major_version(server.version)),
             Level::fail,
             cat("PostgreSQL ", pg::major_version(server.version), " is older than ", pg::kOldestVersion),
             "upgrade the source");
  check.that(!server.in_recovery, "source role", "primary", Level::fail, "the source is a standby",
             "give the primary's address in source:");
  check.that(settings.wal_level == "logical", "source wal_level", "logical", Level::fail,
             cat("wal_level is ", settings.wal_level),
             "ALTER SYSTEM SET wal_level = logical, and restart the source");
  check.that(server.superuser || server.replication, "source privilege", cat(server.role, " may replicate"),
             Level::fail, cat("role ", server.role, " may not replicate"),
             cat("ALTER ROLE ", pg::quote_ident(server.role), " REPLICATION"));
  // A slot that exists may have a walsender of its own, our last one, that has not noticed its end yet.
  const Level senders_full = check_slot_room(config, connection, settings, check) ? Level::warn : Level::fail;
  check.that(
      settings.used_senders < settings.max_senders, "source max_wal_senders",
      cat(settings.used_senders, " of ", settings.max_senders, " used"), senders_full,
      cat("all ", settings.max_senders, " WAL senders are in use"),
      cat("ALTER SYSTEM SET max_wal_senders = ", settings.max_senders + 5, ", and restart the source"));
  check.that(settings.max_slot_wal_keep_mb != 0, "source max_slot_wal_keep_size",
             settings.max_slot_wal_keep_mb < 0
                 ? std::string("unlimited: watch the disk while walign is stopped")
                 : cat(settings.max_slot_wal_keep_mb, " MB"),
             Level::warn, "max_slot_wal_keep_size is 0: a slot loses its WAL at the first checkpoint",
             "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf()");
  check.that(settings.prepared_transactions == 0, "source prepared transactions", "none", Level::warn,
             cat(settings.prepared_transactions, " prepared transactions: making the slot waits for them"),
             "COMMIT PREPARED or ROLLBACK PREPARED them: SELECT * FROM pg_prepared_xacts");
  check.that(settings.oldest_transaction_s < 60, "source oldest transaction",
             cat(settings.oldest_transaction_s, " s"), Level::warn,
             cat("a transaction has been writing for ", settings.oldest_transaction_s,
                 " s: making the slot waits for it"),
             "find it: SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL");
  check.that(settings.unseen_transactions == 0, "source transactions of others", "none is hidden",
             Level::warn,
             cat(settings.unseen_transactions, " are writing; how long, role ", server.role, " may not see"),
             cat("GRANT pg_read_all_stats TO ", pg::quote_ident(server.role)));
}

// Whether triggers and foreign keys can be held off.
bool check_target(const pg::ServerFacts& server, pg::Connection& connection, bool has_expressions,
                  Findings& findings) {
  const Settings settings = read_settings(connection);
  Checks check(findings);
  using Level = Finding::Level;
  const std::string role = pg::quote_ident(server.role);
  const std::string database = pg::quote_ident(server.database);
  check.that(pg::is_supported(server.version), "target version", cat(pg::major_version(server.version)),
             Level::fail,
             cat("PostgreSQL ", pg::major_version(server.version), " is older than ", pg::kOldestVersion),
             "upgrade the target");
  check.that(!server.in_recovery, "target role", "primary", Level::fail, "the target is a standby",
             "give the primary's address in target:");
  check.that(settings.can_create || apply::schema_installed(connection), "target schema walign",
             apply::schema_installed(connection) ? "exists" : "will be made", Level::fail,
             cat("role ", server.role, " may not make schema walign"),
             cat("GRANT CREATE ON DATABASE ", database, " TO ", role));
  check.that(settings.can_make_temporary || !has_expressions, "target temporary tables", "permitted",
             Level::fail,
             cat("role ", server.role, " may not make temporary tables, which checking expressions needs"),
             cat("GRANT TEMPORARY ON DATABASE ", database, " TO ", role));
  const bool replica_role = may_set_replica_role(connection);
  check.that(replica_role, "target session_replication_role",
             "replica: triggers and foreign keys do not fire for what walign applies", Level::warn,
             cat("role ", server.role,
                 " may not set session_replication_role: triggers and foreign keys fire, and "
                 "changes are applied in strict source order (slower)"),
             cat("GRANT SET ON PARAMETER session_replication_role TO ", role));
  return replica_role;
}

void check_same_place(const Prepared& p, Findings& findings) {
  if (p.source.system_id != p.target.system_id || p.source.database != p.target.database) return;
  std::set<config::TableName> sources;
  for (const auto& route : p.routes) sources.insert(route.source);
  for (const auto& route : p.routes) {
    if (!sources.contains(route.target)) continue;
    findings.push_back(
        {Finding::Level::fail, route.label(),
         "source and target are the same database, and this target is a source of the mapping too",
         "give the rows another target table"});
  }
}

void check_encodings(const Prepared& p, Findings& findings) {
  if (p.source.encoding == p.target.encoding || p.target.encoding == "UTF8") return;
  findings.push_back({Finding::Level::warn, "encodings",
                      cat("the source has ", p.source.encoding, ", the target ", p.target.encoding,
                          ": a character that the target lacks stops the stream"),
                      "make the target database with ENCODING 'UTF8'"});
}

bool has_expressions(const config::Config& config) {
  return std::any_of(config.tables.begin(), config.tables.end(), [](const config::TableRule& rule) {
    return rule.where ||
           std::any_of(rule.columns.begin(), rule.columns.end(),
                       [](const config::ColumnRule& c) { return c.kind == config::ColumnKind::sql; });
  });
}

}  // namespace

pg::ConnectionOptions connection_options(const config::Config& config, const std::string& conninfo,
                                         std::string_view what, const Interrupt* interrupt) {
  pg::ConnectionOptions options;
  options.conninfo = conninfo;
  options.application_name = cat(config.stream_name(), " ", what);
  options.settings.emplace_back(config::kPassSetting, config.fence_name());
  options.interrupt = interrupt;
  return options;
}

pg::ConnectionOptions looking_options(const config::Config& config, const std::string& conninfo,
                                      const Interrupt* interrupt) {
  auto options = connection_options(config, conninfo, "prepare", interrupt);
  options.settings.emplace_back("lock_timeout", kLockPatience);
  return options;
}

namespace {

// Those whose locks keep even a reader out.
std::string who_locks(pg::Connection& server, const char* side, std::string& remedy) {
  const auto r = server.exec(
      "SELECT l.pid, l.relation::pg_catalog.regclass::text, coalesce(nullif(a.application_name, ''), 'no "
      "name'), coalesce(a.query_start::timestamptz(0)::text, 'unknown'), coalesce(a.query, '') FROM "
      "pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid JOIN "
      "pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'i', 'I', 'S') WHERE "
      "l.locktype = 'relation' AND l.granted AND l.mode = 'AccessExclusiveLock' AND l.pid <> "
      "pg_catalog.pg_backend_pid() AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE "
      "d.datname = pg_catalog.current_database()) ORDER BY a.xact_start, 2 LIMIT 5");
  std::string out;
  for (int i = 0; i < r.rows(); ++i) {
    out += cat("; on the ", side, " ", r.text(i, 1), " is locked by pid ", r.text(i, 0), " (", r.text(i, 2),
               ", its query of ", r.text(i, 3), ": ", r.text(i, 4), ")");
    if (i == 0) remedy += cat(", or SELECT pg_terminate_backend(", r.text(i, 0), ") on the ", side);
  }
  return out;
}

}  // namespace

Error locked_out(const config::Config& config, const Interrupt* interrupt, const Error& error) {
  std::string who;
  std::string remedy = "wait for its end";
  for (const bool of_source : {true, false}) {
    pg::Connection server(looking_options(config, of_source ? config.source : config.target, interrupt));
    who += who_locks(server, of_source ? "source" : "target", remedy);
  }
  if (who.empty()) who = cat("; whoever did is gone: ", error.message());
  return Error(ErrorKind::transient,
               cat("a lock kept the definitions of the tables from being read for ", kLockPatience, who),
               remedy)
      .with_sqlstate(std::string(kLockTimeout));
}

void list_published(Prepared& p) {
  for (const auto& route : p.routes) {
    auto& list = route.inserts_only ? p.published_inserts : p.published;
    if (std::find(list.begin(), list.end(), route.source) == list.end()) list.push_back(route.source);
  }
}

void resolve_routes(const config::Config& config, pg::Connection& target, Prepared& p) {
  p.target_catalog = pg::read_tables(target);
  auto resolution = mapping::resolve(config, p.source_catalog, p.target_catalog, pg::read_types(target));
  p.routes = std::move(resolution.routes);
  auto& findings = resolution.findings;
  if (!mapping::any_failed(findings)) {
    for (auto& route : p.routes) {
      auto more = mapping::complete(route, apply::probe(target, route));
      findings.insert(findings.end(), more.begin(), more.end());
    }
  }
  if (!mapping::any_failed(findings) && !mapping::any_failed(p.findings)) {
    auto more = apply::check_statements(target, p.routes);
    findings.insert(findings.end(), more.begin(), more.end());
  }
  if (findings.empty()) {
    findings.push_back(
        {Finding::Level::ok, "mapping", cat(p.routes.size(), " tables, every statement planned"), ""});
  }
  p.findings.insert(p.findings.end(), findings.begin(), findings.end());
  list_published(p);
}

std::string inserts_publication(const config::Config& config) {
  return cat(config.stream_name(), "_inserts");
}

Prepared prepare(const config::Config& config, const Interrupt* interrupt) {
  return looking(config, interrupt, [&](pg::Connection& source, pg::Connection& target) {
    return prepare_with(config, source, target, true);
  });
}

Prepared prepare_with(const config::Config& config, pg::Connection& source, pg::Connection& target,
                      bool copies_old_rows) {
  if (config.reverse) return prepare_back(config, source, target);
  Prepared p;
  p.source = pg::read_server(source);
  p.target = pg::read_server(target);
  check_source(config, p.source, source, p.findings);
  const bool replica_role = check_target(p.target, target, has_expressions(config), p.findings);
  p.source_catalog = pg::read_tables(source);
  resolve_routes(config, target, p);
  const auto row = apply::read_stream(target, config.stream_name());
  const bool started = row && row->position.valid();
  check_publications(config, p, started, source);
  const auto known = apply::read_relations(target, config.stream_name());
  check_followed(config, p, known, source);
  check_same_place(p, p.findings);
  check_encodings(p, p.findings);
  if (copies_old_rows) check_copy({config, p, source, target, replica_role}, p.findings);
  const auto without_effect = settings_without_effect(config);
  p.findings.insert(p.findings.end(), without_effect.begin(), without_effect.end());
  if (config.schema_change == config::SchemaChange::add_columns) {
    check_may_alter(p);
    judge_additions(p, known, source, target);
  }
  return p;
}

Prepared prepare_replay(const config::Config& config, pg::ServerFacts source, pg::Catalog tables,
                        pg::Connection& target) {
  Prepared p;
  p.source = std::move(source);
  p.source_catalog = std::move(tables);
  p.target = pg::read_server(target);
  check_target(p.target, target, has_expressions(config), p.findings);
  resolve_routes(config, target, p);
  check_same_place(p, p.findings);
  check_encodings(p, p.findings);
  return p;
}

}  // namespace walign::stream
