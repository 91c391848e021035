// What stands between the command and the sidecar: one change of sides at a time, watched from other threads.
#include "support/catch.hpp"
#include "walign/cutover.hpp"

using namespace walign;
using namespace walign::cutover;

namespace {

constexpr std::chrono::milliseconds kLong{20'000};

// Goes on until it is cancelled or told to end.
Controller::Run waiting(std::atomic<bool>& end) {
  return [&end](const Request&, const Controller::Tell& tell, const std::atomic<bool>& cancelled) {
    tell({"gate", "done", 1, 1});
    while (!cancelled && !end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    tell({cancelled ? "abort" : "open", "done", 2, 1});
    Result result;
    result.outcome = cancelled ? Result::Outcome::backed_out : Result::Outcome::done;
    return result;
  };
}

Controller::Watch to_the_end(Controller& controller) {
  auto watch = controller.watch(0, kLong);
  while (watch.running) watch = controller.watch(watch.steps.size(), kLong);
  return controller.watch(0, kLong);
}

}  // namespace

TEST_CASE("a watcher sees each step as it comes, and the result when it has ended") {
  std::atomic<bool> end{false};
  Controller controller(waiting(end));
  CHECK(!controller.watch(0, std::chrono::milliseconds(0)).running);
  controller.ask({Verb::cutover, Extent::real});
  auto watch = controller.watch(0, kLong);
  REQUIRE(watch.steps.size() == 1);
  CHECK(watch.steps[0].step == "gate");
  CHECK(!watch.result);
  end = true;
  watch = controller.watch(1, kLong);
  REQUIRE(watch.steps.size() == 1);
  CHECK(watch.steps[0].step == "open");
  watch = to_the_end(controller);
  CHECK(watch.result->outcome == Result::Outcome::done);
  CHECK(watch.request == Request{Verb::cutover, Extent::real});
}

TEST_CASE("there is one change of sides at a time, and it can be cancelled") {
  std::atomic<bool> end{false};
  Controller controller(waiting(end));
  CHECK_THROWS_AS(controller.cancel(), Error);
  controller.ask({});
  CHECK_THROWS_AS(controller.ask({Verb::rollback, Extent::real}), Error);
  controller.cancel();
  CHECK(to_the_end(controller).result->outcome == Result::Outcome::backed_out);
  end = true;
  controller.ask({Verb::rollback, Extent::real});
  CHECK(to_the_end(controller).result->outcome == Result::Outcome::done);
}

TEST_CASE("an error is kept for whoever asks, and the sidecar goes on") {
  Controller controller([](const Request&, const Controller::Tell&, const std::atomic<bool>&) -> Result {
    throw Error(ErrorKind::precondition, "no", "do this");
  });
  controller.ask({});
  const auto watch = to_the_end(controller);
  CHECK(!watch.result);
  CHECK(watch.failed.find("do this") != std::string::npos);
}

TEST_CASE("what is under way when the sidecar ends is backed out") {
  std::atomic<bool> end{false};
  Result::Outcome outcome = Result::Outcome::done;
  {
    Controller controller(
        [&](const Request& request, const Controller::Tell& tell, const std::atomic<bool>& cancelled) {
          const Result result = waiting(end)(request, tell, cancelled);
          outcome = result.outcome;
          return result;
        });
    controller.ask({});
    CHECK(controller.watch(0, kLong).running);
  }
  CHECK(outcome == Result::Outcome::backed_out);
}
