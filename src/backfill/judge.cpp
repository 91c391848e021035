// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "backfill_impl.hpp"
#include "target_row.hpp"

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
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(table->bounds_version, table->map.version()) != table->map.version()) {
        table->bounds.clear();
        for (const Bound* bound : table->map.inner_bounds()) table->bounds.push_back(*bound);
      }
    }
    versions[table] = table->bounds_version;
    locate(its, *table->order, table->bounds);
  }
}

// A row that the filter did not keep before and keeps now is an INSERT on the target, which needs every value. Whether
// it is one, only the target can tell.
void Backfill::find_entering(const event::TransactionPart& part, std::vector<KeyedChange>& changes) {
  for (auto& keyed : changes) {
    if (keyed.row_is_whole || !keyed.new_key || !keyed.table->route().filter) continue;
    const auto& change = part.tx().changes(keyed.change);
    keyed.enters_filter = enters(change, *part.relations().at(change.relation()), keyed);
  }
}

bool Backfill::enters(const v1::Change& change, const v1::Relation& relation, const KeyedChange& keyed) {
  const auto& route = keyed.table->route();
  std::vector<pg::Param> params;
  std::vector<event::Value> values;
  std::set<int> added;
  for (const auto* inputs : {&route.filter_inputs, &route.key_inputs}) {
    for (const int index : *inputs) {
      if (!added.insert(index).second) continue;
      const auto value =
          new_value(change, relation, route.source_columns[static_cast<std::size_t>(index)].name);
      if (!value) return true;  // the filter itself cannot be told
      params.push_back({value->bytes, 0, false, value->state == event::State::null});
    }
  }
  // Where the key changes, or an earlier change of the row is not written yet, the target's row says nothing.
  const bool only_absent = !keyed.old_key && !gathered_.contains({keyed.table, *keyed.new_key});
  return target_->query_params(enters_filter_sql(route, only_absent), params).boolean(0, 0);
}

namespace {

bool truncates(const event::TransactionPart& part, int index, const TableCopy& table) {
  const auto& change = part.tx().changes(index);
  if (change.kind() != v1::Change::TRUNCATE) return false;
  const auto& relations = change.truncate().relations();
  return std::any_of(relations.begin(), relations.end(),
                     [&](const auto relation) { return table.is(*part.relations().at(relation)); });
}

}  // namespace

// TRUNCATE: the table begins again, when nothing of it is in flight. False: something still is.
bool Backfill::judge_truncates(const event::TransactionPart& part, std::set<TableCopy*>& truncated) {
  for (int i = 0; i < part.tx().changes_size(); ++i) {
    for (auto& table : tables_) {
      if (table->complete || !truncates(part, i, *table)) continue;
      freeze(*table, part.commit_lsn());
      changed_.notify_all();  // who waits for an aligned moment gives up: it may lie behind this TRUNCATE
      if (table->planning || table->filling || table->map.any_in_flight()) return false;
      truncated.insert(table.get());
    }
  }
  return true;
}

// What is loaded at its aligned moment holds up everything outside its snapshot.
bool Backfill::in_the_way(Xid xid) const {
  for (const auto& table : tables_) {
    if (table->fill_snapshot && !table->fill_snapshot->inside(xid)) return true;
    if (table->complete || !table->plan.at_aligned_moment) continue;
    for (const auto& chunk : table->map.chunks()) {
      if (chunk.state == ChunkState::in_flight && !chunk.snapshot->inside(xid)) return true;
    }
  }
  return false;
}

namespace {

using Keys = std::set<std::pair<TableCopy*, Key>>;

// Verdicts of a part's changes, found without changing anything, so that "wait" can still be said at any of them.
// A row that enters a loaded chunk (from one that is not here yet, or through the filter) and of which the stream does
// not have all values makes its key a pending chunk of its own. Every change of that key is judged by that, those that
// come before it in the part as well: hence once more from the beginning, until no key is added.
class Verdicts {
 public:
  Verdicts(Xid xid, Keys punched) : xid_(xid), punched_(std::move(punched)) {}

  MoveVerdict of(const KeyedChange& change) {
    const auto verdict = change.old_key && change.new_key
                             ? align::judge_move(view_of(change, true), view_of(change, false), xid_)
                             : as_move(align::judge(view_of(change, !change.new_key), xid_));
    const bool not_enough =
        !change.row_is_whole &&
        (verdict == MoveVerdict::insert_new || (verdict == MoveVerdict::update && change.enters_filter));
    if (not_enough) punched_.emplace(change.table, *change.new_key);
    return verdict;
  }
  [[nodiscard]] const Keys& punched() const { return punched_; }

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
  Keys punched_;
};

}  // namespace

