// What the sidecar says to its service manager, look by look.
#include "support/catch.hpp"
#include "walign/supervision.hpp"

using namespace walign;
using namespace walign::service;
using namespace std::chrono_literals;

namespace {

constexpr Silence kShort = std::chrono::duration<double>(0.1);

// Says what there is to say, and takes it.
struct Told {
  explicit Told(std::optional<std::chrono::microseconds> watchdog = std::nullopt) : supervision(watchdog) {}
  std::string look(bool is_started, const std::string& line = "line", Silence silence = kShort,
                   bool stopping = false) {
    const Supervision::Look its{is_started, stopping, silence, line, now};
    const auto lines = supervision.say(its);
    supervision.said(lines, its);
    return lines;
  }
  Supervision supervision;
  Supervision::Time now = Supervision::Time(1h);
};

}  // namespace

TEST_CASE("a start has an outcome when it streams, or tries again after what goes away by itself") {
  stream::Status status;
  CHECK_FALSE(started(status));
  status.last_error = "no connection to old:5432/app";
  status.tries_again = true;
  CHECK(started(status));
  status.tries_again = false;
  status.connected = true;
  CHECK(started(status));
}

TEST_CASE("a start that ends by an error has none") {
  stream::Status status;
  status.last_error = "public.users is not on the source";
  CHECK_FALSE(started(status));
}

TEST_CASE("ready is said once") {
  Told told;
  CHECK(told.look(false, "new") == "STATUS=new\nEXTEND_TIMEOUT_USEC=60000000");
  CHECK(told.look(true, "streaming") == "READY=1\nSTATUS=streaming");
  CHECK(told.look(true, "streaming").empty());
  CHECK(told.look(false, "connecting") == "STATUS=connecting");
}

TEST_CASE("a start that waits asks for more time, as long as the loop has a pulse") {
  Told told;
  CHECK(told.look(false) == "STATUS=line\nEXTEND_TIMEOUT_USEC=60000000");
  told.now += 1s;
  CHECK(told.look(false).empty());
  told.now += 5s;
  CHECK(told.look(false) == "EXTEND_TIMEOUT_USEC=60000000");
  told.now += 5s;
  CHECK(told.look(false, "line", 61s).empty());
}

TEST_CASE("the watchdog is fed four times in its interval while the loop has a pulse") {
  Told told(20s);
  CHECK(told.look(true) == "READY=1\nSTATUS=line\nWATCHDOG=1");
  told.now += 4s;
  CHECK(told.look(true).empty());
  told.now += 1s;
  CHECK(told.look(true) == "WATCHDOG=1");
}

TEST_CASE("a loop without a pulse does not feed the watchdog, one that waits does") {
  Told told(20s);
  (void)told.look(true);
  told.now += 6s;
  CHECK(told.look(true, "line", 10.5s).empty());
  CHECK(told.look(true, "line", 0.9s) == "WATCHDOG=1");
  told.now += 6s;
  CHECK(told.look(true, "line", std::nullopt) == "WATCHDOG=1");
}

TEST_CASE("stopping is said once, and asks for no time") {
  Told told;
  CHECK(told.look(false, "line", kShort, true) == "STOPPING=1\nSTATUS=line");
  CHECK(told.look(false, "line", kShort, true).empty());
}

TEST_CASE("what a status says of itself is not taken for a line") {
  Told told;
  CHECK(told.look(false, "x\nREADY=1 STOPPING=1") ==
        "STATUS=x READY=1 STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000");
  CHECK(told.look(true, "line", kShort, true) == "READY=1\nSTOPPING=1\nSTATUS=line");
}

TEST_CASE("what was not taken is said again, and a status is one line") {
  const Supervision supervision(std::nullopt);
  const Supervision::Look look{true, false, kShort, "a\nb", Supervision::Time(1h)};
  CHECK(supervision.say(look) == "READY=1\nSTATUS=a b");
  CHECK(supervision.say(look) == "READY=1\nSTATUS=a b");
}

TEST_CASE("without a watchdog a minute is too long") {
  CHECK(alive(std::nullopt, std::nullopt));
  CHECK(alive(59s, std::nullopt));
  CHECK_FALSE(alive(61s, std::nullopt));
}
