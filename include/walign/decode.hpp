// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// decode: pgoutput's bytes to messages. One message in, one message out; no state, no allocation but for
// the columns of a RELATION and the list of a TRUNCATE.
//
// The grammar is PostgreSQL's "Logical Replication Message Formats" (protocol.sgml), protocol versions 1 to 4:
//
//   message  := Begin | Commit | Origin | Relation | Type
//             | Insert | Update | Delete | Truncate | Message
//   Begin    := 'B' commit_lsn:u64 commit_time:i64 xid:u32
//   Commit   := 'C' flags:u8=0 commit_lsn:u64 end_lsn:u64 commit_time:i64
//   Origin   := 'O' lsn:u64 name:cstring
//   Relation := 'R' [xid:u32] oid:u32 schema:cstring name:cstring replica_identity:u8 count:u16 column*count
//   column   := flags:u8 name:cstring type_oid:u32 type_modifier:i32
//   Type     := 'Y' [xid:u32] oid:u32 schema:cstring name:cstring
//   Insert   := 'I' [xid:u32] relation_oid:u32 'N' tuple
//   Update   := 'U' [xid:u32] relation_oid:u32 [('K' | 'O') tuple] 'N' tuple
//   Delete   := 'D' [xid:u32] relation_oid:u32 ('K' | 'O') tuple
//   Truncate := 'T' [xid:u32] count:u32 flags:u8 relation_oid:u32*count
//   Message  := 'M' [xid:u32] flags:u8 lsn:u64 prefix:cstring length:u32 bytes
//   tuple    := count:u16 { 'n' | 'u' | ('t' | 'b') length:u32 bytes }*count
//
// from version 2 on, transactions that are still running (between StreamStart and StreamStop, and only there, the
// messages above have their xid, which may be that of a subtransaction):
//
//            | StreamStart | StreamStop | StreamCommit | StreamAbort
//   StreamStart  := 'S' xid:u32 first:u8
//   StreamStop   := 'E'
//   StreamCommit := 'c' xid:u32 flags:u8=0 commit_lsn:u64 end_lsn:u64 commit_time:i64
//   StreamAbort  := 'A' xid:u32 subxid:u32 [abort_lsn:u64 abort_time:i64]     with streaming = parallel (version 4)
//
// and from version 3 on, two-phase commit:
//
//            | BeginPrepare | Prepare | CommitPrepared | RollbackPrepared | StreamPrepare
//   BeginPrepare     := 'b' prepare_lsn:u64 end_lsn:u64 prepare_time:i64 xid:u32 gid:cstring
//   Prepare          := 'P' flags:u8=0 prepare_lsn:u64 end_lsn:u64 prepare_time:i64 xid:u32 gid:cstring
//   CommitPrepared   := 'K' flags:u8=0 commit_lsn:u64 end_lsn:u64 commit_time:i64 xid:u32 gid:cstring
//   RollbackPrepared := 'r' flags:u8=0 prepare_end_lsn:u64 end_lsn:u64 prepare_time:i64 rollback_time:i64
//                           xid:u32 gid:cstring
//   StreamPrepare    := 'p' flags:u8=0 prepare_lsn:u64 end_lsn:u64 prepare_time:i64 xid:u32 gid:cstring
//
// Invariants
//  1. Everything in a message borrows from the bytes given; it lives as long as they do.
//  2. Every length is checked against what is left before it is used; memory is never reserved by a count from the
//     wire.
//  3. An unknown tag, an unknown flag, a missing or a left-over byte is Error(malformed) with the field and its
//     offset; never a crash, never a guess.
//  4. A TupleView has been walked once when it is made: walking it again cannot fail.
//  5. Times are microseconds since 1970-01-01 UTC, as everywhere in walign; an empty schema on the wire, which
//     stands for pg_catalog, is pg_catalog here.
//
// Whether a message has an xid, or an abort its position, does not stand in its bytes: whoever reads the stream
// says where he is in it (Place). A message of a later version than was asked for is refused by name.
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
  std::uint32_t xid = 0;  // inside a stream block; else 0
  std::uint32_t oid;
  std::string_view schema;  // "pg_catalog" where the wire has an empty string
  std::string_view name;
  char replica_identity;  // pg_class.relreplident: d, n, f, i
  std::vector<RelationColumn> columns;
};
struct Type {
  std::uint32_t xid = 0;    // inside a stream block; else 0
  std::uint32_t oid;        // of the column's type, which for a domain is the domain
  std::string_view schema;  // both of the base type, where the type is a domain
  std::string_view name;
};
struct Insert {
  std::uint32_t xid = 0;  // inside a stream block; else 0
  std::uint32_t relation;
  TupleView new_row;
};
enum class OldRow : char { none = 0, key = 'K', full = 'O' };
struct Update {
  std::uint32_t xid = 0;  // inside a stream block; else 0
  std::uint32_t relation;
  OldRow old_kind;
  TupleView old_row;  // empty if old_kind is none
  TupleView new_row;
};
struct Delete {
  std::uint32_t xid = 0;  // inside a stream block; else 0
  std::uint32_t relation;
  OldRow old_kind;  // key or full
  TupleView old_row;
};
struct Truncate {
  std::uint32_t xid = 0;  // inside a stream block; else 0
  std::vector<std::uint32_t> relations;
  bool cascade;
  bool restart_identity;
};
struct LogicalMessage {
  std::uint32_t xid = 0;  // inside a stream block; else 0
  bool transactional;
  Lsn lsn;
  std::string_view prefix;
  std::string_view content;
};

