// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "backfill_impl.hpp"

namespace walign::backfill {

using align::ChunkState;
using align::ChunkView;
using align::MoveVerdict;
using align::Verdict;

// ---------------------------------------------------------------------------------------- the loop asks

// Finds each key's chunk, by an order that may ask the source; so without the lock, and checked after.
void Backfill::find_chunks(std::vector<KeyedChange>& changes, std::map<TableCopy*, std::uint64_t>& versions) {
  std::map<TableCopy*, std::vector<KeyedChange*>> by_table;
  for (auto& change : changes) by_table[change.table].push_back(&change);
  for (auto& [table, its] : by_table) {
    std::vector<Bound> bounds;
    {
      const std::lock_guard lock(mutex_);
      for (const Bound* bound : table->map.inner_bounds()) bounds.push_back(*bound);
      versions[table] = table->map.version();
    }
    locate(its, *table->order, bounds);
  }
}

// TRUNCATE: the table begins again, when nothing of it is in flight. False: something still is.
bool Backfill::judge_truncates(const event::TransactionPart& part, std::set<TableCopy*>& truncated) {
  for (int i = 0; i < part.tx().changes_size(); ++i) {
    const auto& change = part.tx().changes(i);
    if (change.kind() != v1::Change::TRUNCATE) continue;
    for (const auto index : change.truncate().relations()) {
      for (auto& table : tables_) {
        if (table->complete || !table->is(*part.relations().at(index))) continue;
        freeze(*table, part.commit_lsn());
        changed_.notify_all();  // who waits for an aligned moment gives up: it may lie behind this TRUNCATE
        if (table->planning || table->map.any_in_flight()) return false;
        truncated.insert(table.get());
      }
    }
  }
  return true;
}

// A chunk that is loaded at its aligned moment holds up everything outside its snapshot.
bool Backfill::in_the_way(Xid xid) const {
  for (const auto& table : tables_) {
    if (table->complete || !table->plan.at_aligned_moment) continue;
    for (const auto& chunk : table->map.chunks()) {
      if (chunk.state == ChunkState::in_flight && !chunk.snapshot->inside(xid)) return true;
    }
  }
  return false;
}

namespace {

// Verdicts of a part's changes, found without changing anything, so that "wait" can still be said at any of them.
class Verdicts {
 public:
  explicit Verdicts(Xid xid) : xid_(xid) {}

  MoveVerdict of(const KeyedChange& change) {
    if (change.old_key && change.new_key) {
      const auto verdict = align::judge_move(view_of(change, true), view_of(change, false), xid_);
      if (verdict != MoveVerdict::insert_new || change.row_is_whole) return verdict;
      // The row enters a loaded chunk from one that is not here yet, and the stream does not have all of its
      // values: the key becomes a pending chunk of its own, and is read again.
      punched_.emplace(change.table, *change.new_key);
      return MoveVerdict::drop;
    }
    return as_move(align::judge(view_of(change, !change.new_key), xid_));
  }
  [[nodiscard]] const std::set<std::pair<TableCopy*, Key>>& punched() const { return punched_; }

 private:
  [[nodiscard]] ChunkView view_of(const KeyedChange& change, bool old) const {
    const auto& key = old ? change.old_key : change.new_key;
    if (key && punched_.contains({change.table, *key})) return {};
    const auto& chunk = change.table->map.chunks()[old ? change.old_chunk : change.new_chunk];
    return {chunk.state, chunk.snapshot ? &*chunk.snapshot : nullptr};
  }
  static MoveVerdict as_move(Verdict verdict) {
    switch (verdict) {
      case Verdict::apply: return MoveVerdict::update;
      case Verdict::drop: return MoveVerdict::drop;
      case Verdict::wait: return MoveVerdict::wait;
    }
    return MoveVerdict::wait;
  }

  const Xid xid_;
  std::set<std::pair<TableCopy*, Key>> punched_;
};

}  // namespace

void Backfill::punch(TableCopy& table, const Key& key, Lsn commit_lsn, Judgement& out) {
  freeze(table, commit_lsn);
  const auto place = table.order->locate({&key}, table.map.inner_bounds()).at(0);
  const Range old_range = table.map.chunks()[place].range;
  const auto pieces = table.map.punch(place, key);
  for (auto& sql : replace_chunk(config_->stream_name(), table.route().label(), old_range, pieces)) {
    out.extra.push_back({std::move(sql.sql), std::move(sql.params)});
  }
  out.alone = true;
}

// Nothing of the table is there after it: where the TRUNCATE is one of a partition, the others are read again.
void Backfill::begin_again(TableCopy& table, Judgement& out) {
  table.map.reset();
  table.rows_copied = 0;
  if (!table.route().leaves.empty()) {
    if (auto clear = mapping::truncate_sql(table.route(), false))
      out.extra.push_back({std::move(*clear), {}});
  }
  auto sql = forget_chunks(config_->stream_name(), table.route().label());
  out.extra.push_back({std::move(sql.sql), std::move(sql.params)});
  out.alone = true;
}

std::optional<Judgement> Backfill::judge(const event::TransactionPart& part, Xid xid) {
  auto changes = keyed_changes(part, tables_);
  for (;;) {
    std::map<TableCopy*, std::uint64_t> versions;
    find_chunks(changes, versions);
    const std::lock_guard lock(mutex_);
    const auto moved = [](const auto& entry) { return entry.first->map.version() != entry.second; };
    if (std::any_of(versions.begin(), versions.end(), moved)) continue;
    return judge_located(part, changes, xid);
  }
}

std::optional<Judgement> Backfill::judge_located(const event::TransactionPart& part,
                                                 const std::vector<KeyedChange>& changes, Xid xid) {
  if (in_the_way(xid)) return std::nullopt;
  std::set<TableCopy*> truncated;
  if (!judge_truncates(part, truncated)) return std::nullopt;
  Judgement out;
  Verdicts verdicts(xid);
  for (const auto& change : changes) {
    // What came before a TRUNCATE is gone, and what came after it will be read.
    const auto verdict = truncated.contains(change.table) ? MoveVerdict::drop : verdicts.of(change);
    if (verdict == MoveVerdict::wait) return std::nullopt;
    if (verdict != MoveVerdict::update)
      out.exceptions.push_back({change.change, change.table->route().id, verdict});
  }
  for (const auto& [table, key] : verdicts.punched()) {
    punch(*table, key, part.commit_lsn(), out);
  }
  for (auto* table : truncated) begin_again(*table, out);
  return out;
}

}  // namespace walign::backfill
