// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "protocol.hpp"

namespace walign::cutover {

namespace {

using phase::FencingTable;
using phase::Looking;
using phase::Stopped;
using phase::Streaming;
using phase::Trying;

[[noreturn]] void cannot_come(const char* what) {
  throw Error(ErrorKind::bug, cat("cutover: ", what, " cannot come of this step"),
              "this is an error in walign: report it with the log");
}

Side side_of(Which which, Side giver) { return which == Which::giver ? giver : other(giver); }

Phase look() { return Looking{}; }

// A step whose row is where it leads already is passed over: an attempt that is taken up again after its seal.
Phase enter(Step step, const Attempt& attempt, const StepTable& table) {
  const StepRow& row = row_of(table, step);
  if (row.row != Which::none) {
    const RowKey& known = attempt.rows.at(side_of(row.row, attempt.giver));
    if (row.writes.has(known.state) && !row.finds.has(known.state)) {
      return row.done.kind == Then::Kind::go ? enter(row.done.step, attempt, table) : look();
    }
  }
  if (step == Step::tables) return FencingTable{attempt, 0};
  return Trying{step, attempt};
}

Phase follow(const Then& then, const Attempt& attempt, const StepTable& table) {
  switch (then.kind) {
    case Then::Kind::go: return enter(then.step, attempt, table);
    case Then::Kind::look: return look();
    case Then::Kind::rest: {
      const bool taken = attempt.rows.at(other(attempt.giver)).state == RowState::open;
      return Streaming{taken ? other(attempt.giver) : attempt.giver, attempt.rows};
    }
    case Then::Kind::impossible: break;
  }
  cannot_come("that");
}

// The row as a step leaves it.
std::optional<RowState> written(const StepRow& row) {
  for (const auto s : {RowState::open, RowState::fencing, RowState::fenced, RowState::sealed,
                       RowState::closed, RowState::aborted}) {
    if (row.writes.has(s)) return s;
  }
  return std::nullopt;
}

Phase after_step(Step step, const Attempt& attempt, const Fact& fact, const StepTable& table) {
  const StepRow& row = row_of(table, step);
  if (std::holds_alternative<fact::Refused>(fact)) return follow(row.refused, attempt, table);
  if (std::holds_alternative<fact::NoAnswer>(fact)) return follow(row.no_answer, attempt, table);
  if (std::holds_alternative<fact::GivenUp>(fact)) return follow(row.given_up, attempt, table);
  if (!std::holds_alternative<fact::Done>(fact)) cannot_come("that fact");
  Attempt after = attempt;
  if (const auto state = written(row)) {
    after.rows.at(side_of(row.row, attempt.giver)) = {attempt.epoch, *state};
  }
  return follow(row.done, after, table);
}

Phase take_up(const Rows& rows, bool in_time, const StepTable& table) {
  const Restart restart = after_restart(rows, in_time);
  const Attempt attempt{restart.giver, rows.at(restart.giver).epoch, rows, 1};
  switch (restart.way) {
    case Way::stream: return Streaming{restart.giver, rows};
    case Way::reopen: return enter(Step::reopen, attempt, table);
    // Where the table was given the other order (a test of the test), backing out begins as it says.
    case Way::back_out: return follow(row_of(table, Step::drain).given_up, attempt, table);
    case Way::drain: return enter(Step::drain, attempt, table);
    case Way::switch_over: return enter(Step::switch_over, attempt, table);
    case Way::stop: break;
  }
  return Stopped{Why::implausible};
}

struct Visitor {
  const Fact& fact;
  const StepTable& table;

  Phase operator()(const Looking& at) const {
    if (std::holds_alternative<fact::NoAnswer>(fact)) return look();
    if (std::holds_alternative<fact::GivenUp>(fact)) return Stopped{Why::unreachable};
    if (std::holds_alternative<fact::NoRow>(fact)) return Stopped{Why::no_row};
    if (std::holds_alternative<fact::NewTimeline>(fact)) return Stopped{Why::new_timeline};
    const auto* is = std::get_if<fact::RowIs>(&fact);
    if (is == nullptr) cannot_come("that fact");
    if (is->newer_owner) return Stopped{Why::displaced};
    if (!at.source) return Looking{is->row, std::nullopt};
    if (!at.target) return Looking{at.source, is->row};
    if (is->row != *at.source) return Looking{is->row, std::nullopt};
    return take_up({*at.source, *at.target}, is->in_time, table);
  }

  Phase operator()(const Streaming& at) const {
    if (std::holds_alternative<fact::LookAgain>(fact)) return look();
    const auto* asked = std::get_if<fact::Asked>(&fact);
    if (asked == nullptr) cannot_come("that fact");
    if (asked->giver != at.giver) return at;  // writes are on the other side already
    WALIGN_CHECK(asked->tables > 0);
    const std::uint64_t epoch = std::max(at.rows.source.epoch, at.rows.target.epoch) + 1;
    return enter(Step::gate, Attempt{at.giver, epoch, at.rows, asked->tables}, table);
  }

