#include <thread>

#include "service/sockets.hpp"
#include "service_test.hpp"

using namespace walign;
using namespace walign::service;

namespace {

std::string get(const HttpServer& server, const std::string& target) {
  return converse(connect_tcp(server.port()), request("GET", target));
}

std::string status_line(const std::string& response) { return response.substr(0, response.find('\r')); }
std::string body(const std::string& response) { return response.substr(response.find("\r\n\r\n") + 4); }

}  // namespace

TEST_CASE("the pages are there, each of its type") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", remembering(calls));
  CHECK(body(get(server, "/healthz")) == "ok\n");
  CHECK(body(get(server, "/readyz")) == "ready\n");
  CHECK(body(get(server, "/v1/status")) == status_json(streaming_status()));
  const auto metrics = get(server, "/metrics");
  CHECK(body(metrics) == "walign_lag_bytes 32\n");
  CHECK(has(metrics, "Content-Type: text/plain; version=0.0.4"));
  for (const char* page : {"/healthz", "/readyz", "/v1/status", "/metrics", "/"}) {
    CHECK(status_line(get(server, page)) == "HTTP/1.1 200 OK");
  }
}

TEST_CASE("the dashboard is small, comes whole from here, and may do nothing but ask here") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", remembering(calls));
  const auto page = get(server, "/");
  CHECK(has(page, "Content-Type: text/html; charset=utf-8"));
  CHECK(has(
      page,
      "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
      "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"));
  CHECK(has(page, "Referrer-Policy: no-referrer\r\n"));
  const std::pair<const char*, const char*> files[] = {{"/dashboard.css", "text/css; charset=utf-8"},
                                                       {"/dashboard.js", "text/javascript; charset=utf-8"},
                                                       {"/chart.js", "text/javascript; charset=utf-8"},
                                                       {"/icon.svg", "image/svg+xml"}};
  std::size_t bytes = page.size();
  for (const auto& [path, type] : files) {
    INFO(path);
    CHECK(has(page, cat("\"", path, "\"")));
    const auto file = get(server, path);
    CHECK(status_line(file) == "HTTP/1.1 200 OK");
    CHECK(has(file, cat("Content-Type: ", type, "\r\n")));
    bytes += file.size();
    // The name of a namespace is no address.
    auto text = body(file);
    for (std::size_t at = 0; (at = text.find("http://www.w3.org/2000/svg")) != std::string::npos;)
      text.erase(at, 26);
    CHECK(!has(text, "://"));
    CHECK(!has(text, "innerHTML"));
    CHECK(!has(text, "eval("));
  }
  CHECK(!has(body(page), "://"));
  CHECK(bytes < 200'000);
  CHECK(bytes > 10'000);
}

TEST_CASE("/readyz is 503 with the reason while paused") {
  Calls calls;
  auto handlers = remembering(calls);
  handlers.status = [] {
    auto status = streaming_status();
    status.paused = true;
    return status;
  };
  const HttpServer server("127.0.0.1:0", handlers);
  const auto response = get(server, "/readyz");
  CHECK(status_line(response) == "HTTP/1.1 503 Service Unavailable");
  CHECK(has(body(response), "paused"));
}

TEST_CASE("what is not there is 404 with a hint, in JSON") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", remembering(calls));
  for (const char* page : {"/nope", "/v1/pause", "/v1/dead-letters/1/retry", "/../etc/passwd", "//"}) {
    const auto response = get(server, page);
    CHECK(status_line(response) == "HTTP/1.1 404 Not Found");
    CHECK(has(body(response), "\"hint\""));
  }
}

TEST_CASE("nothing that comes over TCP changes anything") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", remembering(calls));
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
    for (const char* page : {"/v1/pause?what=apply", "/v1/dead-letters/1/discard", "/healthz"}) {
      const auto response = converse(connect_tcp(server.port()), request(method, page));
      CHECK(status_line(response) == "HTTP/1.1 405 Method Not Allowed");
      CHECK(has(response, "Allow: GET"));
    }
  }
  CHECK(calls.all().empty());
}

