// The rules of alignment on real servers: commits that are decoded before they are visible, transactions that are
// older than the slot or the publication, commits that a crash takes back, and an idle source.

#include <future>

#include "support/copying.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// A statement on a thread of its own, whose commit waits for a standby that does not exist until that is given up.
class Hanging {
 public:
  Hanging(Server& server, Sql& sql, const std::string& statements)
      : server_(server),
        done_(std::async(std::launch::async, [&sql, statements] { sql.exec(statements); })) {}
  ~Hanging() {
    if (done_.valid()) server_.set("synchronous_standby_names", "");
  }
  Hanging(Hanging&&) = default;
  Hanging& operator=(Hanging&&) = delete;
  void answer() {
    server_.set("synchronous_standby_names", "");
    done_.get();
  }
  void finish() { done_.get(); }

 private:
  Server& server_;
  std::future<void> done_;
};

// A source whose commits are flushed and decoded, and not visible, until a standby answers that does not exist:
// those made under synchronous_commit = on. All others are as usual.
struct Stalled {
  Stalled() {
    m.source = server.create_database("app");
    m.source_url = server.url("app");
    m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    m.source.exec("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 1000) i");
    m.tables = "  - public.t\n";
    m.more = "backfill: { chunk_rows: 100 }\n";
  }
  // Decoded, and not visible.
  Hanging hang(Sql& sql, const std::string& statements) {
    Hanging hanging(server, sql, "SET synchronous_commit = on; " + statements);
    REQUIRE(eventually([&] {
      return m.source.scalar<bool>(
          "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = $1)",
          {std::to_string(sql.backend_pid())});
    }));
    return hanging;
  }
  void wait_until_received(Run& run) {
    const auto end = *Lsn::parse(m.source.scalar("SELECT pg_current_wal_flush_lsn()::text"));
    REQUIRE(eventually([&] { return run.status().received >= end.without_page_header(); }));
    std::this_thread::sleep_for(200ms);  // and taken, if it were
  }
  int chunks() { return m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk"); }

  Server server{{.name = "stalled",
                 .settings = {"synchronous_standby_names = 'nobody'", "synchronous_commit = local"}}};
  Migration m;
};

// Commits around the making of a slot, which waits, in turns, for those that are running: each hanging commit begins
// while it waits for the one before, until the slot has its consistent point. The last one is in the WAL before that
// point, so no stream brings it, and it is not visible yet.
//
// For a slot that is made alone (pg_create_logical_replication_slot) the server is done then: only rule 2 is between
// this commit and its loss. Where the slot is made with a snapshot, as walign makes its own, the commit is inside the
// snapshot, and the server does not answer before it is finished (15.20 waits in SnapBuildInitialSnapshot, on the
// transaction's lock, which is let go after the commit has become visible). So there rule 2 is not alone, and a test
// cannot take it away and fail; it stays, since nothing that is documented says that every server waits.
class Birth {
 public:
  explicit Birth(Stalled& stalled) : stalled_(stalled), first_(connect()) {
    first_.exec("BEGIN");
    xid_ = first_.scalar("SELECT pg_current_xact_id()::xid::text");
  }
  // While the slot is being made; the sessions whose commit hangs at the end: one.
  void go_through() {
    REQUIRE(wait_for_slot());
    for (int turn = 0; turn < 6; ++turn) {
      sessions_.push_back(std::make_unique<Sql>(connect()));
      const auto id = std::to_string(5000 + turn);
      hanging_.push_back(stalled_.hang(*sessions_.back(), "BEGIN; UPDATE t SET v = 'late' WHERE id = " + id +
                                                              " - 4900;"
                                                              "INSERT INTO t VALUES (" +
                                                              id + ", 'late'); COMMIT"));
      last_commit_ = *Lsn::parse(stalled_.m.source.scalar("SELECT pg_current_wal_flush_lsn()::text"));
      release_the_one_before();
      xid_ = stalled_.m.source.scalar("SELECT backend_xid::text FROM pg_stat_activity WHERE pid = $1",
                                      {std::to_string(sessions_.back()->backend_pid())});
      if (wait_for_slot()) continue;
      REQUIRE(*consistent_point() >= last_commit_);
      return;
    }
    FAIL("the slot waits for every commit");
  }
  void answer() { hanging_.back().answer(); }

