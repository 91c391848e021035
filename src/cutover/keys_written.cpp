// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "keys_written.hpp"

namespace walign::cutover {

namespace {

constexpr Millis kBetweenLooks{2};

}  // namespace

bool draws_keys(const std::vector<mapping::Route>& backward) {
  return std::any_of(backward.begin(), backward.end(),
                     [](const auto& route) { return route.drawn_key.has_value(); });
}

Answer keys_written(pg::Connection& giver, const std::vector<mapping::Route>& backward, Millis left,
                    const std::function<void(Millis)>& pause) {
  const auto end = std::chrono::steady_clock::now() + left;
  giver.exec("SET enable_seqscan = off");  // the key's index has the rows without one together
  for (const auto& route : backward) {
    if (!route.drawn_key) continue;
    const std::string bare = cat("SELECT FROM ", pg::qualified(route.source.schema, route.source.name),
                                 " WHERE ", pg::quote_ident(route.drawn_key->target_column), " IS NULL");
    while (giver.exec(cat("SELECT EXISTS (", bare, ")")).boolean(0, 0)) {
      if (std::chrono::steady_clock::now() >= end) {
        const auto rows = giver.exec(cat("SELECT pg_catalog.count(*) FROM (", bare, ") AS bare"));
        return {Answer::Kind::refused,
                cat(rows.text(0, 0), " rows of ", route.source.to_string(),
                    " have not been given their source key (", route.drawn_key->target_column, ") in time")};
      }
      pause(kBetweenLooks);
    }
  }
  return {};
}

}  // namespace walign::cutover
