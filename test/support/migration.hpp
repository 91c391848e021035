// A migration between two throw-away databases, driven inside the test's own process.
//
//   Migration m;                                        // servers shared by all tests of the program
//   m.both("CREATE TABLE public.t (id int PRIMARY KEY, v text)");
//   m.tables = "  - public.t\n";
//   Run run(m);                                         // the sidecar, on a thread of its own
//   m.source.exec("INSERT INTO t VALUES (1, 'a')");
//   run.catch_up();
//   CHECK(m.equal("public.t"));
#pragma once

#include <filesystem>
#include <thread>

#include "support/catch.hpp"
#include "support/compare.hpp"
#include "support/server.hpp"
#include "walign/stream.hpp"

namespace walign::test {

inline Server& source_server() {
  static Server server({.name = "source"});
  return server;
}
inline Server& target_server() {
  static Server server({.name = "target"});
  return server;
}

class Migration {
 public:
  Migration()
      : name_("m" + std::to_string(next_++)),
        state(std::filesystem::temp_directory_path() /
              ("walign-test-" + std::to_string(::getpid()) + "-" + name_)),
        source(source_server().create_database(name_)),
        target(target_server().create_database(name_)),
        source_url(source_server().url(name_)),
        target_url(target_server().url(name_)) {
    std::filesystem::remove_all(state);
  }
  ~Migration() {
    std::filesystem::remove_all(state);
    try {
      source.exec(
          "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active AND "
          "database = current_database()");
    } catch (const std::exception&) {  // the server may be down at the end of a test
    }
  }
  Migration(const Migration&) = delete;
  Migration& operator=(const Migration&) = delete;

  void both(const std::string& sql) {
    source.exec(sql);
    target.exec(sql);
  }

  [[nodiscard]] std::string yaml() const {
    return "migration: " + name_ + "\nsource: " + source_url + "\ntarget: " + target_url +
           "\nstate: " + state.string() + "\ntables:\n" + tables + more + "http: \"\"\n";
  }
  [[nodiscard]] config::Config config() const {
    return config::parse(yaml(), "test.yaml", [](const std::string&) { return std::nullopt; });
  }
  [[nodiscard]] std::string stream() const { return config().stream_name(); }

  // Both tables, all columns, compared by the servers; a difference is a failed CHECK with its rows.
  bool equal(const std::string& table) { return equal("SELECT * FROM " + table, "SELECT * FROM " + table); }
  bool equal(const std::string& source_query, const std::string& target_query) {
    const auto result = compare_tables(source, source_query, target, target_query);
    if (!result.equal()) WARN(result.report());
    return result.equal();
  }

 private:
  static inline int next_ = 1;
  std::string name_;

 public:
  std::filesystem::path state;
  Sql source;
  Sql target;
  std::string source_url;
  std::string target_url;
  std::string tables;  // lines of the list, indented by two
  std::string more;    // further top-level lines
};

// One `walign run`, on a thread.
class Run {
 public:
  explicit Run(const Migration& m, stream::Until until = {}, bool no_backfill = false,
               std::unique_ptr<stream::Companion> companion = nullptr)
      : companion_(std::move(companion)) {
    stream::Options options;
    if (companion_) options.companions.push_back(companion_.get());
    options.config = m.config();
    options.until = until;
    options.no_backfill = no_backfill;
    options.stop = &stop_;
    options.metrics = &metrics;
    sidecar_ = std::make_unique<stream::Sidecar>(std::move(options));
    thread_ = std::thread([this] {
      try {
        sidecar_->run();
      } catch (const Error& error) {
        error_ = error;
      }
      done_.store(true);
    });
  }
  ~Run() {
    stop_.raise();
    if (thread_.joinable()) thread_.join();
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  [[nodiscard]] stream::Sidecar& sidecar() { return *sidecar_; }
  [[nodiscard]] stream::Status status() const { return sidecar_->status(); }
  [[nodiscard]] bool done() const { return done_.load(); }

  void wait_until_streaming() {
    if (!eventually([&] { return done() || status().connected; }, 30s))
      throw std::runtime_error("not streaming");
    throw_if_failed();
  }
  // Until everything that was committed on the source when this is called is applied.
  void catch_up(Sql& source) {
    wait_until_streaming();
    source.exec("SELECT pg_logical_emit_message(true, 'test', 'catch up')");
    const auto end = Lsn::parse(source.scalar("SELECT pg_current_wal_insert_lsn()::text"));
    if (!eventually([&] { return done() || status().applied >= end->without_page_header(); }, 60s, 5ms)) {
      throw std::runtime_error("did not catch up: " + status().last_error);
    }
    throw_if_failed();
  }
  // Until it ends by itself; the error it ended with, if any.
  std::optional<Error> wait(Millis timeout = 60s) {
    if (!eventually([&] { return done(); }, timeout)) throw std::runtime_error("did not end");
    thread_.join();
    return error_;
  }
  // Stops it cleanly.
  void stop() {
    stop_.raise();
    wait();
    if (error_ && error_->kind() != ErrorKind::interrupted) throw std::runtime_error(error_->describe());
  }
  obs::Metrics metrics;

 protected:
  void throw_if_failed() const {
    if (done() && error_) throw std::runtime_error(error_->describe());
  }

 private:
  Interrupt stop_;
  std::unique_ptr<stream::Companion> companion_;
  std::unique_ptr<stream::Sidecar> sidecar_;
  std::atomic<bool> done_{false};
  std::optional<Error> error_;  // written before done_
  std::thread thread_;
};

}  // namespace walign::test
