// Time, crashes and races: who may change the row, and what is left of it.
#include <random>

#include "fence_test.hpp"
#include "support/proxy.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("writes come back by themselves when the lease is over, and not before") {
  FenceBed bed;
  bed.one_table();
  REQUIRE(bed.fence(Millis(400)).done);
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'y')") == "25006");
  CHECK(eventually_true([&] { return outcome(bed.app, "INSERT INTO t VALUES (100, 'y')") == "ok"; },
                        Millis(2000)));
  const auto row = read_row(*bed.giver, bed.id);
  CHECK(*row == FenceRow{1, RowState::open, 7, {}, {}});
  CHECK(outcome(bed.app, "UPDATE t SET v = 'z' WHERE id = 1") == "ok");
  // The seal comes too late.
  CHECK_FALSE(compare_and_set(*bed.giver, bed.id, {1, RowState::fenced, 7, {}, {}},
                              {1, RowState::sealed, 7, {}}, Millis(500))
                  .done);
}

TEST_CASE("a lease also ends a fence that is only half up") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE TABLE u (id int)");
  const auto row = bed.begin(Millis(50));
  REQUIRE(fence_table(*bed.giver, bed.guard, row, {"public", "t"}, false, bed.limits()).done);
  CHECK(outcome(bed.app, "INSERT INTO u VALUES (1)") == "ok");
  CHECK(eventually_true([&] { return outcome(bed.app, "INSERT INTO t VALUES (100, 'y')") == "ok"; },
                        Millis(2000)));
  const auto late = fence_table(*bed.giver, bed.guard, row, {"public", "u"}, true, bed.limits());
  CHECK_FALSE(late.done);
  CHECK(late.row->state == RowState::open);
  CHECK(outcome(bed.app, "INSERT INTO u VALUES (2)") == "ok");
}

TEST_CASE("a sealed side never opens by time") {
  FenceBed bed;
  bed.one_table();
  REQUIRE(bed.fence(Millis(1)).done);
  REQUIRE(bed.become(RowState::sealed).done);
  std::this_thread::sleep_for(Millis(50));
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'y')") == "25006");
  CHECK(message_of(bed.app, "TRUNCATE t")
            .find("SELECT walign.reopen('walign_m', other_side_is_gone => true)") != std::string::npos);
  CHECK(bed.state() == RowState::sealed);
}

TEST_CASE("a writer that has taken the lease and not committed keeps the others out") {
  FenceBed bed;
  bed.one_table();
  REQUIRE(bed.fence(Millis(0)).done);
  std::this_thread::sleep_for(Millis(5));
  Sql first = bed.as("app");
  first.exec("BEGIN; INSERT INTO t VALUES (100, 'first')");
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (101, 'second')") == "25006");
  CHECK_THROWS_AS(bed.become(RowState::sealed), Error);  // busy
  SECTION("it commits: the side is open") {
    first.exec("COMMIT");
    CHECK(bed.state() == RowState::open);
    CHECK(outcome(bed.app, "INSERT INTO t VALUES (101, 'second')") == "ok");
  }
  SECTION("it does not: the side may still be sealed") {
    first.exec("ROLLBACK");
    CHECK(bed.become(RowState::sealed).done);
    CHECK(outcome(bed.app, "INSERT INTO t VALUES (101, 'second')") == "25006");
  }
}

TEST_CASE("of the seal and the writers after the lease exactly one wins, every time") {
  FenceBed bed;
  bed.one_table();
  bed.install();
  bed.tables("CREATE TABLE wins (round int)");
  constexpr int kRounds = 150;
  constexpr int kWriters = 3;
  std::atomic<int> round{0};
  std::atomic<int> ready{0};
  std::atomic<int> other_states{0};
  std::vector<std::atomic<int>> accepted(kRounds + 1);
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      std::mt19937 random(static_cast<unsigned>(w));
      Sql db = bed.as("app");
      db.exec(w == 0 ? "SET synchronous_commit = off" : "SELECT 1");
      for (int mine = 1; mine <= kRounds; ++mine) {
        while (round.load() < mine) std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
        for (int i = 0; i < 3; ++i) {
          const auto got = outcome(db, "INSERT INTO t VALUES (DEFAULT, 'w')");
          if (got == "ok") ++accepted[static_cast<std::size_t>(mine)];
          if (got != "ok" && got != "25006") ++other_states;
        }
        ++ready;
      }
    });
  }
  bed.tables("CREATE SEQUENCE s; ALTER TABLE t ALTER id SET DEFAULT nextval('s') + 1000");
  int seals = 0;
  int confused = 0;
  for (int r = 1; r <= kRounds; ++r) {
    REQUIRE(bed.fence(Millis(0)).done);
    const auto row = *read_row(*bed.giver, bed.id);
    ready = 0;
    round = r;
    std::this_thread::sleep_for(std::chrono::microseconds(200 * (r % 8)));
    bool sealed = false;
    try {
      sealed =
          compare_and_set(*bed.giver, bed.id, row, {row.epoch, RowState::sealed, 7, {}}, Millis(2000)).done;
    } catch (const Error&) {  // a writer had it for two seconds
    }
    const auto after_seal = bed.app.scalar<int>("SELECT count(*) FROM t");
    while (ready.load() < kWriters) std::this_thread::yield();
    const int wrote = accepted[static_cast<std::size_t>(r)].load();
    if (sealed == (wrote > 0)) ++confused;
    if (sealed && bed.app.scalar<int>("SELECT count(*) FROM t") != after_seal) ++confused;
    seals += sealed ? 1 : 0;
    REQUIRE(bed.state() == (sealed ? RowState::sealed : RowState::open));
    if (sealed) REQUIRE(bed.become(RowState::open).done);
  }
  for (auto& writer : writers) writer.join();
  CHECK(confused == 0);
  CHECK(other_states == 0);
  CHECK(seals > 5);
  CHECK(seals < kRounds - 5);
}

