// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The chunks of one table: a partition of all keys into ranges, each pending, in flight or loaded. Pure.
//
// Invariants
//  1. The ranges are in order, do not overlap, and leave no key out: the first begins before all keys, the last
//     ends after all.
//  2. A range in flight or loaded carries its snapshot; a loaded one until forget_passed() finds its fence passed.
//  3. Only pending ranges are claimed; a failed one is pending again.
//
// A range that becomes pending is merged with its pending neighbours. Two stay apart where split_pending() cut them,
// until one is announced. A key that punch() made pending stays a range of its own, and is none that first_pending()
// gives: such keys are read together (fill.cpp).
//
// The map compares nothing: it has no order of its own, and two bounds are one only if their texts are. Where two
// texts are one key (numeric 1.0 and 1.00), punch() can leave a range with nothing in it; no key is ever found there.
//
// Threads: none of its own; the owner locks.
#pragma once

#include "chunk.hpp"

namespace walign::backfill {

// The source's order of keys.
class KeyOrder {
 public:
  virtual ~KeyOrder() = default;
  // For each key, how many of `bounds` are at or below "just before key": a bound before b is where b <= key, one
  // after b is where b < key. `bounds` all have keys, in any order (ascending is the fastest). May ask the source
  // (one query for all keys); throws Error.
  virtual std::vector<std::size_t> locate(const std::vector<const Key*>& keys,
                                          const std::vector<const Bound*>& bounds) = 0;
  // The same for bounds that are known to be ascending.
  virtual std::vector<std::size_t> locate_in_order(const std::vector<const Key*>& keys,
                                                   const std::vector<const Bound*>& bounds) {
    return locate(keys, bounds);
  }
};

struct ChunkRecord {
  Range range;
  align::ChunkState state = align::ChunkState::pending;
  std::optional<Snapshot> snapshot;
  Lsn fence;
  std::int64_t rows = 0;
};

class ChunkMap {
 public:
  // Everything is pending.
  ChunkMap();
  // From what the target has: loaded chunks, in any order; what they leave out is pending. Throws
  // Error(precondition) where they overlap. `order` sorts them (one call). Their bounds' texts are kept, so that a
  // range is still the one that the target has.
  ChunkMap(std::vector<ChunkRecord> loaded, KeyOrder& order);

  [[nodiscard]] const std::vector<ChunkRecord>& chunks() const { return chunks_; }
  // Changes whenever a bound does, or more often: what locate() said under another version must be asked again.
  [[nodiscard]] std::uint64_t version() const { return version_; }
  // The inner bounds (those between chunks), ascending: what KeyOrder::locate wants. Index i of its answer is the
  // index of the chunk. Good until the version changes.
  [[nodiscard]] std::vector<const Bound*> inner_bounds() const;

  // The first pending range, if any, that is not one key; it stays pending until announce().
  [[nodiscard]] std::optional<Range> first_pending() const;
  [[nodiscard]] bool any_pending_key() const;
  [[nodiscard]] std::vector<Key> pending_keys() const;
  // The pending range that begins at `lower` is cut at `cut` (inside it, given by the source): [lower, cut) stays
  // first, and is what announce() takes. False if there is no such pending range any more. The cut must have been
  // found in the range as it is now: where another may have cut it meanwhile, give the whole range, which must be
  // pending exactly so.
  bool split_pending(const Bound& lower, const Bound& cut);
  bool split_pending(const Range& range, const Bound& cut);
  // pending -> in flight, under this snapshot; exactly a range that is pending now. False if there is no such one
  // any more.
  bool announce(const Range& range, const Snapshot& snapshot, Lsn fence);
  // in flight -> loaded; in flight -> pending. False, and nothing done, if the range is not in flight.
  bool loaded(const Range& range, std::int64_t rows);
  bool failed(const Range& range);
  // A reader stopped early: of a range in flight, [lower, cut) stays so and the rest is pending again. The cut was
  // found in the range's own snapshot. False, and nothing done, if the range is not in flight.
  bool give_back(const Range& range, const Bound& cut);
  // Everything is pending again (a TRUNCATE). Chunks in flight are forgotten: loaded() and failed() of a range that
  // is not in flight are ignored and answer false. A range has no other name than its bounds: it may be announced
  // again only when nobody who read it before the reset will report it any more.
  void reset();
  // The same table with other chunks.
  void become(ChunkMap other);
  // One key of the loaded chunk `index` is pending again, as a chunk of its own; the ranges that the loaded chunk
  // became (two, one, or none where it was this key alone; snapshot, fence as before). Its rows count with the first.
  std::vector<ChunkRecord> punch(std::size_t index, const Key& key);

  // These pending keys, as pending_keys() gave them, are loaded under this snapshot.
  void filled(const std::vector<Key>& keys, const Snapshot& snapshot, Lsn fence);

  // Drops the snapshots of loaded chunks whose fence is at or below `applied`.
  void forget_passed(Lsn applied);
  // Every chunk is loaded and its fence passed.
  [[nodiscard]] bool complete() const;
  [[nodiscard]] bool any_in_flight() const;

 private:
  using Place = std::vector<ChunkRecord>::iterator;
  Place find(align::ChunkState state, const Range& range);
  bool split(Place at, const Bound& cut);
  void merge_around(Place at);

  std::vector<ChunkRecord> chunks_;  // ranges as in invariant 1
  std::uint64_t version_ = 0;
};

}  // namespace walign::backfill
