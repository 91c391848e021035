// Keys and unique values that move between rows and chunks while they are copied, for keys of many kinds.
#include "support/copying.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// Keys of many kinds, and a procedure that makes one random change to each table. word(i) is a text whose order
// depends on the collation.
constexpr const char* kTables = R"(
  CREATE EXTENSION IF NOT EXISTS citext;
  CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
  CREATE TABLE icu (k text COLLATE "en-x-icu" PRIMARY KEY, v int, big text);
  CREATE TABLE ci (k citext PRIMARY KEY, v int, big text);
  CREATE TABLE moods (m mood, k int, v int, big text, PRIMARY KEY (m, k));
  CREATE TABLE mixed (a numeric, k text COLLATE "en-x-icu", v int, big text, PRIMARY KEY (a, k));
  CREATE TABLE floats (k float8 PRIMARY KEY, v int, big text);
  CREATE TABLE fulls (k int NOT NULL, v int, big text);
  ALTER TABLE fulls REPLICA IDENTITY FULL;
  CREATE UNIQUE INDEX fulls_k ON fulls (k);
  CREATE TABLE parts (k int PRIMARY KEY, v int, big text) PARTITION BY RANGE (k);
  CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (MINVALUE) TO (700);
  CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (700) TO (1500);
  CREATE TABLE parts3 PARTITION OF parts DEFAULT;
  ALTER TABLE icu ALTER big SET STORAGE EXTERNAL; ALTER TABLE ci ALTER big SET STORAGE EXTERNAL;
  ALTER TABLE moods ALTER big SET STORAGE EXTERNAL; ALTER TABLE parts ALTER big SET STORAGE EXTERNAL;
  CREATE TABLE keyless (k int, v int);
)";
constexpr const char* kFunctions = R"(
  CREATE FUNCTION word(i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['a', 'B', 'é', 'Z', '-x', 'ä', '_', 'z', 'É', 'b'])[1 + i % 10] || substr(md5(i::text), 1, 5) $$;
  CREATE FUNCTION big(i int) RETURNS text LANGUAGE sql AS $$ SELECT repeat(md5(i::text), 80) $$;
  CREATE PROCEDURE change(i int, j int, what int) LANGUAGE plpgsql AS $$
  BEGIN
    IF what = 0 THEN
      INSERT INTO icu VALUES (word(i), i, big(i)) ON CONFLICT DO NOTHING;
      INSERT INTO ci VALUES (word(i), i, big(i)) ON CONFLICT DO NOTHING;
      INSERT INTO moods VALUES ((ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood, i, i, big(i)) ON CONFLICT DO NOTHING;
      INSERT INTO mixed VALUES (i % 9, word(i), i, big(i)) ON CONFLICT DO NOTHING;
      INSERT INTO floats VALUES (i / 3.0, i, big(i)) ON CONFLICT DO NOTHING;
      INSERT INTO fulls VALUES (i, i, 'small') ON CONFLICT DO NOTHING;
      INSERT INTO parts VALUES (i, i, big(i)) ON CONFLICT DO NOTHING;
      INSERT INTO keyless VALUES (i, j);
    ELSIF what = 1 THEN
      DELETE FROM icu WHERE k = word(i);
      DELETE FROM ci WHERE k = word(i);
      DELETE FROM moods WHERE m = (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood AND k = i;
      DELETE FROM mixed WHERE a = i % 9 AND k = word(i);
      DELETE FROM floats WHERE k = i / 3.0;
      DELETE FROM fulls WHERE k = i;
      DELETE FROM parts WHERE k = i;
    ELSIF what = 2 THEN
      UPDATE icu SET v = j WHERE k = word(i);
      UPDATE ci SET v = j, k = upper(k) WHERE k = word(i);
      UPDATE moods SET v = j WHERE m = (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood AND k = i;
      UPDATE mixed SET v = j, a = 1.0 * a WHERE a = i % 9 AND k = word(i);
      UPDATE floats SET v = j WHERE k = i / 3.0;
      UPDATE fulls SET v = j WHERE k = i;
      UPDATE parts SET v = j WHERE k = i;
    ELSIF what = 3 THEN  -- away and back again
      DELETE FROM icu WHERE k = word(i); INSERT INTO icu VALUES (word(i), j, big(j));
      DELETE FROM ci WHERE k = word(i); INSERT INTO ci VALUES (word(i), j, big(j));
      DELETE FROM parts WHERE k = i; INSERT INTO parts VALUES (i, j, big(j));
      DELETE FROM fulls WHERE k = i; INSERT INTO fulls VALUES (i, j, 'again');
    ELSIF what = 4 THEN  -- to another key, with the large value left alone
      UPDATE icu SET k = word(j) WHERE k = word(i);
      UPDATE ci SET k = word(j) WHERE k = word(i);
      UPDATE moods SET m = (ARRAY['sad', 'ok', 'happy'])[1 + j % 3]::mood, k = j
        WHERE m = (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood AND k = i;
      UPDATE mixed SET a = j % 9, k = word(j) WHERE a = i % 9 AND k = word(i);
      UPDATE floats SET k = j / 3.0 WHERE k = i / 3.0;
      UPDATE fulls SET k = j WHERE k = i;
      UPDATE parts SET k = j WHERE k = i;
    ELSE  -- two exchange their keys
      UPDATE icu SET k = 'nobody' WHERE k = word(i);
      UPDATE icu SET k = word(i) WHERE k = word(j);
      UPDATE icu SET k = word(j) WHERE k = 'nobody';
      UPDATE parts SET k = -1 WHERE k = i;
      UPDATE parts SET k = i WHERE k = j;
      UPDATE parts SET k = j WHERE k = -1;
      UPDATE fulls SET k = -1 WHERE k = i;
      UPDATE fulls SET k = i WHERE k = j;
      UPDATE fulls SET k = j WHERE k = -1;
    END IF;
  END $$;
  DO $$ BEGIN FOR i IN 1..1500 LOOP CALL change(i, i, 0); END LOOP; END $$;
)";

}  // namespace

TEST_CASE("keys of every kind move between chunks while they are copied") {
  Migration m;
  m.both(kTables);
  m.source.exec(kFunctions);
  m.tables =
      "  - public.icu\n  - public.ci\n  - public.moods\n  - public.mixed\n  - public.floats\n  - "
      "public.parts\n"
      "  - { from: public.fulls, to: public.fulls, key: [k] }\n  - { from: public.keyless, inserts_only: "
      "true }\n";
  m.more = "backfill: { chunk_rows: 20, workers: " + std::string(GENERATE("1", "2", "4")) + " }\n";
  CAPTURE(m.more);
  Copying run(m, Copy::paused);
  run.wait_until_streaming();
  const auto step = [](Sql& sql) {
    sql.exec("CALL change((random() * 2000)::int, (random() * 2000)::int, (random() * 5)::int)");
  };
  Writer one(m.source.conninfo(), step, 2ms);
  Writer two(m.source.conninfo(), step, 2ms);
  run.resume();
  run.wait_until_copied(120s);  // whatever the writers do meanwhile
  one.stop();
  two.stop();
  CHECK(one.steps() > 20);
  run.catch_up(m.source);
  for (const char* table : {"icu", "ci", "moods", "mixed", "floats", "fulls", "parts", "keyless"}) {
    INFO(table);
    CHECK(m.equal(table));
  }
  for (const auto& table : run.status().tables) CHECK(table.books.balance());
  CHECK(run.status().dead_letters == 0);
}

TEST_CASE("a row moves into a loaded chunk from one that is not here yet, and its large value is not sent") {
  Migration m;
  m.both(
      "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL");
  m.source.exec("INSERT INTO t SELECT i, i, repeat('x' || i, 2000) FROM generate_series(1, 400) i");
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_rows: 10, workers: 1, max_rows_per_second: 200 }\n";
  {
    Copying run(m);
    REQUIRE(eventually([&] {
      return run.status().connected && m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk") >= 4;
    }));
    run.pause();
    std::this_thread::sleep_for(300ms);
    REQUIRE(run.status().phase == "backfilling");
    // Within the first chunk, at its very edges, on a key that was there, and on again within one transaction.
    m.source.exec(
        "UPDATE t SET id = 0 WHERE id = 400; DELETE FROM t WHERE id = 5; UPDATE t SET id = 5 WHERE id = 399");
    m.source.exec("UPDATE t SET id = 1000 WHERE id = 3; UPDATE t SET id = 3 WHERE id = 398");
    m.source.exec(
        "BEGIN; DELETE FROM t WHERE id = 11; UPDATE t SET id = 11 WHERE id = 397; UPDATE t SET n = 99 WHERE "
        "id = 11;"
        "UPDATE t SET id = 2000 WHERE id = 11; UPDATE t SET id = 11 WHERE id = 396; COMMIT");
    run.catch_up(m.source);
    run.stop();
  }
  Copying run(m);
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}

TEST_CASE("a row enters the filter while the table is copied, and its large value is not sent") {
  Migration m;
  m.both(
      "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL");
  m.source.exec("INSERT INTO t SELECT i, i % 2, repeat('x' || i, 2000) FROM generate_series(1, 400) i");
  m.tables = "  - { from: public.t, to: public.t, where: n % 2 = 0 }\n";
  m.more = "backfill: { chunk_rows: 20, workers: 1 }\n";
  {
    Copying run(m);
    REQUIRE(eventually([&] {
      return run.status().connected && m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk") >= 3;
    }));
    run.pause();
    std::this_thread::sleep_for(300ms);
    REQUIRE(run.status().phase == "backfilling");
    // In; in, out and in again; in and to another key; out and in; there all the time; not there all the time.
    m.source.exec("UPDATE t SET n = 2 WHERE id = 1");
    m.source.exec(
        "BEGIN; UPDATE t SET n = 2 WHERE id = 3; UPDATE t SET n = 3 WHERE id = 3; UPDATE t SET n = 4 WHERE "
        "id = 3; "
        "COMMIT; BEGIN; UPDATE t SET n = 6, id = 1005 WHERE id = 5; UPDATE t SET id = -5 WHERE id = 1005; "
        "COMMIT");
    m.source.exec("UPDATE t SET n = 3 WHERE id = 2; UPDATE t SET n = 8 WHERE id = 2");
    m.source.exec("BEGIN; UPDATE t SET n = 3 WHERE id = 4; UPDATE t SET n = 8 WHERE id = 4; COMMIT");
    m.source.exec(
        "UPDATE t SET n = 10 WHERE id = 6; UPDATE t SET n = 11 WHERE id = 7; UPDATE t SET id = 0 WHERE id = "
        "8");
    run.catch_up(m.source);
    run.stop();
  }
  Copying run(m, Copy::paused);  // what enters once it is copied is the stream's own affair
  run.wait_until_streaming();
  Writer writer(
      m.source.conninfo(),
      [n = 0](Sql& sql) mutable {
        ++n;
        sql.exec("UPDATE t SET n = n + 1 WHERE id = " + std::to_string(n * 131 % 400));
      },
      1ms);
  std::this_thread::sleep_for(1s);
  writer.stop();
  run.resume();
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("SELECT * FROM t WHERE n % 2 = 0", "SELECT * FROM t"));
}

