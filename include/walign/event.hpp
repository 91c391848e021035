// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// event: messages to owned protobuf. Here borrowed bytes end: what leaves this room can be queued, kept,
// stored and read alone.
//
//   decode::Message ──> Assembler ──> TransactionPart (walign.v1.Transaction + its relations)
//
// A transaction comes whole, or in parts when it is large: a part is closed at `part_bytes`, so memory
// is bounded whatever the transaction's size. Where the stream brings transactions only when they have
// committed, a first part is a promise: the last will follow, unless the connection is lost. From protocol
// version 2 on it also brings parts of transactions that are still running, blocks of several in turn, and
// from version 3 on of prepared ones; they come out as RunningPart and wait for RunningCommitted or
// RunningAborted with somebody else (source/running.hpp).
//
// Invariants
//  1. Parts of a transaction are consecutive and complete: part 0, 1, 2, ..., the last one marked.
//  2. A RELATION message always replaces what was known under its OID; parts already made, and changes
//     already in the open part, keep the description they were made under.
//  3. NULL, unchanged TOAST and "not sent" are three states (walign.v1.Tuple), never confused.
//  4. A change outside BEGIN and COMMIT, or for a relation never described, or with another number of
//     columns than its relation has, is Error(malformed). So are a BEGIN inside a transaction, a COMMIT
//     that names another commit LSN than its BEGIN or does not end after it, and a name that is not
//     UTF-8 (it could be written to the journal, but not read again).
//  5. A RELATION in a stream block describes the table for that transaction alone, until it has committed; between
//     BEGIN PREPARE and PREPARE, as anywhere else, for all that follows.
//  6. A logical message that is not transactional belongs to no transaction: it is passed over wherever
//     it comes. RELATION and TYPE are taken anywhere: a capture may begin with them.
//
// An Assembler that has thrown has lost its place: the next connection needs a new one.
// Threads: an Assembler belongs to one thread; a TransactionPart may be handed to another.
#pragma once

#include <google/protobuf/arena.h>

#include <memory>
#include <unordered_map>
#include <variant>

#include "walign/base.hpp"
#include "walign/decode.hpp"
#include "walign/v1/event.pb.h"

namespace walign::event {

// ------------------------------------------------------------------------------------ packed tuples

enum class State : std::uint8_t { null = 0, unchanged_toast = 1, not_sent = 2, value = 3 };

// Length codes of walign.v1.Tuple.
inline constexpr std::uint32_t kNull = 0;
inline constexpr std::uint32_t kUnchangedToast = 1;
inline constexpr std::uint32_t kNotSent = 2;
inline constexpr std::uint32_t kFirstLength = 3;

struct Value {
  State state = State::null;
  std::string_view bytes;  // empty unless state is value
  bool binary = false;
};

// visit(index, Value) for each column of a tuple, in order. The tuple must be well formed: validate().
template <class Visit>
void for_each_value(const v1::Tuple& tuple, Visit&& visit) {
  const std::string_view values = tuple.values();
  const std::string_view binary = tuple.binary();
  std::size_t at = 0;
  for (int i = 0; i < tuple.lengths_size(); ++i) {
    const std::uint32_t code = tuple.lengths(i);
    if (code < kFirstLength) {
      visit(i, Value{static_cast<State>(code), {}, false});
      continue;
    }
    const std::size_t size = code - kFirstLength;
    const auto index = static_cast<std::size_t>(i);
    visit(i, Value{State::value, values.substr(at, size), index < binary.size() && binary[index] != 0});
    at += size;
  }
}

// Appends one value; the inverse of for_each_value.
void append_value(v1::Tuple& tuple, const Value& value);

// Throws Error(malformed) unless the lengths add up to the bytes: for tuples that come from disk or from
// another program.
void validate(const v1::Tuple& tuple);

// ------------------------------------------------------------------------------------- transactions

// A relation as one RELATION message described it. Immutable; shared by every part that refers to it.
using RelationPtr = std::shared_ptr<const v1::Relation>;

// One walign.v1.Transaction, whole or a part, on an arena of its own, with the relations that its
// changes index.
class TransactionPart {
 public:
  TransactionPart();
  TransactionPart(TransactionPart&&) noexcept = default;
  TransactionPart& operator=(TransactionPart&&) noexcept = default;

  [[nodiscard]] const v1::Transaction& tx() const { return *tx_; }
  [[nodiscard]] v1::Transaction& mutable_tx() { return *tx_; }
  [[nodiscard]] const std::vector<RelationPtr>& relations() const { return relations_; }
  [[nodiscard]] bool first() const { return tx_->part() == 0; }
  [[nodiscard]] bool last() const { return tx_->last(); }
  [[nodiscard]] Lsn commit_lsn() const { return Lsn(tx_->commit_lsn()); }
  [[nodiscard]] Lsn end_lsn() const { return Lsn(tx_->end_lsn()); }
  // Roughly what this holds in memory, for the queue's bound.
  [[nodiscard]] std::size_t memory_bytes() const { return memory_bytes_; }
  // For a part that was stored and read again: what it held before.
  void set_memory_bytes(std::size_t bytes) { memory_bytes_ = bytes; }

  // The index under which changes of this part name the relation.
  std::uint32_t add_relation(RelationPtr relation);

  // Copies the descriptions into tx().relations, so that it can be read alone. Again does nothing.
  void make_self_contained();

