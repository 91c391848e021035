// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The fence on one side's server: the row that says who may write (record.hpp), and the triggers that look at it.
//
//   walign.fence          a row per migration and side; every change is a compare-and-set
//   STREAM_row            AFTER EACH ROW on a mapped table, inherited by its partitions
//   STREAM_statement      BEFORE STATEMENT, TRUNCATE included, on the table and on each partition
//   walign.guard()        what they call: passes, or refuses with SQLSTATE 25006
//   walign.reopen()       for the human whose other server is gone
//
// Invariants
//  1. A trigger carries the epoch it was made in and passes only where it *sees* its row at (that epoch or a later
//     one, OPEN). A snapshot from before the fence sees an older epoch, and is refused.
//  2. Triggers are made in transactions that hold the row, and the table against writers: a write that succeeded on
//     a table is committed before the trigger on it is.
//  3. Triggers come down only in transactions that hold the row and find it OPEN in the epoch they were told.
//  4. Every transaction here that changes something sets synchronous_commit = on itself.
//  5. A COMMIT whose answer is lost is Error(in_doubt): lock the row (settled_row) and look.
//
// Triggers are ENABLE ALWAYS, so apply workers of other subscriptions and sessions in replica role meet them. walign's
// own sessions pass by pass_setting() together with the name of the role that made the trigger.
//
// Threads: each function uses the connection that it is given.
#pragma once

#include "record.hpp"
#include "walign/apply.hpp"
#include "walign/config.hpp"
#include "walign/pg.hpp"

