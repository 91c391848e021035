// schema_change: add_columns beyond one table and one stream: targets in use, sessions that end, tables that are still
// copied, partitions, several sources and targets, roles, and both directions.
#include "schema_add_test.hpp"
#include "support/sides.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("a target table that is in use is waited for a moment at a time, and nobody behind it for longer") {
  Followed f;
  Run run(f.m);
  run.wait_until_streaming();
  f.first_rows();
  run.catch_up(f.m.source);
  Sql reader(f.m.target.conninfo());
  reader.exec("BEGIN; SELECT count(*) FROM t");
  f.m.source.exec("ALTER TABLE t ADD c int DEFAULT 7; UPDATE t SET c = 1 WHERE id = 5");
  REQUIRE(eventually([&] { return has(run.status().last_error, "in use"); }, 30s));
  CHECK(run.status().tries_again);
  CHECK(has(run.status().last_error, "AccessShareLock"));
  for (int i = 0; i < 30; ++i) {
    const auto began = std::chrono::steady_clock::now();
    CHECK(f.m.target.scalar<int>("SELECT count(*)::int FROM t") == 200);
    CHECK(std::chrono::steady_clock::now() - began < 3s);
    std::this_thread::sleep_for(50ms);
  }
  reader.exec("COMMIT");
  run.catch_up(f.m.source);
  f.check();
}

TEST_CASE("a session that ends between the change of the target and its next step finds the column there") {
  Followed f;
  f.follow();
  f.m.source.exec(
      "ALTER TABLE t ADD c int DEFAULT 7; ALTER TABLE t ALTER c SET DEFAULT 8; INSERT INTO t VALUES (900)");
  Sql holder(f.m.target.conninfo());
  holder.exec("BEGIN; LOCK TABLE walign.relation IN SHARE ROW EXCLUSIVE MODE");  // shapes cannot be noted
  Run run(f.m);
  REQUIRE(eventually(
      [&] { return f.m.target.scalar<int>("SELECT count(*)::int FROM walign.alteration") == 1; }, 30s));
  REQUIRE(eventually(
      [&] {
        return f.m.target
                   .rows(
                       "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.relation = "
                       "'walign.relation'::regclass AND NOT l.granted")
                   .size() == 1;
      },
      30s));
  holder.exec("ROLLBACK");
  run.catch_up(f.m.source);
  f.check();
  CHECK(f.m.target.scalar<int>("SELECT count(*)::int FROM walign.alteration") == 1);
}

TEST_CASE(
    "a table that is still being copied gets the column, and the values of rows that were copied before") {
  Followed f;
  const bool whole_rows = GENERATE(false, true);
  CAPTURE(whole_rows);
  if (whole_rows) f.m.both("ALTER TABLE t ADD u int UNIQUE");  // chunks wait for their aligned moment
  f.m.more += "backfill: { chunk_rows: 20, workers: 2 }\n";
  f.m.source.exec("INSERT INTO t SELECT i, 'a' || i, i FROM generate_series(1, 3000) i");
  Copying run(f.m);
  const auto load = f.load();
  // From the moment when there is such a column, every row gets a value of its own in it, in some order.
  Writer values(
      f.m.source.conninfo(),
      [n = 0](Sql& sql) mutable {
        const auto id = std::to_string((n + 1) * 7 % 3000);
        sql.exec("UPDATE t SET c = 100 + id WHERE id = " + id);
        ++n;
      },
      1ms);
  REQUIRE(eventually([&] { return f.m.target.scalar<int>("SELECT count(*)::int FROM t") > 100; }, 30s));
  f.m.source.exec("ALTER TABLE t ADD c int DEFAULT 7");
  std::this_thread::sleep_for(100ms);
  f.m.source.exec("ALTER TABLE t ADD d text");
  run.wait_until_copied();
  load->stop();
  values.stop();
  run.catch_up(f.m.source);
  f.check();
  CHECK(f.m.target.scalar<int>("SELECT count(*)::int FROM walign.alteration") == 2);
}

TEST_CASE(
    "no chunk is read with values of a column that its plan does not know, while the stream is behind") {
  Followed f;
  f.m.more += "backfill: { chunk_rows: 20, workers: 1, max_rows_per_second: 500 }\n";
  f.m.source.exec("INSERT INTO t SELECT i, 'a' || i, i FROM generate_series(1, 3000) i");
  Copying run(f.m);
  REQUIRE(eventually([&] { return f.m.target.scalar<int>("SELECT count(*)::int FROM t") > 200; }, 30s));
  REQUIRE(run.sidecar().pause_apply(10s));
  f.m.source.exec("ALTER TABLE t ADD c int DEFAULT 7");
  f.m.source.exec("UPDATE t SET c = id");
  // The copy goes on, and these changes are inside its snapshots: what it does not bring, nobody does.
  const auto copied = f.m.target.scalar<int>("SELECT count(*)::int FROM t");
  REQUIRE(
      eventually([&] { return f.m.target.scalar<int>("SELECT count(*)::int FROM t") > copied + 200; }, 30s));
  CHECK(f.m.target.scalar<int>("SELECT count(*)::int FROM walign.alteration") == 1);
  run.sidecar().resume_apply();
  run.wait_until_copied();
  run.catch_up(f.m.source);
  f.check();
}