 private:
  [[nodiscard]] Sql connect() const { return Sql(stalled_.server.conninfo("app")); }
  void release_the_one_before() {
    if (hanging_.size() == 1) return first_.exec("ROLLBACK");
    const auto& before = sessions_[sessions_.size() - 2];
    stalled_.m.source.exec("SELECT pg_cancel_backend(" + std::to_string(before->backend_pid()) + ")");
    hanging_[hanging_.size() - 2].finish();
  }
  [[nodiscard]] std::optional<Lsn> consistent_point() const {
    return Lsn::parse(stalled_.m.source.scalar(
        "SELECT coalesce(max(confirmed_flush_lsn)::text, '') FROM pg_replication_slots"));
  }
  // True: it waits for the transaction that is in the way of its consistent point; false: it has that.
  bool wait_for_slot() {
    bool waits = false;
    REQUIRE(eventually([&] {
      // Once it has its point, it may still wait for the same transaction before it answers.
      const bool waiting = stalled_.m.source.scalar<bool>(
          "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' AND "
          "transactionid::text = $1)",
          {xid_});
      const bool made = consistent_point().has_value();
      waits = waiting && !made;
      return waits || made;
    }));
    return waits;
  }
  Stalled& stalled_;
  Sql first_;
  std::vector<std::unique_ptr<Sql>> sessions_;
  std::vector<Hanging> hanging_;
  std::string xid_;
  Lsn last_commit_;
};

}  // namespace

TEST_CASE("a commit that is decoded before it is visible is neither lost nor doubled by the copy") {
  Stalled s;
  Copying run(s.m, Copy::paused);
  run.wait_until_streaming();
  Sql late(s.server.conninfo("app"));
  auto hanging =
      s.hang(late,
             "BEGIN; UPDATE t SET v = 'late' WHERE id % 50 = 0; INSERT INTO t VALUES (5000, 'late');"
             "DELETE FROM t WHERE id = 7; UPDATE t SET id = 6000 WHERE id = 8; COMMIT");
  s.wait_until_received(run);
  run.resume();
  CHECK(eventually([&] { return s.chunks() >= 10; }));  // nothing of the copy waits for it
  CHECK(run.status().phase == "backfilling");
  hanging.answer();
  run.wait_until_copied();
  run.catch_up(s.m.source);
  CHECK(s.m.equal("t"));
  CHECK(s.m.source.scalar("SELECT v FROM t WHERE id = 500") == "late");
}

TEST_CASE("commits become visible in another order than they are decoded in, while unique values move") {
  Stalled s;
  s.m.both("CREATE TABLE seats (id int PRIMARY KEY, seat int UNIQUE)");
  s.m.source.exec("INSERT INTO seats SELECT i, i FROM generate_series(1, 40) i");
  s.m.tables = "  - public.seats\n";
  s.m.more = "backfill: { chunk_rows: 1, workers: 1 }\n";
  Copying run(s.m);
  REQUIRE(eventually([&] { return run.status().connected && s.chunks() >= 1; }));
  run.pause();
  REQUIRE(run.status().phase == "backfilling");
  Sql late(s.server.conninfo("app"));
  auto hanging = s.hang(late, "UPDATE seats SET seat = -3 WHERE id = 3");
  s.wait_until_received(run);
  // Row 1 is there and still has the seat on the target; row 40 is read with it before the stream gets past.
  s.m.source.exec("UPDATE seats SET seat = -1 WHERE id = 1; UPDATE seats SET seat = 1 WHERE id = 40");
  s.m.source.exec("UPDATE seats SET seat = 40 WHERE id = 1");
  run.resume();
  std::this_thread::sleep_for(1s);
  hanging.answer();
  run.wait_until_copied();
  run.catch_up(s.m.source);
  CHECK(s.m.equal("seats"));
  CHECK(run.status().dead_letters == 0);
}

TEST_CASE("a transaction that commits before the slot begins and becomes visible after is copied") {
  Stalled s;
  Birth birth(s);
  Copying run(s.m);
  birth.go_through();
  CHECK_FALSE(eventually([&] { return s.chunks() > 0; }, 1500ms));
  birth.answer();
  run.wait_until_copied();
  run.catch_up(s.m.source);
  CHECK(s.m.equal("t"));
}

