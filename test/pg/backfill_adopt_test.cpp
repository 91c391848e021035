// existing_rows: adopt. Target tables that have rows of their own before the copy begins: right ones, wrong ones, some
// missing, and some that the source does not have.
#include <set>
#include <sstream>

#include "support/copying.hpp"
#include "support/migration_files.hpp"

using namespace walign;
using namespace walign::test;

namespace {

std::string finding(const Migration& m, const std::string& subject) {
  for (const auto& f : stream::prepare(m.config(), nullptr).findings) {
    if (f.subject == subject) return f.what + "; " + f.remedy;
  }
  return "";
}

// 1000 right rows, 1000 wrong ones, 500 missing, 500 right, 1000 that the source does not have.
struct Dual {
  Dual() {
    m.source.exec(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i FROM "
        "generate_series(1, "
        "3000) i");
    m.target.exec(
        "CREATE TABLE t (id int PRIMARY KEY, v text, note text DEFAULT 'new'); INSERT INTO t SELECT i, "
        "CASE WHEN i BETWEEN 1001 AND 2000 THEN 'mine' ELSE 'v' || i END, 'kept' FROM generate_series(1, "
        "4000) i "
        "WHERE i NOT BETWEEN 2001 AND 2500");
    m.tables = "  - public.t\n";
    m.more = "backfill: { chunk_rows: 100, workers: 2 }\nexisting_rows: adopt\n";
  }
  [[nodiscard]] bool equal() { return m.equal("SELECT id, v FROM t", "SELECT id, v FROM t"); }
  Migration m;
};

double mended(Run& run, const std::string& operation) {
  return run.metrics
      .counter("walign_backfill_mended_rows_total",
               "Rows of the target that were made right (existing_rows: adopt).",
               {{"table", "public.t -> public.t"}, {"operation", operation}})
      .value();
}

}  // namespace

TEST_CASE("existing_rows: adopt makes the target what the source is, and writes only what differs") {
  Dual dual;
  Migration& m = dual.m;
  CHECK(has(finding(m, "public.t"), "DELETE those that it has not"));
  const auto untouched = [&] {
    return m.target.scalar(
        "SELECT md5(string_agg(id || ' ' || ctid || ' ' || xmin, ',' ORDER BY id)) FROM t WHERE id <= 1000");
  };
  const auto before = untouched();
  Copying run(m);
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(dual.equal());
  CHECK(untouched() == before);
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t WHERE note = 'kept'") == 2500);
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t WHERE note = 'new'") == 500);
  CHECK(mended(run, "remove") == 1000);
  CHECK(mended(run, "change") == 1000);
  CHECK(mended(run, "add") == 500);
  CHECK(m.target.scalar<int>("SELECT rows::int FROM walign.copy") == 3000);
}

