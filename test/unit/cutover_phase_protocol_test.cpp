// What the transcripts do not show: that the tables are complete and say one thing only, and what no step allows.
#include "cutover/protocol.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::cutover;

namespace {

constexpr RowState kStates[] = {RowState::open,   RowState::fencing, RowState::fenced,
                                RowState::sealed, RowState::closed,  RowState::aborted};

Attempt attempt(RowState giver, RowState taker) { return {Side::source, 3, {{3, giver}, {3, taker}}, 1}; }

}  // namespace

TEST_CASE("every step has its line in the table, at its place") {
  for (std::size_t i = 0; i < kStepCount; ++i) {
    CHECK(kSteps.at(i).step == static_cast<Step>(i));
    CHECK(std::string(name(kSteps.at(i).step)) != "?");
  }
}

TEST_CASE("no pair of rows fits two lines of the restart table, in either direction") {
  for (const RowState source : kStates) {
    for (const RowState target : kStates) {
      for (const std::uint64_t epoch : {1U, 2U, 3U}) {
        const Rows rows{{2, source}, {epoch, target}};
        int fits = 0;
        for (const Side giver : {Side::source, Side::target}) {
          const RowKey gives = rows.at(giver);
          const RowKey takes = rows.at(other(giver));
          for (const RestartRow& row : kAfterRestart) {
            fits +=
                row.giver.has(gives.state) && row.taker.has(takes.state) &&
                (row.epochs == Epochs::any || (row.epochs == Epochs::same && takes.epoch == gives.epoch) ||
                 (row.epochs == Epochs::taker_higher && takes.epoch > gives.epoch) ||
                 (row.epochs == Epochs::taker_not_lower && takes.epoch >= gives.epoch));
          }
        }
        INFO(name(source) << ' ' << name(target) << ' ' << epoch);
        CHECK(fits <= 1);
      }
    }
  }
}

TEST_CASE("a pair of rows is believed only when the first is found again as it was") {
  const RowKey open{0, RowState::open}, closed{0, RowState::closed}, sealed{1, RowState::sealed};
  const RowKey taken{1, RowState::open};
  Phase phase = phase::Looking{};
  phase = step(phase, fact::RowIs{open, false, true});   // then another instance cuts over
  phase = step(phase, fact::RowIs{taken, false, true});  // both seem to be open
  phase = step(phase, fact::RowIs{sealed, false, true});
  CHECK(phase == Phase(phase::Looking{sealed, std::nullopt}));
  phase = step(phase, fact::RowIs{taken, false, true});
  phase = step(phase, fact::RowIs{sealed, false, true});
  CHECK(std::get<phase::Trying>(phase).step == Step::switch_over);
  CHECK(step(phase::Looking{}, fact::NoAnswer{}) == Phase(phase::Looking{}));
  CHECK(step(phase::Looking{open, closed}, fact::NoAnswer{}) == Phase(phase::Looking{}));
}

TEST_CASE("whoever reads a newer owner's row, or finds no row or another timeline, stops") {
  const RowKey open{0, RowState::open};
  CHECK(step(phase::Looking{}, fact::RowIs{open, true, true}) == Phase(phase::Stopped{Why::displaced}));
  CHECK(step(phase::Looking{}, fact::NoRow{}) == Phase(phase::Stopped{Why::no_row}));
  CHECK(step(phase::Looking{}, fact::NewTimeline{}) == Phase(phase::Stopped{Why::new_timeline}));
  CHECK(step(phase::Looking{}, fact::GivenUp{}) == Phase(phase::Stopped{Why::unreachable}));
  CHECK(step(phase::Alone{Side::source, {}}, fact::NewTimeline{}) ==
        Phase(phase::Stopped{Why::new_timeline}));
}

TEST_CASE("an attempt taken up after its seal is not sealed again") {
  const Phase held = phase::Trying{Step::hold, attempt(RowState::sealed, RowState::closed)};
  CHECK(std::get<phase::Trying>(step(held, fact::Done{})).step == Step::freeze);
  const Phase fenced = phase::Trying{Step::hold, attempt(RowState::fenced, RowState::closed)};
  CHECK(std::get<phase::Trying>(step(fenced, fact::Done{})).step == Step::seal);
}

TEST_CASE("a request for writes that are on the other side already changes nothing") {
  const Phase at_rest = phase::Streaming{Side::target, {{1, RowState::sealed}, {1, RowState::open}}};
  CHECK(step(at_rest, fact::Asked{Side::source, 1}) == at_rest);
  CHECK(std::get<phase::Trying>(step(at_rest, fact::Asked{Side::target, 1})).attempt.epoch == 2);
}

TEST_CASE("the taker's row stays locked from the seal to the open, and nowhere else") {
  for (std::size_t i = 0; i < kStepCount; ++i) {
    const auto s = static_cast<Step>(i);
    const bool holds = s == Step::seal || s == Step::freeze || s == Step::open;
    CHECK(keeps_hold(phase::Trying{s, attempt(RowState::fenced, RowState::closed)}) == holds);
  }
  CHECK(!keeps_hold(phase::Looking{}));
}

TEST_CASE("changes flow from the giver until the freeze, and from the new giver after the switch") {
  const auto at = [](Step s) { return flow(phase::Trying{s, attempt(RowState::fenced, RowState::closed)}); };
  CHECK(at(Step::seal) == Flow::from_source);
  CHECK(at(Step::freeze) == Flow::none);
  CHECK(at(Step::open) == Flow::none);
  CHECK(at(Step::switch_over) == Flow::none);
  CHECK(flow(phase::Streaming{Side::target, {}}) == Flow::from_target);
  CHECK(flow(phase::Looking{}) == Flow::unchanged);
  CHECK(flow(phase::Stopped{Why::implausible}) == Flow::none);
}

TEST_CASE("a fact that cannot come of a step is a bug, and is not guessed at") {
  CHECK_THROWS_AS(step(phase::Looking{}, fact::Done{}), Error);
  CHECK_THROWS_AS(step(phase::Streaming{}, fact::Done{}), Error);
  CHECK_THROWS_AS(
      step(phase::Trying{Step::abort, attempt(RowState::fenced, RowState::closed)}, fact::GivenUp{}), Error);
  CHECK_THROWS_AS(
      step(phase::Trying{Step::seal, attempt(RowState::fenced, RowState::closed)}, fact::LookAgain{}), Error);
}
