// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "copier.hpp"

#include <limits>

#include "store.hpp"
#include "walign/same_server.hpp"
#include "walign/source.hpp"

namespace walign::backfill {

namespace {

constexpr std::chrono::milliseconds kMostLockWait{1000};
constexpr std::chrono::milliseconds kBriefly{50};

pg::ConnectionOptions target_options(const CopierOptions& options) {
  auto target = options.target;
  target.application_name =
      cat(options.stream, " apply");  // so that the next instance ends it (apply::take_over)
  target.settings.emplace_back("synchronous_commit", "off");
  return target;
}

// A worker has a processor to itself on either server, and no more.
pg::Connection connect_to_source(const CopierOptions& options) {
  auto its = options.source;
  its.settings.emplace_back("max_parallel_workers_per_gather", "0");
  pg::Connection source(its);
  pg::require_same_server(source, options.server);
  return source;
}

// A worker may connect again in the middle of a session.
pg::Connection connect_to_target(const CopierOptions& options) {
  pg::Connection target(target_options(options));
  pg::require_same_server(target, options.target_server);
  hold_triggers(target);
  // The applier may hold what a loader waits for in a transaction that itself waits for this chunk.
  target.exec(cat("SET lock_timeout = ", kMostLockWait.count()));
  return target;
}

}  // namespace

Copier::Copier(CopierOptions options)
    : options_(std::move(options)),
      source_(connect_to_source(options_)),
      target_(connect_to_target(options_)) {}

// ------------------------------------------------------------------------------------------ cutting

std::optional<Bound> Copier::find_cut(const CopyPlan& plan, const Range& range, std::int64_t rows,
                                      Wait wait) {
  if (plan.whole()) return std::nullopt;
  auto key = find_key(plan, range, false, rows, wait);
  return key ? std::optional(Bound{std::move(*key), false}) : std::nullopt;
}

std::optional<Bound> Copier::find_end(const CopyPlan& plan, const Range& range, Wait wait) {
  auto key = find_key(plan, range, true, 0, wait);
  return key ? std::optional(Bound{std::move(*key), true}) : std::nullopt;
}

std::optional<Key> Copier::find_key(const CopyPlan& plan, const Range& range, bool last, std::int64_t skip,
                                    Wait wait) {
  // As the type's own output: what a cast to text gives is another text for some types (bool).
  std::string names;
  for (const auto& column : plan.key) {
    names += cat(names.empty() ? "" : ", ", pg::quote_ident(column.name));
  }
  const auto& table = plan.route->source;
  const auto limit =
      wait == Wait::briefly ? cat("SET LOCAL lock_timeout = ", kBriefly.count(), "; ") : std::string();
  const auto r = source_.exec(cat(limit, "SELECT ", names, " FROM ", pg::qualified(table.schema, table.name),
                                  " WHERE ", range_condition(plan.key, range), " ORDER BY ",
                                  order_by(plan.key, last), " OFFSET ", skip, " LIMIT 1"));
  if (r.rows() == 0) return std::nullopt;
  Key key;
  for (int c = 0; c < r.columns(); ++c) key.push_back(r.str(0, c));
  return key;
}

// ------------------------------------------------------------------------------------------ reading

// The snapshot, which is made here, sees every change of the table's columns: they waited for our lock, or we for
// theirs.
std::pair<Snapshot, Lsn> Copier::look(const CopyPlan& plan) {
  const auto r = source_.exec(
      cat("SELECT pg_catalog.pg_current_snapshot(), pg_catalog.pg_current_wal_insert_lsn(), (SELECT "
          "max(a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = ",
          plan.source_oid, " AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')"));
  const auto parsed = Snapshot::parse(r.text(0, 0));
  WALIGN_CHECK(parsed.has_value());
  if (!r.is_null(0, 2) && r.integer(0, 2) > plan.newest_attnum) {
    throw Error(ErrorKind::transient,
                cat("table ", plan.route->source.to_string(), " has got a column while it is being copied"),
                "nothing is to be done: the tables are looked at again");
  }
  return {*parsed, r.lsn(0, 1).without_page_header(options_.server.wal_segment_bytes)};
}

// False: it shall not be read now.
bool Copier::begin_source(const CopyPlan& plan, Wait wait, const CopySteps& steps, Chunk& chunk) {
  const auto& table = plan.route->source;
  try {
    source_.exec(cat("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE ",
                     pg::qualified(table.schema, table.name), " IN ACCESS SHARE MODE",
                     wait == Wait::briefly ? " NOWAIT" : "", "; SAVEPOINT walign_read"));
  } catch (const Error& error) {
    if (wait != Wait::briefly || error.sqlstate() != "55P03") throw;
    source_.exec("ROLLBACK");
    return false;
  }
  const bool announced = steps.announce([&] {
    std::tie(chunk.snapshot, chunk.fence) = look(plan);
    return std::pair(chunk.snapshot, chunk.fence);
  });
  if (!announced) {
    source_.exec("ROLLBACK");
    steps.released();
  }
  return announced;
}

// Stops behind the row with which there are enough bytes.
void Copier::pipe(RowsOut& out, RowsIn& in, std::int64_t most_bytes, const CopySteps& steps, Copied& copied) {
  constexpr std::int64_t kReported = std::int64_t{1} << 20U;
  std::int64_t unreported = 0;
  while (const auto row = out.next()) {
    in.add(*row);
    ++copied.read;
    const auto size = static_cast<std::int64_t>(row->size());
    copied.bytes += size;
    unreported += size;
    if (unreported >= kReported) steps.progress(std::exchange(unreported, 0));
    if (copied.bytes < most_bytes) continue;
    copied.stopped_early = true;
    stop_reading(out);
    break;
  }
  steps.progress(unreported);
}

// The snapshot stays, and with it what the range holds: only the COPY is undone.
void Copier::stop_reading(RowsOut& out) {
  pg::Connection other(options_.source);
  pg::require_same_server(other, options_.server);  // a process of another has the same number
  other.query("SELECT pg_catalog.pg_cancel_backend($1)", {cat(source_.backend_pid())});
  try {
    out.pass_over();
  } catch (const Error& error) {
    if (error.sqlstate() != "57014") throw;
  }
  source_.exec("ROLLBACK TO SAVEPOINT walign_read");
}

namespace {

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

// The condition finds the rows by the index, and a bitmap fetches each page once.
constexpr const char* kAnyOrder = "SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = off";

std::string source_query(const CopyPlan& plan, const Errand& errand) {
  if (plan.key.empty()) return plan.source_sql;
  std::string sql = cat(plan.source_sql, " WHERE ", range_condition(plan.key, errand.range));
  if (errand.in_any_order || plan.whole()) return sql;
  sql += cat(" ORDER BY ", order_by(plan.key));
  if (errand.most_rows > 0) sql += cat(" LIMIT ", errand.most_rows);
  return sql;
}

}  // namespace

// False: it is more than one chunk, and cannot be cut.
bool Copier::read(const CopyPlan& plan, const Errand& errand, RowsIn& in, const CopySteps& steps,
                  Copied& copied) {
  copied.range = errand.range;
  if (errand.in_any_order) source_.exec(kAnyOrder);
  RowsOut out(source_, source_query(plan, errand), plan.binary);
  pipe(out, in, plan.whole() ? kNoLimit : plan.most_bytes, steps, copied);
  if (errand.in_any_order) return !copied.stopped_early;
  if (errand.most_rows > 0 && copied.read == errand.most_rows) copied.stopped_early = true;
  if (!copied.stopped_early) return true;
  if (const auto rest = find_cut(plan, copied.range, copied.read)) {
    steps.give_back(*rest);
    copied.range.upper = *rest;
  }
  return true;
}

// ------------------------------------------------------------------------------------------ loading

RowsIn Copier::begin_target(const CopyPlan& plan) {
  target_.exec("BEGIN");
  if (!plan.temporary.empty()) target_.exec(plan.temporary);
  return {target_, plan.into, plan.binary};
}

std::vector<Copied> Copier::copy(const CopyPlan& plan, const Errand& first, const CopySteps& steps) {
  std::vector<Chunk> chunks;
  std::optional<RowsIn> in;
  std::int64_t bytes = 0;
  for (std::optional<Errand> errand = first; errand;) {
    Chunk chunk;
    if (!begin_source(plan, in ? Wait::briefly : Wait::as_long_as_it_takes, steps, chunk)) break;
    if (!in) in.emplace(begin_target(plan));
    if (!read(plan, *errand, *in, steps, chunk.copied)) {
      steps.outgrown();
      source_.exec("ROLLBACK");
      steps.released();
      target_ = connect_to_target(options_);  // the old one is in the middle of its COPY
      return {};
    }
    source_.exec("COMMIT");
    steps.released();
    steps.was_read(chunk.copied);
    bytes += chunk.copied.bytes;
    chunks.push_back(std::move(chunk));
    errand = plan.piped() ? steps.next(bytes) : std::nullopt;
  }
  if (chunks.empty() || !finish(plan, *in, chunks, steps)) return {};
  std::vector<Copied> copied;
  for (auto& chunk : chunks) copied.push_back(std::move(chunk.copied));
  return copied;
}

bool Copier::finish(const CopyPlan& plan, RowsIn& in, std::vector<Chunk>& chunks, const CopySteps& steps) {
  WALIGN_CHECK(plan.piped() || chunks.size() == 1);
  wait_flushed(chunks.back().fence);  // the furthest: each was read after the one before, on one connection
  auto loaded = in.finish();
  if (plan.at_aligned_moment && !steps.wait_for_alignment([this] { source::nudge(source_); })) {
    target_.exec("ROLLBACK");
    return false;
  }
  if (!plan.insert.empty()) loaded = target_.exec(plan.insert).affected();
  if (plan.adoption) chunks.back().copied.mended = mend(target_, *plan.adoption, &chunks.back().copied.range);
  lock_epoch(target_, options_.stream, options_.epoch);
  for (auto& chunk : chunks) {
    // Of several, which have one COPY, what was read is what is there.
    chunk.copied.rows = &chunk == &chunks.back() ? loaded : std::min(loaded, chunk.copied.read);
    loaded -= chunk.copied.rows;
    insert_chunk(
        target_, options_.stream, plan.route->label(),
        {chunk.copied.range, align::ChunkState::loaded, chunk.snapshot, chunk.fence, chunk.copied.rows});
  }
  target_.exec("COMMIT");
  return true;
}

void Copier::forget() {
  source_.exec("ROLLBACK");
  try {
    target_.exec("ROLLBACK");
  } catch (const Error&) {
    if (target_.broken()) throw;
    target_ = connect_to_target(options_);  // it was in the middle of its COPY
  }
}

void Copier::wait_flushed(Lsn fence) {
  for (int tries = 0;; ++tries) {
    const auto r = source_.exec("SELECT pg_catalog.pg_current_wal_flush_lsn()");
    if (r.lsn(0, 0) >= fence) return;
    if (tries == 10) source::nudge(source_);
    if (options_.source.interrupt != nullptr)
      options_.source.interrupt->sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace walign::backfill
