// No write lost, none on both sides: writers pinned to a side each go on through changes of sides, in both directions.
#include "shop.hpp"

using namespace walign;
using namespace walign::test;
using cutover::Extent;
using cutover::Result;
using cutover::Verb;

namespace {

void there_and_back(bool one_database) {
  Migration m;
  Shop shop(m, one_database);
  Sides sides(m, [](config::Config& c) { c.verify.every = std::chrono::milliseconds(300); });
  sides.wait_until_streaming();
  // The target is closed before its writers come.
  REQUIRE(sides.change(Verb::cutover, Extent::rehearse).outcome == Result::Outcome::done);
  Writers writers(shop.sides(), 3);
  const auto busy = [&](std::size_t more) {
    const auto wanted = writers.acknowledged() + more;
    REQUIRE(eventually([&] { return writers.acknowledged() >= wanted; }, 60s));
  };
  busy(300);
  std::size_t changes = 0;
  for (const Verb verb : {Verb::cutover, Verb::rollback, Verb::cutover}) {
    sides.change_until_done(verb);
    ++changes;
    busy(300);
  }
  writers.stop();
  sides.wait_for([](const auto& s) { return s.phase == "cut_over"; }, "cut over");
  sides.catch_up(shop.there);
  CHECK(writers.unexpected().empty());
  for (const auto& what : writers.unexpected()) UNSCOPED_INFO(what);
  CHECK(writers.overlaps().empty());
  CHECK(writers.reigns() == changes + 1);
  for (Sql* sql : {&m.source, &shop.there}) {
    const bool source = sql == &m.source;
    std::vector<std::int64_t> twice;
    const auto there = ids_of(*sql,
                              source ? "SELECT id FROM public.orders WHERE id > 0"
                                     : "SELECT sale_id FROM app.sales WHERE sale_id > 0",
                              twice);
    CHECK(twice.empty());
    CHECK((there == writers.ids()));
  }
  CHECK(shop.equal());
}

}  // namespace

TEST_CASE("between two servers every acknowledged write is there once and never did both sides take writes") {
  there_and_back(false);
}

TEST_CASE("within one database every acknowledged write is there once and never did both sides take writes") {
  there_and_back(true);
}
