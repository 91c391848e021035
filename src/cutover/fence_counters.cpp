// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "fence_counters.hpp"

namespace walign::cutover {

namespace {

constexpr std::array<const char*, 3> kCounters = {"_refused", "_first", "_passed"};

// walign."walign_users_s_refused": as count_write() has it.
std::string counter(const FenceId& id, const char* what) {
  return cat("walign.", pg::quote_ident(cat(id.migration, "_", side_name(id.side).substr(0, 1), what)));
}

}  // namespace

std::string make_counters(const FenceId& id) {
  std::string sql;
  for (const char* what : kCounters) sql += cat("CREATE SEQUENCE IF NOT EXISTS ", counter(id, what), "; ");
  return sql;
}

std::string drop_counters(const FenceId& id) {
  std::string sql;
  for (const char* what : kCounters) sql += cat("DROP SEQUENCE IF EXISTS ", counter(id, what), "; ");
  return sql;
}

Traffic traffic(pg::Connection& server, const FenceId& id) {
  std::string sql = "SELECT ";
  for (const char* what : kCounters) {
    sql += cat(what == kCounters.front() ? "" : ", ", "pg_catalog.pg_sequence_last_value(",
               pg::quote_literal(counter(id, what)), ")");
  }
  const auto r = server.exec(sql);
  Traffic seen;
  if (!r.is_null(0, 0)) seen.refused = r.integer(0, 0);
  if (!r.is_null(0, 1)) seen.first_refused_us = r.integer(0, 1);
  if (!r.is_null(0, 2)) seen.first_passed_us = r.integer(0, 2);
  return seen;
}

void reset_traffic(pg::Connection& server, const FenceId& id) {
  std::string sql = "SELECT ";
  for (const char* what : kCounters) {
    sql += cat(what == kCounters.front() ? "" : ", ", "pg_catalog.setval(",
               pg::quote_literal(counter(id, what)), ", 1, false)");
  }
  server.exec(sql);
}

}  // namespace walign::cutover
