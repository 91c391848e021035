// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "walign/service.hpp"

namespace walign::service {

namespace {

using Json = nlohmann::ordered_json;

template <class T>
Json known(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}
Json known(const std::optional<Lsn>& lsn) { return lsn ? Json(lsn->to_string()) : Json(); }
Json known(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json time_or_null(std::int64_t unix_micros) {
  return unix_micros == 0 ? Json() : Json(iso_time(unix_micros));
}

// Of the old rows that are left, at the present rate.
std::optional<double> seconds_left(const stream::TableStatus& table, std::optional<double> per_second) {
  if (!per_second || *per_second <= 0 || !table.rows_copied || !table.rows_estimated) return std::nullopt;
  return static_cast<double>(std::max<std::int64_t>(0, *table.rows_estimated - *table.rows_copied)) /
         *per_second;
}

Json table_json(const stream::TableStatus& table, std::optional<double> per_second) {
  return {{"source", table.source},
          {"target", table.target},
          {"state", table.state},
          {"rows_copied", known(table.rows_copied)},
          {"rows_estimated", known(table.rows_estimated)},
          {"chunks_done", known(table.chunks_done)},
          {"chunks", known(table.chunks)},
          {"rows_per_second", known(per_second)},
          {"seconds_left", known(seconds_left(table, per_second))},
          {"verified_at_lsn", known(table.verified_at)},
          {"differences", known(table.differences)},
          {"dirty_keys", known(table.dirty_keys)},
          {"books",
           {{"decoded", table.books.decoded},
            {"applied", table.books.applied},
            {"filtered", table.books.filtered},
            {"dropped", table.books.dropped},
            {"dead_letters", table.books.dead_letters}}}};
}

Json writes_json(const stream::SidesStatus& sides) {
  const auto lease = sides.lease_until_us ? std::optional(iso_time(*sides.lease_until_us)) : std::nullopt;
  return {{"source", known(sides.source)},
          {"target", known(sides.target)},
          {"lease_until", known(lease)},
          {"who", known(who_takes_writes(sides.source, sides.target, lease))}};
}

Json rollback_json(const stream::SidesStatus& sides) {
  return {{"ready", known(sides.rollback_ready)},
          {"why", known(sides.rollback_why)},
          {"lag_seconds", known(sides.rollback_lag_seconds)}};
}

Json gates_json(const std::vector<stream::SidesStatus::Gate>& gates) {
  Json out = Json::array();
  for (const auto& g : gates) {
    out.push_back({{"name", g.name},
                   {"value", g.value},
                   {"limit", g.limit},
                   {"ok", g.ok},
                   {"remedy", g.ok ? Json() : known(gate_remedy(g.name, g.value))}});
  }
  return out;
}

Json blockers_json(const std::vector<stream::SidesStatus::Blocker>& blockers) {
  Json out = Json::array();
  for (const auto& b : blockers) out.push_back({{"pid", b.pid}, {"query", b.query}});
  return out;
}

Json journal_json(const std::optional<stream::JournalStatus>& journal) {
  if (!journal)
    return {{"from_lsn", nullptr}, {"to_lsn", nullptr}, {"bytes", nullptr}, {"age_seconds", nullptr}};
  return {{"from_lsn", journal->from.to_string()},
          {"to_lsn", journal->to.to_string()},
          {"bytes", journal->bytes},
          {"age_seconds", journal->age_seconds}};
}

Json whole(const std::optional<double>& bytes) {
  return bytes ? Json(static_cast<std::int64_t>(*bytes)) : Json();
}

Json slot_json(const stream::Status& status, const Outlook& outlook) {
  return {{"name", known(status.slot_name)},
          {"retained_bytes", known(status.slot_retained_bytes)},
          {"wal_status", known(status.slot_wal_status)},
          {"limited", known(outlook.slot_is_limited)},
          {"safe_bytes", whole(outlook.slot_safe_bytes)},
          {"wal_bytes_per_second", known(outlook.wal_bytes_per_second)},
          {"seconds_left", known(outlook.slot_seconds_left)}};
}

// As result_json() and change_request_json() name them.
Json change_json(const cutover::Controller::Watch& watch) {
  Json out = Json::parse(watch_json(watch), nullptr, false);
  const auto at = [&](const char* object, const char* name) {
    return out[object].is_object() ? out[object][name] : Json();
  };
  return {{"running", watch.running},
          {"verb", at("request", "verb")},
          {"extent", at("request", "extent")},
          {"outcome", at("result", "outcome")},
          {"message", watch.failed.empty() ? at("result", "message") : Json(watch.failed)},
          {"hint", at("result", "hint")}};
}

Json cutover_json(const stream::SidesStatus& sides, const Outlook& outlook) {
  Json steps = Json::array();
  for (const auto& s : sides.steps) {
    steps.push_back({{"step", s.name}, {"text", s.text}, {"at_ms", s.at_ms}, {"took_ms", s.took_ms}});
  }
  Json out = {{"lsn", known(sides.lsn)}, {"refused_ms", known(sides.refused_ms)}, {"steps", steps}};
  out.update(change_json(outlook.change));
  return out;
}

Json tables_json(const std::vector<stream::TableStatus>& tables, const Outlook& outlook) {
  const auto& rates = outlook.copied_per_second;
  Json out = Json::array();
  for (std::size_t i = 0; i < tables.size(); ++i) {
    // The rates are of the look before this status: another number of tables, and none of them is meant.
    out.push_back(table_json(tables[i], rates.size() == tables.size() ? rates[i] : std::nullopt));
  }
  return out;
}

Json next_json(const NextStep& step) { return {{"text", step.text}, {"command", known(step.command)}}; }

}  // namespace

std::string iso_time(std::int64_t unix_micros) {
  namespace ch = std::chrono;
  const ch::sys_time<ch::microseconds> time{ch::microseconds(unix_micros)};
  const auto day = ch::floor<ch::days>(time);
  const ch::year_month_day date(day);
  const ch::hh_mm_ss clock(time - day);
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return buffer;
}

std::string status_json(const stream::Status& status, const Outlook& outlook, int indent) {
  const Json out = {
      {"migration", status.migration},
      {"phase", status.phase},
      {"direction", status.direction},
      {"next", next_json(next_step(status, outlook))},
      {"source", {{"lsn", known(status.source_lsn)}, {"system_id", known(status.source_system_id)}}},
      {"received_lsn", known(status.received)},
      {"applied_lsn", known(status.applied)},
      {"durable_lsn", known(status.durable)},
      {"acknowledged_lsn", known(status.acknowledged)},
      {"lag", {{"bytes", known(status.lag_bytes)}, {"seconds", known(status.lag_seconds)}}},
      {"slot", slot_json(status, outlook)},
      {"tables", tables_json(status.tables, outlook)},
      {"writes", writes_json(status.sides)},
      {"epoch", known(status.sides.epoch)},
      {"rollback", rollback_json(status.sides)},
      {"gates", gates_json(status.sides.gates)},
      {"gates_asked_at", time_or_null(status.sides.gates.empty() ? 0 : outlook.gates_asked_at_us)},
      {"blockers", blockers_json(status.sides.blockers)},
      {"dead_letters", known(status.dead_letters)},
      {"journal", journal_json(status.journal)},
      {"cutover", cutover_json(status.sides, outlook)},
      {"running", outlook.running},
      {"transactions", status.transactions},
      {"rows_per_second", known(outlook.rows_per_second)},
      {"connected", status.connected},
      {"listening", status.listening},
      {"paused", status.paused},
      {"backfill_paused", outlook.backfill_paused},
      {"last_error", known(status.last_error)},
      {"started_at", time_or_null(status.started_at_us)},
      {"stable_since", time_or_null(status.stable_since_us)},
      {"now", time_or_null(outlook.now_us)},
  };
  // Names come from a server whose encoding is not ours to trust.
  return out.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace walign::service
