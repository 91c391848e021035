// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Numbers of verifications. Each direction has a verifier of its own, and both count from one: what is given out here
// says which of them is meant, so that nobody is told the other's report. Any thread.
#pragma once

#include <map>
#include <mutex>

#include "walign/service.hpp"

namespace walign::service {

class Verifications {
 public:
  // `now`: the verifier of the direction that applies.
  explicit Verifications(std::function<verify::Verifier&()> now) : now_(std::move(now)) {}

  std::uint64_t begin(const verify::Request& request);
  // Error(precondition) for one of the other direction, or one that is not known any more.
  [[nodiscard]] verify::Report result(std::uint64_t number) const;

 private:
  struct Begun {
    const verify::Verifier* by = nullptr;  // compared only: it may be gone
    std::uint64_t id = 0;
  };
  const std::function<verify::Verifier&()> now_;
  mutable std::mutex mutex_;
  std::map<std::uint64_t, Begun> begun_;  // the newest few
  std::uint64_t last_ = 0;
};

}  // namespace walign::service
