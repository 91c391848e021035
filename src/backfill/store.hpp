// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What backfill keeps on the target, in schema walign: which tables are being copied, and which chunks are there.
//
//   walign.copy   a row per route that is being copied or was; `complete` when its last fence was passed
//   walign.chunk  a row per loaded chunk, written with its rows; gone when the table is complete
#pragma once

#include "chunk_map.hpp"
#include "walign/pg.hpp"

namespace walign::backfill {

struct CopyRow {
  std::string route;
  bool complete = false;
  Snapshot birth;         // a snapshot serves a chunk only if everything inside this is inside it
  std::int64_t rows = 0;  // loaded, in all
  bool adopts = false;    // the target had rows, which are compared and mended (existing_rows: adopt)
};

// What this session writes fires no triggers and checks no foreign keys, where the role may say so.
void hold_triggers(pg::Connection& target);

std::vector<CopyRow> read_copies(pg::Connection& target, const std::string& stream);
void insert_copy(pg::Connection& target, const std::string& stream, const CopyRow& row);
// A complete table is being copied again: `loaded` is what of it stays. In the transaction that is open.
void reopen_copy(pg::Connection& target, const std::string& stream, const CopyRow& row,
                 const std::vector<ChunkRecord>& loaded);
// Removes the chunks' rows too. Refused as lock_epoch() does.
void complete_copy(pg::Connection& target, const std::string& stream, std::uint64_t epoch,
                   const std::string& route);

void forget_copy(pg::Connection& target, const std::string& stream, const std::string& route);

std::vector<ChunkRecord> read_chunks(pg::Connection& target, const std::string& stream,
                                     const std::string& route);
void insert_chunk(pg::Connection& target, const std::string& stream, const std::string& route,
                  const ChunkRecord& chunk);
// A record of one key each; `rows` of all of them together.
void insert_keys(pg::Connection& target, const std::string& stream, const std::string& route,
                 const std::vector<Key>& keys, const Snapshot& snapshot, Lsn fence, std::int64_t rows);
// In the transaction that is open, until its end: Error(precondition) where another instance has taken over. The
// lock (FOR KEY SHARE; epoch is part of a unique index) is in the way of take_over(), not of moving the position.
void lock_epoch(pg::Connection& target, const std::string& stream, std::uint64_t epoch);

// Statements for the applier's own transaction.
struct Sql {
  std::string sql;
  std::vector<std::string> params;
};
Sql forget_chunks(const std::string& stream, const std::string& route);
std::vector<Sql> replace_chunk(const std::string& stream, const std::string& route, const Range& old_range,
                               const std::vector<ChunkRecord>& by);

}  // namespace walign::backfill
