// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Lets the target judge expressions before anything runs: each becomes a temporary view over a temporary table
// that looks like the source's, and the catalogs then say what it reads and calls.
#include "walign/apply.hpp"

namespace walign::apply {

namespace {

using mapping::Route;

// In a transaction that leaves nothing behind, whatever happens.
class RolledBack {
 public:
  explicit RolledBack(pg::Connection& connection) : connection_(connection) { connection_.exec("BEGIN"); }
  ~RolledBack() {
    try {
      if (!connection_.broken()) connection_.exec("ROLLBACK");
    } catch (const Error&) {  // the connection went; so did the transaction
    }
  }
  RolledBack(const RolledBack&) = delete;
  RolledBack& operator=(const RolledBack&) = delete;

 private:
  pg::Connection& connection_;
};

void create_source_table(pg::Connection& target, const Route& route) {
  std::string columns;
  for (const auto& c : route.source_columns) {
    columns += cat(columns.empty() ? "" : ", ", pg::quote_ident(c.name), " ", c.type_sql);
  }
  target.exec(cat("CREATE TEMPORARY TABLE walign_src (", columns, ") ON COMMIT DROP"));
}

std::vector<std::string> strings(const pg::Result& r) {
  std::vector<std::string> out;
  for (int i = 0; i < r.rows(); ++i) out.push_back(r.str(i, 0));
  return out;
}

// Columns of src; none named means the whole row, so all of them.
std::vector<std::string> columns_read(pg::Connection& target) {
  const auto r = target.exec(R"(
    SELECT DISTINCT a.attname FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_catalog.pg_rewrite'::regclass
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum > 0
         AND (d.refobjsubid = a.attnum OR w.ev_action::text ~ ':varattno 0 ')
    WHERE w.ev_class = 'pg_temp.walign_probe'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
      AND d.refobjid = 'pg_temp.walign_src'::regclass)");
  return strings(r);
}

// The rules of the expression's view and, in turn, of the views that it reads.
constexpr const char* kRules = R"(
    WITH RECURSIVE rules(view) AS (
      SELECT 'pg_temp.walign_probe'::regclass::oid
      UNION
      SELECT d.refobjid FROM rules r JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.view
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
             AND d.refclassid = 'pg_catalog.pg_class'::regclass
        JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind = 'v'))";

// With all of a partition tree where one of it is read.
std::vector<mapping::TableName> tables_read(pg::Connection& target) {
  const auto r = target.exec(cat(kRules, R"(, direct(oid) AS (
      SELECT d.refobjid FROM rules r JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.view
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
             AND d.refclassid = 'pg_catalog.pg_class'::regclass
      UNION
      SELECT CASE WHEN i.inhparent = t.oid THEN i.inhrelid ELSE i.inhparent END
        FROM direct t JOIN pg_catalog.pg_inherits i ON t.oid IN (i.inhparent, i.inhrelid))
    SELECT n.nspname, c.relname FROM direct t JOIN pg_catalog.pg_class c ON c.oid = t.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' ORDER BY 1, 2)"));
  std::vector<mapping::TableName> out;
  for (int i = 0; i < r.rows(); ++i) out.push_back({r.str(i, 0), r.str(i, 1)});
  return out;
}

// pg_depend does not have built-in functions, so they are read off the stored parse trees.
constexpr const char* kCalls = R"(, tree(t) AS (
      SELECT w.ev_action::text FROM rules r JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.view),
    calls(oid) AS (
      SELECT DISTINCT m.oid[1]::oid FROM tree,
        LATERAL pg_catalog.regexp_matches(t, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') AS m(oid)))";

// Volatile functions, and stable ones whose value is that of the moment or the session.
std::vector<std::string> unstable_calls(pg::Connection& target) {
  const auto r = target.exec(cat(kRules, kCalls, R"(
    SELECT DISTINCT p.proname::text FROM calls JOIN pg_catalog.pg_proc p ON p.oid = calls.oid
    WHERE p.provolatile = 'v' OR (p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN
      ('now', 'transaction_timestamp', 'statement_timestamp', 'current_setting', 'pg_current_snapshot',
       'txid_current_snapshot', 'current_database', 'inet_client_addr', 'inet_server_addr', 'pg_backend_pid',
       'pg_postmaster_start_time', 'pg_conf_load_time', 'version', 'getpgusername', 'current_query',
       'age') AND NOT (p.proname = 'age' AND p.pronargs = 2))
    UNION
    SELECT 'CURRENT_DATE, CURRENT_TIMESTAMP, CURRENT_USER or the like' FROM tree WHERE t ~ '\{SQLVALUEFUNCTION')"));
  return strings(r);
}

// Functions in a language of the user's that say of themselves that they may read tables (STABLE): which ones, no
// catalog knows. C functions are taken at their word that they do not.
std::vector<std::string> opaque_calls(pg::Connection& target) {
  const auto r = target.exec(cat(kRules, kCalls, R"(
    SELECT DISTINCT p.proname::text FROM calls JOIN pg_catalog.pg_proc p ON p.oid = calls.oid
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.provolatile = 's' AND p.pronamespace <> 'pg_catalog'::regnamespace
      AND l.lanname NOT IN ('c', 'internal'))"));
  return strings(r);
}

mapping::ExpressionFacts probe_one(pg::Connection& target, const std::string& expression) {
  mapping::ExpressionFacts facts;
  target.exec("SAVEPOINT walign_probe");
  try {
    // The extended protocol takes one statement only, whatever is in the expression.
    target.query(cat("CREATE TEMPORARY VIEW walign_probe AS SELECT (", expression,
                     "\n) AS e FROM pg_temp.walign_src AS src"),
                 {});
    facts.columns = columns_read(target);
    facts.reads = tables_read(target);
    facts.unstable = unstable_calls(target);
    facts.opaque = opaque_calls(target);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::query && error.kind() != ErrorKind::precondition) throw;
    facts.error = error.message();
  }
  target.exec("ROLLBACK TO SAVEPOINT walign_probe");
  return facts;
}

// What the target says to a statement; empty if it takes it.
std::string prepare_error(pg::Connection& target, const std::string& sql) {
  target.exec("SAVEPOINT walign_prepare");
  std::string message;
  try {
    target.exec(cat("PREPARE walign_check AS ", sql));
    target.exec("DEALLOCATE walign_check");
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::query && error.kind() != ErrorKind::precondition) throw;
    message = error.message();
    if (const auto at = message.find(", in: PREPARE"); at != std::string::npos) message.resize(at);
  }
  target.exec("ROLLBACK TO SAVEPOINT walign_prepare");
  return message;
}

void check_route(pg::Connection& target, const Route& route, mapping::Findings& findings) {
  const auto refuse = [&](std::string_view what, const std::string& message) {
    findings.push_back(
        {mapping::Finding::Level::fail, route.label(),
         cat("the target refuses the ", what, " that the mapping makes: ", message),
         "give the column an SQL expression of the target's type in columns:, or alter the target"});
  };
  if (const auto message = prepare_error(target, mapping::insert_statement(route).sql); !message.empty()) {
    refuse("INSERT", message);
    return;  // the others would say the same
  }
  if (route.key.empty()) return;
  const mapping::ColumnSet none(route.source_columns.size(), false);
  for (const auto& [what, statement] :
       {std::pair("DELETE", mapping::delete_statement(route)),
        std::pair("UPDATE", mapping::update_statement(route, none)),
        std::pair("UPDATE of the key", mapping::key_change_statement(route, none))}) {
    if (const auto message = prepare_error(target, statement.sql); !message.empty()) {
      refuse(what, message);
      return;
    }
  }
}

}  // namespace

std::vector<mapping::ExpressionFacts> probe(pg::Connection& target, const Route& route) {
  const auto expressions = mapping::expressions_to_probe(route);
  std::vector<mapping::ExpressionFacts> facts;
  if (expressions.empty()) return facts;
  const RolledBack transaction(target);
  create_source_table(target, route);
  for (const auto& expression : expressions) facts.push_back(probe_one(target, expression));
  return facts;
}

mapping::Findings check_statements(pg::Connection& target, const std::vector<Route>& routes) {
  mapping::Findings findings;
  const RolledBack transaction(target);
  if (!schema_installed(target)) create_schema_objects(target);
  for (const auto& route : routes) check_route(target, route, findings);
  return findings;
}

}  // namespace walign::apply
