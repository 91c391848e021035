// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the loop asks and tells. Short: it is waiting.
#include "verification.hpp"

namespace walign::verify {

using Judgement = stream::Companion::Judgement;

std::optional<Judgement> Verification::judge(const event::TransactionPart& part, Xid xid) {
  const std::lock_guard lock(mutex_);
  if (meeting_ && !meeting_->may_take(xid)) return std::nullopt;
  // A TRUNCATE on the target would wait for our lock there, and we for the stream: PostgreSQL could not see it.
  if (holds_locks_ && truncates_what_meets(part)) {
    let_go_ = true;
    changed_.notify_all();
    return std::nullopt;
  }
  return Judgement{};
}

bool Verification::truncates_what_meets(const event::TransactionPart& part) {
  for (const auto& change : part.tx().changes()) {
    if (change.kind() != v1::Change::TRUNCATE) continue;
    for (const auto index : change.truncate().relations()) {
      if (meeting_table_->keys.is(part.relations().at(index))) return true;
    }
  }
  return false;
}

const std::vector<Table*>& Verification::tables_of(const event::RelationPtr& relation) {
  auto [at, is_new] = leads_.try_emplace(relation.get());
  if (is_new) {
    at->second.relation = relation;
    for (auto& table : tables_) {
      if (table->keys.is(relation)) at->second.tables.push_back(table.get());
    }
  }
  return at->second.tables;
}

// Whether it touches the table that meets.
bool Verification::take_truncate(const v1::Change& change, const event::TransactionPart& part) {
  bool touches = false;
  for (const auto index : change.truncate().relations()) {
    for (auto* table : tables_of(part.relations().at(index))) {
      table->mark_whole();
      touches = touches || table == meeting_table_;
    }
  }
  let_go_ = let_go_ || (holds_locks_ && touches);
  return touches;
}

void Verification::take_row(Table& table, const v1::Change& change, const event::RelationPtr& relation) {
  if (!table.dirty.tracking()) return;  // dirty already
  std::vector<std::string> keys;
  if (!table.keys.keys_of(change, relation, keys)) return table.mark_whole();
  for (auto& key : keys) table.dirty.changed(std::move(key), generation_);
  if (!table.dirty.tracking()) table.mark_whole();  // too many
}

void Verification::taken(const event::TransactionPart& part, std::optional<Xid> xid) {
  const std::lock_guard lock(mutex_);
  if (xid) {
    unseen_.remove(*xid);
  } else if (part.first()) {
    unseen_.add(part.tx().xid());
    if (unseen_.size() % kManyUnseen == 0) changed_.notify_all();
  }
  bool touches = false;
  for (const auto& change : part.tx().changes()) {
    if (change.kind() == v1::Change::MESSAGE) continue;
    if (change.kind() == v1::Change::TRUNCATE) {
      touches = take_truncate(change, part) || touches;
      continue;
    }
    const auto& relation = part.relations().at(change.relation());
    for (auto* table : tables_of(relation)) {
      take_row(*table, change, relation);
      touches = touches || table == meeting_table_;
    }
  }
  if (part.last()) taken_ = std::max(taken_, part.end_lsn());
  if (!meeting_) return;
  meeting_->took(xid, touches);
  if (meeting_->again()) changed_.notify_all();
}

void Verification::write_dirty(Lsn progress) {
  state::DirtyKeys keys;
  for (auto& table : tables_) {
    if (std::exchange(table->record_changed, false)) store_->put_verification(table->record);
    table->dirty.take_unwritten(keys);
  }
  const Lsn complete = std::max({progress, taken_, written_});
  // Where every table is dirty as a whole, nobody will ask.
  const bool any =
      std::any_of(tables_.begin(), tables_.end(), [](const auto& t) { return t->dirty.tracking(); });
  if (any && complete > written_) keys.complete_to = complete;
  if (!keys.complete_to && keys.put.empty() && keys.forget.empty() && keys.forget_tables.empty()) return;
  store_->write_dirty(keys);
  if (keys.complete_to) written_ = complete;
}

void Verification::before_commit(Lsn progress) {
  const std::lock_guard lock(mutex_);
  if (store_ != nullptr) write_dirty(progress);
}

// The target's snapshot. The worker waits, so its connection is ours for this moment.
void Verification::open_meeting() {
  try {
    target_->exec("SELECT pg_catalog.pg_current_snapshot()");
  } catch (const Error&) {
    open_failed_ = std::current_exception();
  }
  meeting_->opened();
  open_generation_ = ++generation_;
  changed_.notify_all();
}

void Verification::committed(Lsn /*position*/, Lsn reached, std::optional<Xid> next) {
  const std::lock_guard lock(mutex_);
  reached_ = std::max(reached_, reached);
  if (meeting_) {
    if (!let_go_ && holds_locks_ && meeting_->must_open(next, reached)) open_meeting();
    if (meeting_->decided(reached_)) changed_.notify_all();
  }
  hand_over_repairs();
}

// Rows that differ become chunks of their own; the stream goes on from there.
void Verification::hand_over_repairs() {
  for (auto& repair : std::exchange(repairs_, {})) {
    auto& report = of(find(repair.job), *repair.table);
    try {
      copier_->take_again(repair.table->plan.route->id, repair.keys);
      report.repaired += static_cast<std::int64_t>(repair.keys.size());
      for (const auto& key : repair.keys) repair.table->dirty.changed(pack(key), generation_);
    } catch (const Error& error) {
      report.error = error.message();
    }
  }
  changed_.notify_all();
}

void Verification::equal(Lsn at) {
  const std::lock_guard lock(mutex_);
  ++generation_;
  for (auto& table : tables_) {
    // What was written to it on the other side did not come back.
    if (table->plan.route->one_way) {
      table->mark_whole();
    } else {
      table->known_equal(at);
    }
  }
  taken_ = std::max(taken_, at);
  if (store_ != nullptr) write_dirty(at);
}

void Verification::listening(bool listens) {
  const std::lock_guard lock(mutex_);
  listening_ = listens;
  let_go_ = let_go_ || listens;
  changed_.notify_all();
}

Lsn Verification::awaited() const {
  const std::lock_guard lock(mutex_);
  return meeting_ && !meeting_->decided(reached_) ? meeting_->fence() : Lsn();
}

void Verification::wait(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout);
}

}  // namespace walign::verify
