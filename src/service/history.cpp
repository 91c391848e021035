// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "history.hpp"

#include <cmath>

namespace walign::service {

namespace {

constexpr double kMicros = 1e6;

std::optional<double> per_second(double from, double to, double seconds) {
  if (seconds < 1 || to < from) return std::nullopt;
  return (to - from) / seconds;
}

}  // namespace

// The other direction has other tables, and positions of another server.
bool History::comparable(const Look& a, const Look& b) const {
  return a.direction == b.direction && a.copied.size() == b.copied.size() && a.at_us < b.at_us;
}

void History::look(const stream::Status& status, double safe_bytes, std::int64_t now_us) {
  Look now;
  now.at_us = now_us;
  now.direction = status.direction;
  std::uint64_t decoded = 0;
  for (const auto& table : status.tables) {
    now.copied.push_back(table.state == "backfilling" ? table.rows_copied : std::nullopt);
    decoded += table.books.decoded;
  }
  if (status.connected) now.decoded = decoded;
  now.source_lsn = status.source_lsn;
  if (std::isfinite(safe_bytes)) now.safe_bytes = safe_bytes;
  if (!std::isnan(safe_bytes)) now.limited = std::isfinite(safe_bytes);
  // A clock that was put back, another direction, a table more: what was before says nothing any more.
  if (!looks_.empty() && !comparable(looks_.back(), now)) looks_.clear();
  looks_.push_back(std::move(now));
  while (looks_.size() > kLooks || looks_.front().at_us < now_us - kWindowUs) looks_.pop_front();
  if (!samples_.empty() && samples_.back().at_us > now_us) samples_.clear();
  if (!samples_.empty() && samples_.back().at_us + kSampleEveryUs > now_us) return;
  Outlook rates;
  tell(rates);
  samples_.push_back({now_us, status.lag_bytes, status.lag_seconds, rates.rows_per_second});
  if (samples_.size() > kSamples) samples_.pop_front();
}

void History::tell(Outlook& outlook) const {
  if (looks_.empty()) return;
  const Look& first = looks_.front();
  const Look& last = looks_.back();
  const double seconds = static_cast<double>(last.at_us - first.at_us) / kMicros;
  outlook.slot_safe_bytes = last.safe_bytes;
  outlook.slot_is_limited = last.limited;
  outlook.copied_per_second.assign(last.copied.size(), std::nullopt);
  for (std::size_t i = 0; i < last.copied.size(); ++i) {
    if (!first.copied[i] || !last.copied[i]) continue;
    outlook.copied_per_second[i] =
        per_second(static_cast<double>(*first.copied[i]), static_cast<double>(*last.copied[i]), seconds);
  }
  if (first.decoded && last.decoded) {
    outlook.rows_per_second =
        per_second(static_cast<double>(*first.decoded), static_cast<double>(*last.decoded), seconds);
  }
  if (first.source_lsn && last.source_lsn) {
    outlook.wal_bytes_per_second = per_second(static_cast<double>(first.source_lsn->value),
                                              static_cast<double>(last.source_lsn->value), seconds);
  }
  if (first.safe_bytes && last.safe_bytes && seconds >= 1) {
    const double shrinks = (*first.safe_bytes - *last.safe_bytes) / seconds;
    if (shrinks > 0) outlook.slot_seconds_left = std::max(0.0, *last.safe_bytes / shrinks);
  }
}

}  // namespace walign::service
