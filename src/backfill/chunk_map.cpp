// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "chunk_map.hpp"

#include <iterator>
#include <set>

namespace walign::backfill {

using align::ChunkState;

namespace {

ChunkRecord pending(Bound lower, Bound upper) {
  ChunkRecord chunk;
  chunk.range = {std::move(lower), std::move(upper)};
  return chunk;
}

// Where a bound is among others, as a value: locate() counts the bounds below a key, and that number grows from key
// to key wherever it matters. Of two keys k < l with bounds, l counts at least one more unless the bounds are just
// before k and just after l, and those two differ in `after`.
struct Position {
  enum class Kind : std::uint8_t { before_all, at_key, after_all } kind = Kind::at_key;
  std::size_t below = 0;
  bool after = false;
  auto operator<=>(const Position&) const = default;
};

struct Placed {
  ChunkRecord* chunk = nullptr;
  Position lower;
  Position upper;
};

std::vector<Placed> place(std::vector<ChunkRecord>& chunks, KeyOrder& order) {
  std::vector<const Bound*> bounds;
  std::vector<const Key*> keys;
  for (const ChunkRecord& chunk : chunks) {
    for (const Bound* bound : {&chunk.range.lower, &chunk.range.upper}) {
      if (!bound->key) continue;
      bounds.push_back(bound);
      keys.push_back(&*bound->key);
    }
  }
  const std::vector<std::size_t> below =
      keys.empty() ? std::vector<std::size_t>() : order.locate(keys, bounds);
  WALIGN_CHECK(below.size() == keys.size());
  std::size_t next = 0;
  const auto position_of = [&](const Bound& bound, Position::Kind without_key) -> Position {
    if (!bound.key) return {without_key, 0, false};
    return {Position::Kind::at_key, below[next++], bound.after};
  };
  std::vector<Placed> placed;
  placed.reserve(chunks.size());
  for (ChunkRecord& chunk : chunks) {
    const Position lower = position_of(chunk.range.lower, Position::Kind::before_all);
    const Position upper = position_of(chunk.range.upper, Position::Kind::after_all);
    placed.push_back({&chunk, lower, upper});
  }
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return std::pair(a.lower, a.upper) < std::pair(b.lower, b.upper);
  });
  return placed;
}

std::string text_of(const Bound& bound, const char* without_key) {
  if (!bound.key) return without_key;
  return cat(bound.after ? "after (" : "before (", join(*bound.key, ", "), ")");
}

std::string text_of(const Range& range) {
  return cat("[", text_of(range.lower, "the first key"), " .. ", text_of(range.upper, "the last key"), "]");
}

[[noreturn]] void overlap(const Range& a, const Range& b) {
  throw Error(
      ErrorKind::precondition,
      cat("the chunks that the target has on record overlap: ", text_of(a), " and ", text_of(b)),
      "has the collation of a key column, or the C library under it, changed on the source? Copy this table "
      "anew");
}

}  // namespace

ChunkMap::ChunkMap() : chunks_{pending({}, {})} {}

ChunkMap::ChunkMap(std::vector<ChunkRecord> loaded, KeyOrder& order) {
  Position reached{Position::Kind::before_all, 0, false};
  for (const Placed& next : place(loaded, order)) {
    const Range& range = next.chunk->range;
    const Bound last = chunks_.empty() ? Bound{} : chunks_.back().range.upper;
    if (next.upper < next.lower) overlap(range, range);
    if (next.lower < reached) overlap(chunks_.back().range, range);
    if (reached < next.lower) chunks_.push_back(pending(last, range.lower));
    reached = next.upper;
    chunks_.push_back(std::move(*next.chunk));
    chunks_.back().state = ChunkState::loaded;
  }
  if (chunks_.empty()) {
    chunks_.push_back(pending({}, {}));
  } else if (chunks_.back().range.upper.key) {
    chunks_.push_back(pending(chunks_.back().range.upper, {}));
  }
}

// Where texts of one key differ, the lower bound of the later range and the upper one of the earlier are the same
// place, so either would do.
std::vector<const Bound*> ChunkMap::inner_bounds() const {
  std::vector<const Bound*> bounds;
  bounds.reserve(chunks_.size() - 1);
  for (std::size_t i = 1; i < chunks_.size(); ++i) bounds.push_back(&chunks_[i].range.lower);
  return bounds;
}

namespace {

bool is_pending_range(const ChunkRecord& chunk) {
  return chunk.state == ChunkState::pending && !chunk.range.one_key();
}
bool is_pending_key(const ChunkRecord& chunk) {
  return chunk.state == ChunkState::pending && chunk.range.one_key();
}

}  // namespace

std::optional<Range> ChunkMap::first_pending() const {
  const auto found = std::find_if(chunks_.begin(), chunks_.end(), is_pending_range);
  if (found == chunks_.end()) return std::nullopt;
  return found->range;
}

bool ChunkMap::any_pending_key() const { return std::any_of(chunks_.begin(), chunks_.end(), is_pending_key); }

std::vector<Key> ChunkMap::pending_keys() const {
  std::vector<Key> keys;
  for (const ChunkRecord& chunk : chunks_) {
    if (is_pending_key(chunk)) keys.push_back(*chunk.range.lower.key);
  }
  return keys;
}

