// A throw-away PostgreSQL server: made in a second, gone with the object, and with the test program even
// if that is killed (a watchdog process sees its end, stops the server and removes the directory).
//
//   Server source({.name = "source"});
//   Server target({.name = "target", .settings = {"max_connections = 30"}});
//   Sql db = source.create_database("app");      // and a connection to it
//   ... source.url("app"), target.conninfo("app") ...
//   source.restart_immediate();                  // a crash: recovery from WAL, same port
//
// wal_level is logical, 20 slots and 20 walsenders, small buffers, otherwise the defaults. fsync is off:
// a process that is killed loses nothing that it had written, since the operating system still has it;
// only a machine's crash would tell the difference.
//
// As root the server runs as user postgres (it refuses root), otherwise as the user who runs the test.
// The superuser is `postgres` in either case and needs no password, by TCP on 127.0.0.1 or by Unix
// socket. Clusters are copied from originals made once per build directory; servers alive at the same
// time come from different ones, so that no two have the same system identifier.
//
// The programs are taken from WALIGN_PG_BIN, else from the newest /usr/lib/postgresql/*/bin, else PATH.
// Where WALIGN_TEST_SOURCE_BIN and WALIGN_TEST_TARGET_BIN name programs (tools/on-versions sets them), servers
// whose name ends with "target" run from the second, all others from the first.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "support/process.hpp"
#include "support/sql.hpp"

namespace walign::test {

struct ServerOptions {
  std::string name = "server";             // for messages and the directory's name
  std::vector<std::string> settings = {};  // lines of postgresql.conf, the last word on a setting
  std::vector<std::string> hba = {};       // lines of pg_hba.conf before "trust": who needs a password, say
  std::vector<std::string> initdb = {};    // {"--encoding=LATIN1"}; the default is UTF8, locale C
  bool fsync = false;
  bool start = true;
};

enum class StopMode { smart, fast, immediate };

class Server {
 public:
  explicit Server(ServerOptions options = {});
  ~Server();  // stops it (immediate) and removes everything
  Server(Server&&) noexcept;
  Server& operator=(Server&&) = delete;

  void start(Millis timeout = 120s);  // returns when it takes connections; recovery included
  void stop(StopMode mode = StopMode::fast, Millis timeout = 60s);
  void restart(StopMode mode = StopMode::fast);
  void restart_immediate() { restart(StopMode::immediate); }
  void kill();  // SIGKILL to the postmaster: the rudest end; start() as usual afterwards
  [[nodiscard]] bool running();
  void reload();  // pg_reload_conf, by signal
  // A setting, now: ALTER SYSTEM and reload. What needs a restart takes effect at the next start.
  void set(const std::string& name, const std::string& value);
  // Ends every client's and walsender's session but the caller's; returns how many.
  int cut_connections();

  [[nodiscard]] std::string conninfo(const std::string& database = "postgres") const;  // TCP, key=value
  [[nodiscard]] std::string url(const std::string& database = "postgres") const;       // TCP, as a URL
  [[nodiscard]] std::string socket_conninfo(const std::string& database = "postgres") const;
  [[nodiscard]] Sql connect(const std::string& database = "postgres") const;
  Sql create_database(const std::string& name, const std::string& options = "");  // "TEMPLATE x ..."

  [[nodiscard]] const std::string& name() const { return options_.name; }
  [[nodiscard]] int port() const;
  [[nodiscard]] pid_t pid() const;
  [[nodiscard]] std::filesystem::path directory() const;  // of its own, under /tmp
  [[nodiscard]] std::filesystem::path data_directory() const;
  [[nodiscard]] std::string log() const;  // the whole server log

  // The directory that this server's own programs are in.
  [[nodiscard]] std::filesystem::path program_directory() const;
  // The directory of clients' programs (pgbench, pg_basebackup), the newest that there are, and one of them.
  static std::filesystem::path bin_directory();
  static std::string program(const std::string& name) { return (bin_directory() / name).string(); }

 private:
  class Home;  // the directory, the port and the watchdog: what a restart keeps
  void launch(Millis timeout);

  ServerOptions options_;
  std::unique_ptr<Home> home_;
  std::unique_ptr<Process> postmaster_;
};

}  // namespace walign::test
