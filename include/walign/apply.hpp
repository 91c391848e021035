// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// apply: transactions to the target, exactly once. The only room that writes to the target's tables.
//
//   TransactionPart ──route──> changes ──compact──> steps ──encode──> statements ──> one target transaction
//                                                                                    with its position
//
// A batch is a run of source transactions. Its changes are compacted to their net effect per key; a key change,
// a TRUNCATE, or a change to a table that another's expression reads, ends a step, and steps run in order. All
// statements of a batch and the move of the position are one target transaction, sent as one pipeline.
//
// Invariants
//  1. The position in walign.stream moves only together with the rows, by compare-and-set on (epoch, position);
//     where it matches nothing the transaction fails (SQLSTATE WA003).
//  2. The position is always the end of a source transaction, or a keepalive's with nothing before it open.
//  3. durable() is a position whose target commit has been flushed by the target: applied transactions are
//     committed asynchronously and count only when the target's flushed WAL is past them.
//  4. Rows decoded = applied + filtered + dropped + dead letters, per route, at every commit; checked, else Error(bug).
//  5. A transaction larger than a batch is written in pieces inside one target transaction; memory stays bounded.
//
// When a batch fails for its data (a constraint, a value, a row that is not there) it is rolled back and run
// again transaction by transaction: row by row; then with all rows of an update deleted before they are inserted
// (unique values and keys exchanged between rows; not where foreign keys are enforced, because of CASCADE); then,
// with on_conflict: dead_letter, row by row with what fails set aside. With on_conflict: stop it ends with
// Error(conflict) at that transaction; those before it are applied.
//
// Later changes to a key that has a dead letter queue behind it, on the target, in order. A TRUNCATE ends the
// chains of the table or partition that it empties.
//
// Threads: an Applier and its connection belong to one thread; between hand_over() and what waits for its end, a thread
// of its own has the connection.
#pragma once

#include <memory>

#include "walign/align.hpp"
#include "walign/event.hpp"
#include "walign/mapping.hpp"
#include "walign/pg.hpp"

namespace walign::apply {

// --------------------------------------------------------------------- what walign keeps on the target

inline constexpr int kSchemaVersion = 4;

// The row of walign.stream.
struct StreamRow {
  Lsn position;  // 0 until the slot exists
  std::uint64_t epoch = 0;
  std::string source_system_id;
  std::uint32_t source_timeline = 0;
  std::string source_database;
  std::string slot;
  std::string mapping_hash;
  std::string birth_snapshot;  // pg_snapshot of the slot's consistent point; empty if unknown
};

// Creates schema walign with its tables and functions where missing. Error(precondition) where it is newer.
void install_schema(pg::Connection& target);
// The same without a transaction of its own: for a caller that rolls it back.
void create_schema_objects(pg::Connection& target);
bool schema_installed(pg::Connection& target);
std::optional<StreamRow> read_stream(pg::Connection& target, const std::string& stream);
void insert_stream(pg::Connection& target, const std::string& stream, const StreamRow& row);
// Sets the position of a stream that has none yet.
void begin_stream(pg::Connection& target, const std::string& stream, Lsn position,
                  const std::string& snapshot);
void set_mapping_hash(pg::Connection& target, const std::string& stream, const std::string& hash);
// Ends the target sessions of earlier instances and increments the epoch; the new one.
std::uint64_t take_over(pg::Connection& target, const std::string& stream);
// Makes whoever holds a lower epoch take over again, above this one.
void raise_epoch(pg::Connection& target, const std::string& stream, std::uint64_t to);
// In the caller's transaction: whoever writes this stream fails with its next commit, and has to take over again.
// Nothing where there is no such stream.
void displace(pg::Connection& target, const std::string& stream);
// Drops the stream's rows, and the schema when no stream is left.
void remove_stream(pg::Connection& target, const std::string& stream);

// --------------------------------------------------------------------------------- before anything runs

// What the target says of a route's expressions, in the order of mapping::expressions_to_probe. In a
// transaction that is rolled back; needs TEMPORARY on the database.
std::vector<mapping::ExpressionFacts> probe(pg::Connection& target, const mapping::Route& route);
// Lets the target plan every statement of a route; what it refuses becomes a finding (an impossible cast).
// Needs schema walign: made and rolled back in the same transaction where it is missing.
mapping::Findings check_statements(pg::Connection& target, const std::vector<mapping::Route>& routes);

// ------------------------------------------------------------------------------------------- applying

// The books of one route, in source changes.
struct Books {
  std::uint64_t decoded = 0;
  std::uint64_t applied = 0;
  std::uint64_t filtered = 0;
  std::uint64_t dropped = 0;  // a copy of old rows has it
  std::uint64_t dead_letters = 0;
  [[nodiscard]] bool balance() const { return decoded == applied + filtered + dropped + dead_letters; }
  Books& operator+=(const Books& other);
};

// What a copy of old rows makes of one change for one route, where it is anything but the plain application
// (walign/align.hpp). Sorted by change.
struct Exception {
  int change = 0;  // index in the part
  int route = 0;   // Route::id
  align::MoveVerdict verdict = align::MoveVerdict::drop;
};
// A statement for the same target transaction, with text parameters.
struct Extra {
  std::string sql;
  std::vector<std::string> params;
};

struct Options {
  pg::ConnectionOptions connection;  // application_name is set by the applier
  std::string stream;
  std::int64_t max_batch_rows = 20'000;
  std::int64_t max_batch_bytes = std::int64_t{8} << 20U;
  config::OnConflict on_conflict = config::OnConflict::stop;
  std::set<pg::Oid> ignored_relations;  // not in the mapping, and known to be none of its business
  // Each transaction that may write rows begins with this logical message (prefix "walign"), by which who reads the
  // target's WAL knows it for ours; empty: none.
  std::string signature;
};

struct DeadLetter {
  std::int64_t id = 0;
  std::int64_t chain = 0;  // the id of the first one that it stands behind; its own if none
  std::string route;
  std::string key;  // column=value, ...
  Lsn commit_lsn;
  std::string operation;  // INSERT, UPDATE, DELETE
  std::string error;      // empty: queued behind an earlier one of its key
  std::string sqlstate;
  std::string created_at;  // ISO, UTC
  std::string event;       // walign.v1.Transaction with one change, serialised
};
std::vector<DeadLetter> read_dead_letters(pg::Connection& target, const std::string& stream,
                                          std::optional<std::int64_t> id = std::nullopt);
// A change that no route has tried to apply, as a dead letter under a name of its own, for the transaction passing it.
Extra keep_as_dead_letter(const std::string& stream, const std::string& name,
                          const event::TransactionPart& part, const v1::Change& change,
                          const std::string& error);
// Transactions that have dead letters under that name.
std::int64_t count_transactions_kept(pg::Connection& target, const std::string& stream,
                                     const std::string& name);
// For a table that is to be copied as if it were new: forgets its copy, chunks and dead letters.
std::vector<Extra> forget_copied(const std::string& stream, const std::string& route);
std::int64_t count_dead_letters(pg::Connection& target, const std::string& stream);

// Thrown for rows of a table that the mapping does not name: a partition made since the catalogs were read, or a
// table that somebody added to the publication. The catalogs must be read again.
struct UnknownRelation {
  config::TableName name;
  pg::Oid oid = 0;
};
// Thrown when a transaction too large to be kept failed for its data: the stream must be read again from the
// position, and this transaction applied row by row.
struct ReadAgain {
  Lsn careful_commit_lsn;  // 0: nothing special
};

class Applier {
 public:
  // Connects, takes over the stream, reads position and dead letters.
  Applier(Options options, std::vector<mapping::Route> routes);
  ~Applier();
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;

