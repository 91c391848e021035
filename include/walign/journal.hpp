// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// journal: the transactions that the source sent, kept on disk by size and age. A part of module state; it knows
// positions, not what is in a transaction. It makes a saved position usable: a target that is older than what the slot
// still has is caught up from here.
//
//   DIRECTORY/journal/00000007.journal, 00000008.journal, ...    segments, as a capture's (walign/capture.hpp)
//
//   segment := magic block(JournalHeader) block(JournalBlock)*
//
//   [from ──── segment 7 ────)[──── segment 8 ────  to)      everything that committed in [from, to) is there, whole
//
// Files, not a column family: what is written once and dropped from its beginning would be written twice there (log and
// tables), and damage to it would take the checkpoints along.
//
// Invariants
//  1. No hole: a transaction is added in the order of the stream, behind all that came before it. Who has missed
//     something begins anew.
//  2. After sync() everything added before is on disk (fsync); durable_to() says up to where. Only then may its
//     position be acknowledged to the slot.
//  3. What is cut short at the end, by a kill or a lost connection, is a transaction that was not received whole: it is
//     cut off, and the source sends it again. Damage anywhere else is Error(storage) with file and offset.
//  4. Nothing is trimmed above the position that the target has durable; what is left has no hole.
//  5. A segment begins and ends between two transactions, and has the descriptions of the tables that it needs.
//
// Threads: an object belongs to one. A reader may run beside the writer, also in another process, and sees what was
// written when it was opened.
#pragma once

#include <map>
#include <memory>

#include "walign/base.hpp"
#include "walign/v1/journal.pb.h"

namespace walign::state {

// Everything that committed in [from, to) is in the journal; from is 0 where it is empty.
struct JournalReach {
  Lsn from;
  Lsn to;
  std::uint64_t bytes = 0;       // on disk
  std::int64_t began_at_us = 0;  // of the oldest segment
  [[nodiscard]] bool has(Lsn position) const { return from.valid() && from <= position && position <= to; }
};

struct JournalLimits {
  std::int64_t keep_bytes = std::int64_t{1} << 30U;
  std::chrono::milliseconds keep_for{86'400'000};
};

class Journal {
 public:
  // DIRECTORY is a state directory that this process holds. A journal of another source or slot is no use, and is
  // emptied; `note` is told of that and of what was cut off.
  static std::unique_ptr<Journal> open(const std::string& directory, const v1::JournalHeader& origin,
                                       JournalLimits limits, std::function<void(std::string)> note);
  virtual ~Journal() = default;

  // Everything that is whole, on disk or not yet.
  [[nodiscard]] virtual JournalReach reach() const = 0;
  [[nodiscard]] virtual Lsn durable_to() const = 0;

  // Empties it; what ends above `from` shall follow.
  virtual void begin(Lsn from) = 0;
  // Empties it; begin() comes first when something shall follow.
  virtual void clear() = 0;

  // Between two transactions: where a segment may end. Forgets what was not received whole.
  virtual void between() = 0;
  // The number of a description, good as long as numbering() is the same: between() may begin another.
  virtual std::uint32_t relation(const std::string& description) = 0;
  [[nodiscard]] virtual std::uint32_t numbering() const = 0;
  // The next part; its transaction begins at reach().to or above.
  virtual void add(v1::JournalPart part) = 0;
  // Everything that committed below was added. Between two transactions, as above.
  virtual void pass(Lsn position) = 0;
  virtual void sync() = 0;
  // Drops whole segments from the beginning that are more than what is to be kept.
  virtual void trim(Lsn target_durable, std::int64_t now_us) = 0;

 protected:
  Journal() = default;
};

// What there is, for whoever does not hold the state directory. Throws Error(storage).
JournalReach journal_reach(const std::string& directory);

class JournalReader {
 public:
  // Error(precondition), with what to do, where the journal does not have `from`.
  JournalReader(const std::string& directory, Lsn from);
  ~JournalReader();
  JournalReader(const JournalReader&) = delete;
  JournalReader& operator=(const JournalReader&) = delete;

  // The next part of a transaction that commits at `from` or above; borrowed until the next call. Null at the end, and
  // at the end only: incomplete transactions are not handed out.
  const v1::JournalPart* next();
  // By the number that the part has for it; borrowed as long as the part's segment is being read.
  [[nodiscard]] const std::string& relation(std::uint32_t number) const;
  [[nodiscard]] std::uint32_t segment() const;
  [[nodiscard]] const JournalReach& reach() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace walign::state
