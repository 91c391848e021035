// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What to do now. The first thing that holds is said: what hinders comes before what leads on.
#include "walign/service.hpp"

namespace walign::service {

namespace {

using stream::Status;
using Step = std::optional<NextStep>;

bool is_taken(const std::optional<std::string>& state) { return state && *state == "OPEN"; }

bool changes(const Status& s) { return s.phase == "cutting_over" || s.phase == "rolling_back"; }

// Nothing else matters while this holds.
Step danger(const Status& s, const Outlook& outlook) {
  if (s.phase == "finished") return NextStep{"The migration is finished; nothing is left to do.", ""};
  if (s.phase == "removed") return NextStep{"The migration was removed; nothing is left to do.", ""};
  if (is_taken(s.sides.source) && is_taken(s.sides.target)) {
    return NextStep{
        "Both sides take writes: stop the application's writes to one of them at once, and compare.", ""};
  }
  if (!outlook.running) {
    return changes(s) ? NextStep{"No sidecar runs, and a change of sides is half done: start it, or, where it "
                                 "cannot be started, walign recover.",
                                 "walign run"}
                      : NextStep{"No sidecar runs: changes wait in the source's WAL until it does.", "walign run"};
  }
  if (s.slot_wal_status == "lost") {
    return NextStep{
        "The server has thrown away WAL that the slot needs: the stream cannot go on. Remove the "
        "migration and copy again.",
        "walign remove"};
  }
  if (s.slot_wal_status == "unreserved") {
    return NextStep{
        "WAL that the slot needs is about to be thrown away: raise max_slot_wal_keep_size on the "
        "server that is read, now.",
        ""};
  }
  return std::nullopt;
}

Step held(const Status& s, const Outlook& outlook) {
  if (outlook.change.running) {
    return NextStep{"The sides are changing; what is not opened yet can still be backed out.",
                    "walign cutover --cancel"};
  }
  if (changes(s)) return NextStep{"A half-done change of sides is being brought to its end: wait.", ""};
  if (s.paused) return NextStep{"Apply is held: changes wait in the source's WAL.", "walign resume apply"};
  if (!s.connected) {
    if (s.last_error.empty()) return NextStep{"Connecting: wait.", ""};
    return NextStep{"It tries again by itself; look at the error, and whether both servers are ready.",
                    "walign preflight"};
  }
  return std::nullopt;
}

Step wrong(const Status& s) {
  if (s.dead_letters.value_or(0) > 0) {
    return NextStep{"Rows could not be applied: look at each, then retry or discard it.",
                    "walign dead-letters list"};
  }
  std::int64_t differences = 0;
  for (const auto& table : s.tables) differences += table.differences.value_or(0);
  if (differences > 0) return NextStep{"Both sides differ: see which rows, then mend them.", "walign verify"};
  return std::nullopt;
}

Step copying(const Status& s, const Outlook& outlook) {
  if (s.phase == "new") return NextStep{"What is missing is being set up: wait.", ""};
  if (s.phase != "backfilling") return std::nullopt;
  if (outlook.backfill_paused) return NextStep{"The copy of old rows is held.", "walign resume backfill"};
  return NextStep{"Old rows are being copied: wait until every table is streaming.", ""};
}

bool rehearsed(const Outlook& outlook) {
  using cutover::Extent;
  const auto& change = outlook.change;
  return change.request && change.result && change.request->extent == Extent::rehearse &&
         change.request->verb == cutover::Verb::cutover &&
         change.result->outcome == cutover::Result::Outcome::done;
}

NextStep towards_cutover(const Status& s, const Outlook& outlook) {
  const auto unverified = [](const stream::TableStatus& t) { return !t.verified_at; };
  if (std::any_of(s.tables.begin(), s.tables.end(), unverified)) {
    return {"Every table is copied and followed. Prove that both sides agree.", "walign verify --all"};
  }
  for (const auto& gate : s.sides.gates) {
    if (gate.ok) continue;
    return {cat("A gate was shut when it was last asked (", gate.name,
                "): ", gate_remedy(gate.name, gate.value), ". Then ask again."),
            "walign cutover --dry-run"};
  }
  if (s.sides.gates.empty())
    return {"Both sides agree. See whether the gates hold.", "walign cutover --dry-run"};
  if (rehearsed(outlook)) return {"The rehearsal went well. The writes can move.", "walign cutover"};
  return {"The gates held when they were last asked. Try the fence, and see how long writes would wait.",
          "walign cutover --rehearse"};
}

NextStep after_cutover(const Status& s) {
  if (!s.sides.rollback_ready)
    return {"The target takes writes; whether a rollback is ready is not known yet.", ""};
  if (!*s.sides.rollback_ready) {
    // It names the dead letters itself, where it is these.
    const bool letters = s.sides.rollback_why.find("dead-letters") != std::string::npos;
    return {cat("The target takes writes, and a rollback is not ready: ", s.sides.rollback_why),
            letters ? "walign dead-letters list" : "walign rollback --dry-run"};
  }
  return {
      "The target takes writes. Once it has proved itself, end the migration; until then, walign rollback "
      "goes "
      "back with every write made since.",
      "walign finish"};
}

}  // namespace

NextStep next_step(const stream::Status& s, const Outlook& outlook) {
  if (const auto step = danger(s, outlook)) return *step;
  if (const auto step = held(s, outlook)) return *step;
  if (const auto step = wrong(s)) return *step;
  if (const auto step = copying(s, outlook)) return *step;
  return s.phase == "cut_over" ? after_cutover(s) : towards_cutover(s, outlook);
}

}  // namespace walign::service
