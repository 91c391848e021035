// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Single keys that are pending (ChunkMap::punch): rows that the stream could not bring, since it did not have all of
// their values. They are read together, at the aligned moment of one snapshot that is held until then:
//
//   source   BEGIN; lock; snapshot S, announced
//   stream   goes on; drops what it has of pending keys; more keys may become pending; takes nothing outside S
//   source   [all inside S applied, nothing else] COPY the rows of all keys that are pending now; COMMIT
//   target   rows and a record of each key, under S; COMMIT
//
// Why a copy ends, however many changes its table gets meanwhile
//  1. Ranges come first. A key that becomes pending keeps no worker from a range, and a fill comes between ranges only
//     after another range was claimed: there are at most as many fills, while ranges are left, as ranges are claimed.
//     Those are finitely many: their number is that of the rows, of which what is added behind the last key is none
//     (Backfill::cut); of those that were cut without asking, at most every other is empty (spacing.hpp).
//  2. A key becomes pending only where a change comes to it from another key, or into the filter, whose own part of it
//     is dropped: the chunk that it comes from is pending, or has a snapshot with the change inside.
//  3. The fill after the last range. Its snapshot S is younger than those of all chunks. So at its aligned moment
//     everything that is inside any of them is applied, and every later change is outside all: nothing is dropped any
//     more, and no key becomes pending by (2). And the keys that are pending then are all loaded: the rows are read as
//     they stand at that position, wherever they moved on the way there, so that none has to be followed.
//  4. Left are changes that are inside S and come after the aligned moment: commits that were in the WAL and not yet
//     visible while a later one was. A snapshot meets at most one for each session of the source, and only one that
//     moves a row which was just read makes another fill.
//
// Of a table with other unique indexes every chunk waits for the stream as a fill does: there it is taken for granted
// that the stream keeps up with the source. If it never does, each chunk waits for longer than the one before.
//
// Were each key read under a snapshot of its own, as a chunk, its row could have moved on when the stream gets there,
// and so for ever: rows that move faster than they are read would keep the copy from its end.
//
// The snapshot lives as long as the stream takes to come to it. So a fill waits for a moment at which the stream is
// near the source's end, though not for ever; and it gives up where the loop says nothing (the stream is paused, or a
// large transaction is being written), and begins again when it does, with twice the patience.
#include <limits>

#include "backfill_impl.hpp"
#include "walign/source.hpp"

namespace walign::backfill {

namespace {

constexpr std::size_t kManyKeys = 1000;                       // are worth a fill while ranges are left
constexpr std::int64_t kNearBytes = std::int64_t{16} << 20U;  // of WAL, that the stream is behind
constexpr auto kPatience = std::chrono::seconds(10);
constexpr std::size_t kKeysPerRead = 200;

// In parentheses, since an OR stands between them.
std::string keys_condition(const std::vector<KeyColumn>& columns, const std::vector<Key>& keys,
                           std::size_t from) {
  std::string out;
  for (std::size_t i = from; i < std::min(from + kKeysPerRead, keys.size()); ++i) {
    const Range one{{keys[i], false}, {keys[i], true}};
    out += cat(out.empty() ? "(" : ") OR (", range_condition(columns, one));
  }
  return cat("(", out, "))");
}

}  // namespace

// ------------------------------------------------------------------------------------- on both servers

// The transaction with the snapshot is open on the connection that reads.
void Copier::nudge_aside() {
  pg::Connection other(options_.source);
  source::nudge(other);
}

std::optional<Copied> Copier::fill(const CopyPlan& plan, const CopySteps& steps) {
  WALIGN_CHECK(!plan.key.empty());
  Chunk chunk;
  if (!begin_source(plan, Wait::as_long_as_it_takes, steps, chunk)) return std::nullopt;
  source_.exec("SET LOCAL enable_seqscan = off");  // many single keys look like a large part of a table
  if (!steps.wait_for_alignment([this] { nudge_aside(); })) {
    source_.exec("ROLLBACK");
    return std::nullopt;
  }
  const auto keys = steps.keys();
  Copied& copied = chunk.copied;
  auto in = begin_target(plan);
  for (std::size_t from = 0; from < keys.size(); from += kKeysPerRead) {
    RowsOut out(source_, cat(plan.source_sql, " WHERE ", keys_condition(plan.key, keys, from)), plan.binary);
    pipe(out, in, std::numeric_limits<std::int64_t>::max(), steps, copied);
  }
  source_.exec("COMMIT");
  steps.released();
  wait_flushed(chunk.fence);
  copied.rows = in.finish();
  if (!plan.insert.empty()) copied.rows = target_.exec(plan.insert).affected();
  if (plan.adoption) copied.mended = mend(target_, *plan.adoption, nullptr);
  lock_epoch(target_, options_.stream, options_.epoch);
  insert_keys(target_, options_.stream, plan.route->label(), keys, chunk.snapshot, chunk.fence, copied.rows);
  target_.exec("COMMIT");
  return std::move(copied);
}

// --------------------------------------------------------------------------------------- among workers

// With the lock held.
bool Backfill::fill_is_due(TableCopy& table, std::chrono::steady_clock::time_point now) {
  if (table.filling || !table.map.any_pending_key()) {
    table.fill_due_since.reset();
    return false;
  }
  const bool ranges_left = table.map.first_pending().has_value();
  if (ranges_left && (table.claimed_since_fill == 0 || table.map.pending_keys().size() < kManyKeys))
    return false;
  if (now - told_at_ > std::chrono::seconds(1)) return false;
  if (!table.fill_due_since) table.fill_due_since = now;
  return lag_bytes_ <= kNearBytes || now - *table.fill_due_since > kPatience;
}

bool Backfill::announce_fill(TableCopy& table, Reading& reading, const Look& look) {
  const std::lock_guard lock(mutex_);
  if (!announce(reading, table, look)) return false;
  table.fill_snapshot = reading.snapshot;
  table.fill_fence = reading.fence;
  return true;
}

void Backfill::fill(Copier& copier, TableCopy& table) {
  Reading reading;
  std::vector<Key> keys;
  CopySteps steps;
  steps.announce = [&](const auto& look) { return announce_fill(table, reading, look); };
  steps.wait_for_alignment = [&](const auto& nudge) { return wait_for_alignment(reading, nudge); };
  steps.keys = [&] {
    const std::lock_guard lock(mutex_);
    return keys = table.map.pending_keys();
  };
  steps.progress = [&](std::int64_t bytes) { note_read(bytes); };
  steps.released = [&] { release(reading); };
  const Released released{*this, reading};
  const auto end = [&] {
    table.filling = false;
    table.fill_snapshot.reset();
    changed_.notify_all();
  };
  try {
    reading.patience = table.fill_patience;
    const auto copied = copier.fill(table.plan, steps);
    const std::lock_guard lock(mutex_);
    end();
    table.fill_patience = copied ? TableCopy::kFillPatience : 2 * table.fill_patience;
    if (copied) {
      table.map.filled(keys, reading.snapshot, reading.fence);
      note_copied(table, *copied);
      return;
    }
  } catch (const Error& error) {
    {
      const std::lock_guard lock(mutex_);
      // Perhaps committed, and nobody knows: as with ranges (runs.cpp).
      if (!may_try_again(table, error, reading.past_fence)) throw explained(error, table);
      end();
    }
    copier.forget();
  }
  cancel_->sleep_for(std::chrono::milliseconds(20));
}

}  // namespace walign::backfill
