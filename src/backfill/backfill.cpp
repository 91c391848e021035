// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "backfill_impl.hpp"

namespace walign::backfill {

namespace {

pg::ConnectionOptions options_for(const config::Config& config, const std::string& conninfo,
                                  const Interrupt& cancel) {
  pg::ConnectionOptions options;
  options.conninfo = conninfo;
  options.application_name = cat(config.stream_name(), " backfill");
  options.interrupt = &cancel;
  return options;
}

bool same_major(const pg::ServerFacts& a, const pg::ServerFacts& b) {
  return a.version / 10000 == b.version / 10000;
}

// Of a table without a key, which is one chunk.
class NoOrder final : public KeyOrder {
 public:
  std::vector<std::size_t> locate(const std::vector<const Key*>& keys,
                                  const std::vector<const Bound*>& /*bounds*/) override {
    WALIGN_CHECK(keys.empty());
    return {};
  }
};

// An id that is newer than that of any transaction that is running now. A snapshot would not do: a running
// transaction with the newest id is at its xmax, as one that has not begun. Flushed, since a crash would take the id
// back, and the wait for it to be passed could be long.
Xid own_xid(pg::Connection& source) {
  source.exec("BEGIN; SET LOCAL synchronous_commit = local");
  const auto r = source.exec(
      "SELECT pg_catalog.pg_current_xact_id(), pg_catalog.pg_logical_emit_message(true, 'walign', '')");
  const Xid own(static_cast<std::uint64_t>(r.integer(0, 0)));
  source.exec("COMMIT");
  return own;
}

}  // namespace

// ------------------------------------------------------------------------------------ a session begins

CopyRow Backfill::new_copy(const Session& session, const mapping::Route& route, pg::Connection& target,
                           bool begins) {
  CopyRow row;
  row.route = route.label();
  row.complete = no_backfill_;
  if (begins && session.birth.xmax > Xid(0)) {
    row.birth = session.birth;
  } else {
    // A slot that was brought, or a table added later: every transaction that has an id by now must have ended.
    const Xid own = own_xid(*source_);
    row.birth = {own, own, {}};
  }
  if (!row.complete) {
    const std::string where = route.target_where ? cat(" WHERE ", *route.target_where) : std::string();
    const auto r = target.exec(cat("SELECT EXISTS (SELECT FROM ",
                                   pg::qualified(route.target.schema, route.target.name), where, ")"));
    if (r.boolean(0, 0)) {
      throw Error(ErrorKind::precondition, cat(route.target.to_string(), " on the target already has rows"),
                  "empty the table, or, if these are the source's rows that you brought yourself, start with "
                  "--no-backfill");
    }
  }
  insert_copy(target, config_->stream_name(), row);
  return row;
}

std::unique_ptr<TableCopy> Backfill::make_table(const Session& session, const mapping::Route& route,
                                                pg::Connection& target, const CopyRow& row) {
  auto table = std::make_unique<TableCopy>();
  const auto& prepared = *session.prepared;
  const auto& source = prepared.source_catalog.at({route.source.schema, route.source.name});
  const auto& into = prepared.target_catalog.at({route.target.schema, route.target.name});
  auto key = read_key_columns(*source_, source, mapping::copy_way(route, source, into).key);
  if (key.empty()) {
    table->order = std::make_unique<NoOrder>();
  } else {
    table->order = make_key_order(key, *source_);
  }
  table->plan =
      make_plan(route, source, into, std::move(key), mapping::rows_per_chunk(config_->backfill, source),
                same_major(prepared.source, prepared.target));
  // The plan is by the table's average: twice of it is met often, more is a part of the table with other rows.
  table->plan.most_bytes = 2 * config_->backfill.chunk_bytes;
  table->rows_planned = table->plan.rows_per_chunk;
  table->birth = row.birth;
  table->complete = row.complete;
  table->rows_copied = row.rows;
  table->rows_estimated = std::max(0.0, source.estimated_rows);
  if (!row.complete) {
    auto chunks = read_chunks(target, config_->stream_name(), route.label());
    if (!chunks.empty()) table->map = ChunkMap(std::move(chunks), *table->order);
  }
  return table;
}

// A table that is no longer in the configuration is not streamed any more: if it comes back, what was copied is old.
void Backfill::forget_removed(const std::vector<mapping::Route>& routes, const std::vector<CopyRow>& rows) {
  for (const auto& row : rows) {
    const bool there = std::any_of(routes.begin(), routes.end(),
                                   [&](const auto& route) { return route.label() == row.route; });
    if (!there) forget_copy(*target_, config_->stream_name(), row.route);
  }
}

void Backfill::start(const Session& session) {
  stop_workers();
  config_ = session.config;
  metrics_ = session.metrics;
  cancel_ = std::make_unique<Interrupt>();
  source_ = std::make_unique<pg::Connection>(options_for(*config_, config_->source, *cancel_));
  target_ = std::make_unique<pg::Connection>(options_for(*config_, config_->target, *cancel_));
  const auto rows = read_copies(*target_, config_->stream_name());
  forget_removed(session.prepared->routes, rows);
  Tables tables;
  for (const auto& route : session.prepared->routes) {
    const auto found = std::find_if(rows.begin(), rows.end(),
                                    [&](const CopyRow& row) { return row.route == route.label(); });
    const CopyRow row = found == rows.end() ? new_copy(session, route, *target_, rows.empty()) : *found;
    tables.push_back(make_table(session, route, *target_, row));
  }
  copier_options_ = {options_for(*config_, config_->source, *cancel_),
                     options_for(*config_, config_->target, *cancel_), config_->stream_name(), session.epoch,
                     session.prepared->source.wal_segment_bytes};
  {
    const std::lock_guard lock(mutex_);
    tables_ = std::move(tables);
    stopping_ = false;
    failure_ = nullptr;
    may_load_.clear();
    ready_.clear();
    reached_ = Lsn();
    rate_since_ = std::chrono::steady_clock::now();
    rows_since_ = 0;
  }
  if (!active()) return;
  for (int i = 0; i < config_->backfill.workers; ++i) workers_.emplace_back([this] { work(); });
}

void Backfill::stop_workers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (cancel_) cancel_->raise();
  for (auto& worker : workers_) worker.join();
  workers_.clear();
}

