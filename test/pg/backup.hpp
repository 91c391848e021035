// A copy of a server's data, taken by pg_basebackup while it runs, and put back in its place.
#pragma once

#include <unistd.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "support/server.hpp"

namespace walign::test {

class Backup {
 public:
  explicit Backup(Server& server) : server_(server) {
    settings_ << std::ifstream(server.data_directory() / "postgresql.conf").rdbuf();
    const auto done = run({Server::program("pg_basebackup"), "-X", "stream", "-c", "fast", "-D",
                           path().string(), "-d", server.conninfo()},
                          {.directory = server.directory().string(), .user = user()}, 60s);
    if (done.code != 0) throw std::runtime_error(done.err);
  }
  void restore() {
    server_.stop(StopMode::immediate);
    std::filesystem::remove_all(server_.data_directory());
    std::filesystem::rename(path(), server_.data_directory());
    std::ofstream(server_.data_directory() / "postgresql.conf", std::ios::trunc) << settings_.str();
    server_.start();
  }

 private:
  static std::string user() { return geteuid() == 0 ? "postgres" : ""; }
  [[nodiscard]] std::filesystem::path path() const { return server_.directory() / "backup"; }
  Server& server_;
  std::ostringstream settings_;
};

}  // namespace walign::test
