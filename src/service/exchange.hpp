// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A request and its answer as plain values, so that what is answered can be told without knowing how it travels.
#pragma once

#include <map>

#include "walign/service.hpp"

namespace walign::service {

struct Request {
  std::string method;
  std::string path;                          // decoded, without the query
  std::map<std::string, std::string> query;  // the first of each name
};

// The next piece of an answer that has no end; empty: there is nothing for now, ask again. Called by the thread that
// serves the one who reads, and returns within a fraction of a second.
using Pieces = std::function<std::string()>;

struct Answer {
  int status = 200;
  std::string type = "application/json";
  std::string body;
  Pieces pieces = nullptr;  // follow the body, for as long as somebody reads
};

// Called by several threads at once. May throw: an Error becomes an answer as error_answer() says.
using Respond = std::function<Answer(const Request&)>;

// What the two servers answer.
Respond control_responder(Handlers handlers);
Respond http_responder(Handlers handlers);
// The page at / and what it loads: nullopt for a path that is neither.
std::optional<Answer> page(std::string_view path);
// /v1/events: at most kEventReaders at a time.
Respond events_responder(std::shared_ptr<Observer> observer);
// status_json() of now, with what the observer knows.
std::string status_with_outlook(const Handlers& handlers);

// Everything but letters and digits as %HH.
std::string percent_encoded(std::string_view text);
// The number in {"id": 7}; Error(malformed).
std::uint64_t verification_number(const std::string& body);

// {"error", "hint"}
Answer error_answer(int status, std::string_view message, std::string_view hint);
Answer error_answer(const Error& error);
// The Error that such an answer tells of, on the client's side.
Error error_of(const Answer& answer);

}  // namespace walign::service