TEST_CASE("the same where the operator made the slot") {
  Stalled s;
  const auto slot = s.m.stream();
  s.m.more += "slot: " + slot + "\n";
  s.m.source.exec("CREATE PUBLICATION " + slot + " FOR TABLE t");
  Birth birth(s);
  Sql maker(s.server.conninfo("app"));
  Hanging making(s.server, maker, "SELECT pg_create_logical_replication_slot('" + slot + "', 'pgoutput')");
  birth.go_through();
  making.finish();  // while the commit still hangs
  Copying run(s.m);
  run.wait_until_streaming();
  CHECK_FALSE(eventually([&] { return s.chunks() > 0; }, 1500ms));
  birth.answer();
  run.wait_until_copied();
  run.catch_up(s.m.source);
  CHECK(s.m.equal("t"));
}

TEST_CASE("a table is added while a transaction that wrote to it is open") {
  Migration m;
  m.both("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text)");
  m.source.exec("INSERT INTO a SELECT i, 'a' FROM generate_series(1, 500) i; INSERT INTO b TABLE a");
  m.more = "backfill: { chunk_rows: 100 }\n";
  m.tables = "  - public.a\n";
  {
    Copying run(m);
    run.wait_until_copied();
    m.source.exec("INSERT INTO b VALUES (1001, 'before')");
    run.stop();
  }
  m.tables += "  - public.b\n";
  Sql writer(m.source.conninfo());

  SECTION("that is older than the publication's change") {
    writer.exec("BEGIN; INSERT INTO b VALUES (2001, 'early'); UPDATE b SET v = 'early' WHERE id = 5");
    Copying run(m);
    run.wait_until_streaming();
    std::this_thread::sleep_for(500ms);
    m.source.exec("UPDATE a SET v = 'meanwhile' WHERE id = 1");
    writer.exec("INSERT INTO b VALUES (2002, 'late'); UPDATE b SET v = 'late' WHERE id = 6; COMMIT");
    run.wait_until_copied();
    run.catch_up(m.source);
    CHECK(m.equal("a"));
    CHECK(m.equal("b"));
  }

  SECTION("that is younger, and wrote before the change was committed") {
    m.source.exec(
        "CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_advisory_xact_lock_shared(4711); END $$;"
        "CREATE EVENT TRIGGER hold ON ddl_command_end WHEN TAG IN ('ALTER PUBLICATION') "
        "EXECUTE FUNCTION hold()");
    m.source.exec("SELECT pg_advisory_lock(4711)");
    Copying run(m);
    REQUIRE(eventually([&] {
      return m.source.scalar<bool>(
          "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)");
    }));
    writer.exec("BEGIN; INSERT INTO b VALUES (2001, 'early'); UPDATE b SET v = 'early' WHERE id = 5");
    m.source.exec("SELECT pg_advisory_unlock(4711)");
    run.wait_until_streaming();
    std::this_thread::sleep_for(1s);
    writer.exec("INSERT INTO b VALUES (2002, 'late'); COMMIT");
    run.wait_until_copied();
    run.catch_up(m.source);
    CHECK(m.equal("b"));
  }
}

TEST_CASE("a table taken out of the configuration and put back is not taken for whole") {
  Migration m;
  m.both("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)");
  m.source.exec("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)");
  const auto run_with = [&](const std::string& tables) {
    m.tables = tables;
    Copying run(m);
    run.wait_until_copied();
    run.catch_up(m.source);
    run.stop();
  };
  run_with("  - public.a\n  - public.b\n");
  run_with("  - public.a\n");
  m.source.exec("INSERT INTO b VALUES (2)");
  run_with("  - public.a\n");
  m.tables = "  - public.a\n  - public.b\n";
  {
    Copying run(m);
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(error->message().find("public.b") != std::string::npos);
  }
  m.target.exec("TRUNCATE b");
  run_with("  - public.a\n  - public.b\n");
  CHECK(m.equal("b"));
}

