// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "step_hands.hpp"

#include <future>
#include <thread>

namespace walign::cutover {

namespace {

std::string shut(const std::vector<Gate>& gates) {
  std::vector<std::string> out;
  for (const auto& gate : gates) {
    if (!gate.ok) out.push_back(cat(gate.name, " is ", gate.value, ", limit ", gate.limit));
  }
  return join(out, "; ");
}

}  // namespace

StepHands::StepHands(std::string migration, const std::string& fence, FenceSide source, FenceSide target,
                     config::Cutover settings, std::uint64_t owner, Surroundings surroundings)
    : FenceHands(fence, std::move(source), std::move(target), std::move(settings), owner),
      migration_(std::move(migration)),
      around_(std::move(surroundings)) {}

void StepHands::pause(Millis time) const {
  if (around_.interrupt != nullptr) return around_.interrupt->sleep_for(time);
  std::this_thread::sleep_for(time);
}

Answer StepHands::work(Step step, const Attempt& attempt, Millis left) {
  const Side taker = other(attempt.giver);
  switch (step) {
    case Step::gate: collected_ = {}; return gate(attempt.giver);
    case Step::before_fence:
      return hook("before_fence", settings().before_fence, attempt, settings().hook_timeout);
    case Step::drain:
      return drain(server(taker), id(taker), attempt.epoch, side(taker).stream, left,
                   [this](Millis time) { pause(time); });
    case Step::prove: return prove(attempt, left);
    case Step::sequences: return set_all(attempt);
    case Step::before_open: return hook("before_open", settings().before_open, attempt, left);
    case Step::freeze: return freeze(attempt.giver, left);
    case Step::switch_over: return switch_over(attempt);
    default: break;
  }
  throw Error(ErrorKind::bug, cat("cutover: ", name(step), " changes a row, and is no work"),
              "this is an error in walign: report it with the log");
}

// The definitions of both sides beside the rows: writes wait. Each has a connection that is nobody else's meanwhile.
Answer StepHands::prove(const Attempt& attempt, Millis left) {
  std::vector<std::future<Answer>> definitions;
  for (const auto& [which, before] : fingerprints_) {
    definitions.push_back(std::async(
        std::launch::async, [&s = server(which), &tables = side(which).tables, which, &before]() -> Answer {
          const auto changed = changed_tables(before, fingerprints(s, tables));
          if (changed.empty()) return {};
          return refused(cat("the definition of ", changed.front().to_string(), " on the ", side_name(which),
                             " has changed since the gates"));
        }));
  }
  Answer proved = around_.prove(attempt, left);
  for (auto& definition : definitions) {
    Answer same = definition.get();
    if (same.kind != Answer::Kind::done) return same;
  }
  return proved.kind == Answer::Kind::done ? gate_behind_fence(attempt.giver) : proved;
}

Answer StepHands::gate(Side giver) {
  for (const Side each : {Side::source, Side::target}) {
    fingerprints_[each] = fingerprints(server(each), side(each).tables);
  }
  cutover::Figures figures = around_.figures(giver);
  figures.giver = measure(server(giver), side(giver).tables);
  figures.taker = measure(server(other(giver)), side(other(giver)).tables);
  const bool gives_way = may_set_deadlock_timeout(server(giver));
  collected_.gates = judge(around_.gates, figures, gives_way);
  collected_.blockers = blockers(around_.gates, figures, gives_way);
  if (!all_hold(collected_.gates)) return refused(shut(collected_.gates));
  // A taker that has lost its closing triggers takes writes now, and would go on to. (One that was never closed, before
  // anything was prepared, is no news.)
  const Side taker = other(giver);
  if (!cutover::read_row(server(taker), id(taker))) return {};
  const auto bare = unguarded(server(taker), id(taker), side(taker).tables);
  if (bare.empty()) return {};
  return refused(cat("the ", side_name(taker), " is not closed: somebody has taken the triggers of ",
                     join(bare, ", "), " down"));
}

// The gates again, but for who might have been in the fence's way: it is up.
Answer StepHands::gate_behind_fence(Side giver) {
  const auto gates = judge(around_.gates, around_.figures(giver), true);
  return all_hold(gates) ? Answer{} : refused(shut(gates));
}

Answer StepHands::hook(const std::string& name, const std::string& command, const Attempt& attempt,
                       Millis left) {
  Hook hook;
  hook.name = name;
  hook.command = command;
  hook.environment = hook_environment(migration_, attempt.giver == Side::source, attempt.epoch,
                                      figures().after_fence_lsn, figures().after_open_lsn);
  hook.timeout = std::min(left, settings().hook_timeout);
  const HookResult result = run_hook(hook, around_.interrupt);
  if (result.ran) collected_.hooks.emplace_back(name, result);
  if (result.ok()) return {};
  return refused(cat("hook ", name,
                     result.timed_out ? " was out of time" : cat(" ended with status ", result.exit_status),
                     result.output.empty() ? "" : cat(": ", result.output)));
}

Answer StepHands::set_all(const Attempt& attempt) {
  const auto& routes = attempt.giver == Side::source ? around_.forward : around_.backward;
  auto& giver = server(attempt.giver);
  auto& taker = server(other(attempt.giver));
  // Both servers at once: writes wait.
  auto asked =
      std::async(std::launch::async, [&] { return read_sequences(giver, side(attempt.giver).tables); });
  const auto here = read_sequences(taker, side(other(attempt.giver)).tables);
  const auto there = asked.get();
  const auto pairing = pair_sequences(routes, there, here);
  collected_.sequence_notes = pairing.notes;
  collected_.sequences = set_sequences(taker, pairing, there, here, settings().sequence_margin);
  return {};
}

// Whoever sealed it, and however long ago: a standby that takes over must have the seal.
Answer StepHands::freeze(Side giver, Millis left) {
  if (!around_.still(left)) return refused("the stream did not stop applying in time");
  auto& s = server(giver);
  const auto end = s.exec("SELECT pg_catalog.pg_current_wal_flush_lsn()").lsn(0, 0);
  const auto flushed = wait_until_flushed(s, end, left, around_.interrupt);
  if (flushed.done) return {};
  std::vector<std::string> names;
  for (const auto& standby : flushed.behind) names.push_back(standby.name);
  return refused(cat("the seal is not flushed on ", names.empty() ? "the server" : join(names, ", ")));
}

Answer StepHands::switch_over(const Attempt& attempt) {
  auto& opened = server(other(attempt.giver));
  if (switched(opened, id(other(attempt.giver)), attempt.epoch)) return {Answer::Kind::done, {}, true};
  Answer answer = hook("switch_hook", settings().switch_hook, attempt, settings().hook_timeout);
  if (answer.kind == Answer::Kind::done) {
    note_switched(server(other(attempt.giver)), id(other(attempt.giver)), attempt.epoch);
  }
  return answer;
}

}  // namespace walign::cutover
