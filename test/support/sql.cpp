#include "support/sql.hpp"

#include <libpq-fe.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

namespace walign::test {

namespace {

// By SET and not in the connection string: that could hold `options` of its own, and these come last.
constexpr const char* kPinned =
    "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = postgres; SET extra_float_digits = 3;"
    "SET bytea_output = hex; SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET xmloption = content;"
    "SET client_encoding = UTF8; SET quote_all_identifiers = off; SET array_nulls = on;"
    "SET standard_conforming_strings = on; SET statement_timeout = 0; SET lock_timeout = 0;"
    "SET client_min_messages = warning";

struct Clear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, Clear>;

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Result checked(PGconn* connection, PGresult* raw, const std::string& sql) {
  Result result(raw);
  const ExecStatusType status = PQresultStatus(raw);
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY) return result;
  const char* state = raw == nullptr ? nullptr : PQresultErrorField(raw, PG_DIAG_SQLSTATE);
  const std::string message = raw == nullptr ? PQerrorMessage(connection) : PQresultErrorMessage(raw);
  throw SqlError(trimmed(message) + "\n  in: " + sql.substr(0, 2000), state == nullptr ? "" : state);
}

Result execute(PGconn* connection, const std::string& sql, const std::vector<Value>& parameters) {
  std::vector<const char*> values;
  for (const auto& parameter : parameters) values.push_back(parameter ? parameter->c_str() : nullptr);
  return checked(connection,
                 PQexecParams(connection, sql.c_str(), static_cast<int>(values.size()), nullptr,
                              values.data(), nullptr, nullptr, 0),
                 sql);
}

Value cell(const PGresult* result, int row, int column) {
  if (PQgetisnull(result, row, column) != 0) return std::nullopt;
  return std::string(PQgetvalue(result, row, column),
                     static_cast<std::size_t>(PQgetlength(result, row, column)));
}

// psql takes care of a message for every notice; tests would drown in them.
void ignore_notice(void* /*unused*/, const PGresult* /*result*/) {}

}  // namespace

void Sql::Finish::operator()(pg_conn* connection) const { PQfinish(connection); }

Sql::Sql(std::string conninfo) : conninfo_(std::move(conninfo)) { connect(); }

void Sql::connect() {
  connection_.reset(PQconnectdb(conninfo_.c_str()));
  if (PQstatus(connection_.get()) != CONNECTION_OK) {
    throw SqlError(trimmed(PQerrorMessage(connection_.get())), "");
  }
  PQsetNoticeReceiver(connection_.get(), ignore_notice, nullptr);
  exec(kPinned);
}

bool Sql::alive() {
  const Result result(PQexec(connection_.get(), "SELECT 1"));
  return PQresultStatus(result.get()) == PGRES_TUPLES_OK;
}

void Sql::reconnect() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (;;) {
    try {
      return connect();
    } catch (const SqlError&) {
      if (std::chrono::steady_clock::now() >= deadline) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

int Sql::backend_pid() const { return PQbackendPID(connection_.get()); }

void Sql::exec(const std::string& sql) {
  checked(connection_.get(), PQexec(connection_.get(), sql.c_str()), sql);
}

void Sql::exec_file(const std::string& path) {
  const std::string full = path.starts_with('/') ? path : WALIGN_TEST_DATA "/sql/" + path;
  std::ifstream file(full);
  if (!file) throw std::runtime_error("cannot read " + full);
  std::ostringstream text;
  text << file.rdbuf();
  exec(text.str());
}

Rows Sql::rows(const std::string& sql, const std::vector<Value>& parameters) {
  const Result result = execute(connection_.get(), sql, parameters);
  Rows out(static_cast<std::size_t>(PQntuples(result.get())));
  for (int r = 0; r < PQntuples(result.get()); ++r) {
    for (int c = 0; c < PQnfields(result.get()); ++c) {
      out[static_cast<std::size_t>(r)].push_back(cell(result.get(), r, c));
    }
  }
  return out;
}

Row Sql::row(const std::string& sql, const std::vector<Value>& parameters) {
  Rows all = rows(sql, parameters);
  if (all.size() != 1) throw SqlError(std::to_string(all.size()) + " rows, not one\n  in: " + sql, "");
  return std::move(all.front());
}

Value Sql::value(const std::string& sql, const std::vector<Value>& parameters) {
  Row one = row(sql, parameters);
  if (one.size() != 1) throw SqlError(std::to_string(one.size()) + " columns, not one\n  in: " + sql, "");
  return std::move(one.front());
}

std::int64_t Sql::affected(const std::string& sql, const std::vector<Value>& parameters) {
  const Result result = execute(connection_.get(), sql, parameters);
  const std::string count = PQcmdTuples(result.get());
  return count.empty() ? 0 : std::stoll(count);
}

template <>
std::string Sql::scalar<std::string>(const std::string& sql, const std::vector<Value>& parameters) {
  Value one = value(sql, parameters);
  if (!one) throw SqlError("NULL, not a value\n  in: " + sql, "");
  return std::move(*one);
}
template <>
std::int64_t Sql::scalar<std::int64_t>(const std::string& sql, const std::vector<Value>& parameters) {
  return std::stoll(scalar(sql, parameters));
}
template <>
int Sql::scalar<int>(const std::string& sql, const std::vector<Value>& parameters) {
  return std::stoi(scalar(sql, parameters));
}
template <>
double Sql::scalar<double>(const std::string& sql, const std::vector<Value>& parameters) {
  return std::stod(scalar(sql, parameters));
}
template <>
bool Sql::scalar<bool>(const std::string& sql, const std::vector<Value>& parameters) {
  return scalar(sql, parameters) == "t";
}

std::string quote_ident(const std::string& name) {
  std::string out = "\"";
  for (const char c : name) out.append(c == '"' ? 2 : 1, c);
  return out + '"';
}

std::string quote_literal(const std::string& text) {
  std::string out = text.find('\\') == std::string::npos ? "'" : " E'";
  for (const char c : text) out.append(c == '\'' || c == '\\' ? 2 : 1, c);
  return out + '\'';
}

}  // namespace walign::test
