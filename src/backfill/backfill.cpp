// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/backfill.hpp"

#include <thread>

#include "table_copy.hpp"

namespace walign::backfill {

namespace {

using align::ChunkState;
using align::ChunkView;
using align::MoveVerdict;
using align::Verdict;
using Judgement = stream::Companion::Judgement;
using Tables = std::vector<std::unique_ptr<TableCopy>>;

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

// The columns by which the table is cut: the primary key, if old rows carry it; else the identity's index.
std::vector<std::string> copy_key(const pg::Table& table) {
  const auto identity = table.identity_columns();
  const pg::Index* primary = table.primary_key();
  const auto has = [&](const std::string& c) {
    return std::find(identity.begin(), identity.end(), c) != identity.end();
  };
  if (primary != nullptr && std::all_of(primary->columns.begin(), primary->columns.end(), has))
    return primary->columns;
  return table.replica_identity == 'i' ? identity : std::vector<std::string>();
}

// Rows of about chunk_bytes, but not more than chunk_rows.
std::int64_t rows_per_chunk(const config::Backfill& limits, const pg::Table& table) {
  if (table.estimated_rows < 1 || table.bytes <= 0) return limits.chunk_rows;
  const auto row_bytes =
      std::max<std::int64_t>(1, table.bytes / static_cast<std::int64_t>(table.estimated_rows));
  return std::clamp<std::int64_t>(limits.chunk_bytes / row_bytes, 1, limits.chunk_rows);
}

class Backfill final : public stream::Companion {
 public:
  explicit Backfill(bool no_backfill) : no_backfill_(no_backfill) {}
  ~Backfill() override { stop_workers(); }

  void start(const Session& session) override;
  void stop() override { stop_workers(); }
  [[nodiscard]] bool active() const override {
    const std::lock_guard lock(mutex_);
    return std::any_of(tables_.begin(), tables_.end(), [](const auto& t) { return !t->complete; });
  }
  std::optional<Judgement> judge(const event::TransactionPart& part, Xid xid) override;
  void committed(Lsn position, Lsn reached, std::optional<Xid> next) override;
  [[nodiscard]] Lsn awaited() const override;
  void wait(std::chrono::milliseconds timeout) override;
  void check() override {
    const std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
  }
  void report(stream::Status& status) const override;
  void pause(bool paused) override {
    const std::lock_guard lock(mutex_);
    paused_ = paused;
    changed_.notify_all();
  }
  void lag(std::int64_t bytes) override {
    const std::lock_guard lock(mutex_);
    lag_bytes_ = bytes;
    changed_.notify_all();
  }

 private:
  // ---- the loop's thread
  std::unique_ptr<TableCopy> make_table(const Session& session, const mapping::Route& route,
                                        pg::Connection& target, const CopyRow& row);
  CopyRow new_copy(const Session& session, const mapping::Route& route, pg::Connection& target, bool begins);
  void find_chunks(std::vector<KeyedChange>& changes, std::map<TableCopy*, std::uint64_t>& versions);
  bool judge_truncates(const event::TransactionPart& part, std::map<TableCopy*, int>& truncated);
  std::optional<Judgement> judge_located(const event::TransactionPart& part,
                                         const std::vector<KeyedChange>& changes, Xid xid);
  void punch(TableCopy& table, const Key& key, Judgement& out);
  void begin_again(TableCopy& table, Judgement& out);
  // Until the batch that changes its chunks is committed.
  void freeze(TableCopy& table) const {
    table.frozen = true;
    table.frozen_at = position_;
  }
  bool in_the_way(Xid xid) const;
  void finish_table(TableCopy& table);
  void stop_workers();

  // ---- the workers' threads
  void work();
  void work_until_stopped();
  TableCopy* claim(std::unique_lock<std::mutex>& lock, Range& range);
  void copy_chunk(Copier& copier, TableCopy& table, Range range);
  bool announce(TableCopy& table, const Range& range, const std::function<std::pair<Snapshot, Lsn>()>& look);
  void wait_for_alignment(TableCopy& table, const Range& range);
  bool over_rate();

  const bool no_backfill_;
  const config::Config* config_ = nullptr;
  obs::Metrics* metrics_ = nullptr;
  CopierOptions copier_options_;
  std::unique_ptr<Interrupt> cancel_;
  std::unique_ptr<pg::Connection> source_;  // of the loop's thread
  std::unique_ptr<pg::Connection> target_;
  std::vector<std::thread> workers_;

