#include "service/history.hpp"
#include "service_test.hpp"

using namespace walign;
using namespace walign::service;

namespace {

constexpr std::int64_t kSecond = 1'000'000;

stream::Status copying(std::int64_t rows, std::uint64_t wal = 0x1000) {
  stream::Status status = streaming_status();
  status.phase = "backfilling";
  status.tables[0].state = "backfilling";
  status.tables[0].rows_copied = rows;
  status.tables[0].rows_estimated = 10'000;
  status.tables[0].books.decoded = static_cast<std::uint64_t>(rows) * 2;
  status.source_lsn = Lsn(wal);
  return status;
}

}  // namespace

TEST_CASE("rates are of the last half minute, and none is told of the first look") {
  History history;
  Outlook outlook;
  history.look(copying(0), 5'000, kSecond);
  history.tell(outlook);
  CHECK(outlook.copied_per_second == std::vector<std::optional<double>>{std::nullopt});
  CHECK(!outlook.slot_seconds_left);
  for (int second = 2; second <= 101; ++second) {
    const int gone = second - 1;
    history.look(copying(gone * 100, 0x1000 + 50 * static_cast<std::uint64_t>(gone)), 5'000 - gone * 10,
                 second * kSecond);
  }
  history.tell(outlook);
  REQUIRE(outlook.copied_per_second.size() == 1);
  CHECK(outlook.copied_per_second[0] == 100.0);
  CHECK(outlook.rows_per_second == 200.0);
  CHECK(outlook.wal_bytes_per_second == 50.0);
  CHECK(outlook.slot_seconds_left == 400.0);  // 4,000 bytes are left, 10 a second go

  const auto json = status_json(copying(9'900), outlook);
  CHECK(has(json, "\"rows_per_second\": 100.0"));
  CHECK(has(json, "\"seconds_left\": 1.0"));
  CHECK(has(json, "\"seconds_left\": 400.0"));
}

TEST_CASE("a slot whose room does not shrink is not lost at the present rate") {
  History history;
  Outlook outlook;
  for (int second = 1; second <= 40; ++second) history.look(copying(0), 5'000, second * kSecond);
  history.tell(outlook);
  CHECK(outlook.slot_is_limited == true);
  CHECK(outlook.slot_safe_bytes == 5'000.0);
  CHECK(!outlook.slot_seconds_left);
  CHECK(outlook.wal_bytes_per_second == 0.0);
}

TEST_CASE("without a limit WAL is never lost, and before the first answer nothing is known") {
  History history;
  Outlook outlook;
  history.look(copying(0), std::numeric_limits<double>::quiet_NaN(), kSecond);
  history.tell(outlook);
  CHECK(!outlook.slot_is_limited);
  history.look(copying(0), std::numeric_limits<double>::infinity(), 3 * kSecond);
  history.tell(outlook);
  CHECK(outlook.slot_is_limited == false);
  CHECK(!outlook.slot_safe_bytes);
  CHECK(!outlook.slot_seconds_left);
}

TEST_CASE("another direction, another number of tables or a clock that was put back begins again") {
  History history;
  Outlook outlook;
  for (int second = 1; second <= 10; ++second) history.look(copying(second), 5'000, second * kSecond);
  auto other = copying(11);
  SECTION("direction") {
    other.direction = "reverse";
    history.look(other, 5'000, 11 * kSecond);
  }
  SECTION("tables") {
    other.tables.clear();
    history.look(other, 5'000, 11 * kSecond);
  }
  SECTION("clock") {
    history.look(other, 5'000, 5 * kSecond);
    CHECK(history.samples().size() == 1);
  }
  history.tell(outlook);
  for (const auto& rate : outlook.copied_per_second) CHECK(!rate);
  CHECK(!outlook.rows_per_second);
}

TEST_CASE("what is kept is bounded, however long and often it is looked") {
  History history;
  for (int i = 0; i < 20'000; ++i) history.look(copying(i), 5'000, kSecond + i * kSecond / 5);
  CHECK(history.samples().size() == History::kSamples);
  CHECK(history.samples().back().at_us - history.samples().front().at_us ==
        static_cast<std::int64_t>(History::kSamples - 1) * History::kSampleEveryUs);
}
