// Chunks that share a COPY and a transaction on the target: all of them are there with their records, or none is, and
// those that are not are read again. And how they are read: as they lie, or in the key's order.
#include <map>

#include "support/copying.hpp"
#include "support/migration_files.hpp"
#include "support/proxy.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// 30 chunks, read by one worker: the first of them in one run.
struct Shared {
  Shared() {
    m.both("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE other (id int PRIMARY KEY)");
    m.source.exec("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 3000) i; ANALYZE t");
    m.tables = "  - public.t\n";
    m.more = "backfill: { chunk_rows: 100, workers: 1 }\n";
  }
  int rows() { return m.target.scalar<int>("SELECT count(*)::int FROM t"); }
  int records() { return m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk"); }
  // Where the stream has brought nothing yet: every row lies in one recorded chunk, and each has as many as it says.
  bool rows_are_as_recorded() {
    const std::string in =
        "(c.lower_key IS NULL OR t.id > c.lower_key[1]::int OR (t.id = c.lower_key[1]::int AND NOT "
        "c.lower_after)) "
        "AND (c.upper_key IS NULL OR t.id < c.upper_key[1]::int OR (t.id = c.upper_key[1]::int AND "
        "c.upper_after))";
    return m.target.scalar<bool>(
        "SELECT NOT EXISTS (SELECT FROM t WHERE (SELECT count(*) FROM walign.chunk c WHERE " + in +
        ") <> 1) AND NOT EXISTS (SELECT FROM walign.chunk c WHERE c.rows <> (SELECT count(*) FROM t WHERE " +
        in + "))");
  }
  // Rows come, go, change, and move from chunk to chunk.
  void change() {
    m.source.exec(
        "UPDATE t SET v = v || '!' WHERE id % 7 = 0; DELETE FROM t WHERE id % 11 = 0; "
        "INSERT INTO t SELECT i, 'new' FROM generate_series(5000, 5050) i; "
        "UPDATE t SET id = id + 10000 WHERE id % 13 = 0; UPDATE t SET id = -id WHERE id % 17 = 0");
  }
  // A session of the target that waits so, and what for.
  bool waits(const std::string& event, const std::string& query = "%") {
    return m.target.scalar<bool>(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND $1 IN "
        "(wait_event_type, "
        "wait_event) AND query LIKE $2)",
        {event, query});
  }
  bool sleeps() { return waits("PgSleep"); }
  Migration m;
};

// A transaction on the target that stands still for a while: in its COPY (at the 150th row, which is not of its first
// chunk), between two of its records, or in the middle of its COMMIT.
class Stop {
 public:
  Stop(Sql& target, const std::string& at) : target_(target), table_(at == "rows" ? "t" : "walign.chunk") {
    target.exec(
        "CREATE OR REPLACE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE n int := "
        "coalesce(nullif(current_setting('test.met', true), ''), '0')::int + 1; BEGIN "
        "PERFORM set_config('test.met', n::text, true); "
        "IF n = TG_ARGV[0]::int THEN PERFORM pg_sleep(1.5); END IF; RETURN NEW; END $$");
    const std::string each = " FOR EACH ROW EXECUTE FUNCTION public.stand_still(";
    if (at == "rows") target.exec("CREATE TRIGGER stop BEFORE INSERT ON t" + each + "150)");
    if (at == "records") target.exec("CREATE TRIGGER stop BEFORE INSERT ON walign.chunk" + each + "3)");
    if (at == "commit") {
      target.exec(
          "CREATE CONSTRAINT TRIGGER stop AFTER INSERT ON walign.chunk DEFERRABLE INITIALLY DEFERRED" + each +
          "1)");
    }
    target.exec("ALTER TABLE " + table_ + " ENABLE ALWAYS TRIGGER stop");
  }
  void remove() { target_.exec("DROP TRIGGER stop ON " + table_); }

 private:
  Sql& target_;
  std::string table_;
};

}  // namespace

