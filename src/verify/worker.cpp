// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The worker: what is to be compared, and how both sides come to one moment.
#include "verification.hpp"
#include "walign/source.hpp"

namespace walign::verify {

namespace {

constexpr auto kLockTimeout = "3s";
constexpr auto kOpenTimeout = std::chrono::seconds(5);  // locks are held meanwhile
constexpr std::size_t kManyKeys = 100'000;              // do not wait for verify.every

std::string begin_sql(const std::string& mode, const std::vector<std::string>& tables) {
  return cat("BEGIN ISOLATION LEVEL REPEATABLE READ", mode, "; SET LOCAL lock_timeout = '", kLockTimeout,
             "'; LOCK TABLE ", join(tables, ", "), " IN ACCESS SHARE MODE");
}

}  // namespace

// ------------------------------------------------------------------------------------------- what to do

void Verification::work() noexcept {
  try {
    std::uint64_t id = 0;
    while (next_job(id)) run(id);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::interrupted)
      obs::log_error(obs::Level::warn, "verification has ended", error);
  } catch (const std::exception& error) {
    obs::warn("verification has ended", {{"why", error.what()}});
  }
  active_ = false;
}

void Verification::background() {
  std::size_t keys = 0;
  bool any = false;
  for (const auto& table : tables_) {
    keys += table->dirty.size();
    any = any || table->needs_pass() || table->dirty.size() > 0 || table->record.differences() > 0;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now < due_ && keys < kManyKeys) return;
  due_ = now + config_->verify.every;
  if (!any) return;
  Job job;
  job.id = job.report.id = ++last_job_;
  job.in_background = true;
  trim_jobs();
  jobs_.push_back(std::move(job));
}

// The next one that somebody asked for, or that is due; false: the session ends.
bool Verification::next_job(std::uint64_t& id) {
  Lock lock(mutex_);
  for (;;) {
    if (stopping_) return false;
    if (listening_) {
      changed_.wait(lock, [&] { return stopping_ || !listening_; });
      continue;
    }
    const auto found = std::find_if(jobs_.begin(), jobs_.end(), [](const Job& j) { return !j.report.done; });
    if (found != jobs_.end()) {
      id = found->id;
      return true;
    }
    background();
    if (unseen_.size() > kManyUnseen) {
      lock.unlock();
      try {
        connect();
        const auto seen =
            Snapshot::parse(source_->exec("SELECT pg_catalog.pg_current_snapshot()").text(0, 0));
        lock.lock();
        if (seen) unseen_.all_inside(*seen);
        continue;
      } catch (const Error&) {
        disconnect();
        sleep(std::chrono::milliseconds(500));
      }
      lock.lock();
    }
    changed_.wait_for(lock, std::chrono::milliseconds(500));
  }
}

void Verification::connect() {
  if (!source_) source_ = std::make_unique<pg::Connection>(options_for(*config_, config_->source, *cancel_));
  if (!target_) target_ = std::make_unique<pg::Connection>(options_for(*config_, config_->target, *cancel_));
}

void Verification::run(std::uint64_t id) {
  active_ = true;
  std::vector<Table*> tables;
  {
    const std::lock_guard lock(mutex_);
    const auto& job = find(id);
    for (const auto& table : tables_) {
      if (asks_for(job.request, *table)) tables.push_back(table.get());
    }
  }
  for (auto* table : tables) {
    const auto done = [&] {
      const std::lock_guard lock(mutex_);
      const auto& state = of(find(id), *table).state;
      return state == "done" || state == "failed" || state == "skipped" || state == "partial";
    };
    if (!done()) run_table(id, *table);
  }
  active_ = false;
  const std::lock_guard lock(mutex_);
  auto& job = find(id);
  job.report.done = true;
  due_ = std::chrono::steady_clock::now() + config_->verify.every;
  changed_.notify_all();
}

void Verification::run_table(std::uint64_t id, Table& table) {
  for (;;) {
    try {
      connect();
      if (!unseen_known_) note_unseen();
      compare_table(id, table);
      return;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::interrupted) throw;
      disconnect();
      const Lock lock(mutex_);
      auto& report = of(find(id), table);
      report.error = error.message();
      if (remedy(error.kind()) != Remedy::retry) {
        report.state = "failed";
        obs::log_error(obs::Level::warn, cat("verification of ", table.label()), error);
        return;
      }
    }
    sleep(std::chrono::milliseconds(500));
  }
}

void Verification::waits_for(std::uint64_t id, Table& table, const std::string& what) {
  const std::lock_guard lock(mutex_);
  of(find(id), table).error = what;
}

bool Verification::is_complete(const Table& table) {
  const auto r = target_->query("SELECT complete FROM walign.copy WHERE stream = $1 AND route = $2",
                                {config_->stream_name(), table.label()});
  return r.rows() == 0 || r.boolean(0, 0);
}

