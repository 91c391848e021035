// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The stream's changes, each given its row's key.
#include "crosswalk.hpp"
#include "steps.hpp"

namespace walign::apply {

namespace {

using event::State;

event::Value value_in(const v1::Tuple& row, int column) {
  event::Value found;
  event::for_each_value(row, [&](int i, const event::Value& value) {
    if (i == column) found = value;
  });
  return found;
}

bool has_no_key(const v1::Tuple& row, int column) { return value_in(row, column).state == State::null; }

void give(v1::Tuple& row, int column, const std::string& key) {
  v1::Tuple with_key;
  event::for_each_value(row, [&](int i, const event::Value& value) {
    event::append_value(with_key, i == column ? event::Value{State::value, key, false} : value);
  });
  row = with_key;
}

// What an UPDATE did not send stands in the old row.
RowKey row_key(const Walk& walk, const std::vector<int>& columns, const v1::Tuple& row,
               const v1::Tuple* before = nullptr) {
  RowKey out;
  for (const int column : columns) {
    auto value = value_in(row, column);
    if (value.state == State::unchanged_toast && before != nullptr) value = value_in(*before, column);
    if (value.state != State::value) {
      throw Error(ErrorKind::conflict,
                  cat(walk.route->label(), ": a change does not carry the row's primary key"),
                  cat("ALTER TABLE ", pg::qualified(walk.route->source.schema, walk.route->source.name),
                      " REPLICA IDENTITY FULL"));
    }
    add_part(out, value.bytes);
  }
  return out;
}

}  // namespace

const Crosswalk::Impl::Bound& Crosswalk::Impl::bind(const event::RelationPtr& relation) {
  const auto [at, is_new] = bound.try_emplace(relation.get());
  Bound& out = at->second;
  if (!is_new) return out;
  out.relation = relation;
  const auto named = [&](const std::string& schema, const std::string& name) {
    return schema == relation->schema() && name == relation->name();
  };
  const auto index_of = [&](const std::string& name) {
    for (int i = 0; i < relation->columns_size(); ++i) {
      if (relation->columns(i).name() == name) return i;
    }
    return -1;
  };
  for (auto& walk : walks) {
    const auto& route = *walk.route;
    out.leaf = std::any_of(route.leaves.begin(), route.leaves.end(),
                           [&](const pg::Leaf& leaf) { return named(leaf.schema, leaf.name); });
    if (!out.leaf && !named(route.source.schema, route.source.name)) continue;
    out.key = index_of(walk.drawn().target_column);
    for (const auto& part : walk.drawn().row_key) out.row_key.push_back(index_of(part.name));
    // A column that is gone: the applier refuses the change, and says which.
    const bool whole =
        out.key >= 0 && std::find(out.row_key.begin(), out.row_key.end(), -1) == out.row_key.end();
    if (whole) out.walk = &walk;
    return out;
  }
  return out;
}

std::vector<Extra> Crosswalk::Impl::fill(event::TransactionPart& part) {
  Filling filling{part, {}, {}, {}};
  auto& changes = *part.mutable_tx().mutable_changes();
  std::map<Walk*, std::size_t> wanted;
  for (auto& change : changes) {
    if (change.kind() != v1::Change::INSERT) continue;
    const Bound& its = bind(part.relations().at(change.relation()));
    if (its.walk != nullptr && has_no_key(change.new_row(), its.key)) ++wanted[its.walk];
  }
  for (const auto& [walk, count] : wanted) draw_at_least(*walk, count);
  for (int i = 0; i < changes.size(); ++i) {
    auto& change = changes[i];
    if (change.kind() == v1::Change::MESSAGE) continue;
    if (change.kind() == v1::Change::TRUNCATE) {
      truncate(change, filling);
      continue;
    }
    const Bound& its = bind(part.relations().at(change.relation()));
    if (its.walk == nullptr) continue;
    switch (change.kind()) {
      case v1::Change::INSERT: insert(its, change, filling); break;
      case v1::Change::UPDATE: update(its, change, filling); break;
      default: remove(its, change, i, filling); break;
    }
  }
  for (auto at = filling.left_out.rbegin(); at != filling.left_out.rend(); ++at)
    changes.DeleteSubrange(*at, 1);
  return statements(filling);
}

// Rows of one partition cannot be told by their keys: their entries are found to have no row any more.
void Crosswalk::Impl::truncate(const v1::Change& change, Filling& filling) {
  for (const auto index : change.truncate().relations()) {
    const Bound& its = bind(filling.part.relations().at(index));
    if (its.walk == nullptr || its.leaf) continue;
    its.walk->entries.clear();
    its.walk->unwritten.clear();
    its.walk->forgotten.clear();
    filling.touched[its.walk].clear();
    filling.emptied.insert(its.walk);
  }
}

void Crosswalk::Impl::insert(const Bound& its, v1::Change& change, Filling& filling) {
  auto& row = *change.mutable_new_row();
  const bool bare = has_no_key(row, its.key);
  if (!bare && its.walk->entries.empty()) return;
  const auto at = row_key(*its.walk, its.row_key, row);
  forget(*its.walk, at, filling);
  if (!bare) return;
  auto key = next_key(*its.walk);
  give(row, its.key, key);
  put(*its.walk, at, std::move(key), filling);
}

void Crosswalk::Impl::update(const Bound& its, v1::Change& change, Filling& filling) {
  const bool has_old = change.has_old_row();
  const bool old_bare = has_no_key(has_old ? change.old_row() : change.new_row(), its.key);
  const bool new_bare = has_no_key(change.new_row(), its.key);
  if (!old_bare && !new_bare && its.walk->entries.empty()) return;
  auto& row = *change.mutable_new_row();
  const v1::Tuple& before = has_old ? change.old_row() : row;
  const auto from = row_key(*its.walk, its.row_key, before);
  const auto to = row_key(*its.walk, its.row_key, row, &before);
  if (!old_bare && !new_bare) return forget(*its.walk, from, filling);
  const auto key =
      old_bare ? known(*its.walk, from) : std::optional(std::string(value_in(before, its.key).bytes));
  if (!key) return first_sight(its, change, filling);
  forget(*its.walk, from, filling);
  if (has_old && old_bare) give(*change.mutable_old_row(), its.key, *key);
  if (!new_bare) return;
  give(row, its.key, *key);
  put(*its.walk, to, *key, filling);
}

// The source has never had it: it comes whole.
void Crosswalk::Impl::first_sight(const Bound& its, v1::Change& change, Filling& filling) {
  if (change.has_old_row()) {
    google::protobuf::Arena arena;
    const v1::Tuple whole = *complete_from(change.new_row(), change.old_row(), arena);
    *change.mutable_new_row() = whole;
    change.clear_old_row();
  }
  change.set_kind(v1::Change::INSERT);
  // Keys that were drawn for this part's insertions stay enough for them.
  if (has_no_key(change.new_row(), its.key)) draw(*its.walk, 1);
  insert(its, change, filling);
}

void Crosswalk::Impl::remove(const Bound& its, v1::Change& change, int index, Filling& filling) {
  auto& row = *change.mutable_old_row();
  const bool bare = has_no_key(row, its.key);
  if (!bare && its.walk->entries.empty()) return;
  const auto at = row_key(*its.walk, its.row_key, row);
  const auto key = known(*its.walk, at);
  forget(*its.walk, at, filling);
  if (!bare) return;
  if (key) {
    give(row, its.key, *key);
  } else {
    filling.left_out.push_back(index);
  }
}

}  // namespace walign::apply
