// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// pg: PostgreSQL from the client's side. The only room that knows libpq: connections, results, pipelines,
// the replication sub-protocol's bytes, quoting and arrays. What a statement means is its caller's business.
//
// Every connection is made with the same pinned settings (start-up options, so that no ALTER DATABASE or
// ALTER ROLE ... SET changes the text of a value or the meaning of a name): see kPinnedSettings in
// connection.cpp, which is RULES 24 as a list.
//
// Invariants
//  1. A connection and everything made from it is one world, owned by one thread at a time.
//  2. Every wait ends when the Interrupt is raised: the statement is cancelled, Error(interrupted) thrown.
//  3. A failed statement throws; its Error has the server's SQLSTATE, message, detail and hint. After a lost
//     connection (kind connection) the object is good for nothing but being destroyed.
//  4. Nothing here retries, and no password reaches a message.
//
// Kinds: SQLSTATE class 08, 57P0x and a lost socket are `connection`; 40xxx, 53300, 55006 and 55P03 are
// `transient`; 28xxx, 3D000, 42501 and 55000 at connecting or as a rule of the server are `precondition`;
// the rest is `query`.
#pragma once

#include <memory>

#include "walign/base.hpp"

struct pg_conn;
struct pg_result;

namespace walign::pg {

using Oid = std::uint32_t;
inline constexpr Oid kTextArrayOid = 1009;  // _text in pg_type.dat

struct ConnectionOptions {
  std::string conninfo;          // URL or key=value, as libpq takes them
  std::string application_name;  // shown in pg_stat_activity
  bool replication = false;      // a walsender of the database (replication=database)
  std::vector<std::pair<std::string, std::string>> settings;  // beside the pinned ones
  const Interrupt* interrupt = nullptr;                       // borrowed; outlives the connection
};

// The rows of one statement. Values borrow from it.
class Result {
 public:
  Result() = default;
  explicit Result(pg_result* result) : result_(result) {}

  [[nodiscard]] int rows() const;
  [[nodiscard]] int columns() const;
  [[nodiscard]] bool is_null(int row, int column) const;
  [[nodiscard]] std::string_view text(int row, int column) const;  // empty for NULL
  [[nodiscard]] std::string str(int row, int column) const { return std::string(text(row, column)); }
  [[nodiscard]] std::int64_t integer(int row, int column) const;  // Error(bug) unless it is one
  [[nodiscard]] bool boolean(int row, int column) const { return text(row, column) == "t"; }
  [[nodiscard]] Lsn lsn(int row, int column) const;  // 0 for NULL
  // Rows the statement inserted, updated, deleted or selected.
  [[nodiscard]] std::int64_t affected() const;
  // Throws the Error that this is, if it is one; `doing` is what was tried.
  void throw_if_failed(std::string_view doing) const;

 private:
  struct Free {
    void operator()(pg_result* result) const;
  };
  std::unique_ptr<pg_result, Free> result_;
};

// One parameter of a statement; borrows its bytes.
struct Param {
  std::string_view bytes;
  Oid type = 0;  // 0: the server decides
  bool binary = false;
  bool null = false;
};

class Connection {
 public:
  explicit Connection(const ConnectionOptions& options);
  ~Connection();
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;

  // Simple protocol: one statement or several, separated by ';'; the last one's result.
  Result exec(const std::string& sql);
  // Extended protocol with text parameters.
  Result query(const std::string& sql, const std::vector<std::string>& params);
  Result query_params(const std::string& sql, const std::vector<Param>& params);

  // Called about every two seconds while an answer is awaited, so that nothing waits in silence. It may throw to
  // give up: the statement is cancelled.
  void on_wait(std::function<void()> callback) { on_wait_ = std::move(callback); }

  [[nodiscard]] int server_version() const;  // 150013 for 15.13
  [[nodiscard]] int backend_pid() const;
  [[nodiscard]] int socket() const;
  [[nodiscard]] bool broken() const;
  [[nodiscard]] bool in_transaction() const;  // between BEGIN and its end, failed or not
  // host:port/database as user, without secrets, for messages.
  [[nodiscard]] const std::string& describe() const { return description_; }

 private:
  friend class Pipeline;
  friend class CopyOut;
  friend class CopyIn;
  friend class ReplicationStream;
  void connect(const ConnectionOptions& options);
  Result wait_result(std::string_view sql);
  pg_result* next_result();
  void flush();
  void wait_socket(bool write_too);
  void cancel() noexcept;
  [[noreturn]] void lost(std::string_view doing) const;

