// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Which tables are copied, as a session finds or begins them.
#include "backfill_impl.hpp"
#include "walign/versions.hpp"

namespace walign::backfill {

namespace {

bool same_major(const pg::ServerFacts& a, const pg::ServerFacts& b) {
  return pg::major_version(a.version) == pg::major_version(b.version);
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

// It had one when the copy began.
void require_key(const mapping::Route& route) {
  if (!route.key.empty()) return;
  throw Error(
      ErrorKind::precondition,
      cat(route.label(),
          ": the target's rows are being compared (existing_rows: adopt), and it has no "
          "key any more by which they could be"),
      "give the target's table its key back, or name one with key:; `walign preflight` shows the rest");
}

// One snapshot of the source, and one transaction on the target during which the stream waits: not for any table.
void require_small_enough(const config::Backfill& limits, const mapping::Route& route,
                          const pg::Table& source) {
  if (source.bytes <= mapping::most_bytes_at_once(limits)) return;
  throw Error(ErrorKind::precondition,
              cat(route.target.to_string(),
                  " has rows on the target, which can only be compared as one chunk (existing_rows: adopt), "
                  "and the table is "
                  "too large for that: ",
                  source.bytes >> 20U, " MiB"),
              "drop the target's unique indexes beside the key until the table is copied, and make them "
              "again (CREATE UNIQUE "
              "INDEX CONCURRENTLY); where it has none, its key is of a type that the target need not sort as "
              "the source does: "
              "empty the table, or let existing_rows: empty do it; or allow larger chunks: the limit is 16 "
              "times backfill: "
              "{ chunk_bytes }");
}

}  // namespace

// A slot that was brought, a table added later, or one that was complete: every transaction that has an id by now
// must have ended.
Snapshot Backfill::birth_now() {
  const Xid own = own_xid(*source_);
  return {own, own, {}};
}

// Deletes the rows that the target's table has, in the transaction that is open. True: they stay, to be compared.
bool Backfill::empty_target(const mapping::Route& route) {
  const std::string where = route.target_where ? cat(" WHERE ", *route.target_where) : std::string();
  const auto r = target_->exec(
      cat("SELECT EXISTS (SELECT FROM ", pg::qualified(route.target.schema, route.target.name), where, ")"));
  if (!r.boolean(0, 0)) return false;
  const auto sql = mapping::truncate_sql(route, false);
  if (config_->existing_rows == config::ExistingRows::adopt && sql && !route.key.empty()) {
    obs::info(
        "the target's rows are compared with the source's as these are copied, as existing_rows: adopt says",
        {{"table", route.target.to_string()}});
    return true;
  }
  if (config_->existing_rows != config::ExistingRows::empty || !sql) {
    throw Error(
        ErrorKind::precondition, cat(route.target.to_string(), " on the target already has rows"),
        "empty the table, or let existing_rows: empty do it; or, if these are the source's rows that you "
        "brought yourself, start with --no-backfill");
  }
  obs::warn("the target's rows are deleted before the copy, as existing_rows: empty says",
            {{"table", route.target.to_string()}, {"statement", *sql}});
  target_->exec(*sql);
  return false;
}

// The table is empty of our rows, or they are adopted, and known as being copied at the same instant.
CopyRow Backfill::new_copy(const Session& session, const mapping::Route& route, bool begins) {
  CopyRow row;
  row.route = route.label();
  row.complete = no_backfill_;
  row.birth = begins && session.birth.xmax > Xid(0) ? session.birth : birth_now();
  target_->exec("BEGIN; SET LOCAL synchronous_commit = on");
  try {
    lock_epoch(*target_, config_->stream_name(), session.epoch);
    if (!row.complete) row.adopts = empty_target(route);
    if (row.adopts && adopted_key_of(session, route).empty()) {
      require_small_enough(config_->backfill, route,
                           session.prepared->source_catalog.at({route.source.schema, route.source.name}));
    }
    insert_copy(*target_, config_->stream_name(), row);
    target_->exec("COMMIT");
  } catch (const Error&) {
    if (!target_->broken()) target_->exec("ROLLBACK");
    throw;
  }
  return row;
}

// By which the target's rows fall into the source's ranges; none where the table is one chunk.
std::vector<KeyColumn> Backfill::adopted_key_of(const Session& session, const mapping::Route& route) {
  const auto& source = session.prepared->source_catalog.at({route.source.schema, route.source.name});
  const auto& target = session.prepared->target_catalog.at({route.target.schema, route.target.name});
  const auto way = mapping::copy_way(route, source, target);
  if (way.at_aligned_moment) return {};
  return adopted_key(*target_, route, source, target, read_key_columns(*source_, source, way.key));
}

std::unique_ptr<TableCopy> Backfill::make_table(const Session& session, const mapping::Route& route,
                                                const CopyRow& row) {
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
  if (row.adopts && !row.complete) {
    require_key(route);
    table->plan = make_adopting_plan(std::move(table->plan), source, into, adopted_key_of(session, route));
  }
  // The plan is by the table's average: twice of it is met often, more is a part of the table with other rows.
  table->plan.most_bytes = 2 * config_->backfill.chunk_bytes;
  table->rows_planned = table->plan.rows_per_chunk;
  table->spacing = Spacing(table->plan.key);
  table->birth = row.birth;
  table->complete = row.complete;
  table->rows_copied = row.rows;
  table->rows_estimated = std::max(0.0, source.estimated_rows);
  if (!row.complete) {
    auto chunks = read_chunks(*target_, config_->stream_name(), route.label());
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

}  // namespace walign::backfill
