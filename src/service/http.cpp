// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The read-only pages.
#include <cmath>

#include "observer.hpp"
#include "walign/pulse.hpp"
#include "walign/supervision.hpp"
#include "web_server.hpp"

namespace walign::service {

namespace {

constexpr int kPageThreads = 4 + kEventReaders;  // so that pages are answered while all of those read
constexpr const char* kPlain = "text/plain; charset=utf-8";

Answer ready(const Handlers& handlers) {
  const auto why = why_not_ready(handlers.status(), handlers.max_lag_bytes);
  if (why) return {503, kPlain, cat("not ready: ", *why, "\n")};
  return {200, kPlain, "ready\n"};
}

// Not whether it streams: whoever restarts what is not healthy would end what only waits for a server.
Answer healthy() {
  const auto silence = Pulse::longest_silence();
  if (alive(silence, std::nullopt)) return {200, kPlain, "ok\n"};
  return {503, kPlain,
          cat("the loop has stood still for ", std::llround(silence->count()),
              " s: look at the disk of state:, then end walign and start it again\n")};
}

Answer respond(const Handlers& handlers, const Respond& events, const Request& request) {
  if (request.method != "GET" && request.method != "HEAD") {
    return error_answer(405, cat(request.method, " is not for here: these pages are read-only"),
                        "steer with the walign command, on the machine of the sidecar");
  }
  if (request.path == "/healthz") return healthy();
  if (request.path == "/readyz") return ready(handlers);
  if (request.path == "/metrics")
    return {200, "text/plain; version=0.0.4; charset=utf-8", handlers.metrics()};
  if (request.path == "/v1/status") return {200, "application/json", status_with_outlook(handlers)};
  if (handlers.observer && request.path == "/v1/history") {
    return {200, "application/json", handlers.observer->history_json()};
  }
  if (handlers.observer && request.path == "/v1/events") return events(request);
  if (auto found = page(request.path)) return *found;
  return error_answer(404, cat("there is no page ", request.path),
                      "there are /, /healthz, /readyz, /metrics, /v1/status, /v1/history and /v1/events");
}

// Every table is copied, and changes are applied in one direction or the other.
bool streams_in(std::string_view phase) {
  return phase == "streaming" || phase == "cutting_over" || phase == "cut_over" || phase == "rolling_back";
}

}  // namespace

std::optional<std::string> why_not_ready(const stream::Status& status, std::int64_t max_lag_bytes) {
  if (status.paused) return "apply is paused (walign resume apply)";
  if (!status.connected) {
    return status.last_error.empty() ? "not streaming" : cat("not streaming: ", status.last_error);
  }
  if (!streams_in(status.phase)) return cat("the phase is ", status.phase);
  if (status.listening) return "the sides are changing: neither direction is applied at this moment";
  if (!status.lag_bytes) return "the lag is not known yet";
  if (*status.lag_bytes > max_lag_bytes) {
    return cat("the lag is ", *status.lag_bytes, " bytes, gates.max_lag is ", max_lag_bytes);
  }
  return std::nullopt;
}

Respond http_responder(Handlers handlers) {
  const Respond events = events_responder(handlers.observer);
  return [handlers = std::move(handlers), events](const Request& request) {
    return respond(handlers, events, request);
  };
}

HttpServer::HttpServer(const std::string& address, Handlers handlers) {
  Socket listening = listen_tcp(address);
  port_ = port_of(listening);
  server_ =
      std::make_unique<WebServer>(std::move(listening), http_responder(std::move(handlers)), kPageThreads);
}

HttpServer::~HttpServer() = default;

}  // namespace walign::service
