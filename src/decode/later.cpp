// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One reader per message, below its grammar, as in decode.cpp.
#include "decode/later.hpp"

#include "decode/fields.hpp"

namespace walign::decode {

namespace {

// StreamStart := 'S' xid:u32 first:u8
StreamStart read_stream_start(ByteReader& reader) {
  StreamStart message{};
  message.xid = reader.u32("xid");
  message.first = read_flags(reader, 1, "first segment") != 0;
  return message;
}

// StreamCommit := 'c' xid:u32 flags:u8=0 commit_lsn:u64 end_lsn:u64 commit_time:i64
StreamCommit read_stream_commit(ByteReader& reader) {
  StreamCommit message{};
  message.xid = reader.u32("xid");
  read_flags(reader, 0, "flags");
  message.commit_lsn = Lsn(reader.u64("commit LSN"));
  message.end_lsn = Lsn(reader.u64("end LSN"));
  message.commit_time_us = read_time(reader, "commit time");
  return message;
}

// StreamAbort := 'A' xid:u32 subxid:u32 [abort_lsn:u64 abort_time:i64]
StreamAbort read_stream_abort(ByteReader& reader, bool parallel) {
  StreamAbort message{};
  message.xid = reader.u32("xid");
  message.subxid = reader.u32("subtransaction xid");
  if (!parallel) return message;
  message.abort_lsn = Lsn(reader.u64("abort LSN"));
  message.abort_time_us = read_time(reader, "abort time");
  return message;
}

// prepare_lsn:u64 end_lsn:u64 prepare_time:i64 xid:u32 gid:cstring
template <class M>
M read_prepared(ByteReader& reader) {
  M message{};
  message.prepare_lsn = Lsn(reader.u64("prepare LSN"));
  message.end_lsn = Lsn(reader.u64("end LSN"));
  message.prepare_time_us = read_time(reader, "prepare time");
  message.xid = reader.u32("xid");
  message.gid = reader.cstring("gid");
  return message;
}

// Prepare, StreamPrepare := tag flags:u8=0 and the same
template <class M>
M read_prepare(ByteReader& reader) {
  read_flags(reader, 0, "flags");
  return read_prepared<M>(reader);
}

// CommitPrepared := 'K' flags:u8=0 commit_lsn:u64 end_lsn:u64 commit_time:i64 xid:u32 gid:cstring
CommitPrepared read_commit_prepared(ByteReader& reader) {
  read_flags(reader, 0, "flags");
  CommitPrepared message{};
  message.commit_lsn = Lsn(reader.u64("commit LSN"));
  message.end_lsn = Lsn(reader.u64("end LSN"));
  message.commit_time_us = read_time(reader, "commit time");
  message.xid = reader.u32("xid");
  message.gid = reader.cstring("gid");
  return message;
}

// RollbackPrepared := 'r' flags:u8=0 prepare_end_lsn:u64 end_lsn:u64 prepare_time:i64 rollback_time:i64
//                         xid:u32 gid:cstring
RollbackPrepared read_rollback_prepared(ByteReader& reader) {
  read_flags(reader, 0, "flags");
  RollbackPrepared message{};
  message.prepare_end_lsn = Lsn(reader.u64("prepare end LSN"));
  message.end_lsn = Lsn(reader.u64("end LSN"));
  message.prepare_time_us = read_time(reader, "prepare time");
  message.rollback_time_us = read_time(reader, "rollback time");
  message.xid = reader.u32("xid");
  message.gid = reader.cstring("gid");
  return message;
}

}  // namespace

Message read_later(char tag, ByteReader& reader, const Place& place) {
  switch (tag) {
    case 'S': return read_stream_start(reader);
    case 'E': return StreamStop{};
    case 'c': return read_stream_commit(reader);
    case 'A': return read_stream_abort(reader, place.parallel);
    case 'b': return read_prepared<BeginPrepare>(reader);
    case 'P': return read_prepare<Prepare>(reader);
    case 'K': return read_commit_prepared(reader);
    case 'r': return read_rollback_prepared(reader);
    case 'p': return read_prepare<StreamPrepare>(reader);
    default: WALIGN_CHECK(false);
  }
}

}  // namespace walign::decode
