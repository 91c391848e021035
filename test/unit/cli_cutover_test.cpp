// cutover, rollback and recover: what is typed, what is printed, and how it exits. The sidecar's part is a script.
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/change_text.hpp"
#include "cli_test.hpp"
#include "walign/service.hpp"

using namespace walign;
using namespace walign::cli;
using cutover::Controller;
using cutover::Extent;
using cutover::Request;
using cutover::Result;
using cutover::Verb;
using Outcome_ = Result::Outcome;

namespace {

// A sidecar that changes sides as it is told, and remembers what it was asked for.
struct Sidecar {
  Sidecar(const Workplace& at, Controller::Run run)
      : controller([this, run = std::move(run)](const Request& request, const Controller::Tell& tell,
                                                const std::atomic<bool>& cancelled) {
          asked.push_back(request);
          return run(request, tell, cancelled);
        }) {
    fs::create_directories(at.state());
    service::Handlers handlers;
    handlers.status = [] { return stream::Status(); };
    handlers.change_sides = [this](const Request& request) { controller.ask(request); };
    handlers.cancel_change = [this] { controller.cancel(); };
    handlers.watch_change = [this](std::size_t seen, std::chrono::milliseconds timeout) {
      return controller.watch(seen, timeout);
    };
    server = std::make_unique<service::ControlServer>(at.state(), handlers);
  }

