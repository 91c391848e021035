// A test's own way to a server: thin over libpq, and sharing nothing with what it tests.
//
//   Sql db(server.conninfo("app"));
//   db.exec("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, NULL)");
//   CHECK(db.scalar<std::int64_t>("SELECT count(*) FROM t") == 2);
//   CHECK(db.scalar("SELECT v FROM t WHERE id = $1", {"1"}) == "a");
//   CHECK_FALSE(db.value("SELECT v FROM t WHERE id = 2").has_value());
//
// Every connection pins what decides the text of values (dates, intervals, floats, bytea, money, time
// zone), so that two servers print equal values equally, whatever their databases and roles are set to.
// One thread per connection.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

struct pg_conn;
struct pg_result;

namespace walign::test {

using Value = std::optional<std::string>;  // nullopt is NULL
using Row = std::vector<Value>;
using Rows = std::vector<Row>;

class SqlError : public std::runtime_error {
 public:
  SqlError(const std::string& what, std::string sqlstate)
      : std::runtime_error(what), sqlstate_(std::move(sqlstate)) {}
  [[nodiscard]] const std::string& sqlstate() const { return sqlstate_; }  // empty: the connection is lost

 private:
  std::string sqlstate_;
};

class Sql {
 public:
  explicit Sql(std::string conninfo);  // key=value or URL; throws SqlError

  // One or several statements, no parameters; results are thrown away.
  void exec(const std::string& sql);
  // psql-like: a file of statements. Paths are under test/data/sql unless they begin with '/'.
  void exec_file(const std::string& path);

  // One statement, parameters as text.
  Rows rows(const std::string& sql, const std::vector<Value>& parameters = {});
  Row row(const std::string& sql, const std::vector<Value>& parameters = {});  // throws unless exactly one
  Value value(const std::string& sql, const std::vector<Value>& parameters = {});  // one row, one column
  std::int64_t affected(const std::string& sql, const std::vector<Value>& parameters = {});

  // One value that is not NULL, as std::string, std::int64_t, int, double or bool.
  template <class T = std::string>
  T scalar(const std::string& sql, const std::vector<Value>& parameters = {});

  // Whether the server still answers on this connection; and a new one in its place, settings pinned
  // again (waits up to 30 s for a server that is starting).
  bool alive();
  void reconnect();

  [[nodiscard]] int backend_pid() const;
  [[nodiscard]] const std::string& conninfo() const { return conninfo_; }
  [[nodiscard]] pg_conn* handle() const { return connection_.get(); }

 private:
  struct Finish {
    void operator()(pg_conn* connection) const;
  };
  void connect();

  std::string conninfo_;
  std::unique_ptr<pg_conn, Finish> connection_;
};

template <>
std::string Sql::scalar<std::string>(const std::string& sql, const std::vector<Value>& parameters);
template <>
std::int64_t Sql::scalar<std::int64_t>(const std::string& sql, const std::vector<Value>& parameters);
template <>
int Sql::scalar<int>(const std::string& sql, const std::vector<Value>& parameters);
template <>
double Sql::scalar<double>(const std::string& sql, const std::vector<Value>& parameters);
template <>
bool Sql::scalar<bool>(const std::string& sql, const std::vector<Value>& parameters);

std::string quote_ident(const std::string& name);    // always quoted
std::string quote_literal(const std::string& text);  // E'' when there are backslashes

}  // namespace walign::test
