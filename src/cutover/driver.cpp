// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "driver.hpp"

namespace walign::cutover {

namespace {

double ms_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

// What of it is printed: reads of rows are not.
std::optional<std::string> title(const Action& action) {
  if (const auto* a = std::get_if<act::WriteRow>(&action)) return name(a->step);
  if (const auto* a = std::get_if<act::FenceTable>(&action)) return cat("table ", a->table + 1);
  if (std::holds_alternative<act::Hold>(action)) return name(Step::hold);
  if (const auto* a = std::get_if<act::Work>(&action)) return name(a->step);
  if (std::holds_alternative<act::OpenAlone>(action)) return "open alone";
  return std::nullopt;
}

const char* what_came(const Fact& fact) {
  if (std::holds_alternative<fact::Done>(fact)) return "done";
  if (std::holds_alternative<fact::Refused>(fact)) return "refused";
  if (std::holds_alternative<fact::NoAnswer>(fact)) return "no answer";
  return "given up";
}

// The step whose line of the table counts, if there is one.
std::optional<Step> step_of(const Phase& phase) {
  if (const auto* at = std::get_if<phase::Trying>(&phase)) return at->step;
  if (std::holds_alternative<phase::FencingTable>(phase)) return Step::tables;
  return std::nullopt;
}

Fact fact_of(Answer::Kind kind) {
  switch (kind) {
    case Answer::Kind::done: return fact::Done{};
    case Answer::Kind::refused: return fact::Refused{};
    case Answer::Kind::no_answer: return fact::NoAnswer{};
    case Answer::Kind::given_up: return fact::GivenUp{};
  }
  return fact::NoAnswer{};
}

Answer::Kind kind_of(const Error& error) {
  switch (error.kind()) {
    case ErrorKind::in_doubt:
    case ErrorKind::connection: return Answer::Kind::no_answer;
    case ErrorKind::transient: return Answer::Kind::given_up;
    default: return Answer::Kind::refused;
  }
}

const char* hint_of(Why why) {
  switch (why) {
    case Why::displaced: return "walign status of the instance that took over says where it stands";
    case Why::no_row: return "is this the migration's server? walign preflight compares";
    case Why::unreachable:
      return "when it is back: walign recover. Should it be gone for ever: walign recover --gone "
             "source|target, "
             "which opens the side that is left";
    case Why::implausible:
    case Why::new_timeline:
      return "do not open anything by hand before you know which side has the newest writes: SELECT * FROM "
             "walign.fence on both, and compare";
  }
  return "";
}

}  // namespace

int exit_status(Result::Outcome outcome) {
  switch (outcome) {
    case Result::Outcome::done: return 0;
    case Result::Outcome::gate: return 3;
    case Result::Outcome::backed_out: return 5;
    case Result::Outcome::in_doubt: return 6;
    case Result::Outcome::hook_failed: return 7;
  }
  return 1;
}

Driver::Driver(Hands& hands, Timing timing, const Clock& clock, Pause pause, Tell tell,
               const std::atomic<bool>* cancelled)
    : hands_(hands),
      timing_(timing),
      clock_(clock),
      pause_(std::move(pause)),
      tell_(std::move(tell)),
      also_cancelled_(cancelled) {}

// ------------------------------------------------------------------------------------------------- time

Millis Driver::left() const {
  if (!pause_began_) return timing_.max_pause;
  const auto gone = std::chrono::duration_cast<Millis>(clock_.now() - *pause_began_);
  return std::max(Millis(0), timing_.max_pause - gone);
}

bool Driver::cancelled() const { return cancelled_ || (also_cancelled_ != nullptr && *also_cancelled_); }

bool Driver::in_time() const { return timing_.goes_on && !cancelled() && left() > Millis(0); }

std::optional<Fact> Driver::out_of_time() const {
  const auto step = step_of(phase_);
  if (!step || row_of(kSteps, *step).given_up.kind == Then::Kind::impossible) return std::nullopt;
  if (*step == Step::switch_over) return std::nullopt;
  const bool hurries = *step == Step::freeze || *step == Step::open;
  if (cancelled() || (left() == Millis(0) && !hurries)) return fact::GivenUp{};
  return std::nullopt;
}

// ------------------------------------------------------------------------------------------ doing it

Fact Driver::told(const Answer& answer) {
  if (answer.kind != Answer::Kind::done) why_ = answer.why;
  idle_ = answer.idle;
  const auto step = step_of(phase_);
  if (answer.kind == Answer::Kind::given_up &&
      (!step || row_of(kSteps, *step).given_up.kind == Then::Kind::impossible)) {
    return fact::NoAnswer{};  // what must be done is tried again, from the rows
  }
  return fact_of(answer.kind);
}

template <class Do>
Fact Driver::attempt(Do what) {
  try {
    return told(what());
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted || error.kind() == ErrorKind::bug) throw;
    return told({kind_of(error), error.message()});
  }
}

