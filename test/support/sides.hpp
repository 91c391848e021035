// A migration with both its directions, driven inside the test's own process.
//
//   Migration m; ...
//   Sides sides(m);
//   CHECK(sides.change(Verb::cutover).outcome == Result::Outcome::done);
#pragma once

#include "support/migration.hpp"
#include "walign/cutover.hpp"

namespace walign::test {

class Sides {
 public:
  // `step`: told of each step of a change as it ends, before the next one begins.
  explicit Sides(const Migration& m, const std::function<void(config::Config&)>& adjust = {},
                 std::function<void(const cutover::Progress&)> step = {}) {
    auto config = m.config();
    config.gates.stable_for = Millis(0);
    config.gates.oldest_transaction = Millis(60'000);
    config.verify.every = std::chrono::hours(1);
    if (adjust) adjust(config);
    migration_ = std::make_unique<cutover::Migration>(
        cutover::Migration::Options{std::move(config), {}, false, &stop_, nullptr, std::move(step)});
    thread_ = std::thread([this] {
      try {
        migration_->run();
      } catch (const Error& error) {
        error_ = error;
      }
      done_ = true;
    });
  }
  ~Sides() {
    stop_.raise();
    if (thread_.joinable()) thread_.join();
  }
  Sides(const Sides&) = delete;
  Sides& operator=(const Sides&) = delete;

  [[nodiscard]] cutover::Migration& migration() { return *migration_; }
  [[nodiscard]] stream::Status status() const { return migration_->status(); }

  void wait_for(const std::function<bool(const stream::Status&)>& holds, const std::string& what,
                Millis timeout = 60s) {
    if (eventually([&] { return done_ || holds(status()); }, timeout) && !done_) return;
    const auto now = status();
    throw std::runtime_error("not " + what + ": phase " + now.phase + ", " + now.last_error + " " +
                             now.sides.rollback_why + (error_ ? error_->describe() : ""));
  }
  void wait_until_streaming() {
    wait_for([](const auto& s) { return s.connected && !s.tables.empty() && all_stream(s); }, "streaming");
  }
  // Every row of every table, compared; what differs is a failed CHECK.
  bool verified() {
    auto& verifier = migration_->verifier();
    const auto id = verifier.begin({});
    eventually([&] { return verifier.result(id).done; }, 60s);
    const auto report = verifier.result(id);
    for (const auto& t : report.tables) {
      if (t.state == "done" && t.differences == 0) continue;
      WARN(t.table + ": " + t.state + " " + t.error + ", the target is " +
           status().sides.target.value_or("?"));
    }
    return report.clean();
  }
  cutover::Result change(cutover::Verb verb, cutover::Extent extent = cutover::Extent::real,
                         bool accept_loss = false) {
    auto& controller = migration_->controller();
    controller.ask({verb, extent, accept_loss});
    cutover::Controller::Watch watch;
    do watch = controller.watch(1'000'000, 200ms);
    while (watch.running);
    if (!watch.failed.empty()) throw std::runtime_error(watch.failed);
    for (const auto& step : watch.result->steps) {
      UNSCOPED_INFO(step.step << "  " << step.text << "  " << step.took_ms << " ms");
    }
    UNSCOPED_INFO(watch.result->message << " / " << watch.result->hint);
    return *watch.result;
  }
  // A gate may be shut for a moment, or a pause be over, on a busy machine: asked again, as an operator would.
  cutover::Result change_until_done(cutover::Verb verb) {
    cutover::Result result;
    for (int tries = 0; tries < 30; ++tries) {
      result = change(verb);
      if (result.outcome == cutover::Result::Outcome::done) return result;
      REQUIRE(result.outcome != cutover::Result::Outcome::in_doubt);
      std::this_thread::sleep_for(300ms);
    }
    FAIL(result.message);
    return result;
  }
  void catch_up(Sql& giver) {
    giver.exec("SELECT pg_logical_emit_message(true, 'test', 'catch up')");
    const auto end = Lsn::parse(giver.scalar("SELECT pg_current_wal_insert_lsn()::text"));
    wait_for([&](const auto& s) { return s.applied >= end->without_page_header(); }, "caught up");
  }

 private:
  static bool all_stream(const stream::Status& s) {
    return std::all_of(s.tables.begin(), s.tables.end(),
                       [](const auto& t) { return t.state == "streaming"; });
  }

  Interrupt stop_;
  std::unique_ptr<cutover::Migration> migration_;
  std::optional<Error> error_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace walign::test
