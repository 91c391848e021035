// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Errors on their way over HTTP and back.
#include <nlohmann/json.hpp>

#include "exchange.hpp"

namespace walign::service {

namespace {

struct Pair {
  ErrorKind kind;
  int status;
};
// The client reads it from right to left: the first kind with a status is what it becomes.
constexpr Pair kStatusOf[] = {
    {ErrorKind::usage, 400},    {ErrorKind::precondition, 404}, {ErrorKind::precondition, 409},
    {ErrorKind::conflict, 422}, {ErrorKind::transient, 503},    {ErrorKind::connection, 502},
    {ErrorKind::in_doubt, 504}, {ErrorKind::query, 500},
};

int status_of(ErrorKind kind) {
  if (kind == ErrorKind::precondition) return 409;
  if (kind == ErrorKind::interrupted) return 503;
  for (const auto& pair : kStatusOf) {
    if (pair.kind == kind) return pair.status;
  }
  return 500;
}

ErrorKind kind_of(int status) {
  for (const auto& pair : kStatusOf) {
    if (pair.status == status) return pair.kind;
  }
  return ErrorKind::query;
}

}  // namespace

Answer error_answer(int status, std::string_view message, std::string_view hint) {
  using Json = nlohmann::ordered_json;
  const Json body = {{"error", message}, {"hint", hint}};
  return {status, "application/json", body.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"};
}

Answer error_answer(const Error& error) {
  std::string message = error.message();
  if (!error.sqlstate().empty()) message += cat(" (SQLSTATE ", error.sqlstate(), ")");
  if (error.position().valid()) message += cat(" (at ", error.position(), ")");
  return error_answer(status_of(error.kind()), message, error.hint());
}

Error error_of(const Answer& answer) {
  const auto body = nlohmann::json::parse(answer.body, nullptr, false);
  const auto text = [&](const char* name) {
    return body.is_object() && body.contains(name) && body[name].is_string() ? body[name].get<std::string>()
                                                                             : "";
  };
  const std::string message = text("error");
  return {kind_of(answer.status),
          message.empty() ? cat("the sidecar answered with HTTP status ", answer.status) : message,
          message.empty() ? "is it of this version? Look at its log" : text("hint")};
}

}  // namespace walign::service
