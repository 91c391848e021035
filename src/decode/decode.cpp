// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One reader per message, below its grammar; those of later protocol versions are in later.cpp. A reader begins after
// the tag (and the xid, inside a stream block), and ends anywhere: decode() checks that nothing is left.
#include "walign/decode.hpp"

#include <limits>

#include "decode/fields.hpp"
#include "decode/later.hpp"

namespace walign::decode {

namespace {

// Begin := 'B' commit_lsn:u64 commit_time:i64 xid:u32
Begin read_begin(ByteReader& reader) {
  Begin message;
  message.commit_lsn = Lsn(reader.u64("commit LSN"));
  message.commit_time_us = read_time(reader, "commit time");
  message.xid = reader.u32("xid");
  return message;
}

// Commit := 'C' flags:u8=0 commit_lsn:u64 end_lsn:u64 commit_time:i64
Commit read_commit(ByteReader& reader) {
  read_flags(reader, 0, "flags");
  Commit message;
  message.commit_lsn = Lsn(reader.u64("commit LSN"));
  message.end_lsn = Lsn(reader.u64("end LSN"));
  message.commit_time_us = read_time(reader, "commit time");
  return message;
}

// Origin := 'O' lsn:u64 name:cstring
Origin read_origin(ByteReader& reader) {
  Origin message;
  message.lsn = Lsn(reader.u64("origin LSN"));
  message.name = reader.cstring("origin name");
  return message;
}

// column := flags:u8 name:cstring type_oid:u32 type_modifier:i32
RelationColumn read_column(ByteReader& reader) {
  RelationColumn column;
  column.part_of_identity = read_flags(reader, 1, "column flags") != 0;
  column.name = reader.cstring("column name");
  column.type_oid = reader.u32("column type");
  column.type_modifier = reader.i32("column type modifier");
  return column;
}

// Relation := 'R' oid:u32 schema:cstring name:cstring replica_identity:u8 count:u16 column*count
Relation read_relation(ByteReader& reader) {
  Relation message;
  message.oid = reader.u32("relation OID");
  message.schema = read_schema(reader);
  message.name = reader.cstring("name");
  const std::size_t offset = reader.offset();
  message.replica_identity = static_cast<char>(reader.u8("replica identity"));
  if (std::string_view("dnfi").find(message.replica_identity) == std::string_view::npos) {
    refuse("replica identity", offset, "is none of d, n, f, i");
  }
  const std::uint16_t count = reader.u16("column count");
  for (std::uint16_t i = 0; i < count; ++i) message.columns.push_back(read_column(reader));
  return message;
}

// Type := 'Y' oid:u32 schema:cstring name:cstring
Type read_type(ByteReader& reader) {
  Type message;
  message.oid = reader.u32("type OID");
  message.schema = read_schema(reader);
  message.name = reader.cstring("name");
  return message;
}

// 'N' tuple
TupleView read_new_row(ByteReader& reader) {
  const std::size_t offset = reader.offset();
  if (reader.u8("new row") != 'N') refuse("new row", offset, "does not begin with N");
  return TupleView::read(reader, "new row");
}

// Insert := 'I' relation_oid:u32 'N' tuple
Insert read_insert(ByteReader& reader) {
  Insert message;
  message.relation = reader.u32("relation OID");
  message.new_row = read_new_row(reader);
  return message;
}

// Update := 'U' relation_oid:u32 [('K' | 'O') tuple] 'N' tuple
Update read_update(ByteReader& reader) {
  Update message;
  message.relation = reader.u32("relation OID");
  message.old_kind = OldRow::none;
  ByteReader ahead = reader;
  const std::uint8_t kind = ahead.u8("old row");
  if (kind == 'K' || kind == 'O') {
    reader = ahead;
    message.old_kind = static_cast<OldRow>(kind);
    message.old_row = TupleView::read(reader, "old row");
  }
  message.new_row = read_new_row(reader);
  return message;
}

// Delete := 'D' relation_oid:u32 ('K' | 'O') tuple
Delete read_delete(ByteReader& reader) {
  Delete message;
  message.relation = reader.u32("relation OID");
  const std::size_t offset = reader.offset();
  const std::uint8_t kind = reader.u8("old row");
  if (kind != 'K' && kind != 'O') refuse("old row", offset, "does not begin with K or O");
  message.old_kind = static_cast<OldRow>(kind);
  message.old_row = TupleView::read(reader, "old row");
  return message;
}

// Truncate := 'T' count:u32 flags:u8 relation_oid:u32*count
Truncate read_truncate(ByteReader& reader) {
  constexpr std::uint8_t kCascade = 1;
  constexpr std::uint8_t kRestartIdentity = 2;
  Truncate message;
  const std::uint32_t count = reader.u32("relation count");
  const std::uint8_t flags = read_flags(reader, kCascade | kRestartIdentity, "flags");
  message.cascade = (flags & kCascade) != 0;
  message.restart_identity = (flags & kRestartIdentity) != 0;
  for (std::uint32_t i = 0; i < count; ++i) message.relations.push_back(reader.u32("relation OID"));
  return message;
}

// Message := 'M' flags:u8 lsn:u64 prefix:cstring length:u32 bytes
LogicalMessage read_message(ByteReader& reader) {
  LogicalMessage message;
  message.transactional = read_flags(reader, 1, "flags") != 0;
  message.lsn = Lsn(reader.u64("message LSN"));
  message.prefix = reader.cstring("prefix");
  const std::uint32_t length = reader.u32("content length");
  message.content = as_text(reader.bytes(length, "content"));
  return message;
}

// ------------------------------------------------------------------------------------ the message's tag

struct TagName {
  char tag;
  int version;  // of the protocol that has it first
  const char* name;
};
constexpr TagName kNames[] = {{'B', 1, "Begin"},
                              {'C', 1, "Commit"},
                              {'O', 1, "Origin"},
                              {'R', 1, "Relation"},
                              {'Y', 1, "Type"},
                              {'I', 1, "Insert"},
                              {'U', 1, "Update"},
                              {'D', 1, "Delete"},
                              {'T', 1, "Truncate"},
                              {'M', 1, "Message"},
                              {'S', 2, "Stream Start"},
                              {'E', 2, "Stream Stop"},
                              {'c', 2, "Stream Commit"},
                              {'A', 2, "Stream Abort"},
                              {'b', 3, "Begin Prepare"},
                              {'P', 3, "Prepare"},
                              {'K', 3, "Commit Prepared"},
                              {'r', 3, "Rollback Prepared"},
                              {'p', 3, "Stream Prepare"}};

const TagName* find(char tag) {
  for (const TagName& entry : kNames) {
    if (entry.tag == tag) return &entry;
  }
  return nullptr;
}

void check_tag(char tag, int version) {
  const TagName* known = find(tag);
  if (known == nullptr)
    refuse("tag", 0, cat("is unknown: ", static_cast<int>(static_cast<unsigned char>(tag))));
  if (known->version <= version) return;
  throw Error(ErrorKind::malformed, cat("belongs to a later protocol version than ", version),
              cat("start replication with proto_version ", version, ", without streaming and two_phase"));
}

// Inside a stream block the messages that can stand there have their xid first.
template <class M>
M with_xid(M (*read)(ByteReader&), ByteReader& reader, const Place& place) {
  const std::uint32_t xid = place.in_block ? reader.u32("xid") : 0;
  M message = read(reader);
  message.xid = xid;
  return message;
}

Message read_tagged(char tag, ByteReader& reader, const Place& place) {
  switch (tag) {
    case 'I': return with_xid(read_insert, reader, place);
    case 'U': return with_xid(read_update, reader, place);
    case 'D': return with_xid(read_delete, reader, place);
    case 'B': return read_begin(reader);
    case 'C': return read_commit(reader);
    case 'O': return read_origin(reader);
    case 'R': return with_xid(read_relation, reader, place);
    case 'Y': return with_xid(read_type, reader, place);
    case 'T': return with_xid(read_truncate, reader, place);
    case 'M': return with_xid(read_message, reader, place);
    default: return read_later(tag, reader, place);
  }
}

// Says which message it was, and gives what to do next to an error that only knows its field.
Error explain(const Error& error, Bytes payload) {
  const TagName* known = payload.empty() ? nullptr : find(static_cast<char>(payload[0]));
  const std::string what =
      cat("pgoutput message", known == nullptr ? "" : " ", known == nullptr ? "" : known->name);
  const std::string hint =
      error.hint().empty() ? "nothing of it was applied; restart walign to receive it again, and if it comes "
                             "again the same, report it with this message and the server's version"
                           : error.hint();
  return Error(error.kind(), cat(what, ": ", error.message()), hint);
}

Message read_whole(Bytes payload, const Place& place) {
  // PostgreSQL's messages end at 1 GB; within this bound, the lengths of values fit the codes of packed
  // rows.
  constexpr std::size_t kMaxBytes = std::numeric_limits<std::int32_t>::max();
  if (payload.size() > kMaxBytes) refuse("payload", 0, cat("is too long: ", payload.size(), " bytes"));
  ByteReader reader(payload);
  const char tag = static_cast<char>(reader.u8("tag"));
  check_tag(tag, place.version);
  Message message = read_tagged(tag, reader, place);
  reader.expect_end("the message");
  return message;
}

}  // namespace

Message decode(Bytes payload, Place place) {
  try {
    return read_whole(payload, place);
  } catch (const Error& error) {
    throw explain(error, payload);
  }
}

}  // namespace walign::decode
