// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// stream: the loop that joins source and target, and what comes before it.
//
//   prepare     both catalogs, the mapping, everything that can be found out before anything is touched
//   Sidecar     start where decide_start() says, loop, go on after whatever can be gone on from
//
//   next() ──> add ──> [full, or nothing more to come] flush ──> durable? ──> checkpoint ──> acknowledge
//
// Invariants
//  1. acknowledged <= durable <= applied <= received, checked where each moves.
//  2. A position is acknowledged after its checkpoint is on disk, and its commit in the target's flushed WAL.
//  3. Whatever the source, the target or the network do, the way on is always the same: forget what is in memory,
//     and start again from the target's position.
//  4. `--until-lsn X` applies exactly the transactions whose commit record begins below X.
//
// Threads: run() on the caller's; a monitor asks the source for its position beside it. status() and the requests
// from any thread: requests are carried out between two batches.
#pragma once

#include <memory>

#include "walign/apply.hpp"
#include "walign/config.hpp"
#include "walign/mapping.hpp"
#include "walign/obs.hpp"
#include "walign/source.hpp"
#include "walign/state.hpp"

namespace walign::stream {

// ------------------------------------------------------------------------------------------ prepare

// A column that `run` adds to a table of the target before anything else (schema_change: add_columns).
struct Addition {
  config::TableName target;
  std::string column;
  std::vector<std::string> sql;
};

struct Prepared {
  pg::ServerFacts source;
  pg::ServerFacts target;
  std::vector<mapping::Route> routes;  // complete
  mapping::Findings findings;          // of everything that was looked at, in a sensible order
  pg::Catalog source_catalog;
  pg::Catalog target_catalog;
  std::vector<config::TableName> published;  // what the publication must have
  std::vector<config::TableName>
      published_inserts;  // tables that only take inserts: a publication of their own
  // What `run` does before anything else. Of the way there each is a finding that fails as well (Finding::run_mends).
  std::vector<Addition> additions;
};

// What the configuration asks for and this version does not do: warnings, one for each setting.
mapping::Findings settings_without_effect(const config::Config& config);

// The name of the publication of tables that only take inserts.
std::string inserts_publication(const config::Config& config);
// The name of the slot that captures are recorded from.
std::string capture_slot(const config::Config& config);

// Connects to both, reads, resolves, lets the target judge; changes nothing. Throws Error where one of the
// servers cannot be reached; everything else becomes a finding.
Prepared prepare(const config::Config& config, const Interrupt* interrupt);

// The way back of every table, checked on both servers without changing anything, a sample of the rows included.
// `prepared` has no finding that fails; that a table has no way back hinders no run, only a cutover.
struct WaysBack {
  std::vector<mapping::WayBack> tables;  // in the order of Prepared::routes
  mapping::Findings findings;            // of both servers, and of the tables
};
WaysBack ways_back(const config::Config& config, const Prepared& prepared, pg::Connection& source,
                   pg::Connection& target);
WaysBack ways_back(const config::Config& config, const Prepared& prepared, const Interrupt* interrupt);

// What `run` would create and how each table is mapped, for `plan`; SQL that a DBA can read and psql can run.
struct Plan {
  struct Table {
    std::string source;
    std::string target;
    std::vector<std::pair<std::string, std::string>> columns;  // target column, its expression
    std::vector<std::string> key;
    std::string filter;              // empty: every row
    std::vector<std::string> reads;  // other tables that its expressions look into
    std::vector<std::string> risks;
    std::vector<std::string> locks;  // that it takes or waits for
    std::string insert_sql, update_sql, delete_sql;
    std::optional<double> estimated_rows;  // of the source; none where it was never analysed
    std::int64_t bytes = 0;
    mapping::CopyWay copy;
    std::vector<std::string>
        copied_after;  // tables that are complete before this one begins, since it reads them
    std::int64_t rows_per_chunk = 0;
    std::int64_t chunks = 1;             // about so many
    std::optional<double> copy_seconds;  // with all workers at it and nothing else to do; none without rows
    struct Back {
      bool one_way = false;
      std::vector<std::string> why_not;                          // no way back; empty if there is one
      std::vector<std::pair<std::string, std::string>> columns;  // source column, its expression
      std::vector<std::string> by_default;                       // source columns that keep what they have
      std::vector<std::string> not_carried;  // target columns that tell the source nothing
      std::vector<std::string> risks;
      std::string filter;      // which rows of the target are carried; empty: all
      std::string drawn_key;   // reverse_key:
      std::string drawn_into;  // the target's column that such a key is written into
      std::string insert_sql, update_sql, delete_sql;
    } back;
  };
  std::vector<std::string> on_source;  // statements, in order
  std::vector<std::string> on_target;
  std::vector<Table> tables;
  std::optional<double> copy_seconds;  // of all tables; none where the rows of one are not known
  std::string assumed;                 // the rate that it is reckoned with
};
Plan plan(const config::Config& config, const Prepared& prepared, const WaysBack& back);

// Removes everything that walign created on both servers: slot (unless it was brought), publications, the
// stream's rows and, with the last stream, schema walign. Every step may be repeated. What was removed, a line
// each. Refused (precondition) while somebody reads the slot.
std::vector<std::string> remove(const config::Config& config, const Interrupt* interrupt);

// ------------------------------------------------------------------------------------------- status

struct TableStatus {
  std::string source;
  std::string target;
  std::string state;  // pending, backfilling, streaming
  apply::Books books;
  std::optional<std::int64_t> rows_copied, rows_estimated;
  std::optional<std::int64_t> chunks_done, chunks;
  std::optional<Lsn> verified_at =
      std::nullopt;  // both sides were compared as of here, whole or what had changed
  std::optional<std::int64_t> differences = std::nullopt;  // found then
  std::optional<std::int64_t> dirty_keys =
      std::nullopt;  // changed since; nothing where that is the whole table
};

// Of the change of sides (walign/cutover.hpp), as far as it is known.
struct SidesStatus {
  std::optional<std::string> source, target;   // walign.fence's state: OPEN, FENCING, ..., CLOSED
  std::optional<std::int64_t> lease_until_us;  // since 1970, by the clock of the side that has it
  std::optional<std::uint64_t> epoch;          // of the attempt: the higher one of both rows
  std::optional<bool> rollback_ready;
  std::string rollback_why;  // why not
  std::optional<double> rollback_lag_seconds;
  struct Gate {
    std::string name, value, limit;
    bool ok = false;
  };
  std::vector<Gate> gates;  // as they were when they were last asked
  struct Blocker {
    int pid = 0;
    std::string query;
  };
  std::vector<Blocker> blockers;
  struct Step {
    std::string name, text;
    double at_ms = 0, took_ms = 0;
  };
  std::vector<Step> steps;           // of the last change, or the one under way
  std::optional<Lsn> lsn;            // its fence
  std::optional<double> refused_ms;  // for how long writes waited or were refused
};

// What a target that went back in time would be caught up from (walign/journal.hpp).
struct JournalStatus {
  Lsn from, to;
  std::uint64_t bytes = 0;  // on disk
  double age_seconds = 0;   // since the oldest part that is kept was begun
};

// What is known now; nullopt where it is not known yet.
struct Status {
  std::string migration;
  std::string phase = "new";  // INTERFACE.md's
  std::string direction = "forward";
  SidesStatus sides;
  std::optional<std::string> source_system_id;
  std::optional<Lsn> source_lsn;
  std::optional<Lsn> received, applied, durable, acknowledged;
  std::optional<std::int64_t> lag_bytes;
  std::optional<double> lag_seconds;
  std::string slot_name;
  std::optional<std::int64_t> slot_retained_bytes;
  std::optional<std::string> slot_wal_status;
  std::vector<TableStatus> tables;
  std::optional<std::uint64_t> epoch;
  std::optional<std::int64_t> dead_letters;
  std::optional<JournalStatus> journal;  // none as well where it is empty
  std::uint64_t transactions = 0;
  std::int64_t last_commit_time_us = 0;  // of the last transaction applied, since 1970; 0: none yet
  bool paused = false;
  bool connected = false;            // streaming at this moment
  bool listening = false;            // the other direction applies; this one only reads its slot
  bool tries_again = false;          // after last_error, which goes away by itself
  std::string last_error;            // what it tries again after, or has ended by; empty if nothing
  std::int64_t started_at_us = 0;    // since 1970
  std::int64_t stable_since_us = 0;  // since 1970: of the start, the last error or the last pause
};

// ------------------------------------------------------------------------------ work beside the stream

// A range of a table's keys, in the source's order of CopyWay::key, in text. A bound is just before its key, or just
// after it; without one it is before all keys, or after all.
struct KeyRange {
  std::optional<std::vector<std::string>> lower;
  bool after_lower = false;
  std::optional<std::vector<std::string>> upper;
  bool after_upper = false;
  bool operator==(const KeyRange&) const = default;
};

// Something that reads rows beside the stream and joins it by alignment (walign/align.hpp): the copy of old rows, the
// comparison of both sides. The loop asks it about every part before it is taken. All calls are on the loop's thread,
// between batches unless said otherwise.
class Companion {
 public:
  struct Session {
    const config::Config* config = nullptr;
    const Prepared* prepared = nullptr;
    std::uint64_t epoch = 0;
    Snapshot birth;  // of the slot's consistent point
    Lsn position;    // the target's
    state::Store* store = nullptr;
    obs::Metrics* metrics = nullptr;  // may be null
  };
  struct Judgement {
    std::vector<apply::Exception> exceptions;
    std::vector<apply::Extra> extra;  // statements for the same target transaction
    bool alone = false;               // the part must be written by itself, before anything else is decided
  };

