// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/timeline.hpp"

#include <charconv>

namespace walign::state {

namespace {

constexpr const char* kBeginAndAdopt =
    "begin again: `walign remove`, then `walign run` with existing_rows: adopt, which compares the rows that "
    "the target has with the source's and mends them";

[[noreturn]] void refuse_crossing(std::string message, std::string hint, Lsn at) {
  throw Error(ErrorKind::precondition, std::move(message), std::move(hint)).at(at);
}

[[noreturn]] void unreadable(std::string_view line) {
  throw Error(ErrorKind::malformed, cat("a line of the timeline history cannot be read: ", line),
              "look at the newest .history file in the source's pg_wal");
}

TimelineEnd parse_line(std::string_view line) {
  TimelineEnd out;
  const auto tab = line.find_first_of("\t ");
  if (tab == std::string_view::npos) unreadable(line);
  const auto [end, error] = std::from_chars(line.data(), line.data() + tab, out.timeline);
  if (error != std::errc() || end != line.data() + tab || out.timeline == 0) unreadable(line);
  const auto begin = line.find_first_not_of("\t ", tab);
  if (begin == std::string_view::npos) unreadable(line);
  auto rest = line.substr(begin);
  rest = rest.substr(0, rest.find_first_of("\t "));
  const auto lsn = Lsn::parse(std::string(rest));
  if (!lsn) unreadable(line);
  out.end = *lsn;
  return out;
}

bool may_cross_in(const std::string& phase) {
  return phase == "new" || phase == "backfilling" || phase == "streaming";
}

std::string failed_over(const StartFacts& facts, std::uint32_t from) {
  return cat("the source is on timeline ", facts.source_timeline, ", the target was written from timeline ",
             from);
}

// The older of what the target and the state directory say: they differ where a crossing was cut short.
std::uint32_t recorded(const StartFacts& facts) {
  std::uint32_t oldest = facts.target->source_timeline;
  if (facts.store) oldest = std::min(oldest, facts.store->identity.source_timeline());
  return oldest;
}

Lsn end_of(const StartFacts& facts, const TimelineHistory& history, std::uint32_t from) {
  for (const auto& past : history) {
    if (past.timeline == from) return past.end;
  }
  refuse_crossing(cat(failed_over(facts, from),
                      ", from which it does not come: the source was restored from a backup, or "
                      "another standby was promoted before"),
                  cat("set source: to the server that went on from timeline ", from, ", or ", kBeginAndAdopt),
                  facts.target->position);
}

void refuse_lost(const StartFacts& facts, std::uint32_t from, Lsn end, Lsn known, const std::string& who) {
  if (known <= end) return;
  refuse_crossing(cat(failed_over(facts, from), ", which ended at ", end, "; ", who, " up to ", known,
                      ": the source failed over or was restored, and has lost what lies between"),
                  kBeginAndAdopt, known);
}

}  // namespace

TimelineHistory parse_timeline_history(std::string_view content) {
  TimelineHistory out;
  while (!content.empty()) {
    const auto newline = std::min(content.find('\n'), content.size());
    auto line = content.substr(0, newline);
    content.remove_prefix(std::min(newline + 1, content.size()));
    const auto begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos || line[begin] == '#') continue;
    out.push_back(parse_line(line.substr(begin)));
  }
  return out;
}

bool is_other_timeline(const StartFacts& facts) {
  if (!facts.target || !facts.target->position.valid()) return false;
  if (facts.target->source_system_id != facts.source_system_id)
    return false;  // another server: decide_start()
  if (facts.target->source_timeline != facts.source_timeline) return true;
  return facts.store && facts.store->identity.source_system_id() == facts.source_system_id &&
         facts.store->identity.source_timeline() != facts.source_timeline;
}

Crossing cross_timeline(StartFacts& facts, const TimelineHistory& history,
                        const std::vector<CopiedTo>& copied) {
  const auto from = recorded(facts);
  const Lsn position = facts.target->position;
  if (!facts.store) {
    refuse_crossing(cat(failed_over(facts, from),
                        ", and the state directory, which knows how far it was read, is not here"),
                    cat("run it where the state directory is, or ", kBeginAndAdopt), position);
  }
  if (!may_cross_in(facts.store->phase)) {
    refuse_crossing(
        cat(failed_over(facts, from), ": the source failed over while the sides were being changed (phase ",
            facts.store->phase, ")"),
        cat("look at both sides with `walign recover`; ", kBeginAndAdopt), position);
  }
  const Lsn end = end_of(facts, history, from);
  refuse_lost(facts, from, end, position, "the target has it");
  refuse_lost(facts, from, end, facts.store->durable, "the state directory has seen it");
  for (const auto& table : copied) {
    if (table.fence <= end) continue;
    refuse_crossing(
        cat(failed_over(facts, from), ", which ended at ", end, "; rows of ", table.route,
            " were copied as of ", table.fence, " and may have been lost since"),
        cat("copy this table again: take it out of walign.yaml, run `walign run`, put it back with "
            "existing_rows: adopt, which compares its rows and mends them"),
        table.fence);
  }
  if (!facts.slot) {
    refuse_crossing(
        cat(failed_over(facts, from), ", which ended at ", end, "; nothing that the target has (up to ",
            position, ") was lost, but slot ", facts.slot_name, " is not on the new primary"),
        cat("a slot survives a failover where the standby synchronises it (PostgreSQL 17: "
            "sync_replication_slots = on, hot_standby_feedback = on, primary_slot_name); otherwise ",
            kBeginAndAdopt),
        position);
  }
  facts.target->source_timeline = facts.source_timeline;
  facts.store->identity.set_source_timeline(facts.source_timeline);
  facts.journal.reset();
  return {from, facts.source_timeline, end};
}

}  // namespace walign::state
