// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

namespace walign::stream {

Settings read_settings(pg::Connection& connection) {
  const auto r = connection.exec(R"(
    SELECT pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('max_replication_slots')::int,
           (SELECT count(*) FROM pg_catalog.pg_replication_slots),
           pg_catalog.current_setting('max_wal_senders')::int,
           (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender'),
           (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'),
           (SELECT count(*) FROM pg_catalog.pg_prepared_xacts),
           coalesce((SELECT extract(epoch FROM max(pg_catalog.clock_timestamp() - xact_start))::bigint
                     FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL), 0),
           pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
           pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'),
           (SELECT count(*) FROM pg_catalog.pg_stat_activity
            WHERE backend_xid IS NOT NULL AND xact_start IS NULL))");
  Settings s;
  s.wal_level = r.str(0, 0);
  s.max_slots = r.integer(0, 1);
  s.used_slots = r.integer(0, 2);
  s.max_senders = r.integer(0, 3);
  s.used_senders = r.integer(0, 4);
  s.max_slot_wal_keep_mb = r.integer(0, 5);
  s.prepared_transactions = r.integer(0, 6);
  s.oldest_transaction_s = r.integer(0, 7);
  s.can_create = r.boolean(0, 8);
  s.can_make_temporary = r.boolean(0, 9);
  s.unseen_transactions = r.integer(0, 10);
  return s;
}

bool may_set_replica_role(pg::Connection& connection) {
  try {
    connection.exec("BEGIN; SET LOCAL session_replication_role = replica; ROLLBACK");
    return true;
  } catch (const Error& error) {
    if (connection.broken()) throw;
    connection.exec("ROLLBACK");
    if (error.sqlstate() != "42501") throw;
    return false;
  }
}

}  // namespace walign::stream
