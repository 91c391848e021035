// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// run: the sidecar with its servers and its progress line, and what a service manager is told of it.
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>

#include "command.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/pulse.hpp"
#include "walign/service.hpp"
#include "walign/supervision.hpp"
#include "walign/systemd.hpp"

namespace walign::cli {

namespace {

struct RunOptions {
  std::string until_lsn;
  std::string until_time;
  bool until_caught_up = false;
  bool no_backfill = false;
};

std::uint64_t rows_done(const stream::Status& status) {
  std::uint64_t rows = 0;
  for (const auto& table : status.tables) {
    rows += table.books.decoded + static_cast<std::uint64_t>(table.rows_copied.value_or(0));
  }
  return rows;
}

// "backfilling 120000 of about 3000000 rows (4 %), 3 tables left".
std::string copying_text(const stream::Status& status) {
  std::int64_t copied = 0;
  std::int64_t estimated = 0;
  int left = 0;
  for (const auto& table : status.tables) {
    copied += table.rows_copied.value_or(0);
    estimated += table.rows_estimated.value_or(0);
    if (table.state != "streaming") ++left;
  }
  if (left == 0) return "";
  return cat("  copied ", count_text(static_cast<double>(copied)), " of about ",
             count_text(static_cast<double>(std::max(copied, estimated))), " rows, ", left,
             left == 1 ? " table left" : " tables left");
}

std::string progress_line(const stream::Status& status, double rows_per_second) {
  std::string line = status.phase;
  if (status.direction == "reverse") line += " (reverse)";
  if (status.paused) line += ", paused";
  if (!status.connected) {
    return line + (status.last_error.empty() ? "  connecting"
                                             : cat("  trying again after: ", one_line(status.last_error)));
  }
  line += copying_text(status);
  if (status.applied) line += cat("  applied ", *status.applied);
  if (status.lag_bytes) line += cat("  lag ", bytes_text(*status.lag_bytes));
  if (status.lag_seconds) line += cat(", ", seconds_text(*status.lag_seconds));
  line += cat("  ", count_text(rows_per_second), " rows/s");
  if (status.dead_letters.value_or(0) > 0) line += cat("  dead letters ", *status.dead_letters);
  return line;
}

// Shows where the sidecar is, and tells the service manager, until destroyed.
class ProgressThread {
 public:
  ProgressThread(const cutover::Migration& migration, const Interrupt& stop)
      : migration_(migration), stop_(stop), thread_([this] { loop(); }) {}
  ~ProgressThread() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  ProgressThread(const ProgressThread&) = delete;
  ProgressThread& operator=(const ProgressThread&) = delete;

 private:
  void loop() noexcept {
    try {
      // systemctl status has the line of now.
      obs::Progress progress(manager_.listens() ? kSeldom : kNowAndThen);
      std::string line;
      do {
        const auto status = migration_.status();
        line = progress_line(status, rate(status));
        progress.show(line);
        tell(status, line, stop_.raised());
      } while (!wait());
      tell(migration_.status(), line, true);
    } catch (const std::exception& error) {
      obs::warn("progress is not shown any more", {{"why", error.what()}});
    }
  }

  // Rows per second, of about the last two seconds. What a connection finds done already was not done just now.
  double rate(const stream::Status& status) {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - since_).count();
    const std::uint64_t rows = rows_done(status);
    const bool comparable = std::exchange(connected_, status.connected) && status.connected && rows >= rows_;
    if (seconds > 0) rate_ += ((comparable ? static_cast<double>(rows - rows_) / seconds : 0) - rate_) / 4;
    rows_ = rows;
    since_ = now;
    return rate_;
  }

  void tell(const stream::Status& status, const std::string& line, bool stopping) {
    if (!manager_.listens()) return;
    const service::Supervision::Look look{service::started(status), stopping, Pulse::longest_silence(), line,
                                          std::chrono::steady_clock::now()};
    const auto lines = supervision_.say(look);
    if (!lines.empty() && manager_.tell(lines)) supervision_.said(lines, look);
  }