namespace walign::cutover {

using config::TableName;
using Millis = std::chrono::milliseconds;

struct FenceId {
  std::string migration;  // Config::fence_name()
  Side side = Side::source;
  bool operator==(const FenceId&) const = default;
};

std::string stream_to(const FenceId& id);     // walign.stream's name of the stream that writes to this side
std::string_view state_name(RowState state);  // as walign.fence has it: OPEN, FENCING, ...
std::string_view side_name(Side side);        // source, target
std::string describe(const FenceRow& row);    // epoch 3, FENCED

// SQLSTATEs that the functions below raise.
inline constexpr std::string_view kRefused = "25006";     // a write where none is taken
inline constexpr std::string_view kFenceMoved = "WA004";  // the row is not what its changer thinks

// --------------------------------------------------------------------------------------- table and row

// Schema walign with the table and its functions, where they are not there yet.
void install_fence(pg::Connection& server);
bool fence_installed(pg::Connection& server);
// The migration's rows of both sides; with the last migration's, everything that install_fence() made, and the schema
// if nothing else is in it. Refused (precondition) while triggers of the migration are up.
void remove_fence(pg::Connection& server, const std::string& migration);

std::optional<FenceRow> read_row(pg::Connection& server, const FenceId& id);
// Waits for whoever is changing it; Error(transient) after `timeout`.
std::optional<FenceRow> settled_row(pg::Connection& server, const FenceId& id, Millis timeout);
// False if there is one already.
bool insert_row(pg::Connection& server, const FenceId& id, const FenceRow& row);

struct Change {
  std::uint64_t epoch = 0;
  RowState state = RowState::open;
  std::uint64_t owner = 0;
  // From now, by the server's clock; FENCING and FENCED only. Without it these keep the lease that they have.
  std::optional<Millis> lease;
  std::string displaces = {};  // this stream on the same server, in the same transaction (record.hpp, rule 5)
};
struct Swapped {
  bool done = false;
  std::optional<FenceRow> row;  // as it is now: made or, if not done, found
};
// Where epoch, state and owner are those of `expected`. A new epoch forgets fence_lsn.
Swapped compare_and_set(pg::Connection& server, const FenceId& id, const FenceRow& expected, const Change& to,
                        Millis timeout);

// The switch hook of the attempt that opened this side has run.
bool switched(pg::Connection& opened, const FenceId& id, std::uint64_t epoch);
void note_switched(pg::Connection& opened, const FenceId& id, std::uint64_t epoch);

// FenceRow::not_back of the target's row, where there is one.
void note_not_back(pg::Connection& target, const std::string& migration, const std::string& why);

// For the target transaction with which the stream passes the marker of `epoch`: its end goes into the taker's row.
apply::Extra note_fence_lsn(const FenceId& taker, std::uint64_t epoch, Lsn marker_end);

// The same for the stream that writes to `side`, on passing the marker with which the other side was opened.
apply::Extra note_open_lsn(const FenceId& side, std::uint64_t epoch, Lsn marker_end);

// ------------------------------------------------------------------------------------------- markers

// Logical messages of prefix "walign" by which the stream knows the two moments that count.
struct Marker {
  enum class Kind { fence, open };
  Kind kind = Kind::fence;
  FenceId id;  // of the side that is fenced, or opened: both sides may be in one WAL
  std::uint64_t epoch = 0;
  bool operator==(const Marker&) const = default;
};
inline constexpr const char* kMarkerPrefix = "walign";
std::string marker_text(const Marker& marker);
std::optional<Marker> parse_marker(std::string_view text);

// ------------------------------------------------------------------------------------------ triggers

// A setting (ConnectionOptions::settings) by which a session of walign's passes the fences of this migration.
// config::kPassSetting
std::pair<std::string, std::string> pass_setting(const std::string& migration);

struct Limits {
  Millis lock_timeout{500};
  Millis statement_timeout{5'000};
  int attempts = 5;         // per table, where a lock was not to be had in time or a deadlock ended with us
  Millis max_pause{5'000};  // over all tables of one call
  bool break_deadlocks =
      false;  // deadlock_timeout 50 ms: autovacuum gives way, deadlocks end with us, not with the
              // application; where may_set_deadlock_timeout()
};
// It takes a superuser, or GRANT SET ON PARAMETER deadlock_timeout (15 and later). What `limits` would be then.
bool may_set_deadlock_timeout(pg::Connection& server);

struct TableTimes {
  TableName table;
  double lock_ms = 0;  // until the lock was ours, failed attempts included
  double ddl_ms = 0;   // from there to the commit
  int attempts = 1;
  std::int64_t waiting = 0;  // others who wanted the table when we had it
};

// Where a refusal sends the application: "db.example:5432/app".
struct Guard {
  FenceId id;
  std::string write_to;
};

// Triggers on the taker's tables, while its row is `row` (CLOSED or ABORTED). Error(sqlstate WA004) if it is not.
std::vector<TableTimes> close_tables(pg::Connection& taker, const Guard& guard, const FenceRow& row,
                                     const std::vector<TableName>& tables, const Limits& limits);

struct Fenced {
  bool done = false;
  std::optional<FenceRow> row;  // as it is now; if not done, as it was found
  std::vector<TableTimes> tables;
  Lsn message_lsn;      // below the fence LSN, which only the stream can tell
  Lsn after_lsn;        // above it
  double total_ms = 0;  // from the first lock asked for to the last commit
};
// Triggers on one of the giver's tables, in one short transaction, while its row is `row` (FENCING). The `last` one of
// an attempt sets FENCED and emits the marker: every write that succeeded is below its commit. Not done where the row
// is another's by then; Error(transient) where the limits do not allow it, and nothing has changed.
Fenced fence_table(pg::Connection& giver, const Guard& guard, const FenceRow& row, const TableName& table,
                   bool last, const Limits& limits);
// All of them, one after another.
Fenced fence_tables(pg::Connection& giver, const Guard& guard, const FenceRow& row,
                    const std::vector<TableName>& tables, const Limits& limits);
// The same, rolled back table by table. Needs install_fence(), and no row.
std::vector<TableTimes> rehearse_fence(pg::Connection& giver, const Guard& guard,
                                       const std::vector<TableName>& tables, const Limits& limits);

// Mapped tables and partitions that have not both triggers, in force: somebody's DDL has taken them down.
std::vector<std::string> unguarded(pg::Connection& server, const FenceId& id,
                                   const std::vector<TableName>& tables);

// Takes the triggers down where the row is OPEN in this epoch: a try for each table, which waits for readers no longer
// than `patience` since writers would wait behind it. Names of the tables that are left: try again later. Throws
// Error(sqlstate WA004) where the row has moved on.
std::vector<std::string> take_guards_down(pg::Connection& server, const FenceId& id, std::uint64_t epoch,
                                          Millis patience);
// For `remove` and `finish`: whatever the row says, or where there is none.
std::vector<std::string> take_all_guards_down(pg::Connection& server, const std::string& migration,
                                              Millis patience);

// ------------------------------------------------------------------------------------------- figures

// What the triggers have seen since the last reset_traffic(), by this server's clock; statements that were rolled back
// afterwards included. For the report.
struct Traffic {
  std::int64_t refused = 0;                      // statements
  std::optional<std::int64_t> first_refused_us;  // since 1970: when it was asked for, so that its wait counts
  std::optional<std::int64_t> first_passed_us;   // since 1970: a write that met a trigger and an open row
};
Traffic traffic(pg::Connection& server, const FenceId& id);
void reset_traffic(pg::Connection& server, const FenceId& id);

// ------------------------------------------------------------------------------------------- opening

// Step 7 in two parts, so that everything that can fail has been tried before the giver is sealed. The connection is
// in a transaction that holds the taker's row as long as this lives.
class Opening {
 public:
  // `stream`: of walign.stream on the taker's server; `row`: as the taker's row must be (CLOSED). `max_idle`: the
  // server ends the session, and the transaction with it, when nothing comes for so long.
  Opening(pg::Connection& taker, FenceId id, FenceRow row, std::string stream, Millis timeout,
          Millis max_idle = Millis(5'000));
  ~Opening();  // rolls back
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;

  // Why it would not open now; nothing if it would.
  [[nodiscard]] const std::optional<std::string>& refusal() const { return refusal_; }

  struct Opened {
    bool done = false;
    Lsn marker_lsn;  // below the open LSN
    Lsn after_lsn;   // above it; 0 where the connection went after the commit
  };
  // The point of no return: CLOSED to OPEN where the stream's position is at or past the fence LSN, in the same
  // statement; marker; COMMIT.
  Opened open();

 private:
  pg::Connection& taker_;
  const FenceId id_;
  const FenceRow row_;
  const std::string stream_;
  std::optional<std::string> refusal_;
  bool in_transaction_ = false;
};

// ------------------------------------------------------------------------------- after `finish`: closed for good

// The plain refusing trigger walign_closed, whose function lives beside the table; nothing of schema walign is needed.
void close_for_good(pg::Connection& server, const std::string& migration, const std::string& write_to,
                    const std::vector<TableName>& tables, const Limits& limits);
// Takes it away again (`--reopen`); tables that are left, as take_guards_down.
std::vector<std::string> reopen_for_good(pg::Connection& server, const std::vector<TableName>& tables,
                                         Millis patience);

}  // namespace walign::cutover
