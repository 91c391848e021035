// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "change_text.hpp"

#include <cstdio>

#include "text.hpp"
#include "walign/pg.hpp"
#include "walign/service.hpp"

namespace walign::cli {

namespace {

using cutover::Extent;
using cutover::Request;
using cutover::Result;
using cutover::Verb;
using Outcome = Result::Outcome;

constexpr const char* kStepColumns = "%11s  %10s  %s";

std::string columns(const std::string& at, const std::string& took, const std::string& step) {
  char buffer[160];
  std::snprintf(buffer, sizeof buffer, kStepColumns, at.c_str(), took.c_str(), step.c_str());
  return buffer;
}

// The value at a path; null where it is not there.
Json at(const Json& document, const char* pointer) {
  const Json::json_pointer path(pointer);
  return document.contains(path) ? document.at(path) : Json();
}
std::string text_at(const Json& document, const char* pointer) {
  const Json found = at(document, pointer);
  return found.is_string() ? one_line(found.get<std::string>()) : "";
}

Json parsed(const std::string& report) {
  return report.empty() ? Json::object() : Json::parse(report, nullptr, false);
}

std::string counted(std::int64_t count, const char* one, const char* many) {
  return cat(count, " ", count == 1 ? one : many);
}

// How long writes were held up, where it is known.
std::string pause_text(const Json& report) {
  const Json pause = at(report, "/writes/pause_ms");
  if (!pause.is_number()) return "";
  std::string out = cat("writes waited or were refused for ", ms_text(pause.get<double>()));
  const Json waiting = at(report, "/writes/waiting");
  const Json refused = at(report, "/writes/refused");
  std::vector<std::string> who;
  if (waiting.is_number_integer() && waiting.get<std::int64_t>() > 0) {
    who.push_back(cat(counted(waiting.get<std::int64_t>(), "session", "sessions"), " waited for a table"));
  }
  if (refused.is_number_integer() && refused.get<std::int64_t>() > 0) {
    who.push_back(cat(counted(refused.get<std::int64_t>(), "statement", "statements"), " refused"));
  }
  return cat(out, who.empty() ? "" : cat(" (", join(who, ", "), ")"), "\n");
}

std::string predicted_text(const Json& report) {
  const Json predicted = at(report, "/predicted_pause_ms");
  if (!predicted.is_number()) return "";
  return cat("writes would wait or be refused for about ", ms_text(predicted.get<double>()), "\n");
}

const char* wanted_side(const Request& request) {
  return request.verb == Verb::cutover ? "target" : "source";
}
const char* giving_side(const Request& request) {
  return request.verb == Verb::cutover ? "source" : "target";
}
const char* done_word(const Request& request) {
  return request.verb == Verb::cutover ? "cut over" : "rolled back";
}

std::string of_epoch(const Result& result) {
  return result.epoch == 0 ? "" : cat(" (epoch ", result.epoch, ")");
}
std::string why(const Result& result) {
  return result.message.empty() ? "" : cat(": ", one_line(result.message));
}
std::string who_writes(const Result& result) {
  return result.writes.empty() ? "" : cat("; the ", result.writes, " takes writes");
}

std::string done_headline(const Request& request, const Result& result) {
  // A real one that found the work done has begun no attempt.
  const bool nothing_to_do =
      result.writes == wanted_side(request) && (request.extent != Extent::real || result.epoch == 0);
  if (nothing_to_do) return cat("nothing to do: the ", result.writes, " takes writes already");
  switch (request.extent) {
    case Extent::dry_run: return "every gate holds";
    case Extent::rehearse:
      return cat("rehearsed: every table could be fenced, and was let go again; the ", giving_side(request),
                 " takes writes as before");
    case Extent::real: break;
  }
  return cat(done_word(request), ": the ", wanted_side(request), " takes writes", of_epoch(result));
}

// The gates say it better than the message, which lists the same.
std::string refusal(const Result& result, const std::string& shut) {
  return shut.empty() ? cat("refused", why(result), who_writes(result))
                      : cat("refused: not every gate holds", who_writes(result));
}

std::string headline(const Request& request, const Result& result) {
  switch (result.outcome) {
    case Outcome::done: return done_headline(request, result);
    case Outcome::gate: return refusal(result, shut_gates(parsed(result.report)));
    case Outcome::backed_out:
      return cat("backed out", why(result), who_writes(result), result.writes.empty() ? "" : " as before");
    case Outcome::in_doubt: return cat("IN DOUBT", why(result), who_writes(result));
    case Outcome::hook_failed:
      return cat(done_word(request), of_epoch(result), ", but the switch hook failed", why(result),
                 who_writes(result));
  }
  return "";
}

std::vector<std::string> next_steps(const Request& request, const Result& result, const std::string& option) {
  const std::string typed = cat("walign", option, " ");
  switch (result.outcome) {
    case Outcome::done:
      if (request.extent == Extent::dry_run) {
        return {cat(typed, request.verb == Verb::cutover ? "cutover" : "rollback",
                    " --rehearse tries the fence, too, and tells how long writes would wait")};
      }
      if (request.extent == Extent::rehearse)
        return {cat(typed, typed_as({request.verb, Extent::real, request.accept_loss}), " does it")};
      if (request.verb == Verb::rollback) return {cat(typed, "status: the forward stream goes on")};
      return {cat(typed, "status says whether a rollback is ready"),
              cat(typed, "rollback goes back, with every write made on the target since"),
              cat(typed, "finish ends the migration, when the target has proved itself")};
    case Outcome::backed_out:
      return {cat(typed, typed_as({request.verb, Extent::rehearse, request.accept_loss}),
                  " tries the fence without holding writes up")};
    case Outcome::in_doubt: return {cat(typed, "status shows the rows of both sides")};
    case Outcome::gate:
    case Outcome::hook_failed: break;  // the hint says it
  }
  return {};
}

}  // namespace

std::string ms_text(double ms) {
  if (ms >= 10'000) return seconds_text(ms / 1000);
  char buffer[48];
  std::snprintf(buffer, sizeof buffer, "%.1f ms", ms);
  return buffer;
}

std::string typed_as(const Request& request) {
  std::string out = request.verb == Verb::cutover ? "cutover" : "rollback";
  if (request.extent == Extent::dry_run) out += " --dry-run";
  if (request.extent == Extent::rehearse) out += " --rehearse";
  if (request.accept_loss) out += " --accept-loss";
  return out;
}

std::string announcement(const Request& request, const config::Config& config) {
  const bool forth = request.verb == Verb::cutover;
  const std::string from = forth ? "source" : "target";
  const std::string to = forth ? "target" : "source";
  const auto server = [&](const std::string& side) {
    return pg::describe_conninfo(side == "source" ? config.source : config.target);
  };
  const auto pause = seconds_text(static_cast<double>(config.cutover.max_pause.count()) / 1000);
  const auto lease = seconds_text(static_cast<double>(config.cutover.lease.count()) / 1000);
  return cat("Writes to the tables of migration ", config.migration, " move from the ", from, " (",
             server(from), ")\nto the ", to, " (", server(to),
             "). Meanwhile they wait or are refused, for at most ", pause,
             " (cutover.max_pause).\nUntil the ", to,
             " is opened whatever fails leads back: writes return to the ", from, ", by themselves after ",
             lease, "\n(cutover.lease) should the sidecar die before it has sealed it.",
             forth ? "\nOnce the target is open, the way back is `walign rollback`.\n"
                   : "\nOnce the source is open, the forward stream goes on; every write made on the target "
                     "is there.\n");
}

std::string step_head() { return columns("at", "took", "step") + "\n"; }

std::string step_line(const cutover::Progress& step) {
  const std::string text = step.text == "done" || step.text.empty() ? "" : cat("  ", one_line(step.text));
  return cat(columns(ms_text(step.at_ms), ms_text(step.took_ms), printable(step.step).substr(0, 60)), text,
             "\n");
}

std::string shut_gates(const Json& document) {
  std::string out;
  for (const Json& gate : at(document, "/gates")) {
    if (at(gate, "/ok") != Json(false)) continue;
    const auto name = text_at(gate, "/name");
    const auto value = text_at(gate, "/value");
    out += cat("  ", name, " is ", value, ", must be ", text_at(gate, "/limit"), "\n");
    if (const auto remedy = service::gate_remedy(name, value); !remedy.empty())
      out += cat("    ", remedy, "\n");
  }
  if (out.empty()) return "";
  for (const Json& blocker : at(document, "/blockers")) {
    out += cat("  pid ", at(blocker, "/pid").dump(), ": ", text_at(blocker, "/query"), "\n");
  }
  return out;
}

std::string outcome_text(const Request& request, const Result& result, const std::string& option) {
  const Json report = parsed(result.report);
  std::string out = headline(request, result) + "\n";
  if (result.outcome == Outcome::gate) out += shut_gates(report);
  if (request.extent == Extent::real) out += pause_text(report);
  if (result.outcome == Outcome::done && request.extent == Extent::rehearse) out += predicted_text(report);
  if (!result.report_file.empty()) out += cat("report: ", printable(result.report_file), "\n");
  if (!result.hint.empty()) out += cat("hint: ", one_line(result.hint), "\n");
  for (const auto& next : next_steps(request, result, option)) out += cat("  ", next, "\n");
  return out;
}

std::string report_text(const Result& result) {
  if (result.report.empty()) return service::result_json(result);
  return result.report.ends_with('\n') ? result.report : result.report + "\n";
}

}  // namespace walign::cli
