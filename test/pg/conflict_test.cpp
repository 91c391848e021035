// What happens to a row that the target refuses: stop at it, or set it aside and go on.
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }


// The dead letters as lines "operation key state chain", in order; chains numbered from the first that is seen.
std::vector<std::string> letters(Migration& m) {
  std::vector<std::string> out;
  std::map<std::string, int> chains;
  for (const auto& row : m.target.rows("SELECT operation, key, sqlstate, coalesce(chain, id)::text FROM "
                                       "walign.dead_letter ORDER BY id")) {
    const int chain = chains.try_emplace(*row[3], static_cast<int>(chains.size()) + 1).first->second;
    out.push_back(*row[0] + " " + *row[1] + (row[2]->empty() ? "" : " " + *row[2]) + " chain " +
                  std::to_string(chain));
  }
  return out;
}

std::int64_t first_letter(Migration& m) {
  return m.target.scalar<std::int64_t>("SELECT min(id) FROM walign.dead_letter");
}

const char* const kDeadLetter = "apply: { on_conflict: dead_letter }\n";

}  // namespace

// ------------------------------------------------------------------------------------------------ stop

namespace {

struct Refusal {
  const char* name;
  const char* target;    // the target's table
  const char* rule;      // of the mapping
  const char* prepare;   // on the target, before
  const char* bad;       // on the source
  const char* mend;      // on the target
  std::vector<std::string> says;
};

const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> all = {
      {"a unique violation", "id int PRIMARY KEY, v text UNIQUE, n int", "  - public.t\n",
       "INSERT INTO t VALUES (100, 'taken', 0)", "INSERT INTO t VALUES (5, 'taken', 5)",
       "DELETE FROM t WHERE id = 100", {"INSERT of id=5", "duplicate key", "23505"}},
      {"a row that is not there", "id int PRIMARY KEY, v text, n int", "  - public.t\n",
       "SELECT 1", "DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (1, 'back', 1)",
       {"DELETE of id=1", "0 of 1 rows were there", "WA001"}},
      {"an update of a row that is not there", "id int PRIMARY KEY, v text, n int", "  - public.t\n",
       "SELECT 1", "UPDATE t SET v = 'x' WHERE id = 1", "INSERT INTO t VALUES (1, 'back', 1)",
       {"UPDATE of id=1", "0 of 1 rows were there", "WA001"}},
      {"a check constraint", "id int PRIMARY KEY, v text, n int CONSTRAINT small CHECK (n < 50)",
       "  - public.t\n", "SELECT 1", "UPDATE t SET n = 77 WHERE id = 2", "ALTER TABLE t DROP CONSTRAINT small",
       {"UPDATE of id=2", "small", "23514"}},
      {"NOT NULL", "id int PRIMARY KEY, v text NOT NULL, n int", "  - public.t\n", "SELECT 1",
       "UPDATE t SET v = NULL WHERE id = 2", "ALTER TABLE t ALTER v DROP NOT NULL",
       {"UPDATE of id=2", "not-null", "23502"}},
      {"a value that is too long", "id int PRIMARY KEY, v varchar(5), n int", "  - public.t\n", "SELECT 1",
       "INSERT INTO t VALUES (5, 'much too long', 5)", "ALTER TABLE t ALTER v TYPE varchar(50)",
       {"INSERT of id=5", "too long", "22001"}},
      {"a value that the map has not", "id int PRIMARY KEY, v text, n int",
       "  - from: public.t\n    columns: { v: { values: { one: a, two: b, odd: c } } }\n", "SELECT 1",
       "INSERT INTO t VALUES (5, 'unheard of', 5)", "", {"INSERT of id=5", "unheard of", "WA002"}},
      {"a value that cannot be cast", "id int PRIMARY KEY, v text, n smallint", "  - public.t\n", "SELECT 1",
       "INSERT INTO t VALUES (5, 'e', 70000)", "ALTER TABLE t ALTER n TYPE int",
       {"INSERT of id=5", "smallint out of range", "22003"}},
  };
  return all;
}

}  // namespace

