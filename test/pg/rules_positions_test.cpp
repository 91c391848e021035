// What PostgreSQL really does with positions: where WAL ends, what a keepalive says, where a commit begins.
#include "support/migration.hpp"
#include "walign/source.hpp"

using namespace walign;
using namespace walign::test;

namespace {

constexpr std::uint64_t kPage = 8192;

Lsn lsn_of(Sql& db, const std::string& sql) { return *Lsn::parse(db.scalar("SELECT (" + sql + ")::text")); }
Lsn insert_position(Sql& db) { return lsn_of(db, "pg_current_wal_insert_lsn()"); }

// Fills WAL until the next record would begin just after a page's header; where that is.
Lsn fill_up_to_a_page(Sql& db) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    const Lsn at = insert_position(db);
    if (at.value % kPage == 24) return at;
    const auto left = kPage - at.value % kPage;
    // A logical message is 55 bytes and its content, from 256 bytes on, rounded up to eight.
    const auto size = left > 400 ? left - 55 - 1 : left + 1000;
    db.exec("SELECT pg_logical_emit_message(false, 'x', repeat('x', " + std::to_string(size) + "))");
  }
  return {};
}

struct OneTable {
  OneTable() {
    m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    m.tables = "  - public.t\n";
  }
  void run_once(stream::Until until) {
    Run run(m, until);
    const auto error = run.wait(20s);
    INFO((error ? error->describe() : ""));
    CHECK_FALSE(error);
  }
  // Makes slot and publication, and ends.
  void begin() {
    Run run(m);
    run.wait_until_streaming();
    run.stop();
  }
  std::string ids() {
    return m.target.scalar("SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM t");
  }
  Migration m;
};

stream::Until until_lsn(Lsn lsn) {
  stream::Until until;
  until.lsn = lsn;
  return until;
}

stream::Until until_caught_up() {
  stream::Until until;
  until.caught_up = true;
  return until;
}

}  // namespace