TEST_CASE(
    "changes to rows that are wrong, missing or too many on the target are no conflicts while it is "
    "adopted") {
  Dual dual;
  Migration& m = dual.m;
  Copying run(m, Copy::paused);
  run.wait_until_streaming();
  CHECK(run.status().phase == "backfilling");
  CHECK(run.status().tables.at(0).state == "pending");
  const auto change = [&](int by) {
    const auto n = std::to_string(by);
    m.source.exec("UPDATE t SET v = 'changed' WHERE id IN (10, 1010, 2010, 2600) OR id = 1000 + " + n);
    m.source.exec("DELETE FROM t WHERE id IN (20 + " + n + ", 1020 + " + n + ", 2020 + " + n + ")");
    m.source.exec("INSERT INTO t VALUES (3500 + " + n + ", 'x'), (6000 + " + n + ", 'y')");
    m.source.exec("UPDATE t SET id = 3800 + " + n + " WHERE id = 1100 + " + n);
    m.source.exec("UPDATE t SET id = 7000 + " + n + " WHERE id = 2100 + " + n);
  };
  change(1);
  run.catch_up(m.source);  // with every chunk pending
  const auto chunks = [&] { return m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk"); };
  run.resume();
  for (int i = 2; i < 60 && run.status().phase == "backfilling"; ++i) change(i);
  run.wait_until_copied();
  change(80);
  run.catch_up(m.source);
  CHECK(chunks() == 0);
  CHECK(dual.equal());
  CHECK(run.status().tables.at(0).state == "streaming");
  CHECK(run.status().dead_letters == 0);
}

TEST_CASE("killed again and again while it adopts, and the setting taken away in between, it ends equal") {
  Dual dual;
  Migration& m = dual.m;
  MigrationFiles files("adopted", m.source_url, m.target_url, m.tables,
                       "http: \"\"\nbackfill: { chunk_rows: 20, workers: 2 }\nexisting_rows: adopt\n");
  Writer writer(m.source.conninfo(), [](Sql& sql) {
    sql.exec("UPDATE t SET v = random()::text WHERE id = 1 + (random() * 3000)::int");
    sql.exec("DELETE FROM t WHERE id = 1 + (random() * 3000)::int");
    sql.exec("INSERT INTO t VALUES ((random() * 5000)::int, 'new') ON CONFLICT DO NOTHING");
  });
  // Killed while it adopts, five times; the first ones may come before it has begun.
  const auto adopting = [&] {
    return m.target.scalar<bool>("SELECT to_regclass('walign.copy') IS NOT NULL") &&
           m.target.scalar<bool>("SELECT EXISTS (SELECT FROM walign.copy WHERE adopts)");
  };
  int begun = 0;
  for (int i = 0; i < 200 && begun < 5; ++i) {
    Process walign(files.command({"run"}));
    std::this_thread::sleep_for(Millis(100 + i * 30));
    walign.kill();
    if (adopting()) ++begun;
  }
  REQUIRE(begun == 5);
  // Where its copy has begun, what the setting says now is for other tables.
  std::ostringstream read;
  read << std::ifstream(files.config()).rdbuf();
  std::string yaml = read.str();
  yaml.replace(yaml.find("existing_rows: adopt"), 20, "existing_rows: refuse");
  std::ofstream(files.config()) << yaml;
  writer.stop();
  const auto last = test::run(files.command({"run", "--until-caught-up"}));
  INFO(last.err);
  CHECK(last.code == 0);
  CHECK(dual.equal());
  CHECK(m.target.scalar<bool>("SELECT bool_and(complete) FROM walign.copy"));
}

namespace {

// Keys by which the target's rows fall into the source's ranges, and others; unique values that are exchanged; a key
// that no UPDATE may name; large values; a mapping with a filter, and rows that are not ours.
constexpr const char* kTables = R"(
  CREATE TABLE numbers (a numeric(6,2), b text COLLATE "C", v int, big text, PRIMARY KEY (a, b));
  CREATE TABLE rounded (a numeric, b int, v int, big text, PRIMARY KEY (a, b));
  CREATE TABLE icu (k text COLLATE "en-x-icu" PRIMARY KEY, v int, big text);
  CREATE TABLE seats (id int PRIMARY KEY, seat int UNIQUE, v int);
  CREATE TABLE cut (k bigint PRIMARY KEY, v int, big text);
  CREATE TABLE drawn (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int, big text);
  ALTER TABLE numbers ALTER big SET STORAGE EXTERNAL; ALTER TABLE icu ALTER big SET STORAGE EXTERNAL;
)";
constexpr const char* kSource = R"(
  CREATE TABLE bounded (k numeric PRIMARY KEY, v int);
  CREATE TABLE people (id int PRIMARY KEY, name text, active boolean, big text);
  ALTER TABLE people ALTER big SET STORAGE EXTERNAL; ALTER TABLE people REPLICA IDENTITY FULL;
  CREATE FUNCTION big(i int) RETURNS text LANGUAGE sql AS $$ SELECT repeat(md5(i::text), 80) $$;
  CREATE FUNCTION word(i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['a', 'B', 'é', 'Z', '-x', 'ä', '_', 'z', 'É', 'b'])[1 + i % 10] || substr(md5(i::text), 1, 5) $$;
  CREATE PROCEDURE change(i int, j int, what int) LANGUAGE plpgsql AS $$
  BEGIN
    IF what = 0 THEN
      INSERT INTO numbers VALUES (i % 50 + 0.5, word(i), i, big(i)) ON CONFLICT DO NOTHING;
      INSERT INTO rounded VALUES (i % 50, i, i, 'small') ON CONFLICT DO NOTHING;
      INSERT INTO icu VALUES (word(i), i, big(i)) ON CONFLICT DO NOTHING;
      INSERT INTO seats VALUES (i, i, i) ON CONFLICT DO NOTHING;
      INSERT INTO drawn OVERRIDING SYSTEM VALUE VALUES (i, i, 'x') ON CONFLICT DO NOTHING;
      INSERT INTO cut VALUES (i, i, big(i)) ON CONFLICT DO NOTHING;
      INSERT INTO bounded VALUES (i + 0.5, i) ON CONFLICT DO NOTHING;
      INSERT INTO people VALUES (i, word(i), i % 3 > 0, big(i)) ON CONFLICT DO NOTHING;
    ELSIF what = 1 THEN
      DELETE FROM numbers WHERE b = word(i); DELETE FROM rounded WHERE b = i; DELETE FROM icu WHERE k = word(i);
      DELETE FROM seats WHERE id = i; DELETE FROM drawn WHERE id = i;
      DELETE FROM cut WHERE k = i; DELETE FROM bounded WHERE k = i + 0.5; DELETE FROM people WHERE id = i;
    ELSIF what = 2 THEN
      UPDATE numbers SET v = j WHERE b = word(i); UPDATE rounded SET v = j, a = a * 1.00 WHERE b = i;
      UPDATE icu SET v = j WHERE k = word(i); UPDATE seats SET v = j WHERE id = i;
      UPDATE drawn SET v = j WHERE id = i; UPDATE cut SET v = j WHERE k = i;
      UPDATE bounded SET v = j WHERE k = i + 0.5; UPDATE people SET active = NOT active WHERE id = i;
    ELSIF what = 3 THEN  -- to another key, with the large value left alone
      UPDATE numbers SET a = j % 50 + 0.5, b = word(j) WHERE b = word(i);
      UPDATE icu SET k = word(j) WHERE k = word(i);
      UPDATE people SET id = j WHERE id = i; UPDATE cut SET k = j WHERE k = i;
      UPDATE bounded SET k = j + 0.5 WHERE k = i + 0.5;
    ELSE  -- two exchange a unique value
      UPDATE seats SET seat = -1 WHERE id = i;
      UPDATE seats SET seat = i WHERE id = j AND NOT EXISTS (SELECT FROM seats WHERE seat = i);
      UPDATE seats SET seat = j WHERE id = i AND NOT EXISTS (SELECT FROM seats WHERE seat = j);
      UPDATE seats SET seat = -1 - i WHERE seat = -1;
    END IF;
  END $$;
  DO $$ BEGIN FOR i IN 1..600 LOOP CALL change(i, i, 0); END LOOP; END $$;
  ANALYZE;
)";
constexpr const char* kTarget = R"(
  CREATE TABLE bounded (k numeric(6,1) PRIMARY KEY, v int);
  INSERT INTO bounded SELECT i + 0.5, i FROM generate_series(1, 700) i;
  INSERT INTO cut SELECT i, i, 'small' FROM generate_series(1, 700, 2) i;
  CREATE TABLE persons (person int PRIMARY KEY, name text, big text, kind text NOT NULL DEFAULT 'a', note text);
  INSERT INTO persons SELECT i, 'old ' || i, 'small', 'a', 'kept'
    FROM generate_series(1, 900) i;
  INSERT INTO persons SELECT i, 'other', 'small', 'b', 'kept' FROM generate_series(90001, 90100) i;
  INSERT INTO numbers SELECT i % 60 + 0.5, 'w' || i, i, 'small' FROM generate_series(1, 300) i;
  INSERT INTO rounded SELECT i % 50 + 0.00, i, i, 'small' FROM generate_series(1, 700) i;
  INSERT INTO icu SELECT 'é' || i, i, 'small' FROM generate_series(1, 300) i;
  INSERT INTO seats SELECT i, CASE WHEN i % 2 = 0 THEN i - 1 ELSE i + 1 END, i FROM generate_series(1, 700) i;
  INSERT INTO drawn OVERRIDING SYSTEM VALUE SELECT i, i % 7, 'x' FROM generate_series(1, 900) i;
)";

}  // namespace

