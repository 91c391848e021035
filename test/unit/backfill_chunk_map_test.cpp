// The map of chunks, step by step. Random walks are in backfill_chunk_walk_test.cpp.
#include "backfill_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

ChunkRecord loaded_chunk(const Bound& lower, const Bound& upper, std::uint64_t fence = 0, int rows = 1) {
  ChunkRecord chunk;
  chunk.range = {lower, upper};
  chunk.state = ChunkState::loaded;
  chunk.fence = Lsn(fence);
  chunk.rows = rows;
  if (fence != 0) chunk.snapshot = snapshot(fence);
  return chunk;
}

}  // namespace

TEST_CASE("a new map is one pending chunk of everything") {
  const ChunkMap map;
  CHECK(text_of(map) == "* .. *: pending");
  REQUIRE(map.first_pending());
  CHECK(map.first_pending()->everything());
  CHECK_FALSE(map.complete());
  CHECK_FALSE(map.any_in_flight());
  CHECK(map.inner_bounds().empty());
}

TEST_CASE("a pending range is cut, announced and loaded, and then the next one is first") {
  ChunkMap map;
  REQUIRE(map.split_pending(open(), after(10)));
  CHECK(text_of(map) == "* .. 10+: pending; 10+ .. *: pending");
  const Range first = *map.first_pending();
  CHECK(first == Range{open(), after(10)});
  const auto version = map.version();
  REQUIRE(map.announce(first, snapshot(7), Lsn(70)));
  CHECK(map.version() == version);
  CHECK(map.any_in_flight());
  CHECK(map.chunks()[0].snapshot->to_string() == "7:7:");
  CHECK(map.chunks()[0].fence == Lsn(70));
  REQUIRE(map.loaded(first, 9));
  CHECK(map.chunks()[0].rows == 9);
  CHECK_FALSE(map.any_in_flight());
  CHECK(text_of(map) == "* .. 10+: loaded; 10+ .. *: pending");
  CHECK(*map.first_pending() == Range{after(10), open()});
}

TEST_CASE("only a range that is pending exactly so is announced, and only one in flight ends") {
  ChunkMap map;
  map.split_pending(open(), before(5));
  CHECK_FALSE(map.announce({open(), before(6)}, snapshot(1), Lsn(1)));
  CHECK_FALSE(map.announce({open(), after(5)}, snapshot(1), Lsn(1)));
  CHECK_FALSE(map.announce({open(), open()}, snapshot(1), Lsn(1)));
  const Range range{open(), before(5)};
  CHECK_FALSE(map.loaded(range, 1));
  CHECK_FALSE(map.failed(range));
  REQUIRE(map.announce(range, snapshot(1), Lsn(1)));
  CHECK_FALSE(map.announce(range, snapshot(2), Lsn(2)));
  CHECK(map.chunks()[0].fence == Lsn(1));
  CHECK_FALSE(map.split_pending(open(), before(3)));
  CHECK_FALSE(map.split_pending(range, before(3)));
  REQUIRE(map.loaded(range, 1));
  CHECK_FALSE(map.loaded(range, 1));
  CHECK_FALSE(map.failed(range));
}

TEST_CASE("a cut at the end of its range leaves the range whole, one at its beginning is a bug") {
  ChunkMap map;
  map.split_pending(open(), before(5));
  const auto version = map.version();
  CHECK(map.split_pending(open(), before(5)));
  CHECK(map.version() == version);
  CHECK_THROWS_AS(map.split_pending(before(5), before(5)), Error);
  CHECK_THROWS_AS(map.split_pending(before(5), open()), Error);
  CHECK(text_of(map) == "* .. 5-: pending; 5- .. *: pending");
}

TEST_CASE("a cut found in a range that another has cut meanwhile is refused") {
  ChunkMap map;
  const Range seen = *map.first_pending();
  REQUIRE(map.split_pending(seen, before(5)));
  CHECK_FALSE(map.split_pending(seen, before(9)));
  CHECK(text_of(map) == "* .. 5-: pending; 5- .. *: pending");
}

TEST_CASE("a failed chunk is pending again and merged with its pending neighbours") {
  ChunkMap map;
  for (const int k : {10, 20, 30}) map.split_pending(k == 10 ? open() : before(k - 10), before(k));
  const Range middle{before(10), before(20)};
  REQUIRE(map.announce(middle, snapshot(3), Lsn(30)));
  const auto version = map.version();
  REQUIRE(map.failed(middle));
  CHECK(text_of(map) == "* .. *: pending");
  CHECK(map.version() != version);
  CHECK_FALSE(map.chunks()[0].snapshot.has_value());
  CHECK(map.chunks()[0].fence == Lsn());
}

