// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// timeline: whether a stream may follow its source from one timeline to the next. A part of module state; pure.
//
//   timeline 1  ──────P────F──────┬──── what only the lost primary had
//   timeline 2                    └──S──────── the promoted standby
//
// A promotion begins a new timeline where the standby had received the old one to (S, the old one's end). Everything
// before it is common to both. So what was taken from the old timeline is right on the new one if it was taken before
// its end, and cannot be told from what was lost otherwise.
//
// Invariants
//  1. A stream crosses only where the target's position, the newest checkpoint, and the fence (F) of every chunk that
//     is on record lie at or below S: rows that the target has, and the snapshots that say which transactions they
//     include, are then of the common part. (An xid that is below a snapshot's end and not in its list was written to
//     WAL before its fence: the new primary does not give it out again.)
//  2. Never in the middle of a change of sides, never without the state directory, never to a lower timeline.
//  3. What a crossing does not ask: whether a slot is there that has what follows. decide_start() does.
#pragma once

#include "walign/state.hpp"

namespace walign::state {

struct TimelineEnd {
  std::uint32_t timeline = 0;
  Lsn end;  // where the next one began
};
// The timelines that a server's present one comes from, oldest first.
using TimelineHistory = std::vector<TimelineEnd>;

// What TIMELINE_HISTORY gives: lines of "timeline, tab, LSN, tab, reason"; blank ones and # comments are skipped.
// Error(malformed) for anything else.
TimelineHistory parse_timeline_history(std::string_view content);

// Rows of a table that were read from the source as of `fence`, the highest of its chunks.
struct CopiedTo {
  std::string route;
  Lsn fence;
};

struct Crossing {
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  Lsn end;  // of `from`
};

// Whether any record that the facts hold is of another timeline than the source's.
bool is_other_timeline(const StartFacts& facts);

// Where it is: the facts as decide_start() shall have them, which say the source's present timeline from now on and
// have no journal (it begins again; it may have what was lost). Throws Error(precondition) where the stream must not
// cross, with what was seen and how to begin again.
Crossing cross_timeline(StartFacts& facts, const TimelineHistory& history,
                        const std::vector<CopiedTo>& copied);

}  // namespace walign::state
