// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One chunk from the source to the target, on a pair of connections of its own.
//
//   source                                          target
//   BEGIN, REPEATABLE READ                          BEGIN
//   LOCK TABLE ... IN ACCESS SHARE MODE
//   snapshot and fence, announced
//   COPY (SELECT ... WHERE key in range) ────────>  COPY into the table, or into a temporary one and from there
//   [too much: the rest is given back]              through the mapping's own SQL [or compared: adopt.hpp]
//   COMMIT; wait until flushed past the fence
//                                                   epoch checked, record of the chunk; COMMIT
//
// The lock comes before the snapshot: a snapshot older than a table rewrite or TRUNCATE would see an empty table. Under
// the lock nobody adds a column, and a table that has one which the plan does not know is not read: a change that is
// inside the snapshot is dropped, and its value of that column would be in neither.
// The fence must be flushed on the source before the rows count: an asynchronous commit can be read and then be
// taken back by a crash.
//
// Ranges are cut by rows, and rows are not of one size. Rows come in the key's order, so a reader that has met more
// bytes than a chunk should have cancels its COPY, asks in the same snapshot for the key of the first row that it has
// not passed on, and gives the range from there on back.
//
// Threads: a Copier belongs to one worker thread.
#pragma once

#include "adopt.hpp"

namespace walign::backfill {

// How a route's rows are copied.
struct CopyPlan {
  const mapping::Route* route = nullptr;
  std::vector<KeyColumn> key;  // of the source; empty: the table is one chunk
  std::int64_t rows_per_chunk = 50'000;
  std::int64_t most_bytes = std::int64_t{128} << 20U;  // a reader that has met so many stops
  bool at_aligned_moment = false;                      // the target has other unique constraints than its key
  std::string source_sql;                              // what is copied, up to and without the WHERE
  std::string into;                                    // COPY target: the table itself, or the temporary one
  std::string temporary;  // CREATE TEMPORARY TABLE ...; empty: rows are piped through unparsed
  std::string insert;     // from the temporary table, through the mapping's SQL
  bool binary = false;    // both servers agree on every type's binary format
  // Of the source, which it was made for. A column that was added since has a higher attnum.
  pg::Oid source_oid = 0;
  int newest_attnum = 0;
  std::optional<Adoption> adoption;  // the target has rows; then `insert` fills what it should have
  // Nothing is cut off a range, whatever its size.
  [[nodiscard]] bool whole() const { return key.empty() || (adoption && adoption->key.empty()); }
};
CopyPlan make_plan(const mapping::Route& route, const pg::Table& source, const pg::Table& target,
                   std::vector<KeyColumn> key, std::int64_t rows_per_chunk, bool same_version);
// Of a table that has rows on the target. `target_key`: see adopted_key().
CopyPlan make_adopting_plan(CopyPlan plain, const pg::Table& source, const pg::Table& target,
                            std::vector<KeyColumn> target_key);

struct CopierOptions {
  pg::ConnectionOptions source;
  pg::ConnectionOptions target;
  std::string stream;
  std::uint64_t epoch = 0;
  pg::ServerFacts server;  // the source that the stream comes from
};

// What the owner does in the middle of a copy.
struct CopySteps {
  // Called with the lock held that the applier's decisions take, so that nothing is decided between the snapshot
  // and its being known: `look` makes the snapshot, the owner registers it. False: not this chunk now.
  std::function<bool(const std::function<std::pair<Snapshot, Lsn>()>& look)> announce;
  // Rows are in the temporary table; returns when they may be inserted, or false where they shall not
  // be. Only for plans at the aligned moment, and fill(). `nudge` makes an idle source bring the stream on.
  std::function<bool(const std::function<void()>& nudge)> wait_for_alignment;
  // Only for fill(): the keys that are pending one by one, at that moment.
  std::function<std::vector<Key>()> keys;
  // The reader stopped before `cut`, which is in the range: the rest of it is not in this chunk.
  std::function<void(const Bound& cut)> give_back;
  // The snapshot is no longer held.
  std::function<void()> released;
  // So many more bytes were read.
  std::function<void(std::int64_t bytes)> progress;
};

struct Copied {
  std::int64_t rows = 0;  // of the chunk that the target has now
  std::int64_t read = 0;  // rows read from the source: those that a filter leaves out too
  std::int64_t bytes = 0;
  bool stopped_early = false;
  Mended mended;  // where the target had rows
};

class Copier {
 public:
  explicit Copier(CopierOptions options);

  // Where to cut a range so that its first part has `rows` rows; nullopt where it has no more. In the snapshot of
  // the transaction that is open, if one is.
  std::optional<Bound> find_cut(const CopyPlan& plan, const Range& range, std::int64_t rows);
  // Just after the last key that a range has now.
  std::optional<Bound> find_end(const CopyPlan& plan, const Range& range);
  // Nullopt where one of the steps said no. Throws Error; nothing is on the target then. To go on after that:
  // forget().
  std::optional<Copied> copy(const CopyPlan& plan, Range range, const CopySteps& steps);
  // The rows of single keys, read in one snapshot when its aligned moment has come (fill.cpp). Otherwise as copy().
  std::optional<Copied> fill(const CopyPlan& plan, const CopySteps& steps);
  void forget();

 private:
  bool begin_source(const CopyPlan& plan, const CopySteps& steps, Snapshot& snapshot, Lsn& fence);
  std::pair<Snapshot, Lsn> look(const CopyPlan& plan);
  std::optional<Key> find_key(const CopyPlan& plan, const Range& range, bool last, std::int64_t skip);
  // `ordered`: by the key, so that it may stop early.
  Copied pipe(const CopyPlan& plan, const std::string& condition, bool ordered, const CopySteps& steps);
  void nudge_aside();
  void stop_reading(pg::CopyOut& out);
  void begin_target(const CopyPlan& plan);
  void wait_flushed(Lsn fence);
  void record(const CopyPlan& plan, const Range& range, const Snapshot& snapshot, Lsn fence,
              std::int64_t rows);

  CopierOptions options_;
  pg::Connection source_;
  pg::Connection target_;
};

}  // namespace walign::backfill
