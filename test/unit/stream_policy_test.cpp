// The loop's decisions, without a loop.
#include "stream/policy.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::stream;
using namespace std::chrono_literals;

namespace {

Until until_lsn(std::uint64_t lsn) {
  Until until;
  until.lsn = Lsn(lsn);
  return until;
}

Until until_time(std::int64_t time_us) {
  Until until;
  until.time_us = time_us;
  return until;
}

ProgressFacts facts(std::uint64_t progress, std::uint64_t stored, std::chrono::seconds since) {
  ProgressFacts f;
  f.progress = Lsn(progress);
  f.stored = Lsn(stored);
  f.since_stored = since;
  return f;
}

}  // namespace

TEST_CASE("a run without an end never ends") {
  CHECK_FALSE(Until().any());
  CHECK_FALSE(ends_before({}, Lsn(~0ULL), 1'000'000));
  CHECK_FALSE(ends_at({}, Lsn(~0ULL)));
}

TEST_CASE("until an LSN: the commit that begins below it is in, the one that begins at it is not") {
  CHECK_FALSE(ends_before(until_lsn(100), Lsn(99), 0));
  CHECK(ends_before(until_lsn(100), Lsn(100), 0));
  CHECK(ends_before(until_lsn(100), Lsn(101), 0));
}

TEST_CASE("until an LSN: it is over when everything below it was delivered") {
  CHECK_FALSE(ends_at(until_lsn(100), Lsn(99)));
  CHECK(ends_at(until_lsn(100), Lsn(100)));
  CHECK(ends_at(until_lsn(100), Lsn(101)));
}

TEST_CASE("until a time: a commit of exactly that moment is in") {
  CHECK_FALSE(ends_before(until_time(1000), Lsn(5), 1000));
  CHECK(ends_before(until_time(1000), Lsn(5), 1001));
  CHECK_FALSE(ends_at(until_time(1000), Lsn(~0ULL)));  // only its LSN tells, once the time is over
}

TEST_CASE("whichever end comes first ends the run") {
  Until both = until_lsn(100);
  both.time_us = 1000;
  CHECK_FALSE(ends_before(both, Lsn(99), 1000));
  CHECK(ends_before(both, Lsn(100), 1000));
  CHECK(ends_before(both, Lsn(99), 1001));
}

TEST_CASE("a position without rows is stored seldom, and only when it moved") {
  CHECK(worth_storing(facts(200, 100, 10s)));
  CHECK_FALSE(worth_storing(facts(200, 100, 9s)));
  CHECK_FALSE(worth_storing(facts(100, 100, 1h)));
  CHECK_FALSE(worth_storing(facts(99, 100, 1h)));
}

TEST_CASE("on one server what a stored position itself leads to is not worth storing another") {
  ProgressFacts f = facts(1'000'000, 100, 1h);
  f.same_server = true;
  f.our_last_commit = Lsn(1'000'000);
  CHECK_FALSE(worth_storing(f));
  f.our_last_commit = Lsn(2'000'000);
  CHECK_FALSE(worth_storing(f));
  // Behind our commit come our own flush, the server's snapshot of running transactions, a checkpoint's record.
  f.our_last_commit = Lsn(1'000'000 - 500);
  CHECK_FALSE(worth_storing(f));
  f.our_last_commit = Lsn(100);
  CHECK(worth_storing(f));
}

TEST_CASE("the wait before another try doubles from 0.2 s to 15 s, and stays there") {
  CHECK(retry_delay(1) == 200ms);
  CHECK(retry_delay(2) == 400ms);
  CHECK(retry_delay(7) == 12'800ms);
  CHECK(retry_delay(8) == 15'000ms);
  CHECK(retry_delay(1'000'000) == 15'000ms);
  CHECK(retry_delay(0) == 200ms);
}

TEST_CASE("lag is the age of the oldest WAL that was seen and is not applied") {
  LagAge lag;
  CHECK(lag.look(Lsn(100), Lsn(100), 1'000'000) == 0);
  CHECK(lag.look(Lsn(200), Lsn(100), 2'000'000) == 0);  // just seen
  CHECK(lag.look(Lsn(300), Lsn(100), 3'000'000) == 1);
  CHECK(lag.look(Lsn(400), Lsn(250), 5'000'000) == 2);  // 300 was seen two seconds ago
  CHECK(lag.look(Lsn(400), Lsn(400), 6'000'000) == 0);
  for (std::uint64_t i = 1; i <= 5'000; ++i)
    lag.look(Lsn(400 + i), Lsn(400), static_cast<std::int64_t>(i) * 1'000'000);
  CHECK(lag.look(Lsn(9'000), Lsn(400), 5'001'000'000) == 5'000);  // however long it is behind
}
