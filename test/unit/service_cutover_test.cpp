// The change of sides: as JSON, in words, and over the control socket.
#include <atomic>
#include <thread>

#include "cutover/gates.hpp"
#include "service_test.hpp"

using namespace walign;
using namespace walign::service;
using cutover::Controller;
using cutover::Extent;
using cutover::Request;
using cutover::Result;
using cutover::Verb;

namespace {

constexpr std::chrono::milliseconds kNow{0}, kWatch{1000};

Controller::Watch ended_watch() {
  Controller::Watch watch;
  watch.request = Request{Verb::rollback, Extent::rehearse};
  watch.steps = {{"gate", "done", 3.5, 2.25}, {"prove", "refused: \"a\"\n", 4, 0.5}};
  Result result;
  result.outcome = Result::Outcome::backed_out;
  result.message = "out of max_pause";
  result.hint = "try again";
  result.writes = "target";
  result.epoch = 18'446'744'073'709'551'615U;
  result.steps = {{"gate", "done", 3.5, 2.25}};
  result.report = "{\"epoch\": 3,\n \"note\": \"\\\"\"}";
  result.report_file = "/var/lib/walign/reports/3.json";
  watch.result = result;
  return watch;
}

bool same(const std::vector<cutover::Progress>& a, const std::vector<cutover::Progress>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.step == y.step && x.text == y.text && x.at_ms == y.at_ms && x.took_ms == y.took_ms;
  });
}

Handlers of(Controller& controller) {
  Handlers out;
  out.status = [] { return streaming_status(); };
  out.change_sides = [&controller](const Request& request) { controller.ask(request); };
  out.cancel_change = [&controller] { controller.cancel(); };
  out.watch_change = [&controller](std::size_t seen, std::chrono::milliseconds timeout) {
    return controller.watch(seen, timeout);
  };
  return out;
}

// A change of sides that goes on until it is let go or cancelled.
struct Slow {
  std::atomic<bool> let_go{false};
  Controller controller{
      [this](const Request&, const Controller::Tell& tell, const std::atomic<bool>& cancelled) {
        tell({"gate", "done", 1, 1});
        while (!let_go && !cancelled) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        Result out;
        out.outcome = cancelled ? Result::Outcome::backed_out : Result::Outcome::done;
        out.report = "{}";
        return out;
      }};
};

}  // namespace

TEST_CASE("what is asked for survives its way as JSON") {
  for (const auto verb : {Verb::cutover, Verb::rollback}) {
    for (const auto extent : {Extent::real, Extent::rehearse, Extent::dry_run}) {
      CHECK(change_request(change_request_json({verb, extent})) == Request{verb, extent});
    }
  }
  CHECK(change_request_json({Verb::rollback, Extent::dry_run}) ==
        R"({"verb":"rollback","extent":"dry_run"})");
  const Request accepted{Verb::rollback, Extent::real, true};
  CHECK(change_request(change_request_json(accepted)) == accepted);
  auto watch = ended_watch();
  watch.request = accepted;
  CHECK(watch_of(watch_json(watch)).request == accepted);
  CHECK(change_request("{}") == Request{Verb::cutover, Extent::real});
}

TEST_CASE("what is no request to change sides is refused") {
  for (const char* text : {"", "[]", "{", "null", R"({"verb": "cut"})", R"({"verb": 1})",
                           R"({"extent": "full"})", R"({"verbs": "cutover"})", R"({"extent": null})",
                           R"({"verb": "real"})", R"({"verb": "rollback", "accept_loss": "yes"})"}) {
    INFO(text);
    const auto error = refusal([&] { (void)change_request(text); });
    CHECK(error.kind() == ErrorKind::usage);
    CHECK(has(error.hint(), "rehearse"));
  }
}

TEST_CASE("what is told of a change of sides survives its way as JSON") {
  const auto sent = ended_watch();
  const auto got = watch_of(watch_json(sent));
  CHECK(!got.running);
  CHECK(got.request == sent.request);
  CHECK(same(got.steps, sent.steps));
  CHECK(got.failed.empty());
  REQUIRE(got.result);
  CHECK(got.result->outcome == sent.result->outcome);
  CHECK(got.result->message == sent.result->message);
  CHECK(got.result->hint == sent.result->hint);
  CHECK(got.result->writes == sent.result->writes);
  CHECK(got.result->epoch == sent.result->epoch);
  CHECK(same(got.result->steps, sent.result->steps));
  CHECK(got.result->report == sent.result->report);
  CHECK(got.result->report_file == sent.result->report_file);
}

