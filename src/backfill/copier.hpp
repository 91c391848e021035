// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Chunks from the source to the target, on a pair of connections of its own.
//
//   source                                          target
//   BEGIN, REPEATABLE READ                          BEGIN
//   LOCK TABLE ... IN ACCESS SHARE MODE
//   snapshot and fence, announced
//   COPY (SELECT ... WHERE key in range) ────────>  COPY into the table, or into a temporary one and from there
//   [too much: the rest is given back]              through the mapping's own SQL [or compared: adopt.hpp]
//   COMMIT
//   [the next chunk, under its own snapshot] ────>  [more rows of the same COPY]
//   wait until flushed past the fence
//                                                   epoch checked, record of each chunk; COMMIT
//
// The lock comes before the snapshot: a snapshot older than a table rewrite or TRUNCATE would see an empty table. Under
// the lock nobody adds a column, and a table that has one which the plan does not know is not read: a change that is
// inside the snapshot is dropped, and its value of that column would be in neither.
// The fence must be flushed on the source before the rows count: an asynchronous commit can be read and then be
// taken back by a crash. The last chunk's fence is the furthest.
//
// Several chunks in one target transaction, a run: where rows are piped through, the owner may give another range when
// a chunk has been read. A chunk by itself is short, and each COPY on the target begins with buffers of its own and is
// waited for at its end; in a run the source reads on while the target still works. All chunks of a run are in flight
// until it is committed, so that the owner ends a run when somebody waits for one of them. A run waits for no lock of
// the source but its first chunk's: what it holds on the target would be held meanwhile.
//
// Ranges are cut by rows, and rows are not of one size; nor does every range have as many as was thought. Where rows
// come in the key's order, a reader that has met more rows or bytes than a chunk should have stops, asks in the same
// snapshot for the key of the first row that it has not passed on, and gives the range from there on back. Where they
// come as they lie in the table, which is cheaper, it gives up the whole run instead: for its connection to the target,
// in the middle of a COPY, there is a new one.
//
// A failed run is on the target as nothing, so that each of its chunks may be given back; but where COMMIT was sent and
// not answered nobody knows, and the session ends by that error with all of them in flight.
//
// Threads: a Copier belongs to one worker thread.
#pragma once

#include "copy_plan.hpp"
#include "rows.hpp"

namespace walign::backfill {

struct CopierOptions {
  pg::ConnectionOptions source;
  pg::ConnectionOptions target;
  std::string stream;
  std::uint64_t epoch = 0;
  pg::ServerFacts server;         // the source that the stream comes from
  pg::ServerFacts target_server;  // the target that it goes to
};

// What a reader is to read.
struct Errand {
  Range range;
  bool in_any_order = false;   // as rows lie in the table; only where few can be in the range
  std::int64_t most_rows = 0;  // in the key's order: a reader that has met so many stops; 0: no limit
};

struct Copied {
  Range range;            // of it, what was read
  std::int64_t rows = 0;  // of the chunk that the target has now
  std::int64_t read = 0;  // rows read from the source: those that a filter leaves out too
  std::int64_t bytes = 0;
  bool stopped_early = false;
  Mended mended;  // where the target had rows
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
  // The reader stopped, and what it read as it lay in the table cannot be told from the rest.
  std::function<void()> outgrown;
  // The snapshot is no longer held.
  std::function<void()> released;
  // So many more bytes were read.
  std::function<void(std::int64_t bytes)> progress;
  // The chunk has been read, and is to be loaded.
  std::function<void(const Copied& copied)> was_read;
  // Those of the run have so many bytes: another range, to which the other steps apply from now on; or the end of
  // the run.
  std::function<std::optional<Errand>(std::int64_t bytes)> next;
};

class Copier {
 public:
  explicit Copier(CopierOptions options);

  enum class Wait { as_long_as_it_takes, briefly };  // for the table's lock
  // Where to cut a range so that its first part has `rows` rows; nullopt where it has no more. In the snapshot of
  // the transaction that is open, if one is. SQLSTATE 55P03 where it would have waited.
  std::optional<Bound> find_cut(const CopyPlan& plan, const Range& range, std::int64_t rows,
                                Wait wait = Wait::as_long_as_it_takes);
  // Just after the last key that a range has now.
  std::optional<Bound> find_end(const CopyPlan& plan, const Range& range, Wait wait);
  // The chunks that the target has now, in the order of their errands; perhaps without the last ones, or none, where a
  // step said no. Throws Error; nothing is on the target then. To go on after that: forget().
  std::vector<Copied> copy(const CopyPlan& plan, const Errand& first, const CopySteps& steps);
  // The rows of single keys, read in one snapshot when its aligned moment has come (fill.cpp). Otherwise as copy().
  std::optional<Copied> fill(const CopyPlan& plan, const CopySteps& steps);
  void forget();

 private:
  struct Chunk {
    Snapshot snapshot;
    Lsn fence;
    Copied copied;
  };
  std::pair<Snapshot, Lsn> look(const CopyPlan& plan);
  bool begin_source(const CopyPlan& plan, Wait wait, const CopySteps& steps, Chunk& chunk);
  std::optional<Key> find_key(const CopyPlan& plan, const Range& range, bool last, std::int64_t skip,
                              Wait wait);
  bool read(const CopyPlan& plan, const Errand& errand, RowsIn& in, const CopySteps& steps, Copied& copied);
  void pipe(RowsOut& out, RowsIn& in, std::int64_t most_bytes, const CopySteps& steps, Copied& copied);
  void nudge_aside();
  void stop_reading(RowsOut& out);
  RowsIn begin_target(const CopyPlan& plan);
  void wait_flushed(Lsn fence);
  bool finish(const CopyPlan& plan, RowsIn& in, std::vector<Chunk>& chunks, const CopySteps& steps);

  CopierOptions options_;
  pg::Connection source_;
  pg::Connection target_;
};

}  // namespace walign::backfill
