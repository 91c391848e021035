// Old rows and new changes, exactly once, whatever dies: a table of 3 million rows and the awkward ones are
// copied under steady writes while walign is killed 30 times and each server crashes once.
// WALIGN_KILLS, WALIGN_SCALE and WALIGN_SEED change how often, how much and when.
#include <csignal>
#include <random>

#include "support/load.hpp"
#include "support/migration_files.hpp"

using namespace walign::test;

TEST_CASE("a copy under load is exact, whatever dies and whenever") {
  const int kills = number_from_environment("WALIGN_KILLS", 30);
  const int scale = number_from_environment("WALIGN_SCALE", 30);
  const int seed = number_from_environment("WALIGN_SEED", static_cast<int>(std::random_device{}() % 1000000));
  WARN("seed " << seed << ", kills " << kills << ", scale " << scale);
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto pick = [&](int from, int to) { return std::uniform_int_distribution<>(from, to)(random); };

  Server source({.name = "source", .settings = {"max_wal_size = 8GB"}});
  Server target({.name = "target", .settings = {"max_wal_size = 8GB"}});
  Sql from = source.create_database("app");
  Sql to = target.create_database("app");
  pgbench(source, {"-i", "-q", "-s", std::to_string(scale)});
  pgbench(target, {"-i", "-I", "dtp"});
  for (Sql* db : {&from, &to}) {
    db->exec("ALTER TABLE pgbench_history ADD hid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY");
    db->exec_file("awkward.sql");
  }
  from.exec_file("awkward_load.sql");
  REQUIRE(awkward_load(source, "app", 5, 4, 0).wait() == 0);

  MigrationFiles files("backfill", source.url("app"), target.url("app"),
                       "  - \"public.pgbench_*\"\n" + awkward_rules(),
                       "http: \"\"\nbackfill: { chunk_rows: 20000, workers: 2 }\n");
  Load load(source);
  auto walign = std::make_unique<Process>(files.command({"run"}));
  for (int kill = 1; kill <= kills; ++kill) {
    std::this_thread::sleep_for(Millis(pick(0, 3) == 0 ? pick(20, 300) : pick(300, 1500)));
    if (kill == kills / 3) target.restart_immediate();
    if (kill == 2 * kills / 3) source.restart_immediate();
    INFO(walign->err());
    REQUIRE(walign->running());  // whatever the servers do, it goes on
    walign->kill();
    walign = std::make_unique<Process>(files.command({"run"}));
    load.keep_running();
  }
  from.reconnect();
  to.reconnect();
  const bool ended = eventually(
      [&] {
        load.keep_running();
        return walign->err().find("table complete table=\"public.pgbench_accounts") != std::string::npos ||
               to.scalar<bool>("SELECT coalesce(bool_and(complete), false) FROM walign.copy");
      },
      300s, 500ms);
  {
    INFO(walign->err());
    CHECK(ended);  // under load that does not end
  }
  load.stop();
  REQUIRE(walign->wait_for_output("streaming"));
  walign->signal(SIGTERM);
  CHECK(walign->wait() == 130);
  const auto last = run(files.command({"run", "--until-caught-up"}), {}, 300s);
  INFO(last.err);
  REQUIRE(last.code == 0);

  std::string differences = compare_awkward(from, to);
  for (const char* table : {"pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history"}) {
    const auto result = compare_same(from, to, table);
    if (!result.equal()) differences += std::string(table) + ": " + result.report() + "\n";
  }
  INFO(differences);
  CHECK(differences.empty());
  CHECK(to.scalar<int>("SELECT count(*)::int FROM walign.chunk") == 0);
  WARN("ledger rows " << to.scalar<int>("SELECT count(*)::int FROM awkward.ledger") << ", accounts "
                      << to.scalar<int>("SELECT count(*)::int FROM pgbench_accounts"));
}
