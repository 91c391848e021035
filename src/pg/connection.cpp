// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <libpq-fe.h>
#include <poll.h>

#include <array>
#include <cstdlib>
#include <future>
#include <thread>

#include "failure.hpp"
#include "walign/pg.hpp"
#include "walign/pulse.hpp"
#include "walign/versions.hpp"

namespace walign::pg {

namespace {

constexpr std::array<std::pair<const char*, const char*>, 26> kPinnedSettings = {{
    // the text of values
    {"datestyle", "ISO"},
    {"intervalstyle", "postgres"},
    {"extra_float_digits", "3"},
    {"bytea_output", "hex"},
    {"timezone", "UTC"},
    {"lc_monetary", "C"},
    {"xmloption", "content"},
    {"xmlbinary", "base64"},
    {"array_nulls", "on"},
    {"quote_all_identifiers", "off"},
    {"standard_conforming_strings", "on"},
    // the meaning of names and statements
    {"search_path", ""},
    {"row_security", "off"},
    {"transform_null_equals", "off"},
    {"default_transaction_isolation", "read committed"},
    {"default_transaction_read_only", "off"},
    {"default_transaction_deferrable", "off"},
    // how long they may take, and what they cost
    {"statement_timeout", "0"},
    {"lock_timeout", "0"},
    {"idle_in_transaction_session_timeout", "0"},
    {"idle_session_timeout", "0"},
    {"jit", "off"},
    {"client_min_messages", "warning"},
    {"plan_cache_mode", "auto"},
    {"default_tablespace", ""},
    {"temp_tablespaces", ""},
}};

// "-c name=value" with the escapes that the server's start-up option parser knows.
void append_setting(std::string& options, std::string_view name, std::string_view value) {
  options += cat(" -c ", name, "=");
  for (const char c : value) {
    if (c == ' ' || c == '\\') options += '\\';
    options += c;
  }
}

struct FreeConninfo {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using Conninfo = std::unique_ptr<PQconninfoOption, FreeConninfo>;

Conninfo parse_conninfo(const std::string& conninfo) {
  char* message = nullptr;
  Conninfo parsed(PQconninfoParse(conninfo.c_str(), &message));
  if (parsed) return parsed;
  std::string text = message == nullptr ? "out of memory" : message;
  PQfreemem(message);
  // libpq quotes the offending string, which may hold a password.
  throw Error(ErrorKind::usage, "a connection string in the configuration is not one that libpq understands",
              "write postgresql://user@host:port/database or host=... port=... dbname=... user=...");
}

std::string value_of(const Conninfo& parsed, std::string_view keyword) {
  for (const PQconninfoOption* o = parsed.get(); o->keyword != nullptr; ++o) {
    if (keyword == o->keyword) return o->val == nullptr ? std::string() : std::string(o->val);
  }
  return {};
}

// What the operator asked for by options=... or PGOPTIONS, then ours, which win.
std::string startup_options(const Conninfo& parsed, const ConnectionOptions& options) {
  std::string out = value_of(parsed, "options");
  if (const char* env = std::getenv("PGOPTIONS"); out.empty() && env != nullptr) out = env;
  for (const auto& [name, value] : kPinnedSettings) append_setting(out, name, value);
  for (const auto& [name, value] : options.settings) append_setting(out, name, value);
  return out;
}

using Keywords = std::vector<std::pair<std::string, std::string>>;

Keywords keywords_for(const ConnectionOptions& options) {
  const Conninfo parsed = parse_conninfo(options.conninfo);
  Keywords keywords;
  for (const PQconninfoOption* o = parsed.get(); o->keyword != nullptr; ++o) {
    if (o->val != nullptr) keywords.emplace_back(o->keyword, o->val);
  }
  const auto set = [&](const char* keyword, std::string value) {
    std::erase_if(keywords, [&](const auto& k) { return k.first == keyword; });
    keywords.emplace_back(keyword, std::move(value));
  };
  const auto set_default = [&](const char* keyword, const char* value) {
    if (value_of(parsed, keyword).empty()) keywords.emplace_back(keyword, value);
  };
  set("application_name", options.application_name);
  set("client_encoding", "UTF8");
  set("options", startup_options(parsed, options));
  if (options.replication) set("replication", "database");
  // A peer that vanished is noticed within half a minute, not within the kernel's two hours.
  set_default("connect_timeout", "10");
  set_default("keepalives_idle", "10");
  set_default("keepalives_interval", "5");
  set_default("keepalives_count", "3");
  set_default("tcp_user_timeout", "30000");
  return keywords;
}

std::string describe_connection(const PGconn* conn) {
  const char* host = PQhost(conn);
  std::string out = host == nullptr || *host == 0 ? "local" : host;
  if (const char* port = PQport(conn); port != nullptr && *port != 0) out += cat(":", port);
  return cat(out, "/", PQdb(conn) == nullptr ? "" : PQdb(conn), " as ",
             PQuser(conn) == nullptr ? "" : PQuser(conn));
}

void ignore_notice(void* /*unused*/, const PGresult* /*unused*/) {}

}  // namespace

void Connection::Finish::operator()(pg_conn* conn) const { PQfinish(conn); }

Connection::Connection(const ConnectionOptions& options) : interrupt_(options.interrupt) {
  connect(options);
  if (has_transaction_timeout(server_version())) exec("SET transaction_timeout = 0");
}

Connection::~Connection() = default;
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;

void Connection::connect(const ConnectionOptions& options) {
  const Keywords keywords = keywords_for(options);
  std::vector<const char*> names;
  std::vector<const char*> values;
  for (const auto& [name, value] : keywords) {
    names.push_back(name.c_str());
    values.push_back(value.c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);

  conn_.reset(PQconnectStartParams(names.data(), values.data(), 0));
  if (!conn_) throw Error(ErrorKind::connection, "out of memory for a connection", "free some memory");
  description_ = describe_connection(conn_.get());
  PQsetErrorVerbosity(conn_.get(), PQERRORS_VERBOSE);
  PQsetNoticeReceiver(conn_.get(), ignore_notice, nullptr);

  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (auto state = PGRES_POLLING_WRITING; state != PGRES_POLLING_OK; state = PQconnectPoll(conn_.get())) {
    if (state == PGRES_POLLING_FAILED || PQstatus(conn_.get()) == CONNECTION_BAD) {
      throw error_of_connecting(conn_.get(), description_);
    }
    std::array<pollfd, 2> entries = {
        {{PQsocket(conn_.get()), static_cast<short>(state == PGRES_POLLING_READING ? POLLIN : POLLOUT), 0},
         {interrupt_ == nullptr ? -1 : interrupt_->fd(), POLLIN, 0}}};
    ::poll(entries.data(), entries.size(), 1000);
    Pulse::beat();
    if (interrupt_ != nullptr) interrupt_->throw_if_raised();
    if (std::chrono::steady_clock::now() > deadline) {
      throw Error(ErrorKind::connection, cat("no answer from ", description_, " within 30 s"),
                  "check that the server runs and that the network lets it through");
    }
  }
  description_ = describe_connection(conn_.get());
  PQsetErrorVerbosity(conn_.get(), PQERRORS_DEFAULT);
  PQsetnonblocking(conn_.get(), 1);
}

int Connection::server_version() const { return PQserverVersion(conn_.get()); }
int Connection::backend_pid() const { return PQbackendPID(conn_.get()); }
int Connection::socket() const { return PQsocket(conn_.get()); }
bool Connection::broken() const { return PQstatus(conn_.get()) != CONNECTION_OK; }
bool Connection::in_transaction() const {
  const auto status = PQtransactionStatus(conn_.get());
  return status == PQTRANS_INTRANS || status == PQTRANS_INERROR;
}

void Connection::lost(std::string_view doing) const {
  std::string text = PQerrorMessage(conn_.get());
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  throw Error(ErrorKind::connection,
              cat("the connection to ", description_, " was lost: ", text, ", in: ", shorten(doing)),
              "walign connects again and goes on from the last durable position");
}

// Asks the server to stop what it does, in a connection of its own; best effort. PQcancel waits for the server to
// take notice, without end where it is frozen or unreachable, so it has a thread that may be left behind.
void Connection::cancel() noexcept {
  try {
    const std::shared_ptr<PGcancel> handle(PQgetCancel(conn_.get()), PQfreeCancel);
    if (!handle) return;
    std::promise<void> asked;
    const auto done = asked.get_future();
    std::thread([handle, asked = std::move(asked)]() mutable {
      std::array<char, 256> message{};
      PQcancel(handle.get(), message.data(), static_cast<int>(message.size()));
      asked.set_value();
    }).detach();
    done.wait_for(std::chrono::seconds(1));
  } catch (const std::exception&) {  // no memory or no thread: the server finds out when we are gone
  }
}

void Connection::wait_socket(bool write_too) {
  const auto events = static_cast<short>(write_too ? POLLIN | POLLOUT : POLLIN);
  std::array<pollfd, 2> entries = {
      {{socket(), events, 0}, {interrupt_ == nullptr ? -1 : interrupt_->fd(), POLLIN, 0}}};
  const int slice = Pulse::here() ? static_cast<int>(Pulse::kSlice.count()) : -1;
  const int ready = ::poll(entries.data(), entries.size(), on_wait_ ? 2000 : slice);
  Pulse::beat();
  if (interrupt_ != nullptr && interrupt_->raised()) {
    cancel();
    interrupt_->throw_if_raised();
  }
  if (ready != 0 || !on_wait_) return;
  try {
    on_wait_();
  } catch (...) {
    cancel();
    throw;
  }
}

void Connection::flush() {
  for (int left = PQflush(conn_.get()); left != 0; left = PQflush(conn_.get())) {
    if (left < 0) lost("sending");
    wait_socket(true);
    if (PQconsumeInput(conn_.get()) == 0) lost("sending");
  }
}

pg_result* Connection::next_result() {
  while (PQisBusy(conn_.get()) != 0) {
    wait_socket(false);
    if (PQconsumeInput(conn_.get()) == 0) lost("waiting for an answer");
  }
  return PQgetResult(conn_.get());
}

Result Connection::wait_result(std::string_view sql) {
  flush();
  Result last;
  std::optional<Error> failure;
  for (pg_result* raw = next_result(); raw != nullptr; raw = next_result()) {
    Result result(raw);
    const ExecStatusType status = PQresultStatus(raw);
    if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE) {
      if (!failure) failure = error_of_result(raw, sql);
    } else {
      last = std::move(result);
    }
    if (status == PGRES_COPY_BOTH || status == PGRES_COPY_IN || status == PGRES_COPY_OUT) break;
  }
  if (broken()) lost(sql);
  if (failure) throw Error(*failure);
  return last;
}

Result Connection::exec(const std::string& sql) {
  if (PQsendQuery(conn_.get(), sql.c_str()) == 0) lost(sql);
  return wait_result(sql);
}

Result Connection::query(const std::string& sql, const std::vector<std::string>& params) {
  std::vector<Param> borrowed;
  borrowed.reserve(params.size());
  for (const auto& p : params) borrowed.push_back({p, 0, false, false});
  return query_params(sql, borrowed);
}

namespace {

// libpq's parallel arrays; text parameters must end in a zero byte, so they are copied.
struct RawParams {
  explicit RawParams(const std::vector<Param>& params) {
    copies.reserve(params.size());
    for (const auto& p : params) {
      types.push_back(p.type);
      formats.push_back(p.binary ? 1 : 0);
      lengths.push_back(static_cast<int>(p.bytes.size()));
      if (p.null) {
        values.push_back(nullptr);
      } else if (p.binary) {
        values.push_back(p.bytes.data());
      } else {
        values.push_back(copies.emplace_back(p.bytes).c_str());
      }
    }
  }
  [[nodiscard]] int count() const { return static_cast<int>(values.size()); }
  std::vector<std::string> copies;
  std::vector<Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
};

}  // namespace

Result Connection::query_params(const std::string& sql, const std::vector<Param>& params) {
  const RawParams raw(params);
  if (PQsendQueryParams(conn_.get(), sql.c_str(), raw.count(), raw.types.data(), raw.values.data(),
                        raw.lengths.data(), raw.formats.data(), 0) == 0) {
    lost(sql);
  }
  return wait_result(sql);
}

// ----------------------------------------------------------------------------------------- pipeline

Pipeline::Pipeline(Connection& connection) : connection_(connection) {
  if (PQenterPipelineMode(connection_.conn_.get()) == 0) connection_.lost("entering pipeline mode");
}

Pipeline::~Pipeline() {
  if (!finished_) return;  // thrown out of the middle: the connection is not used again
  PQexitPipelineMode(connection_.conn_.get());
}

void Pipeline::sent_one(bool ok) {
  if (!ok) connection_.lost("sending");
  ++sent_;
  // Sends what the socket takes; what it does not take waits in libpq's buffer until finish().
  if (PQflush(connection_.conn_.get()) < 0) connection_.lost("sending");
}

void Pipeline::send(const std::string& sql, const std::vector<Param>& params) {
  const RawParams raw(params);
  sent_one(PQsendQueryParams(connection_.conn_.get(), sql.c_str(), raw.count(), raw.types.data(),
                             raw.values.data(), raw.lengths.data(), raw.formats.data(), 0) != 0);
}

void Pipeline::prepare(const std::string& name, const std::string& sql, const std::vector<Oid>& types) {
  sent_one(PQsendPrepare(connection_.conn_.get(), name.c_str(), sql.c_str(), static_cast<int>(types.size()),
                         types.data()) != 0);
}

void Pipeline::send_prepared(const std::string& name, const std::vector<Param>& params) {
  const RawParams raw(params);
  sent_one(PQsendQueryPrepared(connection_.conn_.get(), name.c_str(), raw.count(), raw.values.data(),
                               raw.lengths.data(), raw.formats.data(), 0) != 0);
}

std::vector<Result> Pipeline::finish() {
  PGconn* conn = connection_.conn_.get();
  if (PQpipelineSync(conn) == 0) connection_.lost("sending");
  connection_.flush();
  std::vector<Result> results;
  results.reserve(sent_);
  std::optional<Error> failure;
  for (bool synced = false; !synced;) {
    pg_result* raw = connection_.next_result();
    if (raw == nullptr) {  // the end of one statement's results
      if (connection_.broken()) connection_.lost("waiting for a pipeline");
      continue;
    }
    Result result(raw);
    switch (PQresultStatus(raw)) {
      case PGRES_PIPELINE_SYNC: synced = true; break;
      case PGRES_PIPELINE_ABORTED: break;
      case PGRES_FATAL_ERROR:
        if (connection_.broken()) connection_.lost("waiting for a pipeline");
        if (!failure) {
          failed_index_ = results.size();
          failure = error_of_result(raw, "a statement of a batch");
        }
        break;
      default: results.push_back(std::move(result)); break;
    }
  }
  finished_ = true;
  if (failure) throw Error(*failure);
  return results;
}

// ------------------------------------------------------------------------------------------ results

void Result::Free::operator()(pg_result* result) const { PQclear(result); }

int Result::rows() const { return PQntuples(result_.get()); }
int Result::columns() const { return PQnfields(result_.get()); }
bool Result::is_null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }

std::string_view Result::text(int row, int column) const {
  WALIGN_CHECK(row >= 0 && row < rows() && column >= 0 && column < columns());
  return {PQgetvalue(result_.get(), row, column),
          static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

std::int64_t Result::integer(int row, int column) const {
  const auto digits = text(row, column);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  WALIGN_CHECK(error == std::errc() && end == digits.data() + digits.size());
  return value;
}

Lsn Result::lsn(int row, int column) const {
  if (is_null(row, column)) return {};
  const auto parsed = Lsn::parse(text(row, column));
  WALIGN_CHECK(parsed.has_value());
  return *parsed;
}

std::int64_t Result::affected() const {
  const std::string_view digits = PQcmdTuples(result_.get());
  std::int64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

void Result::throw_if_failed(std::string_view doing) const {
  if (result_ != nullptr && PQresultStatus(result_.get()) == PGRES_FATAL_ERROR) {
    throw error_of_result(result_.get(), doing);
  }
}

std::string describe_conninfo(const std::string& conninfo) {
  const Conninfo parsed = parse_conninfo(conninfo);
  const std::string host = value_of(parsed, "host");
  const std::string port = value_of(parsed, "port");
  return cat(host.empty() ? "local" : host, port.empty() ? "" : ":", port, "/", value_of(parsed, "dbname"));
}

}  // namespace walign::pg
