// A physical standby of a server, and its promotion.
#pragma once

#include "pg/backup.hpp"

namespace walign::test {

// Made by pg_basebackup -R of another server, which it follows through a slot of its own there.
class Standby {
 public:
  static constexpr const char* kSlot = "standby";

  explicit Standby(Server& primary, const std::string& name = "standby")
      : server({.name = name, .start = false}) {
    const auto data = server.data_directory();
    std::ostringstream kept;
    kept << std::ifstream(data / "postgresql.conf").rdbuf();
    std::filesystem::remove_all(data);
    primary.connect().exec(std::string("SELECT pg_create_physical_replication_slot('") + kSlot + "', true)");
    const auto done =
        run({Server::program("pg_basebackup"), "-R", "-X", "stream", "-c", "fast", "-S", kSlot, "-D",
             data.string(), "-d", primary.conninfo()},
            {.directory = server.directory().string(), .user = geteuid() == 0 ? "postgres" : ""}, 60s);
    if (done.code != 0) throw std::runtime_error(done.err);
    std::ofstream conf(data / "postgresql.conf", std::ios::trunc);
    conf << kept.str() << "hot_standby_feedback = on\n";
    conf.close();
    server.start();
  }

  // Everything that the primary has written by now is replayed here.
  bool catch_up(Server& primary) {
    const auto end = primary.connect().scalar("SELECT pg_current_wal_flush_lsn()::text");
    Sql sql = server.connect();
    return eventually(
        [&] { return sql.scalar<bool>("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", {end}); });
  }
  // From here on what the primary writes does not arrive.
  bool cut_off() {
    server.set("primary_conninfo", "");
    Sql sql = server.connect();
    return eventually([&] { return sql.scalar<int>("SELECT count(*) FROM pg_stat_wal_receiver") == 0; });
  }
  void promote() {
    if (!server.connect().scalar<bool>("SELECT pg_promote()")) throw std::runtime_error("not promoted");
  }

  Server server;
};

}  // namespace walign::test
