// The driver against hands that keep the two rows in memory and fail where they are told to.
#include <map>

#include "cutover/driver.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::cutover;

namespace {

class HandClock : public Clock {
 public:
  [[nodiscard]] std::chrono::steady_clock::time_point now() const override { return now_; }
  void pass(Millis time) { now_ += time; }

 private:
  std::chrono::steady_clock::time_point now_{std::chrono::hours(1)};
};

class FakeHands : public Hands {
 public:
  explicit FakeHands(HandClock& clock) : clock_(clock) {
    rows[Side::source].state = RowState::open;
    rows[Side::target].state = RowState::closed;
  }

  std::map<Side, FenceRow> rows;
  std::map<std::string, Answer::Kind> answers;        // by step; once
  std::map<std::string, ErrorKind> errors;            // by step; once
  std::map<std::string, Millis> takes;                // by step
  std::map<std::string, std::function<void()>> then;  // by step, before it answers
  std::optional<Side> unreachable;
  bool lost_after_all = false;  // what has no answer is done all the same
  std::vector<std::string> did;
  Flow flowing = Flow::none;
  bool held = false;

  [[nodiscard]] std::uint64_t owner() const override { return 7; }
  [[nodiscard]] std::size_t tables(Side /*giver*/) const override { return 2; }

  RowRead read_row(Side side) override {
    CHECK(!held);
    if (unreachable == side) return {RowRead::Kind::unreachable, {}, "connection refused"};
    return {RowRead::Kind::row, rows[side], {}};
  }
  Answer write_row(const act::WriteRow& write) override {
    const auto commit = [&] { return compare_and_set(write.side, write.finds, write.writes); };
    return answer(name(write.step), commit);
  }
  Answer fence_table(const act::FenceTable& table) override {
    const RowKey finds{table.epoch, RowState::fencing};
    const RowKey writes{table.epoch, table.last ? RowState::fenced : RowState::fencing};
    return answer(cat("table ", table.table + 1), [&] { return compare_and_set(table.side, finds, writes); });
  }
  Answer hold(const act::Hold& hold) override {
    return answer("hold", [&] {
      held = key(hold.side) == hold.finds;
      return held;
    });
  }
  void let_go() noexcept override { held = false; }
  Answer open_alone(const act::OpenAlone& open) override {
    return answer("open alone", [&] { return compare_and_set(open.side, open.finds, open.writes); });
  }
  Answer work(Step step, const Attempt& /*attempt*/, Millis /*left*/) override {
    if (step == Step::freeze) CHECK(flowing == Flow::none);
    return answer(name(step), [] { return true; });
  }
  void flow(Flow flow) override { flowing = flow; }
  Answer rehearse(Side /*giver*/) override {
    return answer("rehearse", [] { return true; });
  }
  RowKey key(Side side) { return {rows[side].epoch, rows[side].state}; }

 private:
  bool compare_and_set(Side side, RowKey finds, RowKey writes) {
    if (key(side) != finds) return false;
    rows[side].epoch = writes.epoch;
    rows[side].state = writes.state;
    rows[side].owner = owner();
    return true;
  }
  template <class Do>
  Answer answer(const std::string& what, Do commit) {
    did.push_back(what);
    clock_.pass(takes[what]);
    if (const auto f = then.find(what); f != then.end()) f->second();
    if (const auto e = errors.find(what); e != errors.end()) {
      const auto kind = e->second;
      errors.erase(e);
      if (lost_after_all) commit();
      throw Error(kind, cat(what, " failed"));
    }
    if (const auto a = answers.find(what); a != answers.end()) {
      const auto kind = a->second;
      answers.erase(a);
      return {kind, cat(what, " was told to")};
    }
    return commit() ? Answer{} : Answer{Answer::Kind::refused, cat(what, ": the row is another's")};
  }
  HandClock& clock_;
};

struct Bench {
  HandClock clock;
  FakeHands hands{clock};
  std::vector<Progress> told;
  Timing timing;
  std::unique_ptr<Driver> driver;

  Driver& start() {
    driver = std::make_unique<Driver>(
        hands, timing, clock, [this](Millis time) { clock.pass(time); },
        [this](const Progress& p) { told.push_back(p); });
    return *driver;
  }
  Result run(Verb verb, Extent extent = Extent::real) { return start().run({verb, extent}); }
  std::string rows() {
    return cat(name(hands.rows[Side::source].state), ' ', name(hands.rows[Side::target].state), ' ',
               hands.rows[Side::target].epoch);
  }
};

using Came = Result::Outcome;

}  // namespace

