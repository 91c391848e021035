// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The command's end of the control socket.
#include <nlohmann/json.hpp>

#include "control_paths.hpp"
#include "web_server.hpp"

namespace walign::service {

namespace {

constexpr int kWatchSeconds = 15;  // the sidecar answers within one, or it stands still

}  // namespace

ControlClient::ControlClient(const std::string& state_directory) : path_(control_path(state_directory)) {}

bool ControlClient::sidecar_runs() const { return somebody_listens(path_); }

std::optional<std::string> ControlClient::status_json() const {
  if (!sidecar_runs()) return std::nullopt;
  auto answer = request_over(path_, "GET", "/v1/status");
  if (answer.status != 200) throw error_of(answer);
  return std::move(answer.body);
}

void ControlClient::must_run() const {
  if (sidecar_runs()) return;
  throw Error(ErrorKind::precondition, cat("no sidecar runs here: nobody listens on ", path_),
              "start it with `walign run`, or choose its configuration with -c");
}

std::string ControlClient::post(const std::string& target) const {
  must_run();
  auto answer = request_over(path_, "POST", target);
  if (answer.status != 200) throw error_of(answer);
  return std::move(answer.body);
}

bool ControlClient::pause(const std::string& what) const {
  return nlohmann::json::parse(post(cat("/v1/pause?what=", what))).value("at_rest", true);
}
void ControlClient::resume(const std::string& what) const { (void)post(cat("/v1/resume?what=", what)); }
void ControlClient::retry_dead_letter(std::int64_t id) const { (void)post(cat(kDeadLetters, id, "/retry")); }
void ControlClient::discard_dead_letter(std::int64_t id) const {
  (void)post(cat(kDeadLetters, id, "/discard"));
}

std::uint64_t ControlClient::verify(const verify::Request& request) const {
  const auto body = post(cat(kVerify, "?request=", percent_encoded(verification_request_json(request))));
  return verification_number(body);
}

std::string ControlClient::verification_json(std::uint64_t id) const {
  if (!sidecar_runs()) {
    throw Error(ErrorKind::precondition, "the sidecar has ended",
                "start it with `walign run`: verification goes on");
  }
  auto answer = request_over(path_, "GET", cat(kVerify, "/", id));
  if (answer.status != 200) throw error_of(answer);
  return std::move(answer.body);
}

void ControlClient::change_sides(const cutover::Request& request) const {
  (void)post(cat(kCutover, "?request=", percent_encoded(change_request_json(request))));
}

void ControlClient::cancel_change() const { (void)post(std::string(kCancelCutover)); }

cutover::Controller::Watch ControlClient::watch_change(std::size_t seen,
                                                       std::chrono::milliseconds timeout) const {
  const auto target = cat(kCutover, "?seen=", seen, "&wait_ms=", timeout.count());
  const auto answer = request_over(path_, "GET", target, kWatchSeconds);
  if (answer.status != 200) throw error_of(answer);
  return watch_of(answer.body);
}

}  // namespace walign::service
