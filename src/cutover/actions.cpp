// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "actions.hpp"

#include <thread>

#include "fence_transaction.hpp"
#include "sequences.hpp"

namespace walign::cutover {

namespace {

using mapping::Finding;
using Level = Finding::Level;

// Statements, rolled back; the error, if any.
std::optional<Error> attempt(pg::Connection& server, const Waits& waits, const std::string& sql) {
  try {
    FenceTransaction transaction(server, waits, sql);
    transaction.rollback();
    return std::nullopt;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::connection || error.kind() == ErrorKind::interrupted) throw;
    return error;
  }
}

class Privileges {
 public:
  Privileges(pg::Connection& server, const FenceId& id, Millis patience)
      : server_(server),
        side_(side_name(id.side)),
        role_(server.exec("SELECT current_user").str(0, 0)),
        waits_{patience, Millis(0), false} {}

  mapping::Findings all(const std::vector<TableName>& tables) {
    schema();
    deadlock_timeout();
    marker();
    for (const auto& table : tables) owner(table);
    sequences(tables);
    return std::move(findings_);
  }

 private:
  void add(Level level, const std::string& subject, std::string what, std::string remedy) {
    findings_.push_back({level, cat(side_, " ", subject), std::move(what), std::move(remedy)});
  }

  void schema() {
    if (fence_installed(server_)) {
      const auto failed = attempt(server_, waits_, "LOCK TABLE walign.fence IN ROW EXCLUSIVE MODE");
      if (failed) add(Level::fail, "walign.fence", failed->message(), "run walign as the role that made it");
      return;
    }
    const auto r = server_.exec(
        "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), "
        "coalesce(pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace('walign')::pg_catalog.oid, "
        "'CREATE'), "
        "false), pg_catalog.current_database()");
    if (r.boolean(0, 0) || r.boolean(0, 1)) return;
    add(Level::fail, "schema walign", cat("role ", role_, " may not make it"),
        cat("GRANT CREATE ON DATABASE ", pg::quote_ident(r.text(0, 2)), " TO ", pg::quote_ident(role_)));
  }

  void deadlock_timeout() {
    if (!attempt(server_, waits_, "SET LOCAL deadlock_timeout = 50")) return;
    add(Level::warn, "deadlock_timeout",
        cat("role ", role_,
            " may not set it: autovacuum would not give way to the fence, and a deadlock with the "
            "application could end with the application"),
        cat("GRANT SET ON PARAMETER deadlock_timeout TO ", pg::quote_ident(role_),
            " (PostgreSQL 15 and later)"));
  }

  void marker() {
    const auto failed =
        attempt(server_, waits_, "SELECT pg_catalog.pg_logical_emit_message(true, 'walign', '')");
    if (failed) add(Level::fail, "pg_logical_emit_message", failed->message(), failed->hint());
  }

  // The real thing, with a function that does nothing in place of guard().
  void owner(const TableName& table) {
    const std::string name = pg::qualified(table.schema, table.name);
    const auto r = server_.query(
        "SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE'), c.relowner::pg_catalog.regrole::text "
        "FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)",
        {name});
    if (r.rows() == 0) {
      add(Level::fail, table.to_string(), "does not exist", "correct tables: in walign.yaml");
      return;
    }
    const std::string remedy = cat("GRANT ", r.text(0, 1), " TO ", pg::quote_ident(role_));
    if (!r.boolean(0, 0)) {
      add(Level::fail, table.to_string(), cat("role ", role_, " is not its owner: no trigger can be made"),
          remedy);
      return;
    }
    const auto failed =
        attempt(server_, waits_,
                cat("LOCK TABLE ", name,
                    " IN SHARE ROW EXCLUSIVE MODE; CREATE TRIGGER walign_tried BEFORE INSERT ON ", name,
                    " FOR EACH STATEMENT EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger(); "
                    "ALTER TABLE ",
                    name, " ENABLE ALWAYS TRIGGER walign_tried"));
    if (failed && failed->kind() == ErrorKind::transient) {
      add(Level::warn, table.to_string(), cat("could not be locked to try a trigger: ", failed->message()),
          "the fence will try again; see who holds it in pg_locks");
    } else if (failed) {
      add(Level::fail, table.to_string(), failed->message(), remedy);
    }
  }

  // Read on the side that gives, set on the one that takes; after a rollback it is the other way round.
  void sequences(const std::vector<TableName>& tables) {
    for (const auto& s : read_sequences(server_, tables).all) {
      if (s.readable && s.settable) continue;
      add(Level::fail, cat("sequence ", s.name),
          cat("role ", role_, " may not ",
              s.readable   ? "set it"
              : s.settable ? "read it"
                           : "read or set it"),
          cat("GRANT SELECT, UPDATE ON SEQUENCE ", s.name, " TO ", pg::quote_ident(role_)));
    }
  }