TEST_CASE("a cutover and a rollback and a cutover, each step told with its time") {
  Bench b;
  b.hands.takes["drain"] = Millis(40);
  auto result = b.run(Verb::cutover);
  CHECK(result.outcome == Came::done);
  CHECK(exit_status(result.outcome) == 0);
  CHECK(b.rows() == "SEALED OPEN 1");
  CHECK(b.hands.flowing == Flow::from_target);
  CHECK(b.hands.did == std::vector<std::string>{"gate", "before_fence", "raise", "fencing", "table 1",
                                                "table 2", "drain", "prove", "sequences", "before_open",
                                                "hold", "seal", "freeze", "open", "switch"});
  REQUIRE(b.told.size() == b.hands.did.size());
  CHECK(b.told[6].step == "drain");
  CHECK(b.told[6].took_ms > 39);
  CHECK(b.told.back().at_ms > 39);
  CHECK(b.run(Verb::rollback).outcome == Came::done);
  CHECK(b.rows() == "OPEN SEALED 2");
  CHECK(b.hands.flowing == Flow::from_source);
  result = b.run(Verb::cutover);
  CHECK(result.outcome == Came::done);
  CHECK(result.epoch == 3);
}

TEST_CASE("a gate that does not hold, and a hook before the fence that fails, touch nothing") {
  for (const char* step : {"gate", "before_fence"}) {
    Bench b;
    b.hands.answers[step] = Answer::Kind::refused;
    const auto result = b.run(Verb::cutover);
    CHECK(result.outcome == Came::gate);
    CHECK(exit_status(result.outcome) == 3);
    CHECK(result.message == cat(step, " was told to"));
    CHECK(b.rows() == "OPEN CLOSED 0");
  }
}

TEST_CASE("whatever fails before the open is backed out, the taker first") {
  for (const char* step :
       {"table 1", "table 2", "drain", "prove", "sequences", "before_open", "hold", "seal"}) {
    for (const auto kind : {Answer::Kind::refused, Answer::Kind::given_up, Answer::Kind::no_answer}) {
      Bench b;
      b.timing.goes_on = false;  // what is found half done is backed out
      b.hands.answers[step] = kind;
      const auto result = b.run(Verb::cutover);
      INFO(step);
      CHECK(result.outcome == Came::backed_out);
      CHECK(exit_status(result.outcome) == 5);
      CHECK(b.rows() == "OPEN ABORTED 1");
      CHECK(b.hands.flowing == Flow::from_source);
      CHECK(!b.hands.held);
      const auto n = b.hands.did.size();
      CHECK(b.hands.did.at(n - 2) == "abort");
      CHECK(b.hands.did.at(n - 1) == "reopen");
    }
  }
}

TEST_CASE("an open whose answer is lost is looked at, and is what it is") {
  for (const bool done : {true, false}) {
    Bench b;
    b.hands.errors["open"] = ErrorKind::in_doubt;
    b.hands.lost_after_all = done;
    const auto result = b.run(Verb::cutover);
    CHECK(result.outcome == Came::done);  // if it was not done, the attempt is gone on with
    CHECK(b.rows() == "SEALED OPEN 1");
    CHECK(std::count(b.hands.did.begin(), b.hands.did.end(), "open") == (done ? 1 : 2));
    CHECK(std::count(b.hands.did.begin(), b.hands.did.end(), "seal") == 1);
  }
}

TEST_CASE("a seal lost to the lease ends where writes are") {
  Bench b;
  b.hands.then["seal"] = [&] { b.hands.rows[Side::source].state = RowState::open; };
  const auto result = b.run(Verb::cutover);
  CHECK(result.outcome == Came::backed_out);
  CHECK(b.rows() == "OPEN CLOSED 1");
  b.hands.then.clear();
  CHECK(b.run(Verb::cutover).outcome == Came::done);
  CHECK(b.rows() == "SEALED OPEN 2");
}

