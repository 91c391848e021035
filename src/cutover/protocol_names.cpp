// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "protocol.hpp"

namespace walign::cutover {

const char* name(Step step) {
  switch (step) {
    case Step::gate: return "gate";
    case Step::before_fence: return "before_fence";
    case Step::raise: return "raise";
    case Step::fencing: return "fencing";
    case Step::tables: return "tables";
    case Step::drain: return "drain";
    case Step::prove: return "prove";
    case Step::sequences: return "sequences";
    case Step::before_open: return "before_open";
    case Step::hold: return "hold";
    case Step::seal: return "seal";
    case Step::freeze: return "freeze";
    case Step::open: return "open";
    case Step::switch_over: return "switch";
    case Step::abort: return "abort";
    case Step::reopen: return "reopen";
  }
  return "?";
}

const char* name(RowState state) {
  switch (state) {
    case RowState::open: return "OPEN";
    case RowState::fencing: return "FENCING";
    case RowState::fenced: return "FENCED";
    case RowState::sealed: return "SEALED";
    case RowState::closed: return "CLOSED";
    case RowState::aborted: return "ABORTED";
  }
  return "?";
}

const char* name(Side side) { return side == Side::source ? "source" : "target"; }

const char* name(Why why) {
  switch (why) {
    case Why::displaced: return "a newer instance has taken over";
    case Why::implausible: return "no step leads to these two rows";
    case Why::no_row: return "a side has no row";
    case Why::new_timeline: return "a server is on another timeline";
    case Why::unreachable: return "a server cannot be reached";
  }
  return "?";
}

}  // namespace walign::cutover