  struct Finish {
    void operator()(pg_conn* conn) const;
  };
  std::unique_ptr<pg_conn, Finish> conn_;
  const Interrupt* interrupt_ = nullptr;
  std::function<void()> on_wait_;
  std::string description_;
};

// Several statements sent without waiting for each one's answer (libpq pipeline mode), in one go:
//
//   Pipeline p(connection); p.send("BEGIN"); p.send_prepared("w1", params); p.send("COMMIT");
//   auto results = p.finish();
//
// finish() gives the results in order. The first failure is thrown as its Error after everything sent has
// been answered (the rest was skipped by the server), with failed_index() telling which one it was.
class Pipeline {
 public:
  explicit Pipeline(Connection& connection);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  void send(const std::string& sql, const std::vector<Param>& params = {});
  void prepare(const std::string& name, const std::string& sql, const std::vector<Oid>& types);
  void send_prepared(const std::string& name, const std::vector<Param>& params);
  std::vector<Result> finish();

  [[nodiscard]] std::size_t sent() const { return sent_; }
  [[nodiscard]] std::size_t failed_index() const { return failed_index_; }

 private:
  void sent_one(bool ok);

  Connection& connection_;
  std::size_t sent_ = 0;
  std::size_t failed_index_ = 0;
  bool finished_ = false;
};

// ------------------------------------------------------------------------------------------- COPY

// COPY ... TO STDOUT. Pieces come as the server sends them: a row each, in text and binary format alike (the binary
// format's header and trailer are pieces of their own or part of the first and last).
class CopyOut {
 public:
  CopyOut(Connection& connection, const std::string& sql);
  ~CopyOut();
  CopyOut(const CopyOut&) = delete;
  CopyOut& operator=(const CopyOut&) = delete;
  // The next piece, borrowed until the next call; nothing at the end, when the connection is free again.
  std::optional<std::string_view> next();

 private:
  Connection& connection_;
  char* buffer_ = nullptr;  // owned; libpq's
};

// COPY ... FROM STDIN. Destroyed before finish(), the connection is left in the middle of it and good for nothing.
class CopyIn {
 public:
  CopyIn(Connection& connection, const std::string& sql);
  // Sends, or waits for room: what libpq buffers stays small.
  void write(std::string_view bytes);
  // The number of rows.
  std::int64_t finish();

 private:
  Connection& connection_;
  std::size_t unflushed_bytes_ = 0;
};

// ------------------------------------------------------------------------------------ replication

struct ReplicationFrame {
  enum class Kind { data, keepalive };
  Kind kind = Kind::data;
  Lsn wal_end;                      // keepalive: everything that ends here or below has been sent
  std::int64_t server_time_us = 0;  // when it was sent, by the server's clock; since 1970
  bool reply_requested = false;
  Bytes payload;  // data: one pgoutput message; borrowed until the next receive()
};

// START_REPLICATION on a walsender connection, and the frames that follow.
class ReplicationStream {
 public:
  // `options` are plugin options, as written: "proto_version '1', publication_names '\"p\"'".
  ReplicationStream(Connection& connection, const std::string& slot, Lsn from, const std::string& options);
  ~ReplicationStream();
  ReplicationStream(const ReplicationStream&) = delete;
  ReplicationStream& operator=(const ReplicationStream&) = delete;

  // The next frame that has already arrived, or nothing; never waits.
  std::optional<ReplicationFrame> receive();
  // Standby status update: positions of this slot's stream. `ask`: the server shall answer with a keepalive.
  void send_status(Lsn received, Lsn flushed, Lsn applied, bool ask = false);
  [[nodiscard]] int socket() const { return connection_.socket(); }

 private:
  Connection& connection_;
  char* buffer_ = nullptr;  // owned; libpq's
};

// ---------------------------------------------------------------------------------- text of SQL

std::string quote_ident(std::string_view name);    // "name", always quoted
std::string quote_literal(std::string_view text);  // 'text', or E'...' where it has a backslash
std::string qualified(std::string_view schema, std::string_view name);
// The connection string with another database, user or the like replaced is libpq's business; this says who
// and where it is, without secrets.
std::string describe_conninfo(const std::string& conninfo);

// A text[] in PostgreSQL's binary format (array_recv), built value by value: what unnest($1::text[]) takes.
// Values may hold anything that the server's encoding allows.
class TextArray {
 public:
  TextArray() { clear(); }
  void clear();
  void add(std::string_view value);
  void add_null();
  [[nodiscard]] std::size_t size() const { return count_; }
  [[nodiscard]] std::size_t bytes() const { return buffer_.size(); }
  // Borrows from this object until the next change.
  [[nodiscard]] Param param() const;

 private:
  void count_one();
  std::string buffer_;  // always whole, its head included
  std::uint32_t count_ = 0;
};

}  // namespace walign::pg
