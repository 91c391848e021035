// Exactly once, whatever dies: walign is killed 50 times at random moments, the target crashes 5 times, the source
// restarts 3 times, under pgbench and the awkward tables; meanwhile a reader watches an invariant over four tables.
// WALIGN_KILLS and WALIGN_SEED change how often and when.
#include <atomic>
#include <csignal>
#include <fstream>
#include <random>

#include "support/catch.hpp"
#include "support/load.hpp"
#include "support/migration_files.hpp"

using namespace walign::test;

namespace {

// Every few milliseconds: do the balances of pgbench's tables add up on the target? A torn source transaction
// would show.
class InvariantReader {
 public:
  explicit InvariantReader(Server& server) : conninfo_(server.conninfo("app")), thread_([this] { read(); }) {}
  ~InvariantReader() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int reads() const { return reads_; }
  int broken() const { return broken_; }
  std::string first_broken;  // after stop()

 private:
  void read() {
    std::unique_ptr<Sql> db;
    while (!stop_) {
      try {
        if (!db) db = std::make_unique<Sql>(conninfo_);
        const auto row = db->row(
            "SELECT coalesce((SELECT sum(abalance) FROM pgbench_accounts), 0), "
            "coalesce((SELECT sum(tbalance) FROM pgbench_tellers), 0), "
            "coalesce((SELECT sum(bbalance) FROM pgbench_branches), 0), "
            "coalesce((SELECT sum(delta) FROM pgbench_history), 0)");
        ++reads_;
        if (row[0] != row[1] || row[0] != row[2] || row[0] != row[3]) {
          if (broken_++ == 0) first_broken = *row[0] + " " + *row[1] + " " + *row[2] + " " + *row[3];
        }
        std::this_thread::sleep_for(5ms);
      } catch (const SqlError&) {  // the target is being restarted
        db.reset();
        std::this_thread::sleep_for(50ms);
      }
    }
  }
  std::string conninfo_;
  std::atomic<bool> stop_{false};
  std::atomic<int> reads_{0};
  std::atomic<int> broken_{0};
  std::thread thread_;
};

}  // namespace

TEST_CASE("nothing is lost and nothing comes twice, whatever dies and whenever") {
  const int kills = number_from_environment("WALIGN_KILLS", 50);
  const int seed = number_from_environment("WALIGN_SEED", static_cast<int>(std::random_device{}() % 1000000));
  WARN("seed " << seed << ", kills " << kills);
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto pick = [&](int from, int to) { return std::uniform_int_distribution<>(from, to)(random); };

  Server source({.name = "source"});
  Server target({.name = "target"});
  Sql from = source.create_database("app");
  Sql to = target.create_database("app");
  for (Server* server : {&source, &target}) {
    pgbench(*server, {"-i", "-I", "dtp"});
    Sql(server->conninfo("app"))
        .exec("ALTER TABLE pgbench_history ADD hid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY");
    Sql(server->conninfo("app")).exec_file("awkward.sql");
  }
  from.exec_file("awkward_load.sql");

  MigrationFiles files("exact", source.url("app"), target.url("app"),
                       "  - \"public.pgbench_*\"\n" + awkward_rules());
  auto walign = std::make_unique<Process>(files.command({"run"}));
  REQUIRE(walign->wait_for_output("streaming"));
  // Whole transactions are promised for tables whose copy is complete; these are empty, so it soon is.
  REQUIRE(eventually(
      [&] { return to.scalar<bool>("SELECT count(*) > 0 AND bool_and(complete) FROM walign.copy"); }));
  pgbench(source, {"-i", "-I", "g"});

  InvariantReader reader(target);
  Load load(source);
  int target_crashes = 0;
  int source_restarts = 0;
  for (int kill = 1; kill <= kills; ++kill) {
    std::this_thread::sleep_for(Millis(pick(0, 3) == 0 ? pick(20, 300) : pick(300, 1500)));
    if (target_crashes < 5 && kill % std::max(1, kills / 5) == 2) {
      target.restart_immediate();
      ++target_crashes;
      std::this_thread::sleep_for(Millis(pick(0, 1000)));
    }
    if (source_restarts < 3 && kill % std::max(1, kills / 3) == 5) {
      source.restart(source_restarts == 0 ? StopMode::fast : StopMode::immediate);
      ++source_restarts;
      std::this_thread::sleep_for(Millis(pick(0, 1000)));
    }
    INFO(walign->err());
    REQUIRE(walign->running());  // whatever the servers do, it goes on
    walign->kill();
    walign = std::make_unique<Process>(files.command({"run"}));
    load.keep_running();
  }
  load.stop();
  REQUIRE(walign->wait_for_output("streaming"));
  walign->signal(SIGTERM);
  const int stopped = walign->wait();
  INFO(walign->err());
  CHECK(stopped == 130);

  const auto last = run(files.command({"run", "--until-caught-up"}), {}, 120s);
  INFO(last.err);
  REQUIRE(last.code == 0);
  reader.stop();
  CHECK(reader.reads() > 100);
  INFO(reader.first_broken);
  CHECK(reader.broken() == 0);

  from.reconnect();
  to.reconnect();
  std::string differences = compare_awkward(from, to);
  for (const char* table : {"pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history"}) {
    const auto result = compare_same(from, to, table);
    if (!result.equal()) differences += std::string(table) + ": " + result.report() + "\n";
  }
  INFO(differences);
  CHECK(differences.empty());
  const auto rows = to.scalar<int>("SELECT count(*)::int FROM awkward.ledger");
  const auto history = to.scalar<int>("SELECT count(*)::int FROM pgbench_history");
  WARN("ledger rows " << rows << ", history rows " << history << ", reads of the invariant " << reader.reads()
                      << ", target crashes " << target_crashes << ", source restarts " << source_restarts);
  CHECK(rows > kills);
  CHECK(target_crashes + source_restarts > 0);
}
