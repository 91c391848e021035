// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a cutover or a rollback leaves on paper: one JSON document. Every field is present, null where it is not known.
//
//   {"migration", "direction": "forward" | "reverse", "epoch", "rehearsal", "outcome", "why", "started_at", "ended_at",
//    "source": {"system_id"}, "target": {"system_id"}, "lsn": {"fence", "open"},
//    "steps": [{"name", "started_at", "ms", "ok", "detail"}],
//    "tables": [{"table", "lock_ms", "ddl_ms", "attempts", "waiting"}],
//    "gates": [{"name", "value", "limit", "ok"}], "blockers": [{"pid", "query"}],
//    "proved": {"tables", "keys", "differences", "ms"},
//    "sequences": [{"giver", "taker", "columns", "giver_value", "before", "after"}], "sequence_notes": [...],
//    "hooks": [{"name", "exit_status", "timed_out", "ms", "output"}],
//    "writes": {"fenced_at", "opened_at", "fence_ms", "stopped_at", "accepted_at", "pause_ms", "waiting", "refused"},
//    "predicted_pause_ms"}
#pragma once

#include "gates.hpp"
#include "hooks.hpp"
#include "sequences.hpp"

namespace walign::cutover {

struct ReportStep {
  std::string name;
  std::int64_t started_us = 0;  // since 1970
  double ms = 0;
  bool ok = true;
  std::string detail;
};

struct Proved {
  std::int64_t tables = 0;
  std::int64_t keys = 0;
  std::int64_t differences = 0;
  double ms = 0;
};

// For how long writes were held up, by walign's clock. What it knows itself is from the first lock that the fence asked
// for to the opening (or the reopening, if it was backed out). Those who write see another time: nobody may have wanted
// the first table, and the first who is accepted has to ask again. Where they met the triggers, theirs counts.
struct Writes {
  std::optional<std::int64_t> fenced_us;    // since 1970, as the next three: the first lock was asked for
  std::optional<std::int64_t> opened_us;    // a side was open again
  std::optional<std::int64_t> stopped_us;   // the first statement that was refused, when it was asked for
  std::optional<std::int64_t> accepted_us;  // the first one that was accepted afterwards
  std::int64_t waiting = 0;                 // sessions that waited for a table when it was fenced
  std::optional<std::int64_t> refused;      // statements, on the giver
  [[nodiscard]] std::optional<double> fence_ms() const;  // from fenced_us to opened_us
  [[nodiscard]] std::optional<double> pause_ms() const;  // as those who write saw it, as far as that is known
};

enum class Outcome { rehearsed, cut_over, backed_out, gates_shut, in_doubt };
std::string_view outcome_name(Outcome outcome);

struct Report {
  std::string migration;
  bool forward = true;
  std::uint64_t epoch = 0;
  bool rehearsal = false;
  std::optional<Outcome> outcome;
  std::string why;  // of an outcome that was not asked for
  std::int64_t started_us = 0;
  std::optional<std::int64_t> ended_us;
  std::string source_system_id;
  std::string target_system_id;
  std::optional<Lsn> fence_lsn;
  std::optional<Lsn> open_lsn;
  std::vector<ReportStep> steps;
  std::vector<TableTimes> tables;
  std::vector<Gate> gates;
  std::vector<Blocker> blockers;
  std::optional<Proved> proved;
  std::vector<SequenceSet> sequences;
  std::vector<std::string> sequence_notes;
  std::vector<std::pair<std::string, HookResult>> hooks;  // by name
  Writes writes;
  std::optional<double> predicted_pause_ms;
};

std::string to_json(const Report& report);
// 2026-11-20T13:27:10.123456Z
std::string utc_text(std::int64_t us);

}  // namespace walign::cutover