TEST_CASE("a column that comes, goes and comes again") {
  Followed f;
  Run run(f.m);
  run.wait_until_streaming();
  f.first_rows();
  for (const int value : {7, 8}) {
    f.m.source.exec("ALTER TABLE t ADD c int DEFAULT " + std::to_string(value));
    f.m.source.exec("UPDATE t SET c = 1 WHERE id % 3 = 0; INSERT INTO t (id) SELECT max(id) + 1 FROM t");
    run.catch_up(f.m.source);
    f.check();
    f.m.source.exec("ALTER TABLE t DROP c");
    f.m.source.exec("UPDATE t SET n = 1 WHERE id = 4");
    run.catch_up(f.m.source);
    f.m.target.exec("ALTER TABLE t DROP c");
  }
}

TEST_CASE("a table that is written anew while walign streams is known again") {
  Followed f;
  Run run(f.m);
  run.wait_until_streaming();
  f.first_rows();
  run.catch_up(f.m.source);
  f.m.source.exec("VACUUM FULL t");
  const auto filenode = f.m.source.scalar("SELECT pg_relation_filenode('t')::text");
  REQUIRE(eventually(
      [&] {
        return f.m.target.scalar("SELECT filenode::text FROM walign.relation ORDER BY id DESC LIMIT 1") ==
               filenode;
      },
      30s));
  f.m.source.exec("ALTER TABLE t ADD c text; UPDATE t SET c = 'x' WHERE id % 3 = 0");
  run.catch_up(f.m.source);
  f.check();
}

TEST_CASE("schema_change: stop, too, reads no chunk of a table with a column that nothing takes") {
  Followed f;
  f.m.more = "backfill: { chunk_rows: 20, workers: 1, max_rows_per_second: 200 }\n";
  f.m.source.exec("INSERT INTO t SELECT i, 'a' || i, i FROM generate_series(1, 3000) i");
  std::optional<Error> error;
  {
    Copying run(f.m);
    REQUIRE(eventually([&] { return f.m.target.scalar<int>("SELECT count(*)::int FROM t") > 100; }, 30s));
    f.m.source.exec("BEGIN; ALTER TABLE t ADD c int DEFAULT 7; UPDATE t SET c = id; COMMIT");
    error = run.wait();
  }
  REQUIRE(error);
  CHECK(has(error->describe(), "goes nowhere"));
  f.m.target.exec("ALTER TABLE t ADD c int DEFAULT 7");
  f.m.more = "";
  Copying run(f.m);
  run.wait_until_copied();
  run.catch_up(f.m.source);
  f.check();
}

TEST_CASE("partitions on both sides, made before the column and after it") {
  Followed f;
  f.m.both(
      "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a text, n int) PARTITION BY RANGE (id); CREATE "
      "TABLE t1 "
      "PARTITION OF t FOR VALUES FROM (MINVALUE) TO (100); CREATE TABLE t2 PARTITION OF t FOR VALUES FROM "
      "(100) TO "
      "(1000000)");
  const std::string column = GENERATE("int DEFAULT 7", "int", "text NOT NULL DEFAULT 'x'");
  CAPTURE(column);
  Run run(f.m);
  run.wait_until_streaming();
  f.first_rows();
  run.catch_up(f.m.source);
  const auto load = f.load();
  f.m.source.exec("ALTER TABLE t ADD c " + column);
  f.m.source.exec("CREATE TABLE t3 PARTITION OF t FOR VALUES FROM (1000000) TO (2000000)");
  f.m.target.exec("CREATE TABLE t3 PARTITION OF t FOR VALUES FROM (1000000) TO (2000000)");
  f.m.source.exec(
      "INSERT INTO t (id, n) VALUES (1000001, 1); UPDATE t SET n = 5, c = DEFAULT WHERE id IN (50, 150)");
  std::this_thread::sleep_for(100ms);
  load->stop();
  run.catch_up(f.m.source);
  f.check();
}

