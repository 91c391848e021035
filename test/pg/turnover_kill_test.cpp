// walign dies by SIGKILL between any two steps of a change of sides, under load. Whoever is started next brings it to
// rest; no write is lost, and never did both sides take writes. Not started again: writes come back by themselves.
#include <csignal>
#include <fstream>

#include "shop.hpp"
#include "support/process.hpp"

using namespace walign;
using namespace walign::test;
using cutover::Result;
using cutover::Verb;

namespace {

const std::vector<std::string> kSteps = {"gate",    "before_fence", "raise",  "fencing",   "table 1",
                                         "table 2", "drain",        "prove",  "sequences", "before_open",
                                         "hold",    "seal",         "freeze", "open",      "switch"};

class Killed {
 public:
  explicit Killed(Migration& m) : m_(m), file_(m.state.string() + ".yaml") {
    m.more =
        "gates: { stable_for: 0s, oldest_transaction: 60s }\nverify: { every: 1s }\n"
        "cutover: { max_pause: 1500ms, lease: 2s }\n";
    std::ofstream(file_) << m.yaml();
  }
  ~Killed() { std::filesystem::remove(file_); }

  // Runs a sidecar that dies right after `step`.
  void change(const std::string& verb, const std::string& step) {
    Process victim({WALIGN_VICTIM, file_, verb, step});
    const int code = victim.wait(120s);
    INFO(victim.err());
    REQUIRE(code == 128 + SIGKILL);
  }

 private:
  Migration& m_;
  std::string file_;
};

// Until nothing is half done; which side takes writes then.
std::string at_rest(Sides& sides) {
  sides.wait_for(
      [](const auto& s) {
        const bool source = s.sides.source == "OPEN" && s.sides.target != "OPEN";
        const bool target = s.sides.target == "OPEN" && s.sides.source != "OPEN";
        return s.connected && (source || (target && s.sides.rollback_ready == true));
      },
      "at rest", 60s);
  return sides.status().sides.target == "OPEN" ? "target" : "source";
}

void check_everything(Shop& shop, Writers& writers) {
  for (const auto& what : writers.unexpected()) UNSCOPED_INFO(what);
  CHECK(writers.unexpected().empty());
  CHECK(writers.overlaps().empty());
  for (Sql* sql : {&shop.m.source, &shop.there}) {
    std::vector<std::int64_t> twice;
    const auto there = ids_of(*sql,
                              sql == &shop.m.source ? "SELECT id FROM public.orders WHERE id > 0"
                                                    : "SELECT sale_id FROM app.sales WHERE sale_id > 0",
                              twice);
    CHECK(twice.empty());
    CHECK((there == writers.ids()));
  }
  CHECK(shop.equal());
}

void adjust(config::Config& c) {
  c.verify.every = std::chrono::milliseconds(300);
  c.cutover.max_pause = Millis(1500);
  c.cutover.lease = Millis(2000);
}

// One attempt each way, killed after `step`; whatever came of it, the next one is brought to its end.
void killed_after(const std::string& step) {
  INFO(step);
  Migration m;
  Shop shop(m, false);
  Killed killed(m);
  {
    Sides first(m, adjust);
    first.wait_until_streaming();
    REQUIRE(first.change(Verb::cutover, cutover::Extent::rehearse).outcome == Result::Outcome::done);
  }
  Writers writers(shop.sides(), 2);
  for (const Verb verb : {Verb::cutover, Verb::rollback}) {
    killed.change(verb == Verb::cutover ? "cutover" : "rollback", step);
    std::this_thread::sleep_for(300ms);
    Sides sides(m, adjust);
    const auto rests = at_rest(sides);
    const std::string wanted = verb == Verb::cutover ? "target" : "source";
    if (rests != wanted) sides.change_until_done(verb);
    const auto before = writers.acknowledged();
    REQUIRE(eventually([&] { return writers.acknowledged() > before + 50; }, 30s));
  }
  writers.stop();
  Sides sides(m, adjust);
  sides.wait_until_streaming();
  sides.catch_up(m.source);
  check_everything(shop, writers);
}

}  // namespace

TEST_CASE(
    "killed between any two steps, there and back, the next one brings it to rest and nothing is lost") {
  const char* only = std::getenv("WALIGN_STEP");
  for (const auto& step : kSteps) {
    if (only == nullptr || step == only) killed_after(step);
  }
}

TEST_CASE(
    "killed behind the fence and not started again, writes come back by themselves, and a later change "
    "works") {
  Migration m;
  Shop shop(m, false);
  Killed killed(m);
  {
    Sides first(m, adjust);
    first.wait_until_streaming();
    REQUIRE(first.change(Verb::cutover, cutover::Extent::rehearse).outcome == Result::Outcome::done);
  }
  Writers writers(shop.sides(), 2);
  killed.change("cutover", "drain");
  const auto before = writers.acknowledged();
  REQUIRE(eventually([&] { return writers.acknowledged() > before + 100; }, 20s));
  CHECK(m.source.scalar("SELECT state FROM walign.fence") == "OPEN");
  CHECK(m.target.scalar("SELECT state FROM walign.fence") == "CLOSED");
  Sides sides(m, adjust);
  CHECK(at_rest(sides) == "source");
  sides.change_until_done(Verb::cutover);
  const auto then = writers.acknowledged();
  REQUIRE(eventually([&] { return writers.acknowledged() > then + 50; }, 30s));
  writers.stop();
  sides.catch_up(m.target);
  CHECK(writers.reigns() <= 2);
  check_everything(shop, writers);
}
