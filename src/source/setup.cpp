// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/source.hpp"
#include "walign/versions.hpp"

namespace walign::source {

std::optional<state::SlotFacts> read_slot(pg::Connection& source, const std::string& slot) {
  const auto r = source.query(
      "SELECT slot_name, coalesce(plugin, ''), coalesce(database, ''), coalesce(wal_status, ''), "
      "confirmed_flush_lsn, restart_lsn, temporary, coalesce(two_phase, false), coalesce(active_pid, 0) "
      "FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
      {slot});
  if (r.rows() == 0) return std::nullopt;
  state::SlotFacts facts;
  facts.name = r.str(0, 0);
  facts.plugin = r.str(0, 1);
  facts.database = r.str(0, 2);
  facts.wal_status = r.str(0, 3);
  facts.confirmed_flush = r.lsn(0, 4);
  facts.restart = r.lsn(0, 5);
  facts.temporary = r.boolean(0, 6);
  facts.two_phase = r.boolean(0, 7);
  facts.active_pid = static_cast<int>(r.integer(0, 8));
  return facts;
}

void drop_slot(pg::Connection& source, const std::string& slot) {
  source.query(
      "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots "
      "WHERE slot_name = $1",
      {slot});
}

std::optional<std::vector<config::TableName>> read_publication(pg::Connection& source,
                                                               const std::string& name) {
  const auto exists =
      source.query("SELECT count(*) FROM pg_catalog.pg_publication WHERE pubname = $1", {name});
  if (exists.integer(0, 0) == 0) return std::nullopt;
  const auto r = source.query(
      "SELECT n.nspname, c.relname FROM pg_catalog.pg_publication_rel p "
      "JOIN pg_catalog.pg_publication b ON b.oid = p.prpubid JOIN pg_catalog.pg_class c ON c.oid = p.prrelid "
      "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE b.pubname = $1",
      {name});
  std::vector<config::TableName> tables;
  for (int i = 0; i < r.rows(); ++i) tables.push_back({r.str(i, 0), r.str(i, 1)});
  return tables;
}

void create_publication(pg::Connection& source, const std::string& name,
                        const std::vector<config::TableName>& tables, bool inserts_only) {
  std::string list;
  for (const auto& table : tables) {
    list += cat(list.empty() ? "" : ", ", pg::qualified(table.schema, table.name));
  }
  source.exec(cat("CREATE PUBLICATION ", pg::quote_ident(name), " FOR TABLE ", list, " WITH (publish = '",
                  inserts_only ? "insert, truncate" : "insert, update, delete, truncate",
                  "', publish_via_partition_root = false)"));
}

void add_to_publication(pg::Connection& source, const std::string& name, const config::TableName& table) {
  source.exec(cat("ALTER PUBLICATION ", pg::quote_ident(name), " ADD TABLE ",
                  pg::qualified(table.schema, table.name)));
}

void drop_publication(pg::Connection& source, const std::string& name) {
  source.exec(cat("DROP PUBLICATION IF EXISTS ", pg::quote_ident(name)));
}

NewSlot create_slot(const pg::ConnectionOptions& options, const std::string& slot,
                    const std::function<void(pg::Connection&)>& under_snapshot,
                    const std::function<void()>& still_waiting, bool two_phase) {
  pg::ConnectionOptions replication = options;
  replication.replication = true;
  pg::Connection walsender(replication);
  walsender.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  walsender.on_wait(still_waiting);
  // A standby that synchronises slots takes it along, so that the stream goes on after its promotion. Not both: 17
  // refuses that.
  const bool fails_over = !two_phase && pg::has_failover_slots(walsender.server_version());
  const auto created =
      walsender.exec(cat("CREATE_REPLICATION_SLOT ", pg::quote_ident(slot), " LOGICAL pgoutput (",
                         two_phase ? "TWO_PHASE, " : "", fails_over ? "FAILOVER, " : "", "SNAPSHOT 'use')"));
  walsender.on_wait({});
  NewSlot made;
  made.consistent_point = created.lsn(0, 1);
  try {
    made.snapshot = walsender.exec("SELECT pg_catalog.pg_current_snapshot()").str(0, 0);
    under_snapshot(walsender);
    walsender.exec("COMMIT");
  } catch (const Error&) {
    if (!walsender.broken()) {
      walsender.exec("ROLLBACK");
      walsender.exec(cat("DROP_REPLICATION_SLOT ", pg::quote_ident(slot)));
    }
    throw;
  }
  return made;
}

std::vector<std::string> running_transactions(pg::Connection& source) {
  // By locks: pg_stat_activity hides the xids of others from a role that is not in pg_read_all_stats.
  const auto r = source.exec(
      "SELECT 'pid ' || a.pid || ' (' || coalesce(nullif(a.application_name, ''), a.usename, 'unknown') || "
      "coalesce(', ' || extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::int || ' s', '') || "
      "'): ' || left(a.query, 60) FROM pg_catalog.pg_stat_activity a "
      "WHERE a.pid <> pg_catalog.pg_backend_pid() AND EXISTS (SELECT FROM pg_catalog.pg_locks l "
      "WHERE l.pid = a.pid AND l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted) "
      "UNION ALL SELECT 'prepared transaction ' || gid || ' of ' || owner || ' in ' || database "
      "FROM pg_catalog.pg_prepared_xacts");
  std::vector<std::string> out;
  for (int i = 0; i < r.rows(); ++i) out.push_back(r.str(i, 0));
  return out;
}

std::int64_t clock_us(pg::Connection& source) {
  return source.exec("SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8")
      .integer(0, 0);
}

Lsn current_lsn(pg::Connection& source, std::uint64_t wal_segment_bytes) {
  return source.exec("SELECT pg_catalog.pg_current_wal_insert_lsn()")
      .lsn(0, 0)
      .without_page_header(wal_segment_bytes);
}

void nudge(pg::Connection& source) {
  WALIGN_CHECK(!source.in_transaction());  // its COMMIT would end that, and take its snapshot and locks
  source.exec(
      "BEGIN; SET LOCAL synchronous_commit = local; "
      "SELECT pg_catalog.pg_logical_emit_message(true, 'walign', ''); COMMIT");
}

}  // namespace walign::source
