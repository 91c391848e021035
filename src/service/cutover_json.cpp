// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The change of sides as JSON, both ways: what is asked for, and what is told of it.
#include <array>
#include <nlohmann/json.hpp>

#include "walign/service.hpp"

namespace walign::service {

namespace {

using Json = nlohmann::ordered_json;
using cutover::Progress;
using cutover::Result;
using Watch = cutover::Controller::Watch;

template <class T>
struct Named {
  T value;
  const char* name;
};
constexpr std::array kVerbs = {Named{cutover::Verb::cutover, "cutover"},
                               Named{cutover::Verb::rollback, "rollback"}};
constexpr std::array kExtents = {Named{cutover::Extent::real, "real"},
                                 Named{cutover::Extent::rehearse, "rehearse"},
                                 Named{cutover::Extent::dry_run, "dry_run"}};
constexpr std::array kOutcomes = {Named{Result::Outcome::done, "done"}, Named{Result::Outcome::gate, "gate"},
                                  Named{Result::Outcome::backed_out, "backed_out"},
                                  Named{Result::Outcome::in_doubt, "in_doubt"},
                                  Named{Result::Outcome::hook_failed, "hook_failed"}};

template <class Names, class T>
const char* name_in(const Names& names, T value) {
  for (const auto& n : names) {
    if (n.value == value) return n.name;
  }
  return "";
}

template <class Names>
auto value_in(const Names& names, const std::string& name) -> std::optional<decltype(names[0].value)> {
  for (const auto& n : names) {
    if (name == n.name) return n.value;
  }
  return std::nullopt;
}

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

// Server messages and hooks print bytes of any encoding.
std::string text_of(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json to_json(const cutover::Request& request) {
  Json out = {{"verb", name_in(kVerbs, request.verb)}, {"extent", name_in(kExtents, request.extent)}};
  if (request.accept_loss) out["accept_loss"] = true;
  return out;
}

Json to_json(const std::vector<Progress>& steps) {
  Json out = Json::array();
  for (const auto& s : steps) {
    out.push_back({{"step", s.step}, {"text", s.text}, {"at_ms", s.at_ms}, {"took_ms", s.took_ms}});
  }
  return out;
}

Json to_json(const Result& result) {
  return {{"outcome", name_in(kOutcomes, result.outcome)},
          {"message", or_null(result.message)},
          {"hint", or_null(result.hint)},
          {"writes", or_null(result.writes)},
          {"epoch", result.epoch},
          {"steps", to_json(result.steps)},
          {"report_file", or_null(result.report_file)}};
}

[[noreturn]] void wrong_request(const std::string& what) {
  throw Error(ErrorKind::usage, cat("a request to change sides: ", what),
              R"(such as {"verb": "cutover", "extent": "rehearse"}: verb is cutover or rollback, )"
              "extent is real, rehearse or dry_run, accept_loss is true or false");
}

[[noreturn]] void unexpected(const std::string& what) {
  throw Error(ErrorKind::malformed, cat("the sidecar's account of the change of sides: ", what),
              "is it of this version? Look at its log");
}

// The members of an object that came from a sidecar. What is missing or of another type is Error(malformed).
class Members {
 public:
  explicit Members(const Json& object) : object_(object) {
    if (!object.is_object()) unexpected("it is not an object");
  }
  [[nodiscard]] const Json& at(const char* name) const {
    if (!object_.contains(name)) unexpected(cat(name, " is missing"));
    return object_.at(name);
  }
  [[nodiscard]] std::string text(const char* name) const {  // empty for null
    const Json& value = at(name);
    if (value.is_null()) return "";
    if (!value.is_string()) unexpected(cat(name, " is not a text"));
    return value.get<std::string>();
  }
  [[nodiscard]] double number(const char* name) const {
    if (!at(name).is_number()) unexpected(cat(name, " is not a number"));
    return at(name).get<double>();
  }
  template <class Names>
  [[nodiscard]] auto one_of(const char* name, const Names& names) const {
    const auto found = value_in(names, text(name));
    if (!found) unexpected(cat(name, " is not known: ", text(name)));
    return *found;
  }

 private:
  const Json& object_;
};

std::vector<Progress> steps_of(const Json& list) {
  if (!list.is_array()) unexpected("steps is not a list");
  std::vector<Progress> out;
  for (const auto& item : list) {
    const Members step(item);
    out.push_back({step.text("step"), step.text("text"), step.number("at_ms"), step.number("took_ms")});
  }
  return out;
}

Result result_of(const Json& json) {
  const Members members(json);
  Result out;
  out.outcome = members.one_of("outcome", kOutcomes);
  out.message = members.text("message");
  out.hint = members.text("hint");
  out.writes = members.text("writes");
  if (!members.at("epoch").is_number_unsigned()) unexpected("epoch is not a number");
  out.epoch = members.at("epoch").get<std::uint64_t>();
  out.steps = steps_of(members.at("steps"));
  out.report_file = members.text("report_file");
  out.report = members.text("report");
  return out;
}

}  // namespace

cutover::Request change_request(const std::string& json) {
  const Json body = Json::parse(json, nullptr, false);
  if (!body.is_object()) wrong_request("it is not a JSON object");
  cutover::Request out;
  for (const auto& [name, value] : body.items()) {
    if (name == "accept_loss" && value.is_boolean()) {
      out.accept_loss = value.get<bool>();
      continue;
    }
    const std::string text = value.is_string() ? value.get<std::string>() : "";
    const auto verb = name == "verb" ? value_in(kVerbs, text) : std::nullopt;
    const auto extent = name == "extent" ? value_in(kExtents, text) : std::nullopt;
    if (!verb && !extent) wrong_request(cat(name, " is not known, or its value is not"));
    if (verb) out.verb = *verb;
    if (extent) out.extent = *extent;
  }
  return out;
}

std::string change_request_json(const cutover::Request& request) { return text_of(to_json(request), -1); }

std::string result_json(const Result& result) { return text_of(to_json(result), 2) + "\n"; }

std::string watch_json(const Watch& watch) {
  Json out;
  out["running"] = watch.running;
  out["request"] = watch.request ? to_json(*watch.request) : Json();
  out["steps"] = to_json(watch.steps);
  out["result"] = watch.result ? to_json(*watch.result) : Json();
  if (watch.result) out["result"]["report"] = or_null(watch.result->report);
  out["failed"] = or_null(watch.failed);
  return text_of(out, 2) + "\n";
}

Watch watch_of(const std::string& json) {
  const Json body = Json::parse(json, nullptr, false);
  const Members members(body);
  Watch out;
  if (!members.at("running").is_boolean()) unexpected("running is neither true nor false");
  out.running = members.at("running").get<bool>();
  if (const Json& request = members.at("request"); !request.is_null()) {
    const Members asked(request);
    out.request =
        cutover::Request{asked.one_of("verb", kVerbs), asked.one_of("extent", kExtents),
                         request.contains("accept_loss") && request.at("accept_loss") == Json(true)};
  }
  out.steps = steps_of(members.at("steps"));
  if (const Json& result = members.at("result"); !result.is_null()) out.result = result_of(result);
  out.failed = members.text("failed");
  return out;
}

}  // namespace walign::service