  // Whether it is time to end.
  bool wait() {
    std::unique_lock lock(mutex_);
    return wake_.wait_for(lock, every_, [this] { return done_; });
  }

  static constexpr std::chrono::seconds kNowAndThen{10}, kSeldom{60};

  const cutover::Migration& migration_;
  const Interrupt& stop_;
  const obs::ServiceManager manager_;
  service::Supervision supervision_{manager_.watchdog()};
  const std::chrono::microseconds every_ =
      std::min(std::chrono::microseconds(500'000), manager_.watchdog().value_or(std::chrono::hours(1)) / 4);
  double rate_ = 0;
  bool connected_ = false;
  std::uint64_t rows_ = 0;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;   // guarded by mutex_
  std::thread thread_;  // last: it uses all of the above
};

stream::Until until_of(const RunOptions& options) {
  stream::Until until;
  if (!options.until_lsn.empty()) until.lsn = parse_lsn(options.until_lsn);
  if (!options.until_time.empty()) until.time_us = parse_time(options.until_time);
  until.caught_up = options.until_caught_up;
  return until;
}

std::string position_text(const std::optional<Lsn>& lsn) { return lsn ? lsn->to_string() : "none"; }

int run(Context& context, const RunOptions& options) {
  cutover::Migration::Options wanted;
  wanted.until = until_of(options);
  wanted.config = context.load();
  const config::Config config = wanted.config;
  (void)service::ControlClient(config.state)
      .sidecar_runs();  // a path that cannot be one is refused before it is made
  std::signal(SIGPIPE, SIG_IGN);
  const Signals signals;
  obs::Metrics metrics;
  wanted.no_backfill = options.no_backfill;
  wanted.stop = &signals.interrupt();
  wanted.metrics = &metrics;
  cutover::Migration migration(std::move(wanted));  // holds the state directory from here on
  const auto handlers = service::handlers_of(migration, metrics, config);
  const service::ControlServer control(config.state, handlers);
  std::optional<service::HttpServer> http;
  if (!config.http.empty()) {
    http.emplace(config.http, handlers);
    obs::info("serving", {{"http", cat("http://", config.http, "/")}});
  }
  try {
    const ProgressThread progress(migration, signals.interrupt());
    migration.run();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::interrupted) throw;
    obs::info("stopped; `walign run` goes on from here",
              {{"lsn", position_text(migration.status().applied)}});
    return exit_status(error.kind());
  }
  obs::info("stopped where it was asked to", {{"lsn", position_text(migration.status().applied)}});
  return 0;
}

}  // namespace

void add_run(CLI::App& parent, Context& context) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = add_command(
      parent, context, "run",
      "The sidecar: set up what is missing, copy old rows, stream, go on from where it was.",
      "walign run                                     until stopped (Ctrl-C, SIGTERM)\n"
      "  walign run --until-caught-up                   all that the source has now, then exit 0\n"
      "  walign run --until-lsn 16/B374D848             transactions that commit below it, no other\n"
      "  walign run --until-time 2026-01-31T12:00:00Z   transactions committed up to then",
      options, run);
  auto* lsn =
      command->add_option("--until-lsn", options->until_lsn, "stop before the first commit at or above LSN");
  lsn->type_name("LSN");
  auto* time =
      command->add_option("--until-time", options->until_time,
                          "stop before the first commit after TIME (ISO 8601; UTC unless it has a zone)");
  time->type_name("TIME")->excludes(lsn);
  command
      ->add_flag("--until-caught-up", options->until_caught_up,
                 "stop where the source's WAL ends when old rows are copied")
      ->excludes(lsn)
      ->excludes(time);
  command->add_flag("--no-backfill", options->no_backfill, "the target has the rows already; only stream");
}

}  // namespace walign::cli
