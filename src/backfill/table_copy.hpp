// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One route that is being copied, and what becomes of the stream's changes to it.
#pragma once

#include "copier.hpp"
#include "spacing.hpp"
#include "store.hpp"
#include "walign/event.hpp"

namespace walign::backfill {

struct TableCopy {
  CopyPlan plan;
  Snapshot birth;
  ChunkMap map;
  std::unique_ptr<KeyOrder> order;  // used by the loop's thread
  std::vector<Bound> bounds;        // the map's, as the loop's thread last saw them
  std::uint64_t bounds_version = ~std::uint64_t{0};
  bool complete = false;
  std::vector<const TableCopy*> after;  // complete before this one begins: its expressions read them
  bool planning = false;                // a worker is choosing a range
  bool frozen =
      false;      // after a TRUNCATE nothing is claimed until the position has moved on from frozen_at, a
  Lsn frozen_at;  // commit record
  bool filling = false;                   // a worker reads the pending keys
  std::optional<Snapshot> fill_snapshot;  // from its being announced until it is done
  Lsn fill_fence;
  std::int64_t claimed_since_fill = 0;  // ranges
  static constexpr std::chrono::milliseconds kFillPatience{5000};
  std::chrono::milliseconds fill_patience = kFillPatience;
  std::optional<std::chrono::steady_clock::time_point> fill_due_since;
  Spacing spacing;                // of its keys, as the last chunk had it
  bool rows_outgrow = false;      // a chunk was given up, since it had more bytes than was thought
  std::int64_t rows_planned = 0;  // of the next chunk: plan.rows_per_chunk, or fewer where rows are large
  std::chrono::steady_clock::time_point not_before;  // no range is claimed until then
  int lock_waits = 0;                                // that were cut short, in a row
  int violations = 0;  // of a unique index, in a row, where the stream had passed the chunk's fence
  std::int64_t rows_copied = 0;
  Mended mended;  // since this start
  double rows_estimated = 0;

  // Where rows turn out larger than the table's average, the next chunks have fewer; and more again after.
  void plan_next(const Copied& last);
  [[nodiscard]] Errand errand_for(const Range& range) const;
  [[nodiscard]] const mapping::Route& route() const { return *plan.route; }
  // Whether a relation of the stream is this table, or one of its partitions.
  [[nodiscard]] bool is(const v1::Relation& relation) const;
};

// A change of one row of a copied table, with the keys it has.
struct KeyedChange {
  int change = 0;  // index in the part
  TableCopy* table = nullptr;
  std::optional<Key> old_key;  // DELETE; UPDATE where the source sent an old row
  std::optional<Key> new_key;  // INSERT, UPDATE
  bool row_is_whole = true;    // the new row has every value, with the old row's help
  bool enters_filter = false;  // it may be new to the target, and is not whole
  std::size_t old_chunk = 0;   // found by locate()
  std::size_t new_chunk = 0;
};

// The changes of a part that belong to tables being copied; TRUNCATEs are left out.
std::vector<KeyedChange> keyed_changes(const event::TransactionPart& part,
                                       std::vector<std::unique_ptr<TableCopy>>& tables);

// The new row's value of a column of the source, by name: unchanged TOAST stands in the old row, if it is sent.
// Nothing where the change does not have it; a null text is SQL's NULL.
std::optional<event::Value> new_value(const v1::Change& change, const v1::Relation& relation,
                                      const std::string& column);

// Which chunk each key lies in, as of the map's version when it was called.
void locate(std::vector<KeyedChange*>& changes, KeyOrder& order, const std::vector<Bound>& bounds);

}  // namespace walign::backfill
