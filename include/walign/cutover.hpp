// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// cutover: the change of the side that takes writes, and back.
//
//   request ──> gates ──> fence ──> drain ──> prove ──> seal ──> open ──> switch hook ──> result
//                 │         └── backed out: writes are where they were ──┘
//                 └── a gate does not hold: nothing was touched
//
// Invariants
//  1. At no moment do both sides take application writes, and a side opens only with every acknowledged write of the
//     other, whatever stalls, crashes, or loses an answer, and however many instances try (src/cutover/protocol.hpp;
//     test/sim/cutover_test.cpp explores all interleavings of it).
//  2. Until the open, every failure leads back to where writes were; after it, none does.
//  3. Whoever takes a half-done cutover up needs the two rows of walign.fence and nothing else.
//
// A rollback is the same with the sides exchanged.
#pragma once

#include <thread>

#include "walign/verify.hpp"

namespace walign::cutover {

// ------------------------------------------------------------------------------------ what is asked for

enum class Verb : std::uint8_t { cutover, rollback };
enum class Extent : std::uint8_t {
  dry_run,   // the gates and everything that can be proved before the fence
  rehearse,  // the whole fencing too, let go again; the pause is predicted
  real,
};
struct Request {
  Verb verb = Verb::cutover;
  Extent extent = Extent::real;
  bool accept_loss = false;  // rollback: also where some value would not come back as it was
  bool operator==(const Request&) const = default;
};

// ------------------------------------------------------------------------------------- what is told of it

// A step that has ended, as it is printed.
struct Progress {
  std::string step;  // the protocol's name of it: gate, fencing, drain, ...
  std::string text;  // what came of it: "done", or why not
  double at_ms = 0;  // since the request
  double took_ms = 0;
};
struct Result {
  enum class Outcome : std::uint8_t {
    done,         // 0  the other side takes writes, or took them already
    gate,         // 3  a gate does not hold; nothing was touched
    backed_out,   // 5  writes are where they were
    in_doubt,     // 6  a human must decide
    hook_failed,  // 7  the other side takes writes, but the switch hook failed
  };
  Outcome outcome = Outcome::in_doubt;
  std::string message;      // why, where it is not done
  std::string hint;         // what to do next
  std::string writes;       // the side that takes writes now: source or target; empty where that is not known
  std::uint64_t epoch = 0;  // of the last attempt; 0: none was begun
  std::vector<Progress> steps;
  std::string report;       // the JSON document (src/cutover/report.hpp); empty where there is none
  std::string report_file;  // where it was kept; empty if nowhere
};
int exit_status(Result::Outcome outcome);  // INTERFACE.md's

// ------------------------------------------------------------------------------------- a running sidecar

// What stands between the command, which watches, and the sidecar, which acts: one change of sides at a time, on a
// thread of its own. A command that goes away leaves it running. Any thread may call.
class Controller {
 public:
  using Tell = std::function<void(const Progress&)>;
  // Does the whole of it; looks at `cancelled` now and then (src/cutover/driver.hpp has a driver that does).
  using Run = std::function<Result(const Request&, const Tell&, const std::atomic<bool>& cancelled)>;
  explicit Controller(Run run) : run_(std::move(run)) {}
  ~Controller();  // cancels, and waits for the end
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // Error(precondition) while another one is under way.
  void ask(const Request& request);
  // Backs out what is under way, if it is not open yet. Error(precondition) where nothing is.
  void cancel();

  struct Watch {
    bool running = false;
    std::optional<Request> request;  // under way, or the last one
    std::vector<Progress> steps;     // after the first `seen`
    std::optional<Result> result;    // of the last one, once it has ended
    std::string failed;              // it ended with an error: Error::describe()
  };
  // Waits until there is more than was seen, or it has ended; at most `timeout`.
  Watch watch(std::size_t seen, std::chrono::milliseconds timeout);

 private:
  void carry_out(const Request& request);

  const Run run_;
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  Watch now_;  // guarded by mutex_, as the thread is; steps: all
  std::thread thread_;
};

// ------------------------------------------------------------------------------------------ the sidecar

// Both directions of one migration, and the change between them:
//
//   source ──> forward stream ──> target      applies while the source takes writes
//   source <── reverse stream <── target      made for a cutover; applies while the target takes writes
//
// The one that does not apply listens: it reads its slot, writes nothing but its position, and finds in its own stream
// the moment from which it applies: the marker with which the other side was opened. That moment is kept in the row of
// walign.fence on the side that it writes to (open_lsn), in the transaction that passes it.
class Migration {
 public:
  struct Options {
    config::Config config;
    stream::Until until;
    bool no_backfill = false;
    const Interrupt* stop = nullptr;
    obs::Metrics* metrics = nullptr;
    // Told of each step of a change as it ends, on the thread that does it, before the next one begins; may be empty.
    std::function<void(const Progress&)> step;
  };
  // Opens the state directory; touches no server.
  explicit Migration(Options options);
  ~Migration();
  Migration(const Migration&) = delete;
  Migration& operator=(const Migration&) = delete;

