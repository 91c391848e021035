// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The last minutes, bounded in memory: what the chart of a page that was just opened begins with, and the rates that a
// single status cannot tell. Pure; times are given.
#pragma once

#include <deque>

#include "walign/service.hpp"

namespace walign::service {

class History {
 public:
  static constexpr std::int64_t kSampleEveryUs = 2'000'000;
  static constexpr std::size_t kSamples = 450;           // 15 minutes
  static constexpr std::int64_t kWindowUs = 30'000'000;  // rates are of the last 30 seconds
  static constexpr std::size_t kLooks = 256;             // more often than that nobody looks

  struct Sample {
    std::int64_t at_us = 0;
    std::optional<std::int64_t> lag_bytes;
    std::optional<double> lag_seconds;
    std::optional<double> rows_per_second;
  };

  // `safe_bytes`: Handlers::slot_safe_bytes.
  void look(const stream::Status& status, double safe_bytes, std::int64_t now_us);
  // The rates as of the last look; nothing where they cannot be told yet.
  void tell(Outlook& outlook) const;
  [[nodiscard]] const std::deque<Sample>& samples() const { return samples_; }

 private:
  struct Look {
    std::int64_t at_us = 0;
    std::string direction;
    std::vector<std::optional<std::int64_t>> copied;  // of tables that are being copied
    std::optional<std::uint64_t> decoded;             // nothing while not connected
    std::optional<Lsn> source_lsn;
    std::optional<double> safe_bytes;  // where it is finite
    std::optional<bool> limited;
  };
  [[nodiscard]] bool comparable(const Look& a, const Look& b) const;

  std::deque<Look> looks_;
  std::deque<Sample> samples_;
};

}  // namespace walign::service
