// Tables of the source that somebody alters, drops, exchanges or takes out of the publication, while walign streams, is
// behind, or is stopped: the stream goes on exactly, or says why it cannot.
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// A table that was streamed for a while; walign is stopped now.
struct Stopped {
  Migration m;
  Stopped() {
    m.both("CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int)");
    m.tables = "  - public.t\n";
    Run run(m);
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t SELECT i, 'a' || i, 'b' || i, i FROM generate_series(1, 20) i");
    run.catch_up(m.source);
    run.stop();
    write(100);
  }
  // Changes of every kind to rows old and new.
  void write(int from) {
    m.source.exec("INSERT INTO t (id, n) SELECT i, i FROM generate_series(" + std::to_string(from) + ", " +
                  std::to_string(from + 20) + ") i");
    m.source.exec("UPDATE t SET n = n + 1 WHERE id % 3 = 0; UPDATE t SET id = id + 1000 WHERE id = " +
                  std::to_string(from) + "; DELETE FROM t WHERE id % 7 = 0");
  }
  Error refused() {
    Run run(m);
    const auto error = run.wait();
    REQUIRE(error);
    INFO(error->describe());
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->describe(), "t"));
    CHECK_FALSE(error->hint().empty());
    return *error;
  }
};

}  // namespace

TEST_CASE("what left the publication while walign was stopped is not taken in again without a word") {
  Stopped s;
  std::string back;
  SECTION("dropped and made again") {
    s.m.source.exec("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int)");
  }
  SECTION("names exchanged") {
    s.m.source.exec(
        "CREATE TABLE u (LIKE t INCLUDING ALL); ALTER TABLE t RENAME TO v; ALTER TABLE u RENAME TO t");
    back = "DROP TABLE t; ALTER TABLE v RENAME TO t";
  }
  SECTION("taken out of the publication") {
    s.m.source.exec("ALTER PUBLICATION " + s.m.stream() + " DROP TABLE t");
    back = "ALTER PUBLICATION " + s.m.stream() + " ADD TABLE t";
  }
  s.m.source.exec("SELECT 1");
  CHECK(has(s.refused().describe(), "is not in the stream"));
  CHECK(has(s.refused().describe(), "is not in the stream"));  // as a supervisor would start it again
  if (back.empty()) return;
  s.m.source.exec(back);
  Run run(s.m);
  run.catch_up(s.m.source);
  CHECK(s.m.equal("t"));
}

TEST_CASE("a table that was taken out of the configuration is new when it comes back") {
  Stopped s;
  s.m.both("CREATE TABLE other (id int PRIMARY KEY)");
  s.m.tables = "  - public.other\n";
  {
    Run run(s.m);
    run.catch_up(s.m.source);
  }
  CHECK(s.m.target.scalar<int>("SELECT count(DISTINCT oid) FROM walign.relation") == 1);
  s.m.source.exec("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int)");
  s.m.target.exec("TRUNCATE t");
  s.m.tables += "  - public.t\n";
  Run run(s.m);
  run.wait_until_streaming();
  s.write(200);
  run.catch_up(s.m.source);
  CHECK(s.m.equal("t"));
}

