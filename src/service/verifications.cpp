// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "verifications.hpp"

namespace walign::service {

namespace {

constexpr std::size_t kKept = 64;  // more than a verifier keeps

}  // namespace

std::uint64_t Verifications::begin(const verify::Request& request) {
  verify::Verifier& verifier = now_();
  const Begun begun{&verifier, verifier.begin(request)};
  const std::lock_guard lock(mutex_);
  begun_.emplace(++last_, begun);
  if (begun_.size() > kKept) begun_.erase(begun_.begin());
  return last_;
}

verify::Report Verifications::result(std::uint64_t number) const {
  Begun begun;
  {
    const std::lock_guard lock(mutex_);
    const auto found = begun_.find(number);
    if (found != begun_.end()) begun = found->second;
  }
  if (begun.by == nullptr) {
    throw Error(ErrorKind::precondition, cat("there is no verification ", number),
                "only the newest few are kept; walign verify begins another");
  }
  verify::Verifier& verifier = now_();
  if (&verifier != begun.by) {
    throw Error(ErrorKind::precondition,
                cat("verification ", number, " has no result: the sides have changed meanwhile"),
                "walign verify compares them as they are now");
  }
  verify::Report report = verifier.result(begun.id);
  report.id = number;
  return report;
}

}  // namespace walign::service
