// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The control socket: what it answers. Its other end is control_client.cpp.
#include <unistd.h>

#include <atomic>

#include "control_paths.hpp"
#include "web_server.hpp"

namespace walign::service {

namespace {

// So many of the threads may wait for a change of sides to go on; the others tell a status meanwhile, or wait with a
// dead letter's retry for a batch to end.
constexpr int kThreads = 8;
constexpr int kWatchers = 4;
// A server that ends waits for its threads.
constexpr std::chrono::milliseconds kLongestWatch{1000};

std::string in_quotes(std::string_view text) { return cat('"', text, '"'); }

Answer done() { return {200, "application/json", "{\"done\": true}\n"}; }

// What was begun is written to its end even so.
Answer paused(bool at_rest) {
  return {200, "application/json", at_rest ? "{\"at_rest\": true}\n" : "{\"at_rest\": false}\n"};
}

Answer hold_or_release(const Handlers& handlers, const Request& request, bool hold) {
  const auto what = request.query.find("what");
  if (what == request.query.end() || (what->second != "apply" && what->second != "backfill")) {
    return error_answer(400,
                        cat(what == request.query.end() ? "?what= is missing" : in_quotes(what->second),
                            ": what is it that is to be held or released?"),
                        "what=apply or what=backfill");
  }
  if (what->second == "apply") {
    if (hold) return paused(handlers.pause_apply());
    handlers.resume_apply();
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
    return error_answer(400, cat(in_quotes(rest.substr(0, slash)), " is not a dead letter's number"),
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

// A number of the query; `missing` where it is not there. Error(usage).
std::uint64_t number_of(const Request& request, const char* name, std::uint64_t missing) {
  const auto found = request.query.find(name);
  if (found == request.query.end()) return missing;
  const std::string& text = found->second;
  std::uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(ErrorKind::usage, cat(name, "=", text, " is not a number"), "such as ?seen=3&wait_ms=500");
  }
  return out;
}

// Who waits with a thread of the server's.
class Waiting {
 public:
  explicit Waiting(std::atomic<int>& count) : count_(count), allowed_(++count <= kWatchers) {}
  ~Waiting() { --count_; }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  [[nodiscard]] bool allowed() const { return allowed_; }

 private:
  std::atomic<int>& count_;
  bool allowed_;
};

Answer watch_change(const Handlers& handlers, const Request& request, std::atomic<int>& watchers) {
  const auto seen = number_of(request, "seen", 0);
  const auto wait_ms = number_of(request, "wait_ms", 0);
  const auto longest = static_cast<std::uint64_t>(kLongestWatch.count());
  const Waiting waiting(watchers);
  const std::chrono::milliseconds timeout(waiting.allowed() ? std::min(wait_ms, longest) : 0);
  return {200, "application/json", watch_json(handlers.watch_change(seen, timeout))};
}

// /v1/cutover begins one or tells of one, /v1/cutover/cancel backs it out. A rollback is one, too.
Answer change_of_sides(const Handlers& handlers, const Request& request, std::atomic<int>& watchers) {
  if (!handlers.change_sides || !handlers.cancel_change || !handlers.watch_change) {
    return error_answer(409, "this sidecar does not change sides",
                        "is it of another version than this program?");
  }
  const bool post = request.method == "POST";
  if (post && request.path == kCutover) {
    const auto text = request.query.find("request");
    if (text == request.query.end()) {
      return error_answer(400, "?request= is missing", "walign cutover and walign rollback send it");
    }
    handlers.change_sides(change_request(text->second));
    return done();
  }
  if (post && request.path == kCancelCutover) {
    handlers.cancel_change();
    return done();
  }
  if (request.method == "GET" && request.path == kCutover) return watch_change(handlers, request, watchers);
  return not_found(request);
}

Answer respond(const Handlers& handlers, const Request& request, std::atomic<int>& watchers) {
  const bool get = request.method == "GET";
  const bool post = request.method == "POST";
  if (get && request.path == "/v1/status") return {200, "application/json", status_with_outlook(handlers)};
  if (post && request.path == "/v1/pause") return hold_or_release(handlers, request, true);
  if (post && request.path == "/v1/resume") return hold_or_release(handlers, request, false);
  if (post && request.path.starts_with(kDeadLetters)) return dead_letter(handlers, request);
  if (request.path.starts_with(kVerify)) return verification(handlers, request);
  if (request.path.starts_with(kCutover)) return change_of_sides(handlers, request, watchers);
  return not_found(request);
}

}  // namespace

Respond control_responder(Handlers handlers) {
  return [handlers = std::move(handlers), watchers = std::make_shared<std::atomic<int>>(0)](
             const Request& request) { return respond(handlers, request, *watchers); };
}

ControlServer::ControlServer(const std::string& state_directory, Handlers handlers)
    : path_(control_path(state_directory)),
      server_(std::make_unique<WebServer>(listen_unix(path_), control_responder(std::move(handlers)),
                                          kThreads)) {}

ControlServer::~ControlServer() {
  ::unlink(path_.c_str());  // first: who finds it can still reach us
  server_.reset();
}

}  // namespace walign::service
