// Gates as a pure function of what was measured.
#include "cutover/gates.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::cutover;

namespace {

Figures good() {
  Figures f;
  f.lag_bytes = 0;
  f.lag_seconds = 0.1;
  f.differences = 0;
  f.dead_letters = 0;
  f.books_balance = true;
  f.stable_for = Millis(600'000);
  return f;
}

Gate find(const std::vector<Gate>& gates, const std::string& name) {
  for (const auto& g : gates) {
    if (g.name == name) return g;
  }
  FAIL(name);
  return {};
}

// The only gate that is shut.
std::string shut(const Figures& f, bool gives_way = true) {
  std::string out;
  for (const auto& g : judge({}, f, gives_way)) {
    if (!g.ok) out += (out.empty() ? "" : " ") + g.name;
  }
  return out;
}

}  // namespace

TEST_CASE("gates hold when every figure is within its limit") {
  auto f = good();
  CHECK(all_hold(judge({}, f, true)));
  f.lag_bytes = config::Gates{}.max_lag_bytes;
  f.giver.transactions = {{1, "SELECT 1", 4.9}};
  f.giver.standbys = {{"s1", "streaming", 100}};
  CHECK(all_hold(judge({}, f, true)));
  CHECK(blockers({}, f, true).empty());
}

TEST_CASE("each figure beyond its limit, or not known, shuts its own gate and no other") {
  auto f = good();
  std::string gate;
  SECTION("lag in bytes") {
    f.lag_bytes = config::Gates{}.max_lag_bytes + 1;
    gate = "lag_bytes";
  }
  SECTION("lag unknown") {
    f.lag_bytes.reset();
    gate = "lag_bytes";
  }
  SECTION("lag in seconds") {
    f.lag_seconds = 2.1;
    gate = "lag_seconds";
  }
  SECTION("lag in seconds unknown") {
    f.lag_seconds.reset();
    gate = "lag_seconds";
  }
  SECTION("differences") {
    f.differences = 1;
    gate = "differences";
  }
  SECTION("never verified") {
    f.differences.reset();
    gate = "differences";
  }
  SECTION("dead letters") {
    f.dead_letters = 1;
    gate = "dead_letters";
  }
  SECTION("books") {
    f.books_balance = false;
    gate = "books";
  }
  SECTION("books unknown") {
    f.books_balance.reset();
    gate = "books";
  }
  SECTION("stable for") {
    f.stable_for = Millis(599'999);
    gate = "stable_for";
  }
  SECTION("stable unknown") {
    f.stable_for.reset();
    gate = "stable_for";
  }
  SECTION("prepared") {
    f.giver.prepared = {"gid1"};
    gate = "prepared_transactions";
  }
  SECTION("oldest") {
    f.giver.transactions = {{1, "q", 5.1}};
    gate = "oldest_transaction";
  }
  SECTION("standby behind") {
    f.giver.standbys = {{"s1", "streaming", config::Gates{}.max_lag_bytes + 1}};
    gate = "standbys";
  }
  SECTION("standby catching up") {
    f.taker.standbys = {{"s1", "catchup", 0}};
    gate = "taker_standbys";
  }
  CHECK(shut(f) == gate);
}

TEST_CASE("an autovacuum shuts the gate only where it would not give way") {
  auto f = good();
  f.giver.holders = {{7, "public.t", "ShareUpdateExclusiveLock", "autovacuum: VACUUM public.t", true}};
  CHECK(shut(f, true).empty());
  CHECK(shut(f, false) == "lock_holders");
  f.giver.holders[0].gives_way = false;
  CHECK(shut(f, true) == "lock_holders");
  const auto gate = find(judge({}, f, true), "lock_holders");
  CHECK(gate.value == "public.t by pid 7 (ShareUpdateExclusiveLock)");
  CHECK(gate.limit == "none");
}

TEST_CASE("blockers are named once, with what they run") {
  auto f = good();
  f.giver.transactions = {{1, "SELECT pg_sleep(60)", 60}, {2, "SELECT 2", 1}, {3, "VACUUM t", 9}};
  f.giver.holders = {{3, "public.t", "ShareUpdateExclusiveLock", "VACUUM t", false},
                     {4, "public.u", "ShareLock", "CREATE INDEX i ON u (v)", false}};
  const std::vector<Blocker> expected = {
      {1, "SELECT pg_sleep(60)"}, {3, "VACUUM t"}, {4, "CREATE INDEX i ON u (v)"}};
  CHECK(blockers({}, f, true) == expected);
}

TEST_CASE("sessions that cannot be seen are said, and do not shut the gate by themselves") {
  auto f = good();
  f.giver.hidden_sessions = 3;
  const auto gate = find(judge({}, f, true), "oldest_transaction");
  CHECK(gate.ok);
  CHECK(gate.value == "0.0 s; the age of 3 sessions is hidden (GRANT pg_read_all_stats)");
}

TEST_CASE("a proof that took longer than writes may wait shuts a gate, which names what is compared whole") {
  auto f = good();
  f.max_pause = Millis(2'000);
  f.proof_ms = 1'999;
  CHECK(shut(f).empty());
  f.compared_whole = {"public.log"};
  f.proof_ms = 2'300;
  CHECK(shut(f) == "proof");
  const auto gate = find(judge({}, f, true), "proof");
  CHECK(gate.value == "2300 ms; compared whole, without a key: public.log");
  CHECK(gate.limit == "less than 2000 ms (cutover.max_pause)");
  f.proof_ms.reset();
  CHECK(shut(f).empty());  // a dry run before anything was compared; another gate says so
}
