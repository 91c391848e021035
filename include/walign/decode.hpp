// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// decode: pgoutput's bytes to messages. One message in, one message out; no state, no allocation but for
// the columns of a RELATION and the list of a TRUNCATE.
//
// The grammar is PostgreSQL's "Logical Replication Message Formats" (protocol.sgml), protocol version 1:
//
//   message  := Begin | Commit | Origin | Relation | Type
//             | Insert | Update | Delete | Truncate | Message
//   Begin    := 'B' commit_lsn:u64 commit_time:i64 xid:u32
//   Commit   := 'C' flags:u8=0 commit_lsn:u64 end_lsn:u64 commit_time:i64
//   Origin   := 'O' lsn:u64 name:cstring
//   Relation := 'R' oid:u32 schema:cstring name:cstring replica_identity:u8 count:u16 column*count
//   column   := flags:u8 name:cstring type_oid:u32 type_modifier:i32
//   Type     := 'Y' oid:u32 schema:cstring name:cstring
//   Insert   := 'I' relation_oid:u32 'N' tuple
//   Update   := 'U' relation_oid:u32 [('K' | 'O') tuple] 'N' tuple
//   Delete   := 'D' relation_oid:u32 ('K' | 'O') tuple
//   Truncate := 'T' count:u32 flags:u8 relation_oid:u32*count
//   Message  := 'M' flags:u8 lsn:u64 prefix:cstring length:u32 bytes
//   tuple    := count:u16 { 'n' | 'u' | ('t' | 'b') length:u32 bytes }*count
//
// Invariants
//  1. Everything in a message borrows from the bytes given; it lives as long as they do.
//  2. Every length is checked against what is left before it is used; memory is never reserved by a
//  count
//     from the wire.
//  3. An unknown tag, an unknown flag, a missing or a left-over byte is Error(malformed) with the field
//  and
//     its offset; never a crash, never a guess.
//  4. A TupleView has been walked once when it is made: walking it again cannot fail.
//  5. Times are microseconds since 1970-01-01 UTC, as everywhere in walign; an empty schema on the wire,
//  which
//     stands for pg_catalog, is pg_catalog here.
//
// A message of a later protocol version (a stream block, a prepared transaction) is refused by name.
// Threads: pure functions, any thread.
#pragma once

#include <variant>

#include "walign/base.hpp"

namespace walign::decode {

// PostgreSQL counts time in microseconds since 2000-01-01 UTC; ours is since 1970-01-01 UTC.
inline constexpr std::int64_t kPostgresEpochMicros = 946684800000000;

enum class ValueKind : char {
  null = 'n',
  unchanged_toast = 'u',
  text = 't',
  binary = 'b',
};

struct Value {
  ValueKind kind;
  std::string_view bytes;  // empty unless text or binary
};

// The values of one row, walked from the first to the last.
class TupleView {
 public:
  TupleView() = default;
  [[nodiscard]] std::uint16_t columns() const { return columns_; }
  // The bytes of all values together: what a packed copy needs.
  [[nodiscard]] std::size_t value_bytes() const { return value_bytes_; }

  // visit(Value) for each column, in order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    const std::byte* at = encoded_.data();
    for (std::uint16_t i = 0; i < columns_; ++i) visit(next(at));
  }

  // Walks the tuple at the reader's place; `field` is its name in errors.
  static TupleView read(ByteReader& reader, const char* field);

 private:
  // Unchecked: read() has been here.
  static Value next(const std::byte*& at) {
    const auto kind = static_cast<ValueKind>(*at++);
    if (kind == ValueKind::null || kind == ValueKind::unchanged_toast) return {kind, {}};
    const auto byte = [at](int i) { return static_cast<std::uint32_t>(at[i]); };
    const std::size_t size = (byte(0) << 24U) | (byte(1) << 16U) | (byte(2) << 8U) | byte(3);
    const std::string_view bytes = as_text({at + 4, size});
    at += 4 + size;
    return {kind, bytes};
  }

  Bytes encoded_;  // after the count
  std::uint16_t columns_ = 0;
  std::size_t value_bytes_ = 0;
};

struct Begin {
  Lsn commit_lsn;               // where the commit record begins ("final LSN")
  std::int64_t commit_time_us;  // since 1970
  std::uint32_t xid;            // top level
};
struct Commit {
  Lsn commit_lsn;
  Lsn end_lsn;  // where the commit record ends
  std::int64_t commit_time_us;
};
struct Origin {
  Lsn lsn;  // on the origin
  std::string_view name;
};
struct RelationColumn {
  bool part_of_identity;
  std::string_view name;
  std::uint32_t type_oid;
  std::int32_t type_modifier;
};
struct Relation {
  std::uint32_t oid;
  std::string_view schema;  // "pg_catalog" where the wire has an empty string
  std::string_view name;
  char replica_identity;  // pg_class.relreplident: d, n, f, i
  std::vector<RelationColumn> columns;
};
struct Type {
  std::uint32_t oid;        // of the column's type, which for a domain is the domain
  std::string_view schema;  // both of the base type, where the type is a domain
  std::string_view name;
};
struct Insert {
  std::uint32_t relation;
  TupleView new_row;
};
enum class OldRow : char { none = 0, key = 'K', full = 'O' };
struct Update {
  std::uint32_t relation;
  OldRow old_kind;
  TupleView old_row;  // empty if old_kind is none
  TupleView new_row;
};
struct Delete {
  std::uint32_t relation;
  OldRow old_kind;  // key or full
  TupleView old_row;
};
struct Truncate {
  std::vector<std::uint32_t> relations;
  bool cascade;
  bool restart_identity;
};
struct LogicalMessage {
  bool transactional;
  Lsn lsn;
  std::string_view prefix;
  std::string_view content;
};

using Message =
    std::variant<Begin, Commit, Origin, Relation, Type, Insert, Update, Delete, Truncate, LogicalMessage>;

// The one message that `payload` (the body of an XLogData frame) holds.
Message decode(Bytes payload);

}  // namespace walign::decode