void Backfill::punch(TableCopy& table, const Key& key, Judgement& out) {
  const auto place = table.order->locate({&key}, table.map.inner_bounds()).at(0);
  if (table.map.chunks()[place].state != ChunkState::loaded)
    return;  // another text of a key that was punched
  if (!finds_row(table.route(), table.plan.key)) {
    throw Error(
        ErrorKind::conflict,
        cat(table.route().label(), ": a row of which not all values were sent (TOAST) is new to the target"),
        "set REPLICA IDENTITY FULL on the source table until it is copied");
  }
  auto remove = delete_row(table.route(), table.plan.key, key);
  out.extra.push_back({std::move(remove.sql), std::move(remove.params)});
  const Range old_range = table.map.chunks()[place].range;
  const auto pieces = table.map.punch(place, key);
  for (auto& sql : replace_chunk(config_->stream_name(), table.route().label(), old_range, pieces)) {
    out.extra.push_back({std::move(sql.sql), std::move(sql.params)});
  }
  out.alone = true;
}

// Nothing of the table is there after it: where the TRUNCATE is one of a partition, the others are read again.
void Backfill::begin_again(TableCopy& table, const event::TransactionPart& part, Judgement& out) {
  table.map.reset();
  table.rows_copied = 0;
  auto clear = table.route().leaves.empty() ? std::nullopt : mapping::truncate_sql(table.route(), false);
  if (clear) {
    out.extra.push_back({std::move(*clear), {}});
    for (int i = 0; i < part.tx().changes_size(); ++i) {
      if (truncates(part, i, table)) out.exceptions.push_back({i, table.route().id, MoveVerdict::drop});
    }
  }
  auto sql = forget_chunks(config_->stream_name(), table.route().label());
  out.extra.push_back({std::move(sql.sql), std::move(sql.params)});
  out.alone = true;
}

std::optional<Judgement> Backfill::judge(const event::TransactionPart& part, Xid xid) {
  auto changes = keyed_changes(part, tables_);
  find_entering(part, changes);
  for (;;) {
    std::map<TableCopy*, std::uint64_t> versions;
    find_chunks(changes, versions);
    const std::lock_guard lock(mutex_);
    const auto moved = [](const auto& entry) { return entry.first->map.version() != entry.second; };
    if (std::any_of(versions.begin(), versions.end(), moved)) continue;
    auto judgement = judge_located(part, changes, xid);
    loop_waits_ = !judgement;
    return judgement;
  }
}

namespace {

using Found = std::vector<std::pair<const KeyedChange*, MoveVerdict>>;

// Nothing: something must be waited for.
std::optional<Found> verdicts_of(const std::vector<KeyedChange>& changes,
                                 const std::set<TableCopy*>& truncated, Verdicts& verdicts) {
  Found found;
  for (const auto& change : changes) {
    // What came before a TRUNCATE is gone, and what came after it will be read.
    const auto verdict = truncated.contains(change.table) ? MoveVerdict::drop : verdicts.of(change);
    if (verdict == MoveVerdict::wait) return std::nullopt;
    found.emplace_back(&change, verdict);
  }
  return found;
}

}  // namespace

void Backfill::note_gathered(const KeyedChange& change) {
  if (!change.table->route().filter) return;
  for (const auto* key : {&change.old_key, &change.new_key}) {
    if (*key) gathered_.emplace(change.table, **key);
  }
}

std::optional<Judgement> Backfill::judge_located(const event::TransactionPart& part,
                                                 const std::vector<KeyedChange>& changes, Xid xid) {
  if (in_the_way(xid)) return std::nullopt;
  std::set<TableCopy*> truncated;
  if (!judge_truncates(part, truncated)) return std::nullopt;
  Keys punched;
  std::optional<Found> found;
  for (bool settled = false; !settled;) {
    Verdicts verdicts(xid, punched);
    found = verdicts_of(changes, truncated, verdicts);
    if (!found) return std::nullopt;
    settled = punched == verdicts.punched();
    punched = verdicts.punched();
  }
  Judgement out;
  for (const auto& [change, verdict] : *found) {
    if (verdict != MoveVerdict::drop) note_gathered(*change);
    if (verdict != MoveVerdict::update)
      out.exceptions.push_back({change->change, change->table->route().id, verdict});
  }
  for (const auto& [table, key] : punched) punch(*table, key, out);
  for (auto* table : truncated) begin_again(*table, part, out);
  std::stable_sort(out.exceptions.begin(), out.exceptions.end(),
                   [](const auto& a, const auto& b) { return a.change < b.change; });
  return out;
}

}  // namespace walign::backfill
