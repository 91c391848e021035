// A slot's stream, against a server that breaks off, lies or ends.
#include "source_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// What comes after one good transaction and `bytes`, when the server then ends.
std::string after(const std::string& bytes) {
  FakeServer server;
  const auto source = server.open();
  server.send(transaction(200, 210));
  CHECK(next_of(*source) == "tx 200-210");
  server.send(bytes);
  server.end();
  auto result = next_of(*source);
  // What ended stays ended.
  if (result.starts_with("error")) CHECK(next_of(*source) == result);
  return result;
}

std::string refusal(const std::string& answer) {
  FakeServer server;
  try {
    const auto source = server.open({}, answer);
    return "no error";
  } catch (const Error& e) {
    CHECK_FALSE(e.hint().empty());
    return e.kind() == ErrorKind::transient      ? "transient"
           : e.kind() == ErrorKind::precondition ? "precondition"
           : e.kind() == ErrorKind::connection   ? "connection"
           : e.kind() == ErrorKind::query        ? "query"
                                                 : e.message();
  }
}

}  // namespace

TEST_CASE("what ends a stream comes after what was before it, and says what it is") {
  CHECK(after("") == "error connection");
  CHECK(after(error("57P01", "terminating connection due to administrator command")) == "error connection");
  CHECK(after(error("57P02", "crash of another server process")) == "error connection");
  CHECK(after(error("42704", "publication \"p\" does not exist")) == "error precondition");
  CHECK(after(error("XX000", "could not read")) == "error query");
  CHECK(after(error("55000", "cannot read from logical replication slot")) == "error precondition");
  // A shutdown in order: the COPY is done, the command complete.
  CHECK(after(message('c', "") + message('C', wire::cstring("COPY 0")) + ready()) == "error connection");
  CHECK(after(message('C', wire::cstring("COPY 0")) + ready()) == "error connection");
}

TEST_CASE("frames that mean nothing are malformed") {
  CHECK(after(copy_data("x")) == "error malformed");
  CHECK(after(copy_data("k" + wire::u64(5))) == "error malformed");
  CHECK(after(copy_data("k" + wire::u64(5) + wire::u64(0) + wire::u8(0) + "more")) == "error malformed");
  CHECK(after(copy_data("w" + wire::u64(5))) == "error malformed");
  CHECK(after(wal("")) == "error malformed");
  CHECK(after(wal("?")) == "error malformed");
}

TEST_CASE("messages that do not fit together are malformed") {
  CHECK(after(wal(wire::commit(300, 310, 0))) == "error malformed");
  CHECK(after(wal(wire::begin(300, 0, 1)) + wal(wire::begin(301, 0, 2))) == "error malformed");
  CHECK(after(wal(wire::begin(300, 0, 1)) + wal(wire::commit(301, 310, 0))) == "error malformed");
  CHECK(after(wal(wire::begin(300, 0, 1)) + wal(wire::insert(99, {wire::text("1")}))) == "error malformed");
  CHECK(after(wal(wire::insert(1, {wire::text("1"), wire::text("v")}))) == "error malformed");
}

TEST_CASE("wherever a transaction is broken off, it is not given, and the connection is said to be lost") {
  const std::string whole = transaction(300, 310);
  for (std::size_t size = 0; size < whole.size(); size += 3)
    CHECK(after(whole.substr(0, size)) == "error connection");
  CHECK(after(whole) == "tx 300-310");
}

TEST_CASE("a stream that is refused says whether to try again") {
  CHECK(refusal(error("55006", "replication slot \"s\" is active for PID 1") + ready()) == "transient");
  CHECK(refusal(error("55000", "this slot has been invalidated") + ready()) == "precondition");
  CHECK(refusal(error("42704", "replication slot \"s\" does not exist") + ready()) == "query");
  CHECK(refusal(error("42501", "must be superuser or replication role") + ready()) == "precondition");
  CHECK(refusal(error("53300", "too many") + ready()) == "transient");
  CHECK(refusal("HTTP/1.1 400 Bad Request\r\n\r\n") == "connection");
}

TEST_CASE("a server that answers START_REPLICATION with something else has ended the stream") {
  FakeServer server;
  const auto source = server.open({}, message('C', wire::cstring("SELECT 0")) + ready());
  CHECK(next_of(*source) == "error connection");
}

TEST_CASE("a connection that is reset is lost") {
  FakeServer server;
  const auto source = server.open();
  server.send(transaction(200, 210));
  CHECK(next_of(*source) == "tx 200-210");
  server.hang_up();
  CHECK(next_of(*source) == "error connection");
}
