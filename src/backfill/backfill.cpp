// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "backfill_impl.hpp"
#include "walign/same_server.hpp"

namespace walign::backfill {

namespace {

pg::ConnectionOptions options_for(const config::Config& config, const std::string& conninfo,
                                  const Interrupt& cancel) {
  pg::ConnectionOptions options;
  options.conninfo = conninfo;
  options.application_name = cat(config.stream_name(), " backfill");
  options.settings.emplace_back(config::kPassSetting, config.fence_name());
  options.interrupt = &cancel;
  return options;
}

}  // namespace

// ------------------------------------------------------------------------------------ a session begins

void Backfill::start(const Session& session) {
  stop_workers();
  config_ = session.config;
  metrics_ = session.metrics;
  store_ = session.store;
  cancel_ = std::make_unique<Interrupt>();
  source_ = std::make_unique<pg::Connection>(options_for(*config_, config_->source, *cancel_));
  pg::require_same_server(*source_, session.prepared->source);
  target_ = std::make_unique<pg::Connection>(options_for(*config_, config_->target, *cancel_));
  hold_triggers(*target_);
  const auto rows = read_copies(*target_, config_->stream_name());
  forget_removed(session.prepared->routes, rows);
  Tables tables;
  for (const auto& route : session.prepared->routes) {
    const auto found = std::find_if(rows.begin(), rows.end(),
                                    [&](const CopyRow& row) { return row.route == route.label(); });
    const CopyRow row = found == rows.end() ? new_copy(session, route, rows.empty()) : *found;
    tables.push_back(make_table(session, route, row));
  }
  const auto order = mapping::copy_order(session.prepared->routes);
  for (std::size_t i = 0; i < tables.size(); ++i) {
    for (const auto first : order.after[i]) tables[i]->after.push_back(tables[first].get());
  }
  copier_options_ = {options_for(*config_, config_->source, *cancel_),
                     options_for(*config_, config_->target, *cancel_),
                     config_->stream_name(),
                     session.epoch,
                     session.prepared->source,
                     session.prepared->target};
  {
    const std::lock_guard lock(mutex_);
    tables_ = std::move(tables);
    stopping_ = false;
    failure_ = nullptr;
    waiting_.clear();
    loop_waits_ = false;
    reached_ = Lsn();
    rate_since_ = std::chrono::steady_clock::now();
    rows_since_ = 0;
  }
  gathered_.clear();
  save_phase();
  if (active()) wake_workers();
}

// For those who ask the state directory while no sidecar is running.
void Backfill::save_phase() {
  if (store_ == nullptr) return;
  const std::string before = store_->phase();
  const std::string now = active() ? "backfilling" : "streaming";
  const bool ours = before == "new" || before == "backfilling" || before == "streaming";
  if (ours && before != now) store_->put_phase(now);
}

// As many as there should be; those that found nothing more to do have ended.
void Backfill::wake_workers() {
  while (workers_.size() < static_cast<std::size_t>(config_->backfill.workers)) {
    workers_.push_back(std::make_unique<Worker>());
  }
  for (auto& worker : workers_) {
    {
      const std::lock_guard lock(mutex_);
      if (!std::exchange(worker->ended, false)) continue;
    }
    if (worker->thread.joinable()) worker->thread.join();
    worker->thread = std::thread([this, &me = *worker] { work(me); });
  }
}

void Backfill::stop_workers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (cancel_) cancel_->raise();
  for (auto& worker : workers_) worker->thread.join();
  workers_.clear();
}

// -------------------------------------------------------------------------------- the loop tells, and waits

void Backfill::finish_table(TableCopy& table) {
  complete_copy(*target_, config_->stream_name(), copier_options_.epoch, table.route().label());
  const std::lock_guard lock(mutex_);
  table.complete = true;
  obs::info("table complete", {{"table", table.route().label()}, {"rows", table.rows_copied}});
  if (table.plan.adoption) {
    obs::info("what the target had of it was made right (counted since this start)",
              {{"table", table.route().label()},
               {"added", table.mended.added},
               {"changed", table.mended.changed},
               {"removed", table.mended.removed}});
  }
}

void Backfill::committed(Lsn position, Lsn reached, std::optional<Xid> next) {
  std::vector<TableCopy*> done;
  gathered_.clear();
  {
    const std::lock_guard lock(mutex_);
    reached_ = reached;
    ++told_;
    told_at_ = std::chrono::steady_clock::now();
    for (auto& table : tables_) {
      if (table->complete) continue;
      if (position > table->frozen_at) table->frozen = false;
      // What is stored on the target decides: a start after a crash goes on from there.
      table->map.forget_passed(position);
      if (table->map.complete()) done.push_back(table.get());
    }
    for (auto* reading : waiting_) {
      if (align::aligned(reading->snapshot, reading->fence, next, reached)) reading->may_load = true;
    }
    changed_.notify_all();
  }
  for (auto* table : done) finish_table(*table);
  if (!done.empty()) save_phase();
}

Lsn Backfill::awaited() const {
  const std::lock_guard lock(mutex_);
  Lsn furthest;
  for (const auto& table : tables_) {
    if (table->complete) continue;
    if (table->fill_snapshot) furthest = std::max(furthest, table->fill_fence);
    for (const auto& chunk : table->map.chunks()) {
      if (chunk.snapshot) furthest = std::max(furthest, chunk.fence);
    }
  }
  return furthest;
}

void Backfill::wait(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout);
  if (failure_) std::rethrow_exception(failure_);
}

void Backfill::report(stream::Status& status) const {
  const std::lock_guard lock(mutex_);
  bool any_left = false;
  for (const auto& table : tables_) {
    any_left = any_left || !table->complete;
    for (auto& entry : status.tables) {
      if (entry.source != table->route().source.to_string() ||
          entry.target != table->route().target.to_string()) {
        continue;
      }
      const auto& chunks = table->map.chunks();
      const auto in_state = [&](align::ChunkState state) {
        return std::count_if(chunks.begin(), chunks.end(), [&](const auto& c) { return c.state == state; });
      };
      const auto loaded = in_state(align::ChunkState::loaded);
      entry.rows_copied = table->rows_copied;
      entry.rows_estimated = std::max(table->rows_copied, static_cast<std::int64_t>(table->rows_estimated));
      entry.chunks_done = loaded;
      const auto rows_left = *entry.rows_estimated - table->rows_copied;
      entry.chunks = loaded + in_state(align::ChunkState::in_flight) +
                     (in_state(align::ChunkState::pending) > 0
                          ? std::max<std::int64_t>(1, rows_left / table->plan.rows_per_chunk)
                          : 0);
      entry.state = table->complete                          ? "streaming"
                    : table->rows_copied == 0 && loaded == 0 ? "pending"
                                                             : "backfilling";
    }
  }
  if (any_left) status.phase = "backfilling";
}

std::vector<stream::KeyRange> Backfill::loaded(int route) const {
  const std::lock_guard lock(mutex_);
  std::vector<stream::KeyRange> out;
  for (const auto& table : tables_) {
    if (table->complete || table->route().id != route) continue;
    for (const auto& chunk : table->map.chunks()) {
      if (chunk.state != align::ChunkState::loaded) continue;
      const auto& [lower, upper] = chunk.range;
      out.push_back({lower.key, lower.after, upper.key, upper.after});
    }
  }
  return out;
}

std::unique_ptr<stream::Companion> make(bool no_backfill) { return std::make_unique<Backfill>(no_backfill); }

}  // namespace walign::backfill
