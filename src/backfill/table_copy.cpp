// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "table_copy.hpp"

namespace walign::backfill {

namespace {

using event::State;

// Where the key's columns stand in a relation.
std::vector<int> key_positions(const TableCopy& table, const v1::Relation& relation) {
  std::vector<int> positions;
  for (const auto& column : table.plan.key) {
    for (int i = 0; i < relation.columns_size(); ++i) {
      if (relation.columns(i).name() == column.name) positions.push_back(i);
    }
  }
  return positions;
}

std::vector<event::Value> values_of(const v1::Tuple& row) {
  std::vector<event::Value> values;
  values.reserve(static_cast<std::size_t>(row.lengths_size()));
  event::for_each_value(row, [&](int, const event::Value& value) { values.push_back(value); });
  return values;
}

// A key column that is unchanged TOAST in the new row stands in the old one.
std::optional<Key> key_of(const std::vector<int>& positions, const v1::Tuple& row, const v1::Tuple* other) {
  const auto values = values_of(row);
  const auto others = other == nullptr ? std::vector<event::Value>() : values_of(*other);
  Key key;
  for (const int position : positions) {
    const auto at = static_cast<std::size_t>(position);
    const bool from_other = values.at(at).state == State::unchanged_toast && at < others.size();
    const auto& value = from_other ? others[at] : values[at];
    if (value.state != State::value) return std::nullopt;
    key.emplace_back(value.bytes);
  }
  return key;
}

bool is_whole(const v1::Tuple& row, const v1::Tuple* old_row) {
  const auto values = values_of(row);
  const auto others = old_row == nullptr ? std::vector<event::Value>() : values_of(*old_row);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i].state != State::unchanged_toast) continue;
    if (i >= others.size() || (others[i].state != State::value && others[i].state != State::null))
      return false;
  }
  return true;
}

[[noreturn]] void no_key(const TableCopy& table) {
  throw Error(ErrorKind::precondition,
              cat(table.route().label(), ": a change does not carry the key of the table"),
              "check the source table's replica identity: `walign preflight`");
}

KeyedChange keyed_change(const v1::Change& change, TableCopy& table, const v1::Relation& relation) {
  KeyedChange keyed;
  keyed.table = &table;
  if (table.plan.key.empty()) return keyed;  // one chunk: every change is in it
  const auto positions = key_positions(table, relation);
  if (positions.size() != table.plan.key.size()) no_key(table);
  const v1::Tuple* old_row = change.has_old_row() ? &change.old_row() : nullptr;
  if (old_row != nullptr) keyed.old_key = key_of(positions, *old_row, nullptr);
  if (change.has_new_row()) {
    keyed.new_key = key_of(positions, change.new_row(), old_row);
    keyed.row_is_whole = is_whole(change.new_row(), old_row);
  }
  if (!keyed.old_key && !keyed.new_key) no_key(table);
  // An old row that only carries unchanged columns is no other key.
  if (keyed.old_key && keyed.new_key && *keyed.old_key == *keyed.new_key) keyed.old_key.reset();
  return keyed;
}

}  // namespace

// A key has at most one row. Rows are read as they lie where the keys leave no room for many more of them than a chunk
// has, and, where nothing says how many a range has, in the key's order up to some number.
Errand TableCopy::errand_for(const Range& range) const {
  constexpr std::int64_t kTimesAsMany = 4;
  if (plan.whole()) return {range, false, 0};
  const auto room = spacing.room(range);
  const auto few = static_cast<std::uint64_t>(kTimesAsMany * rows_planned);
  const bool any_order = !rows_outgrow && room && *room <= few;
  return {range, any_order, any_order ? 0 : 2 * rows_planned};
}

void TableCopy::plan_next(const Copied& last) {
  spacing.learn(last.range, last.read, rows_planned);
  if (last.stopped_early) {
    rows_planned = std::max<std::int64_t>(1, last.read / 2);
  } else if (last.bytes < plan.most_bytes / 4) {
    rows_planned = std::min(plan.rows_per_chunk, rows_planned * 2);
  }
}

bool TableCopy::is(const v1::Relation& relation) const {
  const auto& r = route();
  if (r.source.schema == relation.schema() && r.source.name == relation.name()) return true;
  return std::any_of(r.leaves.begin(), r.leaves.end(), [&](const pg::Leaf& leaf) {
    return leaf.schema == relation.schema() && leaf.name == relation.name();
  });
}

std::vector<KeyedChange> keyed_changes(const event::TransactionPart& part,
                                       std::vector<std::unique_ptr<TableCopy>>& tables) {
  std::vector<KeyedChange> out;
  for (int i = 0; i < part.tx().changes_size(); ++i) {
    const auto& change = part.tx().changes(i);
    if (change.kind() == v1::Change::TRUNCATE || change.kind() == v1::Change::MESSAGE) continue;
    const auto& relation = *part.relations().at(change.relation());
    for (auto& table : tables) {
      if (table->complete || !table->is(relation)) continue;
      out.push_back(keyed_change(change, *table, relation));
      out.back().change = i;
    }
  }
  return out;
}

std::optional<event::Value> new_value(const v1::Change& change, const v1::Relation& relation,
                                      const std::string& column) {
  for (int i = 0; i < relation.columns_size(); ++i) {
    if (relation.columns(i).name() != column) continue;
    const auto at = static_cast<std::size_t>(i);
    const auto value = values_of(change.new_row()).at(at);
    if (value.state != State::unchanged_toast) return value;
    if (!change.has_old_row()) return std::nullopt;
    const auto olds = values_of(change.old_row());
    if (at >= olds.size() || (olds[at].state != State::value && olds[at].state != State::null))
      return std::nullopt;
    return olds[at];
  }
  return std::nullopt;
}

void locate(std::vector<KeyedChange*>& changes, KeyOrder& order, const std::vector<Bound>& bounds) {
  std::vector<const Key*> keys;
  for (const auto* change : changes) {
    if (change->old_key) keys.push_back(&*change->old_key);
    if (change->new_key) keys.push_back(&*change->new_key);
  }
  if (keys.empty()) return;
  std::vector<const Bound*> borrowed;
  for (const auto& bound : bounds) borrowed.push_back(&bound);
  const auto places = order.locate_in_order(keys, borrowed);
  std::size_t next = 0;
  for (auto* change : changes) {
    if (change->old_key) change->old_chunk = places[next++];
    if (change->new_key) change->new_chunk = places[next++];
  }
}

}  // namespace walign::backfill