  std::vector<Request> asked;
  Controller controller;
  std::unique_ptr<service::ControlServer> server;
};

Result result_of(Outcome_ outcome, std::string message, std::string writes, std::uint64_t epoch) {
  Result out;
  out.outcome = outcome;
  out.message = std::move(message);
  out.writes = std::move(writes);
  out.epoch = epoch;
  return out;
}

// Tells two steps, then ends so.
Controller::Run ending(Result result) {
  return [result](const Request&, const Controller::Tell& tell, const std::atomic<bool>&) {
    tell({"gate", "done", 3.25, 2.5});
    tell({"fencing", "done", 12'345.6, 9.04});
    return result;
  };
}

// Goes on until it is cancelled, or too late for that.
Controller::Run until_cancelled(Result when_cancelled) {
  return [when_cancelled](const Request&, const Controller::Tell& tell, const std::atomic<bool>& cancelled) {
    tell({"gate", "done", 3.25, 2.5});
    while (!cancelled) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return when_cancelled;
  };
}

constexpr const char* kSteps =
    "         at        took  step\n"
    "     3.2 ms      2.5 ms  gate\n"
    "     12.3 s      9.0 ms  fencing\n";

void until_running(Sidecar& sidecar) {
  while (sidecar.controller.watch(0, std::chrono::milliseconds(1)).steps.empty()) continue;
}

}  // namespace

TEST_CASE("a cutover without a sidecar exits 3 and says what starts one, and what else there is") {
  const Workplace at;
  for (const char* command : {"cutover", "rollback"}) {
    for (const char* option : {"--yes", "--rehearse", "--dry-run", "--cancel"}) {
      const auto outcome = at({command, option});
      CHECK(outcome.status == 3);
      CHECK(has(outcome.err, "no sidecar runs here"));
      CHECK(has(outcome.err, cat("`walign -c ", at.config(), " run`")));
      CHECK(has(outcome.err, cat("`walign -c ", at.config(), " recover`")));
      CHECK(outcome.out.empty());
    }
  }
}

TEST_CASE("a cutover prints its steps, how long writes waited, where the report is and what comes next") {
  const Workplace at;
  auto result = result_of(Outcome_::done, "", "target", 3);
  result.report = R"({"writes": {"pause_ms": 84.23, "waiting": 1, "refused": 12}})";
  result.report_file = "/reports/cutover-3.json";
  Sidecar sidecar(at, ending(result));
  const auto outcome = at({"cutover", "--yes"});
  CHECK(outcome.status == 0);
  const std::string typed = cat("  walign -c ", at.config(), " ");
  CHECK(outcome.out ==
        cat(kSteps,
            "cut over: the target takes writes (epoch 3)\n"
            "writes waited or were refused for 84.2 ms (1 session waited for a table, 12 statements "
            "refused)\n"
            "report: /reports/cutover-3.json\n",
            typed, "status says whether a rollback is ready\n", typed,
            "rollback goes back, with every write made on the target since\n", typed,
            "finish ends the migration, when the target has proved itself\n"));
  CHECK(sidecar.asked == std::vector<Request>{{Verb::cutover, Extent::real}});
}

TEST_CASE("a real change of sides asks first, saying what will happen; a rehearsal asks nothing") {
  const Workplace at;
  Sidecar sidecar(at, ending(result_of(Outcome_::done, "", "", 0)));
  const auto silent = at({"cutover"});
  CHECK(silent.status == 2);
  CHECK(has(silent.err, "--yes"));
  const auto no = at({"cutover"}, "n\n");
  CHECK(no.status == 1);
  CHECK(has(no.err, "nothing was done"));
  CHECK(has(no.err, "move from the source"));
  CHECK(has(no.err, "at most 5.0 s (cutover.max_pause)"));
  CHECK(has(no.err, "writes return to the source, by themselves"));
  CHECK(has(no.err, "`walign rollback`"));
  CHECK(!has(no.err, "hunter2"));
  CHECK(sidecar.asked.empty());
  const auto back = at({"rollback"}, "n\n");
  CHECK(has(back.err, "move from the target"));
  CHECK(sidecar.asked.empty());
  CHECK(at({"rollback"}, "y\n").status == 0);
  for (const char* option : {"--rehearse", "--dry-run"}) {
    CHECK(at({"cutover", option}).status == 0);
    CHECK(at({"rollback", option}).status == 0);
  }
  CHECK(sidecar.asked == std::vector<Request>{{Verb::rollback, Extent::real},
                                              {Verb::cutover, Extent::rehearse},
                                              {Verb::rollback, Extent::rehearse},
                                              {Verb::cutover, Extent::dry_run},
                                              {Verb::rollback, Extent::dry_run}});
}

TEST_CASE("each outcome has its exit status and its words") {
  struct Case {
    Outcome_ outcome;
    std::string message, writes;
    std::uint64_t epoch;
    int status;
    std::string says;
  };
  for (const auto& c : std::vector<Case>{
           {Outcome_::done, "", "target", 4, 0, "cut over: the target takes writes (epoch 4)\n"},
           {Outcome_::done, "", "target", 0, 0, "nothing to do: the target takes writes already\n"},
           {Outcome_::gate, "lag_bytes is 9", "source", 0, 3,
            "refused: lag_bytes is 9; the source takes writes\n"},
           {Outcome_::backed_out, "cancelled", "source", 4, 5,
            "backed out: cancelled; the source takes writes as before\n"},
           {Outcome_::backed_out, "cancelled", "", 4, 5, "backed out: cancelled\n"},
           {Outcome_::in_doubt, "a server cannot be reached", "", 4, 6,
            "IN DOUBT: a server cannot be reached\n"},
           {Outcome_::hook_failed, "exit status 1", "target", 4, 7,
            "cut over (epoch 4), but the switch hook failed: exit status 1; the target takes writes\n"}}) {
    const Workplace at;
    auto result = result_of(c.outcome, c.message, c.writes, c.epoch);
    result.hint = "look\tat it";
    Sidecar sidecar(at, ending(result));
    const auto outcome = at({"cutover", "--yes"});
    INFO(outcome.out << outcome.err);
    CHECK(outcome.status == c.status);
    CHECK(has(outcome.out, cat(kSteps, c.says)));
    CHECK(has(outcome.out, "hint: look at it\n"));
  }
}

TEST_CASE("a refused cutover shows the gates that are shut, what opens them, and who keeps them shut") {
  const Workplace at;
  auto result = result_of(Outcome_::gate, "gates are shut", "source", 0);
  result.report =
      R"({"gates": [{"name": "lag_bytes", "value": "9 bytes", "limit": "at most 8 bytes", "ok": false},
                                {"name": "books", "value": "balance", "limit": "balance", "ok": true},
                                {"name": "oldest_transaction", "value": "7.0 s, pid 42", "limit": "at most 5.0 s",
                                 "ok": false}],
                      "blockers": [{"pid": 42, "query": "UPDATE users\nSET \u001b[31mname"}]})";
  Sidecar sidecar(at, ending(result));
  CHECK(at({"cutover", "--yes"}).out ==
        cat(kSteps,
            "refused: not every gate holds; the source takes writes\n"
            "  lag_bytes is 9 bytes, must be at most 8 bytes\n"
            "    wait until the stream has caught up; walign status says whether it is held or has an error\n"
            "  oldest_transaction is 7.0 s, pid 42, must be at most 5.0 s\n"
            "    wait for its end, or SELECT pg_terminate_backend(PID) on the side that takes writes\n"
            "  pid 42: UPDATE users SET \\x1b[31mname\n"));
}

TEST_CASE("a rehearsal predicts how long writes would wait; a dry run says that the gates hold") {
  const Workplace at;
  auto result = result_of(Outcome_::done, "", "", 0);
  result.report = R"({"predicted_pause_ms": 41.6, "writes": {"pause_ms": null}})";
  Sidecar sidecar(at, ending(result));
  const auto rehearsed = at({"cutover", "--rehearse"}).out;
  CHECK(has(rehearsed, "rehearsed: "));
  CHECK(has(rehearsed, "writes would wait or be refused for about 41.6 ms\n"));
  CHECK(has(rehearsed, cat("  walign -c ", at.config(), " cutover does it\n")));
  const auto dry = at({"cutover", "--dry-run"}).out;
  CHECK(has(dry, "every gate holds\n"));
  CHECK(!has(dry, "41.6"));
}

