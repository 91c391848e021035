// The map of chunks against a naive model: an array that says for each small integer key what its chunk's state is.
#include <array>
#include <random>

#include "backfill_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

constexpr int kKeys = 24;

// Per key: its state, and under which snapshot.
struct Cell {
  ChunkState state = ChunkState::pending;
  std::uint64_t snapshot = 0;  // 0: none
  std::uint64_t fence = 0;
  bool operator==(const Cell&) const = default;
};
using Cells = std::array<Cell, kKeys>;

class Walk {
 public:
  explicit Walk(unsigned seed) : random_(seed) {}

  void step() {
    const auto bounds = bounds_now();
    const auto version = map_.version();
    switch (below(11)) {
      case 0:
      case 1: split(); break;
      case 2:
      case 3: announce(); break;
      case 4: finish(true); break;
      case 5: finish(false); break;
      case 6: punch(); break;
      case 7: forget(); break;
      case 8: give_back(); break;
      case 9: fill(); break;
      default: rare(); break;
    }
    if (bounds_now() != bounds) CHECK(map_.version() != version);
    check();
  }

 private:
  int below(int n) { return std::uniform_int_distribution<>(0, n - 1)(random_); }
  Bound random_bound() { return {key(below(kKeys)), below(2) == 0}; }

  [[nodiscard]] std::vector<Bound> bounds_now() const {
    std::vector<Bound> bounds;
    for (const Bound* bound : map_.inner_bounds()) bounds.push_back(*bound);
    return bounds;
  }

  template <class Change>
  void change(const Range& range, Change change) {
    for (int k = 0; k < kKeys; ++k) {
      if (holds(range, k)) change(cells_[static_cast<std::size_t>(k)]);
    }
  }

  void split() {
    const auto range = map_.first_pending();
    const Bound cut = random_bound();
    if (!range || place(cut, true) <= place(range->lower, true) ||
        place(cut, true) > place(range->upper, false)) {
      return;
    }
    CHECK((below(2) == 0 ? map_.split_pending(*range, cut) : map_.split_pending(range->lower, cut)));
    // What is cut off may be one key, which is none of the ranges.
    const Range first{range->lower, cut};
    if (!first.one_key()) CHECK(*map_.first_pending() == first);
  }

  void announce() {
    const auto range = map_.first_pending();
    if (!range) return;
    const std::uint64_t now = ++clock_;
    REQUIRE(map_.announce(*range, snapshot(now), Lsn(now)));
    in_flight_.push_back(*range);
    change(*range, [&](Cell& cell) { cell = {ChunkState::in_flight, now, now}; });
  }

  void finish(bool well) {
    if (in_flight_.empty()) return;
    const auto at = in_flight_.begin() + below(static_cast<int>(in_flight_.size()));
    const Range range = *at;
    in_flight_.erase(at);
    CHECK((well ? map_.loaded(range, 1) : map_.failed(range)));
    CHECK_FALSE((well ? map_.loaded(range, 1) : map_.failed(range)));
    change(range, [&](Cell& cell) {
      if (well) {
        cell.state = ChunkState::loaded;
      } else {
        cell = {};
      }
    });
  }

  // A reader stops early, somewhere behind its first key.
  void give_back() {
    if (in_flight_.empty()) return;
    auto& range = in_flight_[static_cast<std::size_t>(below(static_cast<int>(in_flight_.size())))];
    const Bound cut{key(below(kKeys)), false};
    if (place(cut, true) <= place(range.lower, true) || place(cut, true) >= place(range.upper, false)) return;
    CHECK(map_.give_back(range, cut));
    CHECK_FALSE(map_.give_back(range, cut));
    change({cut, range.upper}, [&](Cell& cell) { cell = {}; });
    range.upper = cut;
  }

  void punch() {
    const int k = below(kKeys);
    const Key at = key(k);
    const std::size_t index = order_.locate({&at}, map_.inner_bounds()).at(0);
    if (map_.chunks()[index].state != ChunkState::loaded) return;
    map_.punch(index, at);
    cells_[static_cast<std::size_t>(k)] = {};
  }

  void fill() {
    const auto keys = map_.pending_keys();
    CHECK(map_.any_pending_key() == !keys.empty());
    const std::uint64_t now = ++clock_;
    map_.filled(keys, snapshot(now), Lsn(now));
    for (const Key& at : keys) {
      cells_[static_cast<std::size_t>(std::stoi(at.at(0)))] = {ChunkState::loaded, now, now};
    }
    CHECK_FALSE(map_.any_pending_key());
  }

  void forget() {
    const std::uint64_t applied = clock_ - static_cast<std::uint64_t>(below(static_cast<int>(clock_) + 1));
    map_.forget_passed(Lsn(applied));
    for (Cell& cell : cells_) {
      if (cell.state == ChunkState::loaded && cell.fence <= applied) cell.snapshot = 0;
    }
  }

  void rare() {
    if (below(6) == 0) {
      map_.reset();
      cells_ = {};
      in_flight_.clear();
    } else if (below(3) == 0) {
      restart();
    }
  }

  // What a new process makes of the records on the target.
  void restart() {
    std::vector<const ChunkRecord*> on_target;
    for (const ChunkRecord& chunk : map_.chunks()) {
      if (chunk.state == ChunkState::loaded) on_target.push_back(&chunk);
    }
    std::shuffle(on_target.begin(), on_target.end(), random_);
    std::vector<ChunkRecord> records;
    for (const ChunkRecord* chunk : on_target) records.push_back(*chunk);
    map_ = ChunkMap(records, order_);
    in_flight_.clear();
    for (Cell& cell : cells_) {
      if (cell.state != ChunkState::loaded) cell = {};
    }
    for (std::size_t i = 1; i < map_.chunks().size(); ++i) {  // gaps are one range each
      CHECK(
          (map_.chunks()[i - 1].state == ChunkState::loaded || map_.chunks()[i].state == ChunkState::loaded));
    }
  }

  void check() {
    check_invariants(map_);
    const auto bounds = map_.inner_bounds();
    bool complete = true;
    for (int k = 0; k < kKeys; ++k) {
      const Key at = key(k);
      const ChunkRecord& chunk = map_.chunks().at(order_.locate({&at}, bounds).at(0));
      const auto in = std::count_if(map_.chunks().begin(), map_.chunks().end(),
                                    [&](const ChunkRecord& c) { return holds(c.range, k); });
      const Cell& cell = cells_[static_cast<std::size_t>(k)];
      const bool right = in == 1 && holds(chunk.range, k) && chunk.state == cell.state &&
                         (chunk.snapshot ? chunk.snapshot->xmax.value : 0) == cell.snapshot &&
                         (cell.state == ChunkState::pending || chunk.fence == Lsn(cell.fence));
      if (!right) FAIL("key " << k << " in " << text_of(map_));
      complete = complete && cell.state == ChunkState::loaded && cell.snapshot == 0;
    }
    // Not the other way: a range without one of the model's keys may still be pending.
    if (map_.complete()) CHECK(complete);
    CHECK(map_.any_in_flight() == !in_flight_.empty());
  }

  std::mt19937 random_;
  IntegerOrder order_;
  ChunkMap map_;
  Cells cells_{};
  std::vector<Range> in_flight_;
  std::uint64_t clock_ = 0;
};

}  // namespace

TEST_CASE("whatever happens, every key is in one chunk, and that chunk is what the model says") {
  for (unsigned seed = 0; seed < 200; ++seed) {
    INFO("seed " << seed);
    Walk walk(seed);
    for (int i = 0; i < 120; ++i) walk.step();
  }
}
