// Chunks over small integer keys, and how tests write them.
#pragma once

#include "backfill/chunk_map.hpp"
#include "support/catch.hpp"

namespace walign::test {

using namespace walign::backfill;
using align::ChunkState;

// Integer keys, compared without any code of walign's; counts how often it was asked.
class IntegerOrder final : public KeyOrder {
 public:
  std::vector<std::size_t> locate(const std::vector<const Key*>& keys,
                                  const std::vector<const Bound*>& bounds) override {
    ++calls;
    std::vector<std::size_t> counts;
    for (const Key* key : keys) {
      counts.push_back(
          static_cast<std::size_t>(std::count_if(bounds.begin(), bounds.end(), [&](const Bound* b) {
            const int bound = std::stoi(b->key->at(0)), k = std::stoi(key->at(0));
            return b->after ? bound < k : bound <= k;
          })));
    }
    return counts;
  }
  int calls = 0;
};

inline Key key(int k) { return {std::to_string(k)}; }
inline Bound before(int k) { return {key(k), false}; }
inline Bound after(int k) { return {key(k), true}; }
inline Bound open() { return {}; }
inline Snapshot snapshot(std::uint64_t xmax) { return {Xid(xmax), Xid(xmax), {}}; }

inline std::string text_of(const Bound& bound) {
  if (!bound.key) return "*";
  return bound.key->at(0) + (bound.after ? "+" : "-");
}

// "* .. 5-: loaded; 5- .. *: pending"
inline std::string text_of(const ChunkMap& map) {
  std::string out;
  for (const ChunkRecord& chunk : map.chunks()) {
    static const char* const kNames[] = {"pending", "in flight", "loaded"};
    out += (out.empty() ? "" : "; ") + text_of(chunk.range.lower) + " .. " + text_of(chunk.range.upper) +
           ": " + kNames[static_cast<std::size_t>(chunk.state)];
  }
  return out;
}

// Four times the key, and one less or more: between two keys are two bounds.
inline int place(const Bound& bound, bool is_lower) {
  if (!bound.key) return is_lower ? -1'000'000 : 1'000'000;
  return 4 * std::stoi(bound.key->at(0)) + (bound.after ? 1 : -1);
}
inline bool holds(const Range& range, int k) {
  return place(range.lower, true) < 4 * k && 4 * k < place(range.upper, false);
}

inline void check_invariants(const ChunkMap& map) {
  const auto& chunks = map.chunks();
  REQUIRE_FALSE(chunks.empty());
  CHECK_FALSE(chunks.front().range.lower.key.has_value());
  CHECK_FALSE(chunks.back().range.upper.key.has_value());
  const auto inner = map.inner_bounds();
  REQUIRE(inner.size() + 1 == chunks.size());
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    CHECK(place(chunks[i].range.lower, true) < place(chunks[i].range.upper, false));
    if (i > 0) {
      CHECK(chunks[i - 1].range.upper == chunks[i].range.lower);
      CHECK(*inner[i - 1] == chunks[i].range.lower);
    }
    if (chunks[i].state == ChunkState::pending) CHECK_FALSE(chunks[i].snapshot.has_value());
    if (chunks[i].state == ChunkState::in_flight) CHECK(chunks[i].snapshot.has_value());
  }
}

}  // namespace walign::test