 private:
  friend class Assembler;
  std::unique_ptr<google::protobuf::Arena> arena_;
  v1::Transaction* tx_;  // owned by arena_
  std::vector<RelationPtr> relations_;
  std::size_t memory_bytes_;
};

// A part of a transaction that has not committed yet: of its header only xid, origin and gid are known, and each
// change has the xid of the subtransaction that made it.
struct RunningPart {
  TransactionPart part;
};
// A transaction whose parts came before has committed: the header that all of them have.
struct RunningCommitted {
  v1::Transaction header;  // end_lsn included; no changes
};
// It is undone, or only that subtransaction of it.
struct RunningAborted {
  std::uint32_t xid = 0;
  std::uint32_t subxid = 0;  // equal to xid: all of it
};
using Taken = std::variant<std::monostate, TransactionPart, RunningPart, RunningCommitted, RunningAborted>;

// Turns the messages of one connection into parts, in order.
class Assembler {
 public:
  explicit Assembler(std::size_t part_bytes = std::size_t{1} << 20U, decode::Place protocol = {})
      : part_bytes_(part_bytes), protocol_(protocol) {}

  // Where the next message stands: what decode() wants to know.
  [[nodiscard]] decode::Place place() const {
    return {protocol_.version, protocol_.parallel, block_ != nullptr && !preparing_};
  }

  // Takes one message. Returns a part when this message completed one: a COMMIT always does (also for a
  // transaction without changes), a change does when the part is large enough.
  Taken take(const decode::Message& message);

  // Another connection follows, which brings again what this one did not finish; what was prepared stays. The
  // transactions (xids) that are to be forgotten.
  std::vector<std::uint32_t> reconnected();
  // Whether something of it came and its end did not.
  [[nodiscard]] bool has_running(std::uint32_t xid) const { return running_.contains(xid); }

  // Between a BEGIN and its COMMIT, or inside a block; keepalive positions mean nothing then.
  [[nodiscard]] bool in_transaction() const { return part_.has_value(); }

 private:
  // What is known under one OID, and where the open part has it.
  struct Known {
    RelationPtr relation;
    std::uint64_t part = 0;   // the part that `index` is for; 0: none yet
    std::uint32_t index = 0;  // within that part
  };
  Taken on(const decode::Begin& message);
  Taken on(const decode::Commit& message);
  Taken on(const decode::Origin& message);
  Taken on(const decode::Relation& message);
  Taken on(const decode::Type& message);
  Taken on(const decode::Insert& message);
  Taken on(const decode::Update& message);
  Taken on(const decode::Delete& message);
  Taken on(const decode::Truncate& message);
  Taken on(const decode::LogicalMessage& message);
  Taken on(const decode::StreamStart& message);
  Taken on(const decode::StreamStop& message);
  Taken on(const decode::StreamCommit& message);
  Taken on(const decode::StreamAbort& message);
  Taken on(const decode::BeginPrepare& message);
  Taken on(const decode::Prepare& message);
  Taken on(const decode::StreamPrepare& message);
  Taken on(const decode::CommitPrepared& message);
  Taken on(const decode::RollbackPrepared& message);

  // A transaction that is still running, or prepared.
  struct Running {
    std::string origin;
    std::uint64_t origin_lsn = 0;
    std::string gid;
    bool prepared = false;
    std::unordered_map<std::uint32_t, Known> relations;  // as it sees them
  };
  using RunningPlace = std::unordered_map<std::uint32_t, Running>::iterator;
  void begin_block(RunningPlace running, bool preparing);
  Taken end_block();
  RunningPlace running(std::uint32_t xid, const char* doing);
  Taken committed(RunningPlace running, Lsn commit_lsn, Lsn end_lsn, std::int64_t commit_time_us);

  [[noreturn]] void malformed(const std::string& what) const;
  void check_utf8(std::string_view name, const char* what) const;
  v1::Change& add_change(v1::Change::Kind kind, std::uint32_t xid, const char* message_name);
  void add_column(const decode::RelationColumn& from, v1::Relation& relation) const;
  Known* look_up(std::uint32_t oid);  // null where it was never described
  Known& known(std::uint32_t oid);
  std::uint32_t relation_index(Known& relation);
  Known& add_row_change(v1::Change& change, std::uint32_t oid);
  void pack(const decode::TupleView& from, const Known& relation, v1::Tuple& to);
  void pack_old(const decode::TupleView& from, decode::OldRow kind, const Known& relation, v1::Change& to);
  TransactionPart take_part();
  Taken close_if_large();
  void open_part();

  const std::size_t part_bytes_;
  const decode::Place protocol_;
  std::optional<TransactionPart> part_;  // the open one, while in a transaction
  v1::Transaction header_;               // what every part of the open transaction repeats
  std::uint64_t part_number_ = 0;        // of the open part, counted over all transactions
  std::unordered_map<std::uint32_t, Known> relations_;
  Known* latest_ = nullptr;  // in relations_: rows of one table come in runs
  std::uint32_t latest_oid_ = 0;
  std::unordered_map<std::uint32_t, std::pair<std::string, std::string>> types_;  // OID to schema, name
  std::unordered_map<std::uint32_t, Running> running_;                            // by top-level xid
  Running* block_ = nullptr;                                                      // whose block is open
  bool preparing_ = false;  // it is that between Begin Prepare and Prepare
};

}  // namespace walign::event
