// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What `finish` leaves on the side that is closed: triggers that refuse without looking at anything, so that schema
// walign can go. Their function is in the table's own schema, like the table it belongs to.
#include <set>

#include "fence_transaction.hpp"

namespace walign::cutover {

namespace {

constexpr const char* kRow = "walign_closed";
constexpr const char* kStatement = "walign_closed_statement";

std::string name_of(const std::string& schema) { return cat(pg::quote_ident(schema), ".walign_closed"); }
std::string function_of(const std::string& schema) { return cat(name_of(schema), "()"); }

std::string make_function(const std::string& schema) {
  return cat("CREATE OR REPLACE FUNCTION ", function_of(schema),
             R"( RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = '25006',
    MESSAGE = pg_catalog.format('%I.%I was moved by migration %s and does not take writes here any more',
      TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0]),
    HINT = pg_catalog.format('write to %s', TG_ARGV[1]), SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END $$;
REVOKE ALL ON FUNCTION )",
             function_of(schema), " FROM PUBLIC; ");
}

// A DO block, since the partitions are known only under the lock.
std::string make_triggers(const TableName& table, const std::string& migration, const std::string& write_to) {
  const std::string root = pg::qualified(table.schema, table.name);
  const std::string runs = cat("EXECUTE FUNCTION ", name_of(table.schema), "(", pg::quote_literal(migration),
                               ", ", pg::quote_literal(write_to), ")");
  return cat(R"(DO $walign$
DECLARE
  root constant regclass := )",
             pg::quote_literal(root), R"(::pg_catalog.regclass;
  runs constant text := )",
             pg::quote_literal(runs), R"(;
  relation regclass;
  kind "char";
BEGIN
  EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %s', )",
             pg::quote_literal(function_of(table.schema)),
             R"(, (SELECT c.relowner::pg_catalog.regrole FROM pg_catalog.pg_class c WHERE c.oid = root));
  EXECUTE pg_catalog.format('CREATE OR REPLACE TRIGGER walign_closed AFTER INSERT OR UPDATE OR DELETE ON %s '
                            'FOR EACH ROW %s', root, runs);
  EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER walign_closed', root);
  FOR relation, kind IN
    SELECT c.oid, c.relkind FROM pg_catalog.pg_class c WHERE c.oid = root
      OR c.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree(root) t) ORDER BY c.oid <> root, c.oid
  LOOP
    EXECUTE pg_catalog.format('CREATE OR REPLACE TRIGGER walign_closed_statement BEFORE INSERT OR UPDATE OR DELETE %s '
      'ON %s FOR EACH STATEMENT %s', CASE WHEN kind = 'f' THEN '' ELSE 'OR TRUNCATE' END, relation, runs);
    EXECUTE pg_catalog.format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER walign_closed_statement', relation);
  END LOOP;
END $walign$)");
}

void close_one(pg::Connection& server, const TableName& table, const std::string& sql, const Limits& limits) {
  for (int attempt = 1;; ++attempt) {
    try {
      FenceTransaction transaction(
          server, {limits.lock_timeout, limits.statement_timeout, limits.break_deadlocks},
          cat("LOCK TABLE ", pg::qualified(table.schema, table.name), " IN SHARE ROW EXCLUSIVE MODE"));
      server.exec(sql);
      transaction.commit(cat("closing ", table.to_string(), " for good"));
      return;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::transient || attempt >= limits.attempts) throw;
    }
  }
}

bool drop_one(pg::Connection& server, const TableName& table, Millis patience) {
  const std::string root = pg::qualified(table.schema, table.name);
  const auto r = server.query(
      "SELECT t.tgrelid::pg_catalog.regclass::text, t.tgname FROM pg_catalog.pg_trigger t WHERE t.tgparentid "
      "= 0 AND "
      "t.tgname IN ($1, $2) AND (t.tgrelid = $3::pg_catalog.regclass OR t.tgrelid IN "
      "(SELECT p.relid FROM pg_catalog.pg_partition_tree($3::pg_catalog.regclass) p))",
      {kRow, kStatement, root});
  std::string drops;
  for (int i = 0; i < r.rows(); ++i) {
    drops += cat("DROP TRIGGER ", pg::quote_ident(r.text(i, 1)), " ON ", r.text(i, 0), "; ");
  }
  if (drops.empty()) return true;
  try {
    FenceTransaction transaction(server, {patience, Millis(0), false}, drops);
    transaction.commit(cat("reopening ", table.to_string()));
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::transient) throw;
    return false;
  }
}

void drop_function(pg::Connection& server, const std::string& schema) {
  const auto r = server.query(
      "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgfoid = pg_catalog.to_regprocedure($1))",
      {function_of(schema)});
  if (r.boolean(0, 0)) return;
  FenceTransaction transaction(server, {}, cat("DROP FUNCTION IF EXISTS ", function_of(schema)));
  transaction.commit("dropping walign_closed");
}

}  // namespace

void close_for_good(pg::Connection& server, const std::string& migration, const std::string& write_to,
                    const std::vector<TableName>& tables, const Limits& limits) {
  std::set<std::string> schemas;
  for (const auto& table : tables) {
    const bool first = schemas.insert(table.schema).second;
    close_one(server, table,
              cat(first ? make_function(table.schema) : "", make_triggers(table, migration, write_to)),
              limits);
  }
}

std::vector<std::string> reopen_for_good(pg::Connection& server, const std::vector<TableName>& tables,
                                         Millis patience) {
  std::vector<std::string> left;
  std::set<std::string> schemas;
  for (const auto& table : tables) {
    schemas.insert(table.schema);
    if (!drop_one(server, table, patience)) left.push_back(table.to_string());
  }
  for (const auto& schema : schemas) drop_function(server, schema);
  return left;
}

}  // namespace walign::cutover
