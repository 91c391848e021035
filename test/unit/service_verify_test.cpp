// Verification over the control socket.
#include "service/verifications.hpp"
#include "service_test.hpp"

using namespace walign;
using namespace walign::service;

TEST_CASE("a request to verify reaches the verifier as it was meant") {
  const TemporaryDirectory directory;
  Calls calls;
  const ControlServer server(directory.path(), remembering(calls));
  const ControlClient client(directory.path());
  CHECK(client.verify({}) == 7);
  CHECK(client.verify({{"public.\"a & b\"", "x"}, true, true, {}}) == 7);
  CHECK(client.verify({{"t"}, false, false, {"ké/y?", "=2"}}) == 7);
  CHECK(calls.all() ==
        std::vector<std::string>{"verify  ", "verify public.\"a & b\"+x all repair ", "verify t ké/y?+=2"});
}

TEST_CASE("a report says what differs, null where there is no value") {
  const TemporaryDirectory directory;
  Calls calls;
  const ControlServer server(directory.path(), remembering(calls));
  CHECK(ControlClient(directory.path()).verification_json(12) == R"({
  "id": 12,
  "done": false,
  "clean": false,
  "tables": [
    {
      "table": "public.users -> public.users",
      "state": "comparing",
      "whole": false,
      "rows": 0,
      "rows_estimated": 0,
      "differences": 1,
      "violations": 0,
      "repaired": 0,
      "verified_at_lsn": null,
      "notes": [],
      "error": null,
      "rows_that_differ": [
        {
          "kind": "different",
          "key": {
            "id": "5"
          },
          "source_key": [],
          "columns": [
            {
              "column": "v",
              "source": null,
              "target": "x"
            }
          ]
        }
      ]
    }
  ]
}
)");
}

TEST_CASE("what is no request to verify is refused") {
  for (const char* text :
       {"", "[]", "{", R"({"all": 1})", R"({"tables": "a"})", R"({"key": [1]})", R"({"al": true})"}) {
    INFO(text);
    try {
      (void)verification_request(text);
      FAIL("taken");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::usage);
      CHECK_FALSE(error.hint().empty());
    }
  }
  CHECK(verification_request("{}").tables.empty());
}

TEST_CASE("a sidecar that does not verify says so") {
  const TemporaryDirectory directory;
  Calls calls;
  auto handlers = remembering(calls);
  handlers.verify = nullptr;
  const ControlServer server(directory.path(), handlers);
  CHECK_THROWS_AS(ControlClient(directory.path()).verify({}), Error);
}

namespace {

// A verifier whose reports are of a table with its own name.
class Fake : public verify::Verifier {
 public:
  explicit Fake(std::string name) : name_(std::move(name)) {}
  std::uint64_t begin(const verify::Request& /*request*/) override { return ++last_; }
  verify::Report result(std::uint64_t id) const override {
    verify::Report report;
    report.id = id;
    report.done = true;
    report.tables.emplace_back().table = cat(name_, " ", id);
    return report;
  }
  verify::Report await(std::uint64_t id, std::chrono::milliseconds /*timeout*/) override {
    return result(id);
  }

  void distrust() override {}
  void start(const Session& /*session*/) override {}
  void stop() override {}
  bool active() const override { return false; }
  std::optional<Judgement> judge(const event::TransactionPart& /*part*/, Xid /*xid*/) override {
    return Judgement();
  }
  void committed(Lsn /*position*/, Lsn /*reached*/, std::optional<Xid> /*next*/) override {}
  Lsn awaited() const override { return Lsn(); }
  void wait(std::chrono::milliseconds /*timeout*/) override {}
  void check() override {}
  void report(stream::Status& /*status*/) const override {}
  void pause(bool /*paused*/) override {}
  void lag(std::int64_t /*bytes*/) override {}

 private:
  std::string name_;
  std::uint64_t last_ = 0;
};

}  // namespace

TEST_CASE("a verification of the other direction is not taken for one of this") {
  Fake forward("forward"), reverse("reverse");
  verify::Verifier* now = &forward;
  Verifications numbers([&]() -> verify::Verifier& { return *now; });
  const auto first = numbers.begin({});
  const auto second = numbers.begin({});
  CHECK(first != second);
  CHECK(numbers.result(second).tables.at(0).table == "forward 2");
  CHECK(numbers.result(second).id == second);
  now = &reverse;
  const auto error = refusal([&] { (void)numbers.result(first); });
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(has(error.message(), "the sides have changed"));
  const auto third = numbers.begin({});
  CHECK(third != first);
  CHECK(numbers.result(third).tables.at(0).table == "reverse 1");
  now = &forward;
  CHECK(numbers.result(first).tables.at(0).table == "forward 1");
}

TEST_CASE("the newest verifications are kept, and one that is not known is refused") {
  Fake only("t");
  Verifications numbers([&]() -> verify::Verifier& { return only; });
  CHECK(refusal([&] { (void)numbers.result(1); }).kind() == ErrorKind::precondition);
  for (int i = 0; i < 100; ++i) (void)numbers.begin({});
  CHECK(numbers.result(100).done);
  CHECK(refusal([&] { (void)numbers.result(1); }).kind() == ErrorKind::precondition);
}