  Phase operator()(const Trying& at) const { return after_step(at.step, at.attempt, fact, table); }

  Phase operator()(const FencingTable& at) const {
    if (std::holds_alternative<fact::Done>(fact) && at.table + 1 < at.attempt.tables) {
      return FencingTable{at.attempt, at.table + 1};
    }
    return after_step(Step::tables, at.attempt, fact, table);
  }

  Phase operator()(const phase::Alone& at) const {
    if (std::holds_alternative<fact::NoAnswer>(fact)) return phase::Alone{at.left, std::nullopt};
    if (std::holds_alternative<fact::GivenUp>(fact)) return Stopped{Why::unreachable};
    if (std::holds_alternative<fact::NoRow>(fact)) return Stopped{Why::no_row};
    if (std::holds_alternative<fact::NewTimeline>(fact)) return Stopped{Why::new_timeline};
    const auto* is = std::get_if<fact::RowIs>(&fact);
    if (is == nullptr) cannot_come("that fact");
    if (is->newer_owner) return Stopped{Why::displaced};
    if (is->row.state == RowState::open) return phase::Alone{at.left, is->row};
    return phase::AloneOpen{at.left, is->row};
  }

  Phase operator()(const phase::AloneOpen& at) const {
    if (std::holds_alternative<fact::Done>(fact)) {
      return phase::Alone{at.left, RowKey{at.row.epoch + 1, RowState::open}};
    }
    return phase::Alone{at.left, std::nullopt};
  }

  Phase operator()(const Stopped& at) const {
    if (const auto* says = std::get_if<fact::HumanSays>(&fact)) {
      return phase::Alone{other(says->gone), std::nullopt};
    }
    if (std::holds_alternative<fact::LookAgain>(fact)) return look();
    return at;
  }
};

Action action_of_step(const Trying& at, const StepTable& table) {
  const StepRow& row = row_of(table, at.step);
  if (row.row == Which::none) return act::Work{at.step, at.attempt};
  const Side side = side_of(row.row, at.attempt.giver);
  const RowKey finds = at.attempt.rows.at(side);
  if (at.step == Step::hold) return act::Hold{side, finds};
  return act::WriteRow{at.step, side, finds, {at.attempt.epoch, *written(row)}};
}

}  // namespace

Restart after_restart(const Rows& rows, bool in_time) {
  for (const Side giver : {Side::source, Side::target}) {
    const RowKey& gives = rows.at(giver);
    const RowKey& takes = rows.at(other(giver));
    for (const RestartRow& row : kAfterRestart) {
      if (!row.giver.has(gives.state) || !row.taker.has(takes.state)) continue;
      const bool fits = row.epochs == Epochs::any ||
                        (row.epochs == Epochs::same && takes.epoch == gives.epoch) ||
                        (row.epochs == Epochs::taker_higher && takes.epoch > gives.epoch) ||
                        (row.epochs == Epochs::taker_not_lower && takes.epoch >= gives.epoch);
      if (fits) return {in_time ? row.in_time : row.too_late, giver};
    }
  }
  return {};
}

Phase step(const Phase& phase, const Fact& fact, const StepTable& table) {
  return std::visit(Visitor{fact, table}, phase);
}

Action action(const Phase& phase, const StepTable& table) {
  if (const auto* at = std::get_if<Looking>(&phase)) {
    return act::ReadRow{at->source && !at->target ? Side::target : Side::source};
  }
  if (const auto* at = std::get_if<Streaming>(&phase)) return act::Stream{at->giver};
  if (const auto* at = std::get_if<FencingTable>(&phase)) {
    return act::FenceTable{at->attempt.giver, at->attempt.epoch, at->table,
                           at->table + 1 == at->attempt.tables};
  }
  if (const auto* at = std::get_if<Trying>(&phase)) return action_of_step(*at, table);
  if (const auto* at = std::get_if<phase::Alone>(&phase)) {
    if (at->row) return act::Rest{at->left};
    return act::ReadRow{at->left};
  }
  if (const auto* at = std::get_if<phase::AloneOpen>(&phase)) {
    return act::OpenAlone{at->left, at->row, {at->row.epoch + 1, RowState::open}};
  }
  return act::Stop{std::get<Stopped>(phase).why};
}

Flow flow(const Phase& phase) {
  const auto from = [](Side side) { return side == Side::source ? Flow::from_source : Flow::from_target; };
  if (const auto* at = std::get_if<Streaming>(&phase)) return from(at->giver);
  if (const auto* at = std::get_if<FencingTable>(&phase)) return from(at->attempt.giver);
  if (const auto* at = std::get_if<Trying>(&phase)) {
    switch (at->step) {
      case Step::freeze:
      case Step::open:
      case Step::switch_over: return Flow::none;
      default: return from(at->attempt.giver);
    }
  }
  return std::holds_alternative<Looking>(phase) ? Flow::unchanged : Flow::none;
}

bool keeps_hold(const Phase& phase) {
  const auto* at = std::get_if<Trying>(&phase);
  return at != nullptr && holds_taker(at->step);
}

}  // namespace walign::cutover
