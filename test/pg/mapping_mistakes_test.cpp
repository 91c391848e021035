// Mappings that cannot work are refused before anything is made.
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// Nothing of walign's is on either server.
bool untouched(Migration& m) {
  return m.source.scalar<int>("SELECT count(*)::int FROM pg_publication") == 0 &&
         m.source.scalar<int>(
             "SELECT count(*)::int FROM pg_replication_slots WHERE database = "
             "current_database()") == 0 &&
         m.target.scalar<int>("SELECT count(*)::int FROM pg_namespace WHERE nspname = 'walign'") == 0;
}

}  // namespace

TEST_CASE("functions that do not depend on the row alone are refused by name") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target.exec(
      "CREATE SEQUENCE s; CREATE FUNCTION mine(int) RETURNS int LANGUAGE sql AS 'SELECT $1';"
      "CREATE VIEW dice AS SELECT random() AS r;"
      "CREATE TABLE t (id int PRIMARY KEY, v text)");
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"random()", "random"},
      {"now()", "now"},
      {"CURRENT_DATE", "CURRENT_DATE"},
      {"CURRENT_USER", "CURRENT_USER"},
      {"clock_timestamp()", "clock_timestamp"},
      {"nextval('public.s')", "nextval"},
      {"public.mine(id)", "mine"},
      {"gen_random_uuid()", "gen_random_uuid"},
      {"statement_timestamp()", "statement_timestamp"},
      {"(SELECT r FROM public.dice)", "random"},
      {"pg_catalog.set_config('a.b', v, false)", "set_config"},
  };
  for (const auto& [expression, function] : refused) {
    for (const bool in_filter : {false, true}) {
      INFO(expression);
      const std::string sql = "(" + expression + ")::text";
      m.tables = in_filter ? "  - {from: public.t, where: \"" + sql + " <> ''\"}\n"
                           : "  - {from: public.t, columns: {v: {sql: \"" + sql + "\"}}}\n";
      const auto prepared = stream::prepare(m.config(), nullptr);
      CHECK(mapping::any_failed(prepared.findings));
      bool named = false;
      for (const auto& finding : prepared.findings) {
        if (finding.level == mapping::Finding::Level::fail) named = named || has(finding.what, function);
      }
      CHECK(named);
    }
  }
  for (const std::string taken : {"upper(v)", "to_char(timestamptz '2024-01-01', 'YYYY')",
                                  "age(date '2024-01-01', "
                                  "date '2023-01-01')",
                                  "coalesce(nullif(v, ''), 'x')", "md5(src.v)"}) {
    INFO(taken);
    m.tables = "  - {from: public.t, columns: {v: {sql: \"(" + taken + ")::text\"}}}\n";
    CHECK_FALSE(mapping::any_failed(stream::prepare(m.config(), nullptr).findings));
  }
  CHECK(untouched(m));
}