TEST_CASE(
    "on an idle source whose insert position is past a page's header, keepalives reach the end of WAL") {
  OneTable one;
  auto& db = one.m.source;
  db.exec("CREATE PUBLICATION p FOR TABLE t");
  db.exec("SELECT pg_create_logical_replication_slot('" + one.m.stream() + "', 'pgoutput')");
  Lsn raw;
  SECTION("a page inside a segment") { raw = fill_up_to_a_page(db); }
  SECTION("the first page of a segment") {
    db.exec("SELECT pg_logical_emit_message(true, 'x', 'x')");
    db.exec("SELECT pg_switch_wal()");
    raw = insert_position(db);
    REQUIRE(raw.value % (16 << 20U) == 40);
  }
  REQUIRE(raw.valid());
  source::SlotOptions options;
  options.connection.conninfo = one.m.source_url;
  options.slot = one.m.stream();
  options.publications = {"p"};
  options.from = lsn_of(
      db, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '" + one.m.stream() + "'");
  pg::Connection control(options.connection);
  const Lsn end = source::current_lsn(control, 16U << 20U);
  CHECK(end < raw);
  CHECK(end.value % kPage == 0);
  {
    const auto source = source::open_slot(options);
    Lsn reached;
    CHECK(eventually([&] {
      const auto item = source->next(100ms);
      if (item && std::holds_alternative<source::Progress>(*item))
        reached = std::get<source::Progress>(*item).lsn;
      return reached >= end;
    }));
  }
  // The walsender sees that we are gone when it sees it.
  REQUIRE(eventually([&] {
    return !db.scalar<bool>("SELECT active FROM pg_replication_slots WHERE slot_name = $1", {one.m.stream()});
  }));
  db.exec("SELECT pg_drop_replication_slot('" + one.m.stream() + "'); DROP PUBLICATION p");
}

TEST_CASE("until caught up ends at once on a source that is idle past a page's header") {
  OneTable one;
  one.begin();
  one.m.source.exec("INSERT INTO t VALUES (1, 'a')");
  REQUIRE(fill_up_to_a_page(one.m.source).valid());
  one.run_once(until_caught_up());
  CHECK(one.ids() == "1");
  one.m.source.exec("SELECT pg_switch_wal()");
  one.run_once(until_caught_up());
}

TEST_CASE("WAL of an open transaction is not flushed by itself, and until caught up ends all the same") {
  OneTable one;
  one.begin();
  one.m.source.exec("INSERT INTO t VALUES (1, 'a')");
  Sql open(one.m.source.conninfo());
  open.exec("BEGIN; INSERT INTO t VALUES (2, 'b')");
  CHECK(one.m.source.scalar<bool>("SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()"));
  one.run_once(until_caught_up());
  CHECK(one.ids() == "1");
  open.exec("COMMIT");
  one.run_once(until_caught_up());
  CHECK(one.ids() == "1 2");
}

TEST_CASE("an asynchronous commit is not flushed at once, and until caught up has it") {
  OneTable one;
  one.begin();
  one.m.source.exec("SET synchronous_commit = off; INSERT INTO t VALUES (1, 'a')");
  one.run_once(until_caught_up());
  CHECK(one.ids() == "1");
}

TEST_CASE("until an LSN: a commit belongs to it when its record begins below") {
  OneTable one;
  one.begin();
  one.m.source.exec("INSERT INTO t VALUES (1, 'a')");
  auto& db = one.m.source;
  db.exec("BEGIN; INSERT INTO t VALUES (2, 'b')");
  const Lsn begins = insert_position(db).without_page_header();
  db.exec("COMMIT");
  const Lsn ends = insert_position(db).without_page_header();
  db.exec("INSERT INTO t VALUES (3, 'c')");
  SECTION("its beginning: not") {
    one.run_once(until_lsn(begins));
    CHECK(one.ids() == "1");
    one.run_once(until_lsn(begins));
    CHECK(one.ids() == "1");
  }
  SECTION("one byte more: in") {
    one.run_once(until_lsn(Lsn(begins.value + 1)));
    CHECK(one.ids() == "1 2");
  }
  SECTION("its end: in, and nothing else") {
    one.run_once(until_lsn(ends));
    CHECK(one.ids() == "1 2");
    one.run_once(until_lsn(ends));  // there already
    CHECK(one.ids() == "1 2");
  }
  SECTION("an LSN of the past: nothing") {
    one.run_once(until_lsn(Lsn(1)));
    CHECK(one.ids().empty());
  }
  one.run_once(until_caught_up());
  CHECK(one.ids() == "1 2 3");
}

TEST_CASE("two commits whose records touch are two: neither is left out nor applied twice") {
  OneTable one;
  one.begin();
  Sql first(one.m.source.conninfo());
  Sql second(one.m.source.conninfo());
  // Other sessions of the server may write between the two: once more, then.
  bool touched = false;
  int id = 0;
  while (!touched && id < 40) {
    first.exec("BEGIN; INSERT INTO t VALUES (" + std::to_string(++id) + ", 'first')");
    second.exec("BEGIN; INSERT INTO t VALUES (" + std::to_string(++id) + ", 'second')");
    first.exec("COMMIT");
    const Lsn end = insert_position(one.m.source).without_page_header();
    second.exec("COMMIT");
    one.m.source.exec("CREATE EXTENSION IF NOT EXISTS pg_walinspect");
    touched = one.m.source.scalar<bool>(
        "SELECT count(*) = 1 FROM pg_get_wal_records_info($1, pg_current_wal_flush_lsn()) "
        "WHERE start_lsn = $1 AND record_type LIKE 'COMMIT%'",
        {end.to_string()});
    one.run_once(until_lsn(end));
    CHECK(one.ids() == one.m.source.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t WHERE id < " +
                                           std::to_string(id)));
    one.run_once(until_caught_up());
    CHECK(one.m.equal("t"));
  }
  CHECK(touched);
}

