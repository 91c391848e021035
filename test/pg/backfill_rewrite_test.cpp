// Tables that are rewritten or emptied while they are copied: neither is MVCC.
#include "support/copying.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("a table that is rewritten between the plan and the read is copied whole") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v varchar(10), w text)");
  m.source.exec("INSERT INTO t SELECT i, 'v' || i, 'w' FROM generate_series(1, 3000) i");
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_rows: 20, workers: 2 }\n";
  Copying run(m);
  {
    const Writer rewriter(
        m.source.conninfo(),
        [n = 0](Sql& sql) mutable {
          switch (n++ % 4) {
            case 0: return sql.exec("ALTER TABLE t ALTER v TYPE varchar(10) USING v || ''");
            case 1: return sql.exec("VACUUM FULL t");
            case 2: return sql.exec("CLUSTER t USING t_pkey");
            default: return sql.exec("ALTER TABLE t ALTER w TYPE text USING w || ''");
          }
        },
        1ms);
    const Writer writer(
        m.source.conninfo(),
        [n = 0](Sql& sql) mutable {
          ++n;
          sql.exec("UPDATE t SET v = 'n" + std::to_string(n) +
                   "' WHERE id = " + std::to_string(n * 7 % 3000));
        },
        1ms);
    run.wait_until_copied();
    CHECK(rewriter.steps() > 10);
  }
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}

TEST_CASE("a table that is truncated again and again while it is copied ends equal, without a deadlock") {
  Migration m;
  const bool unique = GENERATE(false, true);
  CAPTURE(unique);
  m.both(std::string("CREATE TABLE t (id int PRIMARY KEY, u int") + (unique ? " UNIQUE" : "") +
         "); CREATE TABLE other (id int PRIMARY KEY, n int)");
  m.source.exec(
      "INSERT INTO t SELECT i, i FROM generate_series(1, 2000) i; INSERT INTO other SELECT i, 0 FROM "
      "generate_series(1, 2000) i");
  m.tables = "  - public.t\n  - public.other\n";
  m.more = "backfill: { chunk_rows: 50, workers: 2 }\n";
  Copying run(m);
  {
    Writer writer(m.source.conninfo(), [n = 0](Sql& sql) mutable {
      const auto id = std::to_string(++n % 2000);
      sql.exec("UPDATE other SET n = n + 1 WHERE id = " + id + "; UPDATE t SET u = -u WHERE id = " + id);
      sql.exec("INSERT INTO t VALUES (" + std::to_string(10000 + n) + ", " + std::to_string(10000 + n) + ")");
    });
    for (int i = 0; i < 60; ++i) {
      m.source.exec(
          i % 3 == 0
              ? "BEGIN; INSERT INTO t VALUES (-99999, -99999); TRUNCATE t; INSERT INTO t SELECT i, i FROM "
                "generate_series(1, 300) i; UPDATE t SET id = -id WHERE id < 20; COMMIT"
              : "TRUNCATE t; INSERT INTO t SELECT i, i FROM generate_series(1, 700) i");
      std::this_thread::sleep_for(Millis(i * 7 % 40));
    }
    writer.stop();
  }
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  CHECK(m.equal("other"));
  for (const auto& table : run.status().tables) CHECK(table.books.balance());
  // Nothing of it is left to be found by the next start.
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk") == 0);
}

TEST_CASE("a TRUNCATE that was committed before a chunk was read, and is decoded after") {
  Migration m;
  // Loaded at the aligned moment, which is behind the TRUNCATE.
  m.both("CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE)");
  m.source.exec("INSERT INTO t SELECT i, i FROM generate_series(1, 500) i");
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_rows: 50, workers: 2 }\n";
  Copying run(m, Copy::paused);
  run.wait_until_streaming();
  run.sidecar().pause_apply();
  std::this_thread::sleep_for(300ms);
  m.source.exec("TRUNCATE t; INSERT INTO t SELECT i, -i FROM generate_series(1, 300) i");
  run.resume();
  std::this_thread::sleep_for(500ms);
  run.sidecar().resume_apply();
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}

TEST_CASE("a column that is added while its table is copied: a value is in the chunk, or in the stream") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.source.exec("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 500) i");
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_rows: 50, workers: 1 }\n";
  {
    Copying run(m, Copy::paused);
    run.wait_until_streaming();
    CHECK(run.sidecar().pause_apply(10s));
    m.source.exec("ALTER TABLE t ADD c int");
    m.source.exec("UPDATE t SET c = id");
    run.resume();
    std::this_thread::sleep_for(500ms);
    run.sidecar().resume_apply();
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->describe(), "public.t"));
  }
  m.target.exec("ALTER TABLE t ADD c int");
  Copying run(m);
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t WHERE c = id") == 500);
}

