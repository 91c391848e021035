// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The loop's decisions, pure: when a run that has an end is there, when a keepalive's position is worth storing,
// how long to wait before the next try.
#pragma once

#include "walign/stream.hpp"

namespace walign::stream {

// Is the run over before this transaction? Commits that begin below the LSN, or were made up to the time, belong
// to it.
inline bool ends_before(const Until& until, Lsn commit_lsn, std::int64_t commit_time_us) {
  return (until.lsn && commit_lsn >= *until.lsn) || (until.time_us && commit_time_us > *until.time_us);
}

// Is it over now that everything below `progress` is applied?
inline bool ends_at(const Until& until, Lsn progress) { return until.lsn && progress >= *until.lsn; }

// A position without rows is written to the target seldom, and only where the WAL up to it is not just our own:
// on one server a stored position would move the next keepalive, for ever.
struct ProgressFacts {
  Lsn progress;  // the source's, everything below delivered
  Lsn stored;    // the target's row
  bool same_server = false;
  Lsn our_last_commit;  // on the target, which is the source's WAL too if same_server
  std::chrono::steady_clock::duration since_stored{};
};
// What a stored position leads to by itself: its commit, the flush of that, the server's snapshot of running
// transactions and its checkpoint's records. Never this much.
inline constexpr std::uint64_t kOwnEcho = std::uint64_t{64} << 10U;

inline bool worth_storing(const ProgressFacts& facts) {
  if (facts.progress <= facts.stored || facts.since_stored < std::chrono::seconds(10)) return false;
  return !facts.same_server ||
         facts.progress.value > std::max(facts.our_last_commit, facts.stored).value + kOwnEcho;
}

// How old the oldest WAL is that is not applied yet, by when it was seen first: looked at about once a second, which is
// how exact it is.
class LagAge {
 public:
  // The source's end of WAL, what is applied, and now (microseconds). Seconds.
  double look(Lsn source, Lsn applied, std::int64_t now_us) {
    while (!seen_.empty() && seen_.front().lsn <= applied) seen_.pop_front();
    if (source > applied && (seen_.empty() || source > seen_.back().lsn)) {
      // Of a long way behind, every other one is enough.
      if (seen_.size() >= kMost) thin();
      seen_.push_back({source, now_us});
    }
    return seen_.empty() ? 0 : static_cast<double>(now_us - seen_.front().at_us) / 1e6;
  }

 private:
  static constexpr std::size_t kMost = 1024;
  struct Seen {
    Lsn lsn;
    std::int64_t at_us;
  };
  void thin() {
    std::deque<Seen> kept;
    for (std::size_t i = 0; i < seen_.size(); i += 2) kept.push_back(seen_[i]);
    seen_ = std::move(kept);
  }
  std::deque<Seen> seen_;  // ascending
};

// 0.2 s, doubling, at most 15 s.
inline std::chrono::milliseconds retry_delay(int failures_in_a_row) {
  const int doublings = std::min(failures_in_a_row - 1, 7);
  return std::min(std::chrono::milliseconds(200 << std::max(doublings, 0)),
                  std::chrono::milliseconds(15'000));
}

}  // namespace walign::stream
