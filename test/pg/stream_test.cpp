// The stream on real servers: what every kind of change does to a mapped table.
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("inserts, updates and deletes arrive") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 1000) i");
  m.source.exec("UPDATE t SET v = v || '!' WHERE id % 3 = 0");
  m.source.exec("DELETE FROM t WHERE id % 7 = 0");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  m.source.exec("UPDATE t SET id = id + 5000 WHERE id < 10");
  m.source.exec("UPDATE t SET v = NULL WHERE id = 500");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  m.source.exec("TRUNCATE t");
  m.source.exec("INSERT INTO t VALUES (1, '')");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}

TEST_CASE("a mapping renames, drops, maps values, computes and filters") {
  Migration m;
  m.source.exec(
      "CREATE TABLE listings (id int PRIMARY KEY, status text, price_cents int, tenant int, notes text)");
  m.target.exec(
      "CREATE SCHEMA marketplace; CREATE TYPE marketplace.status AS ENUM ('active', 'paused', 'gone');"
      "CREATE TABLE marketplace.service_listings (pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
      "legacy_listing_id int NOT NULL UNIQUE, status marketplace.status, price numeric(10,2), tenant int, "
      "kind text, provider_id int);"
      "CREATE TABLE marketplace.providers (id int PRIMARY KEY, tenant_id int);"
      "INSERT INTO marketplace.providers SELECT i * 100, i FROM generate_series(1, 10) i");
  m.tables = R"yaml(  - from: public.listings
    to: marketplace.service_listings
    key: [legacy_listing_id]
    where: status <> 'DRAFT'
    columns:
      legacy_listing_id: id
      status: { values: { ACTIVE: active, PAUSED: paused }, else: gone }
      price: { sql: "price_cents / 100.0" }
      provider_id: { sql: "(SELECT p.id FROM marketplace.providers p WHERE p.tenant_id = src.tenant)" }
      kind: { constant: listing }
      notes: false
)yaml";
  Run run(m);
  run.wait_until_streaming();
  const std::string expected =
      "SELECT id, CASE status WHEN 'ACTIVE' THEN 'active' WHEN 'PAUSED' THEN 'paused' ELSE 'gone' END, "
      "(price_cents / 100.0)::numeric(10,2), tenant, 'listing', tenant * 100 FROM listings WHERE status <> "
      "'DRAFT'";
  const std::string actual =
      "SELECT legacy_listing_id, status::text, price, tenant, kind, provider_id FROM "
      "marketplace.service_listings";
  m.source.exec(
      "INSERT INTO listings SELECT i, (ARRAY['ACTIVE','PAUSED','DRAFT','ODD'])[1 + i % 4], i * 7, 1 + i % "
      "10, 'n' "
      "FROM generate_series(1, 400) i");
  run.catch_up(m.source);
  CHECK(m.equal(expected, actual));
  m.source.exec("UPDATE listings SET status = 'DRAFT' WHERE id % 5 = 0");
  m.source.exec("UPDATE listings SET status = 'ACTIVE' WHERE status = 'DRAFT' AND id % 2 = 0");
  m.source.exec("UPDATE listings SET price_cents = price_cents + 1, notes = 'x' WHERE id % 3 = 0");
  m.source.exec("UPDATE listings SET id = id + 1000 WHERE id % 11 = 0");
  m.source.exec("DELETE FROM listings WHERE id % 13 = 0");
  run.catch_up(m.source);
  CHECK(m.equal(expected, actual));
  const auto status = run.status();
  REQUIRE(status.tables.size() == 1);
  CHECK(status.tables[0].books.balance());
  CHECK(status.tables[0].books.filtered > 0);
}

TEST_CASE("unchanged TOAST values are left alone") {
  Migration m;
  m.both(
      "CREATE TABLE t (id int PRIMARY KEY, big text, small int, other text);"
      "ALTER TABLE t ALTER big SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec(
      "INSERT INTO t SELECT i, repeat(md5(i::text), 400), i, repeat(md5((i + 1)::text), 300) "
      "FROM generate_series(1, 50) i");
  m.source.exec("UPDATE t SET small = small + 1");
  m.source.exec(
      "UPDATE t SET big = repeat('x', 9000) WHERE id % 4 = 0; UPDATE t SET small = 7 WHERE id % 4 = 0;"
      "UPDATE t SET id = id + 1000 WHERE id % 3 = 0; UPDATE t SET other = NULL WHERE id % 5 = 0");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}

TEST_CASE("a run that is started again goes on where it was") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.tables = "  - public.t\n";
  {
    Run run(m);
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t VALUES (1, 'a')");
    run.catch_up(m.source);
    run.stop();
  }
  m.source.exec("INSERT INTO t VALUES (2, 'b'); UPDATE t SET v = 'c' WHERE id = 1");
  {
    Run run(m);
    run.catch_up(m.source);
    CHECK(m.equal("t"));
    run.stop();
  }
  SECTION("without its state directory") {
    std::filesystem::remove_all(m.state);
    m.source.exec("INSERT INTO t VALUES (3, 'd')");
    Run run(m);
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
  SECTION("not when its slot is gone") {
    m.source.exec("SELECT pg_drop_replication_slot('" + m.stream() + "')");
    Run run(m);
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK_FALSE(error->hint().empty());
  }
}

TEST_CASE("--until-lsn stops at that commit exactly") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY)");
  m.tables = "  - public.t\n";
  {
    Run run(m);
    run.wait_until_streaming();
    run.stop();
  }
  std::vector<Lsn> ends;
  for (int i = 1; i <= 3; ++i) {
    m.source.exec("INSERT INTO t VALUES (" + std::to_string(i) + ")");
    ends.push_back(*Lsn::parse(m.source.scalar("SELECT pg_current_wal_lsn()::text")));
  }
  stream::Until until;
  SECTION("the end of the second commit includes it and not the third") {
    until.lsn = ends[1];
    Run run(m, until);
    CHECK_FALSE(run.wait());
    CHECK(m.target.scalar<int>("SELECT max(id) FROM t") == 2);
  }
  SECTION("the end of the first includes nothing else") {
    until.lsn = ends[0];
    Run run(m, until);
    CHECK_FALSE(run.wait());
    CHECK(m.target.scalar<int>("SELECT max(id) FROM t") == 1);
  }
  SECTION("until caught up includes all") {
    until.caught_up = true;
    {
      Run run(m, until);
      CHECK_FALSE(run.wait());
    }
    CHECK(m.target.scalar<int>("SELECT max(id) FROM t") == 3);
    Run again(m, until);  // on an idle source: at once
    CHECK_FALSE(again.wait(20s));
  }
}

TEST_CASE("existing rows are refused, and nothing is left behind") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY)");
  m.source.exec("INSERT INTO t VALUES (1)");
  m.tables = "  - public.t\n";
  {
    Run run(m);
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(error->message().find("public.t on the source already has rows") != std::string::npos);
  }
  CHECK(m.source.scalar<int>("SELECT count(*)::int FROM pg_publication") == 0);
  CHECK(m.source.scalar<int>(
            "SELECT count(*)::int FROM pg_replication_slots WHERE database = current_database()") == 0);
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM pg_namespace WHERE nspname = 'walign'") == 0);
  m.target.exec("INSERT INTO t VALUES (1)");
  Run run(m, {}, true);  // --no-backfill
  run.wait_until_streaming();
  m.source.exec("UPDATE t SET id = 2");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}
