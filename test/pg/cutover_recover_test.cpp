// recover, with nothing but the two servers' connection strings, from every half-done pair of rows; and the drain.
#include "cutover/drain.hpp"
#include "fence_test.hpp"
#include "walign/cutover.hpp"

using namespace walign;
using namespace walign::test;

namespace {

constexpr const char* kName = "walign_m";

class Halves {
 public:
  Halves() {
    for (auto* bed : {&source, &target}) {
      bed->one_table();
      install_fence(*bed->giver);
    }
  }
  // Both rows as they were left, with the triggers of the attempt.
  void left(RowState at_source, RowState at_target, std::uint64_t target_epoch = 3) {
    put(source, Side::source, 3, at_source);
    put(target, Side::target, target_epoch, at_target);
  }
  Result recover(Recovery::Gone gone = Recovery::Gone::neither) {
    Recovery recovery;
    recovery.source = source.options().conninfo;
    recovery.target = target.options().conninfo;
    if (gone == Recovery::Gone::source) recovery.source = "host=/nonexistent";
    if (gone == Recovery::Gone::target) recovery.target = "host=/nonexistent";
    recovery.gone = gone;
    return cutover::recover(recovery, [this](const Progress& p) { steps += p.step + " "; });
  }
  std::string open_side() {
    const std::string id = std::to_string(next_++);
    const bool s = outcome(source.app, "INSERT INTO t VALUES (" + id + ", 'w')") == "ok";
    const bool t = outcome(target.app, "INSERT INTO t VALUES (" + id + ", 'w')") == "ok";
    return s && t ? "both" : s ? "source" : t ? "target" : "none";
  }
  FenceBed source, target;
  std::string steps;

 private:
  static void put(FenceBed& bed, Side side, std::uint64_t epoch, RowState state) {
    const FenceId id{kName, side};
    const Guard guard{id, "elsewhere:1/app"};
    insert_row(*bed.giver, id, {epoch, RowState::closed, 7, {}, {}});
    close_tables(*bed.giver, guard, *read_row(*bed.giver, id), bed.mapped, bed.limits());
    const bool leased = state == RowState::fencing || state == RowState::fenced;
    bed.admin.exec("UPDATE walign.fence SET state = '" + std::string(state_name(state)) +
                   "', lease_until = " + (leased ? "now() + interval '1 hour'" : "NULL"));
  }
  int next_ = 1000;
};

}  // namespace

TEST_CASE("what is fenced or sealed and not open is backed out, the taker first") {
  for (const RowState state : {RowState::fencing, RowState::fenced, RowState::sealed}) {
    Halves halves;
    halves.left(state, RowState::closed);
    CHECK(halves.open_side() == "none");
    const auto result = halves.recover();
    INFO(state_name(state));
    CHECK(result.outcome == Result::Outcome::done);
    CHECK(result.writes == "source");
    CHECK(result.message == "writes go to the source");
    CHECK(halves.steps == "abort reopen ");
    CHECK(halves.open_side() == "source");
    CHECK(halves.source.admin.scalar<int>("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0);
    CHECK(halves.recover().outcome == Result::Outcome::done);  // again: nothing to do
  }
}

TEST_CASE("a giver whose attempt is dead, or whose taker was aborted, is reopened") {
  for (const auto& [taker, epoch] : {std::pair(RowState::closed, 4U), std::pair(RowState::aborted, 3U)}) {
    Halves halves;
    halves.left(RowState::fenced, taker, epoch);
    CHECK(halves.recover().writes == "source");
    CHECK(halves.steps == "reopen ");
    CHECK(halves.open_side() == "source");
  }
}

TEST_CASE("what is open stays open, and the operator is told of the hook") {
  Halves halves;
  halves.left(RowState::sealed, RowState::open);
  const auto result = halves.recover();
  CHECK(result.outcome == Result::Outcome::done);
  CHECK(result.writes == "target");
  CHECK(result.hint.find("switch hook") != std::string::npos);
  CHECK(halves.open_side() == "target");
}

TEST_CASE("rows to which no step leads are left alone, with what a human should look at") {
  Halves halves;
  halves.left(RowState::fenced, RowState::open);
  const auto result = halves.recover();
  CHECK(exit_status(result.outcome) == 6);
  CHECK(result.writes.empty());
  CHECK(result.hint.find("walign.fence") != std::string::npos);
  CHECK(read_row(*halves.source.giver, {kName, Side::source})->state == RowState::fenced);
}

TEST_CASE("when the other server is gone for ever, its name is said and the one that is left is opened") {
  Halves halves;
  halves.left(RowState::sealed, RowState::closed);
  SECTION("the target") {
    CHECK(halves.recover(Recovery::Gone::target).writes == "source");
    CHECK(read_row(*halves.source.giver, {kName, Side::source})->epoch == 4);
    CHECK(halves.open_side() == "source");
  }
  SECTION("the source") {
    CHECK(halves.recover(Recovery::Gone::source).writes == "target");
    CHECK(halves.open_side() == "target");
  }
}

TEST_CASE("servers without a fence, or exchanged, are refused") {
  Halves halves;
  CHECK_THROWS_AS(halves.recover(), Error);
  halves.left(RowState::sealed, RowState::closed);
  Recovery exchanged;
  exchanged.source = halves.target.options().conninfo;
  exchanged.target = halves.source.options().conninfo;
  CHECK_THROWS_AS(cutover::recover(exchanged, {}), Error);
}

TEST_CASE("the drain waits for the fence LSN and the position, and then they are flushed") {
  FenceBed bed;
  install_fence(*bed.giver);
  const FenceId id{kName, Side::target};
  insert_row(*bed.giver, id, {3, RowState::closed, 7, {}, {}});
  bed.giver->exec("CREATE TABLE walign.stream (name text, position pg_lsn)");
  bed.giver->exec("INSERT INTO walign.stream VALUES ('walign_m', '0/100')");
  int pauses = 0;
  std::function<void()> meanwhile;
  const auto drained = [&](std::uint64_t epoch, Millis left) {
    return drain(*bed.giver, id, epoch, kName, left, [&](Millis) {
      if (++pauses == 3 && meanwhile) meanwhile();
    });
  };
  CHECK(drained(2, Millis(10)).kind == Answer::Kind::refused);
  auto answer = drained(3, Millis(10));
  CHECK(answer.kind == Answer::Kind::given_up);
  CHECK(answer.why.find("has not met the fence's marker") != std::string::npos);
  bed.admin.exec("UPDATE walign.fence SET fence_lsn = '0/200'");
  answer = drained(3, Millis(10));
  CHECK(answer.kind == Answer::Kind::given_up);
  CHECK(answer.why.find("before the fence at 0/200") != std::string::npos);
  pauses = 0;
  Lsn moved;
  meanwhile = [&] {
    // The writer of this server's WAL sleeps for 10 s: an asynchronous commit stays unflushed.
    bed.admin.exec("SET synchronous_commit = off; UPDATE walign.stream SET position = '0/200'");
    moved = *Lsn::parse(bed.admin.scalar<std::string>("SELECT pg_current_wal_insert_lsn()"));
  };
  CHECK(drained(3, Millis(20'000)).kind == Answer::Kind::done);
  REQUIRE(moved.valid());
  CHECK(*Lsn::parse(bed.admin.scalar<std::string>("SELECT pg_current_wal_flush_lsn()")) >= moved);
}
