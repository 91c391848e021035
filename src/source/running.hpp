// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Transactions that the stream brings before they have committed: kept, most of them in memory, until they do.
//
//   receiver  RunningPart ──> add ──> [more in memory than allowed] the largest one to the spill
//             RunningAborted ──> abort       RunningCommitted ──> commit ──> queue
//   consumer  Committed::next(): its parts, one by one, as if they came now
//
// Invariants
//  1. What comes out is what a stream without this would have brought: parts 0, 1, 2, ..., the last one marked, with
//     the whole header, without the changes of subtransactions that were rolled back.
//  2. Parts in memory take at most `memory_bytes`, and one part more; those of committed transactions that wait in
//     the queue count there.
//
// Threads: add, abort and commit on the receiver's; a Committed belongs to whoever took it out of the queue.
#pragma once

#include <map>
#include <set>

#include "walign/event.hpp"
#include "walign/spill.hpp"

namespace walign::source {

// A transaction that has committed, piece by piece.
class Committed {
 public:
  struct Piece {
    std::optional<event::TransactionPart> part;  // nullopt: it lies in the spill, under its index
    std::size_t memory_bytes = 0;
  };
  Committed(state::Spill& spill, std::uint64_t number) : spill_(spill), number_(number) {}
  ~Committed();
  Committed(const Committed&) = delete;
  Committed& operator=(const Committed&) = delete;

  // The next part; the last one is marked. Not to be called after it. Throws Error(storage).
  event::TransactionPart next();
  // Of what is in memory.
  [[nodiscard]] std::size_t memory_bytes() const { return memory_bytes_; }

 private:
  friend class RunningTransactions;
  event::TransactionPart take(std::size_t index);
  event::RelationPtr described(const v1::Relation& relation);

  state::Spill& spill_;
  const std::uint64_t number_;
  v1::Transaction header_;
  std::vector<Piece> pieces_;
  std::set<std::uint32_t> aborted_;
  bool spilled_ = false;
  std::size_t memory_bytes_ = 0;
  std::size_t next_ = 0;
  std::map<std::string, event::RelationPtr> relations_;  // of what was spilled, by their bytes: each once
};

class RunningTransactions {
 public:
  RunningTransactions(std::unique_ptr<state::Spill> spill, std::size_t memory_bytes)
      : spill_(std::move(spill)), most_bytes_(memory_bytes) {}

  void add(event::RunningPart running);
  void abort(const event::RunningAborted& aborted);
  std::unique_ptr<Committed> commit(const event::RunningCommitted& committed);
  [[nodiscard]] std::size_t memory_bytes() const { return memory_bytes_; }

 private:
  void spill_largest();

  std::unique_ptr<state::Spill> spill_;
  const std::size_t most_bytes_;
  std::map<std::uint32_t, std::unique_ptr<Committed>> running_;  // by xid; none of them committed yet
  std::uint64_t last_number_ = 0;
  std::size_t memory_bytes_ = 0;
};

}  // namespace walign::source
