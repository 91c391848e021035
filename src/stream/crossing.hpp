// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A start that finds the source on another timeline: a standby was promoted. What decides is walign/timeline.hpp; here
// are the two servers' parts of it.
#pragma once

#include "servers.hpp"
#include "walign/timeline.hpp"

namespace walign::stream {

// Where the source is on another timeline than the stream was read from: the facts as they are to be decided on, or
// Error(precondition). Where they allow it, whoever wrote to the target before is ended, and the facts are looked at
// once more: what was on its way counts. Nothing but the stream's epoch is written. The way back does not cross.
std::optional<state::Crossing> cross(const config::Config& config, const std::vector<mapping::Route>& routes,
                                     state::StartFacts& facts, pg::Connection& target);

// On the target: the timeline of now, and no shapes of tables that were seen past the old one's end. Durable when it
// returns; what the state directory says comes after, so that a crash in between crosses again.
void note_crossing(pg::Connection& target, const std::string& stream, const state::Crossing& crossing);

}  // namespace walign::stream
