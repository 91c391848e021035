// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <mutex>

#include "obs/escape.hpp"
#include "obs/log.hpp"
#include "obs/terminal.hpp"
#include "walign/systemd.hpp"

namespace walign::obs {

namespace {

// Faster than anyone reads, slow enough for a terminal at the other end of a poor line.
constexpr auto kRedrawEvery = std::chrono::milliseconds(50);

void write_now(const std::string& line) {
  if (Terminal::can_redraw()) {
    Terminal::stderr_terminal().draw(line);
  } else if (log_format() == LogFormat::json || stderr_is_journal()) {
    info(line);
  } else {
    Terminal::stderr_terminal().write_line(cat(line, '\n'));
  }
}

}  // namespace

struct Progress::State {
  using Time = std::chrono::steady_clock::time_point;

  explicit State(std::chrono::milliseconds every) : line_every(every) {}

  const std::chrono::milliseconds line_every;
  std::mutex mutex;
  // Guarded by mutex.
  std::string last;
  bool last_is_written = true;
  std::optional<Time> written_at;

  void show(const std::string& line) {
    const std::lock_guard lock(mutex);
    if (written_at && line == last) return;
    last = line;
    last_is_written = false;
    const auto every = Terminal::can_redraw() ? kRedrawEvery : line_every;
    const auto now = std::chrono::steady_clock::now();
    if (written_at && now - *written_at < every) return;
    written_at = now;
    write_last();
  }
  void write_last() {
    if (last_is_written) return;
    write_now(last);
    last_is_written = true;
  }
};

Progress::Progress(std::chrono::milliseconds line_every) : state_(std::make_unique<State>(line_every)) {}

Progress::~Progress() {
  const std::lock_guard lock(state_->mutex);
  state_->write_last();
  Terminal::stderr_terminal().end_drawing();
}

void Progress::show(const std::string& line) { state_->show(escape_text(line)); }

}  // namespace walign::obs
