// Rows made on the target without a source key: the source draws one, and the row on the target is given it.
#include "market.hpp"

using namespace walign;
using namespace walign::test;
using cutover::Extent;
using cutover::Result;
using cutover::Verb;

namespace {

void cut_over(Sides& sides) {
  sides.wait_until_streaming();
  REQUIRE(sides.verified());
  sides.change_until_done(Verb::cutover);
  sides.wait_for([](const auto& s) { return s.sides.rollback_ready == true; }, "ready");
}

// What is written meanwhile is met by the way back in one go.
template <class Do>
void in_one_batch(Sides& sides, Do what) {
  sides.migration().pause_apply();
  what();
  sides.migration().resume_apply();
}

constexpr const char* kLocked = "BEGIN; SELECT FROM market.offers WHERE name = 'new' FOR UPDATE";

// A transaction that is committed in the target's WAL and that nobody can see: it waits for a standby that never comes.
class Unseen {
 public:
  Unseen(const std::string& url, const std::string& sql) {
    target_server().set("synchronous_standby_names", "nobody");
    waits_ =
        std::thread([url, sql] { Sql(url).exec("SET synchronous_commit = on; BEGIN; " + sql + "; COMMIT"); });
  }
  ~Unseen() {
    target_server().set("synchronous_standby_names", "");
    waits_.join();
  }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;

 private:
  std::thread waits_;
};

void there_and_back(bool one_database) {
  Migration m;
  Market market(m, one_database);
  Sides sides(m);
  cut_over(sides);
  market.there.exec(
      "INSERT INTO market.offers (name, price) SELECT 'new ' || i, i / 100.0 FROM generate_series(1, 50) i;"
      "UPDATE market.offers SET price = price + 1 WHERE name LIKE 'new 1%';"
      "UPDATE market.offers SET id = -id WHERE name LIKE 'new 2%';"
      "DELETE FROM market.offers WHERE name LIKE 'new 3%';"
      "UPDATE market.offers SET status = 'paused' WHERE name LIKE 'old 4%'");
  market.settle(sides);
  CHECK(market.equal());
  CHECK(m.source.scalar<int>("SELECT count(*) FROM listings") == 300 + 50 - 11);
  // With its key, a row is one like any other.
  market.there.exec(
      "UPDATE market.offers SET price = 7 WHERE name LIKE 'new 1%'; DELETE FROM market.offers WHERE name = "
      "'new 20';"
      "UPDATE market.offers SET id = id + 100000 WHERE name LIKE 'new 4%'");
  sides.catch_up(market.there);
  CHECK(market.equal());
  CHECK(sides.verified());

  market.there.exec("INSERT INTO market.offers (name) SELECT 'last ' || i FROM generate_series(1, 200) i");
  REQUIRE(sides.change(Verb::rollback).outcome == Result::Outcome::done);
  CHECK(market.bare() == 0);
  CHECK(market.equal());
  m.source.exec(
      "UPDATE listings SET cents = 5 WHERE title LIKE 'last 1%'; DELETE FROM listings WHERE title LIKE 'last "
      "2%';"
      "INSERT INTO listings (title) VALUES ('home')");
  sides.wait_for([](const auto& s) { return s.phase == "streaming"; }, "streaming again");
  sides.catch_up(m.source);
  CHECK(market.equal());
  CHECK(sides.verified());
  // What was kept for the way back is gone with it; within one database the table stays as long as the way there.
  const std::string forgotten = one_database ? "SELECT count(*) = 0 FROM walign.crosswalk"
                                             : "SELECT to_regclass('walign.crosswalk') IS NULL";
  CHECK(eventually([&] { return m.source.scalar<bool>(forgotten); }, 20s));

  cut_over(sides);
  market.there.exec("INSERT INTO market.offers (name) VALUES ('there again')");
  market.settle(sides);
  CHECK(market.named("there again") == 1);
  CHECK(market.equal());
}

}  // namespace

TEST_CASE(
    "rows made on the target get the source's key, between two servers, and are the same after a rollback") {
  there_and_back(false);
}

TEST_CASE(
    "rows made on the target get the source's key, within one database, and are the same after a rollback") {
  there_and_back(true);
}