  // As stream::Sidecar::run(). A change of sides that was left half done is brought to its end first.
  void run();

  // All from any thread. Those of the stream concern the direction that applies.
  [[nodiscard]] stream::Status status() const;
  bool pause_apply(std::chrono::milliseconds patience = {});  // as Sidecar's
  void resume_apply();
  bool pause_backfill(bool paused);
  void retry_dead_letter(std::int64_t id, std::chrono::milliseconds timeout);
  void discard_dead_letter(std::int64_t id, std::chrono::milliseconds timeout);
  [[nodiscard]] verify::Verifier& verifier();
  [[nodiscard]] Controller& controller();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// --------------------------------------------------------------------------------------------- recover

// Brings a half-done cutover or rollback to rest with nothing but the two servers: backs out what is not open yet (it
// has no stream to drain with), leaves what is, and takes the triggers of the open side down where nobody holds them.
struct Recovery {
  std::string source, target;  // connection strings
  std::string migration;       // walign.fence's name of it; empty: the only one there is
  enum class Gone : std::uint8_t { neither, source, target };
  Gone gone = Gone::neither;  // a human has said that this server will never come back: the other is opened
  const Interrupt* interrupt = nullptr;
};
// Whoever else works on this migration is displaced. Throws Error(precondition) where there is no fence, or several
// and no name; Error(interrupted).
Result recover(const Recovery& recovery, const std::function<void(const Progress&)>& tell);

// --------------------------------------------------------------------------------------------- finish

// After a cutover has proved itself: everything that walign made goes, but for what keeps the old side closed. And
// before a cutover: everything goes. Both need that nothing of the migration runs, and may be repeated: what was
// interrupted, wherever, is run again.
enum class OldSide : std::uint8_t {
  closed,    // its tables refuse writes for good, by the plain triggers walign_closed
  archived,  // that too, and they are renamed to NAME_archived_YYYYMMDD, with a comment
  reopened,  // takes writes again, and nothing stays
};
struct Finish {
  config::Config config;
  OldSide old_side = OldSide::closed;
  std::optional<int> keep_days = std::nullopt;  // archived: the comment says until when; nothing acts on it
  // Of config.state, held by the caller; finish() writes the phase, plan_finish() does without where there is none.
  state::Store* store = nullptr;
  const Interrupt* interrupt = nullptr;
};
struct FinishPlan {
  bool finished = false;  // already: only what is left of it is done
  struct Table {
    config::TableName table;   // on the source
    std::string moved_to;      // db.example:5432/app, table public.users_async
    std::string archive_name;  // the name that it gets; empty: it keeps the one it has
    bool partitioned = false;
    bool done = false;  // is as it shall be
  };
  std::vector<Table> tables;
  std::vector<std::string> goes;  // from both servers and the state directory, a line each
  std::vector<std::string> lost;  // what nobody can do, or read, afterwards
  std::vector<std::string> stays;
  [[nodiscard]] bool nothing_left() const;
};
// Changes nothing. Error(precondition) where there was no cutover, or one side is half way, or what finish() will do
// could not be done: a slot that is read, a privilege.
FinishPlan plan_finish(const Finish& finish);
// A line for each step that has been done. Error(precondition) where tables are held; what was done stays done.
void finish(const Finish& finish, const std::function<void(const std::string&)>& tell);

// Before a cutover, or after a rollback: everything that walign made on both servers. A line for each thing that is
// gone. Error(precondition) where the target takes writes, a change of sides is half done, or tables are held. `store`:
// of config.state, where there is one; its files are the caller's to remove.
void remove(const config::Config& config, state::Store* store, const Interrupt* interrupt,
            const std::function<void(const std::string&)>& tell);

// ------------------------------------------------------------------------------ the phases of a migration

// INTERFACE.md's, kept by state::Store as text. The rows of walign.fence are the truth about who takes writes; the
// phase is what an operator reads, and is brought in line with them at every start.
enum class MigrationPhase : std::uint8_t {
  new_one,
  backfilling,
  streaming,
  cutting_over,
  cut_over,
  rolling_back,
  finished,
  removed
};
const char* name(MigrationPhase phase);
std::optional<MigrationPhase> parse_phase(std::string_view text);

enum class MigrationFact : std::uint8_t {
  rows_missing,   // a table has rows to copy: at the beginning, after a TRUNCATE, one_way after a rollback
  rows_complete,  // every table is complete
  cutover_begun,  // an attempt has been begun, by whoever
  rollback_begun,
  writes_on_source,  // the rows say so, and nothing is half done
  writes_on_target,
  finish,  // asked for, and done
  remove,
};
const char* name(MigrationFact fact);

// Where a fact leads; nothing where it is refused (what an operator asks for) or cannot be.
std::optional<MigrationPhase> next_phase(MigrationPhase phase, MigrationFact fact);

}  // namespace walign::cutover
