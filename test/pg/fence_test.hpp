// A database with a fence in it, for tests. Nobody here but `admin` is a superuser: `mover` is walign's role and may
// act as `owner`, who has the tables; `app` is the application, which may read and write them and nothing more.
#pragma once

#include <atomic>
#include <thread>

#include "cutover/fence.hpp"
#include "support/catch.hpp"
#include "support/server.hpp"

namespace walign::test {

using namespace cutover;
using cutover::FenceRow;

inline Server& fence_server() {
  static Server server(
      {.name = "fence",
       .settings = {"max_prepared_transactions = 5", "wal_writer_delay = 10s", "autovacuum_naptime = 1s"}});
  return server;
}

inline bool eventually_true(const std::function<bool()>& condition, Millis timeout = Millis(30'000)) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(Millis(5));
  }
  return true;
}

// SQLSTATE of a statement, "ok" if it succeeds.
inline std::string outcome(Sql& db, const std::string& sql) {
  try {
    db.exec(sql);
    return "ok";
  } catch (const SqlError& error) {
    return error.sqlstate().empty() ? "lost" : error.sqlstate();
  }
}
inline std::string message_of(Sql& db, const std::string& sql) {
  try {
    db.exec(sql);
    return "ok";
  } catch (const SqlError& error) {
    return error.what();
  }
}

class FenceBed {
 public:
  explicit FenceBed(Server& server = fence_server())
      : server_(server), name_("bed" + std::to_string(next_++)), admin(made(server, name_)), app(as("app")) {
    giver = std::make_unique<pg::Connection>(options());
  }

  [[nodiscard]] Sql as(const std::string& role) const {
    return Sql(server_.conninfo(name_) + " user=" + role);
  }
  [[nodiscard]] pg::ConnectionOptions options(bool passes = false) const {
    pg::ConnectionOptions options;
    options.conninfo = server_.conninfo(name_) + " user=mover";
    options.application_name = "walign test";
    if (passes) options.settings.push_back(pass_setting(id.migration));
    return options;
  }
  [[nodiscard]] Server& server() const { return server_; }
  [[nodiscard]] const std::string& database() const { return name_; }

  // Tables that the owner has and the application may write.
  void tables(const std::string& sql) {
    Sql owner = as("owner");
    owner.exec(sql);
    owner.exec(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO "
        "app");
  }
  // One table t, a few rows.
  void one_table() {
    tables(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, "
        "10) i");
    mapped = {{"public", "t"}};
  }

  // The fence's table with both sides' first rows: this server is the source.
  void install() {
    install_fence(*giver);
    insert_row(*giver, id, {0, RowState::open, 7, {}, {}});
  }
  FenceRow begin(Millis lease = Millis(60'000)) {
    if (!fence_installed(*giver)) install();
    const auto row = read_row(*giver, id);
    const auto begun =
        compare_and_set(*giver, id, *row, {row->epoch + 1, RowState::fencing, 7, lease}, Millis(1000));
    if (!begun.done) throw std::runtime_error("no attempt could be begun");
    return *begun.row;
  }
  Fenced fence(Millis lease = Millis(60'000)) {
    const auto row = begin(lease);
    return fence_tables(*giver, guard, row, mapped, limits());
  }
  [[nodiscard]] Limits limits() const {
    Limits limits;
    limits.break_deadlocks = may_set_deadlock_timeout(*giver);
    return limits;
  }
  // From what is there to another state of the same epoch.
  Swapped become(RowState state, std::optional<Millis> lease = {}) {
    const auto row = read_row(*giver, id);
    return compare_and_set(*giver, id, *row, {row->epoch, state, 7, lease}, Millis(1000));
  }
  [[nodiscard]] RowState state(Side side = Side::source) const {
    return read_row(*giver, {id.migration, side}).value().state;
  }

 private:
  static Sql made(Server& server, const std::string& name) {
    Sql admin = server.create_database(name);
    admin.exec(
        "DO $$ BEGIN CREATE ROLE owner LOGIN; CREATE ROLE mover LOGIN; CREATE ROLE app LOGIN; GRANT owner TO "
        "mover; "
        "GRANT SET ON PARAMETER deadlock_timeout TO mover; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "GRANT CREATE ON SCHEMA public TO owner; GRANT CREATE ON DATABASE " +
        name + " TO mover");
    return admin;
  }
  static inline int next_ = 1;
  Server& server_;
  std::string name_;

 public:
  FenceId id{"walign_m", Side::source};
  Guard guard{id, "new.example:5432/app"};
  std::vector<TableName> mapped;
  Sql admin;
  Sql app;
  std::unique_ptr<pg::Connection> giver;
};

}  // namespace walign::test