TEST_CASE("a rollback says that the source takes writes, and that the stream goes on") {
  const Workplace at;
  Sidecar sidecar(at, ending(result_of(Outcome_::done, "", "source", 5)));
  const auto outcome = at({"rollback", "--yes"});
  CHECK(outcome.status == 0);
  CHECK(has(outcome.out, "rolled back: the source takes writes (epoch 5)\n"));
  CHECK(has(outcome.out, "the forward stream goes on"));
}

TEST_CASE("--json prints the report alone, as it was kept; without one, what is known") {
  const Workplace at;
  auto result = result_of(Outcome_::backed_out, "cancelled", "source", 4);
  SECTION("a report") {
    result.report = "{\"epoch\":   4}";
    Sidecar sidecar(at, ending(result));
    const auto outcome = at({"cutover", "--yes", "--json"});
    CHECK(outcome.status == 5);
    CHECK(outcome.out == "{\"epoch\":   4}\n");
    CHECK(has(outcome.err, kSteps));
    CHECK(has(outcome.err, "backed out: cancelled"));
  }
  SECTION("no report") {
    Sidecar sidecar(at, ending(result));
    const auto json = nlohmann::json::parse(at({"cutover", "--yes", "--json"}).out);
    CHECK(json["outcome"] == "backed_out");
    CHECK(json["message"] == "cancelled");
    CHECK(json["writes"] == "source");
    CHECK(json["epoch"] == 4);
  }
}

TEST_CASE("a change of sides that ends with an error exits 1 with its text") {
  const Workplace at;
  Sidecar sidecar(at, [](const Request&, const Controller::Tell&, const std::atomic<bool>&) -> Result {
    throw Error(ErrorKind::query, "the server refused\nto fence", "grant it");
  });
  const auto outcome = at({"cutover", "--yes"});
  CHECK(outcome.status == 1);
  CHECK(has(outcome.err, "the cutover ended with an error: the server refused"));
  CHECK(has(outcome.err, "grant it"));
}

TEST_CASE("another change of sides under way is a refusal") {
  const Workplace at;
  Sidecar sidecar(at, until_cancelled({}));
  sidecar.controller.ask({Verb::rollback, Extent::real});
  const auto outcome = at({"cutover", "--yes"});
  CHECK(outcome.status == 3);
  CHECK(has(outcome.err, "under way already"));
}

TEST_CASE("Ctrl-C ends the command and leaves the sidecar at it") {
  const Workplace at;
  std::atomic<bool> done{false}, cancelled_too{false};
  Sidecar sidecar(at, [&](const Request&, const Controller::Tell& tell, const std::atomic<bool>& cancelled) {
    tell({"gate", "done", 3.25, 2.5});
    ::kill(::getpid(), SIGINT);
    while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    cancelled_too = cancelled.load();
    return result_of(Outcome_::done, "", "target", 1);
  });
  const auto outcome = at({"cutover", "--yes"});
  CHECK(outcome.status == 130);
  CHECK(has(outcome.err, "the cutover goes on in the sidecar; only this command has ended"));
  CHECK(has(outcome.err, "cutover --cancel"));
  CHECK(sidecar.controller.watch(0, std::chrono::milliseconds(0)).running);
  done = true;
  while (sidecar.controller.watch(1, std::chrono::milliseconds(100)).running) continue;
  CHECK(!cancelled_too);
}

TEST_CASE("a sidecar lost in the middle leaves the command in doubt: exit 6, and what to look at") {
  const Workplace at;
  std::unique_ptr<service::ControlServer>* server = nullptr;
  Sidecar sidecar(at, [&](const Request&, const Controller::Tell& tell, const std::atomic<bool>&) {
    tell({"gate", "done", 3.25, 2.5});
    tell({"seal", "done", 30, 2.5});
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    server->reset();
    return Result();
  });
  server = &sidecar.server;
  const auto outcome = at({"cutover", "--yes"});
  CHECK(outcome.status == 6);
  CHECK(has(outcome.err, "lost the sidecar in the middle of a cutover (the last step told: seal)"));
  for (const char* part : {"return to it by themselves", " status`", " run`", " recover`"})
    CHECK(has(outcome.err, part));
}