TEST_CASE("a failed chunk between loaded ones keeps its bounds") {
  IntegerOrder order;
  ChunkMap map({loaded_chunk(open(), before(5)), loaded_chunk(before(9), open())}, order);
  const Range gap = *map.first_pending();
  REQUIRE(map.announce(gap, snapshot(3), Lsn(30)));
  const auto version = map.version();
  REQUIRE(map.failed(gap));
  CHECK(map.version() == version);
  CHECK(text_of(map) == "* .. 5-: loaded; 5- .. 9-: pending; 9- .. *: loaded");
}

TEST_CASE("after a reset everything is pending and what was in flight is forgotten") {
  ChunkMap map;
  map.split_pending(open(), before(5));
  const Range range = *map.first_pending();
  REQUIRE(map.announce(range, snapshot(3), Lsn(30)));
  const auto version = map.version();
  map.reset();
  CHECK(map.version() != version);
  CHECK(text_of(map) == "* .. *: pending");
  CHECK_FALSE(map.loaded(range, 5));
  CHECK_FALSE(map.failed(range));
  CHECK(text_of(map) == "* .. *: pending");
}

TEST_CASE("loaded chunks in any order make a map, with what they leave out pending, in one question") {
  IntegerOrder order;
  const ChunkMap map({loaded_chunk(before(50), after(50)), loaded_chunk(after(50), before(60), 8, 4),
                      loaded_chunk(open(), before(7)), loaded_chunk(before(7), after(12))},
                     order);
  CHECK(order.calls == 1);
  CHECK(text_of(map) ==
        "* .. 7-: loaded; 7- .. 12+: loaded; 12+ .. 50-: pending; 50- .. 50+: loaded; 50+ .. 60-: loaded; "
        "60- .. *: pending");
  CHECK(map.chunks()[4].fence == Lsn(8));
  CHECK(map.chunks()[4].rows == 4);
  CHECK(map.chunks()[4].snapshot.has_value());
  check_invariants(map);
}

TEST_CASE("a map of nothing loaded asks nothing and is pending") {
  IntegerOrder order;
  const ChunkMap map({}, order);
  CHECK(order.calls == 0);
  CHECK(text_of(map) == "* .. *: pending");
  const ChunkMap whole({loaded_chunk(open(), open())}, order);
  CHECK(order.calls == 0);
  CHECK(text_of(whole) == "* .. *: loaded");
}

TEST_CASE("loaded chunks that overlap are refused") {
  IntegerOrder order;
  const std::vector<std::vector<ChunkRecord>> wrong = {
      {loaded_chunk(open(), before(7)), loaded_chunk(before(6), open())},
      {loaded_chunk(open(), after(7)), loaded_chunk(before(7), open())},
      {loaded_chunk(open(), before(7)), loaded_chunk(open(), before(9))},
      {loaded_chunk(before(3), open()), loaded_chunk(before(9), open())},
      {loaded_chunk(open(), open()), loaded_chunk(before(9), after(9))},
      {loaded_chunk(before(1), before(9)), loaded_chunk(before(3), after(3))},
      {loaded_chunk(before(1), before(9)), loaded_chunk(before(1), before(9))},
      {loaded_chunk(before(9), before(1))},
  };
  for (const auto& records : wrong) {
    try {
      const ChunkMap map(records, order);
      FAIL("accepted: " << text_of(map));
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::precondition);
      CHECK_FALSE(error.hint().empty());
    }
  }
}

TEST_CASE("one key of a loaded chunk becomes pending, and the pieces keep snapshot and fence") {
  struct Case {
    Bound lower, upper;
    std::string expected;
    std::size_t pieces;
  };
  const std::vector<Case> cases = {
      {open(), open(), "* .. 5-: loaded; 5- .. 5+: pending; 5+ .. *: loaded", 2},
      {before(5), open(), "* .. 5-: pending; 5- .. 5+: pending; 5+ .. *: loaded", 1},
      {after(4), open(), "* .. 4+: pending; 4+ .. 5-: loaded; 5- .. 5+: pending; 5+ .. *: loaded", 2},
      {open(), after(5), "* .. 5-: loaded; 5- .. 5+: pending; 5+ .. *: pending", 1},
      {before(5), after(5), "* .. 5-: pending; 5- .. 5+: pending; 5+ .. *: pending", 0},
  };
  for (const Case& c : cases) {
    IntegerOrder order;
    ChunkMap map({loaded_chunk(c.lower, c.upper, 40, 12)}, order);
    const auto version = map.version();
    const auto pieces = map.punch(c.lower.key ? 1 : 0, key(5));
    CHECK(text_of(map) == c.expected);
    CHECK(map.version() != version);
    REQUIRE(pieces.size() == c.pieces);
    std::int64_t rows = 0;
    for (const ChunkRecord& piece : pieces) {
      CHECK(piece.state == ChunkState::loaded);
      CHECK(piece.fence == Lsn(40));
      REQUIRE(piece.snapshot);
      CHECK(piece.snapshot->to_string() == "40:40:");
      CHECK(std::count_if(map.chunks().begin(), map.chunks().end(),
                          [&](const ChunkRecord& r) { return r.range == piece.range; }) == 1);
      rows += piece.rows;
    }
    CHECK(rows == (c.pieces == 0 ? 0 : 12));
    check_invariants(map);
    // The key alone can be taken, and loaded again.
    const Range alone{before(5), after(5)};
    REQUIRE(map.announce(alone, snapshot(50), Lsn(50)));
    REQUIRE(map.loaded(alone, 1));
  }
}

