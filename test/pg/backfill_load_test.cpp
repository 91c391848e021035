// A load on the very table that is copied, as fast as it can, does not keep the copy from its end.
#include "support/copying.hpp"
#include "support/load.hpp"

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
        return run.done() || (run.status().connected &&
                              m.target.scalar<bool>("SELECT bool_and(complete) FROM walign.copy"));
      },
      150s, 200ms));
  CHECK(load.running());
  load.kill();
  run.catch_up(m.source);
  CHECK(m.equal("pgbench_accounts"));
  const auto& table = run.status().tables.at(0);
  WARN("changes while it was copied: " << table.books.decoded << ", dropped " << table.books.dropped);
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
