// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The cutover's protocol, pure: what one instance of walign knows, what it does next, and what follows from what
// comes of it. No server, no clock, no thread in here; driver.hpp does what action() says and tells step() what
// came of it. test/sim/cutover_test.cpp drives two instances of this same code through every interleaving.
//
//   phase ──action()──> [driver does it] ──fact──> step() ──> phase
//
// Invariants (the simulation breaks when one is taken away)
//  1. A row is changed only by a compare-and-set on what this instance last read or wrote there (record.hpp).
//  2. An attempt has an epoch of its own: highest of both rows + 1, written to the taker first.
//  3. Nothing is concluded from a lost answer: both rows are read again, FOR UPDATE.
//  4. Backing out aborts the taker first, then reopens the giver.
//  5. The giver is sealed while the taker's row is locked, CLOSED at this epoch, at or past the fence LSN; the taker
//     is opened in that same transaction, and only after the seal.
//
// The rows are on two servers and cannot be read at one moment: they are read source, target, source, and again
// until the first and the last agree. No (epoch, state) of a row ever comes back, so the pair was true when the
// second was read.
//
// A rollback is the same with the sides exchanged: nothing below knows more than giver and taker.
#pragma once

#include <array>
#include <initializer_list>
#include <variant>

#include "record.hpp"

namespace walign::cutover {

// ------------------------------------------------------------------------------------------ what is known

// What a compare-and-set compares, beside the owner.
struct RowKey {
  std::uint64_t epoch = 0;
  RowState state = RowState::closed;
  bool operator==(const RowKey&) const = default;
};
struct Rows {
  RowKey source, target;
  [[nodiscard]] RowKey& at(Side side) { return side == Side::source ? source : target; }
  [[nodiscard]] const RowKey& at(Side side) const { return side == Side::source ? source : target; }
  bool operator==(const Rows&) const = default;
};
struct Attempt {
  Side giver = Side::source;
  std::uint64_t epoch = 0;
  Rows rows;               // as last read, or written by us
  std::size_t tables = 1;  // how many are fenced, one by one
  bool operator==(const Attempt&) const = default;
};

// --------------------------------------------------------------------------------------------- the steps

enum class Step : std::uint8_t {
  gate,
  before_fence,
  raise,
  fencing,
  tables,
  drain,
  prove,
  sequences,
  before_open,
  hold,
  seal,
  freeze,
  open,
  switch_over,
  abort,
  reopen
};
inline constexpr std::size_t kStepCount = 16;
const char* name(Step step);
const char* name(RowState state);
const char* name(Side side);

// What comes after a step.
struct Then {
  enum class Kind : std::uint8_t {
    go,          // to `step`, passing over steps whose row is there already
    look,        // read both rows; after_restart() says what follows
    rest,        // nothing was written in this attempt: stream on
    impossible,  // this cannot come of that step
  };
  Kind kind = Kind::impossible;
  Step step = Step::gate;
};
inline constexpr Then kLook{Then::Kind::look, {}};
inline constexpr Then kRest{Then::Kind::rest, {}};
inline constexpr Then kNever{Then::Kind::impossible, {}};
constexpr Then go(Step step) { return {Then::Kind::go, step}; }

enum class Which : std::uint8_t { none, giver, taker };

class States {
 public:
  constexpr States(std::initializer_list<RowState> states) {
    for (const auto s : states) bits_ |= 1U << static_cast<unsigned>(s);
  }
  [[nodiscard]] constexpr bool has(RowState s) const { return (bits_ >> static_cast<unsigned>(s) & 1U) != 0; }

