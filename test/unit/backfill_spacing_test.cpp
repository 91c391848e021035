// Where the next chunk ends, by how far the last one went.
#include <random>

#include "backfill/spacing.hpp"
#include "backfill_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

KeyColumn column(Comparison comparison) {
  KeyColumn out;
  out.comparison = comparison;
  return out;
}
Spacing integers() { return Spacing({column(Comparison::integer)}); }
Range range(int lower, int upper) { return {before(lower), before(upper)}; }
Range texts(const std::string& lower, const std::string& upper) {
  return {{Key{lower}, false}, {Key{upper}, false}};
}

}  // namespace

TEST_CASE("a chunk goes on as far as the last one did, in proportion to its rows") {
  auto spacing = integers();
  CHECK_FALSE(spacing.cut(range(0, 1'000'000), 100));
  spacing.learn(range(0, 1000), 100, 100);
  CHECK(spacing.cut(range(1000, 1'000'000), 100) == before(2000));
  CHECK(spacing.cut(range(1000, 1'000'000), 50) == before(1500));
  CHECK(spacing.cut(range(-5000, 1'000'000), 100) == before(-4000));
}

TEST_CASE("no small rest is left, and nothing is cut where an end is open") {
  auto spacing = integers();
  spacing.learn(range(0, 1000), 100, 100);
  CHECK(spacing.cut(range(1000, 2500), 100) == before(2500));
  CHECK(spacing.cut(range(1000, 2501), 100) == before(2000));
  CHECK(spacing.cut({before(1000), after(1001)}, 100) == after(1001));
  CHECK_FALSE(spacing.cut({open(), before(100'000)}, 100));
  CHECK_FALSE(spacing.cut({before(0), open()}, 100));
}

TEST_CASE("where the last chunk had far fewer rows than planned, or far more, the source is asked") {
  auto spacing = integers();
  for (const int rows : {0, 24, 401}) {
    spacing.learn(range(0, 1000), 100, 100);
    spacing.learn(range(1000, 2000), rows, 100);
    CHECK_FALSE(spacing.cut(range(2000, 1'000'000), 100));
  }
  spacing.learn({open(), before(10)}, 100, 100);
  CHECK_FALSE(spacing.cut(range(2000, 1'000'000), 100));
}

TEST_CASE("integers from one end to the other") {
  auto spacing = integers();
  const std::string least = "-9223372036854775808", most = "9223372036854775807";
  spacing.learn(texts(least, "0"), 100, 100);
  const auto cut = spacing.cut(texts(least, most), 100);
  REQUIRE(cut);
  CHECK(std::abs(std::stod(cut->key->at(0))) < 1e4);
  CHECK(spacing.room(texts(least, most)) == std::numeric_limits<std::uint64_t>::max());
  CHECK(spacing.room(range(5, 9)) == 5);
  CHECK_FALSE(spacing.room({open(), before(9)}));
}

TEST_CASE("uuids are cut by their first half; texts and keys of several columns by the source") {
  Spacing uuids({column(Comparison::uuid)});
  uuids.learn(texts("00000000-0000-0000-0000-000000000000", "10000000-0000-0000-0000-000000000000"), 100,
              100);
  const auto cut =
      uuids.cut(texts("10000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff"), 200);
  REQUIRE(cut);
  CHECK(cut->key->at(0) == "30000000-0000-0000-0000-000000000000");
  CHECK_FALSE(
      uuids.room(texts("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001")));
  Spacing text({column(Comparison::c_text)});
  text.learn(texts("1", "2"), 100, 100);
  CHECK_FALSE(text.cut(texts("2", "9"), 100));
  Spacing two({column(Comparison::integer), column(Comparison::integer)});
  two.learn(texts("1", "2"), 100, 100);
  CHECK_FALSE(two.cut(texts("2", "9"), 100));
}

TEST_CASE("a cut is inside its range, or its upper end, and the walk ends") {
  std::mt19937 random(7);
  for (int run = 0; run < 300; ++run) {
    auto spacing = integers();
    const auto number = [&](int most) { return static_cast<int>(random() % static_cast<unsigned>(most)); };
    const int rows = 1 + number(50);
    Range left{number(2) == 0 ? before(0) : after(0), number(2) == 0 ? before(100'000) : after(100'000)};
    while (left.lower != left.upper) {
      spacing.learn(range(0, 1 + number(1000)), rows, rows);
      const auto cut = spacing.cut(left, rows);
      REQUIRE(cut);
      if (*cut != left.upper) {
        REQUIRE(place(left.lower, true) < place(*cut, true));
        REQUIRE(place(*cut, true) < place(left.upper, true));
      }
      left.lower = *cut;
    }
  }
}