  pg::Connection& server_;
  const std::string side_;
  const std::string role_;
  const Waits waits_;
  mapping::Findings findings_;
};

constexpr const char* kFingerprints = R"(
WITH roots AS (
    SELECT n.place, pg_catalog.to_regclass(n.name)::pg_catalog.oid AS root
    FROM pg_catalog.unnest($1) WITH ORDINALITY AS n(name, place)),
  relations AS (
    SELECT place, root AS relid FROM roots
    UNION SELECT r.place, t.relid FROM roots r, LATERAL pg_catalog.pg_partition_tree(r.root) t),
  lines AS (
    SELECT r.place, pg_catalog.concat_ws('|', 'table', c.oid, c.relkind, c.relreplident, c.relrowsecurity,
        c.relpersistence, pg_catalog.pg_get_expr(c.relpartbound, c.oid)) AS line
      FROM relations r JOIN pg_catalog.pg_class c ON c.oid = r.relid
    UNION ALL
    SELECT r.place, pg_catalog.concat_ws('|', 'column', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod,
        a.attnotnull, a.attcollation, a.attidentity, a.attgenerated, pg_catalog.pg_get_expr(d.adbin, d.adrelid))
      FROM relations r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    SELECT r.place, pg_catalog.concat_ws('|', 'constraint', k.conrelid, k.conname, k.convalidated,
        pg_catalog.pg_get_constraintdef(k.oid))
      FROM relations r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.relid AND k.contype <> 't'
    UNION ALL
    SELECT r.place, pg_catalog.concat_ws('|', 'index', i.indrelid, i.indisvalid, i.indisreplident,
        pg_catalog.pg_get_indexdef(i.indexrelid))
      FROM relations r JOIN pg_catalog.pg_index i ON i.indrelid = r.relid)
SELECT place, pg_catalog.md5(pg_catalog.string_agg(line, E'\n' ORDER BY line COLLATE "C")) FROM lines GROUP BY place)";

}  // namespace

mapping::Findings try_privileges(pg::Connection& server, const FenceId& id,
                                 const std::vector<TableName>& tables, Millis patience) {
  return Privileges(server, id, patience).all(tables);
}

std::map<TableName, std::string> fingerprints(pg::Connection& server, const std::vector<TableName>& tables) {
  pg::TextArray names;
  for (const auto& table : tables) names.add(pg::qualified(table.schema, table.name));
  pg::Param array = names.param();
  array.type = pg::kTextArrayOid;
  const auto r = server.query_params(kFingerprints, {array});
  std::map<TableName, std::string> out;
  for (int i = 0; i < r.rows(); ++i) {
    out[tables.at(static_cast<std::size_t>(r.integer(i, 0) - 1))] = r.str(i, 1);
  }
  return out;
}

std::vector<TableName> changed_tables(const std::map<TableName, std::string>& before,
                                      const std::map<TableName, std::string>& now) {
  std::vector<TableName> out;
  for (const auto& [table, print] : before) {
    const auto found = now.find(table);
    if (found == now.end() || found->second != print) out.push_back(table);
  }
  for (const auto& [table, print] : now) {
    if (!before.contains(table)) out.push_back(table);
  }
  return out;
}

Flushed wait_until_flushed(pg::Connection& server, Lsn lsn, Millis timeout, const Interrupt* interrupt) {
  using SteadyClock = std::chrono::steady_clock;
  const auto start = SteadyClock::now();
  Flushed flushed;
  for (;;) {
    // Own flush first: a standby cannot have what the server has not.
    const auto own = server.exec("SELECT pg_catalog.pg_current_wal_flush_lsn()").lsn(0, 0);
    const auto r = server.query(
        "SELECT coalesce(nullif(r.application_name, ''), 'standby'), r.state, greatest(0, "
        "pg_catalog.pg_wal_lsn_diff($1::pg_catalog.pg_lsn, r.flush_lsn))::pg_catalog.int8, r.state IS NULL "
        "FROM pg_catalog.pg_stat_replication r WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots "
        "s "
        "WHERE s.active_pid = r.pid AND s.slot_type = 'logical') AND (r.state IS NULL OR r.flush_lsn < "
        "$1::pg_catalog.pg_lsn)",
        {lsn.to_string()});
    flushed.behind.clear();
    flushed.hidden_standbys = 0;
    for (int i = 0; i < r.rows(); ++i) {
      if (r.boolean(i, 3)) {
        ++flushed.hidden_standbys;
      } else {
        flushed.behind.push_back({r.str(i, 0), r.str(i, 1), r.integer(i, 2)});
      }
    }
    flushed.done = own >= lsn && flushed.behind.empty();
    flushed.ms = std::chrono::duration<double, std::milli>(SteadyClock::now() - start).count();
    if (flushed.done || SteadyClock::now() - start >= timeout) return flushed;
    if (interrupt != nullptr) {
      interrupt->sleep_for(Millis(2));
    } else {
      std::this_thread::sleep_for(Millis(2));
    }
  }
}

}  // namespace walign::cutover