Fact Driver::read(Side side) {
  auto& since = unreachable_since_.at(static_cast<std::size_t>(side));
  RowRead read;
  try {
    read = hands_.read_row(side);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted || error.kind() == ErrorKind::bug) throw;
    read.why = error.message();
  }
  if (read.kind == RowRead::Kind::unreachable) {
    why_ = read.why;
    if (!since) since = clock_.now();
    if (clock_.now() - *since >= timing_.reach) return fact::GivenUp{};
    pause_(timing_.again);
    return fact::NoAnswer{};
  }
  since.reset();
  if (read.kind == RowRead::Kind::no_row) return fact::NoRow{};
  if (read.kind == RowRead::Kind::other_timeline) return fact::NewTimeline{};
  return fact::RowIs{{read.row.epoch, read.row.state}, read.row.owner > hands_.owner(), in_time()};
}

Fact Driver::act_on(const Action& action) {
  if (const auto* a = std::get_if<act::ReadRow>(&action)) return read(a->side);
  if (const auto late = out_of_time()) {
    why_ = cancelled() ? "cancelled" : cat("out of max_pause (", timing_.max_pause.count(), " ms)");
    return *late;
  }
  if (const auto* a = std::get_if<act::WriteRow>(&action)) {
    return attempt([&] { return hands_.write_row(*a); });
  }
  if (const auto* a = std::get_if<act::FenceTable>(&action)) {
    return attempt([&] { return hands_.fence_table(*a); });
  }
  if (const auto* a = std::get_if<act::Hold>(&action)) return attempt([&] { return hands_.hold(*a); });
  if (const auto* a = std::get_if<act::OpenAlone>(&action)) {
    return attempt([&] { return hands_.open_alone(*a); });
  }
  const auto& work = std::get<act::Work>(action);
  const Fact fact = attempt([&] { return hands_.work(work.step, work.attempt, left()); });
  if (work.step == Step::switch_over) hook_failed_ = !std::holds_alternative<fact::Done>(fact);
  return fact;
}

void Driver::note(const Action& action, const Fact& fact, Time began) {
  const auto step = title(action);
  if (!step || std::exchange(idle_, false)) return;
  const auto now = clock_.now();
  const bool done = std::holds_alternative<fact::Done>(fact);
  steps_.push_back({*step, done ? "done" : cat(what_came(fact), ": ", why_), ms_between(began_, now),
                    ms_between(began, now)});
  if (tell_) tell_(steps_.back());
}

void Driver::enter(Phase next) {
  const bool held = keeps_hold(next);
  phase_ = std::move(next);
  if (!held) hands_.let_go();
  if (const Flow now = flow(phase_); now != Flow::unchanged) hands_.flow(now);
  if (const auto* at = std::get_if<phase::Trying>(&phase_)) epoch_ = at->attempt.epoch;
  // From the raise on there is something to back out of, or to be found by others.
  const auto step = step_of(phase_);
  if (!step || *step < Step::fencing || *step == Step::switch_over) return;
  touched_ = true;
  if (!pause_began_) pause_began_ = clock_.now();
}

void Driver::go_until_rest() {
  for (;;) {
    const Action next = action(phase_);
    if (std::holds_alternative<act::Stream>(next) || std::holds_alternative<act::Rest>(next) ||
        std::holds_alternative<act::Stop>(next)) {
      return;
    }
    const auto began = clock_.now();
    const Fact fact = act_on(next);
    note(next, fact, began);
    if (std::holds_alternative<fact::Done>(fact)) looks_ = 0;
    const bool was_looking = std::holds_alternative<phase::Looking>(phase_);
    enter(step(phase_, fact));
    // Somebody else changes the rows as well, or a lock is not to be had: not in a tight loop.
    if (!was_looking && std::holds_alternative<phase::Looking>(phase_) && ++looks_ > 1) pause_(timing_.again);
  }
}