// -------------------------------------------------------------------------------- the loop tells, and waits

void Backfill::finish_table(TableCopy& table) {
  complete_copy(*target_, config_->stream_name(), copier_options_.epoch, table.route().label());
  const std::lock_guard lock(mutex_);
  table.complete = true;
  obs::info("table complete", {{"table", table.route().label()}, {"rows", table.rows_copied}});
}

void Backfill::committed(Lsn position, Lsn reached, std::optional<Xid> next) {
  std::vector<TableCopy*> done;
  {
    const std::lock_guard lock(mutex_);
    reached_ = reached;
    for (auto& table : tables_) {
      if (table->complete) continue;
      if (position > table->frozen_at) table->frozen = false;
      // What is stored on the target decides: a start after a crash goes on from there.
      table->map.forget_passed(position);
      if (table->map.complete()) done.push_back(table.get());
    }
    for (const auto& [table, range] : ready_) {
      for (const auto& chunk : table->map.chunks()) {
        if (chunk.range == range && chunk.state == align::ChunkState::in_flight &&
            align::aligned(*chunk.snapshot, chunk.fence, next, reached)) {
          may_load_.push_back({table, range});
        }
      }
    }
    changed_.notify_all();
  }
  for (auto* table : done) finish_table(*table);
}

Lsn Backfill::awaited() const {
  const std::lock_guard lock(mutex_);
  Lsn furthest;
  for (const auto& table : tables_) {
    if (table->complete) continue;
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

std::unique_ptr<stream::Companion> make(bool no_backfill) { return std::make_unique<Backfill>(no_backfill); }

}  // namespace walign::backfill