TEST_CASE("unique values are exchanged between rows while their chunks are loaded") {
  Migration m;
  m.both("CREATE TABLE seats (id int PRIMARY KEY, seat int NOT NULL UNIQUE, note text)");
  m.source.exec("INSERT INTO seats SELECT i, i FROM generate_series(1, 1500) i");
  m.tables = "  - public.seats\n";
  m.more = "backfill: { chunk_rows: 15, workers: 3 }\n";
  Copying run(m, Copy::paused);
  run.wait_until_streaming();
  const auto exchange = [](int first) {
    return [n = first](Sql& sql) mutable {
      n += 7;
      const auto a = std::to_string(1 + n * 131 % 1500);
      const auto b = std::to_string(1 + n * 577 % 1500);
      if (a == b) return;
      sql.exec("BEGIN; SELECT FROM seats WHERE id IN (" + a + ", " + b +
               ") ORDER BY id FOR UPDATE;"
               "WITH old AS (SELECT (SELECT seat FROM seats WHERE id = " +
               a + ") AS a, (SELECT seat FROM seats WHERE id = " + b +
               ") AS b), gone AS (SELECT a, b FROM old) SELECT set_config('x.a', a::text, true), "
               "set_config('x.b', b::text, true) FROM gone;"
               "UPDATE seats SET seat = -" +
               a + " WHERE id = " + a +
               ";"
               "UPDATE seats SET seat = current_setting('x.a')::int WHERE id = " +
               b +
               ";"
               "UPDATE seats SET seat = current_setting('x.b')::int WHERE id = " +
               a + "; COMMIT");
    };
  };
  Writer one(m.source.conninfo(), exchange(1), 5ms);
  Writer two(m.source.conninfo(), exchange(1000000), 5ms);
  run.resume();
  run.wait_until_copied();
  one.stop();
  two.stop();
  CHECK(one.steps() + two.steps() > 50);
  run.catch_up(m.source);
  CHECK(m.equal("seats"));
  CHECK(run.status().dead_letters == 0);
}
