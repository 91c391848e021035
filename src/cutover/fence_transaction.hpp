// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One short transaction: synchronous_commit = on whatever the database or the role says, bounded waits, rolled back
// unless committed.
#pragma once

#include "fence.hpp"

namespace walign::cutover {

// The server ends a transaction that its client has stalled in (record.hpp, rule 4).
inline constexpr Millis kMaxIdle{5'000};

struct Waits {
  Millis lock{0};                // 0: without end
  Millis statement{0};           // 0: without end
  bool break_deadlocks = false;  // deadlock_timeout = 50 ms: autovacuum gives way, deadlocks end with us
};

class FenceTransaction {
 public:
  // `first`: statements to begin with, sent together with BEGIN.
  FenceTransaction(pg::Connection& server, const Waits& waits, const std::string& first = {});
  ~FenceTransaction();
  FenceTransaction(const FenceTransaction&) = delete;
  FenceTransaction& operator=(const FenceTransaction&) = delete;

  // Error(in_doubt) where the answer is lost. `last`: statements sent together with COMMIT.
  void commit(const std::string& doing, const std::string& last = {});
  void rollback();

 private:
  pg::Connection& server_;
  bool open_ = true;
};

// 0 where the connection went: what was committed before is no less committed.
Lsn end_of_wal(pg::Connection& server) noexcept;

// COMMIT, and what a lost answer to it means.
void commit_or_doubt(pg::Connection& server, const std::string& doing);

}  // namespace walign::cutover