TEST_CASE("a row that the target does not take undoes all chunks of its transaction, and no others") {
  Shared s;
  const int bad = GENERATE(250, 2900);
  CAPTURE(bad);
  s.m.target.exec("ALTER TABLE t ADD CHECK (v <> 'odd')");
  s.m.source.exec("UPDATE t SET v = 'odd' WHERE id = " + std::to_string(bad));
  {
    Copying run(s.m);
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->message().find("t_v_check") != std::string::npos);
  }
  CHECK(s.rows_are_as_recorded());
  // It is in one of the first chunks: the ones before it are in its transaction.
  if (bad == 250) CHECK(s.rows() + s.records() == 0);
  if (bad == 2900) CHECK(s.rows() > 0);
  s.m.source.exec("UPDATE t SET v = 'mended' WHERE id = " + std::to_string(bad));
  s.change();
  Copying run(s.m);
  run.wait_until_copied();
  run.catch_up(s.m.source);
  CHECK(s.m.equal("t"));
}

TEST_CASE("a lock that is waited for too long before the records gives each chunk of the transaction back") {
  Shared s;
  Copying run(s.m, Copy::paused);
  run.wait_until_streaming();
  Sql other(s.m.target.conninfo());
  other.exec("BEGIN; SELECT FROM walign.stream FOR UPDATE");
  run.resume();
  const auto waits = [&] { return s.waits("Lock", "%FOR KEY SHARE%"); };
  REQUIRE(eventually(waits));
  s.change();  // of chunks that are in flight, and will be pending again
  REQUIRE(eventually([&] { return !waits(); }, 30s, 2ms));
  REQUIRE(eventually(waits));
  CHECK(s.rows() + s.records() == 0);
  other.exec("COMMIT");
  run.wait_until_copied();
  run.catch_up(s.m.source);
  CHECK(s.m.equal("t"));
}

TEST_CASE("killed while several chunks are loaded: in their rows, between their records, and in the commit") {
  Shared s;
  const auto at = GENERATE(as<std::string>(), "rows", "records", "commit");
  CAPTURE(at);
  {  // makes schema walign
    Migration& m = s.m;
    m.tables = "  - public.other\n";
    Copying run(m);
    run.wait_until_copied();
    run.stop();
  }
  Stop stop(s.m.target, at);
  MigrationFiles files("shared", s.m.source_url, s.m.target_url, "  - public.t\n", "http: \"\"\n" + s.m.more);
  Process walign(files.command({"run"}));
  REQUIRE(eventually([&] { return s.sleeps(); }, 30s, 5ms));
  walign.kill();
  // Nobody ends its session: the server goes on by itself until it wants to say something.
  REQUIRE(eventually([&] { return !s.sleeps(); }));
  stop.remove();
  CHECK(s.rows_are_as_recorded());
  if (at == "commit") {
    CHECK(s.records() > 2);
  } else {
    CHECK(s.rows() + s.records() == 0);
  }
  s.change();
  const auto again = run(files.command({"run", "--until-caught-up"}));
  INFO(again.out << again.err);
  CHECK(again.code == 0);
  CHECK(s.m.equal("t"));
}

TEST_CASE("several chunks are committed, and the answer does not arrive") {
  Shared s;
  Proxy proxy(target_server().port());
  s.m.target_url = proxy.url(target_server(), s.m.target.scalar("SELECT current_database()::text"));
  Copying run(s.m, Copy::paused);
  run.wait_until_streaming();
  Stop stop(s.m.target, "commit");
  run.resume();
  REQUIRE(eventually([&] { return s.sleeps(); }, 30s, 5ms));
  proxy.freeze();
  REQUIRE(eventually([&] { return !s.sleeps(); }));
  stop.remove();
  CHECK(s.records() > 2);
  CHECK(s.rows_are_as_recorded());
  s.change();
  proxy.cut();
  proxy.thaw();
  run.wait_until_copied();
  run.catch_up(s.m.source);
  CHECK(s.m.equal("t"));
}

// ------------------------------------------------------------------------------------------ how they are read

