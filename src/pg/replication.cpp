// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The streaming replication sub-protocol inside COPY BOTH (PostgreSQL's protocol.sgml):
//   from the server  'w' start:u64 end:u64 time:i64 payload        XLogData
//                    'k' end:u64 time:i64 reply:u8                  keepalive
//   to the server    'r' received:u64 flushed:u64 applied:u64 time:i64 reply:u8
#include <libpq-fe.h>

#include <array>

#include "failure.hpp"
#include "walign/pg.hpp"

namespace walign::pg {

namespace {

constexpr std::int64_t kPostgresEpochMicros = 946684800000000;  // 2000-01-01

void put_u64(std::string& out, std::uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    out += static_cast<char>((value >> static_cast<unsigned>(shift)) & 0xFFU);
  }
}

ReplicationFrame parse_frame(ByteReader& reader) {
  ReplicationFrame frame;
  const auto tag = static_cast<char>(reader.u8("tag"));
  if (tag == 'w') {
    reader.u64("WAL start");
    frame.wal_end = Lsn(reader.u64("WAL end"));
    frame.server_time_us = reader.i64("server time") + kPostgresEpochMicros;
    frame.payload = reader.rest();
  } else if (tag == 'k') {
    frame.kind = ReplicationFrame::Kind::keepalive;
    frame.wal_end = Lsn(reader.u64("WAL end"));
    frame.server_time_us = reader.i64("server time") + kPostgresEpochMicros;
    frame.reply_requested = reader.u8("reply requested") != 0;
    reader.expect_end("keepalive");
  } else {
    throw Error(ErrorKind::malformed, cat("unknown tag ", static_cast<int>(tag)));
  }
  return frame;
}

ReplicationFrame read_frame(Bytes bytes) {
  ByteReader reader(bytes);
  try {
    return parse_frame(reader);
  } catch (const Error& error) {
    throw Error(
        error.kind(), cat("replication frame: ", error.message()),
        "the server speaks another protocol; check that its version is one that walign supports, and that "
        "nothing between the two changes what it sends");
  }
}

}  // namespace

ReplicationStream::ReplicationStream(Connection& connection, const std::string& slot, Lsn from,
                                     const std::string& options)
    : connection_(connection) {
  connection_.exec(cat("START_REPLICATION SLOT ", quote_ident(slot), " LOGICAL ", from, " (", options, ")"));
}

ReplicationStream::~ReplicationStream() { PQfreemem(buffer_); }

std::optional<ReplicationFrame> ReplicationStream::receive() {
  PQfreemem(buffer_);
  buffer_ = nullptr;
  PGconn* conn = connection_.conn_.get();
  int size = PQgetCopyData(conn, &buffer_, 1);
  if (size == 0) {
    if (PQconsumeInput(conn) == 0) connection_.lost("streaming");
    size = PQgetCopyData(conn, &buffer_, 1);
    if (size == 0) return std::nullopt;
  }
  if (size < 0) {  // an error, or the server's shutdown, which ends the COPY
    const Result ended(PQgetResult(conn));
    ended.throw_if_failed("streaming");
    connection_.lost("streaming");
  }
  return read_frame(Bytes(reinterpret_cast<const std::byte*>(buffer_), static_cast<std::size_t>(size)));
}

void ReplicationStream::send_status(Lsn received, Lsn flushed, Lsn applied, bool ask) {
  std::string message = "r";
  put_u64(message, received.value);
  put_u64(message, flushed.value);
  put_u64(message, applied.value);
  put_u64(message, static_cast<std::uint64_t>(Clock::system().unix_micros() - kPostgresEpochMicros));
  message += ask ? '\1' : '\0';
  PGconn* conn = connection_.conn_.get();
  if (PQputCopyData(conn, message.data(), static_cast<int>(message.size())) < 0 || PQflush(conn) < 0) {
    connection_.lost("sending a status update");
  }
}

}  // namespace walign::pg