TEST_CASE("a request that is none is refused, and the server goes on") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", remembering(calls));
  const std::string long_path(9'000, 'a');
  for (const std::string& bytes : {std::string("\x16\x03\x01\x02garbage\r\n\r\n"), std::string("GET\r\n\r\n"),
                                   request("FROBNICATE", "/"), request("GET", "/" + long_path)}) {
    const auto response = converse(connect_tcp(server.port()), bytes);
    CHECK(!has(response, "200 OK"));
  }
  CHECK(body(get(server, "/healthz")) == "ok\n");
}

TEST_CASE("HEAD is GET without its body") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", remembering(calls));
  const auto response = converse(connect_tcp(server.port()), request("HEAD", "/healthz"));
  CHECK(status_line(response) == "HTTP/1.1 200 OK");
  CHECK(body(response).empty());
}

TEST_CASE("a handler that throws is an answer with its error, and the server goes on") {
  Calls calls;
  auto handlers = remembering(calls);
  handlers.status = []() -> stream::Status {
    throw Error(ErrorKind::bug, "no status today", "ask tomorrow");
  };
  handlers.metrics = []() -> std::string { throw std::runtime_error("no metrics"); };
  const HttpServer server("127.0.0.1:0", handlers);
  const auto response = get(server, "/v1/status");
  CHECK(status_line(response) == "HTTP/1.1 500 Internal Server Error");
  CHECK(has(body(response), "no status today"));
  CHECK(has(body(response), "ask tomorrow"));
  CHECK(has(get(server, "/metrics"), "no metrics"));
  CHECK(body(get(server, "/healthz")) == "ok\n");
}

TEST_CASE("a port in use is refused with what to change, even by the same user") {
  Calls calls;
  const HttpServer first("127.0.0.1:0", remembering(calls));
  const auto address = cat("127.0.0.1:", first.port());
  const auto error = refusal([&] { const HttpServer second(address, remembering(calls)); });
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(has(error.message(), cat(address, " is in use")));
  CHECK(!error.hint().empty());
}

TEST_CASE("a server stops soon, whoever is connected and says nothing, and its port is free then") {
  Calls calls;
  auto server = std::make_unique<HttpServer>("127.0.0.1:0", remembering(calls));
  const int port = server->port();
  const int idle = connect_tcp(port);
  const auto before = std::chrono::steady_clock::now();
  server.reset();
  CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(5));
  ::close(idle);
  const HttpServer again(cat("127.0.0.1:", port), remembering(calls));
  CHECK(again.port() == port);
}

TEST_CASE("many ask at once and each is answered") {
  Calls calls;
  const HttpServer server("127.0.0.1:0", remembering(calls));
  std::vector<std::string> answers(16);
  std::vector<std::thread> threads;
  for (auto& answer : answers) {
    threads.emplace_back(
        [&, fd = connect_tcp(server.port())] { answer = converse(fd, request("GET", "/v1/status")); });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& answer : answers) CHECK(body(answer) == status_json(streaming_status()));
}

TEST_CASE("addresses are HOST:PORT, with brackets around IPv6") {
  CHECK(parse_address("127.0.0.1:8642").host == "127.0.0.1");
  CHECK(parse_address("[::1]:8642").host == "::1");
  CHECK(parse_address("[::1]:8642").port == "8642");
  CHECK(parse_address("localhost:1").host == "localhost");
  for (const char* wrong :
       {"", "127.0.0.1", ":8642", "::1:8642", "[::1]", "host:", "host:http", "host:65536", "host:-1"}) {
    CHECK(refusal([&] { parse_address(wrong); }).kind() == ErrorKind::usage);
  }
  Calls calls;
  const auto error = refusal([&] { const HttpServer server("no-such-host.invalid:1", remembering(calls)); });
  CHECK(error.kind() == ErrorKind::precondition);
}