TEST_CASE("rows from before their table was altered are brought up to the columns of now") {
  Stopped s;
  struct Kind {
    const char* name;
    std::vector<std::string> on_source;  // rows are written after each
    std::string on_target;
  };
  const std::vector<Kind> kinds = {
      {"nullable column added", {"ALTER TABLE t ADD c text"}, "ALTER TABLE t ADD c text"},
      {"constant default",
       {"ALTER TABLE t ADD c int NOT NULL DEFAULT 7"},
       "ALTER TABLE t ADD c int NOT NULL DEFAULT 7"},
      {"a default that was changed afterwards",
       {"ALTER TABLE t ADD c int DEFAULT 7", "ALTER TABLE t ALTER c SET DEFAULT 8"},
       "ALTER TABLE t ADD c int DEFAULT 7"},
      {"awkward text as default",
       {"ALTER TABLE t ADD c text DEFAULT 'a \"quoted\", \\ {text} NULL'"},
       "ALTER TABLE t ADD c text DEFAULT 'a \"quoted\", \\ {text} NULL'"},
      {"an array as default",
       {"ALTER TABLE t ADD c int[] DEFAULT '{1,2}'"},
       "ALTER TABLE t ADD c int[] DEFAULT '{1,2}'"},
      {"generated column",
       {"ALTER TABLE t ADD c int GENERATED ALWAYS AS (n * 2) STORED"},
       "ALTER TABLE t ADD c int GENERATED ALWAYS AS (n * 2) STORED"},
      {"dropped", {"ALTER TABLE t DROP a"}, "ALTER TABLE t DROP a"},
      {"renamed", {"ALTER TABLE t RENAME a TO aa"}, "ALTER TABLE t RENAME a TO aa"},
      {"key renamed",
       {"ALTER TABLE t RENAME id TO key; ALTER TABLE t ADD id int"},
       "ALTER TABLE t RENAME id TO key; ALTER TABLE t ADD id int"},
      {"two names exchanged",
       {"ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b"},
       "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b"},
      {"int to bigint", {"ALTER TABLE t ALTER n TYPE bigint"}, "ALTER TABLE t ALTER n TYPE bigint"},
      {"numeric scale",
       {"ALTER TABLE t ADD c numeric(6,1)", "ALTER TABLE t ALTER c TYPE numeric(8,3)"},
       "ALTER TABLE t ADD c numeric(8,3)"},
      {"one after another",
       {"ALTER TABLE t ADD c int", "ALTER TABLE t DROP a", "ALTER TABLE t ADD d text DEFAULT 'd'"},
       "ALTER TABLE t ADD c int, DROP a, ADD d text DEFAULT 'd'"},
      {"NOT NULL in three steps",
       {"ALTER TABLE t ADD c int", "UPDATE t SET c = n; ALTER TABLE t ALTER c SET NOT NULL"},
       "ALTER TABLE t ADD c int"},
  };
  const auto& kind = kinds.at(GENERATE(range(std::size_t{0}, std::size_t{14})));
  INFO(kind.name);
  const bool key_renamed = std::string(kind.name) == "key renamed";
  int from = 200;
  for (const auto& sql : kind.on_source) {
    s.m.source.exec(sql);
    const bool c_needed =
        std::string(kind.name) == "NOT NULL in three steps" && sql.find("NOT NULL") != std::string::npos;
    if (c_needed) s.m.source.exec("ALTER TABLE t ALTER c SET DEFAULT 5");
    if (!key_renamed) s.write(from);
    from += 100;
  }
  if (key_renamed)
    s.m.source.exec("INSERT INTO t (key, n) VALUES (900, 1); UPDATE t SET id = 5 WHERE key = 6");
  s.m.target.exec(kind.on_target);
  {
    Run run(s.m);
    run.catch_up(s.m.source);
    CHECK(s.m.equal("t"));
  }
  // And once more from there.
  if (!key_renamed) s.write(800);
  Run again(s.m);
  again.catch_up(s.m.source);
  CHECK(s.m.equal("t"));
}

TEST_CASE("rows whose values cannot be known after their table was altered stop the stream") {
  Stopped s;
  std::string words;
  SECTION("a default that is not a constant") {
    s.m.both("ALTER TABLE t ADD c uuid DEFAULT gen_random_uuid()");
    words = "not a constant";
  }
  SECTION("a column of the same name in place of another") {
    s.m.both("ALTER TABLE t DROP n; ALTER TABLE t ADD n int");
    words = "more than one";
  }
  SECTION("a type whose text may be another") {
    s.m.both("ALTER TABLE t ALTER n TYPE text USING 'number ' || n");
    words = "another one now";
  }
  SECTION("a name that nobody has seen") {
    s.m.source.exec("ALTER TABLE t RENAME a TO once");
    s.write(200);
    s.m.source.exec("ALTER TABLE t RENAME once TO later");
    s.m.target.exec("ALTER TABLE t RENAME a TO later");
    words = "is not known";
  }
  s.m.source.exec("UPDATE t SET b = 'x' WHERE id = 1");
  const auto before = s.m.target.scalar("SELECT count(*) FROM t");
  CHECK(has(s.refused().describe(), words));
  CHECK(has(s.refused().describe(), words));
}

