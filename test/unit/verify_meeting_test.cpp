// When both sides are at one moment, and when a result counts.
#include "support/catch.hpp"
#include "verify/meeting.hpp"

using namespace walign;
using namespace walign::verify;

namespace {

// 10 and 12 are running; 11 and all below 10 are visible.
Snapshot snapshot() { return {Xid(10), Xid(14), {Xid(10), Xid(12)}}; }
const Lsn kFence(100);

}  // namespace

TEST_CASE("before it is open nothing outside the snapshot may be taken") {
  Meeting meeting(snapshot(), kFence);
  CHECK(meeting.may_take(Xid(9)));
  CHECK(meeting.may_take(Xid(11)));
  CHECK_FALSE(meeting.may_take(Xid(10)));
  CHECK_FALSE(meeting.may_take(Xid(14)));
  meeting.opened();
  CHECK(meeting.may_take(Xid(10)));
}

TEST_CASE("it opens before the first transaction outside, or past the fence, once") {
  Meeting meeting(snapshot(), kFence);
  CHECK_FALSE(meeting.must_open(std::nullopt, Lsn(99)));
  CHECK_FALSE(meeting.must_open(Xid(11), Lsn(99)));
  CHECK(meeting.must_open(Xid(12), Lsn(50)));
  CHECK(meeting.must_open(std::nullopt, Lsn(100)));
  meeting.opened();
  CHECK_FALSE(meeting.must_open(std::nullopt, Lsn(100)));
}

TEST_CASE("a result counts when the fence is passed and nothing inside came late") {
  Meeting meeting(snapshot(), kFence);
  CHECK_FALSE(meeting.counts(Lsn(200)));  // not open
  meeting.took(Xid(11), true);            // inside, before: the target has it too
  meeting.opened();
  meeting.took(Xid(12), true);  // outside: neither has it
  CHECK_FALSE(meeting.decided(Lsn(99)));
  CHECK(meeting.counts(Lsn(100)));
  SECTION("what does not touch the table may come late") {
    meeting.took(Xid(13), false);
    CHECK(meeting.counts(Lsn(100)));
  }
  SECTION("what touches it may not") {
    meeting.took(Xid(13), true);
    CHECK(meeting.again());
    CHECK(meeting.decided(Lsn(50)));
    CHECK_FALSE(meeting.counts(Lsn(100)));
  }
}

TEST_CASE("what did not pass the gate spoils it, whatever its number") {
  Meeting meeting(snapshot(), kFence);
  meeting.took(std::nullopt, true);
  CHECK(meeting.again());
}

TEST_CASE("a snapshot must have everything inside that was taken without passing the gate") {
  Unseen unseen;
  unseen.add(std::uint32_t{9});
  unseen.add(std::uint32_t{12});
  unseen.add(Xid(10));
  CHECK_FALSE(unseen.all_inside(snapshot()));
  CHECK(unseen.left() == std::vector<Xid>{Xid(10), Xid(12)});
  unseen.remove(Xid(10));
  CHECK_FALSE(unseen.all_inside(snapshot()));
  CHECK(unseen.all_inside({Xid(13), Xid(14), {}}));
  CHECK(unseen.size() == 0);
}

TEST_CASE("numbers of the stream are widened by the snapshot they are judged by") {
  Unseen unseen;
  unseen.add(std::uint32_t{0xFFFFFFF0});
  const Xid next_epoch((std::uint64_t{1} << 32U) + 100);
  CHECK(unseen.all_inside({next_epoch, next_epoch, {}}));
  unseen.add(std::uint32_t{200});
  CHECK_FALSE(unseen.all_inside({next_epoch, next_epoch, {}}));
}
