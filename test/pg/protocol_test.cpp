// The same WAL by two slots: once as whole transactions, once with the newest protocol, in which large ones come
// while they are still running. What comes out must be the same.
#include "protocol_test.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("large transactions with savepoints that are rolled back come the same while they run") {
  Both both;
  auto& db = both.db;
  db.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  db.exec(
      "BEGIN; INSERT INTO t SELECT i, repeat('a', 100) FROM generate_series(1, 2000) i;"
      "SAVEPOINT one; INSERT INTO t SELECT i, repeat('b', 100) FROM generate_series(2001, 4000) i;"
      "SAVEPOINT two; UPDATE t SET v = 'gone' WHERE id % 2 = 0; ROLLBACK TO two;"
      "DELETE FROM t WHERE id % 3 = 0; ROLLBACK TO one; UPDATE t SET v = 'kept' WHERE id % 5 = 0;"
      "SELECT pg_logical_emit_message(true, 'prefix', 'in it');"
      "SAVEPOINT three; UPDATE t SET id = id + 10000 WHERE id % 7 = 0; RELEASE three; COMMIT");
  db.exec("BEGIN; INSERT INTO t SELECT i, repeat('c', 100) FROM generate_series(20001, 24000) i; ROLLBACK");
  db.exec("INSERT INTO t VALUES (-1, 'small')");
  const auto [whole, running] = both.read();
  same(whole, running);
  CHECK(whole.lines.size() > 2000);
  CHECK(both.streamed() > 0);
}

TEST_CASE("several large transactions in turn, and small ones between them") {
  Both both;
  auto& db = both.db;
  db.exec("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text)");
  Sql first(db.conninfo());
  Sql second(db.conninfo());
  first.exec("BEGIN");
  second.exec("BEGIN");
  for (int i = 0; i < 10; ++i) {
    const std::string from = std::to_string(i * 1000);
    first.exec("INSERT INTO a SELECT " + from + " + i, repeat('a', 150) FROM generate_series(1, 500) i");
    second.exec("INSERT INTO b SELECT " + from + " + i, repeat('b', 150) FROM generate_series(1, 500) i");
    db.exec("INSERT INTO a VALUES (100000 + " + from + ", 'small')");
  }
  SECTION("both commit") {
    second.exec("COMMIT");
    first.exec("COMMIT");
  }
  SECTION("one is rolled back") {
    first.exec("ROLLBACK");
    second.exec("COMMIT");
  }
  SECTION("one changes its table, the other sees it only after") {
    first.exec(
        "ALTER TABLE a ADD COLUMN more int DEFAULT 5; INSERT INTO a SELECT 200000 + i, repeat('x', 100), i "
        "FROM generate_series(1, 2000) i; COMMIT");
    second.exec(
        "INSERT INTO a SELECT 300000 + i, repeat('y', 100), i FROM generate_series(1, 2000) i; COMMIT");
  }
  SECTION("a change of a table is rolled back") {
    first.exec(
        "SAVEPOINT s; ALTER TABLE a ADD COLUMN more int; INSERT INTO a SELECT 200000 + i, repeat('x', 100), "
        "i "
        "FROM generate_series(1, 2000) i; ROLLBACK TO s; INSERT INTO a SELECT 200000 + i, repeat('z', 100) "
        "FROM generate_series(1, 2000) i; COMMIT");
    second.exec("COMMIT");
  }
  const auto [whole, running] = both.read();
  same(whole, running);
  CHECK(both.streamed() > 0);
}

TEST_CASE("TOAST, keys, truncates and prepared transactions come the same while they run") {
  Both both;
  auto& db = both.db;
  db.exec(
      "CREATE TABLE t (id int PRIMARY KEY, big text, n int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;"
      "CREATE TABLE f (id int, v text); ALTER TABLE f REPLICA IDENTITY FULL");
  db.exec("INSERT INTO t SELECT i, repeat(chr(64 + i), 5000), i FROM generate_series(1, 20) i");
  db.exec(
      "BEGIN; UPDATE t SET n = n + 1; UPDATE t SET id = id + 100; UPDATE t SET big = repeat('z', 6000);"
      "INSERT INTO f SELECT i, repeat('f', 50) FROM generate_series(1, 1000) i; UPDATE f SET v = 'g' WHERE "
      "id < 50;"
      "DELETE FROM f WHERE id > 900; TRUNCATE f; INSERT INTO f VALUES (1, 'after'); COMMIT");
  db.exec(
      "BEGIN; INSERT INTO f SELECT i, repeat('p', 100) FROM generate_series(1, 2000) i;"
      "PREPARE TRANSACTION 'two phases'");
  db.exec("INSERT INTO f VALUES (2, 'between')");
  db.exec("COMMIT PREPARED 'two phases'");
  const auto [whole, running] = both.read();
  same(whole, running);
  CHECK(both.streamed() > 0);
}

TEST_CASE("after a lost connection a running transaction comes again from its beginning, once") {
  Both both;
  auto& db = both.db;
  db.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  Sql writer(db.conninfo());
  writer.exec("BEGIN; INSERT INTO t SELECT i, repeat('a', 200) FROM generate_series(1, 3000) i");
  {
    source::SlotOptions options;
    options.connection.conninfo = both.server.conninfo("app");
    options.publications = {"p"};
    options.slot = "running";
    options.spill_directory = both.directory.path();
    options.spill_above_bytes = 1000;
    const auto source = source::open_slot(options);
    db.exec("SELECT pg_logical_emit_message(true, 'seen', '')");
    for (bool seen = false; !seen;) {
      const auto item = source->next(10s);
      REQUIRE(item.has_value());
      seen = std::holds_alternative<event::TransactionPart>(*item);
    }
  }
  writer.exec("INSERT INTO t SELECT i, repeat('b', 200) FROM generate_series(3001, 6000) i; COMMIT");
  const auto [whole, running] = both.read(1000);
  same(whole, running);
}

TEST_CASE("random transactions come the same while they run") {
  Both both;
  both.db.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  write_at_random(both, random, 0, [](int) {});
  const auto [whole, running] = both.read(10'000);
  same(whole, running);
  CHECK(both.streamed() > 0);
}
