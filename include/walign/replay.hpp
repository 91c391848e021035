// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// replay: recorded transactions into a target, or into nothing. A part of module stream: the same applier, without a
// slot and without anything beside it.
//
//   capture or journal ──> source::Source ──> decode, assemble ──> [target: apply, with its position] or counted
//
// Invariants
//  1. The target has a position of its own for replays, in walign.stream under the name of the migration's stream with
//     _replay behind it. What ends at or below it is passed over, so that replaying any stretch again changes nothing.
//  2. What would leave a hole behind that position, or comes from another source, is Error(precondition).
//
// The target's rows are the caller's to see to: as they were where the first replay begins.
//
// Threads: the caller's.
#pragma once

#include "walign/stream.hpp"

namespace walign::stream {

struct ReplayDone {
  std::uint64_t transactions = 0;
  std::uint64_t changes = 0;
  std::uint64_t bytes = 0;  // of values
  double seconds = 0;
  Lsn position;  // everything below it is done
};

// What goes wrong on purpose, for a test harness, once, when the source has given so many parts of transactions and
// positions.
struct Fault {
  enum class Kind {
    drop,      // the connection is lost, and made again
    repeat,    // the same, and the source begins where the replay began
    truncate,  // nothing more comes, also in the middle of a transaction
  };
  Kind kind = Kind::drop;
  std::uint64_t after = 0;
};

// What the source and its tables were like, from a position on.
struct RecordedSource {
  Lsn from;
  std::uint32_t version = 0;  // 150013
  std::string encoding;
  v1::SourceCatalog catalog;
};

struct Replay {
  // Gives what commits at `from` or above; 0: from the beginning. Called again where it must be read again.
  std::function<std::unique_ptr<source::Source>(Lsn from)> open;
  Lsn from;               // where it begins at the earliest
  Lsn until;              // before the first commit at or above it; 0: to the end
  std::string system_id;  // whose transactions they are
  std::uint32_t timeline = 0;
  std::string database;
  std::string slot;
  std::vector<RecordedSource> recorded;             // by position; empty: the server of `source:` is asked
  std::optional<Fault> fault;                       // only into a target
  const Interrupt* stop = nullptr;                  // must be given; stopping throws Error(interrupted)
  std::function<void(const ReplayDone&)> progress;  // now and then; may be empty
};

// Decodes and counts.
ReplayDone replay_into_nothing(const Replay& replay);
// Through the configuration's mapping into its target. What the source's tables are like is what was recorded; where
// the stream describes one otherwise, what was recorded another time. Refuses what a start of `run` would for the
// mapping.
ReplayDone replay_into_target(const Replay& replay, const config::Config& config);

}  // namespace walign::stream