TEST_CASE("mistakes in a mapping are found before anything is made") {
  Migration m;
  m.source.exec(
      "CREATE TABLE t (id int PRIMARY KEY, v text, n int); CREATE TABLE nokey (v text); "
      "CREATE UNLOGGED TABLE fast (id int PRIMARY KEY);"
      "CREATE TABLE def (id int PRIMARY KEY DEFERRABLE, v text)");
  m.target.exec(
      "CREATE TABLE t (id int PRIMARY KEY, v text, n int); CREATE TABLE nokey (v text); "
      "CREATE TABLE fast (id int PRIMARY KEY); CREATE TABLE def (id int PRIMARY KEY, v text);"
      "CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, v text, n int);"
      "CREATE TABLE strict (id int PRIMARY KEY, v text, n int, must int NOT NULL);"
      "CREATE TABLE gen (id int PRIMARY KEY, v text, n int, g int GENERATED ALWAYS AS (n) STORED);"
      "CREATE TABLE dates (id int PRIMARY KEY, v date, n int); CREATE TABLE small (id int PRIMARY KEY)");
  const std::vector<std::pair<std::string, std::string>> mistakes = {
      {"  - public.nosuch\n", "does not exist on the source"},
      {"  - public.t: public.nosuch\n", "does not exist on the target"},
      {"  - {from: public.t, columns: {v: nosuch}}\n", "no column nosuch"},
      {"  - {from: public.t, columns: {nosuch: v}}\n", "no column nosuch"},
      {"  - {from: public.t, columns: {v: {sql: \"upper(\"}}}\n", "syntax error"},
      {"  - {from: public.t, columns: {v: {sql: \"nosuch(v)\"}}}\n", "nosuch"},
      {"  - {from: public.t, columns: {v: {sql: \"''); DROP TABLE public.t; SELECT (''\"}}}\n", "DROP"},
      {"  - {from: public.t, where: \"n\"}\n", "boolean"},
      {"  - {from: public.t, key: [v]}\n", "no unique index"},
      {"  - public.t: public.late\n", "deferrable"},
      {"  - public.t: public.strict\n", "NOT NULL"},
      {"  - {from: public.t, to: public.gen, columns: {g: n}}\n", "generated"},
      {"  - public.t: public.dates\n", "type date"},
      {"  - public.t: public.small\n", "goes nowhere"},
      {"  - public.nokey\n", "primary key"},
      {"  - public.fast\n", "unlogged"},
      {"  - public.def\n", "replica identity"},
      {"  - \"public.t*\"\n  - public.t\n", "twice"},
      {"  - {from: public.t, columns: {id: {constant: \"1\"}}}\n", "constants only"},
      {"  - {from: public.t, columns: {id: n}}\n", "replica identity"},
      {"  - \"public.zz*\"\n", "matches no table"},
      {"  - {from: public.t, columns: {nosuch: false}}\n", "no such column"},
  };
  for (const auto& [tables, says] : mistakes) {
    INFO(tables);
    m.tables = tables;
    Run run(m);
    const auto error = run.wait();
    REQUIRE(error);
    INFO(error->describe());
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->message(), says));
    CHECK(has(error->message(), "remedy: "));
    CHECK(untouched(m));
  }
  CHECK(m.target.scalar<int>(
            "SELECT count(*)::int FROM pg_tables WHERE tablename = 't' AND schemaname = 'public'") == 1);
}

TEST_CASE("a replica identity that changes while running stops before the first row it spoils") {
  Migration m;
  m.source.exec(
      "CREATE TABLE t (id int PRIMARY KEY, u int NOT NULL, v text); CREATE UNIQUE INDEX by_u ON t (u)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, u int, v text)");
  m.tables = GENERATE("  - public.t\n", "  - {from: public.t, where: v <> 'hidden'}\n");
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 1, 'a')");
  m.source.exec("ALTER TABLE t REPLICA IDENTITY USING INDEX by_u");
  m.source.exec("UPDATE t SET id = 2");  // says nothing of row 1
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(has(error->message(), "replica identity"));
  CHECK(m.target.scalar("SELECT string_agg(id::text, ',') FROM t") == "1");
}

TEST_CASE("the server reads back what was quoted, and what an array holds") {
  Migration m;
  pg::ConnectionOptions options;
  options.conninfo = m.target_url;
  pg::Connection connection(options);
  std::vector<std::string> texts = {"",         "plain",      "it's",        "a\\b",
                                    "\\",       "\"quoted\"", "line\nbreak", "Größe",
                                    "{a,NULL}", "NULL",       " ",           "'; DROP TABLE t; --",
                                    "E'x'",     "$1"};
  pg::TextArray array;
  for (const auto& text : texts) {
    INFO(text);
    CHECK(connection.exec("SELECT " + pg::quote_literal(text)).text(0, 0) == text);
    CHECK(connection.exec("SELECT " + pg::quote_literal(text)).text(0, 0) ==
          m.target.scalar("SELECT $1::text", {text}));
    if (!text.empty()) {
      // The server quotes where it must, we always: what both name is the same.
      CHECK(m.target.scalar("SELECT quote_ident($1) IN ($1, $2)", {text, pg::quote_ident(text)}) == "t");
      connection.exec("CREATE TEMPORARY TABLE q (" + pg::quote_ident(text) + " int)");
      CHECK(
          connection
              .exec("SELECT attname FROM pg_attribute WHERE attrelid = 'pg_temp.q'::regclass AND attnum = 1")
              .text(0, 0) == text);
      connection.exec("DROP TABLE pg_temp.q");
    }
    array.add(text);
  }
  array.add_null();
  const auto rows = connection.query_params("SELECT v FROM unnest($1::text[]) AS v", {array.param()});
  REQUIRE(rows.rows() == static_cast<int>(texts.size()) + 1);
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(rows.text(static_cast<int>(i), 0) == texts[i]);
  CHECK(rows.is_null(rows.rows() - 1, 0));
}
