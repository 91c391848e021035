// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One chunk from the source to the target, on a pair of connections of its own.
//
//   source                                          target
//   BEGIN, REPEATABLE READ                          BEGIN
//   LOCK TABLE ... IN ACCESS SHARE MODE
//   snapshot and fence, announced
//   COPY (SELECT ... WHERE key in range) ────────>  COPY into the table, or into a temporary one and from there
//   COMMIT; wait until flushed past the fence       through the mapping's own SQL
//                                                   epoch checked, record of the chunk; COMMIT
//
// The lock comes before the snapshot: a snapshot older than a table rewrite or TRUNCATE would see an empty table.
// The fence must be flushed on the source before the rows count: an asynchronous commit can be read and then be
// taken back by a crash.
//
// Threads: a Copier belongs to one worker thread.
#pragma once

#include "key_order.hpp"
#include "walign/mapping.hpp"

namespace walign::backfill {

// How a route's rows are copied.
struct CopyPlan {
  const mapping::Route* route = nullptr;
  std::vector<KeyColumn> key;  // of the source; empty: the table is one chunk
  std::int64_t rows_per_chunk = 50'000;
  bool at_aligned_moment = false;  // the target has other unique constraints than its key
  std::string source_sql;          // what is copied, up to and without the WHERE
  std::string into;                // COPY target: the table itself, or the temporary one
  std::string temporary;           // CREATE TEMPORARY TABLE ...; empty: rows are piped through unparsed
  std::string insert;              // from the temporary table, through the mapping's SQL
  bool binary = false;             // both servers agree on every type's binary format
};
CopyPlan make_plan(const mapping::Route& route, const pg::Table& source, const pg::Table& target,
                   std::vector<KeyColumn> key, std::int64_t rows_per_chunk, bool same_version);

struct CopierOptions {
  pg::ConnectionOptions source;
  pg::ConnectionOptions target;
  std::string stream;
  std::uint64_t epoch = 0;
  std::uint64_t wal_segment_bytes = 0;
};

// What the owner does in the middle of a copy.
struct CopySteps {
  // Called with the lock held that the applier's decisions take, so that nothing is decided between the snapshot
  // and its being known: `look` makes the snapshot, the owner registers it. False: not this chunk now.
  std::function<bool(const std::function<std::pair<Snapshot, Lsn>()>& look)> announce;
  // Rows are in the temporary table; returns when they may be inserted, or false where they shall not
  // be. Only for plans at the aligned moment.
  std::function<bool()> wait_for_alignment;
  // So many more rows and bytes were read.
  std::function<void(std::int64_t bytes)> progress;
};

class Copier {
 public:
  explicit Copier(CopierOptions options);

  // Where to cut a range so that its first part has about plan.rows_per_chunk rows; nullopt where it has no more.
  std::optional<Bound> find_cut(const CopyPlan& plan, const Range& range);
  // Rows loaded; nullopt where one of the steps said no. Throws Error; nothing is on the target then. To go on
  // after that: forget().
  std::optional<std::int64_t> copy(const CopyPlan& plan, const Range& range, const CopySteps& steps);
  void forget();

 private:
  void pipe(const CopyPlan& plan, const Range& range, const CopySteps& steps);
  void begin_target(const CopyPlan& plan);
  void wait_flushed(Lsn fence);
  void record(const CopyPlan& plan, const Range& range, const Snapshot& snapshot, Lsn fence,
              std::int64_t rows);

  CopierOptions options_;
  pg::Connection source_;
  pg::Connection target_;
  std::int64_t piped_rows_ = 0;
};

}  // namespace walign::backfill