TEST_CASE("an asynchronous commit that was read and then taken back by a crash is not on the target") {
  Server server({.name = "asynchronous",
                 .settings = {"synchronous_commit = off", "autovacuum = off", "bgwriter_delay = 10s",
                              "wal_writer_flush_after = 0"}});
  int taken_back = 0;
  // More of them on a machine so busy that the server has always flushed before it dies.
  for (int round = 0; round < 8 || (taken_back == 0 && round < 40); ++round) {
    Migration m;
    const std::string name = "r" + std::to_string(round);
    server.set("wal_writer_delay", "200ms");
    m.source = server.create_database(name);
    m.source_url = server.url(name);
    m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    m.tables = "  - public.t\n";
    Copying run(m, Copy::paused);
    run.wait_until_streaming();
    m.source.exec(
        "SET synchronous_commit = on; INSERT INTO t VALUES (1, 'kept'); SET synchronous_commit = off");
    run.catch_up(m.source);
    server.set("wal_writer_delay", "10s");  // not before: making the slot waits for the writer
    std::this_thread::sleep_for(300ms);
    m.source.exec(
        "BEGIN; INSERT INTO t VALUES (2, 'taken back?'); UPDATE t SET v = 'taken back?' WHERE id = 1; "
        "COMMIT");
    run.resume();
    eventually([&] { return m.target.scalar<bool>("SELECT EXISTS (SELECT FROM walign.chunk)"); },
               Millis(10 * (round % 8)), 1ms);
    server.restart_immediate();
    m.source.reconnect();
    if (!m.source.scalar<bool>("SELECT EXISTS (SELECT FROM t WHERE id = 2)")) ++taken_back;
    // The same transaction id again, probably.
    m.source.exec("SET synchronous_commit = on; INSERT INTO t VALUES (3, 'after')");
    run.wait_until_copied();
    run.catch_up(m.source);
    CHECK(m.equal("t"));
    run.stop();
  }
  CHECK(taken_back > 0);  // or the test shows nothing
}

namespace {

// Copies a table of an idle source whose position is just past a page's header; whether nothing had to be written to
// the source to make it end.
bool copied_without_a_word() {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.source.exec("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 1000) i");
  m.source.exec("VACUUM ANALYZE t");
  m.tables = "  - public.t\n";
  Copying run(m, Copy::paused);
  run.catch_up(m.source);
  std::this_thread::sleep_for(500ms);
  // A logical message is 55 bytes and its content, from 256 bytes on, rounded up to eight.
  constexpr std::uint64_t kPage = 8192;
  const auto end = [&] {
    return Lsn::parse(m.source.scalar("SELECT pg_current_wal_insert_lsn()::text"))->value;
  };
  const auto in_page = [&] { return end() % kPage; };
  for (int tries = 0; tries < 100 && in_page() != 24; ++tries) {
    const auto left = kPage - in_page();
    const auto size = left > 400 ? left - 55 - 1 : left + 1000;
    m.source.exec("SELECT pg_logical_emit_message(false, 'x', repeat('x', " + std::to_string(size) + "))");
  }
  REQUIRE(in_page() == 24);
  std::this_thread::sleep_for(500ms);  // flushed, and received
  const auto before = end();
  run.resume();
  run.wait_until_copied(20s);
  CHECK(all_streaming(run.status()));
  CHECK(m.equal("t"));
  return end() == before;
}

}  // namespace

TEST_CASE(
    "on an idle source whose position is past a page's header the copy ends, and nothing is written for it") {
  // The server itself writes now and then.
  bool without_a_word = false;
  for (int tries = 0; tries < 4 && !without_a_word; ++tries) without_a_word = copied_without_a_word();
  CHECK(without_a_word);
}

TEST_CASE("chunks that wait for their aligned moment do not wait for an idle source") {
  constexpr int kChunks = 100;
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE)");
  m.source.exec("INSERT INTO t SELECT i, i FROM generate_series(1, " + std::to_string(kChunks) + ") i");
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_rows: 1, workers: 1 }\n";
  Copying run(m);
  run.wait_until_streaming();
  const auto began = std::chrono::steady_clock::now();
  run.wait_until_copied();
  const auto took = std::chrono::steady_clock::now() - began;
  WARN(std::chrono::duration<double>(took).count() << " s for " << kChunks << " chunks");
  CHECK(took < kChunks * 100ms);  // each would be found to be aligned 100 ms after it was read
  CHECK(m.equal("t"));
}
