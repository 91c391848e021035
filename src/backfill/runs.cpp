// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A worker's runs: ranges of one table that it cuts, reads one after the other, and loads in one target transaction.
//
// A run ends after a chunk when the stream's loop waits for something (what it waits for may be in this run, and it
// should not wait for longer than a chunk takes), when there is something else to do, and when it has become long: its
// transaction holds back the pruning of the target's tables, and a kill costs all of it.
#include "backfill_impl.hpp"

namespace walign::backfill {

namespace {

constexpr std::int64_t kMostRunSize = 4;  // times backfill.chunk_bytes
// The record of each is a round trip at the end, while all of them are in flight.
constexpr std::size_t kMostRunChunks = 16;
constexpr std::chrono::milliseconds kMostRunTime{2000};

}  // namespace

// ------------------------------------------------------------------------------------------ cutting

// With a rate to keep, a chunk must not have more rows than it says.
bool Backfill::cut_by_spacing(TableCopy& table, Range& range) {
  if (table.plan.whole() || config_->backfill.max_rows_per_second > 0) return false;
  const auto cut = table.spacing.cut(range, table.rows_planned);
  if (!cut || !table.map.split_pending(range, *cut)) return false;
  range.upper = *cut;
  return true;
}

// Cuts the range that was claimed, where it has more rows than a chunk should have. After the table's first chunk comes
// what is behind its last key: from then on the stream brings rows that are added there, and what is left to copy does
// not grow with them.
void Backfill::cut(Run& run, Range& range, Copier::Wait wait) {
  auto& table = run.table;
  std::int64_t rows = 0;
  {
    const std::lock_guard lock(mutex_);
    if (cut_by_spacing(table, range)) return;
    rows = table.rows_planned;
  }
  const auto cut = run.copier.find_cut(table.plan, range, rows, wait);
  if (!cut) return;
  const bool open_end = range.lower.key && !range.upper.key;
  const auto end = open_end ? run.copier.find_end(table.plan, range, wait) : std::nullopt;
  const std::lock_guard lock(mutex_);
  if (!end) {
    if (table.map.split_pending(range.lower, *cut)) range.upper = *cut;
  } else if (table.map.split_pending(range.lower, *end)) {
    range.lower = *end;
  }
}

// The run's last chunk, of which `planning` is set.
void Backfill::plan(Run& run, const Range& range, Copier::Wait wait) {
  auto& [errand, reading] = run.chunks.emplace_back();
  reading.planning = true;
  Range its = range;
  cut(run, its, wait);
  const std::lock_guard lock(mutex_);
  errand = run.table.errand_for(its);
}

// ------------------------------------------------------------------------------------------ a run

std::optional<Errand> Backfill::next_of(Run& run, std::int64_t bytes) {
  const auto now = std::chrono::steady_clock::now();
  if (bytes >= kMostRunSize * config_->backfill.chunk_bytes || run.chunks.size() >= kMostRunChunks ||
      now - run.since >= kMostRunTime) {
    return std::nullopt;
  }
  // A rate is kept by what has been loaded.
  if (config_->backfill.max_rows_per_second > 0) return std::nullopt;
  std::optional<Claim> next;
  {
    const std::lock_guard lock(mutex_);
    if (!loop_waits_) next = to_do(now);
    if (!next || next->table != &run.table || !next->range) return std::nullopt;
    take(*next);
  }
  try {
    plan(run, *next->range, Copier::Wait::briefly);
  } catch (const Error& error) {
    if (error.sqlstate() != "55P03") throw;
    const std::lock_guard lock(mutex_);
    planned(run.table, run.chunks.back().second);
    run.chunks.pop_back();
    return std::nullopt;
  }
  return run.chunks.back().first;
}

CopySteps Backfill::steps_for(Run& run) {
  CopySteps steps;
  steps.announce = [this, &run](const auto& look) {
    auto& [errand, reading] = run.chunks.back();
    return reading.announced = announce_range(run.table, errand.range, reading, look);
  };
  steps.wait_for_alignment = [this, &run](const auto& nudge) {
    return wait_for_alignment(run.chunks.back().second, nudge);
  };
  steps.give_back = [this, &run](const Bound& cut) {
    const std::lock_guard lock(mutex_);
    auto& range = run.chunks.back().first.range;
    // Nobody else ends what is in flight; the record on the target will say the same of it as the map.
    WALIGN_CHECK(run.table.map.give_back(range, cut));
    range.upper = cut;
    changed_.notify_all();
  };
  steps.outgrown = [this, &run] {
    const std::lock_guard lock(mutex_);
    run.table.rows_outgrow = true;
  };
  steps.progress = [this](std::int64_t bytes) { note_read(bytes); };
  steps.released = [this, &run] { release(run.chunks.back().second); };
  steps.was_read = [this, &run](const Copied& copied) {
    const std::lock_guard lock(mutex_);
    run.table.plan_next(copied);
  };
  steps.next = [this, &run](std::int64_t bytes) { return next_of(run, bytes); };
  return steps;
}

// The first ones are on the target; the others are not, whether they were announced or not even cut.
void Backfill::settle(Run& run, const std::vector<Copied>& copied) {
  std::size_t at = 0;
  for (auto& [errand, reading] : run.chunks) {
    planned(run.table, reading);
    if (at < copied.size()) {
      const auto& its = copied[at++];
      WALIGN_CHECK(its.range == errand.range);
      if (run.table.map.loaded(errand.range, its.rows)) note_copied(run.table, its);
    } else if (reading.announced) {
      run.table.map.failed(errand.range);
    }
  }
  changed_.notify_all();
}

void Backfill::copy_run(Copier& copier, TableCopy& table, const Range& range) {
  Run run{table, copier, std::chrono::steady_clock::now(), {}};
  const auto release_all = [this](Run* its) {
    for (const auto& chunk : its->chunks) release(chunk.second);
  };
  const std::unique_ptr<Run, decltype(release_all)> released(&run, release_all);
  try {
    plan(run, range, Copier::Wait::as_long_as_it_takes);
    const auto copied = copier.copy(table.plan, run.chunks.front().first, steps_for(run));
    const std::lock_guard lock(mutex_);
    settle(run, copied);
    if (!copied.empty()) return;
  } catch (const Error& error) {
    {
      const std::lock_guard lock(mutex_);
      // A COMMIT may have been done and its answer lost. What was in flight stays so until the loop ends by this: a
      // change that it dropped now would be missing from a chunk that the target has.
      if (!may_try_again(table, error, run.chunks.back().second.past_fence)) throw explained(error, table);
      settle(run, {});
    }
    copier.forget();
  }
  // Not now: the slot's birth is too near, a TRUNCATE is being passed, or it waited for a lock.
  cancel_->sleep_for(std::chrono::milliseconds(20));
}

}  // namespace walign::backfill