TEST_CASE("tables of every kind are adopted while they are written to") {
  Migration m;
  m.both(kTables);
  m.source.exec(kSource);
  m.target.exec(kTarget);
  m.tables =
      "  - public.numbers\n  - public.rounded\n  - public.icu\n  - public.seats\n  - public.drawn\n  - "
      "public.cut\n  - public.bounded\n"
      "  - from: public.people\n    to: public.persons\n    where: active\n    target_where: kind = 'a'\n"
      "    columns: { person: id, name: { sql: upper(name) }, active: false }\n";
  m.more = "existing_rows: adopt\nbackfill: { chunk_rows: 10, workers: " + std::string(GENERATE("1", "3")) +
           " }\n";
  CAPTURE(m.more);
  Copying run(m, Copy::paused);
  run.wait_until_streaming();
  // By how much there is to do, seen which are cut by their key.
  for (const auto& table : run.status().tables) {
    CAPTURE(table.source);
    const bool whole =
        std::set<std::string>{"public.icu", "public.seats", "public.bounded"}.contains(table.source);
    CHECK((table.chunks.value_or(0) == 1) == whole);
  }
  const auto step = [](Sql& sql) {
    sql.exec("CALL change((random() * 1000)::int, (random() * 1000)::int, (random() * 4)::int)");
  };
  Writer one(m.source.conninfo(), step, 2ms);
  Writer two(m.source.conninfo(), step, 2ms);
  std::this_thread::sleep_for(300ms);
  run.resume();
  // Rows are read again where a key moves and large values are not sent. On a busy machine the load can outrun the
  // stream, and then they never end; this is about what becomes of them.
  eventually([&] { return run.done() || run.status().phase == "streaming"; }, 20s);
  one.stop();
  two.stop();
  run.wait_until_copied();
  run.catch_up(m.source);
  for (const char* table : {"numbers", "rounded", "icu", "seats", "drawn", "cut"}) {
    INFO(table);
    CHECK(m.equal(table));
  }
  CHECK(m.equal("bounded"));
  CHECK(m.equal("SELECT id, upper(name), big FROM people WHERE active",
                "SELECT person, name, big FROM persons WHERE kind = 'a'"));
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM persons WHERE kind = 'b' AND name = 'other'") == 100);
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM persons WHERE note = 'kept' AND kind = 'a'") > 0);
  CHECK(run.status().dead_letters == 0);
  for (const auto& table : run.status().tables) CHECK(table.books.balance());
}

