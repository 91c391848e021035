// Load for the tests of exactness: pgbench and the awkward tables, on a database called app.
#pragma once

#include <cstdlib>

#include "support/awkward.hpp"
#include "support/catch.hpp"

namespace walign::test {

inline int number_from_environment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

inline void pgbench(const Server& server, std::vector<std::string> args) {
  args.insert(args.begin(), Server::program("pgbench"));
  args.push_back(server.conninfo("app"));
  const auto done = run(args, {}, 120s);
  INFO(done.err);
  REQUIRE(done.code == 0);
}

// Two kinds of load that are started again when the source goes away; rates that leave walign room to catch up.
class Load {
 public:
  explicit Load(const Server& server) : server_(server) { start(); }
  void keep_running() {
    if (!bench_->running() || !awkward_->running()) start();
  }
  void stop() {
    bench_->kill();
    awkward_->kill();
  }

 private:
  void start() {
    bench_ = std::make_unique<Process>(std::vector<std::string>{
        Server::program("pgbench"), "-n", "-c", "3", "-R", "250", "-T", "600", server_.conninfo("app")});
    awkward_ = std::make_unique<Process>(awkward_load(server_, "app", 600, 3, 150));
  }
  const Server& server_;
  std::unique_ptr<Process> bench_;
  std::unique_ptr<Process> awkward_;
};

}  // namespace walign::test
