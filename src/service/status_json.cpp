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
      {"writes", {{"source", nullptr}, {"target", nullptr}, {"lease_until", nullptr}}},
      {"epoch", known(status.epoch)},
      {"rollback", {{"ready", nullptr}, {"why", nullptr}, {"lag_seconds", nullptr}}},
      {"gates", Json::array()},
      {"blockers", Json::array()},
      {"dead_letters", known(status.dead_letters)},
      {"journal", {{"from_lsn", nullptr}, {"to_lsn", nullptr}, {"bytes", nullptr}}},
      {"cutover", {{"lsn", nullptr}, {"refused_ms", nullptr}, {"steps", Json::array()}}},
      {"running", true},
      {"transactions", status.transactions},
      {"connected", status.connected},
      {"paused", status.paused},
      {"last_error", known(status.last_error)},
      {"started_at", status.started_at_us == 0 ? Json() : Json(iso_time(status.started_at_us))},
  };
  // Names come from a server whose encoding is not ours to trust.
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace walign::service
