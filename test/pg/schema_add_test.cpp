// schema_change: add_columns, with both servers in use: columns that are added to the source come to the target by
// themselves, with the values of rows from before, or the stream stops and says why.
#include "schema_add_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

struct Kind {
  const char* name;
  std::vector<std::string> on_source;
  std::string column = "c";
  int added = 1;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> its = {
      {"nullable", {"ALTER TABLE t ADD c text"}},
      {"a constant default", {"ALTER TABLE t ADD c int DEFAULT 7"}},
      {"NOT NULL with a constant default", {"ALTER TABLE t ADD c int NOT NULL DEFAULT 7"}, ""},
      {"a default that was changed afterwards",
       {"ALTER TABLE t ADD c int DEFAULT 7", "ALTER TABLE t ALTER c SET DEFAULT 8"}},
      {"a default that was dropped afterwards",
       {"ALTER TABLE t ADD c int DEFAULT 7", "ALTER TABLE t ALTER c DROP DEFAULT"}},
      {"a default that came afterwards", {"ALTER TABLE t ADD c int", "ALTER TABLE t ALTER c SET DEFAULT 8"}},
      {"the time of the change", {"ALTER TABLE t ADD c timestamptz DEFAULT now()"}},
      {"awkward text", {"ALTER TABLE t ADD c text DEFAULT 'a \"quoted\", it''s \\ {text} NULL'"}},
      {"an array", {"ALTER TABLE t ADD c int[] DEFAULT '{1,2}'"}},
      {"modifiers", {"ALTER TABLE t ADD c numeric(10,2) DEFAULT 1.5"}},
      {"a padded type", {"ALTER TABLE t ADD c char(4) DEFAULT 'ab'"}},
      {"an enum of both sides", {"ALTER TABLE t ADD c mood DEFAULT 'ok'"}},
      {"a collation", {"ALTER TABLE t ADD c text COLLATE \"C\" DEFAULT 'x'"}},
      {"a large constant", {"ALTER TABLE t ADD c text DEFAULT '" + std::string(10'000, 'x') + "'"}},
      {"a name to be quoted", {"ALTER TABLE t ADD \"C d\" bytea DEFAULT '\\x00ff'"}, "\"C d\""},
      {"two, one after the other", {"ALTER TABLE t ADD z int DEFAULT 1", "ALTER TABLE t ADD c text"}, "c", 2},
      {"added and renamed", {"ALTER TABLE t ADD b int DEFAULT 7; ALTER TABLE t RENAME b TO c"}},
      {"added and dropped", {"ALTER TABLE t ADD b int DEFAULT 7; ALTER TABLE t DROP b"}, "", 0},
      {"another one dropped beside it", {"ALTER TABLE t DROP a, ADD c int DEFAULT 7"}, "", 1},
  };
  return its;
}

}  // namespace

TEST_CASE("a column comes to the target while the source is written to, with what rows from before have") {
  const auto& kind = kinds().at(GENERATE(range(std::size_t{0}, std::size_t{18})));
  INFO(kind.name);
  Followed f;
  {
    Run run(f.m);
    run.wait_until_streaming();
    f.first_rows();
    run.catch_up(f.m.source);
    const auto load = f.load();
    for (const auto& sql : kind.on_source) {
      f.m.source.exec(sql);
      std::this_thread::sleep_for(50ms);
    }
    if (!kind.column.empty()) f.touch(kind.column);
    std::this_thread::sleep_for(100ms);
    load->stop();
    run.catch_up(f.m.source);
    f.check();
    CHECK(f.m.target.scalar<int>("SELECT count(*)::int FROM walign.alteration") == kind.added);
  }
  f.m.source.exec("UPDATE t SET n = n + 1 WHERE id % 2 = 0");
  Run again(f.m);
  again.catch_up(f.m.source);
  f.check();
}

TEST_CASE("a column that was added while walign was stopped, or behind") {
  const auto& kind = kinds().at(GENERATE(range(std::size_t{0}, std::size_t{19})));
  INFO(kind.name);
  Followed f;
  f.follow();
  f.m.source.exec(
      "INSERT INTO t (id, n) SELECT i, i FROM generate_series(300, 350) i; UPDATE t SET n = 0 WHERE id < 9");
  for (const auto& sql : kind.on_source) {
    f.m.source.exec(sql);
    f.m.source.exec("INSERT INTO t (id, n) SELECT max(id) + 1, 1 FROM t; UPDATE t SET n = 1 WHERE id = 10");
  }
  if (!kind.column.empty()) f.touch(kind.column);
  const auto prepared = stream::prepare(f.m.config(), nullptr);
  CHECK(prepared.additions.size() == static_cast<std::size_t>(kind.added));
  CHECK(mapping::run_mends_all(prepared.findings) == (kind.added > 0));
  CHECK(f.m.target.scalar<int>("SELECT count(*)::int FROM walign.alteration") == 0);  // it only looked
  Run run(f.m);
  run.catch_up(f.m.source);
  if (std::string(kind.name) == "another one dropped beside it") {
    CHECK(f.m.equal("SELECT id, n, c FROM t", "SELECT id, n, c FROM t"));
  } else {
    f.check();
  }
}

TEST_CASE(
    "what is not added stops the stream before its first row, says why, and goes on when it was added by "
    "hand") {
  Followed f;
  std::string on_source, words, on_target = "ALTER TABLE t ADD c int";
  SECTION("a default that is not a constant") {
    on_source = "ALTER TABLE t ADD c uuid DEFAULT gen_random_uuid()";
    on_target = "ALTER TABLE t ADD c uuid";
    words = "its default is not a constant";
  }
  SECTION("such a default, taken away again") {
    on_source = "ALTER TABLE t ADD c float8 DEFAULT random(); ALTER TABLE t ALTER c DROP DEFAULT";
    on_target = "ALTER TABLE t ADD c float8";
    words = "written anew";
  }
  SECTION("a serial number") {
    on_source = "ALTER TABLE t ADD c serial";
    words = "its default is not a constant";
  }
  SECTION("an identity column") {
    on_source = "ALTER TABLE t ADD c int GENERATED ALWAYS AS IDENTITY";
    words = "identity column";
  }
  SECTION("written anew") {
    on_source = "ALTER TABLE t ADD c int; ALTER TABLE t ALTER n TYPE bigint";
    on_target += ", ALTER n TYPE bigint";
    words = "written anew";
  }
  SECTION("NOT NULL by and by") {
    on_source =
        "ALTER TABLE t ADD c int; UPDATE t SET c = 1; ALTER TABLE t ALTER c SET NOT NULL; ALTER TABLE t "
        "ALTER "
        "c SET DEFAULT 5";
    words = "NOT NULL";
  }
  SECTION("a type that the target does not have") {
    f.m.source.exec("CREATE TYPE colour AS ENUM ('red', 'blue')");
    on_source = "ALTER TABLE t ADD c colour DEFAULT 'red'";
    on_target = "CREATE TYPE colour AS ENUM ('red', 'blue'); ALTER TABLE t ADD c colour DEFAULT 'red'";
    words = "the target has no type public.colour";
  }
  SECTION("a domain") {
    f.m.both("CREATE DOMAIN small AS int CHECK (VALUE < 100)");
    on_source = "ALTER TABLE t ADD c small";
    on_target = "ALTER TABLE t ADD c small";
    words = "domain";
  }
  SECTION("a function in its default that the target does not have") {
    f.m.source.exec("CREATE FUNCTION seven() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 7'");
    on_source = "ALTER TABLE t ADD c int DEFAULT public.seven()";
    on_target = "ALTER TABLE t ADD c int DEFAULT 7";
    words = "seven";
  }
  std::optional<Error> error;
  {
    Run run(f.m);
    run.wait_until_streaming();
    f.first_rows();
    f.m.source.exec("UPDATE t SET a = 'last' WHERE id = 1");
    run.catch_up(f.m.source);
    f.m.source.exec("UPDATE t SET a = 'before' WHERE id = 2");
    f.m.source.exec(on_source);
    f.m.source.exec("UPDATE t SET a = 'after' WHERE id = 3");
    error = run.wait();
  }
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(has(error->describe(), words));
  CHECK_FALSE(error->hint().empty());
  CHECK(f.m.target.scalar("SELECT a FROM t WHERE id = 2") == "before");
  CHECK(f.m.target.scalar("SELECT a FROM t WHERE id = 3") == "a3");
  CHECK(f.m.target.scalar<int>("SELECT count(*)::int FROM walign.alteration") == 0);
  CHECK(f.m.target.scalar<int>(
            "SELECT count(*)::int FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'c'") == 0);
  f.m.target.exec(on_target);
  Run next(f.m);
  next.catch_up(f.m.source);
  CHECK(f.m.equal("SELECT id, a, n FROM t", "SELECT id, a, n FROM t"));
}

TEST_CASE("what the mapping leaves out, or has placed, is left alone") {
  Followed f;
  f.m.both("ALTER TABLE t ADD x int");
  SECTION("only: true") {
    f.m.tables = "  - {from: public.t, columns: {only: true, id: id, a: a}}\n";
    f.follow();
    f.m.source.exec("ALTER TABLE t ADD c int DEFAULT 7; UPDATE t SET c = 1, a = 'x' WHERE id = 5");
  }
  SECTION("its name is false") {
    f.follow();
    f.m.source.exec("ALTER TABLE t ADD c int DEFAULT 7; UPDATE t SET c = 1, a = 'x' WHERE id = 5");
    f.m.tables = "  - {from: public.t, columns: {c: false}}\n";
  }
  SECTION("generated") {
    f.follow();
    f.m.source.exec(
        "ALTER TABLE t ADD c int GENERATED ALWAYS AS (n * 2) STORED; UPDATE t SET a = 'x' WHERE id = 5");
  }
  Run run(f.m);
  run.catch_up(f.m.source);
  CHECK(f.m.equal("SELECT id, a FROM t", "SELECT id, a FROM t"));
  CHECK(f.m.target.scalar<int>("SELECT count(*)::int FROM walign.alteration") == 0);
  CHECK(f.m.target.scalar<int>(
            "SELECT count(*)::int FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'c'") == 0);
}

TEST_CASE("a column that was there from the start is for the operator to place") {
  Followed f;
  f.m.source.exec("ALTER TABLE t ADD c int");
  CHECK(has(f.refused().describe(), "goes nowhere"));
  CHECK(f.m.target.scalar<int>(
            "SELECT count(*)::int FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'c'") == 0);
}
