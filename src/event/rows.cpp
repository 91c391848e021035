// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The Assembler's messages that become changes. The hot path: per row, a bump of the arena for the
// Change, its Tuple and its lengths, and one allocation for the values where they are longer than 15
// bytes.
#include "event/utf8.hpp"
#include "walign/event.hpp"

namespace walign::event {

namespace {

// What a change and a tuple take on the arena besides their lengths and values: the message, its pointer
// in the parent, the string and its entry in the arena's list of destructors.
constexpr std::size_t kChangeBytes = sizeof(v1::Change) + sizeof(void*);
constexpr std::size_t kTupleBytes = sizeof(v1::Tuple) + sizeof(std::string) + 2 * sizeof(void*);

std::uint32_t length_code(const decode::Value& value) {
  switch (value.kind) {
    case decode::ValueKind::null: return kNull;
    case decode::ValueKind::unchanged_toast: return kUnchangedToast;
    case decode::ValueKind::text:
    case decode::ValueKind::binary: break;
  }
  return static_cast<std::uint32_t>(value.bytes.size()) + kFirstLength;  // decode ends at 2 GB
}

// A key-only old row has NULL for every column outside the key: not sent (RULES 28).
void mark_not_sent(const v1::Relation& relation, v1::Tuple& key) {
  for (int i = 0; i < key.lengths_size(); ++i) {
    if (key.lengths(i) == kNull && !relation.columns(i).part_of_identity()) key.set_lengths(i, kNotSent);
  }
}

}  // namespace

v1::Change& Assembler::add_change(v1::Change::Kind kind, std::uint32_t xid, const char* message_name) {
  if (!in_transaction()) malformed(cat(message_name, " outside a transaction"));
  v1::Change& change = *part_->tx_->add_changes();
  change.set_kind(kind);
  if (block_ != nullptr) change.set_xid(xid != 0 ? xid : header_.xid());
  part_->memory_bytes_ += kChangeBytes;
  return change;
}

Assembler::Known& Assembler::add_row_change(v1::Change& change, std::uint32_t oid) {
  Known& relation = known(oid);
  change.set_relation(relation_index(relation));
  return relation;
}

void Assembler::pack(const decode::TupleView& from, const Known& relation, v1::Tuple& to) {
  const int columns = relation.relation->columns_size();
  if (from.columns() != columns) {
    malformed(cat("a row of ", from.columns(), " columns for ", relation.relation->schema(), ".",
                  relation.relation->name(), ", which has ", columns));
  }
  part_->memory_bytes_ +=
      kTupleBytes + static_cast<std::size_t>(columns) * sizeof(std::uint32_t) + from.value_bytes();
  if (columns == 0) return;
  to.mutable_lengths()->Reserve(columns);
  std::uint32_t* length = to.mutable_lengths()->AddNAlreadyReserved(columns);
  std::string& values = *to.mutable_values();
  values.reserve(from.value_bytes());
  bool any_binary = false;
  from.for_each([&](const decode::Value& value) {
    *length++ = length_code(value);
    values.append(value.bytes);
    any_binary |= value.kind == decode::ValueKind::binary;
  });
  if (!any_binary) return;
  std::string& binary = *to.mutable_binary();
  binary.reserve(static_cast<std::size_t>(columns));
  from.for_each(
      [&](const decode::Value& value) { binary += value.kind == decode::ValueKind::binary ? '\1' : '\0'; });
  part_->memory_bytes_ += sizeof(std::string) + binary.size();
}

void Assembler::pack_old(const decode::TupleView& from, decode::OldRow kind, const Known& relation,
                         v1::Change& to) {
  pack(from, relation, *to.mutable_old_row());
  if (kind != decode::OldRow::key) return;
  to.set_old_row_is_key(true);
  mark_not_sent(*relation.relation, *to.mutable_old_row());
}

Taken Assembler::on(const decode::Insert& message) {
  v1::Change& change = add_change(v1::Change::INSERT, message.xid, "INSERT");
  const Known& relation = add_row_change(change, message.relation);
  pack(message.new_row, relation, *change.mutable_new_row());
  return close_if_large();
}

Taken Assembler::on(const decode::Update& message) {
  v1::Change& change = add_change(v1::Change::UPDATE, message.xid, "UPDATE");
  const Known& relation = add_row_change(change, message.relation);
  if (message.old_kind != decode::OldRow::none) pack_old(message.old_row, message.old_kind, relation, change);
  pack(message.new_row, relation, *change.mutable_new_row());
  return close_if_large();
}

Taken Assembler::on(const decode::Delete& message) {
  v1::Change& change = add_change(v1::Change::DELETE, message.xid, "DELETE");
  const Known& relation = add_row_change(change, message.relation);
  pack_old(message.old_row, message.old_kind, relation, change);
  return close_if_large();
}

Taken Assembler::on(const decode::Truncate& message) {
  v1::Truncate& truncate = *add_change(v1::Change::TRUNCATE, message.xid, "TRUNCATE").mutable_truncate();
  truncate.set_cascade(message.cascade);
  truncate.set_restart_identity(message.restart_identity);
  for (const std::uint32_t oid : message.relations) truncate.add_relations(relation_index(known(oid)));
  part_->memory_bytes_ += sizeof(v1::Truncate) + message.relations.size() * sizeof(std::uint32_t);
  return close_if_large();
}

// One that is not transactional comes when it is written, whatever becomes of the transaction around it.
Taken Assembler::on(const decode::LogicalMessage& message) {
  if (!message.transactional) return {};
  check_utf8(message.prefix, "the prefix of a logical message");
  v1::LogicalMessage& to =
      *add_change(v1::Change::MESSAGE, message.xid, "a transactional message").mutable_message();
  to.set_prefix(message.prefix.data(), message.prefix.size());
  to.set_content(message.content.data(), message.content.size());
  to.set_lsn(message.lsn.value);
  part_->memory_bytes_ +=
      sizeof(v1::LogicalMessage) + 2 * sizeof(std::string) + message.prefix.size() + message.content.size();
  return close_if_large();
}

}  // namespace walign::event