  virtual ~Companion() = default;
  // Before the loop begins: reads what the target knows, starts its threads. Throws Error.
  virtual void start(const Session& session) = 0;
  // Ends its threads; what was in flight is pending again.
  virtual void stop() = 0;
  // Rows are being read beside the stream: transactions must pass the gate (rule 1), and be judged.
  [[nodiscard]] virtual bool active() const = 0;
  // Whether it brings old rows: a run that ends when it has caught up waits for that.
  [[nodiscard]] virtual bool copies_rows() const { return true; }
  // What becomes of the changes of a part; nothing if something in flight must be done first. Asked again then.
  virtual std::optional<Judgement> judge(const event::TransactionPart& part, Xid xid) = 0;
  // This part is taken: the next thing that happens to it is that it is gathered, and written. `xid`: nothing where
  // no companion was active, so that it did not pass the gate. Also where this one is not active.
  virtual void taken(const event::TransactionPart& /*part*/, std::optional<Xid> /*xid*/) {}
  // The target's position is about to move: to the end of the last transaction taken, or to `progress` if that is
  // further. What must be on disk before it is, is written now. Between a transaction's parts too.
  virtual void before_commit(Lsn /*progress*/) {}
  // Nothing is gathered: everything below `reached` is applied, and a start after a crash would go on from
  // `position`, the target's. `next`: the transaction that comes next, if one is known.
  virtual void committed(Lsn position, Lsn reached, std::optional<Xid> next) = 0;
  // The furthest position that something loaded or in flight waits for the stream to pass; 0 if none.
  [[nodiscard]] virtual Lsn awaited() const = 0;
  // Waits until a chunk was loaded or failed, at most so long. Throws what a worker met that cannot be gone on from.
  virtual void wait(std::chrono::milliseconds timeout) = 0;
  virtual void check() = 0;                       // throws as wait() does, without waiting
  virtual void report(Status& status) const = 0;  // from any thread
  virtual void pause(bool paused) = 0;            // from any thread
  virtual void lag(std::int64_t bytes) = 0;       // from any thread: how far the stream is behind
  // At this moment of the stream both sides are known to be equal, all tables: somebody has proved it. Everything
  // below `at` is applied, and nothing else is.
  virtual void equal(Lsn /*at*/) {}
  // From now on transactions are passed over, or no longer. While they are, no moment is aligned with anything: nothing
  // may be read, and no snapshot be held. Told before start() too.
  virtual void listening(bool /*listens*/) {}
  // These rows of a complete table are wrong on the target: each is read again as a chunk of its own. `route`:
  // Route::id; keys as CopyWay::key has them, in text. On the loop's thread, between batches. Throws
  // Error(precondition) where that cannot be done.
  virtual void take_again(int route, const std::vector<std::vector<std::string>>& keys);
  // Of a table that is being copied, the ranges whose rows the target has by now, in no order; a range that is given
  // again later has been loaded all the while, or emptied and loaded once more. Nothing for any other. From any thread.
  [[nodiscard]] virtual std::vector<KeyRange> loaded(int /*route*/) const { return {}; }
};

// ---------------------------------------------------------------------------------------- whose turn it is

// Two streams of a migration run in opposite directions, and only one of them may write (walign/cutover.hpp). A stream
// that has a Turn asks it about every transaction. All calls on the loop's thread.
class Turn {
 public:
  struct Heard {
    bool pass_over = false;    // nothing of this part is written
    bool equal = false;        // Companion::equal() holds once it is passed
    bool begin_again = false;  // what the companions know is old then: the session ends, another follows
    std::vector<apply::Extra> extra;  // for the target transaction that passes it, which is written at once
  };
  virtual ~Turn() = default;
  // At a session's start, and after each halt: reads from the server that is written to where it stands. `copies`: the
  // session has a companion that copies rows.
  virtual void begin(pg::Connection& target, const Prepared& prepared, bool copies) = 0;
  // Whether transactions are passed over now.
  [[nodiscard]] virtual bool listening() const = 0;
  virtual Heard hear(const event::TransactionPart& part) = 0;
  // Asked between batches, when nothing is gathered.
  enum class Pause : std::uint8_t {
    none,
    rest,   // the loop rests, and asks again
    begin,  // it was to rest since the last begin(), whoever has seen that: begin() comes first
  };
  virtual Pause pause() = 0;
};

// ------------------------------------------------------------------------------------------ the loop

struct Until {
  std::optional<Lsn> lsn;
  std::optional<std::int64_t> time_us;  // commit time, microseconds since 1970
  bool caught_up = false;               // the source's end of WAL at the start of streaming
  [[nodiscard]] bool any() const { return lsn || time_us || caught_up; }
};

struct Options {
  config::Config config;
  Until until;
  bool no_backfill = false;  // the operator has brought the rows already
  // They outlive the sidecar; none: only stream. Asked to judge in this order until one says to wait, so that only the
  // last may change anything when asked: the one that copies rows.
  std::vector<Companion*> companions;
  Turn* turn = nullptr;             // outlives the sidecar; none: there is one direction only
  const Interrupt* stop = nullptr;  // stop cleanly
  obs::Metrics* metrics = nullptr;  // outlives the sidecar
};

class Sidecar {
 public:
  // Opens the state directory; touches no server.
  explicit Sidecar(Options options);
  ~Sidecar();
  Sidecar(const Sidecar&) = delete;
  Sidecar& operator=(const Sidecar&) = delete;

  // Until `until` is reached (returns) or `stop` is raised (Error(interrupted), after a clean stop), or something
  // happens that cannot be gone on from (Error).
  void run();

  [[nodiscard]] Status status() const;
  // True as soon as nothing is being written; false where that takes longer than `patience`: a batch or a large
  // transaction that was begun is written to its end, and then nothing more.
  bool pause_apply(std::chrono::milliseconds patience = {});
  void resume_apply();
  // False where there is nothing to copy.
  bool pause_backfill(bool paused);
  // Carried out between two batches; wait for that, at most `timeout`. Throw what went wrong.
  void retry_dead_letter(std::int64_t id, std::chrono::milliseconds timeout);
  void discard_dead_letter(std::int64_t id, std::chrono::milliseconds timeout);
  // The phase, as the state directory keeps it. Any thread.
  void put_phase(const std::string& phase);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace walign::stream
