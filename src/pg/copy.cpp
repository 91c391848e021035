// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <libpq-fe.h>

#include "failure.hpp"
#include "walign/pg.hpp"

namespace walign::pg {

CopyOut::CopyOut(Connection& connection, const std::string& sql) : connection_(connection) {
  connection_.exec(sql);
}

CopyOut::~CopyOut() { PQfreemem(buffer_); }

std::optional<std::string_view> CopyOut::next() {
  PQfreemem(buffer_);
  buffer_ = nullptr;
  PGconn* conn = connection_.conn_.get();
  for (;;) {
    const int size = PQgetCopyData(conn, &buffer_, 1);
    if (size > 0) return std::string_view(buffer_, static_cast<std::size_t>(size));
    if (size < 0) break;
    connection_.wait_socket(false);
    if (PQconsumeInput(conn) == 0) connection_.lost("reading a COPY");
  }
  connection_.wait_result("COPY ... TO STDOUT");
  return std::nullopt;
}

CopyIn::CopyIn(Connection& connection, const std::string& sql) : connection_(connection) {
  connection_.exec(sql);
}

void CopyIn::write(std::string_view bytes) {
  constexpr std::size_t kMostUnflushed = std::size_t{64} << 10U;
  PGconn* conn = connection_.conn_.get();
  while (true) {
    const int queued = PQputCopyData(conn, bytes.data(), static_cast<int>(bytes.size()));
    if (queued < 0) connection_.lost("writing a COPY");
    if (queued > 0) break;
    connection_.flush();
  }
  unflushed_bytes_ += bytes.size();
  if (unflushed_bytes_ < kMostUnflushed) return;
  unflushed_bytes_ = 0;
  connection_.flush();
}

std::int64_t CopyIn::finish() {
  PGconn* conn = connection_.conn_.get();
  for (int ended = 0; ended == 0;) {
    ended = PQputCopyEnd(conn, nullptr);
    if (ended < 0) connection_.lost("ending a COPY");
    if (ended == 0) connection_.flush();
  }
  return connection_.wait_result("COPY ... FROM STDIN").affected();
}

}  // namespace walign::pg
