// What a human does beside a change of sides, or has to know of it: a side opened while the other is alive, a value
// that would not come back, a lock on a table that is nobody's business.
#include <fstream>

#include "support/sides.hpp"

using namespace walign;
using namespace walign::test;
using cutover::Extent;
using cutover::Result;
using cutover::Verb;

namespace {

// A tenth of what it costs is lost on the way: 123.45 there is 123.5, and 12350 back. It shows only in a row that no
// sample reaches.
void items(Migration& m) {
  m.source.exec(
      "CREATE TABLE items (id int PRIMARY KEY, cents int NOT NULL, note text);"
      "INSERT INTO items SELECT i, 10 * i, 'n' FROM generate_series(1, 1500) i; UPDATE items SET cents = "
      "12345 "
      "WHERE id = 1500");
  m.target.exec("CREATE TABLE items (id int PRIMARY KEY, price numeric(10, 1) NOT NULL, note text)");
  m.tables =
      "  - from: public.items\n    to: public.items\n    columns:\n"
      "      price: { sql: \"src.cents / 100.0\", reverse: \"round(price * 100)::int\" }\n"
      "      cents: false\n";
}

void wait_until_not_back(Sides& sides) {
  sides.wait_for(
      [](const auto& s) {
        return s.connected && s.sides.rollback_ready == false &&
               has(s.sides.rollback_why, "would come back as");
      },
      "known not to come back");
}

}  // namespace

TEST_CASE(
    "a value that would not come back is known after a restart, and keeps writes from going back unless "
    "accepted") {
  Migration m;
  items(m);
  const auto flag = m.state.string() + ".flag";
  const auto hook = [&](config::Config& c) { c.cutover.before_open = "test ! -e " + flag; };
  {
    Sides sides(m, hook);
    sides.wait_until_streaming();
    REQUIRE(sides.verified());
    REQUIRE(sides.change(Verb::cutover).outcome == Result::Outcome::done);
    wait_until_not_back(sides);
    CHECK(has(sides.status().sides.rollback_why,
              "cents of the row with id=1500 would come back as 12350 instead of 12345"));
  }
  Sides sides(m, hook);
  wait_until_not_back(sides);
  auto result = sides.change(Verb::rollback, Extent::rehearse);
  CHECK(result.outcome == Result::Outcome::gate);
  result = sides.change(Verb::rollback);
  CHECK(result.outcome == Result::Outcome::gate);
  CHECK(has(result.message, "would come back as 12350 instead of 12345"));
  CHECK(has(result.hint, "walign rollback --accept-loss"));
  CHECK(m.target.scalar("SELECT state FROM walign.fence") == "OPEN");
  std::ofstream(flag).put('x');
  CHECK(sides.change(Verb::rollback, Extent::real, true).outcome == Result::Outcome::backed_out);
  wait_until_not_back(sides);
  std::filesystem::remove(flag);

  // Mended on the target, it has come back when it is asked for again.
  m.target.exec("UPDATE items SET price = 123.0 WHERE id = 1500");
  sides.catch_up(m.target);
  result = sides.change(Verb::rollback);
  CHECK(result.outcome == Result::Outcome::done);
  CHECK(m.source.scalar("SELECT cents FROM items WHERE id = 1500") == "12300");

  m.source.exec("UPDATE items SET cents = 12345 WHERE id = 1500");
  sides.wait_until_streaming();
  sides.catch_up(m.source);
  REQUIRE(sides.verified());
  REQUIRE(sides.change(Verb::cutover).outcome == Result::Outcome::done);
  wait_until_not_back(sides);
  CHECK(sides.change(Verb::rollback, Extent::real, true).outcome == Result::Outcome::done);
  CHECK(m.source.scalar("SELECT cents FROM items WHERE id = 1500") == "12345");  // nobody touched it
}

TEST_CASE("a value that is written while its cutover is under way is known not to come back, too") {
  Migration m;
  items(m);
  m.source.exec("UPDATE items SET cents = 10 WHERE id = 1500");
  Sides sides(m, {}, [&](const cutover::Progress& progress) {
    if (progress.step == "gate") m.source.exec("UPDATE items SET cents = 12345 WHERE id = 1400");
  });
  sides.wait_until_streaming();
  REQUIRE(sides.verified());
  REQUIRE(sides.change(Verb::cutover).outcome == Result::Outcome::done);
  wait_until_not_back(sides);
  const auto result = sides.change(Verb::rollback);
  CHECK(result.outcome == Result::Outcome::gate);
  CHECK(has(result.message, "cents of the row with id=1400 would come back as 12350 instead of 12345"));
}

