// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "backfill_impl.hpp"

namespace walign::backfill {

// ----------------------------------------------------------------------------------------- the workers

void Backfill::work(Worker& me) {
  try {
    work_until_stopped(me);
  } catch (const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!stopping_ && !failure_) failure_ = std::current_exception();
    me.ended = true;
    changed_.notify_all();
  }
}

void Backfill::work_until_stopped(Worker& me) {
  Copier copier(copier_options_);
  for (;;) {
    Claim next;
    {
      std::unique_lock lock(mutex_);
      next = claim(lock);
      me.ended = next.table == nullptr;
    }
    if (next.table == nullptr) return;
    if (next.range) {
      copy_run(copier, *next.table, *next.range);
    } else {
      fill(copier, *next.table);
    }
  }
}

// The next pending range of a table whose ranges nobody is choosing at the moment, or its pending keys.
std::optional<Backfill::Claim> Backfill::to_do(std::chrono::steady_clock::time_point now) {
  if (stopping_ || paused_ || held_by_lag(now) || over_rate()) return std::nullopt;
  for (auto& table : tables_) {
    if (table->complete || table->frozen || table->not_before > now) continue;
    if (std::any_of(table->after.begin(), table->after.end(), [](const auto* t) { return !t->complete; }))
      continue;
    if (fill_is_due(*table, now)) return Claim{table.get(), std::nullopt};
    auto pending = table->planning ? std::nullopt : table->map.first_pending();
    if (pending) return Claim{table.get(), std::move(pending)};
  }
  return std::nullopt;
}

void Backfill::take(const Claim& claim) {
  auto& table = *claim.table;
  if (claim.range) {
    table.planning = true;
    ++table.claimed_since_fill;
  } else {
    table.filling = true;
    table.claimed_since_fill = 0;
  }
  lag_since_.reset();
}

Backfill::Claim Backfill::claim(std::unique_lock<std::mutex>& lock) {
  for (;;) {
    if (stopping_ || std::all_of(tables_.begin(), tables_.end(), [](const auto& t) { return t->complete; })) {
      return {};
    }
    if (auto next = to_do(std::chrono::steady_clock::now())) {
      take(*next);
      return std::move(*next);
    }
    changed_.wait_for(lock, std::chrono::milliseconds(100));
  }
}

// A stream that falls behind by itself does not catch up because the copy waits: a chunk now and then, so that the
// copy has an end all the same.
bool Backfill::held_by_lag(std::chrono::steady_clock::time_point now) {
  constexpr auto kLongest = std::chrono::seconds(10);
  if (lag_bytes_ <= config_->backfill.pause_above_lag_bytes) {
    lag_since_.reset();
    return false;
  }
  if (!lag_since_) lag_since_ = now;
  return now - *lag_since_ < kLongest;
}

bool Backfill::over_rate() {
  if (config_->backfill.max_rows_per_second == 0) return false;
  const auto rate = static_cast<double>(config_->backfill.max_rows_per_second);
  const auto now = std::chrono::steady_clock::now();
  const double allowed = rate * std::chrono::duration<double>(now - rate_since_).count();
  const auto done = static_cast<double>(rows_since_);
  if (allowed > done + rate) {  // what was not used is not saved up
    rate_since_ = now;
    rows_since_ = 0;
  }
  return done > allowed;
}

void Backfill::planned(TableCopy& table, Reading& reading) {
  if (!std::exchange(reading.planning, false)) return;
  table.planning = false;
  changed_.notify_all();
}

// With the lock held.
bool Backfill::announce(Reading& reading, const TableCopy& table, const Look& look) {
  if (table.frozen || stopping_) return false;
  reading.table = &table;
  reading.since = std::chrono::steady_clock::now();
  held_.push_back(&reading);
  std::tie(reading.snapshot, reading.fence) = look();
  return align::may_serve(reading.snapshot, table.birth);
}

bool Backfill::announce_range(TableCopy& table, const Range& range, Reading& reading, const Look& look) {
  const std::lock_guard lock(mutex_);
  planned(table, reading);
  return announce(reading, table, look) && table.map.announce(range, reading.snapshot, reading.fence);
}

// False: the loop has said nothing for too long.
bool Backfill::wait_until(const std::function<bool()>& decided, const Reading& reading,
                          std::unique_lock<std::mutex>& lock) {
  auto since = std::chrono::steady_clock::now();
  for (auto told = told_; !decided();) {
    changed_.wait_for(lock, std::chrono::milliseconds(100));
    const auto now = std::chrono::steady_clock::now();
    if (std::exchange(told, told_) != told_) since = now;
    if (reading.patience.count() > 0 && now - since > reading.patience) return false;
  }
  return true;
}

