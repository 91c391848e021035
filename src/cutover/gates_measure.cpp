// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "gates.hpp"

namespace walign::cutover {

namespace {

std::vector<std::string> read_prepared(pg::Connection& server) {
  const auto r = server.exec(
      "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() ORDER BY "
      "1");
  std::vector<std::string> out;
  for (int i = 0; i < r.rows(); ++i) out.push_back(r.str(i, 0));
  return out;
}

// A session whose `state` is NULL is one that we may not look into.
void read_transactions(pg::Connection& server, ServerFigures& figures) {
  const auto r = server.exec(
      "SELECT a.pid, coalesce(a.query, ''), extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start), "
      "a.state IS NULL FROM pg_catalog.pg_stat_activity a WHERE a.datname = pg_catalog.current_database() "
      "AND "
      "a.pid <> pg_catalog.pg_backend_pid() AND (a.backend_type = 'client backend' AND a.xact_start IS NOT "
      "NULL OR "
      "a.state IS NULL AND a.backend_type IS NULL) ORDER BY a.xact_start");
  for (int i = 0; i < r.rows(); ++i) {
    if (r.boolean(i, 3)) {
      ++figures.hidden_sessions;
    } else {
      figures.transactions.push_back(
          {static_cast<int>(r.integer(i, 0)), r.str(i, 1), std::stod(r.str(i, 2))});
    }
  }
}

// Modes with which SHARE ROW EXCLUSIVE conflicts, without ROW EXCLUSIVE: that one is the application writing.
constexpr const char* kHolders = R"(
WITH roots AS (SELECT pg_catalog.to_regclass(n) AS root FROM pg_catalog.unnest($1) AS n),
  mapped AS (SELECT root AS relid FROM roots
             UNION SELECT t.relid FROM roots, LATERAL pg_catalog.pg_partition_tree(root) t)
SELECT l.pid, l.relation::pg_catalog.regclass::text, l.mode, coalesce(a.query, ''),
  coalesce(a.query, '') LIKE 'autovacuum: %' AND a.query NOT LIKE '%(to prevent wraparound)'
FROM pg_catalog.pg_locks l JOIN mapped m ON m.relid = l.relation
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.pid IS NOT NULL AND l.pid <> pg_catalog.pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                 'AccessExclusiveLock')
ORDER BY 2, 1)";

std::vector<LockHolder> read_holders(pg::Connection& server, const std::vector<TableName>& tables) {
  pg::TextArray names;
  for (const auto& table : tables) names.add(pg::qualified(table.schema, table.name));
  pg::Param array = names.param();
  array.type = pg::kTextArrayOid;
  const auto r = server.query_params(kHolders, {array});
  std::vector<LockHolder> out;
  for (int i = 0; i < r.rows(); ++i) {
    out.push_back(
        {static_cast<int>(r.integer(i, 0)), r.str(i, 1), r.str(i, 2), r.str(i, 3), r.boolean(i, 4)});
  }
  return out;
}

// Physical ones: walsenders of logical slots are somebody's stream, ours too.
void read_standbys(pg::Connection& server, ServerFigures& figures) {
  if (server.exec("SELECT pg_catalog.pg_is_in_recovery()").boolean(0, 0)) return;
  const auto r = server.exec(
      "SELECT coalesce(nullif(r.application_name, ''), 'standby'), r.state, greatest(0, "
      "pg_catalog.pg_wal_lsn_diff("
      "pg_catalog.pg_current_wal_flush_lsn(), r.flush_lsn))::pg_catalog.int8, r.state IS NULL "
      "FROM pg_catalog.pg_stat_replication r WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s "
      "WHERE s.active_pid = r.pid AND s.slot_type = 'logical') AND (r.state IS NULL OR r.flush_lsn IS NOT "
      "NULL) "
      "ORDER BY 1");
  for (int i = 0; i < r.rows(); ++i) {
    if (r.boolean(i, 3)) {
      ++figures.hidden_standbys;
    } else {
      figures.standbys.push_back({r.str(i, 0), r.str(i, 1), r.integer(i, 2)});
    }
  }
}

}  // namespace

ServerFigures measure(pg::Connection& server, const std::vector<TableName>& tables) {
  ServerFigures figures;
  figures.prepared = read_prepared(server);
  read_transactions(server, figures);
  figures.holders = read_holders(server, tables);
  read_standbys(server, figures);
  return figures;
}

}  // namespace walign::cutover