TEST_CASE("a side that a human opens beside one that is alive is not written to by walign any more") {
  Migration m;
  m.both("CREATE TABLE public.users (id int PRIMARY KEY, name text)");
  m.tables = "  - public.users\n";
  m.source.exec("INSERT INTO users SELECT i, 'u' FROM generate_series(1, 20) i");
  const std::string fence = m.config().fence_name();
  {
    Sides sides(m);
    sides.wait_until_streaming();
    REQUIRE(sides.verified());
    REQUIRE(sides.change(Verb::cutover).outcome == Result::Outcome::done);
    m.target.exec("UPDATE users SET name = 'on the target' WHERE id = 1");
    sides.catch_up(m.target);

    // One transaction of the way back is in flight when it happens: it waits for a row.
    Sql holds(m.source_url);
    holds.exec("BEGIN; SELECT FROM users WHERE id = 5 FOR UPDATE");
    m.target.exec("UPDATE users SET name = 'on the target' WHERE id IN (2, 5)");
    REQUIRE(eventually([&] {
      return m.source.scalar<int>(
                 "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name "
                 "LIKE '%apply'") == 1;
    }));
    SECTION("by the function that a refusal names") {
      m.source.exec("SELECT walign.reopen('" + fence + "', other_side_is_gone => true)");
    }
    SECTION("by recover, with the word that the other is gone") {
      cutover::Recovery recovery;
      recovery.source = m.source_url;
      recovery.target = "host=/nonexistent";
      recovery.migration = fence;
      recovery.gone = cutover::Recovery::Gone::target;
      const auto result = cutover::recover(recovery, {});
      CHECK(result.outcome == Result::Outcome::done);
      CHECK(result.writes == "source");
    }
    holds.exec("UPDATE users SET name = 'by hand' WHERE id = 5; COMMIT");
    sides.wait_for([](const auto& s) { return has(s.last_error, "both sides take writes"); }, "alarmed");
    m.source.exec("UPDATE users SET name = 'by hand' WHERE id = 6");
    m.target.exec("UPDATE users SET name = 'on the target' WHERE id IN (5, 6, 7)");
    std::this_thread::sleep_for(1500ms);  // for whoever would still write, and for the keeper to clear away
    CHECK(
        m.source.scalar("SELECT string_agg(name, ' ' ORDER BY id) FROM users WHERE id IN (1, 2, 5, 6, 7)") ==
        "on the target u by hand by hand u");
    CHECK(m.target.scalar("SELECT string_agg(DISTINCT name, ' ') FROM users WHERE id IN (1, 2, 5, 6, 7)") ==
          "on the target");
    CHECK(sides.status().sides.rollback_ready == false);
    // What the source lacks is kept.
    CHECK(m.target.scalar<int>("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '" + fence +
                               "_reverse'") == 1);
    for (const Verb verb : {Verb::cutover, Verb::rollback}) {
      const auto result = sides.change(verb);
      CHECK(result.outcome == Result::Outcome::in_doubt);
      CHECK(has(result.message, "both sides take writes"));
      CHECK(has(result.hint, "by hand"));
    }
  }
  {
    Sides sides(m);  // started again, it is no wiser
    sides.wait_for([](const auto& s) { return has(s.last_error, "both sides take writes"); }, "alarmed");
    m.source.exec("UPDATE users SET name = 'by hand' WHERE id = 8");
    std::this_thread::sleep_for(500ms);
    CHECK(m.target.scalar("SELECT name FROM users WHERE id = 8") == "u");
  }
  cutover::remove(m.config(), nullptr, nullptr, [](const std::string&) {});
  for (Sql* sql : {&m.source, &m.target}) {
    CHECK(sql->scalar("SELECT count(*) FROM pg_namespace WHERE nspname = 'walign'") == "0");
    CHECK(sql->scalar("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == "0");
  }
}

TEST_CASE("a lock on a table that is not in the mapping holds a cutover up for seconds, and is named") {
  Migration m;
  m.both("CREATE TABLE public.users (id int PRIMARY KEY, name text); CREATE TABLE public.other (id int)");
  m.tables = "  - public.users\n";
  Sides sides(m);
  sides.wait_until_streaming();
  REQUIRE(sides.verified());
  for (Sql* server : {&m.source, &m.target}) {
    Sql holds(server == &m.source ? m.source_url : m.target_url);
    const std::string pid = holds.scalar("SELECT pg_backend_pid()");
    holds.exec(
        "SET application_name = 'somebody''s deployment'; BEGIN; LOCK TABLE other IN ACCESS EXCLUSIVE MODE");
    const auto began = std::chrono::steady_clock::now();
    const auto result = sides.change(Verb::cutover, Extent::dry_run);
    CHECK(std::chrono::steady_clock::now() - began < 15s);
    CHECK(result.outcome == Result::Outcome::gate);
    CHECK(has(result.message,
              "public.other is locked by pid " + pid + " (somebody's deployment, its query of "));
    CHECK(has(result.hint, "pg_terminate_backend(" + pid + ")"));
    holds.exec("COMMIT");
  }
  CHECK(sides.change(Verb::cutover).outcome == Result::Outcome::done);
}

TEST_CASE("a table without a key that takes longer to compare than writes may wait is named by a gate") {
  Migration m;
  m.both("CREATE TABLE public.log (what text)");
  m.tables = "  - {from: public.log, to: public.log, inserts_only: true}\n";
  m.source.exec("INSERT INTO log SELECT repeat('x', 50) || i FROM generate_series(1, 50000) i");
  Sides sides(m, [](config::Config& c) { c.cutover.max_pause = Millis(20); });
  sides.wait_until_streaming();
  REQUIRE(sides.verified());
  std::atomic<bool> done{false};
  std::thread writes([&] {
    Sql shop(m.source_url);
    while (!done) {
      shop.exec("INSERT INTO log VALUES ('more')");
      std::this_thread::sleep_for(2ms);
    }
  });
  const auto dry = sides.change(Verb::cutover, Extent::dry_run);
  const auto result = sides.change(Verb::cutover);
  done = true;
  writes.join();
  for (const auto& one : {dry, result}) {
    CHECK(one.outcome == Result::Outcome::gate);
    CHECK(has(one.message, "proof is "));
    CHECK(has(one.message, "compared whole, without a key: public.log"));
  }
  CHECK(m.source.scalar("SELECT state FROM walign.fence") == "OPEN");
}
