// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// service: the sidecar seen and steered from outside. Two small HTTP servers, one client, and the text of a status.
//
//   STATE/control.sock   GET  /v1/status                                   who may write the state directory
//                        POST /v1/pause?what=apply|backfill, /v1/resume  may steer (mode 0600)
//                        POST /v1/dead-letters/ID/retry, .../discard
//                        POST /v1/verify?request=JSON, GET /v1/verify/ID
//   http: HOST:PORT      GET  / /healthz /readyz /metrics /v1/status       read-only
//
// Every answer that is not a page or metrics is JSON; one that is not 2xx is {"error", "hint"}.
//
// Invariants
//  1. Nothing that comes over TCP changes anything.
//  2. The control socket is never, not even for an instant, open to others than its owner.
//  3. A server that exists is listening; one that could not bind has thrown.
//  4. Nothing that a client sends or omits ends a server, and no exception leaves one of its threads.
//
// Handlers are called from the servers' threads, several at once. A connection carries one request: an idle one
// would hold one of the few threads.
#pragma once

#include <memory>

#include "walign/verify.hpp"

namespace walign::service {

// What `status --json` prints, and /v1/status: every field of INTERFACE.md, null where not yet known.
std::string status_json(const stream::Status& status);

// What `verify --json` prints, and /v1/verify/ID.
std::string verification_json(const verify::Report& report);
// {"tables": [...], "all": true, "repair": true, "key": [...]}, each of which may be left out; Error(usage).
verify::Request verification_request(const std::string& json);
std::string verification_request_json(const verify::Request& request);

// Microseconds since 1970 as 2026-01-31T12:00:00.123456Z.
std::string iso_time(std::int64_t unix_micros);

// What the servers ask and tell. Each may throw Error.
struct Handlers {
  std::function<stream::Status()> status;
  std::function<std::string()> metrics;  // Prometheus' text
  std::function<void()> pause_apply;
  std::function<void()> resume_apply;
  std::function<bool(bool paused)> pause_backfill;  // false: there is nothing to copy
  std::function<void(std::int64_t id)> retry_dead_letter;
  std::function<void(std::int64_t id)> discard_dead_letter;
  std::function<std::uint64_t(const verify::Request& request)> verify;
  std::function<verify::Report(std::uint64_t id)> verification;
  std::int64_t max_lag_bytes = 0;  // gates.max_lag: /readyz
};
// All must outlive the servers. `verifier`: null where nothing verifies.
Handlers handlers_of(stream::Sidecar& sidecar, const obs::Metrics& metrics, const config::Config& config,
                     verify::Verifier* verifier = nullptr);

// Why /readyz is not 200; nullopt where it is.
std::optional<std::string> why_not_ready(const stream::Status& status, std::int64_t max_lag_bytes);

class WebServer;  // src/service/web_server.hpp

class ControlServer {
 public:
  // Listens on STATE_DIRECTORY/control.sock; the state directory is held by this process. Replaces the socket of a
  // process that is gone. Error(precondition) where the path is too long for a socket, is something else, or is
  // listened on.
  ControlServer(const std::string& state_directory, Handlers handlers);
  ~ControlServer();  // stops, and removes the socket
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  std::string path_;
  std::unique_ptr<WebServer> server_;
};

class HttpServer {
 public:
  // `address`: HOST:PORT, IPv6 in brackets; port 0 takes a free one. Error(precondition) where it cannot be bound.
  HttpServer(const std::string& address, Handlers handlers);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  [[nodiscard]] int port() const { return port_; }

 private:
  int port_ = 0;
  std::unique_ptr<WebServer> server_;
};

// The other end of the control socket. Throws the Error that the sidecar answered with; Error(precondition) where
// no sidecar runs.
class ControlClient {
 public:
  explicit ControlClient(const std::string& state_directory);

  // Whether a sidecar listens.
  [[nodiscard]] bool sidecar_runs() const;
  // nullopt where no sidecar runs.
  [[nodiscard]] std::optional<std::string> status_json() const;
  // `what`: apply or backfill.
  void pause(const std::string& what) const;
  void resume(const std::string& what) const;
  void retry_dead_letter(std::int64_t id) const;
  void discard_dead_letter(std::int64_t id) const;
  // Begins a verification and gives its number; its report so far, as JSON.
  [[nodiscard]] std::uint64_t verify(const verify::Request& request) const;
  [[nodiscard]] std::string verification_json(std::uint64_t id) const;

 private:
  [[nodiscard]] std::string post(const std::string& target) const;
  std::string path_;
};

}  // namespace walign::service