TEST_CASE("every outcome survives its way as JSON, and so does an error") {
  for (const auto outcome : {Result::Outcome::done, Result::Outcome::gate, Result::Outcome::backed_out,
                             Result::Outcome::in_doubt, Result::Outcome::hook_failed}) {
    auto watch = ended_watch();
    watch.result->outcome = outcome;
    CHECK(watch_of(watch_json(watch)).result->outcome == outcome);
  }
  Controller::Watch failed;
  failed.running = true;
  failed.failed = "a server has gone\n  hint: wait";
  const auto got = watch_of(watch_json(failed));
  CHECK(got.running);
  CHECK(!got.request);
  CHECK(!got.result);
  CHECK(got.failed == failed.failed);
}

TEST_CASE("an account of a change of sides has every field, null where nothing is known") {
  CHECK(watch_json({}) == R"({
  "running": false,
  "request": null,
  "steps": [],
  "result": null,
  "failed": null
}
)");
  CHECK(result_json(*ended_watch().result) == R"({
  "outcome": "backed_out",
  "message": "out of max_pause",
  "hint": "try again",
  "writes": "target",
  "epoch": 18446744073709551615,
  "steps": [
    {
      "step": "gate",
      "text": "done",
      "at_ms": 3.5,
      "took_ms": 2.25
    }
  ],
  "report_file": "/var/lib/walign/reports/3.json"
}
)");
}

TEST_CASE("an account that is not one is refused with what is wrong in it") {
  const std::string good = watch_json(ended_watch());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string out = good;
    REQUIRE(has(out, from));
    return out.replace(out.find(from), from.size(), to);
  };
  for (const auto& [json, says] : std::vector<std::pair<std::string, std::string>>{
           {"", "not an object"},
           {"[]", "not an object"},
           {"{}", "running"},
           {with("\"running\": false", "\"running\": 0"), "running"},
           {with("\"rollback\"", "\"rollover\""), "verb"},
           {with("\"at_ms\": 3.5", "\"at_ms\": \"3.5\""), "at_ms"},
           {with("\"backed_out\"", "\"fine\""), "outcome"},
           {with("18446744073709551615", "-1"), "epoch"},
           {with("\"report\"", "\"paper\""), "report"},
           {with("\"failed\": null", "\"failed\": []"), "failed"},
       }) {
    INFO(json);
    const auto error = refusal([&, &text = json] { (void)watch_of(text); });
    CHECK(error.kind() == ErrorKind::malformed);
    CHECK(has(error.message(), says));
    CHECK(!error.hint().empty());
  }
}

TEST_CASE("who takes writes is told from the two rows") {
  using Text = std::optional<std::string>;
  const Text none, open("OPEN"), closed("CLOSED"), fenced("FENCED"), sealed("SEALED"), aborted("ABORTED");
  const Text lease("2026-01-31T12:00:00.000000Z");
  CHECK(who_takes_writes(none, none, none).empty());
  CHECK(who_takes_writes(open, closed, none) == "the source");
  CHECK(who_takes_writes(open, none, none) == "the source");
  CHECK(who_takes_writes(open, aborted, none) == "the source");
  CHECK(who_takes_writes(sealed, open, none) == "the target");
  CHECK(who_takes_writes(open, sealed, none) == "the source");
  CHECK(who_takes_writes(fenced, none, lease).empty());
  CHECK(has(who_takes_writes(fenced, closed, lease), "nobody: source FENCED, target CLOSED"));
  CHECK(has(who_takes_writes(fenced, closed, lease),
            "the source takes them again from 2026-01-31T12:00:00.000000Z on"));
  CHECK(has(who_takes_writes(closed, Text("FENCING"), none),
            "the target takes them again when the lease is over"));
  CHECK(has(who_takes_writes(sealed, closed, none), "walign recover"));
  CHECK(has(who_takes_writes(open, open, none), "both"));
}

TEST_CASE("every gate has something that opens it") {
  const auto gates = cutover::judge({}, {}, false);
  CHECK(gates.size() > 5);
  for (const auto& gate : gates) {
    INFO(gate.name);
    CHECK(!gate_remedy(gate.name, gate.value).empty());
  }
  CHECK(gate_remedy("differences", "unknown") != gate_remedy("differences", "3"));
  CHECK(gate_remedy("weather", "bad").empty());
}

TEST_CASE("a change of sides is begun, watched and cancelled over the control socket") {
  const TemporaryDirectory directory;
  Slow slow;
  const ControlServer server(directory.path(), of(slow.controller));
  const ControlClient client(directory.path());
  CHECK(refusal([&] { client.cancel_change(); }).kind() == ErrorKind::precondition);
  client.change_sides({Verb::rollback, Extent::rehearse});
  const auto first = client.watch_change(0, kWatch);
  CHECK(first.running);
  CHECK(first.request == Request{Verb::rollback, Extent::rehearse});
  REQUIRE(first.steps.size() == 1);
  CHECK(first.steps[0].step == "gate");
  const auto twice = refusal([&] { client.change_sides({}); });
  CHECK(twice.kind() == ErrorKind::precondition);
  CHECK(has(twice.message(), "under way already"));
  CHECK(!twice.hint().empty());
  client.cancel_change();
  auto last = client.watch_change(1, kWatch);
  while (last.running) last = client.watch_change(1, kWatch);
  CHECK(last.steps.empty());
  REQUIRE(last.result);
  CHECK(last.result->outcome == Result::Outcome::backed_out);
  CHECK(last.result->report == "{}");
}