void ChunkMap::filled(const std::vector<Key>& keys, const Snapshot& snapshot, Lsn fence) {
  const std::set<Key> these(keys.begin(), keys.end());
  for (ChunkRecord& chunk : chunks_) {
    if (!is_pending_key(chunk) || !these.contains(*chunk.range.lower.key)) continue;
    chunk.state = ChunkState::loaded;
    chunk.snapshot = snapshot;
    chunk.fence = fence;
  }
}

ChunkMap::Place ChunkMap::find(ChunkState state, const Range& range) {
  return std::find_if(chunks_.begin(), chunks_.end(),
                      [&](const ChunkRecord& c) { return c.state == state && c.range == range; });
}

bool ChunkMap::split(Place at, const Bound& cut) {
  if (at == chunks_.end()) return false;
  WALIGN_CHECK(cut.key && cut != at->range.lower);
  if (cut == at->range.upper) return true;
  ChunkRecord rest = pending(cut, at->range.upper);
  at->range.upper = cut;
  chunks_.insert(std::next(at), std::move(rest));
  ++version_;
  return true;
}

bool ChunkMap::split_pending(const Bound& lower, const Bound& cut) {
  return split(std::find_if(chunks_.begin(), chunks_.end(),
                            [&](const ChunkRecord& c) {
                              return c.state == ChunkState::pending && c.range.lower == lower;
                            }),
               cut);
}

bool ChunkMap::split_pending(const Range& range, const Bound& cut) {
  return split(find(ChunkState::pending, range), cut);
}

bool ChunkMap::announce(const Range& range, const Snapshot& snapshot, Lsn fence) {
  const auto at = find(ChunkState::pending, range);
  if (at == chunks_.end()) return false;
  at->state = ChunkState::in_flight;
  at->snapshot = snapshot;
  at->fence = fence;
  return true;
}

bool ChunkMap::loaded(const Range& range, std::int64_t rows) {
  const auto at = find(ChunkState::in_flight, range);
  if (at == chunks_.end()) return false;
  at->state = ChunkState::loaded;
  at->rows = rows;
  return true;
}

bool ChunkMap::failed(const Range& range) {
  const auto at = find(ChunkState::in_flight, range);
  if (at == chunks_.end()) return false;
  *at = pending(at->range.lower, at->range.upper);
  merge_around(at);
  return true;
}

bool ChunkMap::give_back(const Range& range, const Bound& cut) {
  const auto at = find(ChunkState::in_flight, range);
  if (at == chunks_.end()) return false;
  WALIGN_CHECK(cut.key && cut != range.lower && cut != range.upper);
  const ChunkRecord rest = pending(cut, at->range.upper);
  at->range.upper = cut;
  const auto given = chunks_.insert(std::next(at), rest);
  ++version_;
  merge_around(given);
  return true;
}

void ChunkMap::merge_around(Place at) {
  auto first = at;
  while (first != chunks_.begin() && is_pending_range(*std::prev(first))) --first;
  auto last = at;
  while (std::next(last) != chunks_.end() && is_pending_range(*std::next(last))) ++last;
  if (first == last) return;
  first->range.upper = std::move(last->range.upper);
  chunks_.erase(std::next(first), std::next(last));
  ++version_;
}

void ChunkMap::reset() {
  chunks_.assign(1, pending({}, {}));
  ++version_;
}

void ChunkMap::become(ChunkMap other) {
  chunks_ = std::move(other.chunks_);
  ++version_;
}

std::vector<ChunkRecord> ChunkMap::punch(std::size_t index, const Key& key) {
  WALIGN_CHECK(index < chunks_.size() && chunks_[index].state == ChunkState::loaded);
  const Bound before{key, false}, after{key, true};
  ChunkRecord left = chunks_[index], right = left;
  left.range.upper = before;
  right.range.lower = after;

  std::vector<ChunkRecord> kept;
  if (left.range.lower != before) kept.push_back(std::move(left));
  std::vector<ChunkRecord> pieces = kept;
  pieces.push_back(pending(before, after));
  if (right.range.upper != after) {
    if (!kept.empty()) right.rows = 0;
    kept.push_back(right);
    pieces.push_back(std::move(right));
  }

  const auto at = chunks_.erase(chunks_.begin() + static_cast<std::ptrdiff_t>(index));
  chunks_.insert(at, pieces.begin(), pieces.end());
  ++version_;
  return kept;
}

void ChunkMap::forget_passed(Lsn applied) {
  for (ChunkRecord& chunk : chunks_) {
    if (chunk.state == ChunkState::loaded && chunk.fence <= applied) chunk.snapshot.reset();
  }
}

bool ChunkMap::complete() const {
  return std::all_of(chunks_.begin(), chunks_.end(),
                     [](const ChunkRecord& c) { return c.state == ChunkState::loaded && !c.snapshot; });
}

bool ChunkMap::any_in_flight() const {
  return std::any_of(chunks_.begin(), chunks_.end(),
                     [](const ChunkRecord& c) { return c.state == ChunkState::in_flight; });
}

}  // namespace walign::backfill
