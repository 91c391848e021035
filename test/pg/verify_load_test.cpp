// Verification under pgbench at full rate, with a synchronous standby that stalls again and again and half of the
// transactions not waiting for it: commits are decoded long before they are visible, and become visible in another
// order. The target is equal, so nothing may be reported. WALIGN_ROUNDS and WALIGN_SCALE say how long and how much.
#include <csignal>
#include <fstream>

#include "support/load.hpp"
#include "verify_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// A standby of the source that stops reading for `stall` at a time.
class StallingStandby {
 public:
  StallingStandby(Server& server, Millis stall)
      : server_(server),
        directory_(std::filesystem::temp_directory_path() / ("walign-standby-" + std::to_string(::getpid()))),
        stall_(stall) {
    std::filesystem::create_directories(directory_);
    receiver_ = std::make_unique<Process>(
        std::vector<std::string>{Server::program("pg_receivewal"), "-D", directory_.string(), "--synchronous",
                                 "--no-loop", "-d", server.conninfo() + " application_name=stalling"});
    Sql sql(server.conninfo());
    REQUIRE(eventually([&] {
      return sql.scalar<bool>(
          "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'stalling')");
    }));
    server_.set("synchronous_standby_names", "stalling");
    thread_ = std::thread([this] { stall_now_and_then(); });
  }
  ~StallingStandby() {
    done_.store(true);
    thread_.join();
    server_.set("synchronous_standby_names", "");
    receiver_->kill();
    std::filesystem::remove_all(directory_);
  }
  [[nodiscard]] int stalls() const { return stalls_.load(); }

 private:
  void stall_now_and_then() {
    while (!done_.load()) {
      receiver_->signal(SIGSTOP);
      std::this_thread::sleep_for(stall_);
      receiver_->signal(SIGCONT);
      ++stalls_;
      std::this_thread::sleep_for(stall_ / 2);
    }
  }
  Server& server_;
  std::filesystem::path directory_;
  const Millis stall_;
  std::unique_ptr<Process> receiver_;
  std::atomic<bool> done_{false};
  std::atomic<int> stalls_{0};
  std::thread thread_;
};

constexpr const char* kScript =
    "\\set id random(1, 100000 * :scale)\n"
    "\\set other random(1, 100000 * :scale)\n"
    "\\set wait random(0, 1)\n"
    "\\set kind random(0, 9)\n"
    "BEGIN;\n"
    "\\if :wait\n"
    "SET LOCAL synchronous_commit = local;\n"
    "\\endif\n"
    "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :id;\n"
    "\\if :kind = 0\n"
    "DELETE FROM pgbench_accounts WHERE aid = :other;\n"
    "\\elif :kind = 1\n"
    "INSERT INTO pgbench_accounts VALUES (:other, 1, 5, 'back') ON CONFLICT DO NOTHING;\n"
    "\\endif\n"
    "COMMIT;\n";

void verify_again_and_again(int rounds, int scale, Millis stall) {
  Migration m;
  const std::string database = m.source.scalar("SELECT current_database()");
  for (const auto* server : {&source_server(), &target_server()}) {
    const bool rows = server == &source_server();
    const auto done = run({Server::program("pgbench"), "-i", "-q", rows ? "-IdtGp" : "-Idtp", "-s",
                           std::to_string(scale), server->conninfo(database)},
                          {}, 120s);
    INFO(done.err);
    REQUIRE(done.code == 0);
  }
  m.tables = "  - public.pgbench_accounts\n";
  m.more = "backfill: { chunk_rows: 20000 }\n";
  const auto script = m.state.string() + ".pgbench";
  std::ofstream(script) << kScript;
  Verifying run(m);
  run.wait_until_copied();
  const StallingStandby standby(source_server(), stall);
  Process load({Server::program("pgbench"), "-n", "-c", "6", "-T", "86400", "-f", script, "-D",
                "scale=" + std::to_string(scale), source_server().conninfo(database)});
  int whole = 0;
  std::int64_t changed = 0;
  for (int round = 0; round < rounds; ++round) {
    REQUIRE(load.running());
    const bool all = round % 2 == 0;
    const auto report = run.verify({{}, all, false, {}}, 600s);
    INFO("round " << round << "\n" << Verifying::describe(report));
    REQUIRE(report.clean());
    whole += report.tables[0].whole ? 1 : 0;
    if (!report.tables[0].whole) changed += report.tables[0].rows;
  }
  load.kill();
  // Not even for a moment: what a second look finds to be equal was not seen at one position.
  const auto met =
      run.metrics
          .counter("walign_differing_rows_met_total",
                   "Rows that differed when they were compared, also where they are equal by now.",
                   {{"table", "public.pgbench_accounts -> public.pgbench_accounts"}})
          .value();
  CHECK(met == 0);
  WARN("whole " << whole << ", changed keys " << changed << ", stalls " << standby.stalls()
                << ", transactions " << run.status().transactions);
  CHECK(whole >= rounds / 2);
  std::filesystem::remove(script);
}

}  // namespace

TEST_CASE("nothing is reported of a table under full load with a synchronous standby that stalls") {
  verify_again_and_again(number_from_environment("WALIGN_ROUNDS", 4),
                         number_from_environment("WALIGN_SCALE", 1),
                         Millis(number_from_environment("WALIGN_STALL_MS", 2000)));
}
