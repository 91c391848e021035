// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The stream's journal (walign/journal.hpp): what is received goes into it before its position may be acknowledged, and
// a target that went back in time is caught up from it. It lives as long as the sidecar; sessions come and go.
//
// The way back is not journalled: its target is the side that was left, which has the rows already.
//
// What is received while the other direction writes is not applied here, and nothing may be caught up across it: the
// journal is emptied then, and begins anew with the first transaction that is applied again.
//
// Threads: the loop's.
#pragma once

#include "walign/stream.hpp"

namespace walign::stream {

class Journalling {
 public:
  // `metrics` may be null.
  Journalling(const config::Config& config, obs::Metrics* metrics) : config_(config), metrics_(metrics) {}

  // What a start is decided with.
  std::optional<state::JournalFacts> facts();
  // The stream from `position`, the target's: from the journal what `start` says, then from the slot.
  std::unique_ptr<source::Source> open(const v1::Identity& whose, const state::Start& start, Lsn position,
                                       source::SlotOptions slot);

  // In the order of the stream, also what the target has already.
  void take(const event::TransactionPart& part);
  void passed(Lsn position);
  // The other direction has been writing.
  void clear();

  // On disk when it returns, all that was taken.
  void sync();
  // What it has.
  [[nodiscard]] state::JournalReach reach() const {
    return journal_ ? journal_->reach() : state::JournalReach();
  }
  // Nothing where it is empty.
  [[nodiscard]] std::optional<JournalStatus> status() const;
  // How far a saved position may be acknowledged.
  [[nodiscard]] Lsn acknowledgeable(Lsn saved) const;
  // Drops what is more than is to be kept; the target has everything below `durable`.
  void trim(Lsn durable);

 private:
  [[nodiscard]] bool empty() const { return !journal_ || !journal_->reach().from.valid(); }

  const config::Config& config_;
  obs::Metrics* const metrics_;
  std::unique_ptr<state::Journal> journal_;        // null: not opened yet, or the way back
  std::unique_ptr<source::JournalWriter> writer_;  // of this session
};

}  // namespace walign::stream
