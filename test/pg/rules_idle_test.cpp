// Positions without rows: stored seldom, acknowledged, and never for walign's own WAL alone. These tests wait.
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE(
    "a source that writes only to other tables: its slot moves on, and the target is written to seldom") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY)");
  m.source.exec("CREATE TABLE other (v text)");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  const std::string confirmed =
      "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '" + m.stream() + "'";
  std::set<std::string> positions;
  Lsn written;
  const auto until = std::chrono::steady_clock::now() + 24s;
  while (std::chrono::steady_clock::now() < until) {
    m.source.exec("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 100)");
    if (!written.valid()) written = *Lsn::parse(m.source.scalar("SELECT pg_current_wal_lsn()::text"));
    positions.insert(m.target.scalar("SELECT position::text FROM walign.stream"));
    std::this_thread::sleep_for(200ms);
  }
  INFO(positions.size() << " positions");
  CHECK(positions.size() >= 2);
  CHECK(positions.size() <= 4);
  CHECK(*Lsn::parse(m.source.scalar(confirmed)) >= written);
}

TEST_CASE("with source and target in one database the two do not feed each other") {
  Migration m;
  // Whose own work is silent, so that what is written is walign's.
  Server alone({.name = "alone", .settings = {"autovacuum = off", "checkpoint_timeout = 1h"}});
  Sql db = alone.create_database("app");
  db.exec("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE t2 (LIKE t INCLUDING ALL)");
  m.source_url = m.target_url = alone.url("app");
  m.tables = "  - public.t: public.t2\n";
  Run run(m);
  run.wait_until_streaming();
  db.exec("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i");
  run.catch_up(db);
  CHECK(compare_tables(db, "TABLE t", db, "TABLE t2").equal());
  // What is left of the rows' own WAL is stored once, and then there is silence.
  std::this_thread::sleep_for(25s);
  const std::string position = "SELECT position::text FROM walign.stream";
  const auto before = db.scalar(position);
  const auto wal = *Lsn::parse(db.scalar("SELECT pg_current_wal_insert_lsn()::text"));
  std::this_thread::sleep_for(35s);
  const auto grown = Lsn::parse(db.scalar("SELECT pg_current_wal_insert_lsn()::text"))->value - wal.value;
  INFO(grown << " bytes of WAL in 35 s");
  CHECK(grown < 1000);
  CHECK(db.scalar(position) == before);
  // And what others write is acknowledged all the same.
  db.exec("CREATE TABLE other AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)");
  CHECK(eventually([&] { return db.scalar(position) != before; }, 20s));
  run.stop();
}
