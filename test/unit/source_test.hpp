// A server of the replication protocol that says what a test wants: one connection, on loopback.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/wire.hpp"
#include "walign/source.hpp"

namespace walign::test {

using namespace std::chrono_literals;

// ---- what a server sends

inline std::string message(char type, const std::string& body) {
  return type + wire::u32(body.size() + 4) + body;
}
inline std::string copy_data(const std::string& frame) { return message('d', frame); }
inline std::string wal(const std::string& payload) {
  return copy_data("w" + wire::u64(0) + wire::u64(0) + wire::u64(0) + payload);
}
inline std::string keepalive(std::uint64_t end, bool reply = false) {
  return copy_data("k" + wire::u64(end) + wire::u64(0) + wire::u8(reply ? 1 : 0));
}
inline std::string error(const std::string& state, const std::string& text) {
  return message('E', "S" + wire::cstring("ERROR") + "V" + wire::cstring("ERROR") + "C" +
                          wire::cstring(state) + "M" + wire::cstring(text) + '\0');
}
inline std::string ready() { return message('Z', "I"); }
inline std::string table() {
  return wal(wire::relation(1, "public", "t", 'd', {{"id", 23, true}, {"v", 25}}));
}
// One row; the commit begins at `lsn` and ends at `end`.
inline std::string transaction(std::uint64_t lsn, std::uint64_t end, const std::string& value = "v") {
  return wal(wire::begin(lsn, 0, 7)) + table() + wal(wire::insert(1, {wire::text("1"), wire::text(value)})) +
         wal(wire::commit(lsn, end, 0));
}

struct Update {  // a standby status update
  std::uint64_t received = 0;
  std::uint64_t flushed = 0;
  std::uint64_t applied = 0;
  bool ask = false;
};

class FakeServer {
 public:
  FakeServer() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
        listen(listener_, 4) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("no port");
    }
    port_ = ntohs(address.sin_port);
  }
  ~FakeServer() {
    hang_up();
    close(listener_);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  // Opens a source on this server, which answers START_REPLICATION with `answer`.
  std::unique_ptr<source::Source> open(source::SlotOptions options = {},
                                       const std::string& answer = message('W', wire::u8(0) + wire::u16(0))) {
    options.connection.conninfo =
        "host=127.0.0.1 port=" + std::to_string(port_) + " user=u dbname=d sslmode=disable";
    options.slot = "s";
    options.publications = {"p"};
    if (!options.from.valid()) options.from = Lsn(100);
    std::thread serving([&] { shake_hands(answer); });
    try {
      auto source = source::open_slot(options);
      serving.join();
      return source;
    } catch (...) {
      serving.join();
      throw;
    }
  }

  void send(const std::string& bytes) {
    for (std::size_t sent = 0; sent < bytes.size();) {
      const auto n = ::send(connection_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += static_cast<std::size_t>(n);
    }
  }
  // Nothing more comes; what was sent arrives. (Closing would be a reset, which takes back what was not yet read.)
  void end() { shutdown(connection_, SHUT_WR); }
  void hang_up() {
    if (connection_ >= 0) close(connection_);
    connection_ = -1;
  }

  // The next status update, or nothing in time.
  std::optional<Update> update(std::chrono::milliseconds timeout = 3s) {
    const auto body = read_message(timeout);
    if (!body || body->size() != 1 + 34 || (*body)[0] != 'd' || (*body)[1] != 'r') return std::nullopt;
    const auto number = [&](std::size_t at) {
      std::uint64_t value = 0;
      for (std::size_t i = 0; i < 8; ++i) value = value << 8U | static_cast<unsigned char>((*body)[at + i]);
      return value;
    };
    return Update{number(2), number(10), number(18), (*body)[34] != 0};
  }
  // Until one is as wanted.
  bool update_until(const std::function<bool(const Update&)>& wanted) {
    for (int i = 0; i < 200; ++i) {
      const auto next = update();
      if (!next) return false;
      if (wanted(*next)) return true;
    }
    return false;
  }

  [[nodiscard]] const std::string& query() const { return query_; }

 private:
  void shake_hands(const std::string& answer) {
    connection_ = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    const auto head = read_bytes(4, 3s);
    if (!head) return;
    read_bytes(length_of(*head) - 4, 3s);
    send(message('R', wire::u32(0)) + message('S', wire::cstring("server_version") + wire::cstring("15.0")) +
         message('S', wire::cstring("client_encoding") + wire::cstring("UTF8")) +
         message('K', wire::u32(1) + wire::u32(2)) + ready());
    query_ = read_message(3s).value_or("");
    send(answer);
  }

  static std::size_t length_of(const std::string& head) {
    std::size_t value = 0;
    for (const char c : head) value = value << 8U | static_cast<unsigned char>(c);
    return value;
  }
  std::optional<std::string> read_bytes(std::size_t count, std::chrono::milliseconds timeout) {
    std::string out;
    while (out.size() < count) {
      pollfd entry = {connection_, POLLIN, 0};
      if (poll(&entry, 1, static_cast<int>(timeout.count())) <= 0) return std::nullopt;
      std::string buffer(count - out.size(), '\0');
      const auto n = recv(connection_, buffer.data(), buffer.size(), 0);
      if (n <= 0) return std::nullopt;
      out.append(buffer, 0, static_cast<std::size_t>(n));
    }
    return out;
  }
  std::optional<std::string> read_message(std::chrono::milliseconds timeout) {
    const auto head = read_bytes(5, timeout);
    if (!head) return std::nullopt;
    const auto body = read_bytes(length_of(head->substr(1)) - 4, timeout);
    if (!body) return std::nullopt;
    return head->substr(0, 1) + *body;
  }

  int listener_;
  int connection_ = -1;
  int port_ = 0;
  std::string query_;
};

// What next() gives, as a text: "tx 200-210", "part 0 200", "progress 300", "nothing", "error ...".
inline std::string next_of(source::Source& source, std::chrono::milliseconds timeout = 3s) {
  try {
    const auto item = source.next(timeout);
    if (!item) return "nothing";
    if (const auto* progress = std::get_if<source::Progress>(&*item))
      return cat("progress ", progress->lsn.value);
    const auto& part = std::get<event::TransactionPart>(*item);
    if (!part.last()) return cat("part ", part.tx().part(), " ", part.commit_lsn().value);
    return cat("tx ", part.commit_lsn().value, "-", part.end_lsn().value);
  } catch (const Error& e) {
    CHECK_FALSE(e.hint().empty());
    switch (e.kind()) {
      case ErrorKind::connection: return "error connection";
      case ErrorKind::transient: return "error transient";
      case ErrorKind::malformed: return "error malformed";
      case ErrorKind::query: return "error query";
      case ErrorKind::precondition: return "error precondition";
      default: return "error " + e.message();
    }
  }
}

}  // namespace walign::test
