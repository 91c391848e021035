// How batches are written: long runs of inserts by COPY; one batch while the next is gathered, also where one fails.
#include "conflict_test.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("a long run of inserts comes by COPY, whatever its values hold") {
  Migration m;
  m.both(
      "CREATE TABLE t (id int PRIMARY KEY, a text, b bytea, c text[], d jsonb, e float8, f numeric(10,2), "
      "g timestamptz, h boolean, i varchar(10), j char(5))");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  // What comes in arrays cannot be written while this is here; COPY does not look at rules.
  m.target.exec("CREATE RULE no AS ON INSERT TO t DO INSTEAD NOTHING");
  m.source.exec(
      "INSERT INTO t SELECT x, (ARRAY[E'a\\tb', E'c\\nd', E'\\\\N', '', NULL, E'\\r\\n', E'\\\\.', 'ä€𝄞'])[1 "
      "+ x % 8], "
      "decode(md5(x::text), 'hex'), ARRAY['x,y', NULL, '\"', E'\\\\'], jsonb_build_object('k', E'\\n' || x), "
      "CASE WHEN x % 5 = 0 THEN 'NaN' ELSE x / 7.0 END, x / 100.0, '2024-01-01'::timestamptz + x * interval "
      "'1 s', "
      "x % 2 = 0, left(md5(x::text), 10), 'ab' FROM generate_series(1, 15000) x");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  m.target.exec("DROP RULE no ON t");
  // Deleted, updated and inserted in one transaction.
  m.source.exec(
      "BEGIN; DELETE FROM t WHERE id <= 4000; INSERT INTO t (id, a) SELECT x, 'again' FROM "
      "generate_series(1, 4000) x; "
      "UPDATE t SET a = 'later' WHERE id % 3 = 0; COMMIT");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  const auto status = run.status();
  CHECK(status.tables.at(0).books.balance());
  CHECK(status.tables.at(0).books.applied == status.tables.at(0).books.decoded);
}

TEST_CASE("a row that fails in a COPY is set aside, and those around it are applied") {
  NarrowTarget n;
  Run run(n.m);
  run.wait_until_streaming();
  n.m.source.exec(
      "INSERT INTO t SELECT x, CASE WHEN x = 1500 THEN 'too long' ELSE 'ok' END FROM generate_series(1, "
      "3000) x");
  run.catch_up(n.m.source);
  CHECK(n.m.equal("SELECT * FROM t WHERE id <> 1500", "SELECT * FROM t"));
  CHECK(letters(n.m) == std::vector<std::string>{"INSERT id=1500 22001 chain 1"});
}

TEST_CASE("apply is at rest when it says so: what was begun is written first, and then nothing") {
  NarrowTarget n;
  Run run(n.m);
  run.wait_until_streaming();
  n.m.source.exec("INSERT INTO t VALUES (1, 'a')");
  run.catch_up(n.m.source);
  Sql locker(n.m.target_url);
  locker.exec("BEGIN; SELECT FROM t WHERE id = 1 FOR UPDATE");
  n.m.source.exec("UPDATE t SET v = 'b' WHERE id = 1");
  REQUIRE(eventually([&] {
    return n.m.target.scalar<bool>(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = "
        "current_database()");
  }));
  CHECK(!run.sidecar().pause_apply(300ms));
  locker.exec("COMMIT");
  CHECK(run.sidecar().pause_apply(20s));
  CHECK(n.m.target.scalar("SELECT v FROM t WHERE id = 1") == "b");
  n.m.source.exec("UPDATE t SET v = 'c' WHERE id = 1");
  std::this_thread::sleep_for(300ms);
  CHECK(n.m.target.scalar("SELECT v FROM t WHERE id = 1") == "b");
  run.sidecar().resume_apply();
  run.catch_up(n.m.source);
  CHECK(n.m.target.scalar("SELECT v FROM t WHERE id = 1") == "c");
}

TEST_CASE(
    "a batch that fails while the next one is gathered is mended first, and nothing after it is lost or "
    "twice") {
  NarrowTarget n;
  auto& m = n.m;
  m.more = "apply: { max_batch_rows: 7, on_conflict: dead_letter }\n";
  Run run(m);
  run.wait_until_streaming();
  run.sidecar().pause_apply();
  std::this_thread::sleep_for(100ms);
  // Of 100 keys, which are changed again and again, a few become too long: all later changes of these queue up.
  m.source.exec("INSERT INTO t SELECT x, 'v' FROM generate_series(1, 100) x");
  for (int round = 1; round <= 4; ++round) {
    for (int x = 1; x <= 100; ++x) {
      const bool bad = round == 2 && x % 33 == 0;
      m.source.exec("UPDATE t SET v = '" + std::string(bad ? "much too long" : "r" + std::to_string(round)) +
                    "' WHERE id = " + std::to_string(x));
    }
  }
  run.sidecar().resume_apply();
  run.catch_up(m.source);
  CHECK(m.equal("SELECT id, CASE WHEN id % 33 = 0 THEN 'r1' ELSE v END FROM t", "SELECT * FROM t"));
  CHECK(m.target.scalar<std::int64_t>("SELECT count(*) FROM walign.dead_letter") == 9);
  const auto books = run.status().tables.at(0).books;
  CHECK(books.balance());
  CHECK(books.decoded == 500);
  CHECK(books.dead_letters == 9);
}

TEST_CASE("on_conflict: stop ends at the failing transaction also where later ones were gathered already") {
  NarrowTarget n;
  auto& m = n.m;
  m.more = "apply: { max_batch_rows: 5 }\n";
  Run run(m);
  run.wait_until_streaming();
  run.sidecar().pause_apply();
  std::this_thread::sleep_for(100ms);
  for (int x = 1; x <= 60; ++x) {
    m.source.exec("INSERT INTO t VALUES (" + std::to_string(x) + ", '" + (x == 23 ? "much too long" : "ok") +
                  "')");
  }
  run.sidecar().resume_apply();
  const auto error = run.wait();
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::conflict);
  CHECK(m.target.scalar<std::int64_t>("SELECT count(*) FROM t") == 22);
  CHECK(m.target.scalar<std::int64_t>("SELECT max(id) FROM t") == 22);
}

TEST_CASE("requests are carried out between batches also while the stream is behind") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.tables = "  - public.t\n";
  m.more = "apply: { max_batch_rows: 20 }\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec(
      "DO $$ BEGIN FOR i IN 1 .. 4000 LOOP INSERT INTO t VALUES (i, 'v'); COMMIT; END LOOP; END $$");
  run.sidecar().pause_apply();
  CHECK(eventually([&] { return run.status().paused; }, 5s));
  std::this_thread::sleep_for(300ms);
  const auto there = m.target.scalar<std::int64_t>("SELECT count(*) FROM t");
  std::this_thread::sleep_for(300ms);
  CHECK(m.target.scalar<std::int64_t>("SELECT count(*) FROM t") == there);
  run.sidecar().resume_apply();
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}
