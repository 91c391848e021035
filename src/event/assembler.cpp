// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The Assembler's messages about transactions and relations; the rows are in rows.cpp.
#include "event/builtin_types.hpp"
#include "event/utf8.hpp"
#include "walign/event.hpp"

namespace walign::event {

namespace {

v1::ReplicaIdentity identity_of(char relreplident) {
  switch (relreplident) {
    case 'd': return v1::REPLICA_IDENTITY_DEFAULT;
    case 'n': return v1::REPLICA_IDENTITY_NOTHING;
    case 'f': return v1::REPLICA_IDENTITY_FULL;
    case 'i': return v1::REPLICA_IDENTITY_INDEX;
    default: return v1::REPLICA_IDENTITY_UNKNOWN;
  }
}

}  // namespace

Taken Assembler::take(const decode::Message& message) {
  return std::visit([this](const auto& one) { return on(one); }, message);
}

void Assembler::malformed(const std::string& what) const {
  throw Error(
      ErrorKind::malformed, what,
      "the source's messages do not fit together and nothing more of them is applied; restart walign to "
      "receive them again, and if it comes again, report it with the server's version")
      .at(Lsn(header_.commit_lsn()));
}

void Assembler::check_utf8(std::string_view name, const char* what) const {
  if (is_utf8(name)) return;
  throw Error(ErrorKind::malformed, cat(what, " is not UTF-8"),
              "in a database of encoding SQL_ASCII, names must be valid UTF-8: rename it")
      .at(Lsn(header_.commit_lsn()));
}

// ------------------------------------------------------------------------------------- transactions

Taken Assembler::on(const decode::Begin& message) {
  if (in_transaction()) {
    malformed(cat("BEGIN of transaction ", message.xid, " before the COMMIT of ", header_.xid()));
  }
  header_.Clear();
  header_.set_xid(message.xid);
  header_.set_commit_lsn(message.commit_lsn.value);
  header_.set_commit_time_us(message.commit_time_us);
  open_part();
  return {};
}

Taken Assembler::on(const decode::Commit& message) {
  if (!in_transaction() || block_ != nullptr) {
    malformed(cat("COMMIT at ", message.commit_lsn, " without a BEGIN"));
  }
  if (message.commit_lsn.value != header_.commit_lsn()) {
    malformed(cat("COMMIT at ", message.commit_lsn, " of transaction ", header_.xid(), ", whose BEGIN said ",
                  Lsn(header_.commit_lsn())));
  }
  if (message.end_lsn <= message.commit_lsn) {
    malformed(cat("COMMIT at ", message.commit_lsn, " ends at ", message.end_lsn, ", not after it"));
  }
  part_->tx_->set_end_lsn(message.end_lsn.value);
  part_->tx_->set_last(true);
  return take_part();
}

// Comes after BEGIN, before the changes; a later one would be for what follows it.
Taken Assembler::on(const decode::Origin& message) {
  if (!in_transaction()) malformed("ORIGIN outside a transaction");
  check_utf8(message.name, "the name of a replication origin");
  for (v1::Transaction* tx : {&header_, part_->tx_}) {
    tx->set_origin(message.name.data(), message.name.size());
    tx->set_origin_lsn(message.lsn.value);
  }
  if (block_ != nullptr) {
    block_->origin = message.name;
    block_->origin_lsn = message.lsn.value;
  }
  return {};
}

void Assembler::open_part() {
  part_.emplace();
  ++part_number_;
  *part_->tx_ = header_;
  part_->memory_bytes_ += header_.origin().size();
}

TransactionPart Assembler::take_part() {
  TransactionPart part = std::move(*part_);
  part_.reset();
  return part;
}

Taken Assembler::close_if_large() {
  if (part_->memory_bytes_ < part_bytes_) return {};
  TransactionPart closed = take_part();
  if (block_ == nullptr) header_.set_part(header_.part() + 1);
  open_part();
  if (block_ != nullptr) return RunningPart{std::move(closed)};
  return closed;
}

// ---------------------------------------------------------------------------------------- relations

Taken Assembler::on(const decode::Type& message) {
  check_utf8(message.schema, "the schema of a type");
  check_utf8(message.name, "the name of a type");
  types_[message.oid] = {std::string(message.schema), std::string(message.name)};
  return {};
}

Taken Assembler::on(const decode::Relation& message) {
  check_utf8(message.schema, "the name of a schema");
  check_utf8(message.name, "the name of a table");
  auto relation = std::make_shared<v1::Relation>();
  relation->set_oid(message.oid);
  relation->set_schema(message.schema.data(), message.schema.size());
  relation->set_name(message.name.data(), message.name.size());
  relation->set_replica_identity(identity_of(message.replica_identity));
  for (const decode::RelationColumn& column : message.columns) {
    check_utf8(column.name, "the name of a column");
    add_column(column, *relation);
  }
  // Each streamed transaction is told of its tables anew. Who keeps something for a description finds it again.
  const Known* before = look_up(message.oid);
  const bool same =
      before != nullptr && before->relation->SerializeAsString() == relation->SerializeAsString();
  Known now{same ? before->relation : RelationPtr(std::move(relation))};
  auto& relations = block_ != nullptr && !preparing_ ? block_->relations : relations_;
  relations[message.oid] = std::move(now);
  latest_ = nullptr;
  return {};
}

void Assembler::add_column(const decode::RelationColumn& from, v1::Relation& relation) const {
  v1::Column& to = *relation.add_columns();
  to.set_name(from.name.data(), from.name.size());
  to.set_type_oid(from.type_oid);
  to.set_type_modifier(from.type_modifier);
  to.set_part_of_identity(from.part_of_identity);
  if (const auto type = types_.find(from.type_oid); type != types_.end()) {
    to.set_type_schema(type->second.first);
    to.set_type_name(type->second.second);
  } else if (from.type_oid < kFirstDescribedType) {
    const std::string_view name = builtin_type_name(from.type_oid);
    to.set_type_schema("pg_catalog");
    to.set_type_name(name.data(), name.size());
  }
}

Assembler::Known* Assembler::look_up(std::uint32_t oid) {
  if (block_ != nullptr) {
    if (const auto own = block_->relations.find(oid); own != block_->relations.end()) return &own->second;
  }
  const auto found = relations_.find(oid);
  return found == relations_.end() ? nullptr : &found->second;
}

// Rows of one table come in runs, so the latest is asked first. Entries are replaced, never removed, but with a
// transaction's own at the end of a block: until then the pointer stays good.
Assembler::Known& Assembler::known(std::uint32_t oid) {
  if (latest_ != nullptr && latest_oid_ == oid) return *latest_;
  Known* found = look_up(oid);
  if (found == nullptr) malformed(cat("a change of relation ", oid, ", which was never described"));
  latest_ = found;
  latest_oid_ = oid;
  return *latest_;
}

std::uint32_t Assembler::relation_index(Known& relation) {
  if (relation.part != part_number_) {
    relation.part = part_number_;
    relation.index = part_->add_relation(relation.relation);
    part_->memory_bytes_ += sizeof(RelationPtr);
  }
  return relation.index;
}

}  // namespace walign::event
