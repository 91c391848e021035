// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "store.hpp"

#include "walign/mapping.hpp"

namespace walign::backfill {

namespace {

// A key as a text[] literal, or nothing for an open end.
std::string bound_literal(const Bound& bound) {
  if (!bound.key) return "";
  std::string out = "{";
  for (const auto& value : *bound.key) {
    if (out.size() > 1) out += ',';
    out += '"';
    for (const char c : value) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
  return out + "}";
}

constexpr const char* kInsert =
    "INSERT INTO walign.chunk (stream, route, lower_key, lower_after, upper_key, upper_after, snapshot, "
    "fence, rows) "
    "VALUES ($1, $2, nullif($3, '')::text[], $4, nullif($5, '')::text[], $6, $7, $8, $9)";

Sql insert_sql(const std::string& stream, const std::string& route, const ChunkRecord& chunk) {
  const auto flag = [](bool value) { return std::string(value ? "t" : "f"); };
  return {kInsert,
          {stream, route, bound_literal(chunk.range.lower), flag(chunk.range.lower.after),
           bound_literal(chunk.range.upper), flag(chunk.range.upper.after),
           chunk.snapshot ? chunk.snapshot->to_string() : "", chunk.fence.to_string(), cat(chunk.rows)}};
}

// The elements of a key come as rows of (chunk, side, value), in order.
void read_keys(pg::Connection& target, const std::string& stream, const std::string& route,
               std::map<std::int64_t, ChunkRecord>& chunks) {
  for (const bool upper : {false, true}) {
    const auto r =
        target.query(cat("SELECT c.id, k.value FROM walign.chunk c, unnest(c.", upper ? "upper" : "lower",
                         "_key) WITH ORDINALITY AS k (value, place) WHERE c.stream = $1 AND c.route = $2 "
                         "ORDER BY c.id, k.place"),
                     {stream, route});
    for (int i = 0; i < r.rows(); ++i) {
      auto& chunk = chunks.at(r.integer(i, 0));
      auto& bound = upper ? chunk.range.upper : chunk.range.lower;
      if (!bound.key) bound.key.emplace();
      bound.key->push_back(r.str(i, 1));
    }
  }
}

}  // namespace

void hold_triggers(pg::Connection& target) {
  try {
    target.exec("SET session_replication_role = replica");
  } catch (const Error& error) {
    if (error.sqlstate() != "42501") throw;  // they fire; preflight said so
  }
}

std::vector<CopyRow> read_copies(pg::Connection& target, const std::string& stream) {
  const auto r = target.query(
      "SELECT c.route, c.complete, c.birth, coalesce((SELECT sum(k.rows) FROM walign.chunk k "
      "WHERE k.stream = c.stream AND k.route = c.route), c.rows), c.adopts "
      "FROM walign.copy c WHERE c.stream = $1",
      {stream});
  std::vector<CopyRow> rows;
  for (int i = 0; i < r.rows(); ++i) {
    const auto birth = Snapshot::parse(r.text(i, 2));
    WALIGN_CHECK(birth.has_value());
    rows.push_back({r.str(i, 0), r.boolean(i, 1), *birth, r.integer(i, 3), r.boolean(i, 4)});
  }
  return rows;
}

void insert_copy(pg::Connection& target, const std::string& stream, const CopyRow& row) {
  target.query("INSERT INTO walign.copy (stream, route, complete, birth, adopts) VALUES ($1, $2, $3, $4, $5)",
               {stream, row.route, row.complete ? "t" : "f", row.birth.to_string(), row.adopts ? "t" : "f"});
}

void reopen_copy(pg::Connection& target, const std::string& stream, const CopyRow& row,
                 const std::vector<ChunkRecord>& loaded) {
  target.query(
      "UPDATE walign.copy SET complete = false, completed_at = NULL, birth = $3 WHERE stream = $1 AND route "
      "= $2",
      {stream, row.route, row.birth.to_string()});
  for (const auto& chunk : loaded) insert_chunk(target, stream, row.route, chunk);
}

void complete_copy(pg::Connection& target, const std::string& stream, std::uint64_t epoch,
                   const std::string& route) {
  target.exec("BEGIN; SET LOCAL synchronous_commit = on");
  lock_epoch(target, stream, epoch);
  target.query(
      "UPDATE walign.copy SET complete = true, completed_at = pg_catalog.clock_timestamp(), rows = "
      "(SELECT coalesce(sum(rows), 0) FROM walign.chunk WHERE stream = $1 AND route = $2) "
      "WHERE stream = $1 AND route = $2",
      {stream, route});
  target.query("DELETE FROM walign.chunk WHERE stream = $1 AND route = $2", {stream, route});
  target.exec("COMMIT");
}

void forget_copy(pg::Connection& target, const std::string& stream, const std::string& route) {
  const auto forget = forget_chunks(stream, route);
  target.exec("BEGIN");
  target.query(forget.sql, forget.params);
  target.query("DELETE FROM walign.copy WHERE stream = $1 AND route = $2", {stream, route});
  target.exec("COMMIT");
}

std::vector<ChunkRecord> read_chunks(pg::Connection& target, const std::string& stream,
                                     const std::string& route) {
  const auto r = target.query(
      "SELECT id, lower_after, upper_after, snapshot, fence, rows FROM walign.chunk "
      "WHERE stream = $1 AND route = $2 ORDER BY id",
      {stream, route});
  std::map<std::int64_t, ChunkRecord> chunks;
  for (int i = 0; i < r.rows(); ++i) {
    ChunkRecord chunk;
    chunk.state = align::ChunkState::loaded;
    chunk.range.lower.after = r.boolean(i, 1);
    chunk.range.upper.after = r.boolean(i, 2);
    if (!r.text(i, 3).empty()) chunk.snapshot = Snapshot::parse(r.text(i, 3));
    chunk.fence = r.lsn(i, 4);
    chunk.rows = r.integer(i, 5);
    chunks.emplace(r.integer(i, 0), std::move(chunk));
  }
  read_keys(target, stream, route, chunks);
  std::vector<ChunkRecord> out;
  for (auto& [id, chunk] : chunks) out.push_back(std::move(chunk));
  return out;
}

void insert_chunk(pg::Connection& target, const std::string& stream, const std::string& route,
                  const ChunkRecord& chunk) {
  const auto insert = insert_sql(stream, route, chunk);
  target.query(insert.sql, insert.params);
}

void insert_keys(pg::Connection& target, const std::string& stream, const std::string& route,
                 const std::vector<Key>& keys, const Snapshot& snapshot, Lsn fence, std::int64_t rows) {
  pg::TextArray literals;
  for (const Key& key : keys) literals.add(bound_literal({key, false}));
  const std::string shown = snapshot.to_string(), lsn = fence.to_string(), count = cat(rows);
  target.query_params(
      "INSERT INTO walign.chunk (stream, route, lower_key, lower_after, upper_key, upper_after, snapshot, "
      "fence, rows) SELECT $1, $2, k::text[], false, k::text[], true, $4, $5::pg_lsn, "
      "CASE WHEN n = 1 THEN $6::bigint ELSE 0 END FROM unnest($3::text[]) WITH ORDINALITY AS u (k, n)",
      {{stream}, {route}, literals.param(), {shown}, {lsn}, {count}});
}

void lock_epoch(pg::Connection& target, const std::string& stream, std::uint64_t epoch) {
  const auto r = target.query(
      "SELECT FROM walign.stream WHERE name = $1 AND epoch = $2::bigint FOR KEY SHARE", {stream, cat(epoch)});
  if (r.rows() == 1) return;
  throw Error(ErrorKind::precondition, cat("stream ", stream, " is no longer in epoch ", epoch),
              "another walign has taken over this stream; this one must stop")
      .with_sqlstate(std::string(mapping::kPositionTaken));
}

Sql forget_chunks(const std::string& stream, const std::string& route) {
  return {"DELETE FROM walign.chunk WHERE stream = $1 AND route = $2", {stream, route}};
}

std::vector<Sql> replace_chunk(const std::string& stream, const std::string& route, const Range& old_range,
                               const std::vector<ChunkRecord>& by) {
  std::vector<Sql> out;
  out.push_back(
      {"DELETE FROM walign.chunk WHERE stream = $1 AND route = $2 AND lower_key IS NOT DISTINCT FROM "
       "nullif($3, '')::text[] AND lower_after = $4 AND upper_key IS NOT DISTINCT FROM nullif($5, "
       "'')::text[] "
       "AND upper_after = $6",
       {stream, route, bound_literal(old_range.lower), old_range.lower.after ? "t" : "f",
        bound_literal(old_range.upper), old_range.upper.after ? "t" : "f"}});
  for (const auto& chunk : by) out.push_back(insert_sql(stream, route, chunk));
  return out;
}

}  // namespace walign::backfill