TEST_CASE("existing_rows: adopt is refused where rows have no key, or are not told apart") {
  Migration m;
  m.source.exec("CREATE TABLE s1 (id int PRIMARY KEY); CREATE TABLE s2 (id int PRIMARY KEY)");
  m.target.exec("CREATE TABLE d (id int); INSERT INTO d VALUES (7)");
  m.more = "existing_rows: adopt\n";
  std::string expected;
  SECTION("no key") {
    m.tables = "  - { from: public.s1, to: public.d, inserts_only: true }\n";
    expected = "no key by which they could be compared";
  }
  SECTION("several sources") {
    m.target.exec("ALTER TABLE d ADD PRIMARY KEY (id)");
    m.tables = "  - { from: public.s1, to: public.d }\n  - { from: public.s2, to: public.d }\n";
    expected = "cannot be told";
  }
  Copying run(m);
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(has(error->message(), expected));
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM d") == 1);
  CHECK(m.source.scalar<int>(
            "SELECT count(*)::int FROM pg_replication_slots WHERE database = current_database()") == 0);
}

TEST_CASE("two rows of the source that would be one on the target are an error, not one row of chance") {
  Migration m;
  m.source.exec("CREATE TABLE t (k text PRIMARY KEY, v int); INSERT INTO t VALUES ('a', 1), ('A', 2)");
  m.target.exec("CREATE TABLE t (k text PRIMARY KEY, v int); INSERT INTO t VALUES ('a', 0)");
  m.tables = "  - { from: public.t, columns: { k: { sql: lower(k) } } }\n";
  m.more = "existing_rows: adopt\n";
  Copying run(m);
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->sqlstate() == "23505");
  CHECK(m.target.scalar<int>("SELECT v FROM t") == 0);
}

TEST_CASE("a target that an older walign has begun, without a record of what is adopted, is gone on with") {
  Dual dual;
  Migration& m = dual.m;
  {
    Copying run(m);
    run.wait_until_copied();
    run.stop();
  }
  m.target.exec("ALTER TABLE walign.copy DROP COLUMN adopts; UPDATE walign.schema_version SET version = 1");
  Copying run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (9000, 'later')");
  run.catch_up(m.source);
  CHECK(dual.equal());
  CHECK(run.status().phase == "streaming");
}

TEST_CASE("a large table that can only be compared as one chunk is refused, and what the remedy says works") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, u int, v text)");
  m.target.exec("CREATE UNIQUE INDEX t_u ON t (u)");
  m.source.exec("INSERT INTO t SELECT i, i, repeat('x', 100) FROM generate_series(1, 5000) i; ANALYZE t");
  m.target.exec("INSERT INTO t VALUES (1, 5000, 'mine'), (9999, 1, 'mine')");
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_bytes: 16KiB }\nexisting_rows: adopt\n";
  {
    CHECK(has(finding(m, "public.t"), "too large for that"));
    Copying run(m);
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->describe(), "16 times backfill: { chunk_bytes }"));
  }
  CHECK(m.target.scalar("SELECT string_agg(v, ' ') FROM t") == "mine mine");
  SECTION("without the index") { m.target.exec("DROP INDEX t_u"); }
  SECTION("with larger chunks") { m.more = "backfill: { chunk_bytes: 1MiB }\nexisting_rows: adopt\n"; }
  Copying run(m);
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}

TEST_CASE(
    "a large table whose key the target need not sort alike is refused as one chunk when its copy begins") {
  Migration m;
  m.both("CREATE TABLE t (id text COLLATE \"en-x-icu\" PRIMARY KEY, v text)");
  m.source.exec("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i; ANALYZE t");
  m.target.exec("INSERT INTO t VALUES ('1', 'mine')");
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_bytes: 16KiB }\nexisting_rows: adopt\n";
  {
    Copying run(m);
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->message(), "as one chunk"));
  }
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM walign.copy") == 0);  // so that emptying it is enough
  m.target.exec("TRUNCATE t");
  Copying run(m);
  run.wait_until_copied();
  CHECK(m.equal("t"));
}