  mutable std::mutex mutex_;  // all below
  std::condition_variable changed_;
  Tables tables_;
  std::vector<std::pair<const TableCopy*, Range>> may_load_;  // at their aligned moment now
  std::vector<std::pair<const TableCopy*, Range>> ready_;     // read, waiting for it
  std::exception_ptr failure_;
  bool stopping_ = false;
  bool paused_ = false;
  std::int64_t lag_bytes_ = 0;
  Lsn position_;  // of the target, as of committed()
  std::chrono::steady_clock::time_point rate_since_;
  std::int64_t rows_since_ = 0;
};

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
    const auto r = source_->exec("SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())");
    const Xid next(static_cast<std::uint64_t>(r.integer(0, 0)));
    row.birth = {next, next, {}};
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
  auto key = read_key_columns(*source_, source, copy_key(source));
  table->order = make_key_order(key, *source_);
  table->plan = make_plan(route, source, into, std::move(key), rows_per_chunk(config_->backfill, source),
                          same_major(prepared.source, prepared.target));
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

void Backfill::start(const Session& session) {
  stop_workers();
  config_ = session.config;
  metrics_ = session.metrics;
  cancel_ = std::make_unique<Interrupt>();
  source_ = std::make_unique<pg::Connection>(options_for(*config_, config_->source, *cancel_));
  target_ = std::make_unique<pg::Connection>(options_for(*config_, config_->target, *cancel_));
  const auto rows = read_copies(*target_, config_->stream_name());
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
bool Backfill::judge_truncates(const event::TransactionPart& part, std::map<TableCopy*, int>& truncated) {
  for (int i = 0; i < part.tx().changes_size(); ++i) {
    const auto& change = part.tx().changes(i);
    if (change.kind() != v1::Change::TRUNCATE) continue;
    for (const auto index : change.truncate().relations()) {
      for (auto& table : tables_) {
        if (table->complete || !table->is(*part.relations().at(index))) continue;
        freeze(*table);
        if (table->planning || table->map.any_in_flight()) return false;
        truncated[table.get()] = i;
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

void Backfill::punch(TableCopy& table, const Key& key, Judgement& out) {
  freeze(table);
  const auto place = table.order->locate({&key}, table.map.inner_bounds()).at(0);
  const Range old_range = table.map.chunks()[place].range;
  const auto pieces = table.map.punch(place, key);
  for (auto& sql : replace_chunk(config_->stream_name(), table.route().label(), old_range, pieces)) {
    out.extra.push_back({std::move(sql.sql), std::move(sql.params)});
  }
  out.alone = true;
}

void Backfill::begin_again(TableCopy& table, Judgement& out) {
  table.map.reset();
  table.rows_copied = 0;
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
  std::map<TableCopy*, int> truncated;
  if (!judge_truncates(part, truncated)) return std::nullopt;
  Judgement out;
  Verdicts verdicts(xid);
  for (const auto& change : changes) {
    const auto found = truncated.find(change.table);
    const bool after_truncate = found != truncated.end() && change.change > found->second;
    const auto verdict = after_truncate ? MoveVerdict::drop : verdicts.of(change);
    if (verdict == MoveVerdict::wait) return std::nullopt;
    if (verdict != MoveVerdict::update)
      out.exceptions.push_back({change.change, change.table->route().id, verdict});
  }
  for (const auto& [table, key] : verdicts.punched()) {
    if (!truncated.contains(table)) punch(*table, key, out);
  }
  for (const auto& [table, index] : truncated) begin_again(*table, out);
  return out;
}

// -------------------------------------------------------------------------------- the loop tells, and waits

void Backfill::finish_table(TableCopy& table) {
  complete_copy(*target_, config_->stream_name(), table.route().label());
  const std::lock_guard lock(mutex_);
  table.complete = true;
  obs::info("table complete", {{"table", table.route().label()}, {"rows", table.rows_copied}});
}

void Backfill::committed(Lsn position, Lsn reached, std::optional<Xid> next) {
  std::vector<TableCopy*> done;
  {
    const std::lock_guard lock(mutex_);
    position_ = position;
    for (auto& table : tables_) {
      if (table->complete) continue;
      if (position > table->frozen_at) table->frozen = false;
      // What is stored on the target decides: a start after a crash goes on from there.
      table->map.forget_passed(position);
      if (table->map.complete()) done.push_back(table.get());
    }
    for (const auto& [table, range] : ready_) {
      for (const auto& chunk : table->map.chunks()) {
        if (chunk.range == range && chunk.state == ChunkState::in_flight &&
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
      const auto in_state = [&](ChunkState state) {
        return std::count_if(chunks.begin(), chunks.end(), [&](const auto& c) { return c.state == state; });
      };
      const auto loaded = in_state(ChunkState::loaded);
      entry.rows_copied = table->rows_copied;
      entry.rows_estimated = std::max(table->rows_copied, static_cast<std::int64_t>(table->rows_estimated));
      entry.chunks_done = loaded;
      const auto rows_left = *entry.rows_estimated - table->rows_copied;
      entry.chunks = loaded + in_state(ChunkState::in_flight) +
                     (in_state(ChunkState::pending) > 0
                          ? std::max<std::int64_t>(1, rows_left / table->plan.rows_per_chunk)
                          : 0);
      entry.state = table->complete                          ? "streaming"
                    : table->rows_copied == 0 && loaded == 0 ? "pending"
                                                             : "backfilling";
    }
  }
  if (any_left) status.phase = "backfilling";
}

// ----------------------------------------------------------------------------------------- the workers

void Backfill::work() {
  try {
    work_until_stopped();
  } catch (const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!stopping_ && !failure_) failure_ = std::current_exception();
    changed_.notify_all();
  }
}

void Backfill::work_until_stopped() {
  Copier copier(copier_options_);
  for (;;) {
    Range range;
    TableCopy* table = nullptr;
    {
      std::unique_lock lock(mutex_);
      table = claim(lock, range);
    }
    if (table == nullptr) return;
    copy_chunk(copier, *table, range);
  }
}

// The next pending range of a table whose ranges nobody is choosing at the moment; null when the end has come.
TableCopy* Backfill::claim(std::unique_lock<std::mutex>& lock, Range& range) {
  for (;;) {
    if (stopping_ || std::all_of(tables_.begin(), tables_.end(), [](const auto& t) { return t->complete; })) {
      return nullptr;
    }
    const bool held = paused_ || lag_bytes_ > config_->backfill.pause_above_lag_bytes || over_rate();
    for (auto& table : tables_) {
      if (held || table->complete || table->planning || table->frozen) continue;
      const auto pending = table->map.first_pending();
      if (!pending) continue;
      table->planning = true;
      range = *pending;
      return table.get();
    }
    changed_.wait_for(lock, std::chrono::milliseconds(100));
  }
}

bool Backfill::over_rate() {
  if (config_->backfill.max_rows_per_second == 0) return false;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - rate_since_).count();
  return static_cast<double>(rows_since_) >
         seconds * static_cast<double>(config_->backfill.max_rows_per_second);
}

bool Backfill::announce(TableCopy& table, const Range& range,
                        const std::function<std::pair<Snapshot, Lsn>()>& look) {
  const std::lock_guard lock(mutex_);
  table.planning = false;
  changed_.notify_all();
  if (table.frozen || stopping_) return false;
  const auto [snapshot, fence] = look();
  return align::may_serve(snapshot, table.birth) && table.map.announce(range, snapshot, fence);
}

void Backfill::wait_for_alignment(TableCopy& table, const Range& range) {
  std::unique_lock lock(mutex_);
  const std::pair<const TableCopy*, Range> me{&table, range};
  ready_.push_back(me);
  changed_.notify_all();
  changed_.wait(lock, [&] {
    return stopping_ || std::find(may_load_.begin(), may_load_.end(), me) != may_load_.end();
  });
  std::erase(ready_, me);
  std::erase(may_load_, me);
  if (stopping_) throw Error(ErrorKind::interrupted, "interrupted", "start the command again to go on");
}

void Backfill::copy_chunk(Copier& copier, TableCopy& table, Range range) {
  bool announced = false;
  try {
    if (const auto cut = copier.find_cut(table.plan, range)) {
      const std::lock_guard lock(mutex_);
      if (table.map.split_pending(range.lower, *cut)) range.upper = *cut;
    }
    CopySteps steps;
    steps.announce = [&](const auto& look) { return announced = announce(table, range, look); };
    steps.wait_for_alignment = [&] { wait_for_alignment(table, range); };
    steps.progress = [&](std::int64_t bytes) {
      if (metrics_ != nullptr) {
        metrics_->counter("walign_backfill_bytes_total", "Bytes of old rows read from the source.")
            .add(static_cast<double>(bytes));
      }
    };
    const auto rows = copier.copy(table.plan, range, steps);
    const std::lock_guard lock(mutex_);
    if (rows) {
      table.map.loaded(range, *rows);
      table.rows_copied += *rows;
      rows_since_ += *rows;
    }
    changed_.notify_all();
    if (rows) return;
  } catch (const Error& error) {
    const std::lock_guard lock(mutex_);
    if (announced) {
      table.map.failed(range);
    } else {
      table.planning = false;
    }
    changed_.notify_all();
    // Another row, not yet caught up, still has this unique value: later it will not.
    if (error.sqlstate() != "23505" || !table.plan.at_aligned_moment) throw error.in(table.route().label());
    copier.forget();
  }
  // Not this chunk now: the slot's birth is too near, or a TRUNCATE is being passed.
  cancel_->sleep_for(std::chrono::milliseconds(20));
}

}  // namespace

std::unique_ptr<stream::Companion> make(bool no_backfill) { return std::make_unique<Backfill>(no_backfill); }

}  // namespace walign::backfill