TEST_CASE("--cancel backs out what is under way and exits 0") {
  const Workplace at;
  Sidecar sidecar(at, until_cancelled(result_of(Outcome_::backed_out, "cancelled", "source", 2)));
  sidecar.controller.ask({Verb::cutover, Extent::real});
  until_running(sidecar);
  const auto outcome = at({"cutover", "--cancel"});
  CHECK(outcome.status == 0);
  CHECK(has(outcome.out, "backed out: cancelled; the source takes writes as before\n"));
  CHECK(sidecar.asked.size() == 1);
}

TEST_CASE("--cancel that comes too late says so and exits 3") {
  const Workplace at;
  Sidecar sidecar(at, until_cancelled(result_of(Outcome_::done, "", "target", 2)));
  sidecar.controller.ask({Verb::cutover, Extent::real});
  until_running(sidecar);
  const auto outcome = at({"cutover", "--cancel"});
  CHECK(outcome.status == 3);
  CHECK(has(outcome.err, "too late"));
  CHECK(has(outcome.out, "the target takes writes"));
}

TEST_CASE("--cancel of nothing, or of the other verb, is a refusal") {
  const Workplace at;
  Sidecar sidecar(at, until_cancelled({}));
  const auto nothing = at({"cutover", "--cancel"});
  CHECK(nothing.status == 3);
  CHECK(has(nothing.err, "no change of sides is under way"));
  sidecar.controller.ask({Verb::rollback, Extent::real});
  const auto other = at({"cutover", "--cancel"});
  CHECK(other.status == 3);
  CHECK(has(other.err, "a rollback is under way, and no cutover"));
  CHECK(has(other.err, "rollback --cancel"));
  CHECK(sidecar.controller.watch(0, std::chrono::milliseconds(0)).running);
}

TEST_CASE("--dry-run, --rehearse and --cancel exclude each other") {
  for (const char* command : {"cutover", "rollback"}) {
    for (const auto& both : std::vector<std::vector<std::string>>{
             {"--dry-run", "--rehearse"}, {"--dry-run", "--cancel"}, {"--rehearse", "--cancel"}}) {
      const auto outcome = walign::cli::walign({command, both[0], both[1]});
      CHECK(outcome.status == 2);
      CHECK(has(outcome.err, "excludes"));
    }
  }
}

TEST_CASE("recover is refused beside a running sidecar, which does it by itself") {
  const Workplace at;
  Sidecar sidecar(at, ending({}));
  const auto outcome = at({"recover"});
  CHECK(outcome.status == 3);
  CHECK(has(outcome.err, "is running, and does this by itself"));
}

TEST_CASE("recover wants both servers' addresses or none, and a side that there is") {
  const auto half = walign::cli::walign({"recover", "--source", "host=/none"});
  CHECK(half.status == 2);
  CHECK(has(half.err, "belong together"));
  CHECK(walign::cli::walign({"recover", "--gone", "both"}).status == 2);
}

TEST_CASE("recover --gone asks first, with what it means") {
  const Workplace at;
  const auto silent = at({"recover", "--gone", "source"});
  CHECK(silent.status == 2);
  const auto no = at({"recover", "--gone", "source"}, "n\n");
  CHECK(no.status == 1);
  CHECK(has(no.err, "will never come back"));
  CHECK(has(no.err, "is lost to it"));
  CHECK(has(no.err, "Open the target alone?"));
  CHECK(has(no.err, "nothing was done"));
  CHECK(has(at({"recover", "--gone", "target"}, "n\n").err, "Open the source alone?"));
  CHECK(!has(no.err, "hunter2"));
}

TEST_CASE("recover with a server that cannot be reached is in doubt, and says when to say --gone") {
  const Workplace at;
  const auto from_config = at({"recover"});
  CHECK(from_config.status == 6);
  CHECK(has(from_config.out, "IN DOUBT"));
  CHECK(has(from_config.out, "--gone source"));
  // No configuration is needed where both addresses are given.
  const auto json = walign::cli::walign({"-c", "/no/such/walign.yaml", "recover", "--source", "host=/none",
                                         "--target", "host=/none", "--json"});
  CHECK(json.status == 6);
  CHECK(nlohmann::json::parse(json.out)["outcome"] == "in_doubt");
}

TEST_CASE("a step has its time, and no name in it steers the terminal") {
  CHECK(step_line({"drain", "done", 0, 0}) == "     0.0 ms      0.0 ms  drain\n");
  CHECK(step_line({"prove", "refused: 3 rows\ndiffer", 61'000, 999.96}) ==
        "  1 min 1 s   1000.0 ms  prove  refused: 3 rows differ\n");
  CHECK(step_line({"\x1b[31m", "\x1b", 1, 1}) == "     1.0 ms      1.0 ms  \\x1b[31m  \\x1b\n");
}
