// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Rows that are read again: of a complete table, or of the loaded part of one that is being copied. Each key becomes a
// pending chunk of its own. What is on record for the table (not complete, which ranges are loaded, since when
// everything is streamed) and the deletion of the rows as they are is one target transaction, before anything is
// changed in memory: a crash finds either all of it or nothing.
//
// What was applied to a complete table passed no gate, so it need not be visible yet: its rows are read by a snapshot
// only that has every transaction inside that has an id by now.
#include "backfill_impl.hpp"
#include "target_row.hpp"

namespace walign::backfill {

namespace {

ChunkRecord loaded(Bound lower, Bound upper) {
  ChunkRecord chunk;
  chunk.range = {std::move(lower), std::move(upper)};
  chunk.state = align::ChunkState::loaded;
  return chunk;
}

// In the source's order, each once.
std::vector<Key> sorted(const std::vector<Key>& keys, KeyOrder& order) {
  std::vector<Bound> bounds;
  bounds.reserve(keys.size());
  for (const auto& key : keys) bounds.push_back({key, false});
  std::vector<const Key*> asked;
  std::vector<const Bound*> among;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    asked.push_back(&keys[i]);
    among.push_back(&bounds[i]);
  }
  // As many bounds are at or below a key as there are keys up to it, so texts of one key have one rank.
  const auto ranks = order.locate(asked, among);
  std::map<std::size_t, const Key*> by_rank;
  for (std::size_t i = 0; i < keys.size(); ++i) by_rank.emplace(ranks[i], &keys[i]);
  std::vector<Key> out;
  for (const auto& [rank, key] : by_rank) out.push_back(*key);
  return out;
}

// What stays of a table that is whole but for these keys.
std::vector<ChunkRecord> all_but(const std::vector<Key>& keys) {
  std::vector<ChunkRecord> out;
  Bound lower;
  for (const auto& key : keys) {
    out.push_back(loaded(lower, {key, false}));
    lower = {key, true};
  }
  out.push_back(loaded(lower, {}));
  return out;
}

void require_keys(const TableCopy& table, const std::vector<Key>& keys) {
  if (!finds_row(table.route(), table.plan.key)) {
    throw Error(
        ErrorKind::precondition,
        cat(table.route().label(), ": rows cannot be read again one by one: ",
            table.plan.key.empty() ? "the source table has no key by which it could be cut"
                                   : "its target's key is not computed from the source's"),
        "copy the table anew: take it out of the configuration, run once, empty it on the target, and put "
        "it back; or give the source table a primary key");
  }
  for (const auto& key : keys) {
    if (key.size() == table.plan.key.size()) continue;
    throw Error(ErrorKind::precondition,
                cat(table.route().label(), ": a key has ", key.size(), " values where the table's has ",
                    table.plan.key.size()),
                "this is a defect in walign; report it");
  }
}

}  // namespace

void Backfill::take_again(int route, const std::vector<std::vector<std::string>>& keys) {
  const auto found =
      std::find_if(tables_.begin(), tables_.end(), [&](const auto& t) { return t->route().id == route; });
  WALIGN_CHECK(found != tables_.end());
  TableCopy& table = **found;
  if (keys.empty()) return;
  require_keys(table, keys);
  target_->exec("BEGIN; SET LOCAL synchronous_commit = on");
  try {
    lock_epoch(*target_, config_->stream_name(), copier_options_.epoch);
    if (table.complete) {
      reopen(table, sorted(keys, *table.order));
    } else {
      punch_loaded(table, sorted(keys, *table.order));
    }
  } catch (const Error&) {
    if (!target_->broken()) target_->exec("ROLLBACK");
    throw;
  }
  save_phase();
  wake_workers();
}

std::int64_t Backfill::delete_rows(const TableCopy& table, const std::vector<Key>& keys) {
  std::int64_t rows = 0;
  for (const auto& key : keys) {
    const auto sql = delete_row(table.route(), table.plan.key, key);
    rows += target_->query(sql.sql, sql.params).affected();
  }
  return rows;
}

void Backfill::reopen(TableCopy& table, const std::vector<Key>& keys) {
  const auto rows = std::max<std::int64_t>(0, table.rows_copied - delete_rows(table, keys));
  auto records = all_but(keys);
  records.front().rows = rows;
  const CopyRow row{table.route().label(), false, birth_now(), rows};
  reopen_copy(*target_, config_->stream_name(), row, records);
  ChunkMap map(std::move(records), *table.order);
  target_->exec("COMMIT");
  const std::lock_guard lock(mutex_);
  table.map.become(std::move(map));
  table.birth = row.birth;
  table.rows_copied = rows;
  table.rows_planned = table.plan.rows_per_chunk;
  table.complete = false;
  obs::info("rows are read again", {{"table", table.route().label()}, {"keys", keys.size()}});
}

// Those of keys that are pending or in flight are read anyway. Workers only add to what is loaded, so a loaded chunk is
// still there when the transaction has been committed.
void Backfill::punch_loaded(TableCopy& table, const std::vector<Key>& keys) {
  ChunkMap now;
  {
    const std::lock_guard lock(mutex_);
    now = table.map;
  }
  std::vector<Key> punched;
  for (const auto& key : keys) {
    const auto place = table.order->locate({&key}, now.inner_bounds()).at(0);
    if (now.chunks()[place].state != align::ChunkState::loaded) continue;
    const Range range = now.chunks()[place].range;
    for (const auto& sql :
         replace_chunk(config_->stream_name(), table.route().label(), range, now.punch(place, key))) {
      target_->query(sql.sql, sql.params);
    }
    punched.push_back(key);
  }
  delete_rows(table, punched);
  target_->exec("COMMIT");
  const std::lock_guard lock(mutex_);
  for (const auto& key : punched) {
    const auto place = table.order->locate({&key}, table.map.inner_bounds()).at(0);
    table.map.punch(place, key);
  }
  changed_.notify_all();
}

}  // namespace walign::backfill
