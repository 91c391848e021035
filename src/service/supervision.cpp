// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/supervision.hpp"

namespace walign::service {

namespace {

using Seconds = std::chrono::duration<double>;

constexpr Seconds kExtendEvery{5};
constexpr auto kExtendBy = std::chrono::microseconds(std::chrono::seconds(60));
constexpr Seconds kSilent{60};  // where no watchdog says how long is too long

// STATUS= is one line.
std::string in_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

// It works, or what hinders it goes away by itself; what a human must mend ends the process instead.
bool started(const stream::Status& status) { return status.connected || status.tries_again; }

// No silence: no loop runs yet, or it has ended.
bool alive(Silence silence, std::optional<std::chrono::microseconds> watchdog) {
  return !silence || *silence < (watchdog ? Seconds(*watchdog) / 2 : kSilent);
}

std::string Supervision::say(const Look& look) const {
  const auto due = [&](const std::optional<Time>& last, Seconds every) {
    return !last || look.now - *last >= every;
  };
  std::vector<std::string> lines;
  if (!ready_ && look.started) lines.emplace_back("READY=1");
  if (look.stopping && !stopping_) lines.emplace_back("STOPPING=1");
  if (status_ != look.line) lines.push_back(cat("STATUS=", in_one_line(look.line)));
  if (alive(look.silence, watchdog_)) {
    if (watchdog_ && due(fed_, Seconds(*watchdog_) / 4)) lines.emplace_back("WATCHDOG=1");
    // The slot waits for every transaction of the source's cluster, for as long as they take.
    const bool waits = !ready_ && !look.started && !look.stopping;
    if (waits && due(extended_, kExtendEvery)) {
      lines.push_back(cat("EXTEND_TIMEOUT_USEC=", kExtendBy.count()));
    }
  }
  return join(lines, "\n");
}

void Supervision::said(const std::string& lines, const Look& look) {
  const auto has = [&](const char* what) {
    return lines.starts_with(what) || lines.find(cat('\n', what)) != std::string::npos;
  };
  ready_ = ready_ || has("READY=1");
  stopping_ = stopping_ || has("STOPPING=1");
  if (has("STATUS=")) status_ = look.line;
  if (has("WATCHDOG=1")) fed_ = look.now;
  if (has("EXTEND_TIMEOUT_USEC=")) extended_ = look.now;
}

}  // namespace walign::service
