// Old rows and the stream, together, on real servers.
#include "support/awkward.hpp"
#include "support/copying.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("rows that were there are copied, and changes go on") {
  Migration m;
  m.both(
      "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE empty (id int PRIMARY KEY); "
      "CREATE TABLE one (a text, b int, v text, PRIMARY KEY (a, b))");
  m.source.exec(
      "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 10000) i; INSERT INTO one VALUES ('x', 1, "
      "NULL)");
  m.tables = "  - public.t\n  - public.empty\n  - public.one\n";
  m.more = "backfill: { chunk_rows: 700 }\n";
  {
    Copying run(m);
    run.wait_until_copied();
    m.source.exec(
        "UPDATE t SET v = v || '!' WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0; INSERT INTO empty "
        "VALUES (1)");
    m.source.exec("UPDATE t SET id = id + 20000 WHERE id < 100");
    run.catch_up(m.source);
    CHECK(m.equal("t"));
    CHECK(m.equal("empty"));
    CHECK(m.equal("one"));
    CHECK(all_streaming(run.status()));
    CHECK(run.status().tables[0].rows_copied == 10000);
    run.stop();
  }
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk") == 0);
  m.source.exec("INSERT INTO t VALUES (-1, 'late')");
  stream::Until until;
  until.caught_up = true;
  Copying again(m, until);
  CHECK_FALSE(again.wait());
  CHECK(m.equal("t"));
}

TEST_CASE("rows are copied through the mapping, filter included") {
  Migration m;
  m.source.exec(
      "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE a (id int PRIMARY KEY, status text, cents int, m "
      "mood);"
      "INSERT INTO a SELECT i, CASE i % 3 WHEN 0 THEN 'DRAFT' ELSE 'LIVE' END, i, 'ok' FROM "
      "generate_series(1, 3000) i");
  m.target.exec("CREATE TABLE b (legacy bigint PRIMARY KEY, state text, price numeric(10,2), m text)");
  m.tables =
      "  - { from: public.a, to: public.b, where: status <> 'DRAFT', columns: { legacy: id, state: { values: "
      "{ LIVE: live }, from: status }, price: { sql: 'cents / 100.0' } } }\n";
  m.more = "backfill: { chunk_rows: 500 }\n";
  Copying run(m);
  run.wait_until_copied();
  m.source.exec(
      "UPDATE a SET status = 'LIVE' WHERE id % 6 = 0; UPDATE a SET status = 'DRAFT' WHERE id % 10 = 1");
  run.catch_up(m.source);
  CHECK(
      m.equal("SELECT id::bigint, lower(status), (cents / 100.0)::numeric(10,2), m::text FROM a WHERE status "
              "<> 'DRAFT'",
              "SELECT legacy, state, price, m FROM b"));
}

TEST_CASE("types whose binary format says something else on each server are copied as what they mean") {
  Migration m;
  m.source.exec("CREATE TABLE before (id int)");  // so that numbers of the catalog's rows differ
  m.both("CREATE TABLE t (id int PRIMARY KEY, c regclass, r regrole, q tsquery, o oid)");
  m.source.exec("INSERT INTO t VALUES (1, 't', 'postgres', '', 4294967295), (2, NULL, NULL, 'a & !b', NULL)");
  m.tables = "  - public.t\n";
  Copying run(m);
  run.wait_until_copied();
  CHECK(m.equal("t"));
  CHECK(m.target.scalar<bool>("SELECT c = 't'::regclass AND q = '' FROM t WHERE id = 1"));
}

TEST_CASE("the awkward tables are copied under load") {
  Migration m;
  for (Sql* db : {&m.source, &m.target}) db->exec_file("awkward.sql");
  m.source.exec_file("awkward_load.sql");
  const auto database = m.source.scalar("SELECT current_database()");
  REQUIRE(awkward_load(source_server(), database, 5, 4, 0).wait() == 0);
  m.tables = awkward_rules();
  m.more = "backfill: { chunk_rows: 40 }\n";
  auto load = awkward_load(source_server(), database, 12, 4, 300);
  Copying run(m);
  run.wait_until_copied();
  REQUIRE(load.wait() == 0);
  run.catch_up(m.source);
  const auto differences = compare_awkward(m.source, m.target);
  INFO(differences);
  CHECK(differences.empty());
  CHECK(all_streaming(run.status()));
  for (const auto& table : run.status().tables) CHECK(table.books.balance());
}
