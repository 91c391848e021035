// What happens to a row that the target refuses: the run stops at it exactly; and how far it goes not to.
#include "conflict_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

struct Refusal {
  const char* name;
  const char* target;   // the target's table
  const char* rule;     // of the mapping
  const char* prepare;  // on the target, before
  const char* bad;      // on the source
  const char* mend;     // on the target
  std::vector<std::string> says;
};

const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> all = {
      {"a unique violation",
       "id int PRIMARY KEY, v text, n int UNIQUE",
       "  - public.t\n",
       "INSERT INTO t VALUES (100, 'of its own', 5)",
       "INSERT INTO t VALUES (5, 'v', 5)",
       "DELETE FROM t WHERE id = 100",
       {"INSERT of id=5", "duplicate key", "23505"}},
      {"a row that is not there",
       "id int PRIMARY KEY, v text, n int",
       "  - public.t\n",
       "SELECT 1",
       "DELETE FROM t WHERE id = 1",
       "INSERT INTO t VALUES (1, 'back', 1)",
       {"DELETE of id=1", "0 of 1 rows were there", "WA001"}},
      {"an update of a row that is not there",
       "id int PRIMARY KEY, v text, n int",
       "  - public.t\n",
       "SELECT 1",
       "UPDATE t SET v = 'x' WHERE id = 1",
       "INSERT INTO t VALUES (1, 'back', 1)",
       {"UPDATE of id=1", "0 of 1 rows were there", "WA001"}},
      {"a check constraint",
       "id int PRIMARY KEY, v text, n int CONSTRAINT small CHECK (n < 50)",
       "  - public.t\n",
       "SELECT 1",
       "UPDATE t SET n = 77 WHERE id = 2",
       "ALTER TABLE t DROP CONSTRAINT small",
       {"UPDATE of id=2", "small", "23514"}},
      {"NOT NULL",
       "id int PRIMARY KEY, v text NOT NULL, n int",
       "  - public.t\n",
       "SELECT 1",
       "UPDATE t SET v = NULL WHERE id = 2",
       "ALTER TABLE t ALTER v DROP NOT NULL",
       {"UPDATE of id=2", "not-null", "23502"}},
      {"a value that is too long",
       "id int PRIMARY KEY, v varchar(5), n int",
       "  - public.t\n",
       "SELECT 1",
       "INSERT INTO t VALUES (5, 'much too long', 5)",
       "ALTER TABLE t ALTER v TYPE varchar(50)",
       {"INSERT of id=5", "too long", "22001"}},
      {"a value that the map has not",
       "id int PRIMARY KEY, v text, n int",
       "  - from: public.t\n    columns: { v: { values: { one: a, two: b, odd: c } } }\n",
       "SELECT 1",
       "INSERT INTO t VALUES (5, 'unheard of', 5)",
       "",
       {"INSERT of id=5", "unheard of", "WA002"}},
      {"a value that cannot be cast",
       "id int PRIMARY KEY, v text, n smallint",
       "  - public.t\n",
       "SELECT 1",
       "INSERT INTO t VALUES (5, 'e', 70000)",
       "ALTER TABLE t ALTER n TYPE int",
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
      CHECK(
          m.equal("SELECT id, CASE v WHEN 'one' THEN 'a' WHEN 'two' THEN 'b' WHEN 'odd' THEN 'c' ELSE 'd' "
                  "END, n FROM t",
                  "SELECT id, v, n FROM t"));
    } else {
      CHECK(m.equal("SELECT id, v, n::int FROM t", "SELECT id, v, n::int FROM t"));
    }
  }
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
      "INSERT INTO t VALUES (777777, repeat('long', 200));"
      "INSERT INTO t SELECT i, repeat(md5(i::text), 12) FROM generate_series(5001, 9000) i; "
      "UPDATE t SET v = 'x' WHERE id = 777777; COMMIT";
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
    CHECK(has(error->message(), "was altered before the row"));
    CHECK_FALSE(error->hint().empty());
  }
  CHECK(m.target.scalar("SELECT string_agg(id::text, ',') FROM t") == "1");
  m.target.exec("ALTER TABLE t ADD COLUMN extra int");
  Run run(m);
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}

TEST_CASE("unique values and keys that many rows exchange at once arrive, however many rows there are") {
  Migration m;
  const bool keys = GENERATE(false, true);
  const std::string where = GENERATE("", "    where: v <> 'hidden'\n");
  CAPTURE(keys, where);
  m.source.exec(
      "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, u int UNIQUE DEFERRABLE, v text);"
      "ALTER TABLE t REPLICA IDENTITY FULL");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, v text, own text DEFAULT 'own')");
  m.tables = "  - from: public.t\n" + where;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec(
      "INSERT INTO t SELECT i, i, CASE i % 10 WHEN 0 THEN 'hidden' ELSE 'v' END FROM "
      "generate_series(1, 2500) i");
  run.catch_up(m.source);
  m.target.exec("UPDATE t SET own = id::text");
  m.source.exec(keys ? "UPDATE t SET id = 2500 - id, v = v || '!' WHERE v <> 'hidden'"
                     : "UPDATE t SET u = 2501 - u WHERE u % 10 IN (3, 8)");
  m.source.exec("INSERT INTO t VALUES (9999, 9999, 'last')");
  run.catch_up(m.source);
  const std::string rows = "SELECT id, u, v FROM t";
  CHECK(m.equal(where.empty() ? rows : rows + " WHERE v <> 'hidden'", rows));
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t WHERE own = 'own'") == 1);
  CHECK(run.status().tables.at(0).books.balance());
}

TEST_CASE("where foreign keys are enforced, no row is deleted for a moment to let values change places") {
  Migration m;
  m.tables = "  - public.t\n";
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE DEFERRABLE)");
  m.target.exec(
      "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE);"
      "CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE)");
  const std::string role = "plain_" + m.stream();
  m.target.exec("CREATE ROLE " + role + " LOGIN");
  m.target.exec("DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO " + role +
                "', current_database()); END $$; GRANT ALL ON t TO " + role);
  m.target_url.replace(m.target_url.find("postgres@"), 8, role);
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 1), (2, 2)");
  run.catch_up(m.source);
  m.target.exec("INSERT INTO child VALUES (1, 1)");
  m.source.exec("UPDATE t SET u = 3 - u");
  const auto error = run.wait();
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::conflict);
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM child") == 1);
  CHECK(m.target.scalar("SELECT string_agg(id || ':' || u, ',' ORDER BY id) FROM t") == "1:1,2:2");
}
