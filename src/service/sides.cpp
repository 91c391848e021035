// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The two sides in words: who takes writes, and what opens a gate.
#include "walign/service.hpp"

namespace walign::service {

namespace {

bool is(const std::optional<std::string>& state, std::string_view text) { return state && *state == text; }

// Nobody's row is OPEN.
std::string nobody(const std::optional<std::string>& source, const std::optional<std::string>& target,
                   const std::optional<std::string>& lease_until) {
  const auto shown = [](const std::optional<std::string>& state) { return state.value_or("not known"); };
  std::string out = cat("nobody: source ", shown(source), ", target ", shown(target));
  const auto say = [&](const char* side, const std::optional<std::string>& state) {
    if (is(state, "SEALED")) out += "; walign run or walign recover brings it to its end";
    if (!is(state, "FENCING") && !is(state, "FENCED")) return;
    out += cat("; the ", side, " takes them again ",
               lease_until ? cat("from ", *lease_until, " on") : "when the lease is over");
  };
  say("source", source);
  say("target", target);
  return out;
}

}  // namespace

std::string who_takes_writes(const std::optional<std::string>& source,
                             const std::optional<std::string>& target,
                             const std::optional<std::string>& lease_until) {
  if (!source && !target) return "";
  if (is(source, "OPEN") && is(target, "OPEN")) {
    return "both: stop the application's writes to one of them at once, and compare";
  }
  if (is(source, "OPEN")) return "the source";
  if (is(target, "OPEN")) return "the target";
  if (!source || !target) return "";  // the other one may be open
  return nobody(source, target, lease_until);
}

std::string gate_remedy(std::string_view gate, std::string_view value) {
  const bool known = value != "unknown";
  if (gate == "lag_bytes" || gate == "lag_seconds") {
    return "wait until the stream has caught up; walign status says whether it is held or has an error";
  }
  if (gate == "differences") {
    return known ? "walign verify shows them, walign verify --repair reads those rows again"
                 : "walign verify: not every table has been compared";
  }
  if (gate == "dead_letters") return "walign dead-letters list, then retry or discard each of them";
  if (gate == "books") return "wait for the next durable position; if it stays so, look at the log";
  if (gate == "stable_for") return "wait: without an error and without a pause for that long";
  if (gate == "proof") {
    return "writes would wait for longer than they may: let less be written meanwhile, above all to tables "
           "without a "
           "key, or give them one; or raise cutover.max_pause";
  }
  if (gate == "prepared_transactions") {
    return "COMMIT PREPARED or ROLLBACK PREPARED each of them, on the side that takes writes";
  }
  if (gate == "oldest_transaction") {
    return "wait for its end, or SELECT pg_terminate_backend(PID) on the side that takes writes";
  }
  if (gate == "lock_holders")
    return "wait for its end, or SELECT pg_cancel_backend(PID) on the side that takes writes";
  if (gate == "standbys") return "wait for them: pg_stat_replication of the side that takes writes";
  if (gate == "taker_standbys")
    return "wait for them: pg_stat_replication of the side that is to take writes";
  return "";
}

}  // namespace walign::service
