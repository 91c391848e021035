// Rows without a source key under load, through changes of sides: each is there once on both sides, and is one row.
#include "market.hpp"

using namespace walign;
using namespace walign::test;
using cutover::Extent;
using cutover::Result;
using cutover::Verb;

namespace {

// Slow enough for a stream that is sanitized, on a busy machine: what is shown is not its speed.
constexpr Millis kBetweenWrites{10};

std::vector<Writers::SideOf> writers_of(const Migration& m) {
  return {{m.source_url,
           [](Sql& sql, std::int64_t id) {
             const std::string i = std::to_string(id);
             sql.exec("BEGIN; INSERT INTO listings (title, cents) VALUES ('" + i +
                      "', 1); UPDATE listings SET cents = " + i + " % 1000 WHERE title = '" +
                      std::to_string(id - 7) + "'; COMMIT");
           }},
          {m.target_url, [](Sql& sql, std::int64_t id) {
             std::this_thread::sleep_for(kBetweenWrites);
             const std::string i = std::to_string(id);
             const std::string before = std::to_string(id - 7);
             sql.exec("BEGIN; INSERT INTO market.offers (name, price) VALUES ('" + i + "', 0.01), ('gone " +
                      i + "', 1); UPDATE market.offers SET price = price + 0.01 WHERE name = '" + before +
                      "'; COMMIT");
             // Of the row just made: changed, moved, deleted and made again before anybody can have given it a key, or
             // while it is given one.
             if (id % 3 == 0) sql.exec("UPDATE market.offers SET status = 'paused' WHERE name = '" + i + "'");
             if (id % 4 == 0) sql.exec("UPDATE market.offers SET id = -id WHERE name = '" + i + "'");
             if (id % 5 == 0) {
               sql.exec("BEGIN; SAVEPOINT s; UPDATE market.offers SET price = 5 WHERE name = '" + i +
                        "'; RELEASE s; COMMIT");
             }
             if (id % 7 == 0) {
               sql.exec("WITH old AS (DELETE FROM market.offers WHERE name = '" + i +
                        "' RETURNING *) INSERT INTO market.offers (id, name, price) SELECT id + 10000000, "
                        "name, price FROM "
                        "old");
             }
             sql.exec("DELETE FROM market.offers WHERE name = 'gone " + i + "'");
           }}};
}

// The last statement may have been refused where the side was closed meanwhile.
constexpr const char* kKept = " NOT LIKE 'old%' AND ";

void under_load(bool one_database) {
  Migration m;
  Market market(m, one_database);
  market.m.source.exec("CREATE INDEX ON listings (title)");
  market.there.exec("CREATE INDEX ON market.offers (name)");
  Sides sides(m, [](config::Config& c) { c.verify.every = std::chrono::milliseconds(300); });
  sides.wait_until_streaming();
  REQUIRE(sides.change(Verb::cutover, Extent::rehearse).outcome == Result::Outcome::done);
  Writers writers(writers_of(m), 3);
  const auto busy = [&](std::size_t more) {
    const auto wanted = writers.acknowledged() + more;
    REQUIRE(eventually([&] { return writers.acknowledged() >= wanted; }, 60s));
  };
  busy(200);
  for (const Verb verb : {Verb::cutover, Verb::rollback, Verb::cutover}) {
    sides.change_until_done(verb);
    busy(200);
  }
  writers.stop();
  sides.wait_for([](const auto& s) { return s.phase == "cut_over"; }, "cut over");
  market.settle(sides);
  CHECK(writers.unexpected().empty());
  for (const auto& what : writers.unexpected()) UNSCOPED_INFO(what);
  CHECK(writers.overlaps().empty());
  for (const bool source : {true, false}) {
    std::vector<std::int64_t> twice;
    const auto there = ids_of(
        source ? m.source : market.there,
        source ? std::string("SELECT title FROM listings WHERE title") + kKept + "title NOT LIKE 'gone%'"
               : std::string("SELECT name FROM market.offers WHERE name") + kKept + "name NOT LIKE 'gone%'",
        twice);
    CHECK(twice.empty());
    const auto written = writers.ids();
    CHECK(std::includes(there.begin(), there.end(), written.begin(), written.end()));
  }
  CHECK(market.equal());
  CHECK(sides.verified());
}

}  // namespace

TEST_CASE("under load between two servers every row made on the target is one row on both sides") {
  under_load(false);
}

TEST_CASE("under load within one database every row made on the target is one row on both sides") {
  under_load(true);
}
