// One `walign run` that copies old rows too, on a thread.
#pragma once

#include "support/migration.hpp"
#include "walign/backfill.hpp"

namespace walign::test {

enum class Copy { at_once, paused };

class Copying : public Run {
 public:
  // Copy::paused: streams, and copies nothing until resume().
  explicit Copying(const Migration& m, stream::Until until = {}, Copy copy = Copy::at_once)
      : Run(m, until, false, companion(copy)) {}
  Copying(const Migration& m, Copy copy) : Copying(m, {}, copy) {}

  void pause() { sidecar().pause_backfill(true); }
  void resume() { sidecar().pause_backfill(false); }
  void wait_until_copied(Millis timeout = 60s) {
    if (!eventually([&] { return done() || (status().connected && status().phase == "streaming"); },
                    timeout)) {
      throw std::runtime_error("not copied: " + status().last_error);
    }
    throw_if_failed();
  }

 private:
  static std::unique_ptr<stream::Companion> companion(Copy copy) {
    auto made = backfill::make(false);
    made->pause(copy == Copy::paused);
    return made;
  }
};

inline bool all_streaming(const stream::Status& status) {
  return std::all_of(status.tables.begin(), status.tables.end(),
                     [](const auto& t) { return t.state == "streaming"; });
}

// A writer on a connection of its own: calls `step` again and again, until it goes; statements that fail are
// skipped, and the connection made again after a crash of the server.
class Writer {
 public:
  Writer(const std::string& conninfo, std::function<void(Sql&)> step, Millis pause = 0ms)
      : sql_(conninfo), step_(std::move(step)), pause_(pause), thread_([this] { write(); }) {}
  ~Writer() { stop(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  void stop() {
    stopping_.store(true);
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] int steps() const { return steps_.load(); }

 private:
  void write() {
    while (!stopping_.load()) {
      try {
        step_(sql_);
        ++steps_;
      } catch (const SqlError& error) {
        if (error.sqlstate().empty() || error.sqlstate().starts_with("57")) {
          std::this_thread::sleep_for(50ms);
          try {
            sql_.reconnect();
          } catch (const SqlError&) {  // once more
          }
        } else {
          sql_.exec("ROLLBACK");
        }
      }
      if (pause_ > 0ms) std::this_thread::sleep_for(pause_);
    }
  }

  Sql sql_;
  const std::function<void(Sql&)> step_;
  const Millis pause_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> steps_{0};
  std::thread thread_;
};

}  // namespace walign::test
