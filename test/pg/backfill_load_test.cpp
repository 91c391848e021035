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
