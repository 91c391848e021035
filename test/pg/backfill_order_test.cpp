// Tables that expressions look into are copied before their readers.
#include "support/copying.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// `items` comes first by its name and place, looks into `kinds` through a view, and `kinds` looks into `makers`.
struct Lookups {
  Lookups() {
    m.source.exec(
        "CREATE TABLE items (id int PRIMARY KEY, kind int); CREATE TABLE kinds (id int PRIMARY KEY, maker "
        "int, name "
        "text); CREATE TABLE makers (id int PRIMARY KEY, name text)");
    m.source.exec(
        "INSERT INTO makers SELECT i, 'maker ' || i FROM generate_series(0, 299) i;"
        "INSERT INTO kinds SELECT i, i % 300, 'kind ' || i FROM generate_series(0, 599) i;"
        "INSERT INTO items SELECT i, i % 600 FROM generate_series(1, 1200) i");
    m.target.exec(
        "CREATE TABLE items (id int PRIMARY KEY, kind text); CREATE TABLE kinds (id int PRIMARY KEY, name "
        "text, maker "
        "text); CREATE TABLE makers (id int PRIMARY KEY, name text);"
        "CREATE VIEW named AS SELECT id, name || ' of ' || maker AS name FROM kinds");
    m.tables =
        "  - { from: public.items, to: public.items, columns: { kind: { sql: '(SELECT name FROM public.named "
        "WHERE "
        "named.id = src.kind)' } } }\n"
        "  - { from: public.kinds, to: public.kinds, columns: { maker: { sql: '(SELECT name FROM "
        "public.makers WHERE "
        "makers.id = src.maker)' } } }\n"
        "  - public.makers\n";
    m.more = "backfill: { chunk_rows: 100, workers: 4 }\n";
  }
  bool equal() {
    return m.equal(
        "SELECT i.id, k.name || ' of ' || m.name FROM items i JOIN kinds k ON k.id = i.kind JOIN makers m ON "
        "m.id = "
        "k.maker",
        "SELECT id, kind FROM items");
  }
  Migration m;
};

}  // namespace

TEST_CASE("a table that others look into is copied before them, through a view and through each other too") {
  Lookups l;
  {
    Copying run(l.m);
    REQUIRE(eventually([&] {
      return run.status().connected && l.m.target.scalar<bool>("SELECT EXISTS (SELECT FROM kinds)");
    }));
    run.stop();  // in the middle, and on from there
  }
  Copying run(l.m);
  run.wait_until_copied();
  run.catch_up(l.m.source);
  CHECK(l.equal());
  CHECK(l.m.target.scalar<bool>(
      "SELECT bool_and(completed_at IS NOT NULL) AND array_agg(route ORDER BY completed_at) = "
      "ARRAY['public.makers -> public.makers', 'public.kinds -> public.kinds', 'public.items -> "
      "public.items'] FROM "
      "walign.copy"));
}

TEST_CASE("plan says after which tables one is copied") {
  Lookups l;
  const auto prepared = stream::prepare(l.m.config(), nullptr);
  const auto plan = stream::plan(l.m.config(), prepared, stream::ways_back(l.m.config(), prepared, nullptr));
  using Names = std::vector<std::string>;
  CHECK(plan.tables.at(0).copied_after == Names{"public.kinds -> public.kinds"});
  CHECK(plan.tables.at(1).copied_after == Names{"public.makers -> public.makers"});
  CHECK(plan.tables.at(2).copied_after.empty());
}

TEST_CASE("tables that look into each other in a circle are refused before anything is made") {
  Migration m;
  m.source.exec("CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int)");
  m.target.exec("CREATE TABLE a (id int PRIMARY KEY, b text); CREATE TABLE b (id int PRIMARY KEY, a text)");
  m.tables =
      "  - { from: public.a, to: public.a, columns: { b: { sql: '(SELECT x.a FROM public.b x WHERE x.id = "
      "src.b)' } } "
      "}\n"
      "  - { from: public.b, to: public.b, columns: { a: { sql: '(SELECT x.b FROM public.a x WHERE x.id = "
      "src.a)' } } "
      "}\n";
  Copying run(m);
  const auto error = run.wait();
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(error->describe().find("public.a -> public.a, public.b -> public.b") != std::string::npos);
}
