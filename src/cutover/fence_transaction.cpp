// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "fence_transaction.hpp"

namespace walign::cutover {

namespace {

std::string opening_words(const Waits& waits) {
  std::string sql =
      cat("BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL idle_in_transaction_session_timeout = ",
          kMaxIdle.count(), "; ");
  if (waits.lock > Millis(0)) sql += cat("SET LOCAL lock_timeout = ", waits.lock.count(), "; ");
  if (waits.statement > Millis(0))
    sql += cat("SET LOCAL statement_timeout = ", waits.statement.count(), "; ");
  if (waits.break_deadlocks) sql += "SET LOCAL deadlock_timeout = 50; ";
  return sql;
}

void roll_back_quietly(pg::Connection& server) noexcept {
  try {
    if (!server.broken()) server.exec("ROLLBACK");
  } catch (const std::exception&) {  // the connection went, and the transaction with it
  }
}

}  // namespace

bool may_set_deadlock_timeout(pg::Connection& server) {
  return server.exec("SELECT pg_catalog.has_parameter_privilege('deadlock_timeout', 'SET')").boolean(0, 0);
}

FenceTransaction::FenceTransaction(pg::Connection& server, const Waits& waits, const std::string& first)
    : server_(server) {
  try {
    server_.exec(opening_words(waits) + first);
  } catch (...) {
    roll_back_quietly(server_);
    throw;
  }
}

FenceTransaction::~FenceTransaction() {
  if (open_) roll_back_quietly(server_);
}

void FenceTransaction::commit(const std::string& doing, const std::string& last) {
  if (!last.empty()) server_.exec(last);
  open_ = false;
  commit_or_doubt(server_, doing);
}

void FenceTransaction::rollback() {
  open_ = false;
  server_.exec("ROLLBACK");
}

Lsn end_of_wal(pg::Connection& server) noexcept {
  try {
    return server.exec("SELECT pg_catalog.pg_current_wal_insert_lsn()").lsn(0, 0);
  } catch (const std::exception&) {  // as the header says
    return {};
  }
}

void commit_or_doubt(pg::Connection& server, const std::string& doing) {
  try {
    server.exec("COMMIT");
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::connection && error.kind() != ErrorKind::interrupted) {
      roll_back_quietly(server);
      throw;
    }
    throw Error(ErrorKind::in_doubt, cat(doing, ": the answer to COMMIT is lost: ", error.message()),
                "the row tells what happened: it is locked and read again");
  }
}

}  // namespace walign::cutover