 private:
  unsigned bits_ = 0;
};

struct StepRow {
  Step step;
  Which row;  // whose row it locks
  States
      finds;  // the states it may be known to have; the compare-and-set demands the known one, and its epoch
  States writes;   // the state it gets (epoch: the attempt's), if any
  Then done;       // it was done
  Then refused;    // the row is not as known; a gate does not hold; a proof or a hook failed
  Then no_answer;  // the answer was lost: done or not, now or later
  Then given_up;   // out of time, or cancelled, before anything was sent
};
using StepTable = std::array<StepRow, kStepCount>;

// CUTOVER.md's steps. A row is held (locked in an open transaction) from `hold` until `open` commits, or until
// anything else comes next.
//
//  gate          the gates, each with its figure. Nothing is written
//  before_fence  the operator's hook
//  raise         begins the attempt: (highest epoch + 1, CLOSED), fence_lsn NULL; its closing triggers are there
//  fencing       (epoch, FENCING) with a lease, which is never renewed: max_pause is shorter
//  tables        one short transaction per table: row locked, found FENCING at the epoch, table locked, triggers.
//                The last sets FENCED and emits the marker: its commit is the fence LSN
//  drain         until the taker's row has the fence LSN, and the position there is at or past it and flushed
//  prove         dirty keys, catalog fingerprints, the gates again
//  sequences     greatest of both + margin; may be repeated
//  before_open   the operator's hook: smoke test
//  hold          the taker's row locked, found CLOSED at the epoch, position at or past the fence LSN, all checks
//  seal          (epoch, SEALED), flushed; no lease from here on
//  freeze        apply towards the taker stops; the giver's connected standbys have the seal, whoever sealed it
//  open          (epoch, OPEN) where the position is at or past the fence LSN, in one statement; marker; COMMIT.
//                The point of no return
//  switch_over   the operator's hook; may run twice. Failed: cut over all the same, exit 7
//  abort         (epoch, ABORTED): from here `open` can no longer win
//  reopen        (epoch, OPEN)
constexpr StepTable steps_of_cutover() {
  using S = Step;
  using R = RowState;
  using enum Which;
  constexpr Then rest = kRest, look = kLook, never = kNever, back = go(S::abort);
  // clang-format off
  return {{
    // step           row    finds                               writes        done           refused/no answer/given up
    {S::gate,         none,  {},                                 {},           go(S::before_fence), rest, rest, rest},
    {S::before_fence, none,  {},                                 {},           go(S::raise),        rest, rest, rest},
    {S::raise,        taker, {R::closed, R::aborted, R::sealed}, {R::closed},  go(S::fencing),      look, look, rest},
    {S::fencing,      giver, {R::open},                          {R::fencing}, go(S::tables),       look, look, look},
    {S::tables,       giver, {R::fencing},                       {R::fenced},  go(S::drain),        look, look, back},
    {S::drain,        none,  {},                                 {},           go(S::prove),        back, look, back},
    {S::prove,        none,  {},                                 {},           go(S::sequences),    back, look, back},
    {S::sequences,    none,  {},                                 {},           go(S::before_open),  back, look, back},
    {S::before_open,  none,  {},                                 {},           go(S::hold),         back, look, back},
    {S::hold,         taker, {R::closed},                        {},           go(S::seal),         look, look, back},
    {S::seal,         giver, {R::fenced},                        {R::sealed},  go(S::freeze),       look, look, back},
    {S::freeze,       none,  {},                                 {},           go(S::open),         back, look, back},
    {S::open,         taker, {R::closed},                        {R::open},    go(S::switch_over),  look, look, back},
    {S::switch_over,  none,  {},                                 {},           rest,                rest, rest, rest},
    {S::abort,        taker, {R::closed},                        {R::aborted}, go(S::reopen),       look, look, never},
    {S::reopen,       giver, {R::fencing, R::fenced, R::sealed}, {R::open},    rest,                look, look, never},
  }};
  // clang-format on
}
inline constexpr StepTable kSteps = steps_of_cutover();

constexpr const StepRow& row_of(const StepTable& table, Step step) {
  return table[static_cast<std::size_t>(step)];
}
constexpr bool holds_taker(Step step) {
  return step == Step::seal || step == Step::freeze || step == Step::open;
}

// --------------------------------------------------------------------------------------- after a restart

enum class Way : std::uint8_t {
  stream,       // from the giver, which is open
  reopen,       // the giver: the attempt is dead, or its taker aborted
  back_out,     // abort the taker, then reopen the giver
  drain,        // go on with the attempt, from the drain
  switch_over,  // it is done but for the hook
  stop,         // no protocol leads here: a human must look
};
enum class Epochs : std::uint8_t { any, same, taker_higher, taker_not_lower };
struct RestartRow {
  States giver;
  States taker;
  Epochs epochs;
  Way in_time;   // there is still time in this attempt
  Way too_late;  // out of time, cancelled, or `recover`, which has nobody to drain
};
constexpr std::array<RestartRow, 7> ways_after_restart() {
  using R = RowState;
  using W = Way;
  using enum Epochs;
  // clang-format off
  return {{
    // giver                             taker                    epochs           in time         too late
    {{R::open},                          {R::closed, R::aborted}, any,             W::stream,      W::stream},
    {{R::sealed},                        {R::open},               same,            W::switch_over, W::switch_over},
    {{R::fencing, R::fenced, R::sealed}, {R::aborted},            taker_not_lower, W::reopen,      W::reopen},
    {{R::fencing, R::fenced, R::sealed}, {R::closed},             taker_higher,    W::reopen,      W::reopen},
    {{R::fencing},                       {R::closed},             same,            W::back_out,    W::back_out},
    {{R::fenced},                        {R::closed},             same,            W::drain,       W::back_out},
    {{R::sealed},                        {R::closed},             same,            W::drain,       W::back_out},
  }};
  // clang-format on
}
inline constexpr std::array<RestartRow, 7> kAfterRestart = ways_after_restart();

struct Restart {
  Way way = Way::stop;
  Side giver = Side::source;
};
// What follows from both rows, whichever side gives. No two rows of the table fit one pair (a test has them all).
Restart after_restart(const Rows& rows, bool in_time);

// -------------------------------------------------------------------------------------------- the phases

enum class Why : std::uint8_t {
  displaced,     // a newer instance has taken over
  implausible,   // after_restart() says stop
  no_row,        // a side has no row: nothing was prepared here, or it was removed
  new_timeline,  // a server was promoted or restored: what it holds proves nothing
  unreachable,   // a server, for longer than we wait
};
const char* name(Why why);

namespace phase {
struct Looking {
  std::optional<RowKey> source, target;  // read so far
  bool operator==(const Looking&) const = default;
};
struct Streaming {  // at rest, from an open giver
  Side giver = Side::source;
  Rows rows;
  bool operator==(const Streaming&) const = default;
};
struct Trying {  // any step but `tables`
  Step step = Step::gate;
  Attempt attempt;
  bool operator==(const Trying&) const = default;
};
struct FencingTable {
  Attempt attempt;
  std::size_t table = 0;  // of attempt.tables
  bool operator==(const FencingTable&) const = default;
};
struct Alone {  // a human has said that the other server is gone for ever
  Side left = Side::source;
  std::optional<RowKey> row;  // read
  bool operator==(const Alone&) const = default;
};
struct AloneOpen {
  Side left = Side::source;
  RowKey row;
  bool operator==(const AloneOpen&) const = default;
};
struct Stopped {
  Why why = Why::implausible;
  bool operator==(const Stopped&) const = default;
};
}  // namespace phase
using Phase = std::variant<phase::Looking, phase::Streaming, phase::Trying, phase::FencingTable, phase::Alone,
                           phase::AloneOpen, phase::Stopped>;

// --------------------------------------------------------------------------------------------- the facts

namespace fact {
struct Asked {  // for a cutover (giver: source) or a rollback (giver: target)
  Side giver = Side::source;
  std::size_t tables = 1;
};
struct LookAgain {};  // from rest: a row may have changed
struct RowIs {
  RowKey row;
  bool newer_owner = false;  // than this instance
  bool in_time = true;       // the clock's verdict, and nobody has cancelled
};
struct NoRow {};
struct NewTimeline {};
struct Done {};
struct Refused {};
struct NoAnswer {};
struct GivenUp {};  // also: a server cannot be reached for longer than we wait
struct HumanSays {  // that this side's server is gone for ever
  Side gone = Side::source;
};
}  // namespace fact
using Fact = std::variant<fact::Asked, fact::LookAgain, fact::RowIs, fact::NoRow, fact::NewTimeline,
                          fact::Done, fact::Refused, fact::NoAnswer, fact::GivenUp, fact::HumanSays>;

// A fact that cannot come of a phase's action is Error(bug).
Phase step(const Phase& phase, const Fact& fact, const StepTable& table = kSteps);

// -------------------------------------------------------------------------------------------- the actions

namespace act {
struct ReadRow {  // FOR UPDATE, alone, and let go
  Side side = Side::source;
};
struct Stream {  // and wait until something is asked or changes
  Side giver = Side::source;
};
struct WriteRow {  // one compare-and-set
  Step step = Step::raise;
  Side side = Side::source;
  RowKey finds, writes;
};
struct FenceTable {  // finds (epoch, FENCING); the last writes FENCED and the marker
  Side side = Side::source;
  std::uint64_t epoch = 0;
  std::size_t table = 0;
  bool last = false;
};
struct Hold {
  Side side = Side::source;
  RowKey finds;
};
struct Work {  // a step that changes no row
  Step step = Step::gate;
  Attempt attempt;
};
struct OpenAlone {  // a compare-and-set that needs no other side
  Side side = Side::source;
  RowKey finds, writes;
};
struct Rest {  // alone, and open
  Side side = Side::source;
};
struct Stop {
  Why why = Why::implausible;
};
}  // namespace act
using Action = std::variant<act::ReadRow, act::Stream, act::WriteRow, act::FenceTable, act::Hold, act::Work,
                            act::OpenAlone, act::Rest, act::Stop>;

Action action(const Phase& phase, const StepTable& table = kSteps);

// Whether this instance's stream may apply in this phase, and whose changes.
enum class Flow : std::uint8_t { unchanged, none, from_source, from_target };
Flow flow(const Phase& phase);

// Whether the taker's row stays locked from the phase before.
bool keeps_hold(const Phase& phase);

}  // namespace walign::cutover