// False: it is not worth waiting for any more.
bool Backfill::wait_for_alignment(Reading& reading, const std::function<void()>& nudge) {
  constexpr auto kIdle = std::chrono::milliseconds(5);
  std::unique_lock lock(mutex_);
  waiting_.push_back(&reading);
  changed_.notify_all();
  const auto told = told_;
  const auto decided = [&] { return stopping_ || reading.table->frozen || reading.may_load; };
  const auto leave = [&](void*) {
    if (!lock.owns_lock()) lock.lock();
    std::erase(waiting_, &reading);
  };
  const std::unique_ptr<void, decltype(leave)> leave_at_the_end(this, leave);
  if (!changed_.wait_for(lock, kIdle, decided) && told_ == told) {
    // The loop has nothing to say: on an idle source it would find out by itself, a good while later.
    lock.unlock();
    nudge();
    lock.lock();
  }
  if (!wait_until(decided, reading, lock)) return false;
  if (stopping_) throw Error(ErrorKind::interrupted, "interrupted", "start the command again to go on");
  reading.past_fence = reading.fence <= reached_;
  return !reading.table->frozen;
}

namespace {

// What a loader waits for can be held by the applier, in a transaction that waits for the loader in turn: PostgreSQL
// sees no deadlock in that.
bool is_lock_wait(const Error& error) { return error.sqlstate() == "55P03" || error.sqlstate() == "40P01"; }

}  // namespace

// Before the fence another row, not yet caught up, can still have this unique value: later it will not. After it,
// only if visibility was exchanged under another chunk as well, and never for long.
bool Backfill::may_try_again(TableCopy& table, const Error& error, bool past_fence) const {
  constexpr int kMostViolations = 5;
  if (is_lock_wait(error)) {
    table.not_before = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
    if (table.lock_waits++ % 100 == 0)
      obs::warn("a chunk waited too long for a lock on the target, and is read again",
                {{"table", table.route().label()}, {"why", error.message()}});
    return true;
  }
  if (error.sqlstate() != "23505" || !table.plan.at_aligned_moment) return false;
  return !past_fence || ++table.violations < kMostViolations;
}

Error explained(const Error& error, const TableCopy& table) {
  const std::string state = error.sqlstate().substr(0, 2);
  if (state != "22" && state != "23") return error.in(table.route().label());
  return Error(ErrorKind::conflict,
               cat(table.route().label(), ": old rows cannot be copied: ", error.message()),
               "change these rows on the source, or the constraint or mapping on the target, and run again: "
               "what was "
               "copied stays, and the rest is read again")
      .with_sqlstate(error.sqlstate());
}

void Backfill::release(const Reading& reading) {
  const std::lock_guard lock(mutex_);
  std::erase(held_, &reading);
}

void Backfill::lag(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  lag_bytes_ = bytes;
  changed_.notify_all();
  if (metrics_ == nullptr) return;
  double age = 0;
  for (const auto* reading : held_) {
    const std::chrono::duration<double> its = std::chrono::steady_clock::now() - reading->since;
    age = std::max(age, its.count());
  }
  metrics_
      ->gauge("walign_backfill_snapshot_age_seconds",
              "Age of the oldest snapshot of the source that the copy of old rows holds; 0: none.")
      .set(age);
}

void Backfill::note_read(std::int64_t bytes) {
  if (metrics_ == nullptr) return;
  metrics_->counter("walign_backfill_bytes_total", "Bytes of old rows read from the source.")
      .add(static_cast<double>(bytes));
}

void Backfill::note_copied(TableCopy& table, const Copied& copied) {
  table.rows_copied += copied.rows;
  rows_since_ += copied.rows;
  table.violations = 0;
  table.lock_waits = 0;
  note_mended(table, copied.mended);
}

void Backfill::note_mended(TableCopy& table, const Mended& mended) {
  if (!mended.any()) return;
  table.mended.removed += mended.removed;
  table.mended.changed += mended.changed;
  table.mended.added += mended.added;
  if (metrics_ == nullptr) return;
  const auto count = [&](const char* operation, std::int64_t rows) {
    metrics_
        ->counter("walign_backfill_mended_rows_total",
                  "Rows of the target that were made right (existing_rows: adopt).",
                  {{"table", table.route().label()}, {"operation", operation}})
        .add(static_cast<double>(rows));
  };
  count("remove", mended.removed);
  count("change", mended.changed);
  count("add", mended.added);
}

}  // namespace walign::backfill