// ------------------------------------------------------------------------ version 2: still running

struct StreamStart {
  std::uint32_t xid;  // top level
  bool first;         // its first block on this connection
};
struct StreamStop {};
struct StreamCommit {
  std::uint32_t xid;
  Lsn commit_lsn;
  Lsn end_lsn;
  std::int64_t commit_time_us;
};
struct StreamAbort {
  std::uint32_t xid;     // top level
  std::uint32_t subxid;  // what is undone; equal to xid where it is the whole transaction
  Lsn abort_lsn;         // both 0 unless streaming is parallel
  std::int64_t abort_time_us;
};

// -------------------------------------------------------------------------- version 3: two phases

struct BeginPrepare {
  Lsn prepare_lsn;
  Lsn end_lsn;
  std::int64_t prepare_time_us;
  std::uint32_t xid;
  std::string_view gid;
};
struct Prepare {
  Lsn prepare_lsn;
  Lsn end_lsn;
  std::int64_t prepare_time_us;
  std::uint32_t xid;
  std::string_view gid;
};
struct CommitPrepared {
  Lsn commit_lsn;
  Lsn end_lsn;
  std::int64_t commit_time_us;
  std::uint32_t xid;
  std::string_view gid;
};
struct RollbackPrepared {
  Lsn prepare_end_lsn;
  Lsn end_lsn;
  std::int64_t prepare_time_us;
  std::int64_t rollback_time_us;
  std::uint32_t xid;
  std::string_view gid;
};
struct StreamPrepare {
  Lsn prepare_lsn;
  Lsn end_lsn;
  std::int64_t prepare_time_us;
  std::uint32_t xid;
  std::string_view gid;
};

using Message = std::variant<Begin, Commit, Origin, Relation, Type, Insert, Update, Delete, Truncate,
                             LogicalMessage, StreamStart, StreamStop, StreamCommit, StreamAbort, BeginPrepare,
                             Prepare, CommitPrepared, RollbackPrepared, StreamPrepare>;

// What was asked for when the stream was opened, and where in it a message stands.
struct Place {
  int version = 1;        // proto_version, 1 to 4
  bool parallel = false;  // streaming = parallel
  bool in_block = false;  // after a StreamStart, before its StreamStop
};

// The one message that `payload` (the body of an XLogData frame) holds.
Message decode(Bytes payload, Place place = {});

}  // namespace walign::decode