TEST_CASE("changes of a row that were made before it had its key are changes of the one row on the source") {
  Migration m;
  Market market(m);
  Sides sides(m);
  cut_over(sides);
  in_one_batch(sides, [&] {
    market.there.exec(
        "INSERT INTO market.offers (id, name, price) VALUES (9001, 'a', 1), (9002, 'b', 2), (9003, 'c', 3)");
    market.there.exec("UPDATE market.offers SET price = 11 WHERE id = 9001");
    market.there.exec(
        "BEGIN; UPDATE market.offers SET name = 'a moved', id = 9100 WHERE id = 9001; INSERT INTO "
        "market.offers (id, name) VALUES (9001, 'a again'); COMMIT");
    market.there.exec("DELETE FROM market.offers WHERE id = 9002");
    market.there.exec("INSERT INTO market.offers (id, name) VALUES (9002, 'b again')");
    market.there.exec(
        "BEGIN; SAVEPOINT s; INSERT INTO market.offers (id, name) VALUES (9004, 'below'); RELEASE s; "
        "SAVEPOINT s; UPDATE market.offers SET price = 33 WHERE id = 9003; RELEASE s; COMMIT");
    market.there.exec(
        "BEGIN; INSERT INTO market.offers (id, name) VALUES (9005, 'short'); DELETE FROM market.offers "
        "WHERE id = 9005; COMMIT");
    market.there.exec("UPDATE market.offers SET legacy_id = 70000, price = 44 WHERE id = 9004");
    market.there.exec("UPDATE market.offers SET legacy_id = NULL, name = 'lost its key' WHERE legacy_id = 7");
    market.there.exec("INSERT INTO market.offers (id, legacy_id, name) VALUES (9006, 70001, 'has one')");
    market.there.exec(
        "UPDATE market.offers SET legacy_id = NULL WHERE id = 9006; DELETE FROM market.offers WHERE id = "
        "9006");
  });
  market.settle(sides);
  CHECK(market.equal());
  for (const char* name : {"a moved", "a again", "b again", "c", "below"}) CHECK(market.named(name) == 1);
  CHECK(m.source.scalar("SELECT title FROM listings WHERE id = 7") == "lost its key");
  CHECK(m.source.scalar("SELECT title FROM listings WHERE id = 70000") == "below");
  CHECK(m.source.scalar<int>("SELECT count(*) FROM listings") == 305);
  REQUIRE(sides.change(Verb::rollback).outcome == Result::Outcome::done);
  CHECK(market.equal());
}

TEST_CASE("a key that was not written back when walign ended is written at the next start") {
  Migration m;
  Market market(m);
  Sql locker(m.target_url);
  {
    Sides sides(m);
    cut_over(sides);
    in_one_batch(sides, [&] {
      market.there.exec("INSERT INTO market.offers (name) VALUES ('new')");
      locker.exec(kLocked);
    });
    REQUIRE(eventually([&] { return market.named("new") == 1; }, 20s));
    // Nobody waits for the lock: others go on.
    market.there.exec("INSERT INTO market.offers (name) VALUES ('another')");
    CHECK(eventually(
        [&] {
          return m.target.scalar<int>(
                     "SELECT count(*) FROM market.offers WHERE name = 'another' AND legacy_id IS NOT "
                     "NULL") == 1;
        },
        20s));
    CHECK(market.bare() == 1);
  }
  CHECK(market.bare() == 1);
  locker.exec("ROLLBACK");
  Sides sides(m);
  sides.wait_for([](const auto& s) { return s.sides.rollback_ready == true; }, "ready");
  market.settle(sides);
  CHECK(market.named("new") == 1);
  CHECK(market.equal());
}

TEST_CASE("a row that is deleted, or made again, before its key is written back stays what the target has") {
  Migration m;
  Market market(m);
  Sql locker(m.target_url);
  Sides sides(m);
  cut_over(sides);
  in_one_batch(sides, [&] {
    market.there.exec(
        "INSERT INTO market.offers (id, name) VALUES (9001, 'new'), (9002, 'new'), (9003, 'new')");
    locker.exec(kLocked);
  });
  REQUIRE(eventually([&] { return market.named("new") == 3; }, 20s));
  locker.exec(
      "DELETE FROM market.offers WHERE id IN (9001, 9002); INSERT INTO market.offers (id, name) VALUES "
      "(9002, 'made "
      "again'); UPDATE market.offers SET id = 9001 WHERE id = 9003; COMMIT");
  market.settle(sides);
  CHECK(market.equal());
  CHECK(market.named("new") == 1);
  CHECK(market.named("made again") == 1);
  CHECK(m.source.scalar<int>("SELECT count(*) FROM listings") == 302);
}

