#include "walign/base.hpp"

#include <thread>

#include "support/catch.hpp"

using namespace walign;

TEST_CASE("an LSN is printed and read as PostgreSQL does") {
  CHECK(Lsn(0x16B374D848).to_string() == "16/B374D848");
  REQUIRE(Lsn::parse("16/B374D848").has_value());
  CHECK(Lsn::parse("16/b374d848")->value == 0x16B374D848);
  for (const char* bad : {"", "/", "1/", "/1", "1", "1/2/3", "1/123456789", "g/1", " 1/2", "1/2 ", "-1/2"}) {
    CHECK_FALSE(Lsn::parse(bad).has_value());
  }
}

TEST_CASE("an insert position past a page header is the page's start") {
  CHECK(Lsn(0x3000028).without_page_header() == Lsn(0x3000000));  // long header at a segment's start
  CHECK(Lsn(0x3002018).without_page_header() == Lsn(0x3002000));  // short header
  CHECK(Lsn(0x3002028).without_page_header() == Lsn(0x3002028));  // 40 bytes in, not a segment's start
  CHECK(Lsn(0x3002100).without_page_header() == Lsn(0x3002100));
}

TEST_CASE("a 32-bit transaction id is widened to the nearest one") {
  const Xid reference((3ULL << 32U) + 10);
  CHECK(Xid::widen(9, reference) == Xid((3ULL << 32U) + 9));
  CHECK(Xid::widen(0xFFFFFFF0U, reference) == Xid((2ULL << 32U) + 0xFFFFFFF0U));
  CHECK(Xid::widen(12, Xid((2ULL << 32U) + 0xFFFFFFF0U)) == Xid((3ULL << 32U) + 12));
}

TEST_CASE("a snapshot tells inside from outside") {
  const auto snapshot = Snapshot::parse("10:20:10,14,15");
  REQUIRE(snapshot);
  CHECK(snapshot->inside(Xid(9)));
  CHECK_FALSE(snapshot->inside(Xid(10)));
  CHECK(snapshot->inside(Xid(11)));
  CHECK_FALSE(snapshot->inside(Xid(14)));
  CHECK(snapshot->inside(Xid(19)));
  CHECK_FALSE(snapshot->inside(Xid(20)));
  CHECK(snapshot->to_string() == "10:20:10,14,15");
  CHECK(Snapshot::parse("10:10:")->running.empty());
  for (const char* bad :
       {"", "10", "10:20", "20:10:", "10:20:14,10", "10:20:9", "10:20:20", "10:20:14,", "a:b:"}) {
    CHECK_FALSE(Snapshot::parse(bad).has_value());
  }
}

TEST_CASE("a read that does not fit moves nothing and names its field") {
  ByteReader reader(as_bytes(std::string_view("\0\1\2", 3)));
  CHECK(reader.u8("first") == 0);
  try {
    reader.u32("length");
    FAIL("should have thrown");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::malformed);
    CHECK(error.message() == "field length at offset 1 needs 4 bytes, 2 are left");
  }
  CHECK(reader.offset() == 1);
  CHECK(reader.u16("second") == 0x0102);
  reader.expect_end("test");
  CHECK_THROWS_AS(reader.cstring("name"), Error);
}

TEST_CASE("a queue is bounded by bytes and tells when there is room") {
  int room = 0;
  BoundedQueue<int> queue(10, [&] { ++room; });
  queue.push(1, 6);
  CHECK_FALSE(queue.full());
  queue.push(2, 6);
  CHECK(queue.full());
  CHECK(queue.pop(std::chrono::milliseconds(0)) == 1);
  CHECK(room == 1);
  CHECK(queue.pop(std::chrono::milliseconds(0)) == 2);
  CHECK(room == 1);
  CHECK_FALSE(queue.pop(std::chrono::milliseconds(1)).has_value());
  queue.push(3, 1);
  queue.close(std::make_exception_ptr(Error(ErrorKind::connection, "gone")));
  CHECK(queue.pop(std::chrono::milliseconds(0)) == 3);
  CHECK_THROWS_AS(queue.pop(std::chrono::milliseconds(0)), Error);
}

TEST_CASE("an interrupt ends a sleep in another thread") {
  Interrupt interrupt;
  std::thread other([&] { interrupt.raise(); });
  CHECK_THROWS_AS(interrupt.sleep_for(std::chrono::seconds(30)), Error);
  other.join();
  CHECK(interrupt.raised());
}

TEST_CASE("an error is described with its position, state and hint") {
  const auto error =
      Error(ErrorKind::query, "no", "do this").with_sqlstate("42P01").at(Lsn(1)).in("table a.b");
  CHECK(error.describe() == "table a.b: no\n  at: 0/1\n  SQLSTATE: 42P01\n  hint: do this");
  CHECK(remedy(ErrorKind::in_doubt) == Remedy::retry);
  CHECK(exit_status(ErrorKind::precondition) == 3);
}
