// Rows that the target refuses are set aside, in order, and applied when it is mended.
#include "conflict_test.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("a dead letter is set aside with its event, and the rest of its transaction is applied") {
  NarrowTarget narrow;
  auto& m = narrow.m;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec(
      "BEGIN; INSERT INTO t VALUES (1, 'a'); INSERT INTO t VALUES (2, 'too long'); "
      "INSERT INTO t VALUES (3, 'c'); COMMIT");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT * FROM t WHERE id <> 2", "SELECT * FROM t"));
  CHECK(letters(m) == std::vector<std::string>{"INSERT id=2 22001 chain 1"});
  CHECK(has(m.target.scalar("SELECT error FROM walign.dead_letter"), "too long"));
  v1::Transaction event;
  const std::string hex = m.target.scalar("SELECT encode(event, 'hex') FROM walign.dead_letter");
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  REQUIRE(event.ParseFromString(bytes));
  REQUIRE(event.changes_size() == 1);
  CHECK(event.changes(0).new_row().values() == "2too long");
  CHECK(event.relations(0).name() == "t");
  CHECK(m.target.scalar("SELECT commit_lsn::text FROM walign.dead_letter") ==
        Lsn(event.commit_lsn()).to_string());

  // Later changes of that key queue behind it; others go on.
  m.source.exec("UPDATE t SET v = 'b' WHERE id = 2; UPDATE t SET v = 'z' WHERE id = 1");
  m.source.exec("UPDATE t SET v = 'still too long' WHERE id = 2");
  m.source.exec("UPDATE t SET v = 'end' WHERE id = 2");
  run.catch_up(m.source);
  CHECK(letters(m) == std::vector<std::string>{"INSERT id=2 22001 chain 1", "UPDATE id=2 chain 1",
                                               "UPDATE id=2 chain 1", "UPDATE id=2 chain 1"});
  CHECK(m.equal("SELECT * FROM t WHERE id <> 2", "SELECT * FROM t"));
  const auto books = run.status().tables.at(0).books;
  CHECK(books.balance());
  CHECK(books.dead_letters == 4);
  CHECK(run.status().dead_letters == 4);

  // Unmended, a retry changes nothing; mended, it applies all in order.
  CHECK_THROWS_AS(run.sidecar().retry_dead_letter(first_letter(m), 10s), Error);
  CHECK(letters(m).size() == 4);
  CHECK(m.equal("SELECT * FROM t WHERE id <> 2", "SELECT * FROM t"));
  m.target.exec("ALTER TABLE t ALTER v TYPE varchar(50)");
  run.sidecar().retry_dead_letter(first_letter(m) + 2, 10s);  // any of the chain names it
  CHECK(letters(m).empty());
  CHECK(m.equal("t"));
  m.source.exec("UPDATE t SET v = 'after' WHERE id = 2");  // nothing queues any more
  run.catch_up(m.source);
  CHECK(letters(m).empty());
  CHECK(m.equal("t"));
  CHECK(run.status().tables.at(0).books.balance());
}

TEST_CASE("a dead letter survives a restart, and later changes still queue behind it") {
  NarrowTarget narrow;
  auto& m = narrow.m;
  {
    Run run(m);
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t VALUES (1, 'too long')");
    run.catch_up(m.source);
    run.stop();
  }
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("UPDATE t SET v = 'ok' WHERE id = 1; INSERT INTO t VALUES (2, 'x')");
  run.catch_up(m.source);
  CHECK(letters(m) == std::vector<std::string>{"INSERT id=1 22001 chain 1", "UPDATE id=1 chain 1"});
  CHECK(m.target.scalar("SELECT string_agg(id::text, ',') FROM t") == "2");
  CHECK(run.status().tables.at(0).books.balance());
  SECTION("discarded, it is forgotten, and the key is free again") {
    run.sidecar().discard_dead_letter(first_letter(m), 10s);
    CHECK(letters(m).empty());
    CHECK(run.status().dead_letters.has_value());
    m.source.exec("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'new')");
    run.catch_up(m.source);
    // The delete finds no row: discarding was the operator's word that the row is not wanted.
    CHECK(letters(m) == std::vector<std::string>{"DELETE id=1 WA001 chain 1", "INSERT id=1 chain 1"});
  }
  SECTION("retried under a mended target, both are applied") {
    m.target.exec("ALTER TABLE t ALTER v TYPE text");
    run.sidecar().retry_dead_letter(first_letter(m), 10s);
    CHECK(m.equal("t"));
  }
  SECTION("an unknown one is refused") {
    try {
      run.sidecar().retry_dead_letter(987654, 10s);
      FAIL("not refused");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::usage);
    }
  }
}

