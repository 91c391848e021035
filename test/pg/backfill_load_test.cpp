// A load on the very table that is copied, as fast as it can, does not keep the copy from its end.
#include <fstream>

#include "support/copying.hpp"
#include "support/load.hpp"
#include "support/temporary_directory.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("a copy ends under a load on the very table that does not end") {
  Server source({.name = "source", .settings = {"max_wal_size = 4GB"}});
  Migration m;
  m.source = source.create_database("app");
  m.source_url = source.url("app");
  pgbench(source, {"-i", "-q", "-s", "5"});
  m.target.exec(
      "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84))");
  const bool other_unique = GENERATE(false, true);
  CAPTURE(other_unique);
  if (other_unique) m.target.exec("CREATE UNIQUE INDEX ON pgbench_accounts (bid, aid)");
  m.tables = "  - public.pgbench_accounts\n";
  m.more = "backfill: { chunk_rows: 20000, workers: 2 }\n";
  Process load(
      {Server::program("pgbench"), "-n", "-N", "-c", "4", "-j", "1", "-T", "600", source.conninfo("app")});
  std::this_thread::sleep_for(1s);
  Copying run(m);
  CHECK(eventually(
      [&] {
        return run.done() ||
               (run.status().connected &&
                m.target.scalar<bool>("SELECT coalesce(bool_and(complete), false) FROM walign.copy"));
      },
      150s, 200ms));
  CHECK(load.running());
  load.kill();
  run.catch_up(m.source);
  CHECK(m.equal("pgbench_accounts"));
  const auto books = run.status().tables.at(0).books;
  WARN("changes while it was copied: " << books.decoded << ", dropped " << books.dropped);
}

namespace {

// Transactions that a database commits, from one look to the next.
class Rate {
 public:
  explicit Rate(Sql& sql) : sql_(sql) { look(); }
  // Per second since the last look.
  double look() {
    const auto now = std::chrono::steady_clock::now();
    const auto commits = sql_.scalar<double>(
        "SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = current_database()");
    const double rate = (commits - commits_) / std::chrono::duration<double>(now - at_).count();
    at_ = now;
    commits_ = commits;
    return rate;
  }

 private:
  Sql& sql_;
  double commits_ = 0;
  std::chrono::steady_clock::time_point at_ = std::chrono::steady_clock::now();
};

}  // namespace

// How many a second that is depends on the machine: it is printed, and nothing is asserted of it. Nothing holds the
// load back, and it is there before, while and after the table is copied; if it could starve the copy, this would not
// end.
TEST_CASE("a copy ends while its source takes as many transactions on the table as it can") {
  Server source(
      {.name = "source", .settings = {"max_wal_size = 8GB", "synchronous_commit = off", "autovacuum = off"}});
  Migration m;
  m.source = source.create_database("app");
  m.source_url = source.url("app");
  m.both("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, filler text) WITH (fillfactor = 50)");
  m.source.exec("INSERT INTO t SELECT i, 0, repeat('x', 100) FROM generate_series(1, 400000) i; ANALYZE t");
  TemporaryDirectory directory;
  std::ofstream(directory / "load.sql")
      << "\\set id random(1, 400000)\nUPDATE t SET n = n + 1 WHERE id = :id;\n";
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_rows: 20000, workers: 2 }\n";
  Process load({Server::program("pgbench"), "-n", "-M", "prepared", "-f", directory / "load.sql", "-c", "8",
                "-j", "2", "-T", "3000", source.conninfo("app")});
  Rate rate(m.source);
  std::this_thread::sleep_for(5s);
  const double alone = rate.look();
  Copying run(m, Copy::paused);
  run.wait_until_streaming();
  std::this_thread::sleep_for(5s);
  const double streamed = rate.look();
  run.resume();
  run.wait_until_copied(800s);
  const double copied = rate.look();
  CHECK(load.running());
  const auto books = run.status().tables.at(0).books;
  CHECK(books.decoded > books.dropped);  // some before their chunk, some after it
  CHECK(books.dropped > 0);
  load.kill();
  m.source.exec("SELECT pg_logical_emit_message(true, 'test', 'the end')");
  const auto end = Lsn::parse(m.source.scalar("SELECT pg_current_wal_insert_lsn()::text"));
  REQUIRE(eventually([&] { return run.done() || run.status().applied >= end->without_page_header(); }, 800s));
  CHECK(m.equal("t"));
  WARN("transactions per second: " << alone << " alone, " << streamed << " while streamed, " << copied
                                   << " while copied; changes decoded by its end " << books.decoded
                                   << ", of which dropped " << books.dropped);
}

TEST_CASE("a copy ends although the stream is further behind than pause_above_lag all the time") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.source.exec("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 300) i");
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_rows: 100, workers: 2, pause_above_lag: 64KiB }\n";
  Copying run(m, Copy::paused);
  run.wait_until_streaming();
  run.sidecar().pause_apply();
  m.source.exec("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1001, 1500) i");
  REQUIRE(eventually([&] { return run.status().lag_bytes.value_or(0) > 200'000; }));
  std::this_thread::sleep_for(1s);  // until the copy was told
  const auto began = std::chrono::steady_clock::now();
  run.resume();
  const auto chunks = [&] { return m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk"); };
  // It is held, and goes on all the same, now and then.
  REQUIRE(eventually([&] { return chunks() >= 2; }, 60s, 50ms));
  CHECK(std::chrono::steady_clock::now() - began > 15s);
  CHECK(run.status().lag_bytes.value_or(0) > 200'000);
  run.sidecar().resume_apply();
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}
