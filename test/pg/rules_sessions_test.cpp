// What ALTER DATABASE and ALTER ROLE ... SET, and another encoding, do to the sessions of walign: nothing.
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// Everything that changes the text of a value, the meaning of a statement, or how long it may take.
const std::vector<std::pair<std::string, std::string>>& odd_settings() {
  static const std::vector<std::pair<std::string, std::string>> all = {
      {"DateStyle", "'SQL, DMY'"},
      {"IntervalStyle", "'sql_standard'"},
      {"extra_float_digits", "-15"},
      {"bytea_output", "'escape'"},
      {"TimeZone", "'Asia/Kolkata'"},
      {"lc_monetary", "'C'"},
      {"xmloption", "'document'"},
      {"xmlbinary", "'hex'"},
      {"search_path", "'nowhere'"},
      {"quote_all_identifiers", "on"},
      {"default_transaction_read_only", "on"},
      {"default_transaction_isolation", "'serializable'"},
      {"default_transaction_deferrable", "on"},
      {"statement_timeout", "'50ms'"},
      {"lock_timeout", "'50ms'"},
      {"idle_in_transaction_session_timeout", "'100ms'"},
      {"idle_session_timeout", "'300ms'"},
      {"standard_conforming_strings", "off"},
      {"escape_string_warning", "on"},
      {"array_nulls", "off"},
      {"transform_null_equals", "on"},
      {"row_security", "on"},
      {"client_min_messages", "'debug1'"},
      {"client_encoding", "'LATIN1'"},
      {"synchronous_commit", "off"},
      {"plan_cache_mode", "'force_custom_plan'"},
      {"default_tablespace", "''"},
      {"backslash_quote", "off"},
  };
  return all;
}

constexpr const char* kTable = R"(
CREATE TABLE t (id int PRIMARY KEY, d date, ts timestamptz, tn timestamp, i interval, f8 float8, f4 float4,
                b bytea, m money, x xml, txt text, a text[], n numeric, tz timetz, ab bytea[], ai interval[]))";

constexpr const char* kRows = R"(
INSERT INTO public.t SELECT g, date '2024-03-02' + g,
  timestamptz '2024-03-02 01:02:03.456789+05:30' + g * interval '1 h',
  timestamp '1999-12-31 23:59:59.999999', interval '-1 year 2 mons -3 days +04:05:06.7', 0.1::float8 + 0.2::float8,
  1::float4 / 3, '\x00275cff'::bytea, '1234.56'::money, xmlparse(content 'plain <b>bold</b>'), E'back\\slash '' quote',
  ARRAY['NULL', NULL, 'a"b\c', ''], 'NaN', '04:05:06.7+05:30', ARRAY['\x5c'::bytea, NULL], ARRAY[interval '1 day']
FROM pg_catalog.generate_series(1, 50) g)";

}  // namespace

TEST_CASE("values arrive exact and nothing times out, whatever databases and roles are set to") {
  Migration m;
  m.both(kTable);
  m.tables = "  - public.t\n";
  const std::string role = "odd" + std::to_string(getpid());
  for (Sql* db : {&m.source, &m.target}) {
    const std::string name = db->scalar("SELECT current_database()");
    db->exec("CREATE ROLE " + role + " SUPERUSER LOGIN");
    for (const auto& [setting, value] : odd_settings()) {
      db->exec("ALTER DATABASE " + name + " SET " + setting + " = " + value);
      db->exec("ALTER ROLE " + role + " IN DATABASE " + name + " SET " + setting + " = " + value);
    }
  }
  m.source_url.replace(m.source_url.find("postgres@"), 8, role);
  m.target_url.replace(m.target_url.find("postgres@"), 8, role);
  {
    Run run(m);
    run.wait_until_streaming();
    m.source.exec(kRows);
    run.catch_up(m.source);
    std::this_thread::sleep_for(1s);  // longer than the idle timeouts
    m.source.exec(
        "UPDATE t SET f8 = f8 * 3, i = i * 2, b = b || '\\x01'::bytea WHERE id % 2 = 0; "
        "UPDATE t SET id = id + 100 WHERE id % 5 = 0; DELETE FROM t WHERE id % 7 = 0");
    // A lock held for longer than the lock timeout.
    Sql lock(m.target.conninfo());
    lock.exec("SET idle_in_transaction_session_timeout = 0; BEGIN; LOCK TABLE public.t");
    std::this_thread::sleep_for(700ms);
    lock.exec("COMMIT");
    run.catch_up(m.source);
    CHECK(*run.status().epoch == 1);  // no session was ended
    CHECK(m.equal("t"));
    CHECK(m.target.scalar<int>("SELECT count(*) FROM t") > 30);
    run.stop();
  }
  m.source.exec("SELECT pg_drop_replication_slot('" + m.stream() + "')");
  for (Sql* db : {&m.source, &m.target}) db->exec("DROP OWNED BY " + role + " CASCADE; DROP ROLE " + role);
}

TEST_CASE("a LATIN1 source arrives in a UTF8 target") {
  Migration m;
  const std::string name = "latin" + std::to_string(getpid());
  Sql latin = source_server().create_database(name, "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
  latin.exec("SET client_encoding = 'UTF8'");
  const std::string table = "CREATE TABLE \"Größe\" (\"schlüssel\" text PRIMARY KEY, v text)";
  latin.exec(table);
  m.target.exec(table);
  m.source_url = source_server().url(name);
  m.tables = "  - public.Größe\n";
  {
    Run run(m);
    run.wait_until_streaming();
    latin.exec(
        "INSERT INTO \"Größe\" VALUES ('ä', 'naïve café'), ('ß', '¡¿ÿ'); "
        "UPDATE \"Größe\" SET \"schlüssel\" = 'é' WHERE \"schlüssel\" = 'ä'");
    run.catch_up(latin);
    CHECK(compare_same(latin, m.target, "\"Größe\"").equal());
    CHECK(m.target.scalar("SELECT v FROM \"Größe\" WHERE \"schlüssel\" = 'é'") == "naïve café");
    run.stop();
  }
  latin.exec("SELECT pg_drop_replication_slot('" + m.stream() + "')");
}

TEST_CASE(
    "a UTF8 source and a LATIN1 target: a character that the target lacks stops the stream, with its place") {
  Migration m;
  const std::string name = "latin" + std::to_string(getpid());
  Sql latin = target_server().create_database(name, "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
  latin.exec("SET client_encoding = 'UTF8'; CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target_url = target_server().url(name);
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'naïve')");
  run.catch_up(m.source);
  CHECK(latin.scalar("SELECT v FROM t") == "naïve");
  m.source.exec("INSERT INTO t VALUES (2, '漢字')");
  const auto error = run.wait();
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::conflict);
  CHECK_FALSE(error->hint().empty());
  CHECK(latin.scalar<int>("SELECT count(*) FROM t") == 1);
}
