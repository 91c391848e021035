// How a range is to be read: as its rows lie, or in the key's order and up to how many.
#include "backfill/table_copy.hpp"
#include "backfill_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// A table whose key has these columns, of which a chunk should have 100 rows.
TableCopy table(const std::vector<Comparison>& key) {
  TableCopy out;
  for (const auto comparison : key) out.plan.key.emplace_back().comparison = comparison;
  out.plan.rows_per_chunk = out.rows_planned = 100;
  out.spacing = Spacing(out.plan.key);
  return out;
}
Range between(int lower, int upper) { return {before(lower), before(upper)}; }

}  // namespace

TEST_CASE("rows are read as they lie where an integer key has room for a few times as many as planned") {
  const auto t = table({Comparison::integer});
  const auto few = t.errand_for(between(0, 399));
  CHECK(few.in_any_order);
  CHECK(few.most_rows == 0);
  CHECK(few.range == between(0, 399));
  const auto many = t.errand_for(between(0, 400));
  CHECK_FALSE(many.in_any_order);
  CHECK(many.most_rows == 200);
}

TEST_CASE("rows are read in the key's order where nothing says how many there can be") {
  const auto t = table({Comparison::integer});
  for (const Range& open_range :
       {Range{open(), before(5)}, Range{before(5), open()}, Range{open(), open()}}) {
    CHECK_FALSE(t.errand_for(open_range).in_any_order);
    CHECK(t.errand_for(open_range).most_rows == 200);
  }
  CHECK_FALSE(table({Comparison::c_text}).errand_for(between(1, 2)).in_any_order);
  CHECK_FALSE(table({Comparison::uuid}).errand_for(between(1, 2)).in_any_order);
  const Range two{{Key{"1", "1"}, false}, {Key{"1", "2"}, false}};
  CHECK_FALSE(table({Comparison::integer, Comparison::integer}).errand_for(two).in_any_order);
}

TEST_CASE("once a chunk was given up for its bytes, every chunk of its table is read in the key's order") {
  auto t = table({Comparison::integer});
  t.rows_outgrow = true;
  CHECK_FALSE(t.errand_for(between(0, 10)).in_any_order);
}

TEST_CASE("what cannot be cut is read whole, whatever it has") {
  auto t = table({});
  CHECK_FALSE(t.errand_for({open(), open()}).in_any_order);
  CHECK(t.errand_for({open(), open()}).most_rows == 0);
  t = table({Comparison::integer});
  t.plan.adoption.emplace();
  CHECK(t.plan.whole());
  CHECK_FALSE(t.errand_for(between(0, 10)).in_any_order);
  CHECK(t.errand_for(between(0, 10)).most_rows == 0);
}

TEST_CASE("a chunk that stopped at its number of rows leaves the next ones as they are planned") {
  auto t = table({Comparison::integer});
  Copied copied;
  copied.range = between(0, 1000);
  copied.read = 200;
  copied.stopped_early = true;
  t.plan_next(copied);
  CHECK(t.rows_planned == 100);
  CHECK(t.spacing.cut(between(1000, 100'000), 100) == before(1500));
  copied.read = 40;  // by its bytes
  t.plan_next(copied);
  CHECK(t.rows_planned == 20);
}