TEST_CASE("max_pause is the time from the fence to the seal; after the seal nobody looks at the clock") {
  Bench b;
  b.hands.takes["before_fence"] = Millis(60'000);
  b.hands.takes["drain"] = Millis(3'000);
  b.hands.takes["prove"] = Millis(3'000);
  const auto result = b.run(Verb::cutover);
  CHECK(result.outcome == Came::backed_out);
  CHECK(result.message == "out of max_pause (5000 ms)");
  Bench late;
  late.hands.takes["seal"] = Millis(30'000);
  CHECK(late.run(Verb::cutover).outcome == Came::done);
}

TEST_CASE("a cancelled cutover is backed out, and after the open there is nothing to cancel") {
  Bench b;
  b.hands.then["drain"] = [&] { b.driver->cancel(); };
  auto result = b.run(Verb::cutover);
  CHECK(result.outcome == Came::backed_out);
  CHECK(result.message == "cancelled");
  b.hands.then.clear();
  b.hands.then["open"] = [&] { b.driver->cancel(); };
  CHECK(b.run(Verb::cutover).outcome == Came::done);
}

TEST_CASE("a switch hook that fails leaves the taker open, with a status of its own") {
  Bench b;
  b.hands.answers["switch"] = Answer::Kind::refused;
  const auto result = b.run(Verb::cutover);
  CHECK(result.outcome == Came::hook_failed);
  CHECK(exit_status(result.outcome) == 7);
  CHECK(b.rows() == "SEALED OPEN 1");
}

TEST_CASE("what is half done is brought to rest by recover, from every pair of rows") {
  const std::pair<RowState, std::string> cases[] = {{RowState::fencing, "OPEN ABORTED 4"},
                                                    {RowState::fenced, "OPEN ABORTED 4"},
                                                    {RowState::sealed, "OPEN ABORTED 4"}};
  for (const auto& [state, rows] : cases) {
    Bench b;
    b.timing.goes_on = false;
    b.hands.rows[Side::source] = {4, state, 3, {}, {}};
    b.hands.rows[Side::target] = {4, RowState::closed, 3, {}, {}};
    CHECK(b.start().recover(std::nullopt).outcome == Came::done);
    CHECK(b.rows() == rows);
  }
  Bench b;
  b.hands.rows[Side::source] = {4, RowState::sealed, 3, {}, {}};
  b.hands.rows[Side::target] = {4, RowState::open, 3, {}, {}};
  CHECK(b.start().recover(std::nullopt).outcome == Came::done);
  CHECK(b.hands.did == std::vector<std::string>{"switch"});
}

TEST_CASE("a sidecar that finds an attempt of its own after a restart goes on with it") {
  Bench b;
  b.hands.rows[Side::source] = {4, RowState::sealed, 3, {}, {}};
  b.hands.rows[Side::target] = {4, RowState::closed, 3, {}, {}};
  CHECK(b.run(Verb::cutover).outcome == Came::done);
  CHECK(b.hands.did == std::vector<std::string>{"drain", "prove", "sequences", "before_open", "hold",
                                                "freeze", "open", "switch"});
}

TEST_CASE(
    "a server out of reach is waited for, then a human is asked; his word opens the side that is left") {
  Bench b;
  b.hands.rows[Side::source] = {4, RowState::sealed, 3, {}, {}};
  b.hands.unreachable = Side::target;
  auto result = b.run(Verb::cutover);
  CHECK(result.outcome == Came::in_doubt);
  CHECK(exit_status(result.outcome) == 6);
  CHECK(result.message == "a server cannot be reached: connection refused");
  CHECK(result.hint.find("--gone") != std::string::npos);
  CHECK(b.start().recover(Side::target).outcome == Came::done);
  CHECK(b.hands.key(Side::source) == RowKey{5, RowState::open});
}

TEST_CASE("rows of a newer owner, and rows to which no step leads, are left alone") {
  Bench b;
  b.hands.rows[Side::target].owner = 8;
  CHECK(b.run(Verb::cutover).outcome == Came::in_doubt);
  b.hands.rows[Side::target] = {2, RowState::open, 0, {}, {}};
  CHECK(b.run(Verb::cutover).outcome == Came::in_doubt);
  CHECK(b.hands.did.empty());
}

TEST_CASE("a dry run and a rehearsal write no row, and say what does not hold") {
  Bench b;
  CHECK(b.run(Verb::cutover, Extent::dry_run).outcome == Came::done);
  CHECK(b.hands.did == std::vector<std::string>{"gate"});
  CHECK(b.run(Verb::cutover, Extent::rehearse).outcome == Came::done);
  CHECK(b.hands.did.back() == "rehearse");
  b.hands.answers["rehearse"] = Answer::Kind::given_up;
  const auto result = b.run(Verb::cutover, Extent::rehearse);
  CHECK(result.outcome == Came::gate);
  CHECK(result.message == "rehearse was told to");
  CHECK(b.rows() == "OPEN CLOSED 0");
}

TEST_CASE("a back-out that cannot have its lock tries again until it has") {
  Bench b;
  b.hands.answers["drain"] = Answer::Kind::refused;
  b.hands.errors["abort"] = ErrorKind::transient;
  b.timing.goes_on = false;
  CHECK(b.run(Verb::cutover).outcome == Came::backed_out);
  CHECK(std::count(b.hands.did.begin(), b.hands.did.end(), "abort") == 2);
}

TEST_CASE("a lease that is not longer than max_pause is refused before anything is read") {
  Bench b;
  b.timing.lease = b.timing.max_pause;
  const auto result = b.run(Verb::cutover);
  CHECK(result.outcome == Came::gate);
  CHECK(result.message.find("not longer than cutover.max_pause") != std::string::npos);
  CHECK(b.hands.did.empty());
}