TEST_CASE("whoever watches is told at once when it goes on") {
  const TemporaryDirectory directory;
  Slow slow;
  const ControlServer server(directory.path(), of(slow.controller));
  const ControlClient client(directory.path());
  client.change_sides({});
  (void)client.watch_change(0, kWatch);
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    slow.let_go = true;
  });
  const auto before = std::chrono::steady_clock::now();
  const auto watch = client.watch_change(1, kWatch);
  later.join();
  CHECK(!watch.running);
  CHECK(std::chrono::steady_clock::now() - before >= std::chrono::milliseconds(90));
}

TEST_CASE("many who watch do not keep a status waiting") {
  const TemporaryDirectory directory;
  std::atomic<int> waiting{0}, most{0};
  std::atomic<bool> over{false};
  Handlers handlers;
  handlers.status = [] { return streaming_status(); };
  handlers.change_sides = [](const Request&) {};
  handlers.cancel_change = [] {};
  handlers.watch_change = [&](std::size_t, std::chrono::milliseconds timeout) {
    if (timeout == kNow) return Controller::Watch();
    const int now = ++waiting;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) continue;
    while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --waiting;
    return Controller::Watch();
  };
  const ControlServer server(directory.path(), handlers);
  const ControlClient client(directory.path());
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) threads.emplace_back([&] { (void)client.watch_change(0, kWatch); });
  while (waiting == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (int i = 0; i < 20; ++i) CHECK(client.status_json() == status_json(streaming_status()));
  CHECK(waiting >= 1);
  over = true;
  for (auto& thread : threads) thread.join();
  CHECK(most <= 4);
}

TEST_CASE("whoever wants to wait long is answered within a second or so, so that the server can end") {
  const TemporaryDirectory directory;
  std::atomic<std::int64_t> longest{0};
  Slow slow;
  auto handlers = of(slow.controller);
  handlers.watch_change = [&](std::size_t, std::chrono::milliseconds timeout) {
    longest = timeout.count();
    return Controller::Watch();
  };
  const ControlServer server(directory.path(), handlers);
  (void)ControlClient(directory.path()).watch_change(0, std::chrono::hours(1));
  CHECK(longest == 1000);
}

TEST_CASE("what is malformed is answered with 400 and a hint, and begins nothing") {
  const TemporaryDirectory directory;
  Slow slow;
  const ControlServer server(directory.path(), of(slow.controller));
  const std::string path = directory.path() + "/control.sock";
  const auto ask = [&](const char* method, const char* target) {
    return converse(connect_unix(path), request(method, target));
  };
  for (const char* target : {"/v1/cutover", "/v1/cutover?request=", "/v1/cutover?request=%7B",
                             "/v1/cutover?request=%7B%22verb%22%3A%22x%22%7D"}) {
    INFO(target);
    const auto response = ask("POST", target);
    CHECK(response.substr(9, 3) == "400");
    CHECK(has(response, "\"hint\": \""));
    CHECK(!has(response, "\"hint\": \"\""));
  }
  for (const char* target : {"/v1/cutover?seen=-1", "/v1/cutover?seen=x", "/v1/cutover?wait_ms=1s",
                             "/v1/cutover?seen=99999999999999999999", "/v1/cutover?seen="}) {
    INFO(target);
    CHECK(ask("GET", target).substr(9, 3) == "400");
  }
  CHECK(ask("GET", "/v1/cutover/cancel").substr(9, 3) == "404");
  CHECK(ask("POST", "/v1/cutover/begin").substr(9, 3) == "404");
  CHECK(ask("POST", "/v1/cutover/cancel").substr(9, 3) == "409");
  CHECK(ask("GET", "/v1/cutover").substr(9, 3) == "200");
  CHECK(!slow.controller.watch(0, kNow).request);
}

TEST_CASE(
    "a sidecar that is gone in the middle is an error of the connection, one that cannot change sides a "
    "refusal") {
  const TemporaryDirectory directory;
  Slow slow;
  const ControlClient client(directory.path());
  {
    const ControlServer server(directory.path(), of(slow.controller));
    client.change_sides({});
  }
  CHECK(refusal([&] { (void)client.watch_change(0, kNow); }).kind() == ErrorKind::connection);
  CHECK(refusal([&] { client.change_sides({}); }).kind() == ErrorKind::precondition);
  Calls calls;
  const ControlServer other(directory.path(), remembering(calls));
  CHECK(refusal([&] { client.change_sides({}); }).kind() == ErrorKind::precondition);
}
