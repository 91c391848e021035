// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The first steps of every session: what is there, what decide_start() makes of it, and doing that. Each step may
// be cut short by a crash; the next start finds it half done and goes on or does it again:
//
//   row in walign.stream, position 0  ->  publication  ->  slot  ->  position  ->  identity in the state directory
#pragma once

#include "servers.hpp"
#include "walign/timeline.hpp"

namespace walign::stream {

// What this program has made for a stream that has no position yet: taken away again when it gives up.
struct Made {
  bool row = false;
  bool publication = false;
  bool inserts_publication = false;
};

struct Begun {
  Prepared prepared;
  state::Start start;
  bool mapping_changed = false;
  std::optional<state::Crossing> crossing;   // the source failed over: the journal begins again
  std::vector<apply::RelationShape> shapes;  // of the mapped tables as `prepared` has them
  std::vector<apply::RelationShape> past;    // and every one that they were seen in
  Snapshot birth;  // of the slot's consistent point; empty (xmax 0) where the slot was brought
};

// Rows that were there before the slot.
enum class OldRows {
  refused,  // the tables must be empty
  brought,  // --no-backfill: the operator has seen to them
  copied,   // by a companion
};

// Throws Error(precondition) with every failed check, or what hinders the start; Error(transient) while another
// program is at it. `made` is remembered between attempts. `may_alter`: columns that were added to the source are added
// to the target, where the configuration says so. `journal`: what it has, if anything.
Begun begin(const config::Config& config, OldRows old_rows, state::Store& store, pg::Connection& source,
            pg::Connection& target, Made& made, bool may_alter,
            std::optional<state::JournalFacts> journal = std::nullopt);

// Throws Error(precondition) with the findings that fail, if there are any.
void refuse_failures(const Prepared& prepared);

}  // namespace walign::stream