TEST_CASE("key changes join the chains of their keys") {
  Migration m;
  const bool filtered = GENERATE(false, true);
  const bool one_batch = GENERATE(false, true);
  CAPTURE(filtered, one_batch);
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v varchar(5))");
  m.tables = filtered ? "  - from: public.t\n    where: v <> 'hidden'\n" : "  - public.t\n";
  m.more = kDeadLetter;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'too long'), (2, 'b'), (3, 'c')");
  run.catch_up(m.source);
  REQUIRE(letters(m).size() == 1);
  if (one_batch) {
    run.sidecar().pause_apply();
    std::this_thread::sleep_for(300ms);
  }
  m.source.exec("DELETE FROM t WHERE id = 2");
  m.source.exec("UPDATE t SET id = 2 WHERE id = 1");
  m.source.exec("UPDATE t SET v = 'again too long' WHERE id = 2");  // behind the key change
  m.source.exec("DELETE FROM t WHERE id = 2");
  m.source.exec("INSERT INTO t VALUES (2, 'fresh')");
  m.source.exec("UPDATE t SET v = 'd' WHERE id = 3");
  if (one_batch) run.sidecar().resume_apply();
  run.catch_up(m.source);
  CHECK(letters(m) == std::vector<std::string>{"INSERT id=1 22001 chain 1", "UPDATE id=1 chain 1",
                                               "UPDATE id=2 chain 1", "DELETE id=2 chain 1",
                                               "INSERT id=2 chain 1"});
  CHECK(m.target.scalar("SELECT string_agg(id || v, ',') FROM t") == "3d");
  CHECK(run.status().tables.at(0).books.balance());
  m.target.exec("ALTER TABLE t ALTER v TYPE text");
  run.sidecar().retry_dead_letter(first_letter(m), 10s);
  CHECK(letters(m).empty());
  CHECK(m.equal("t"));
}

TEST_CASE("a key change between two chains makes them one") {
  NarrowTarget narrow;
  auto& m = narrow.m;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'too long'); INSERT INTO t VALUES (2, 'too long too')");
  run.catch_up(m.source);
  m.source.exec("DELETE FROM t WHERE id = 2; UPDATE t SET id = 2 WHERE id = 1");
  m.source.exec("UPDATE t SET v = 'x' WHERE id = 2");
  run.catch_up(m.source);
  const auto all = letters(m);
  REQUIRE(all.size() == 5);
  for (const auto& letter : all) CHECK(has(letter, "chain 1"));
  m.target.exec("ALTER TABLE t ALTER v TYPE text");
  run.sidecar().retry_dead_letter(first_letter(m) + 1, 10s);
  CHECK(letters(m).empty());
  CHECK(m.equal("t"));
}

TEST_CASE("a TRUNCATE makes the dead letters of its table moot") {
  NarrowTarget narrow;
  auto& m = narrow.m;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'too long'), (2, 'b')");
  run.catch_up(m.source);
  REQUIRE(letters(m).size() == 1);
  m.source.exec("TRUNCATE t");
  m.source.exec("INSERT INTO t VALUES (1, 'new'), (2, 'c')");
  run.catch_up(m.source);
  CHECK(letters(m).empty());
  CHECK(m.equal("t"));
  CHECK(run.status().tables.at(0).books.balance());
}

