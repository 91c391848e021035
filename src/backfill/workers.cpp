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
    Range range;
    TableCopy* table = nullptr;
    {
      std::unique_lock lock(mutex_);
      table = claim(lock, range);
      me.ended = table == nullptr;
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
    const auto now = std::chrono::steady_clock::now();
    const bool held = paused_ || held_by_lag(now) || over_rate();
    for (auto& table : tables_) {
      if (held || table->complete || table->planning || table->frozen || table->not_before > now) continue;
      const auto pending = table->map.first_pending();
      if (!pending) continue;
      table->planning = true;
      lag_since_.reset();
      range = *pending;
      return table.get();
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

bool Backfill::announce(TableCopy& table, const Range& range,
                        const std::function<std::pair<Snapshot, Lsn>()>& look) {
  const std::lock_guard lock(mutex_);
  table.planning = false;
  changed_.notify_all();
  if (table.frozen || stopping_) return false;
  const auto [snapshot, fence] = look();
  return align::may_serve(snapshot, table.birth) && table.map.announce(range, snapshot, fence);
}

// False: it is not worth waiting for any more.
bool Backfill::wait_for_alignment(TableCopy& table, const Range& range, bool& past_fence,
                                  const std::function<void()>& nudge) {
  constexpr auto kIdle = std::chrono::milliseconds(5);
  std::unique_lock lock(mutex_);
  const std::pair<const TableCopy*, Range> me{&table, range};
  ready_.push_back(me);
  changed_.notify_all();
  const auto told = told_;
  const auto decided = [&] {
    return stopping_ || table.frozen || std::find(may_load_.begin(), may_load_.end(), me) != may_load_.end();
  };
  if (!changed_.wait_for(lock, kIdle, decided) && told_ == told) {
    // The loop has nothing to say: on an idle source it would find out by itself, a good while later.
    lock.unlock();
    nudge();
    lock.lock();
  }
  changed_.wait(lock, decided);
  std::erase(ready_, me);
  std::erase(may_load_, me);
  if (stopping_) throw Error(ErrorKind::interrupted, "interrupted", "start the command again to go on");
  for (const auto& chunk : table.map.chunks())
    past_fence = past_fence || (chunk.range == range && chunk.fence <= reached_);
  return !table.frozen;
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

namespace {

// A row that the target does not take.
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

}  // namespace

// Cuts the range that was claimed, where it has more rows than a chunk should have.
void Backfill::cut(Copier& copier, TableCopy& table, Range& range) {
  const bool one_key = range.lower.key && range.lower.key == range.upper.key;
  if (one_key) return;
  std::int64_t rows = 0;
  {
    const std::lock_guard lock(mutex_);
    rows = table.rows_planned;
  }
  const auto cut = copier.find_cut(table.plan, range, rows);
  const std::lock_guard lock(mutex_);
  if (cut && table.map.split_pending(range.lower, *cut)) range.upper = *cut;
}

CopySteps Backfill::steps_for(TableCopy& table, Range& range, Reading& reading) {
  CopySteps steps;
  steps.announce = [&](const auto& look) { return reading.announced = announce(table, range, look); };
  steps.wait_for_alignment = [&](const auto& nudge) {
    return wait_for_alignment(table, range, reading.past_fence, nudge);
  };
  steps.give_back = [&](const Bound& cut) {
    const std::lock_guard lock(mutex_);
    if (table.map.give_back(range, cut)) range.upper = cut;
    changed_.notify_all();
  };
  steps.progress = [&](std::int64_t bytes) {
    if (metrics_ == nullptr) return;
    metrics_->counter("walign_backfill_bytes_total", "Bytes of old rows read from the source.")
        .add(static_cast<double>(bytes));
  };
  return steps;
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

void Backfill::copy_chunk(Copier& copier, TableCopy& table, Range range) {
  Reading reading;
  try {
    cut(copier, table, range);
    const auto copied = copier.copy(table.plan, range, steps_for(table, range, reading));
    const std::lock_guard lock(mutex_);
    if (copied) table.plan_next(*copied);
    if (copied && table.map.loaded(range, copied->rows)) {
      table.rows_copied += copied->rows;
      rows_since_ += copied->rows;
      table.violations = 0;
      table.lock_waits = 0;
      note_mended(table, copied->mended);
    } else if (reading.announced) {
      table.map.failed(range);
    }
    changed_.notify_all();
    if (copied) return;
  } catch (const Error& error) {
    {
      const std::lock_guard lock(mutex_);
      if (reading.announced) {
        table.map.failed(range);
      } else {
        table.planning = false;
      }
      changed_.notify_all();
      if (!may_try_again(table, error, reading.past_fence)) throw explained(error, table);
    }
    copier.forget();
  }
  // Not this chunk now: the slot's birth is too near, a TRUNCATE is being passed, or it waited for a lock.
  cancel_->sleep_for(std::chrono::milliseconds(20));
}

}  // namespace walign::backfill
