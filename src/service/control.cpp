// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The control socket: what it answers, and both its ends.
#include <unistd.h>

#include "web_server.hpp"

namespace walign::service {

namespace {

constexpr int kThreads = 2;  // so that a status is told while a dead letter's retry waits for its turn
constexpr std::string_view kDeadLetters = "/v1/dead-letters/";
constexpr std::string_view kVerify = "/v1/verify";

std::string quoted(std::string_view text) { return cat('"', text, '"'); }

Answer done() { return {200, "application/json", "{\"done\": true}\n"}; }

Answer hold_or_release(const Handlers& handlers, const Request& request, bool hold) {
  const auto what = request.query.find("what");
  if (what == request.query.end() || (what->second != "apply" && what->second != "backfill")) {
    return error_answer(400,
                        cat(what == request.query.end() ? "?what= is missing" : quoted(what->second),
                            ": what is it that is to be held or released?"),
                        "what=apply or what=backfill");
  }
  if (what->second == "apply") {
    (hold ? handlers.pause_apply : handlers.resume_apply)();
    return done();
  }
  if (handlers.pause_backfill && handlers.pause_backfill(hold)) return done();
  return error_answer(409, "there is no backfill running",
                      "pause apply holds the stream; walign status says what runs");
}

std::optional<std::int64_t> parse_id(std::string_view text) {
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id <= 0) return std::nullopt;
  return id;
}

Answer not_found(const Request& request) {
  return error_answer(404, cat("there is no ", request.method, " ", request.path),
                      "is the sidecar of another version than this program?");
}

// /v1/dead-letters/ID/retry and /v1/dead-letters/ID/discard
Answer dead_letter(const Handlers& handlers, const Request& request) {
  const std::string_view rest = std::string_view(request.path).substr(kDeadLetters.size());
  const auto slash = rest.find('/');
  const std::string_view verb = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
  if (verb != "retry" && verb != "discard") return not_found(request);
  const auto id = parse_id(rest.substr(0, slash));
  if (!id) {
    return error_answer(400, cat(quoted(rest.substr(0, slash)), " is not a dead letter's number"),
                        "walign dead-letters list has them");
  }
  (verb == "retry" ? handlers.retry_dead_letter : handlers.discard_dead_letter)(*id);
  return done();
}

// /v1/verify begins one, /v1/verify/ID tells of one.
Answer verification(const Handlers& handlers, const Request& request) {
  if (!handlers.verify || !handlers.verification) {
    return error_answer(409, "this sidecar does not verify", "is it of another version than this program?");
  }
  if (request.method == "POST" && request.path == kVerify) {
    const auto text = request.query.find("request");
    const auto id = handlers.verify(verification_request(text == request.query.end() ? "{}" : text->second));
    return {200, "application/json", cat("{\"id\": ", id, "}\n")};
  }
  if (request.method == "GET" && request.path.size() > kVerify.size() + 1 &&
      request.path[kVerify.size()] == '/') {
    const auto id = parse_id(std::string_view(request.path).substr(kVerify.size() + 1));
    if (id) {
      return {200, "application/json",
              verification_json(handlers.verification(static_cast<std::uint64_t>(*id)))};
    }
  }
  return not_found(request);
}

Answer respond(const Handlers& handlers, const Request& request) {
  const bool get = request.method == "GET";
  const bool post = request.method == "POST";
  if (get && request.path == "/v1/status") return {200, "application/json", status_json(handlers.status())};
  if (post && request.path == "/v1/pause") return hold_or_release(handlers, request, true);
  if (post && request.path == "/v1/resume") return hold_or_release(handlers, request, false);
  if (post && request.path.starts_with(kDeadLetters)) return dead_letter(handlers, request);
  if (request.path.starts_with(kVerify)) return verification(handlers, request);
  return not_found(request);
}

}  // namespace

Respond control_responder(Handlers handlers) {
  return [handlers = std::move(handlers)](const Request& request) { return respond(handlers, request); };
}

namespace {

void refuse_repair_elsewhere(const stream::Status& status) {
  if (status.phase == "backfilling" || status.phase == "streaming") return;
  throw Error(
      ErrorKind::precondition,
      cat("rows are repaired only on a side that takes no application writes; the phase is ", status.phase),
      "compare the rows by hand: walign verify --show TABLE KEY");
}

}  // namespace

Handlers handlers_of(stream::Sidecar& sidecar, const obs::Metrics& metrics, const config::Config& config,
                     verify::Verifier* verifier) {
  constexpr std::chrono::seconds kBatchEnds(30);
  Handlers out;
  out.status = [&sidecar] { return sidecar.status(); };
  out.metrics = [&metrics] { return metrics.text(); };
  out.pause_apply = [&sidecar] { sidecar.pause_apply(); };
  out.resume_apply = [&sidecar] { sidecar.resume_apply(); };
  out.pause_backfill = [&sidecar](bool paused) { return sidecar.pause_backfill(paused); };
  out.retry_dead_letter = [&sidecar, kBatchEnds](std::int64_t id) {
    sidecar.retry_dead_letter(id, kBatchEnds);
  };
  out.discard_dead_letter = [&sidecar, kBatchEnds](std::int64_t id) {
    sidecar.discard_dead_letter(id, kBatchEnds);
  };
  if (verifier != nullptr) {
    out.verify = [&sidecar, verifier](const verify::Request& request) {
      if (request.repair) refuse_repair_elsewhere(sidecar.status());
      return verifier->begin(request);
    };
    out.verification = [verifier](std::uint64_t id) { return verifier->result(id); };
  }
  out.max_lag_bytes = config.gates.max_lag_bytes;
  return out;
}

ControlServer::ControlServer(const std::string& state_directory, Handlers handlers)
    : path_(control_path(state_directory)),
      server_(std::make_unique<WebServer>(listen_unix(path_), control_responder(std::move(handlers)),
                                          kThreads)) {}

ControlServer::~ControlServer() {
  ::unlink(path_.c_str());  // first: who finds it can still reach us
  server_.reset();
}

// ------------------------------------------------------------------------------------------- client

ControlClient::ControlClient(const std::string& state_directory) : path_(control_path(state_directory)) {}

bool ControlClient::sidecar_runs() const { return somebody_listens(path_); }

std::optional<std::string> ControlClient::status_json() const {
  if (!sidecar_runs()) return std::nullopt;
  auto answer = request_over(path_, "GET", "/v1/status");
  if (answer.status != 200) throw error_of(answer);
  return std::move(answer.body);
}

std::string ControlClient::post(const std::string& target) const {
  if (!sidecar_runs()) {
    throw Error(ErrorKind::precondition, cat("no sidecar runs here: nobody listens on ", path_),
                "start it with `walign run`, or choose its configuration with -c");
  }
  auto answer = request_over(path_, "POST", target);
  if (answer.status != 200) throw error_of(answer);
  return std::move(answer.body);
}

void ControlClient::pause(const std::string& what) const { (void)post(cat("/v1/pause?what=", what)); }
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

}  // namespace walign::service
