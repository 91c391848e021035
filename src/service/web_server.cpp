// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "web_server.hpp"

#include <httplib.h>

#include <atomic>
#include <thread>

#include "quiet.hpp"

namespace walign::service {

namespace {

constexpr std::size_t kMaxBodyBytes = 4096;  // no request needs one
// What the page may do: its own files, and nothing of anybody else's.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri "
    "'none'; "
    "form-action 'none'; frame-ancestors 'none'";
constexpr int kPatienceSeconds = 2;  // with a client that connects and says nothing

Request plain(const httplib::Request& request) {
  Request out{request.method, request.path, {}};
  for (const auto& [name, value] : request.params) out.query.emplace(name, value);
  return out;
}

Answer respond_to(const Respond& respond, const Request& request) {
  try {
    return respond(request);
  } catch (const Error& error) {
    return error_answer(error);
  } catch (const std::exception& error) {
    return error_answer(500, cat("internal error: ", error.what()), "see walign's log");
  }
}

void send_head(const Answer& answer, httplib::Response& response) {
  response.status = answer.status;
  response.set_header("Cache-Control", "no-store");
  response.set_header("X-Content-Type-Options", "nosniff");
  response.set_header("Referrer-Policy", "no-referrer");
  response.set_header("Content-Security-Policy", kPolicy);
  if (answer.status == 405) response.set_header("Allow", "GET, HEAD");
}

void send(const Answer& answer, httplib::Response& response) {
  send_head(answer, response);
  response.set_content(answer.body, answer.type);
}

// Until the reader goes, does not read, or the server stops: the library ends with `false`.
void send_pieces(const Answer& answer, httplib::Response& response, const std::atomic<bool>& stopping) {
  const auto next = [first = answer.body, pieces = answer.pieces, &stopping](
                        std::size_t /*offset*/, httplib::DataSink& sink) mutable {
    if (stopping) return false;
    try {
      const std::string piece = first.empty() ? pieces() : std::exchange(first, {});
      return piece.empty() || sink.write(piece.data(), piece.size());
    } catch (const std::exception& error) {
      obs::debug("an answer has ended early", {{"why", error.what()}});
      return false;
    }
  };
  send_head(answer, response);
  response.set_chunked_content_provider(answer.type, next);
}

// What the library refuses by itself (a broken request line, a body that is too large).
void explain(const httplib::Request& /*request*/, httplib::Response& response) {
  if (response.body.empty())
    send(error_answer(response.status, "not a request that is understood", ""), response);
}

}  // namespace

struct WebServer::Impl {
  // On a socket that is listening already.
  class Server : public httplib::Server {
   public:
    explicit Server(int listening) { svr_sock_ = listening; }
  };

  Impl(Socket listening, Respond respond_, int threads)
      : socket(std::move(listening)), respond(std::move(respond_)), server(socket.fd()) {
    server.new_task_queue = [threads] { return new httplib::ThreadPool(static_cast<std::size_t>(threads)); };
    server.set_keep_alive_max_count(1);
    server.set_keep_alive_timeout(kPatienceSeconds);
    server.set_read_timeout(kPatienceSeconds);
    server.set_write_timeout(kPatienceSeconds);
    server.set_payload_max_length(kMaxBodyBytes);
    server.set_error_handler(httplib::Server::Handler(explain));
    // Before routing, so that no path of a stranger's is put to the library's regular expressions.
    server.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      const Answer answer = respond_to(respond, plain(request));
      if (answer.pieces) {
        send_pieces(answer, response, stopping);
      } else {
        send(answer, response);
      }
      return httplib::Server::HandlerResponse::Handled;
    });
    start();
  }

  ~Impl() {
    stopping = true;
    if (server.is_running()) server.stop();
    if (thread.joinable()) thread.join();
  }

  void start() {
    const NoSignals quiet;
    thread = std::thread([this] { serve(); });
    // stop() does nothing before the library runs: without this wait, a server stopped at once would go on for ever.
    while (!server.is_running() && !ended) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    socket.release();  // the library closes it
  }

  void serve() noexcept {
    try {
      server.listen_after_bind();
    } catch (const std::exception& error) {
      obs::error("a server has ended", {{"why", error.what()}});
    }
    ended = true;
  }

  std::atomic<bool> stopping{false};
  Socket socket;
  Respond respond;
  Server server;
  std::atomic<bool> ended{false};
  std::thread thread;
};

WebServer::WebServer(Socket listening, Respond respond, int threads)
    : impl_(std::make_unique<Impl>(std::move(listening), std::move(respond), threads)) {}

WebServer::~WebServer() = default;

Answer request_over(const std::string& path, const std::string& method, const std::string& target,
                    int seconds) {
  constexpr int kAnyPort = 80;  // the library wants one; a unix socket has none
  httplib::Client client(path, kAnyPort);
  client.set_address_family(AF_UNIX);
  client.set_read_timeout(seconds);
  httplib::Request request;
  request.method = method;
  request.path = target;
  request.set_header("Host", "localhost");
  if (method != "GET") request.set_header("Content-Length", "0");
  const auto result = client.send(request);
  if (!result) {
    throw Error(ErrorKind::connection,
                cat("the sidecar at ", path, " did not answer (", httplib::to_string(result.error()), ")"),
                "look at its log; it may have ended meanwhile, or be waiting for a server");
  }
  return {result->status, result->get_header_value("Content-Type"), result->body};
}

}  // namespace walign::service