TEST_CASE("a reader that stops early gives the rest of its range back") {
  ChunkMap map;
  map.split_pending(open(), before(50));
  const Range range{open(), before(50)};
  CHECK_FALSE(map.give_back(range, before(9)));  // nobody reads it
  REQUIRE(map.announce(range, snapshot(7), Lsn(70)));
  const auto version = map.version();
  REQUIRE(map.give_back(range, before(9)));
  CHECK(map.version() != version);
  // With what was pending behind it, it is one range again.
  CHECK(text_of(map) == "* .. 9-: in flight; 9- .. *: pending");
  CHECK(map.chunks()[0].snapshot.has_value());
  CHECK_FALSE(map.loaded(range, 1));
  REQUIRE(map.loaded({open(), before(9)}, 1));
}

TEST_CASE("only a loaded chunk can lose a key") {
  ChunkMap map;
  CHECK_THROWS_AS(map.punch(0, key(1)), Error);
  CHECK_THROWS_AS(map.punch(1, key(1)), Error);
}

TEST_CASE("two texts of one key leave an empty range in which no key is found") {
  // Numerically equal, textually not: as numeric's 5 and 5.0 would be.
  IntegerOrder order;
  ChunkMap map({loaded_chunk(before(5), before(9), 3)}, order);
  const auto pieces = map.punch(1, {"05"});
  REQUIRE(pieces.size() == 2);
  const Key five = key(5), six = key(6), four = key(4);
  CHECK(order.locate({&four, &five, &six}, map.inner_bounds()) == std::vector<std::size_t>{0, 2, 3});
  CHECK(map.chunks()[2].range == Range{{Key{"05"}, false}, {Key{"05"}, true}});

  // And the map can be made again from such pieces, whichever comes first.
  const ChunkMap again({loaded_chunk({Key{"05"}, false}, {Key{"05"}, true}), pieces[1], pieces[0]}, order);
  CHECK(text_of(again) ==
        "* .. 5-: pending; 5- .. 05-: loaded; 05- .. 05+: loaded; 05+ .. 9-: loaded; 9- .. *: pending");
}

TEST_CASE("a map is complete when every chunk is loaded and its fence passed") {
  ChunkMap map;
  map.split_pending(open(), before(5));
  const Range left{open(), before(5)}, right{before(5), open()};
  REQUIRE(map.announce(left, snapshot(3), Lsn(30)));
  REQUIRE(map.announce(right, snapshot(4), Lsn(40)));
  REQUIRE(map.loaded(left, 1));
  map.forget_passed(Lsn(100));
  CHECK(map.chunks()[1].snapshot.has_value());  // in flight: kept whatever has passed
  REQUIRE(map.loaded(right, 1));
  CHECK_FALSE(map.complete());
  map.forget_passed(Lsn(39));
  CHECK_FALSE(map.complete());
  CHECK_FALSE(map.chunks()[0].snapshot.has_value());
  CHECK(map.chunks()[1].snapshot.has_value());
  map.forget_passed(Lsn(40));
  CHECK(map.complete());
  CHECK_FALSE(map.first_pending());
  map.reset();
  CHECK_FALSE(map.complete());
}

TEST_CASE(
    "chunks that were in flight together are given back together, with what one of them gave back before") {
  ChunkMap map;
  Range left{open(), open()};
  std::vector<Range> run;
  for (const int end : {10, 20, 30}) {
    REQUIRE(map.split_pending(left.lower, before(end)));
    run.push_back({left.lower, before(end)});
    REQUIRE(map.announce(run.back(), snapshot(static_cast<std::uint64_t>(end)), Lsn(7)));
    left.lower = before(end);
  }
  REQUIRE(map.give_back(run[1], before(15)));
  run[1].upper = before(15);
  CHECK(text_of(map) ==
        "* .. 10-: in flight; 10- .. 15-: in flight; 15- .. 20-: pending; 20- .. 30-: in flight; 30- .. *: "
        "pending");
  auto committed = map;
  for (const auto& range : run) REQUIRE(map.failed(range));
  check_invariants(map);
  CHECK(text_of(map) == "* .. *: pending");
  for (const auto& range : run) REQUIRE(committed.loaded(range, 1));
  check_invariants(committed);
  CHECK(text_of(committed) ==
        "* .. 10-: loaded; 10- .. 15-: loaded; 15- .. 20-: pending; 20- .. 30-: loaded; 30- .. *: pending");
  CHECK(committed.chunks()[0].snapshot->to_string() == "10:10:");
  CHECK(committed.chunks()[3].snapshot->to_string() == "30:30:");
}