TEST_CASE("a seal survives the server's crash although the database commits asynchronously") {
  static Server server({.name = "crash", .settings = {"wal_writer_delay = 10s"}});
  FenceBed bed(server);
  bed.one_table();
  bed.admin.exec("ALTER DATABASE " + bed.database() + " SET synchronous_commit = off");
  bed.giver = std::make_unique<pg::Connection>(bed.options());
  REQUIRE(bed.giver->exec("SHOW synchronous_commit").text(0, 0) == "off");
  bed.tables("CREATE TABLE lost (id int)");
  const auto row = bed.begin(Millis(60'000));
  const auto after_crash = [&] {
    server.restart_immediate();
    bed.giver = std::make_unique<pg::Connection>(bed.options());
    bed.app.reconnect();
    return *read_row(*bed.giver, bed.id);
  };
  SECTION("the fence") {
    const auto fenced = fence_tables(*bed.giver, bed.guard, row, bed.mapped, bed.limits());
    CHECK(after_crash().state == RowState::fenced);
    CHECK(unguarded(*bed.giver, bed.id, bed.mapped).empty());
  }
  SECTION("the seal") {
    REQUIRE(fence_tables(*bed.giver, bed.guard, row, bed.mapped, bed.limits()).done);
    REQUIRE(bed.become(RowState::sealed).done);
    Sql careless = bed.as("app");
    careless.exec("INSERT INTO lost VALUES (1)");
    CHECK(after_crash().state == RowState::sealed);
    // What shows that this server loses what is not flushed.
    CHECK(bed.app.scalar<int>("SELECT count(*) FROM lost") == 0);
  }
  SECTION("a writer's own opening after the lease") {
    REQUIRE(fence_tables(*bed.giver, bed.guard, row, bed.mapped, bed.limits()).done);
    REQUIRE(bed.become(RowState::fenced, Millis(0)).done);
    std::this_thread::sleep_for(Millis(5));
    Sql careless = bed.as("app");
    REQUIRE(careless.scalar("SHOW synchronous_commit") == "off");
    careless.exec("INSERT INTO t VALUES (100, 'after the lease')");
    CHECK(after_crash().state == RowState::open);
    CHECK(bed.app.scalar<int>("SELECT count(*) FROM t WHERE id = 100") == 1);
  }
}

TEST_CASE("every change compares epoch, state and owner") {
  FenceBed bed;
  bed.one_table();
  const auto row = bed.begin();
  auto wrong = row;
  SECTION("epoch") { wrong.epoch = 2; }
  SECTION("state") { wrong.state = RowState::fenced; }
  SECTION("owner") { wrong.owner = 6; }
  const auto swapped = compare_and_set(*bed.giver, bed.id, wrong, {5, RowState::sealed, 8, {}}, Millis(500));
  CHECK_FALSE(swapped.done);
  CHECK(*swapped.row == row);
  CHECK(*read_row(*bed.giver, bed.id) == row);
  CHECK_FALSE(insert_row(*bed.giver, bed.id, {9, RowState::open, 9, {}, {}}));
  CHECK(*read_row(*bed.giver, bed.id) == row);
  if (wrong.state == RowState::fencing) {
    const auto fenced = fence_tables(*bed.giver, bed.guard, wrong, bed.mapped, bed.limits());
    CHECK_FALSE(fenced.done);
    CHECK(*fenced.row == row);
    CHECK(unguarded(*bed.giver, bed.id, bed.mapped).size() == 1);
  }
}

TEST_CASE("a row in somebody's hands is waited for, and no longer than asked") {
  FenceBed bed;
  bed.one_table();
  bed.begin();
  pg::Connection other(bed.options());
  other.exec("BEGIN; UPDATE walign.fence SET state = 'OPEN', lease_until = NULL");
  CHECK(read_row(*bed.giver, bed.id)->state == RowState::fencing);
  CHECK_THROWS_AS(settled_row(*bed.giver, bed.id, Millis(100)), Error);
  std::thread commits([&] {
    std::this_thread::sleep_for(Millis(100));
    other.exec("COMMIT");
  });
  CHECK(settled_row(*bed.giver, bed.id, Millis(5000))->state == RowState::open);
  commits.join();
}

TEST_CASE("reopen() opens a sealed side for who says that the other is gone, in a new epoch") {
  FenceBed bed;
  bed.one_table();
  REQUIRE(bed.fence().done);
  const auto call = [&](const std::string& gone) {
    return outcome(bed.admin, "SELECT walign.reopen('walign_m', " + gone + ")");
  };
  REQUIRE(bed.become(RowState::sealed).done);
  CHECK(call("false") == "WA004");
  CHECK(call("NULL") == "WA004");
  CHECK(outcome(bed.admin, "SELECT walign.reopen('another', true)") == "WA004");
  SECTION("the other side is elsewhere") {
    CHECK(call("true") == "ok");
    CHECK(*read_row(*bed.giver, bed.id) == FenceRow{2, RowState::open, 0, {}, {}});
    CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'y')") == "ok");
    CHECK(call("true") == "WA004");
  }
  SECTION("the other side is here, and closed") {
    REQUIRE(insert_row(*bed.giver, {"walign_m", Side::target}, {1, RowState::closed, 7, {}, {}}));
    CHECK(call("true") == "ok");
    CHECK(read_row(*bed.giver, {"walign_m", Side::target})->state == RowState::aborted);
  }
  SECTION("the other side is here, and open") {
    REQUIRE(insert_row(*bed.giver, {"walign_m", Side::target}, {1, RowState::open, 7, {}, {}}));
    CHECK(call("true") == "WA004");
    CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'y')") == "25006");
  }
}

