// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/pulse.hpp"

#include <set>

#include "walign/base.hpp"

namespace walign {

namespace {

struct All {
  std::mutex mutex;
  std::set<const Pulse*> pulses;  // guarded by mutex
};

All& all() {
  static All all;
  return all;
}

}  // namespace

Pulse::Pulse() : last_(now()) {
  WALIGN_CHECK(mine_ == nullptr);
  mine_ = this;
  const std::lock_guard lock(all().mutex);
  all().pulses.insert(this);
}

Pulse::~Pulse() {
  mine_ = nullptr;
  const std::lock_guard lock(all().mutex);
  all().pulses.erase(this);
}

std::optional<std::chrono::duration<double>> Pulse::longest_silence() {
  const std::lock_guard lock(all().mutex);
  std::optional<std::chrono::duration<double>> longest;
  for (const auto* pulse : all().pulses) {
    const Ticks silent(std::max<std::int64_t>(now() - pulse->last_.load(), 0));
    if (!longest || *longest < silent) longest = silent;
  }
  return longest;
}

}  // namespace walign