// What sessions before this one applied may not be visible yet: every transaction that has an id by now and has not
// ended, but for those that are seen to be in the middle of something else than their commit.
void Verification::note_unseen() {
  source_->exec("BEGIN; SET LOCAL synchronous_commit = local");
  const auto r = source_->exec(
      "SELECT pg_catalog.pg_current_xact_id(), pg_catalog.pg_logical_emit_message(true, 'walign', '')");
  const Xid own(static_cast<std::uint64_t>(r.integer(0, 0)));
  source_->exec("COMMIT");
  const auto snapshot = Snapshot::parse(source_->exec("SELECT pg_catalog.pg_current_snapshot()").text(0, 0));
  WALIGN_CHECK(snapshot.has_value());
  std::set<Xid> open;
  const auto idle = source_->exec(
      "SELECT backend_xid::text FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND state "
      "LIKE 'idle in "
      "transaction%' UNION ALL SELECT transaction::text FROM pg_catalog.pg_prepared_xacts");
  for (int i = 0; i < idle.rows(); ++i) {
    open.insert(Xid::widen(static_cast<std::uint32_t>(idle.integer(i, 0)), snapshot->xmax));
  }
  const std::lock_guard lock(mutex_);
  for (const Xid running : snapshot->running) {
    if (running < own && !open.contains(running)) unseen_.add(running);
  }
  unseen_known_ = true;
}

// ----------------------------------------------------------------------------------------- one moment

// Under the lock that the loop's decisions take, so that nothing is taken between the snapshot and its being known.
bool Verification::announce(Table& table) {
  const std::lock_guard lock(mutex_);
  WALIGN_CHECK(meeting_table_ == &table);
  if (let_go_ || stopping_) return false;
  const auto r =
      source_->exec("SELECT pg_catalog.pg_current_snapshot(), pg_catalog.pg_current_wal_insert_lsn()");
  auto snapshot = Snapshot::parse(r.text(0, 0));
  WALIGN_CHECK(snapshot.has_value());
  if (!unseen_.all_inside(*snapshot)) return false;
  open_failed_ = nullptr;
  meeting_.emplace(std::move(*snapshot), r.lsn(0, 1).without_page_header(wal_segment_bytes_));
  return true;
}

bool Verification::wait_until_open(Table& table) {
  WALIGN_CHECK(meeting_table_ == &table);
  Lock lock(mutex_);
  changed_.wait_for(lock, kOpenTimeout,
                    [&] { return meeting_->is_open() || meeting_->again() || let_go_ || stopping_; });
  if (open_failed_) std::rethrow_exception(std::exchange(open_failed_, nullptr));
  if (meeting_->is_open()) return true;
  meeting_.reset();
  return false;
}

// The transaction with the snapshot is open on the other connection. Kept, for the next range.
void Verification::nudge() {
  if (!nudging_)
    nudging_ = std::make_unique<pg::Connection>(options_for(*config_, config_->source, *cancel_));
  source::nudge(*nudging_);
}

// An asynchronous commit that a crash takes back must not have been compared.
void Verification::wait_until_flushed(Lsn fence) {
  for (int tries = 0; source_->exec("SELECT pg_catalog.pg_current_wal_flush_lsn()").lsn(0, 0) < fence;
       ++tries) {
    if (tries == 2) nudge();
    sleep(std::chrono::milliseconds(2));
  }
}

bool Verification::wait_until_decided() {
  Lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || listening_ || meeting_->decided(reached_); });
  if (stopping_) throw Error(ErrorKind::interrupted, "interrupted", "it goes on with the next session");
  return meeting_->decided(reached_) && meeting_->counts(reached_);
}

void Verification::wait_until_applied() {
  Lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || !listening_; });
  if (stopping_) throw Error(ErrorKind::interrupted, "interrupted", "it goes on with the next session");
}

std::uint64_t Verification::meet(std::uint64_t id, Table& table, const std::function<void()>& body) {
  struct LetGo {
    Verification& its;
    ~LetGo() { locks(); }
    void locks() const {
      const std::lock_guard lock(its.mutex_);
      its.holds_locks_ = false;
      its.changed_.notify_all();
    }
  };
  struct End {
    Verification& its;
    ~End() {
      const std::lock_guard lock(its.mutex_);
      its.meeting_.reset();
      its.meeting_table_ = nullptr;
    }
  };
  std::vector<std::string> on_target{table.plan.target_table()};
  for (const auto& read : table.plan.route->reads) on_target.push_back(pg::qualified(read.schema, read.name));
  for (int tries = 0;; ++tries) {
    cancel_->throw_if_raised();
    if (tries > 0) sleep(std::chrono::milliseconds(std::min(10 * tries, 200)));
    wait_until_applied();
    const End end{*this};
    bool compared = false;
    {
      {
        const std::lock_guard lock(mutex_);
        meeting_table_ = &table;
        holds_locks_ = true;
        let_go_ = listening_;
      }
      const LetGo let_go{*this};
      try {
        source_->exec(begin_sql(" READ ONLY", {table.plan.source_table()}));
        target_->exec(begin_sql("", on_target));
        if (announce(table)) {
          wait_until_flushed(meeting_->fence());
          if (wait_until_open(table)) {
            body();
            compared = true;
          }
        }
        source_->exec("COMMIT");
        target_->exec("COMMIT");
      } catch (const Error& error) {
        if (error.sqlstate() != "55P03" || source_->broken() || target_->broken()) throw;
        source_->exec("ROLLBACK");
        target_->exec("ROLLBACK");
      }
    }
    if (compared && wait_until_decided()) {
      waits_for(id, table, "");
      const std::lock_guard lock(mutex_);
      return open_generation_;
    }
    constexpr int kWorthSaying = 10;
    if (tries == kWorthSaying) {
      waits_for(id, table,
                compared ? "it is compared again: transactions become visible in another order"
                         : "waits for the stream to catch up, for a lock or for a transaction to end");
    }
  }
}

}  // namespace walign::verify
