// A whole cutover and rollback, every step of it but the stream.
#include "cutover_bench.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("there and back with hooks and the switch noted once") {
  CutoverBench b;
  b.settings.before_open = "test \"$WALIGN_DIRECTION\" = forward -o \"$WALIGN_EPOCH\" = 2";
  b.settings.switch_hook = "echo to $WALIGN_EPOCH";
  auto forth = b.hands();
  auto result = b.run(forth, Verb::cutover);
  INFO(result.message);
  CHECK(result.outcome == Result::Outcome::done);
  CHECK(b.switched(b.target) == "1");
  CHECK(outcome(b.target.app, "INSERT INTO t VALUES (500, 'new')") == "ok");
  CHECK(outcome(b.source.app, "INSERT INTO t VALUES (501, 'late')") == "25006");
  REQUIRE(forth.collected().hooks.size() == 2);
  CHECK(forth.collected().hooks[1].second.output == "to 1\n");
  CHECK(!forth.collected().gates.empty());
  auto back = b.hands();
  result = b.run(back, Verb::rollback);
  INFO(result.message);
  CHECK(result.outcome == Result::Outcome::done);
  CHECK(back.collected().hooks.size() == 2);  // the cutover's switch hook is not run again
  CHECK(b.source.app.scalar<int>("SELECT count(*) FROM t") == 11);
  CHECK(outcome(b.source.app, "INSERT INTO t VALUES (502, 'back')") == "ok");
}

TEST_CASE("a gate, and a hook, that do not hold say why; writes are where they were") {
  CutoverBench b;
  b.lag_bytes = std::int64_t{1} << 30U;
  auto first = b.hands();
  auto result = b.run(first, Verb::cutover);
  CHECK(result.outcome == Result::Outcome::gate);
  CHECK(result.message.find("limit") != std::string::npos);
  b.lag_bytes = 0;
  b.settings.before_open = "echo not yet; exit 3";
  auto second = b.hands();
  result = b.run(second, Verb::cutover);
  CHECK(result.outcome == Result::Outcome::backed_out);
  CHECK(result.message == "hook before_open ended with status 3: not yet\n");
  CHECK(outcome(b.source.app, "INSERT INTO t VALUES (600, 'w')") == "ok");
  CHECK(b.flowing == Flow::from_source);
}

TEST_CASE("a switch hook that fails is tried again at the next start, and then noted") {
  CutoverBench b;
  b.settings.switch_hook = "exit 1";
  auto first = b.hands();
  CHECK(b.run(first, Verb::cutover).outcome == Result::Outcome::hook_failed);
  CHECK(b.switched(b.target) == "0");
  b.settings.switch_hook = "true";
  auto second = b.hands();
  CHECK(b.run(second, Verb::cutover).outcome == Result::Outcome::done);
  CHECK(b.switched(b.target) == "1");
}

TEST_CASE("a taker that has lost its closing triggers is not cut over to, until they are made again") {
  CutoverBench b;
  b.target.admin.exec("ALTER TABLE t DISABLE TRIGGER ALL");
  auto first = b.hands();
  auto result = b.run(first, Verb::cutover);
  CHECK(result.outcome == Result::Outcome::gate);
  CHECK(result.message.find("the target is not closed") != std::string::npos);
  auto second = b.hands();
  second.prepare(Side::target, RowState::closed);
  result = b.run(second, Verb::cutover);
  INFO(result.message);
  CHECK(result.outcome == Result::Outcome::done);
}