  [[nodiscard]] Lsn position() const;  // of the last commit
  // As far, or further: transactions that left nothing to write are passed without a commit of their own.
  [[nodiscard]] Lsn reached() const;
  [[nodiscard]] std::uint64_t epoch() const;
  [[nodiscard]] bool replica_role() const;  // session_replication_role = replica was permitted
  // The transaction that must be applied row by row when it comes.
  void be_careful_at(Lsn commit_lsn);

  // Takes a part. Writes nothing yet.
  void add(event::TransactionPart part, std::vector<Exception> exceptions = {},
           std::vector<Extra> extra = {});
  // Something was added that is not written yet, or not known to be.
  [[nodiscard]] bool pending() const;
  // Something was added since the last flush or hand_over.
  [[nodiscard]] bool gathering() const;
  // The batch is as large as it should become.
  [[nodiscard]] bool full() const;
  // In the middle of a source transaction: its last part has not been added yet.
  [[nodiscard]] bool in_transaction() const;
  // Writes what was added; commits if it ends at a transaction's end. Throws ReadAgain, or Error.
  void flush();
  // The same without waiting for the end of it where that can be: the next batch is gathered meanwhile, and the
  // position moves when the next hand_over, flush or settle has seen this one's answer, whose errors they throw.
  void hand_over();
  // Waits for what was handed over; what was added since stays gathered.
  void settle();
  // Moves the position without rows, to `position` or reached() if that is further. Only between transactions,
  // with nothing pending.
  void store_progress(Lsn position);

  // Asks how far the target has flushed; with `force`, makes it flush.
  void poll_durable(bool force);
  [[nodiscard]] Lsn durable() const;
  // The target's WAL position after our last commit.
  [[nodiscard]] Lsn last_commit_on_target() const;
  // Of all commits so far, by route id.
  [[nodiscard]] const std::vector<Books>& books() const;
  [[nodiscard]] std::uint64_t transactions() const;
  [[nodiscard]] std::int64_t last_commit_time_us() const;
  [[nodiscard]] std::int64_t dead_letters() const;
  // Of each batch written since this was asked last, for metrics.
  struct FlushStats {
    std::uint64_t changes = 0;
    std::uint64_t statements = 0;
    double seconds = 0;
  };
  [[nodiscard]] std::vector<FlushStats> take_flush_stats();

  // Applies the dead letters of the key that `id` belongs to, oldest first; all or nothing. Between batches.
  void retry_dead_letter(std::int64_t id);
  // Forgets them.
  void discard_dead_letter(std::int64_t id);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace walign::apply