TEST_CASE("one source with two targets, and two sources with one") {
  Migration m;
  m.more = "schema_change: add_columns\n";
  m.source.exec("CREATE TABLE a (id int PRIMARY KEY, n int); CREATE TABLE b (id int PRIMARY KEY, n int)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE u (id int PRIMARY KEY, n int)");
  const auto write = [&](int from) {
    for (const char* table : {"a", "b"}) {
      const int first = from + (table[0] == 'b' ? 1000 : 0);
      m.source.exec(std::string("INSERT INTO ") + table + " SELECT i, i FROM generate_series(" +
                    std::to_string(first) + ", " + std::to_string(first + 50) + ") i");
    }
  };
  SECTION("two targets") {
    m.tables = "  - public.a: public.t\n  - public.a: public.u\n";
    Run run(m);
    run.wait_until_streaming();
    write(1);
    run.catch_up(m.source);
    m.source.exec("ALTER TABLE a ADD c int DEFAULT 7; UPDATE a SET c = 1 WHERE id % 3 = 0");
    run.catch_up(m.source);
    for (const char* table : {"t", "u"})
      CHECK(m.equal("SELECT * FROM a", std::string("SELECT * FROM ") + table));
  }
  SECTION("two sources that are altered alike") {
    m.tables = "  - public.a: public.t\n  - public.b: public.t\n";
    {
      Run run(m);
      run.wait_until_streaming();
      write(1);
      run.catch_up(m.source);
    }
    m.source.exec(
        "ALTER TABLE a ADD c int DEFAULT 7; ALTER TABLE b ADD c int DEFAULT 7; UPDATE a SET c = 1 WHERE id < "
        "9");
    Run run(m);
    run.catch_up(m.source);
    CHECK(m.equal("SELECT * FROM a UNION ALL SELECT * FROM b", "SELECT * FROM t"));
  }
  SECTION("of two sources one has got it") {
    m.tables = "  - public.a: public.t\n  - public.b: public.t\n";
    {
      Run run(m);
      run.wait_until_streaming();
      write(1);
      run.catch_up(m.source);
    }
    m.source.exec("ALTER TABLE a ADD c int DEFAULT 7; UPDATE a SET c = 1 WHERE id < 9");
    Run run(m);
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(has(error->describe(), "other sources lead to this table too"));
  }
}

TEST_CASE("a role that does not own the target's tables is told so beforehand, and adds nothing") {
  Followed f;
  const std::string database = f.m.target.scalar("SELECT current_database()::text");
  f.m.target.exec("CREATE ROLE adder LOGIN; GRANT CREATE, TEMPORARY ON DATABASE " + database +
                  " TO adder; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t TO adder");
  f.m.target_url = target_server().conninfo(database) + " user=adder";
  const auto prepared = stream::prepare(f.m.config(), nullptr);
  const bool said =
      std::any_of(prepared.findings.begin(), prepared.findings.end(), [](const mapping::Finding& finding) {
        return finding.level == mapping::Finding::Level::warn && has(finding.what, "does not own it");
      });
  CHECK(said);
  f.follow();
  f.m.source.exec("ALTER TABLE t ADD c int; INSERT INTO t VALUES (900)");
  CHECK(has(f.refused().describe(), "does not own"));
  f.m.target.exec("ALTER TABLE t OWNER TO adder");
  {
    Run run(f.m);
    run.catch_up(f.m.source);
  }
  f.check();
  f.m.target.exec("ALTER TABLE t OWNER TO CURRENT_USER; DROP OWNED BY adder CASCADE; DROP ROLE adder");
}

TEST_CASE("both directions: added to the source before the cutover, and to the target after it") {
  Followed f;
  f.first_rows();
  Sides sides(f.m);
  sides.wait_until_streaming();
  f.m.source.exec("ALTER TABLE t ADD c int DEFAULT 7; UPDATE t SET c = 1 WHERE id % 3 = 0");
  sides.catch_up(f.m.source);
  f.check();
  REQUIRE(sides.verified());
  CHECK(sides.change_until_done(cutover::Verb::cutover).writes == "target");
  f.m.target.exec("UPDATE t SET c = 2 WHERE id % 5 = 0");
  sides.catch_up(f.m.target);
  f.m.target.exec("ALTER TABLE t ADD d text DEFAULT 'd'");
  f.m.target.exec("INSERT INTO t (id, d) VALUES (900, 'new'); UPDATE t SET d = NULL WHERE id < 9");
  sides.catch_up(f.m.target);
  REQUIRE(eventually(
      [&] { return f.m.source.scalar<int>("SELECT count(*)::int FROM t WHERE id = 900") == 1; }, 30s));
  f.check();
  sides.wait_for([](const auto& s) { return s.sides.rollback_ready == true; }, "ready");
  CHECK(sides.change_until_done(cutover::Verb::rollback).writes == "source");
  f.m.source.exec("INSERT INTO t (id, c, d) VALUES (901, 5, 'back')");
  sides.catch_up(f.m.source);
  f.check();
}
