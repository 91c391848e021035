// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// verify: both sides compared at one position of the source's WAL, while both run.
//
//   whole table   key range by key range: snapshot S of the source; at S's aligned moment a snapshot of the target;
//                 the two compared at leisure (src/verify/meeting.hpp says when the result counts)
//   what changed  the keys that the stream has brought changes of since they were last compared, some hundreds at a
//                 time, in the same way
//   being copied  the ranges that are loaded, where somebody asks; nothing of it is kept, and it proves nothing of the
//                 rest
//
// Where a table is only renamed, of equal types, and its key sorts equally on both sides, each server hashes its own
// rows and only hashes travel; where the hashes of a range differ, the rows of that range are looked at. Else the
// source's rows are brought to the target, mapped there by the very SQL that applies them, and joined by key; rows of
// the target that nothing claims are found at the end.
//
// Invariants
//  1. A result counts only if both sides were seen at the same moment of the stream, and the source has flushed it.
//  2. The keys of a transaction are on disk before the target has its rows: a kill of walign forgets none. Where that
//     cannot be known (the state directory lost, its machine crashed), the whole table counts as changed.
//  3. Both snapshots live for one range. Waiting for the stream holds no lock for longer than a few seconds.
//  4. Nothing that verification meets stops the stream.
//  5. Nothing is written to the source but a logical message, when it is idle or its WAL is slow to be flushed; to the
//     target only temporary tables.
//
// Differences are kept until the same rows are verified again: their number exactly, a thousand of them by key.
//
// Threads: one worker, with a connection to either server and one more to the source for that message, which must not
// end the transaction with the snapshot; requests and reports from any thread.
#pragma once

#include "walign/stream.hpp"

namespace walign::verify {

struct Request {
  std::vector<std::string> tables;  // by the source's name, the target's or "source -> target"; empty: all
  bool all = false;     // every row; else what changed since the last time (everything if there was none)
  bool repair = false;  // rows that differ are read again from the source
  std::vector<std::string> key;  // this row only, of the one table: its source key, a text for each column
};

struct TableReport {
  std::string table;  // Route::label()
  // comparing, done, failed; of a table that is being copied: partial (the rows that are there), skipped
  std::string state = "waiting";
  bool whole = false;     // every row was compared; of a partial one, every row that is there
  std::int64_t rows = 0;  // compared
  std::int64_t rows_estimated = 0;
  std::int64_t differences = 0;
  std::vector<v1::Difference> kept;  // at most a thousand of them
  std::int64_t violations = 0;       // of constraints that the target declares
  std::vector<std::string> notes;
  std::string error;          // failed, or what it waits for
  Lsn verified_at;            // of the source: what had changed up to here was compared
  std::int64_t repaired = 0;  // rows that are read again
};

struct Report {
  std::uint64_t id = 0;
  bool done = false;
  std::vector<TableReport> tables;
  [[nodiscard]] bool clean() const {
    return std::all_of(tables.begin(), tables.end(), [](const TableReport& t) {
      return t.state == "done" && t.differences == 0 && t.violations == 0;
    });
  }
};

class Verifier : public stream::Companion {
 public:
  // From any thread. Error(usage) for a table that is not in the mapping; Error(transient) before the first session.
  virtual std::uint64_t begin(const Request& request) = 0;
  // What was found equal so far counts no more: every table is dirty as a whole, on disk too. From any thread.
  virtual void distrust() = 0;
  // The newest few are kept. Error(precondition) for another.
  [[nodiscard]] virtual Report result(std::uint64_t id) const = 0;
  // Until it is done. Error(transient) where the time is over first.
  virtual Report await(std::uint64_t id, std::chrono::milliseconds timeout) = 0;
};

// `copier`: what rows that differ are given to (Companion::take_again); null: --repair is refused. Outlives this.
std::unique_ptr<Verifier> make(stream::Companion* copier);

}  // namespace walign::verify