TEST_CASE("until a time: commits up to it and none after") {
  OneTable one;
  one.begin();
  auto& db = one.m.source;
  const auto now = [&] {
    return db.scalar<std::int64_t>("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint");
  };
  stream::Until until;
  db.exec("INSERT INTO t VALUES (1, 'a')");
  SECTION("in the past") {
    until.time_us = now();
    std::this_thread::sleep_for(20ms);
    db.exec("INSERT INTO t VALUES (2, 'b')");
    one.run_once(until);
    CHECK(one.ids() == "1");
  }
  SECTION("in the past, with nothing after it") {
    until.time_us = now();
    one.run_once(until);
    CHECK(one.ids() == "1");
  }
  SECTION("soon") {
    until.time_us = now() + 2'000'000;
    Run run(one.m, until);
    run.wait_until_streaming();
    db.exec("INSERT INTO t VALUES (2, 'b')");
    CHECK_FALSE(run.wait(20s));
    CHECK(now() > *until.time_us);
    db.exec("INSERT INTO t VALUES (3, 'c')");
    CHECK(one.ids() == "1 2");
  }
}

TEST_CASE("transactions that change nothing for us move the position, and the slot") {
  OneTable one;
  one.m.tables = "  - { from: public.t, to: public.t, where: \"v = 'ours'\" }\n";
  Run run(one.m);
  run.wait_until_streaming();
  one.m.source.exec("INSERT INTO t SELECT i, 'not ours' FROM generate_series(1, 1000) i");
  run.catch_up(one.m.source);
  const auto end = one.m.source.scalar("SELECT pg_current_wal_lsn()::text");
  run.stop();
  CHECK(one.ids().empty());
  const auto reached = [&](Sql& db, const std::string& from) {
    return db.scalar<bool>("SELECT " + from, {end});
  };
  CHECK(reached(one.m.target, "position >= $1 FROM walign.stream"));
  CHECK(reached(one.m.source, "confirmed_flush_lsn >= $1 FROM pg_replication_slots WHERE slot_name = '" +
                                  one.m.stream() + "'"));
}

TEST_CASE("a prepared transaction comes when it is committed, in its place") {
  OneTable one;
  one.begin();
  one.m.source.exec("BEGIN; INSERT INTO t VALUES (1, 'prepared'); PREPARE TRANSACTION 'tx'");
  one.m.source.exec("INSERT INTO t VALUES (2, 'b')");
  one.run_once(until_caught_up());
  CHECK(one.ids() == "2");
  one.m.source.exec("COMMIT PREPARED 'tx'");
  one.run_once(until_caught_up());
  CHECK(one.ids() == "1 2");
}

TEST_CASE("savepoints: what was rolled back to one never comes, what stayed does") {
  OneTable one;
  Run run(one.m);
  run.wait_until_streaming();
  auto& db = one.m.source;
  db.exec(
      "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (1, 'only a savepoint writes'); RELEASE a; COMMIT;"
      "BEGIN; INSERT INTO t VALUES (2, 'x'); SAVEPOINT a; INSERT INTO t VALUES (3, 'gone'); "
      "SAVEPOINT b; UPDATE t SET v = 'gone' WHERE id = 2; ROLLBACK TO a; UPDATE t SET v = v || '!' WHERE id "
      "= 2;"
      "COMMIT; BEGIN; SAVEPOINT a; INSERT INTO t VALUES (4, 'gone'); ROLLBACK TO a; COMMIT");
  db.exec(
      "DO $$ BEGIN FOR i IN 100..2000 LOOP BEGIN INSERT INTO t VALUES (i, 'sub'); "
      "IF i % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; "
      "END LOOP; END $$");
  run.catch_up(db);
  CHECK(one.m.equal("t"));
  CHECK(db.scalar<int>("SELECT count(*) FROM t WHERE id % 3 = 0 AND id >= 100") == 0);
}
