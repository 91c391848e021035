// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// service: the sidecar seen and steered from outside. Two small HTTP servers, one client, and the text of a status.
//
//   STATE/control.sock   GET  /v1/status                                   who may write the state directory
//                        POST /v1/pause?what=apply|backfill, /v1/resume  may steer (mode 0600)
//                        POST /v1/dead-letters/ID/retry, .../discard
//                        POST /v1/verify?request=JSON, GET /v1/verify/ID
//                        POST /v1/cutover?request=JSON, /v1/cutover/cancel
//                        GET  /v1/cutover?seen=N&wait_ms=M               answered when there is more than N steps
//   http: HOST:PORT      GET  / /healthz /readyz /metrics /v1/status       read-only
//                        GET  /v1/history                                  the lag of the last minutes
//                        GET  /v1/events                                   the status again and again, as it changes
//
// Every answer that is not a page, metrics or events is JSON; one that is not 2xx is {"error", "hint"}. The page at /
// and what it loads are files of src/service/web/, part of the program.
//
// Invariants
//  1. Nothing that comes over TCP changes anything.
//  2. The control socket is never, not even for an instant, open to others than its owner.
//  3. A server that exists is listening; one that could not bind has thrown.
//  4. Nothing that a client sends or omits ends a server, and no exception leaves one of its threads.
//  5. Whoever reads events has a thread of the server's and nothing else: what he does not read in time he does not
//     get, and nobody waits for him. There are at most kEventReaders.
//
// Handlers are called from the servers' threads, several at once. A connection carries one request: an idle one
// would hold one of the few threads. Whoever watches a change of sides holds one for a second at most, and never the
// last ones, so that a status is told while many watch.
#pragma once

#include <memory>

#include "walign/cutover.hpp"

namespace walign::service {

// What is known by looking at a status again and again, and of the change of sides.
struct Outlook {
  std::vector<std::optional<double>> copied_per_second;  // rows, of each table that is being copied
  std::optional<double> rows_per_second;                 // changes taken from the stream, of all tables
  std::optional<double> wal_bytes_per_second;            // written on the side that is read
  std::optional<bool> slot_is_limited;                   // max_slot_wal_keep_size is set there
  std::optional<double> slot_safe_bytes;    // that may still be written before the slot loses what it needs
  std::optional<double> slot_seconds_left;  // until then; none where that room does not shrink
  bool backfill_paused = false;
  bool running = true;                 // false: read from what a sidecar left
  cutover::Controller::Watch change;   // under way, or the last one
  std::int64_t gates_asked_at_us = 0;  // since 1970, as the next; 0: never by this process
  std::int64_t now_us = 0;             // of the look
};

// What to do now, in a sentence, and what to type for it; `command` is empty where there is nothing but to wait.
struct NextStep {
  std::string text;
  std::string command;
};
NextStep next_step(const stream::Status& status, const Outlook& outlook);

// What `status --json` prints, and /v1/status: every field of INTERFACE.md, null where not yet known. `indent` -1: one
// line.
std::string status_json(const stream::Status& status, const Outlook& outlook = {}, int indent = 2);

// What `verify --json` prints, and /v1/verify/ID.
std::string verification_json(const verify::Report& report);
// {"tables": [...], "all": true, "repair": true, "key": [...]}, each of which may be left out; Error(usage).
verify::Request verification_request(const std::string& json);
std::string verification_request_json(const verify::Request& request);

// The change of sides: what is asked for, {"verb": "cutover" | "rollback", "extent": "real" | "rehearse" | "dry_run"},
// each of which may be left out; Error(usage).
cutover::Request change_request(const std::string& json);
std::string change_request_json(const cutover::Request& request);
// What came of one: {"outcome", "message", "hint", "writes", "epoch", "steps", "report_file"}.
std::string result_json(const cutover::Result& result);
// /v1/cutover: {"running", "request", "steps", "result", "failed"}, and back; Error(malformed). A report travels as the
// text that it is.
std::string watch_json(const cutover::Controller::Watch& watch);
cutover::Controller::Watch watch_of(const std::string& json);

// "the source", "the target", or in other words who takes writes, from the states of walign.fence; empty where nothing
// is known.
std::string who_takes_writes(const std::optional<std::string>& source,
                             const std::optional<std::string>& target,
                             const std::optional<std::string>& lease_until);
// What opens a gate that is shut; empty for a gate that is not known here.
std::string gate_remedy(std::string_view gate, std::string_view value);

// Microseconds since 1970 as 2026-01-31T12:00:00.123456Z.
std::string iso_time(std::int64_t unix_micros);

class Observer;  // src/service/observer.hpp: looks each second

// What the servers ask and tell. Each may throw Error.
struct Handlers {
  std::function<stream::Status()> status;
  std::function<std::string()> metrics;  // Prometheus' text
  std::function<bool()> pause_apply;     // whether nothing is being written any more
  std::function<void()> resume_apply;
  std::function<bool(bool paused)> pause_backfill;  // false: there is nothing to copy
  std::function<void(std::int64_t id)> retry_dead_letter;
  std::function<void(std::int64_t id)> discard_dead_letter;
  std::function<std::uint64_t(const verify::Request& request)> verify;
  std::function<verify::Report(std::uint64_t id)> verification;
  std::function<void(const cutover::Request& request)> change_sides;
  std::function<void()> cancel_change;
  // As cutover::Controller::watch().
  std::function<cutover::Controller::Watch(std::size_t seen, std::chrono::milliseconds timeout)> watch_change;
  std::int64_t max_lag_bytes = 0;  // gates.max_lag: /readyz
  std::function<bool()> backfill_paused;
  std::function<std::int64_t()> gates_asked_at_us;  // 0: never
  // The metric walign_slot_safe_bytes of a direction: not a number while it is not known, infinite without a limit.
  std::function<double(const std::string& direction)> slot_safe_bytes;
  // Shared by both servers; none: no outlook, no history, no events.
  std::shared_ptr<Observer> observer;
};
// Sets `observer`: looks from now on, for as long as somebody holds these handlers.
void observe(Handlers& handlers);
inline constexpr int kEventReaders = 12;

// All must outlive the servers. Each request concerns the direction that applies when it comes.
Handlers handlers_of(cutover::Migration& migration, obs::Metrics& metrics, const config::Config& config);

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
  // `what`: apply or backfill. False where something that was begun is still being written.
  [[nodiscard]] bool pause(const std::string& what) const;
  void resume(const std::string& what) const;
  void retry_dead_letter(std::int64_t id) const;
  void discard_dead_letter(std::int64_t id) const;
  // Begins a verification and gives its number; its report so far, as JSON.
  [[nodiscard]] std::uint64_t verify(const verify::Request& request) const;
  [[nodiscard]] std::string verification_json(std::uint64_t id) const;
  // Begins a change of sides. Error(precondition) where one is under way. Error(connection): it may have begun.
  void change_sides(const cutover::Request& request) const;
  void cancel_change() const;
  // Steps after the first `seen`; waits for more up to `timeout`, or less where many watch. Error(connection) where
  // the sidecar is gone, or silent.
  [[nodiscard]] cutover::Controller::Watch watch_change(std::size_t seen,
                                                        std::chrono::milliseconds timeout) const;

 private:
  void must_run() const;
  [[nodiscard]] std::string post(const std::string& target) const;
  std::string path_;
};

}  // namespace walign::service