TEST_CASE("a row that the stream brings before anybody can see it gets its key, also after a restart") {
  const bool again = GENERATE(false, true);
  Migration m;
  Market market(m);
  m.target.exec(
      "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = local', current_database()); "
      "END $$");
  auto sides = std::make_unique<Sides>(m);
  cut_over(*sides);
  market.there.exec("UPDATE market.offers SET id = 9002 WHERE legacy_id = 7");
  sides->catch_up(market.there);
  {
    const Unseen unseen(m.target_url,
                        "INSERT INTO market.offers (id, name) VALUES (9001, 'unseen'); DELETE FROM "
                        "market.offers WHERE id = 9002; INSERT INTO market.offers (id, name) VALUES (9002, "
                        "'in its place')");
    CHECK(eventually([&] { return market.named("unseen") == 1; }, 20s));
    std::this_thread::sleep_for(500ms);  // for whoever would take the row for gone
    if (again) {
      sides.reset();
      sides = std::make_unique<Sides>(m);
      sides->wait_for([](const auto& s) { return s.phase == "cut_over"; }, "cut over");
      std::this_thread::sleep_for(500ms);
    }
  }
  market.settle(*sides);
  CHECK(market.equal());
  CHECK(market.named("in its place") == 1);
  CHECK(m.source.scalar<int>("SELECT count(*) FROM listings WHERE id = 7") == 0);
  REQUIRE(sides->change(Verb::rollback).outcome == Result::Outcome::done);
  CHECK(market.equal());
}

TEST_CASE("a rollback does not open the source while a row is without its key") {
  Migration m;
  Market market(m);
  Sql locker(m.target_url);
  Sides sides(m, [](config::Config& c) { c.cutover.max_pause = std::chrono::milliseconds(2000); });
  cut_over(sides);
  in_one_batch(sides, [&] {
    market.there.exec("INSERT INTO market.offers (name) VALUES ('new')");
    locker.exec("BEGIN; SELECT FROM market.offers WHERE name = 'new' FOR KEY SHARE");
  });
  REQUIRE(eventually([&] { return market.named("new") == 1; }, 20s));
  const auto result = sides.change(Verb::rollback);
  CHECK(result.outcome != Result::Outcome::done);
  CHECK(result.writes != "source");
  locker.exec("COMMIT");
  market.settle(sides);
  sides.change_until_done(Verb::rollback);
  CHECK(market.equal());
}

TEST_CASE("a row that has been given another key is said, with what to do") {
  Migration m;
  Market market(m);
  Sql locker(m.target_url);
  {
    Sides sides(m);
    cut_over(sides);
    in_one_batch(sides, [&] {
      market.there.exec("INSERT INTO market.offers (name) VALUES ('new')");
      locker.exec(kLocked);
    });
    REQUIRE(eventually([&] { return market.named("new") == 1; }, 20s));
  }
  // As if by a walign whose source has gone back in time since.
  locker.exec("COMMIT; BEGIN; SELECT pg_logical_emit_message(true, 'walign', 'apply " + m.stream() +
              "'); UPDATE market.offers SET legacy_id = 4711 WHERE name = 'new'; COMMIT");
  {
    Sides sides(m);
    std::string why;
    CHECK(eventually(
        [&] {
          why = sides.status().sides.rollback_why + sides.status().last_error;
          return why.find("of the target has legacy_id 4711") != std::string::npos;
        },
        30s));
    INFO(why);
  }
  m.source.exec(
      "BEGIN; SELECT pg_logical_emit_message(true, 'walign', 'apply " +
      config::reversed(m.config()).stream_name() + "'); SET LOCAL walign.pass = '" + m.config().fence_name() +
      "'; UPDATE listings SET id = 4711 WHERE title = 'new'; UPDATE walign.crosswalk SET source_key = "
      "'4711'; COMMIT");
  Sides sides(m);
  sides.wait_for([](const auto& s) { return s.sides.rollback_ready == true; }, "ready");
  market.there.exec("UPDATE market.offers SET price = 9 WHERE name = 'new'");
  market.settle(sides);
  CHECK(market.equal());
}
