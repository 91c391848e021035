// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Whose turn it is, for one of the two streams: what it finds in its own stream, and in the row of the side that it
// writes to, decides; what the driver says can only make it rest.
//
//   applies   while the row has open_lsn (record.hpp)
//   listens   while it has not: passes transactions over, until the marker comes with which the other side was opened
//
// Invariants
//  1. The transaction that passes the marker notes open_lsn: a stream that is started again knows where it stands.
//  2. Nothing that the opposite stream has written (its transactions begin with its signature) is ever written back.
//  3. A stream that rests writes no row; when it goes on, it has read the row again.
#pragma once

#include "fence.hpp"
#include "walign/verify.hpp"

namespace walign::cutover {

// Both rows say OPEN: a human has opened a side alone while the other was alive.
inline constexpr const char* kBothOpen =
    "both sides take writes: one was opened by hand (walign.reopen, recover --gone) while the other was "
    "open. walign "
    "writes to neither";
inline constexpr const char* kBothOpenHint =
    "stop the application's writes to one of them at once, and bring over to the other by hand what was "
    "written "
    "there since (changed_at of its row in walign.fence); docs/cutover.md, \"Both sides are open\"";

// The logical message with which the transactions of a stream begin (apply::Options::signature).
std::string signature_of(const std::string& stream);

class Lane : public stream::Turn {
 public:
  // `writes_to`: the side; `opposite`: the stream in the other direction.
  Lane(FenceId writes_to, std::string stream, std::string opposite)
      : id_(std::move(writes_to)), stream_(std::move(stream)), opposite_(signature_of(opposite)) {}

  // ---- the loop's thread
  void begin(pg::Connection& target, const stream::Prepared& prepared, bool copies) override;
  [[nodiscard]] bool listening() const override { return listening_.load(); }
  Heard hear(const event::TransactionPart& part) override;
  Pause pause() override;

  // ---- any thread
  void halt(bool halt);
  // Waits until the loop rests; false if it does not in time.
  bool rests(std::chrono::milliseconds timeout);
  // Transactions with rows of mapped tables that came from a closed side, and were not ours; kept as dead letters.
  [[nodiscard]] std::int64_t breaches() const { return breaches_.load(); }

 private:
  void read_marker(const event::TransactionPart& part, Heard& heard);
  void keep_breach(const event::TransactionPart& part);
  [[nodiscard]] std::vector<apply::Extra> copied_again(const stream::Prepared& prepared) const;

  const FenceId id_;
  const std::string stream_;
  const std::string opposite_;
  std::atomic<bool> listening_{false};
  std::atomic<std::int64_t> breaches_{0};
  bool ours_ = false;                 // the transaction whose parts are coming
  std::vector<apply::Extra> breach_;  // of it
  std::vector<apply::Extra> again_;   // what makes the one_way tables pending again
  std::mutex mutex_;
  std::condition_variable changed_;
  bool halt_ = false;  // both: guarded by mutex_
  bool rests_ = false;
  std::uint64_t halts_ = 0;  // how often it was told to rest
  std::uint64_t begun_ = 0;  // of those, known to the last begin()
};

}  // namespace walign::cutover