TEST_CASE("a TRUNCATE in a large transaction, and walign ends while it copies again") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE other (id int PRIMARY KEY)");
  m.source.exec("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20000) i");
  m.tables = "  - public.other\n  - public.t\n";  // the first is there when the second is not
  m.more = "backfill: { chunk_rows: 100, workers: 1 }\napply: { max_batch_rows: 100 }\n";
  {
    Copying run(m);
    REQUIRE(eventually(
        [&] {
          return run.status().connected &&
                 m.target.scalar<int>(
                     "SELECT count(*)::int FROM walign.chunk WHERE route LIKE 'public.t %'") >= 2;
        },
        30s, 2ms));
    run.pause();
    std::this_thread::sleep_for(200ms);
    REQUIRE(run.status().phase == "backfilling");
    m.source.exec(
        "BEGIN; INSERT INTO other SELECT generate_series(1, 50000); TRUNCATE t; INSERT INTO t SELECT i, "
        "'new' "
        "FROM generate_series(1, 400) i; COMMIT");
    run.catch_up(m.source);
    CHECK(m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk WHERE route LIKE 'public.t %'") == 0);
    run.stop();
  }
  Copying run(m);
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  CHECK(m.equal("other"));
}

TEST_CASE("a partition is truncated while its table is copied, and the others stay") {
  Migration m;
  const bool by_hash = GENERATE(false, true);  // then the target cannot tell which rows are that partition's
  CAPTURE(by_hash);
  m.both(by_hash ? "CREATE TABLE p (id int, day int, v text, PRIMARY KEY (id, day)) PARTITION BY HASH (day);"
                   "CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
                   "CREATE TABLE p2 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
                 : "CREATE TABLE p (id int, day int, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
                   "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
                   "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)");
  m.source.exec("INSERT INTO p SELECT i, i % 20, 'v' FROM generate_series(1, 3000) i");
  m.tables = "  - public.p\n";
  // So slowly that it can be held in the middle.
  m.more = std::string("backfill: { chunk_rows: 50, workers: 2") +
           (by_hash ? ", max_rows_per_second: 2000" : "") + " }\n";
  Copying run(m);
  REQUIRE(eventually(
      [&] { return run.status().connected && m.target.scalar<int>("SELECT count(*)::int FROM p") > 500; }));
  if (by_hash) run.pause();  // once it is copied, such a TRUNCATE is a conflict
  for (int i = 0; i < 10; ++i) {
    const std::string moved =
        by_hash ? "DELETE FROM p WHERE id % 20 = 15" : "UPDATE p SET day = day - 10 WHERE id % 20 = 15";
    m.source.exec(
        "BEGIN; UPDATE p SET v = 'w' WHERE id % 3 = 0; TRUNCATE p1; COMMIT; " + moved +
        "; INSERT INTO p SELECT i, i % 20, 'x' FROM generate_series(1, 500) i ON CONFLICT DO NOTHING");
    std::this_thread::sleep_for(30ms);
  }
  run.catch_up(m.source);
  run.resume();
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("p"));
  for (const auto& table : run.status().tables) CHECK(table.books.balance());
}

TEST_CASE(
    "a loader that waits for a large transaction's lock, and is waited for by it, does not stop the run") {
  Migration m;
  m.source.exec(
      "CREATE TABLE look (id int PRIMARY KEY, name text, pad text); INSERT INTO look SELECT i, 'n' || i, "
      "repeat('x', 8000) FROM "
      "generate_series(1, 300) i;"
      "CREATE TABLE t (id int PRIMARY KEY, look_id int, v int, big text); INSERT INTO t SELECT i, 1 + i % "
      "300, 0, repeat('y', 20000) FROM "
      "generate_series(1, 3000) i");
  m.target.exec(
      "CREATE TABLE look (id int PRIMARY KEY, name text, pad text); CREATE TABLE t (id int PRIMARY KEY, name "
      "text, v int, big text)");
  m.tables =
      "  - public.look\n  - { from: public.t, to: public.t, columns: { look_id: false, name: { sql: '(SELECT "
      "l.name "
      "FROM public.look l WHERE l.id = src.look_id)' } } }\n";
  m.more = "backfill: { chunk_rows: 1000, workers: 2 }\napply: { max_batch_rows: 100 }\n";
  Copying run(m);
  REQUIRE(eventually([&] {
    return run.status().connected &&
           m.target.scalar<bool>("SELECT EXISTS (SELECT FROM walign.copy WHERE complete)");
  }));
  // Its first parts, of a megabyte each, hold what the loaders of t look into; later ones change rows in their chunks.
  int transactions = 0;
  for (; transactions < 10 && run.status().phase == "backfilling"; ++transactions) {
    m.source.exec(
        "BEGIN; TRUNCATE look; INSERT INTO look SELECT i, 'n' || i, repeat('x', 8000) FROM "
        "generate_series(1, 300) i; "
        "UPDATE t SET v = v + 1; COMMIT");
  }
  CHECK(transactions > 1);
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("look"));
  CHECK(m.equal("SELECT id, 'n' || look_id, v FROM t", "SELECT id, name, v FROM t"));
}