TEST_CASE("a dead letter whose table has left the mapping is kept") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY)");
  m.target.exec(
      "CREATE TABLE t (id int PRIMARY KEY, v varchar(5)); CREATE TABLE t2 (id int PRIMARY KEY, v text);"
      "CREATE TABLE u (id int PRIMARY KEY)");
  m.tables = "  - public.t\n  - public.u\n";
  m.more = kDeadLetter;
  {
    Run run(m);
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t VALUES (1, 'too long')");
    run.catch_up(m.source);
    run.stop();
  }
  m.tables = GENERATE("  - public.t: public.t2\n  - public.u\n", "  - public.u\n");
  Run run(m);
  run.wait_until_streaming();
  CHECK_THROWS_AS(run.sidecar().retry_dead_letter(first_letter(m), 10s), Error);
  CHECK(letters(m).size() == 1);
  m.source.exec("INSERT INTO u VALUES (1)");  // the stream goes on
  run.catch_up(m.source);
  CHECK(m.equal("u"));
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t2") == 0);
}

TEST_CASE("a long key in another script does not hinder setting its row aside") {
  Migration m;
  m.source.exec("CREATE TABLE t (id text PRIMARY KEY, v int)");
  m.target.exec("CREATE TABLE t (id text PRIMARY KEY, v smallint)");
  m.tables = "  - public.t\n";
  m.more = kDeadLetter;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES ('x' || repeat('ä', 50), 70000), ('b', 1)");
  run.catch_up(m.source);
  CHECK(letters(m).size() == 1);
  CHECK(m.target.scalar("SELECT id FROM t") == "b");
}

TEST_CASE("rows of a table without a key are set aside one by one, and nothing queues") {
  Migration m;
  m.source.exec("CREATE TABLE t (v text)");
  m.target.exec("CREATE TABLE t (v varchar(5))");
  m.tables = "  - from: public.t\n    inserts_only: true\n";
  m.more = kDeadLetter;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES ('a'), ('too long'), ('b'), ('a')");
  m.source.exec("INSERT INTO t VALUES ('c'), ('much too long')");
  run.catch_up(m.source);
  CHECK(letters(m).size() == 2);
  CHECK(m.equal("SELECT v FROM t WHERE length(v) < 6", "SELECT v FROM t"));
  m.target.exec("ALTER TABLE t ALTER v TYPE text");
  run.sidecar().retry_dead_letter(first_letter(m), 10s);
  CHECK(letters(m).size() == 1);
  run.sidecar().retry_dead_letter(first_letter(m), 10s);
  CHECK(m.equal("t"));
}

TEST_CASE("a TRUNCATE of one partition ends the chains of its rows, and of no others") {
  Migration m;
  m.source.exec(
      "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
      "CREATE TABLE a PARTITION OF t FOR VALUES FROM (0) TO (10);"
      "CREATE TABLE b PARTITION OF t FOR VALUES FROM (10) TO (20)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v varchar(5))");
  m.tables = "  - public.t\n";
  m.more = kDeadLetter;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'too long'), (11, 'too long too'), (2, 'x'), (12, 'y')");
  run.catch_up(m.source);
  REQUIRE(letters(m).size() == 2);
  m.source.exec("TRUNCATE a");
  m.source.exec("INSERT INTO t VALUES (1, 'new'); UPDATE t SET v = 'z' WHERE id = 11");
  run.catch_up(m.source);
  CHECK(letters(m) == std::vector<std::string>{"INSERT id=11 22001 chain 1", "UPDATE id=11 chain 1"});
  CHECK(run.status().dead_letters.has_value());
  m.target.exec("ALTER TABLE t ALTER v TYPE text");
  run.sidecar().retry_dead_letter(first_letter(m), 10s);
  CHECK(m.equal("t"));
}
