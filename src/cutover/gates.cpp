// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "gates.hpp"

#include <cmath>

namespace walign::cutover {

namespace {

std::string seconds(double value) {
  const auto tenths = static_cast<std::int64_t>(std::llround(value * 10));
  return cat(tenths / 10, ".", tenths % 10, " s");
}

template <class T>
Gate at_most(const char* name, const std::optional<T>& value, std::int64_t limit, const char* unit) {
  return {name, value ? cat(*value, unit) : "unknown", cat("at most ", limit, unit),
          value && *value <= limit};
}

Gate lag_time(const config::Gates& limits, const std::optional<double>& value) {
  const double limit = static_cast<double>(limits.max_lag_time.count()) / 1000;
  return {"lag_seconds", value ? seconds(*value) : "unknown", cat("at most ", seconds(limit)),
          value && *value <= limit};
}

Gate books(const std::optional<bool>& balance) {
  return {"books",
          !balance   ? "unknown"
          : *balance ? "balance"
                     : "do not balance",
          "balance", balance.value_or(false)};
}

Gate stable(const config::Gates& limits, const std::optional<Millis>& value) {
  const auto text = [](Millis m) { return seconds(static_cast<double>(m.count()) / 1000); };
  return {"stable_for", value ? text(*value) : "unknown", cat("at least ", text(limits.stable_for)),
          value && *value >= limits.stable_for};
}

Gate proof(const Figures& figures) {
  const auto limit = figures.max_pause.count();
  Gate out{"proof", "not measured", cat("less than ", limit, " ms (cutover.max_pause)"), true};
  if (figures.proof_ms) {
    const auto took = static_cast<std::int64_t>(std::llround(*figures.proof_ms));
    out.value = cat(took, " ms");
    out.ok = took < limit;
  }
  if (!figures.compared_whole.empty()) {
    out.value += cat("; compared whole, without a key: ", join(figures.compared_whole, ", "));
  }
  return out;
}

Gate prepared(const ServerFigures& server) {
  const auto& gids = server.prepared;
  return {"prepared_transactions", gids.empty() ? "none" : join(gids, ", "), "none", gids.empty()};
}

double limit_of(const config::Gates& limits) {
  return static_cast<double>(limits.oldest_transaction.count()) / 1000;
}

Gate oldest(const config::Gates& limits, const ServerFigures& server) {
  const double age = server.transactions.empty() ? 0 : server.transactions.front().seconds;
  std::string value = seconds(age);
  if (age > limit_of(limits)) value += cat(", pid ", server.transactions.front().pid);
  if (server.hidden_sessions > 0) {
    value += cat("; the age of ", server.hidden_sessions, " sessions is hidden (GRANT pg_read_all_stats)");
  }
  return {"oldest_transaction", value, cat("at most ", seconds(limit_of(limits))), age <= limit_of(limits)};
}

bool is_in_the_way(const LockHolder& holder, bool autovacuum_gives_way) {
  return !(holder.gives_way && autovacuum_gives_way);
}

Gate holders(const ServerFigures& server, bool autovacuum_gives_way) {
  std::vector<std::string> found;
  for (const auto& h : server.holders) {
    if (is_in_the_way(h, autovacuum_gives_way))
      found.push_back(cat(h.table, " by pid ", h.pid, " (", h.mode, ")"));
  }
  return {"lock_holders", found.empty() ? "none" : join(found, ", "), "none", found.empty()};
}

Gate standbys(const char* name, const config::Gates& limits, const ServerFigures& server) {
  std::vector<std::string> all;
  bool ok = true;
  for (const auto& s : server.standbys) {
    all.push_back(cat(s.name, " ", s.state, ", ", s.behind_bytes, " bytes behind"));
    ok = ok && s.state == "streaming" && s.behind_bytes <= limits.max_lag_bytes;
  }
  if (server.hidden_standbys > 0) {
    all.push_back(cat(server.hidden_standbys, " are hidden (GRANT pg_read_all_stats)"));
  }
  return {name, all.empty() ? "none" : join(all, "; "),
          cat("streaming, at most ", limits.max_lag_bytes, " bytes"), ok};
}

}  // namespace

std::vector<Gate> judge(const config::Gates& limits, const Figures& figures, bool autovacuum_gives_way) {
  return {at_most("lag_bytes", figures.lag_bytes, limits.max_lag_bytes, " bytes"),
          lag_time(limits, figures.lag_seconds),
          at_most("differences", figures.differences, limits.differences, ""),
          at_most("dead_letters", figures.dead_letters, limits.dead_letters, ""),
          books(figures.books_balance),
          stable(limits, figures.stable_for),
          proof(figures),
          prepared(figures.giver),
          oldest(limits, figures.giver),
          holders(figures.giver, autovacuum_gives_way),
          standbys("standbys", limits, figures.giver),
          standbys("taker_standbys", limits, figures.taker)};
}

bool all_hold(const std::vector<Gate>& gates) {
  return std::all_of(gates.begin(), gates.end(), [](const Gate& g) { return g.ok; });
}

std::vector<Blocker> blockers(const config::Gates& limits, const Figures& figures,
                              bool autovacuum_gives_way) {
  std::vector<Blocker> out;
  const auto add = [&](int pid, const std::string& query) {
    const auto same = [&](const Blocker& b) { return b.pid == pid; };
    if (std::none_of(out.begin(), out.end(), same)) out.push_back({pid, query});
  };
  for (const auto& t : figures.giver.transactions) {
    if (t.seconds > limit_of(limits)) add(t.pid, t.query);
  }
  for (const auto& h : figures.giver.holders) {
    if (is_in_the_way(h, autovacuum_gives_way)) add(h.pid, h.query);
  }
  return out;
}

}  // namespace walign::cutover