namespace {

// Tables with keys of every density, their rows in no order, and a server that says what it was asked.
struct Densities {
  Densities() {
    m.source = server.create_database("app");
    m.source_url = server.url("app");
    m.both(
        "CREATE TABLE dense (id int PRIMARY KEY, v text); CREATE TABLE sparse (id bigint PRIMARY KEY, v "
        "text); "
        "CREATE TABLE uneven (id bigint PRIMARY KEY, v text); CREATE TABLE uuids (id uuid PRIMARY KEY, v "
        "text); "
        "CREATE TABLE two (a int, b int, v text, PRIMARY KEY (a, b))");
    for (const auto& [table, key] : keys) {
      m.source.exec("INSERT INTO " + table + " SELECT " + key +
                    ", 'v' || i FROM generate_series(1, 3000) i ORDER BY md5(i::text); ANALYZE " + table);
      m.tables += "  - public." + table + "\n";
    }
    m.more = "backfill: { chunk_rows: 100 }\n";
  }
  // Of the ranges between two keys, how many were read in the key's order, and how many as they lie. Single keys are
  // told by their parentheses.
  std::pair<int, int> ordered_and_not(const std::string& table) {
    const std::string log = server.log();
    std::pair<int, int> found;
    const auto from = " FROM \"public\".\"" + table + "\" WHERE ";
    for (std::size_t at = log.find(from); at != std::string::npos; at = log.find(from, at + 1)) {
      const auto line = log.substr(at, log.find('\n', at) - at);
      if (line.find(" TO STDOUT") == std::string::npos || line.find(" AND ") == std::string::npos) continue;
      if (line.starts_with(from + "((")) continue;
      ++(line.find(" ORDER BY ") == std::string::npos ? found.second : found.first);
    }
    return found;
  }
  void change(Sql& sql, int n) {
    const auto i = std::to_string(n * 7919 % 3000 + 1);
    const std::string one = keys.at("uneven"), id = "(SELECT " + one + " FROM (SELECT " + i + " AS i) x)";
    sql.exec("UPDATE dense SET v = v || '!' WHERE id = " + i + "; DELETE FROM dense WHERE id = " + i +
             " + 1");
    sql.exec("UPDATE sparse SET id = id + 1 WHERE id = " + i + " * 1000000::bigint");
    sql.exec("UPDATE uneven SET v = v || '!' WHERE id = " + id);
    sql.exec("UPDATE uuids SET id = md5(id::text)::uuid WHERE id = md5('" + i + "')::uuid");
    sql.exec("UPDATE two SET a = (a + 1) % 5, v = v || '!' WHERE b = " + i +
             "; DELETE FROM two WHERE b = " + i + " + 7");
    sql.exec("INSERT INTO two VALUES (" + i + " % 9, -" + i + ", 'new') ON CONFLICT DO NOTHING");
  }
  const std::map<std::string, std::string> keys = {
      {"dense", "i"},
      {"sparse", "i * 1000000::bigint"},
      {"uneven",
       "CASE WHEN i <= 1000 THEN i::bigint WHEN i <= 2000 THEN i * 1000::bigint ELSE i + 1000000000::bigint "
       "END"},
      {"uuids", "md5(i::text)::uuid"},
      {"two", "i % 5, i"}};
  Server server{{.name = "source", .settings = {"log_statement = all"}}};
  Migration m;
};

}  // namespace

TEST_CASE("rows are read as they lie where the key is a number with room for few, else in the key's order") {
  Densities d;
  Migration& m = d.m;
  {
    Writer writer(
        m.source.conninfo(), [&d, n = 0](Sql& sql) mutable { d.change(sql, ++n); }, 1ms);
    Copying run(m);
    run.wait_until_copied();
    writer.stop();
    run.catch_up(m.source);
    for (const auto& [table, key] : d.keys) {
      CAPTURE(table);
      CHECK(m.equal(table));
    }
    run.stop();
  }
  CHECK(d.ordered_and_not("dense").second > 5);
  for (const std::string table : {"sparse", "uuids", "two"}) {
    CAPTURE(table);
    const auto [ordered, not_ordered] = d.ordered_and_not(table);
    CHECK(ordered > 5);
    CHECK(not_ordered == 0);
  }
}
