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

Json table_json(const stream::TableStatus& table) {
  return {{"source", table.source},
          {"target", table.target},
          {"state", table.state},
          {"rows_copied", known(table.rows_copied)},
          {"rows_estimated", known(table.rows_estimated)},
          {"chunks_done", known(table.chunks_done)},
          {"chunks", known(table.chunks)},
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
  return {{"source", known(sides.source)},
          {"target", known(sides.target)},
          {"lease_until", sides.lease_until_us ? Json(iso_time(*sides.lease_until_us)) : Json()}};
}

Json rollback_json(const stream::SidesStatus& sides) {
  return {{"ready", known(sides.rollback_ready)},
          {"why", known(sides.rollback_why)},
          {"lag_seconds", known(sides.rollback_lag_seconds)}};
}

Json gates_json(const std::vector<stream::SidesStatus::Gate>& gates) {
  Json out = Json::array();
  for (const auto& g : gates) {
    out.push_back({{"name", g.name}, {"value", g.value}, {"limit", g.limit}, {"ok", g.ok}});
  }
  return out;
}

Json blockers_json(const std::vector<stream::SidesStatus::Blocker>& blockers) {
  Json out = Json::array();
  for (const auto& b : blockers) out.push_back({{"pid", b.pid}, {"query", b.query}});
  return out;
}

Json cutover_json(const stream::SidesStatus& sides) {
  Json steps = Json::array();
  for (const auto& s : sides.steps) {
    steps.push_back({{"step", s.name}, {"text", s.text}, {"at_ms", s.at_ms}, {"took_ms", s.took_ms}});
  }
  return {{"lsn", known(sides.lsn)}, {"refused_ms", known(sides.refused_ms)}, {"steps", steps}};
}

Json tables_json(const std::vector<stream::TableStatus>& tables) {
  Json out = Json::array();
  for (const auto& table : tables) out.push_back(table_json(table));
  return out;
}

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

std::string status_json(const stream::Status& status) {
  const Json out = {
      {"migration", status.migration},
      {"phase", status.phase},
      {"direction", status.direction},
      {"source", {{"lsn", known(status.source_lsn)}, {"system_id", known(status.source_system_id)}}},
      {"received_lsn", known(status.received)},
      {"applied_lsn", known(status.applied)},
      {"durable_lsn", known(status.durable)},
      {"acknowledged_lsn", known(status.acknowledged)},
      {"lag", {{"bytes", known(status.lag_bytes)}, {"seconds", known(status.lag_seconds)}}},
      {"slot",
       {{"name", known(status.slot_name)},
        {"retained_bytes", known(status.slot_retained_bytes)},
        {"wal_status", known(status.slot_wal_status)}}},
      {"tables", tables_json(status.tables)},
      {"writes", writes_json(status.sides)},
      {"epoch", known(status.sides.epoch)},
      {"rollback", rollback_json(status.sides)},
      {"gates", gates_json(status.sides.gates)},
      {"blockers", blockers_json(status.sides.blockers)},
      {"dead_letters", known(status.dead_letters)},
      {"journal", {{"from_lsn", nullptr}, {"to_lsn", nullptr}, {"bytes", nullptr}}},
      {"cutover", cutover_json(status.sides)},
      {"running", true},
      {"transactions", status.transactions},
      {"connected", status.connected},
      {"listening", status.listening},
      {"paused", status.paused},
      {"last_error", known(status.last_error)},
      {"started_at", status.started_at_us == 0 ? Json() : Json(iso_time(status.started_at_us))},
  };
  // Names come from a server whose encoding is not ours to trust.
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace walign::service
