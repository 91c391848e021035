// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "observer.hpp"

#include <csignal>
#include <nlohmann/json.hpp>

#include "quiet.hpp"

namespace walign::service {

namespace {

constexpr std::chrono::milliseconds kEvery(1'000);
constexpr std::chrono::milliseconds kEveryInAChange(200);

template <class T>
nlohmann::json or_null(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

}  // namespace

void observe(Handlers& handlers) { handlers.observer = std::make_shared<Observer>(handlers); }

Observer::Observer(const Handlers& handlers)
    : status_(handlers.status),
      backfill_paused_(handlers.backfill_paused),
      gates_asked_at_us_(handlers.gates_asked_at_us),
      slot_safe_bytes_(handlers.slot_safe_bytes),
      change_(handlers.watch_change),
      newest_{0, nullptr} {
  const NoSignals quiet;
  thread_ = std::thread([this] { watch(); });
}

Observer::~Observer() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Observer::watch() noexcept {
  for (;;) {
    auto pause = kEvery;
    try {
      if (look()) pause = kEveryInAChange;
    } catch (const std::exception& error) {  // who asks for the status is told why there is none
      obs::debug("looking at the status", {{"why", error.what()}});
    }
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, pause, [this] { return done_; })) return;
  }
}

bool Observer::look() {
  const auto status = status_();
  const auto now = Clock::system().unix_micros();
  const double safe =
      slot_safe_bytes_ ? slot_safe_bytes_(status.direction) : std::numeric_limits<double>::quiet_NaN();
  {
    const std::lock_guard lock(mutex_);
    history_.look(status, safe, now);
  }
  const auto seen = outlook();
  auto text = std::make_shared<const std::string>(status_json(status, seen, -1));
  {
    const std::lock_guard lock(mutex_);
    newest_ = {newest_.number + 1, std::move(text)};
  }
  changed_.notify_all();
  return seen.change.running;
}

Outlook Observer::outlook() const {
  Outlook out;
  if (change_) out.change = change_(0, std::chrono::milliseconds(0));
  if (backfill_paused_) out.backfill_paused = backfill_paused_();
  if (gates_asked_at_us_) out.gates_asked_at_us = gates_asked_at_us_();
  out.now_us = Clock::system().unix_micros();
  const std::lock_guard lock(mutex_);
  history_.tell(out);
  return out;
}

std::string Observer::history_json() const {
  nlohmann::json samples = nlohmann::json::array();
  {
    const std::lock_guard lock(mutex_);
    for (const auto& s : history_.samples()) {
      samples.push_back(
          {s.at_us / 1000, or_null(s.lag_bytes), or_null(s.lag_seconds), or_null(s.rows_per_second)});
    }
  }
  const nlohmann::ordered_json out = {{"every_ms", History::kSampleEveryUs / 1000},
                                      {"columns", {"at_ms", "lag_bytes", "lag_seconds", "rows_per_second"}},
                                      {"samples", samples}};
  return out.dump() + "\n";
}

std::optional<Observer::Seen> Observer::after(std::uint64_t number, std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return done_ || newest_.number != number; });
  if (newest_.number == number || !newest_.status) return std::nullopt;
  return newest_;
}

}  // namespace walign::service