TEST_CASE("on_conflict: stop ends at the transaction that fails, and goes on after it is mended") {
  for (const auto& r : refusals()) {
    INFO(r.name);
    Migration m;
    m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text, n int)");
    m.target.exec(std::string("CREATE TABLE t (") + r.target + ")");
    m.tables = r.rule;
    {
      Run run(m);
      run.wait_until_streaming();
      m.source.exec("INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2)");
      run.catch_up(m.source);
      if (has(r.bad, "id = 1")) m.target.exec("DELETE FROM t WHERE id = 1");
      m.target.exec(r.prepare);
      // One batch: good, bad with a good row beside it, good.
      run.sidecar().pause_apply();
      std::this_thread::sleep_for(300ms);
      m.source.exec("INSERT INTO t VALUES (10, 'odd', 10)");
      m.source.exec(std::string("BEGIN; INSERT INTO t VALUES (11, 'one', 11); ") + r.bad + "; COMMIT");
      m.source.exec("INSERT INTO t VALUES (12, 'two', 12)");
      run.sidecar().resume_apply();
      const auto error = run.wait();
      REQUIRE(error);
      INFO(error->describe());
      CHECK(error->kind() == ErrorKind::conflict);
      CHECK(has(error->message(), "public.t"));
      CHECK(error->position().valid());
      CHECK_FALSE(error->hint().empty());
      for (const auto& part : r.says) CHECK(has(error->describe(), part));
    }
    CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t WHERE id = 10") == 1);
    CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t WHERE id IN (11, 12)") == 0);
    {
      Run again(m);  // unmended, it ends there again, having moved nothing
      const auto error = again.wait();
      REQUIRE(error);
      CHECK(error->kind() == ErrorKind::conflict);
    }
    if (std::string(r.mend).empty()) {
      m.tables = "  - from: public.t\n    columns: { v: { values: { one: a, two: b, odd: c }, else: d } }\n";
    } else {
      m.target.exec(r.mend);
    }
    Run run(m);
    run.catch_up(m.source);
    if (std::string(r.mend).empty()) {
      CHECK(m.equal("SELECT id, CASE v WHEN 'one' THEN 'a' WHEN 'two' THEN 'b' WHEN 'odd' THEN 'c' ELSE 'd' "
                    "END, n FROM t",
                    "SELECT id, v, n FROM t"));
    } else {
      CHECK(m.equal("SELECT id, v, n::int FROM t", "SELECT id, v, n::int FROM t"));
    }
  }
}

// ----------------------------------------------------------------------------------------- dead letters

TEST_CASE("a dead letter is set aside with its event, and the rest of its transaction is applied") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v varchar(5))");
  m.tables = "  - public.t\n";
  m.more = kDeadLetter;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("BEGIN; INSERT INTO t VALUES (1, 'a'); INSERT INTO t VALUES (2, 'too long'); "
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
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v varchar(5))");
  m.tables = "  - public.t\n";
  m.more = kDeadLetter;
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
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v varchar(5))");
  m.tables = "  - public.t\n";
  m.more = kDeadLetter;
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
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v varchar(5))");
  m.tables = "  - public.t\n";
  m.more = kDeadLetter;
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
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v varchar(5)); CREATE TABLE t2 (id int PRIMARY KEY, v text);"
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

// ------------------------------------------------------------------------------- larger than a batch

TEST_CASE("a transaction larger than a batch that fails in its middle is read again") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v varchar(500))");
  m.tables = "  - public.t\n";
  const bool stop = GENERATE(true, false);
  CAPTURE(stop);
  m.more = std::string("apply: { max_batch_bytes: 64KiB, max_batch_rows: 100, on_conflict: ") +
           (stop ? "stop" : "dead_letter") + " }\n";
  const std::string big =
      "BEGIN; INSERT INTO t SELECT i, repeat(md5(i::text), 12) FROM generate_series(1, 5000) i; "
      "INSERT INTO t VALUES (777777, repeat('long', 200)); UPDATE t SET v = 'x' WHERE id = 777777;"
      "INSERT INTO t SELECT i, repeat(md5(i::text), 12) FROM generate_series(5001, 9000) i; COMMIT";
  auto run = std::make_unique<Run>(m);
  run->wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (-1, 'before')");
  m.source.exec(big);
  m.source.exec("INSERT INTO t VALUES (-2, 'after')");
  if (stop) {
    const auto error = run->wait();
    REQUIRE(error);
    INFO(error->describe());
    CHECK(error->kind() == ErrorKind::conflict);
    CHECK(has(error->message(), "INSERT of id=777777"));
    CHECK(error->position().valid());
    CHECK(m.target.scalar("SELECT string_agg(v, ',') FROM t") == "before");
    m.target.exec("ALTER TABLE t ALTER v TYPE varchar(5000)");
    run.reset();
    run = std::make_unique<Run>(m);
    run->catch_up(m.source);
  } else {
    run->catch_up(m.source);
    CHECK(letters(m) ==
          std::vector<std::string>{"INSERT id=777777 22001 chain 1", "UPDATE id=777777 chain 1"});
    CHECK(m.equal("SELECT * FROM t WHERE id <> 777777", "SELECT * FROM t"));
    CHECK(run->status().tables.at(0).books.balance());
    m.target.exec("ALTER TABLE t ALTER v TYPE varchar(5000)");
    run->sidecar().retry_dead_letter(first_letter(m), 10s);
  }
  CHECK(m.equal("t"));
}

TEST_CASE("a change to a table's shape stops before its first changed row, after everything older") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.tables = "  - public.t\n";
  const bool one_batch = GENERATE(false, true);
  CAPTURE(one_batch);
  {
    Run run(m);
    run.wait_until_streaming();
    if (one_batch) {
      run.sidecar().pause_apply();
      std::this_thread::sleep_for(300ms);
    }
    m.source.exec("INSERT INTO t VALUES (1, 'a')");
    m.source.exec("ALTER TABLE t ADD COLUMN extra int");
    m.source.exec("INSERT INTO t VALUES (2, 'b', 7)");
    run.sidecar().resume_apply();
    const auto error = run.wait();
    REQUIRE(error);
    INFO(error->describe());
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->message(), "new column extra"));
    CHECK_FALSE(error->hint().empty());
  }
  CHECK(m.target.scalar("SELECT string_agg(id::text, ',') FROM t") == "1");
  m.target.exec("ALTER TABLE t ADD COLUMN extra int");
  Run run(m);
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}
