// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <array>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

namespace walign::cutover {

namespace {

using Json = nlohmann::ordered_json;

// Tenths of a millisecond are as much as anybody reads.
double rounded(double ms) { return std::round(ms * 10) / 10; }

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}
Json lsn_or_null(const std::optional<Lsn>& lsn) { return lsn ? Json(lsn->to_string()) : Json(nullptr); }
Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }
Json time_or_null(const std::optional<std::int64_t>& us) { return us ? Json(utc_text(*us)) : Json(nullptr); }

template <class T, class One>
Json listed(const std::vector<T>& items, One one) {
  Json out = Json::array();
  for (const auto& item : items) out.push_back(one(item));
  return out;
}

Json step_json(const ReportStep& s) {
  return {{"name", s.name},
          {"started_at", utc_text(s.started_us)},
          {"ms", rounded(s.ms)},
          {"ok", s.ok},
          {"detail", text_or_null(s.detail)}};
}
Json table_json(const TableTimes& t) {
  return {{"table", t.table.to_string()},
          {"lock_ms", rounded(t.lock_ms)},
          {"ddl_ms", rounded(t.ddl_ms)},
          {"attempts", t.attempts},
          {"waiting", t.waiting}};
}
Json gate_json(const Gate& g) {
  return {{"name", g.name}, {"value", g.value}, {"limit", g.limit}, {"ok", g.ok}};
}
Json blocker_json(const Blocker& b) { return {{"pid", b.pid}, {"query", b.query}}; }
Json sequence_json(const SequenceSet& s) {
  return {{"giver", s.giver},   {"taker", s.taker}, {"columns", s.columns}, {"giver_value", s.giver_value},
          {"before", s.before}, {"after", s.after}};
}
Json hook_json(const std::pair<std::string, HookResult>& h) {
  return {{"name", h.first},
          {"exit_status", h.second.exit_status},
          {"timed_out", h.second.timed_out},
          {"ms", rounded(h.second.ms)},
          {"output", h.second.output}};
}

Json proved(const std::optional<Proved>& p) {
  if (!p) return nullptr;
  return {{"tables", p->tables}, {"keys", p->keys}, {"differences", p->differences}, {"ms", rounded(p->ms)}};
}

Json writes(const Writes& w) {
  const auto pause = w.pause_ms();
  const auto fence = w.fence_ms();
  return {{"fenced_at", time_or_null(w.fenced_us)},
          {"opened_at", time_or_null(w.opened_us)},
          {"fence_ms", fence ? Json(rounded(*fence)) : Json(nullptr)},
          {"stopped_at", time_or_null(w.stopped_us)},
          {"accepted_at", time_or_null(w.accepted_us)},
          {"pause_ms", pause ? Json(rounded(*pause)) : Json(nullptr)},
          {"waiting", w.waiting},
          {"refused", or_null(w.refused)}};
}

}  // namespace

std::optional<double> Writes::fence_ms() const {
  if (!fenced_us || !opened_us) return std::nullopt;
  return static_cast<double>(*opened_us - *fenced_us) / 1000;
}

// One who was refused on the giver only when the other side was open does not count: nothing had held it up before.
std::optional<double> Writes::pause_ms() const {
  if (!fenced_us || !opened_us) return std::nullopt;
  const bool met = stopped_us && *stopped_us < *opened_us;
  const auto from = met ? *stopped_us : *fenced_us;
  const auto to = met ? std::max(accepted_us.value_or(*opened_us), *opened_us) : *opened_us;
  return static_cast<double>(to - from) / 1000;
}

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::rehearsed: return "rehearsed";
    case Outcome::cut_over: return "cut_over";
    case Outcome::backed_out: return "backed_out";
    case Outcome::gates_shut: return "gates_shut";
    case Outcome::in_doubt: return "in_doubt";
  }
  return "";
}

std::string utc_text(std::int64_t us) {
  auto seconds = static_cast<std::time_t>(us / 1'000'000);
  auto rest = us % 1'000'000;
  if (rest < 0) {
    rest += 1'000'000;
    --seconds;
  }
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  const std::string micros = std::to_string(1'000'000 + rest).substr(1);
  return cat(text.data(), ".", micros, "Z");
}

std::string to_json(const Report& r) {
  Json out;
  out["migration"] = r.migration;
  out["direction"] = r.forward ? "forward" : "reverse";
  out["epoch"] = r.epoch;
  out["rehearsal"] = r.rehearsal;
  out["outcome"] = r.outcome ? Json(outcome_name(*r.outcome)) : Json(nullptr);
  out["why"] = text_or_null(r.why);
  out["started_at"] = utc_text(r.started_us);
  out["ended_at"] = time_or_null(r.ended_us);
  out["source"]["system_id"] = text_or_null(r.source_system_id);
  out["target"]["system_id"] = text_or_null(r.target_system_id);
  out["lsn"]["fence"] = lsn_or_null(r.fence_lsn);
  out["lsn"]["open"] = lsn_or_null(r.open_lsn);
  out["steps"] = listed(r.steps, step_json);
  out["tables"] = listed(r.tables, table_json);
  out["gates"] = listed(r.gates, gate_json);
  out["blockers"] = listed(r.blockers, blocker_json);
  out["proved"] = proved(r.proved);
  out["sequences"] = listed(r.sequences, sequence_json);
  out["sequence_notes"] = r.sequence_notes;
  out["hooks"] = listed(r.hooks, hook_json);
  out["writes"] = writes(r.writes);
  out["predicted_pause_ms"] = r.predicted_pause_ms ? Json(rounded(*r.predicted_pause_ms)) : Json(nullptr);
  // A hook prints what it likes; what is not UTF-8 in it is replaced.
  return out.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace walign::cutover
