// Verification over the control socket.
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
