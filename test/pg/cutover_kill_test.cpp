// walign dies before and after every verb of a change of sides, in both directions; then it is started again, or
// recover is run with nothing but the two connection strings. One side takes writes, it has every accepted one, and
// the next change of sides works.
#include "cutover_bench.hpp"

using namespace walign;
using namespace walign::test;

namespace {

struct Killed {};

// The switch of the change before, which is asked for again, and the steps of this one.
constexpr int kVerbs = 15;

// Dies at its n-th verb: before doing it, or before it hears that it is done.
class Mortal : public StepHands {
 public:
  Mortal(StepHands&& hands) = delete;
  Mortal(CutoverBench& bench, int at, bool after)
      : StepHands("m", kFence, CutoverBench::side(bench.source, "old:1/app"),
                  CutoverBench::side(bench.target, "new:2/app"), bench.settings, bench.next_owner(),
                  bench.surroundings()),
        at_(at),
        after_(after) {}
  Answer write_row(const act::WriteRow& write) override {
    return mortal(name(write.step), [&] { return StepHands::write_row(write); });
  }
  Answer fence_table(const act::FenceTable& table) override {
    return mortal("table", [&] { return StepHands::fence_table(table); });
  }
  Answer hold(const act::Hold& hold) override {
    return mortal("hold", [&] { return StepHands::hold(hold); });
  }
  Answer work(Step step, const Attempt& attempt, Millis left) override {
    return mortal(name(step), [&] { return StepHands::work(step, attempt, left); });
  }
  std::string died_at;

 private:
  template <class Do>
  Answer mortal(const std::string& what, Do act) {
    const bool now = verbs_++ == at_;
    if (now) died_at = what;
    if (now && !after_) throw Killed();
    Answer answer = act();
    if (now) throw Killed();
    return answer;
  }
  const int at_;
  const bool after_;
  int verbs_ = 0;
};

class Kills {
 public:
  // Which side takes a write; "both" is what must never be.
  std::string write() {
    const std::string id = std::to_string(next_++);
    const bool s = outcome(bench.source.app, "INSERT INTO t VALUES (" + id + ", 'w')") == "ok";
    const bool t = outcome(bench.target.app, "INSERT INTO t VALUES (" + id + ", 'w')") == "ok";
    accepted_ += s || t ? 1 : 0;
    return s && t ? "both" : s ? "source" : t ? "target" : "none";
  }
  int missing() {
    FenceBed& open = at_source() ? bench.source : bench.target;
    return accepted_ - open.app.scalar<int>("SELECT count(*) FROM t WHERE v = 'w'");
  }
  bool at_source() { return read_row(*bench.source.giver, {kFence, Side::source})->state == RowState::open; }
  void be_at(Side giver) {
    if (at_source() == (giver == Side::source)) return;
    auto hands = bench.hands();
    REQUIRE(bench.run(hands, giver == Side::source ? Verb::rollback : Verb::cutover).outcome ==
            Result::Outcome::done);
  }
  Result again(bool with_recover, Verb verb) {
    if (!with_recover) {
      auto hands = bench.hands();
      return bench.run(hands, verb);
    }
    Recovery recovery;
    recovery.source = bench.source.options().conninfo;
    recovery.target = bench.target.options().conninfo;
    return recover(recovery, {});
  }
  CutoverBench bench;

 private:
  int next_ = 1000;
  int accepted_ = 0;
};

// The number of verbs that were reached.
int kill_at_each(Kills& kills, Side giver) {
  const Verb verb = giver == Side::source ? Verb::cutover : Verb::rollback;
  for (int at = 0;; ++at) {
    for (const bool after : {false, true}) {
      kills.be_at(giver);
      CHECK(kills.write() == name(giver));
      std::string died_at;
      {
        Mortal hands(kills.bench, at, after);
        std::optional<Result> result;
        try {
          result = kills.bench.run(hands, verb);
        } catch (const Killed&) {
        }
        died_at = hands.died_at;
        if (result) {
          INFO(result->message);
          CHECK(result->outcome == Result::Outcome::done);
        }
      }
      if (died_at.empty()) return at;
      INFO(name(giver) << " gives, died " << (after ? "after " : "before ") << died_at);
      const auto between = kills.write();
      CHECK(between != "both");
      const auto result = kills.again((at + (after ? 1 : 0)) % 2 == 0, verb);
      CHECK((result.outcome == Result::Outcome::done || result.outcome == Result::Outcome::backed_out));
      const auto open = kills.write();
      CHECK((open == "source" || open == "target"));
      CHECK(open == result.writes);
      CHECK(kills.missing() == 0);
    }
  }
}

}  // namespace

TEST_CASE("a cutover that dies at any verb is brought to rest, with every accepted write") {
  Kills kills;
  CHECK(kill_at_each(kills, Side::source) == kVerbs);
}

TEST_CASE("a rollback that dies at any verb is brought to rest, with every accepted write") {
  Kills kills;
  CHECK(kill_at_each(kills, Side::target) ==
        15);  // the look finds the cutover, whose switch is asked for again
}
