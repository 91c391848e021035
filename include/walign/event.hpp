// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// event: messages to owned protobuf. Here borrowed bytes end: what leaves this room can be queued, kept,
// stored and read alone.
//
//   decode::Message ──> Assembler ──> TransactionPart (walign.v1.Transaction + its relations)
//
// A transaction comes whole, or in parts when it is large: a part is closed at `part_bytes`, so memory is
// bounded whatever the transaction's size. pgoutput version 1 sends committed transactions only, so a first
// part is a promise: the last will follow, unless the connection is lost.
//
// Invariants
//  1. Parts of a transaction are consecutive and complete: part 0, 1, 2, ..., the last one marked.
//  2. A RELATION message always replaces what was known under its OID; parts already made keep the
//     description they were made under.
//  3. NULL, unchanged TOAST and "not sent" are three states (walign.v1.Tuple), never confused.
//  4. A change outside BEGIN and COMMIT, or for a relation never described, or with another number of
//     columns than its relation has, is Error(malformed).
//
// Threads: an Assembler belongs to one thread; a TransactionPart may be handed to another.
#pragma once

#include <google/protobuf/arena.h>

#include <map>
#include <memory>
#include <unordered_map>

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

// visit(index, Value) for each column of a tuple, in order. The tuple must be well formed (see validate).
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

// One walign.v1.Transaction (whole, or a part) on an arena of its own, with the relations its changes index.
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

  // Copies the descriptions into tx().relations, so that it can be read alone.
  void make_self_contained();

 private:
  friend class Assembler;
  std::unique_ptr<google::protobuf::Arena> arena_;
  v1::Transaction* tx_ = nullptr;  // owned by arena_
  std::vector<RelationPtr> relations_;
  std::size_t memory_bytes_ = 0;
};

// Turns the messages of one connection into parts, in order.
class Assembler {
 public:
  explicit Assembler(std::size_t part_bytes = std::size_t{1} << 20U);

  // Takes one message. Returns a part when this message completed one: a COMMIT always does (also for a
  // transaction without changes), a change does when the part is large enough.
  std::optional<TransactionPart> take(const decode::Message& message);

  // Between a BEGIN and its COMMIT; keepalive positions mean nothing then.
  [[nodiscard]] bool in_transaction() const { return in_transaction_; }

 private:
  struct PartIndex;
  void begin(const decode::Begin& message);
  TransactionPart commit(const decode::Commit& message);
  void relation(const decode::Relation& message);
  v1::Change& add_change(v1::Change::Kind kind);
  std::uint32_t relation_index(std::uint32_t oid);
  void pack(const decode::TupleView& from, bool key_only, const v1::Relation& relation, v1::Tuple& to);
  std::optional<TransactionPart> close_if_large();
  void open_part();

  const std::size_t part_bytes_;
  bool in_transaction_ = false;
  TransactionPart part_;
  v1::Transaction header_;  // what every part of the open transaction repeats
  std::unordered_map<std::uint32_t, std::uint32_t> index_;  // relation OID to index within part_
  std::unordered_map<std::uint32_t, RelationPtr> relations_;
  std::unordered_map<std::uint32_t, std::pair<std::string, std::string>> types_;  // OID to schema, name
};

}  // namespace walign::event
