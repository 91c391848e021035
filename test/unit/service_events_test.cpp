#include <poll.h>

#include <nlohmann/json.hpp>

#include "service/observer.hpp"
#include "service_test.hpp"

using namespace walign;
using namespace walign::service;

namespace {

// One who reads events, or has stopped reading.
class Reader {
 public:
  explicit Reader(int port) : fd_(connect_tcp(port)) {
    const auto bytes = request("GET", "/v1/events");
    REQUIRE(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }
  ~Reader() { leave(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  void leave() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  // Until the text has come; false where the connection ends, or ten seconds have gone.
  bool reads(std::string_view text, int times = 1) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (count(text) < times) {
      pollfd entry{fd_, POLLIN, 0};
      if (std::chrono::steady_clock::now() > end) return false;
      if (::poll(&entry, 1, 100) <= 0) continue;
      char buffer[4096];
      const auto n = ::read(fd_, buffer, sizeof buffer);
      if (n <= 0) return count(text) >= times;
      got_.append(buffer, static_cast<std::size_t>(n));
    }
    return true;
  }
  [[nodiscard]] const std::string& got() const { return got_; }

 private:
  [[nodiscard]] int count(std::string_view text) const {
    int times = 0;
    for (std::size_t at = 0; (at = got_.find(text, at)) != std::string::npos; at += text.size()) ++times;
    return times;
  }
  int fd_;
  std::string got_;
};

Handlers observed(Calls& calls) {
  auto handlers = remembering(calls);
  observe(handlers);
  return handlers;
}

std::string status_of(int port, const char* path) {
  const auto answer = converse(connect_tcp(port), request("GET", path));
  return answer.substr(0, answer.find('\r'));
}

}  // namespace

TEST_CASE("events tell the status again and again, each on one line") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", observed(calls));
  Reader reader(server.port());
  REQUIRE(reader.reads("event: status\n", 2));
  CHECK(has(reader.got(), "Content-Type: text/event-stream"));
  CHECK(has(reader.got(), "retry: 1000\n\n"));
  const auto from = reader.got().find("data: {") + 6;
  const auto json = nlohmann::json::parse(reader.got().substr(from, reader.got().find("\n", from) - from));
  CHECK(json["migration"] == "users-async");
  CHECK(json["now"].is_string());
  CHECK(json["tables"][0]["target"] == "public.<b>users</b>");
}

TEST_CASE("while the status cannot be told, signs of life come") {
  Calls calls;
  auto handlers = remembering(calls);
  handlers.status = []() -> stream::Status { throw Error(ErrorKind::bug, "no status today"); };
  observe(handlers);
  const HttpServer server("127.0.0.1:0", handlers);
  Reader reader(server.port());
  CHECK(reader.reads("event: alive\n"));
  CHECK(!has(reader.got(), "event: status"));
}

TEST_CASE(
    "one reader more than there may be is told so, pages are answered meanwhile, and a place is free again") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", observed(calls));
  std::vector<std::unique_ptr<Reader>> readers;
  for (int i = 0; i < kEventReaders; ++i) {
    readers.push_back(std::make_unique<Reader>(server.port()));
    REQUIRE(readers.back()->reads("event: status"));
  }
  CHECK(status_of(server.port(), "/v1/events") == "HTTP/1.1 503 Service Unavailable");
  CHECK(status_of(server.port(), "/v1/status") == "HTTP/1.1 200 OK");
  CHECK(status_of(server.port(), "/metrics") == "HTTP/1.1 200 OK");
  readers.front()->leave();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  bool again = false;
  while (!again && std::chrono::steady_clock::now() < end) {
    Reader reader(server.port());
    again = reader.reads("event: status");
  }
  CHECK(again);
}

TEST_CASE("a server stops while its events are read, and where one has stopped reading") {
  Calls calls;
  auto handlers = remembering(calls);
  handlers.status = [] {
    auto status = streaming_status();
    status.last_error = std::string(1'000'000, 'x');  // fills what lies between us
    return status;
  };
  observe(handlers);
  auto server = std::make_unique<HttpServer>("127.0.0.1:0", handlers);
  Reader reads(server->port());
  REQUIRE(reads.reads("event: status"));
  const Reader silent(server->port());
  std::this_thread::sleep_for(std::chrono::seconds(3));
  CHECK(status_of(server->port(), "/healthz") == "HTTP/1.1 200 OK");
  const auto before = std::chrono::steady_clock::now();
  server.reset();
  CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(60));
}

TEST_CASE("the history is served, its columns named, so that a new page has something to show") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", observed(calls));
  Reader reader(server.port());
  REQUIRE(reader.reads("event: status"));
  const auto answer = converse(connect_tcp(server.port()), request("GET", "/v1/history"));
  const auto json = nlohmann::json::parse(answer.substr(answer.find("\r\n\r\n") + 4));
  CHECK(json["columns"] == nlohmann::json({"at_ms", "lag_bytes", "lag_seconds", "rows_per_second"}));
  REQUIRE(!json["samples"].empty());
  CHECK(json["samples"][0][1] == 32);
  CHECK(json["samples"][0][2] == 0.5);
}