TEST_CASE("a table that is altered while walign streams: gone on with where the mapping covers it") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, a text)");
  m.tables = "  - public.t\n";
  auto first = std::make_unique<Run>(m);
  Run& run = *first;
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT i, 'a' FROM generate_series(1, 10) i");
  run.catch_up(m.source);
  SECTION("the target was altered first") {
    m.target.exec("ALTER TABLE t ADD c int DEFAULT 3");
    m.source.exec("ALTER TABLE t ADD c int DEFAULT 3");
    m.source.exec("INSERT INTO t VALUES (11, 'b', 4); UPDATE t SET c = 9 WHERE id = 1");
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
  SECTION("the target is altered after the stop") {
    m.source.exec("UPDATE t SET a = 'last' WHERE id = 2");
    m.source.exec("ALTER TABLE t ADD c int DEFAULT 3");
    m.source.exec("INSERT INTO t VALUES (11, 'b', 4); UPDATE t SET c = 9 WHERE id = 1");
    const auto error = run.wait();
    REQUIRE(error);
    INFO(error->describe());
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->message(), "public.t was altered"));
    CHECK(error->position().valid());
    CHECK(m.target.scalar("SELECT a FROM t WHERE id = 2") == "last");
    m.target.exec("ALTER TABLE t ADD c int DEFAULT 3");
    first.reset();
    Run next(m);
    next.catch_up(m.source);
    CHECK(m.equal("t"));
    CHECK(m.target.scalar<int>("SELECT count(*) FROM walign.relation") == 2);
  }
  SECTION("in the middle of a transaction, and taken back in part") {
    m.target.exec("ALTER TABLE t ADD c int DEFAULT 3");
    m.source.exec(
        "BEGIN; INSERT INTO t VALUES (20, 'x'); SAVEPOINT s; ALTER TABLE t ADD d int; INSERT INTO t VALUES "
        "(21, 'y', 1); "
        "ROLLBACK TO s; ALTER TABLE t ADD c int DEFAULT 3; INSERT INTO t VALUES (22, 'z', 5); UPDATE t SET c "
        "= 1 "
        "WHERE id = 20; COMMIT");
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
}

TEST_CASE("partitions that come and go are said, and those that were made empty bring their rows") {
  Migration m;
  m.both(
      "CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id); "
      "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100)");
  m.target.exec("CREATE TABLE rest PARTITION OF t DEFAULT");
  m.tables = "  - public.t\n";
  auto first = std::make_unique<Run>(m);
  Run& run = *first;
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'one')");
  m.source.exec(
      "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (200); INSERT INTO t VALUES (101, 'two')");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  first.reset();
  m.source.exec("CREATE TABLE t3 (LIKE t INCLUDING ALL); INSERT INTO t3 VALUES (201, 'had before')");
  m.source.exec("ALTER TABLE t ATTACH PARTITION t3 FOR VALUES FROM (200) TO (300)");
  m.source.exec("INSERT INTO t VALUES (202, 'after')");
  m.source.exec("ALTER TABLE t DETACH PARTITION t1");
  const auto prepared = stream::prepare(m.config(), nullptr);
  std::string said;
  for (const auto& f : prepared.findings) {
    if (f.level == mapping::Finding::Level::warn) said += f.what + "\n";
  }
  CHECK(has(said, "has got the partition public.t3"));
  CHECK_FALSE(has(said, "public.t2"));
  CHECK(has(said, "has lost the partition public.t1"));
  Run next(m);
  next.catch_up(m.source);
  CHECK(m.target.scalar<int>("SELECT count(*) FROM t WHERE id = 202") == 1);
}