TEST_CASE("an instance that stalls with a row in its hands loses it by the server's own clock") {
  FenceBed bed;
  bed.one_table();
  install_fence(*bed.giver);
  const FenceRow row{1, RowState::closed, 7, {}, {}};
  insert_row(*bed.giver, bed.id, row);
  bed.giver->exec("CREATE TABLE walign.stream (name text, position pg_lsn)");
  pg::Connection stalled(bed.options());
  Opening opening(stalled, bed.id, row, "walign_m", Millis(500), Millis(300));
  CHECK_THROWS_AS(settled_row(*bed.giver, bed.id, Millis(50)), Error);
  CHECK(settled_row(*bed.giver, bed.id, Millis(5000))->state == RowState::closed);
  CHECK(compare_and_set(*bed.giver, bed.id, row, {1, RowState::aborted, 7, {}}, Millis(500)).done);
  CHECK_THROWS_AS(opening.open(), Error);
  CHECK(bed.state() == RowState::aborted);
}

TEST_CASE("only a COMMIT whose answer is lost is in doubt, and the row tells what became of it") {
  FenceBed bed;
  bed.one_table();
  bed.install();
  int in_doubt = 0;
  int unsent = 0;
  int answered = 0;
  for (std::size_t bytes = 0; answered < 3 && bytes < 2000; bytes += 9) {
    Proxy proxy(bed.server().port());
    auto options = bed.options();
    options.conninfo += " port=" + std::to_string(proxy.port());
    pg::Connection far(options);
    const auto row = *read_row(*bed.giver, bed.id);
    proxy.cut_after(bytes, Proxy::to_client);
    const Change change{
        row.epoch + 1, row.state == RowState::open ? RowState::closed : RowState::open, 7, {}};
    std::string got = "done";
    try {
      const bool done = compare_and_set(far, bed.id, row, change, Millis(1000)).done;
      CHECK(done);
      ++answered;
    } catch (const Error& error) {
      got = error.kind() == ErrorKind::in_doubt ? "in doubt" : "not sent";
      CHECK((error.kind() == ErrorKind::in_doubt || error.kind() == ErrorKind::connection));
      CHECK_FALSE(error.hint().empty());
    }
    // Whatever is under way on the server ends with the lock.
    const auto now = *settled_row(*bed.giver, bed.id, Millis(5000));
    CAPTURE(bytes, got);
    CHECK((now.epoch == row.epoch || now.epoch == row.epoch + 1));
    if (got == "done") CHECK(now.epoch == row.epoch + 1);
    if (got == "not sent") CHECK(now.epoch == row.epoch);
    in_doubt += got == "in doubt" ? 1 : 0;
    unsent += got == "not sent" ? 1 : 0;
    proxy.cut();
  }
  CHECK(in_doubt > 0);
  CHECK(unsent > 5);
  CHECK(answered == 3);
}