void Driver::begin() {
  began_ = clock_.now();
  pause_began_.reset();
  unreachable_since_ = {};
  steps_.clear();
  why_.clear();
  looks_ = 0;
  epoch_ = 0;
  touched_ = hook_failed_ = false;
  phase_ = phase::Looking{};
}

// ------------------------------------------------------------------------------------------- asked for

Result Driver::run(const Request& request) {
  const Side giver = request.verb == Verb::cutover ? Side::source : Side::target;
  if (timing_.lease <= timing_.max_pause) return lease_too_short();
  begin();
  go_until_rest();
  const auto* rest = std::get_if<phase::Streaming>(&phase_);
  if (rest == nullptr || rest->giver != giver || touched_ || cancelled()) return result(other(giver));
  if (request.extent != Extent::real) return try_out(request, giver);
  enter(step(phase_, fact::Asked{giver, std::max<std::size_t>(hands_.tables(giver), 1)}));
  go_until_rest();
  return result(other(giver));
}

// A writer could take the fence down while we still count on it: the seal would find out, and every attempt be lost.
Result Driver::lease_too_short() const {
  Result out;
  out.outcome = Result::Outcome::gate;
  out.message = cat("cutover.lease (", timing_.lease.count(), " ms) is not longer than cutover.max_pause (",
                    timing_.max_pause.count(), " ms)");
  out.hint = "let the lease be about twice max_pause; nothing was changed";
  return out;
}

Result Driver::recover(std::optional<Side> gone) {
  begin();
  if (gone) phase_ = step(phase::Stopped{Why::unreachable}, fact::HumanSays{*gone});
  go_until_rest();
  Result out = result(Side::source);
  // Either side is a good end here.
  if (out.outcome == Result::Outcome::backed_out || out.outcome == Result::Outcome::gate) {
    out.outcome = Result::Outcome::done;
    out.message.clear();
    out.hint.clear();
  }
  return out;
}

Result Driver::try_out(const Request& request, Side giver) {
  const Attempt none{giver, 0, std::get<phase::Streaming>(phase_).rows, hands_.tables(giver)};
  Result out;
  out.outcome = Result::Outcome::done;
  const auto do_one = [&](const char* what, const auto& does) {
    const auto began = clock_.now();
    const Fact fact = attempt(does);
    const bool done = std::holds_alternative<fact::Done>(fact);
    steps_.push_back({what, done ? "done" : cat(what_came(fact), ": ", why_),
                      ms_between(began_, clock_.now()), ms_between(began, clock_.now())});
    if (tell_) tell_(steps_.back());
    if (!done) out.outcome = Result::Outcome::gate, out.message = why_;
    return done;
  };
  if (do_one(name(Step::gate), [&] { return hands_.work(Step::gate, none, timing_.max_pause); }) &&
      request.extent == Extent::rehearse) {
    do_one("rehearse", [&] { return hands_.rehearse(giver); });
  }
  if (out.outcome == Result::Outcome::gate) out.hint = "nothing was changed";
  out.steps = steps_;
  return out;
}

// ------------------------------------------------------------------------------------------- the result

Result Driver::in_doubt(Why why) const {
  Result out;
  out.outcome = Result::Outcome::in_doubt;
  out.message = why_.empty() ? name(why) : cat(name(why), ": ", why_);
  out.hint = hint_of(why);
  return out;
}

Result Driver::result(Side wanted) const {
  Result out;
  if (const auto* stopped = std::get_if<phase::Stopped>(&phase_)) {
    out = in_doubt(stopped->why);
  } else if (std::holds_alternative<phase::Alone>(phase_)) {
    out.outcome = Result::Outcome::done;
    out.writes = name(std::get<phase::Alone>(phase_).left);
  } else {
    const Side open = std::get<phase::Streaming>(phase_).giver;
    out.writes = name(open);
    if (open == wanted) {
      out.outcome = hook_failed_ ? Result::Outcome::hook_failed : Result::Outcome::done;
      if (hook_failed_) out.message = why_;
      if (hook_failed_)
        out.hint = cat("writes go to the ", name(open),
                       " now; run the hook by hand, or ask again: it runs once more, as at the next start");
    } else {
      out.outcome = touched_ ? Result::Outcome::backed_out : Result::Outcome::gate;
      out.message = why_;
      out.hint = touched_ ? cat("writes go to the ", name(open), " as before; walign status has the gates")
                          : "nothing was changed; walign status has the gates and who keeps them shut";
    }
  }
  out.epoch = epoch_;
  out.steps = steps_;
  return out;
}

}  // namespace walign::cutover
