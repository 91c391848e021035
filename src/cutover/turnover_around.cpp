// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the steps of a change ask of the streams and the verification; and what is told of it afterwards.
#include <future>

#include "keys_written.hpp"
#include "turnover.hpp"

namespace walign::cutover {

stream::Status Turnover::status_of(Side giver) const {
  if (giver == Side::source) return streams_.forward.status();
  return streams_.back.status().value_or(stream::Status());
}

Figures Turnover::figures(Side giver) const {
  auto status = status_of(giver);
  // The board is a moment behind; what was just verified counts.
  (giver == Side::source ? streams_.verifier : streams_.back.verifier()).report(status);
  Figures out;
  out.proof_ms = proof_ms_;
  out.max_pause = streams_.config.cutover.max_pause;
  for (const auto& route : giver == Side::source ? prepared_.routes : backward_) {
    if (route.inserts_only) out.compared_whole.push_back(route.label());
  }
  if (!status.connected && !drained_) return out;  // nothing is known
  out.lag_bytes = status.lag_bytes;
  out.lag_seconds = status.lag_seconds;
  if (drained_) out.lag_bytes = 0, out.lag_seconds = 0;
  out.dead_letters = status.dead_letters;
  if (giver == Side::target && out.dead_letters) {
    // What was written on the closed source, and what the way there could not apply: both are in the way of a return.
    *out.dead_letters += streams_.forward.status().dead_letters.value_or(0) + streams_.lane.breaches();
  }
  out.books_balance = true;  // a stream whose books do not balance has stopped
  // A way back that is needed is needed at once.
  out.stable_for = giver == Side::target
                       ? streams_.config.gates.stable_for
                       : Millis((Clock::system().unix_micros() - status.stable_since_us) / 1000);
  std::int64_t differences = 0;
  for (const auto& table : status.tables) {
    if (!table.verified_at) return out;
    differences += table.differences.value_or(0);
  }
  out.differences = differences;
  return out;
}

Answer Turnover::prove(const Attempt& attempt, Millis left) {
  drained_ = true;
  if (attempt.giver == Side::target && backward_.empty()) return {};
  auto& verifier = attempt.giver == Side::source ? streams_.verifier : streams_.back.verifier();
  const auto began = std::chrono::steady_clock::now();
  // A rehearsal is not fenced: rows without a key come and go.
  if (attempt.giver == Side::target && attempt.epoch != 0 && draws_keys(backward_)) {
    pg::Connection giver(fence_side(Side::target).connection);
    Answer written =
        keys_written(giver, backward_, left, [this](Millis time) { streams_.stop->sleep_for(time); });
    if (written.kind != Answer::Kind::done) return written;
    left -= std::min(left, std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - began));
  }
  const auto report = verifier.await(verifier.begin({}), left);
  Proved proved;
  std::string why;
  for (const auto& table : report.tables) {
    ++proved.tables;
    proved.keys += table.rows;
    proved.differences += table.differences + table.violations;
    if (table.state == "done" && table.differences == 0 && table.violations == 0) continue;
    why +=
        cat(why.empty() ? "" : "; ", table.table, ": ",
            table.state == "done" ? cat(table.differences, " differences, ", table.violations, " violations")
                                  : cat(table.state, table.error.empty() ? "" : " ", table.error));
  }
  proved.ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
  proved_ = proved;
  if (why.empty()) return {};
  return {Answer::Kind::refused, cat(why, " (walign verify tells which rows)")};
}

void Turnover::flow(Flow flow) {
  const bool none = flow == Flow::none;
  streams_.lane.halt(none);
  streams_.back.lane().halt(none);
}

bool Turnover::still(Millis left) {
  const auto end = std::chrono::steady_clock::now() + left;
  if (!streams_.lane.rests(left)) return false;
  if (!streams_.back.running()) return true;
  const auto rest = std::chrono::duration_cast<Millis>(end - std::chrono::steady_clock::now());
  return streams_.back.lane().rests(std::max(Millis(1), rest));
}

Surroundings Turnover::surroundings() {
  Surroundings out;
  out.gates = streams_.config.gates;
  out.figures = [this](Side side) { return figures(side); };
  out.prove = [this](const Attempt& attempt, Millis left) { return prove(attempt, left); };
  out.flow = [this](Flow which) { flow(which); };
  out.still = [this](Millis left) { return still(left); };
  out.forward = prepared_.routes;
  out.backward = backward_;
  out.interrupt = streams_.stop;
  return out;
}

// What comes after the proof, as far as it changes nothing: both servers' sequences are read; the seal is a commit on
// the giver, the taker's row one more when it is held and one when it says OPEN; the streams' loops come round once.
double Turnover::measure_opening(Side giver, pg::Connection& gives, pg::Connection& takes) {
  constexpr double kLoopTurnMs = 20;  // what a loop waits for a message at most
  const auto began = std::chrono::steady_clock::now();
  auto there =
      std::async(std::launch::async, [&] { return read_sequences(gives, fence_side(giver).tables); });
  read_sequences(takes, fence_side(other(giver)).tables);
  there.get();
  for (pg::Connection* server : {&gives, &takes, &takes}) {
    server->exec(
        "BEGIN; SET LOCAL synchronous_commit = on; "
        "SELECT pg_catalog.pg_logical_emit_message(true, 'walign', ''); COMMIT");
  }
  const auto took = std::chrono::steady_clock::now() - began;
  return std::chrono::duration<double, std::milli>(took).count() + kLoopTurnMs;
}

// What a real change does beside the fence: from a commit on the giver until it is applied, the proof, the opening.
double Turnover::measure_rest(Side giver) {
  pg::Connection gives(fence_side(giver).connection);
  pg::Connection takes(fence_side(other(giver)).connection);
  // Behind a fence nobody writes. Here they do: the second time little has changed since the first.
  const double first = measure_proof(giver, gives, takes);
  return std::min(first, measure_proof(giver, gives, takes)) + measure_opening(giver, gives, takes);
}

double Turnover::measure_proof(Side giver, pg::Connection& gives, pg::Connection& takes) {
  const std::string stream = fence_side(other(giver)).stream;
  const auto& facts = giver == Side::source ? prepared_.source : prepared_.target;
  const auto began = std::chrono::steady_clock::now();
  const auto end = began + streams_.config.cutover.max_pause;
  source::nudge(gives);
  const Lsn wanted = source::current_lsn(gives, facts.wal_segment_bytes);
  // The board is half a second behind. The taker's row is not, as long as there is anything to apply.
  const auto applied = [&] {
    const auto r = takes.query("SELECT position FROM walign.stream WHERE name = $1", {stream});
    return (r.rows() == 1 && r.lsn(0, 0) >= wanted) || status_of(giver).applied.value_or(Lsn()) >= wanted;
  };
  while (!applied() && std::chrono::steady_clock::now() < end) streams_.stop->sleep_for(Millis(2));
  const Attempt none{giver, 0, {}, 1};
  const Answer proved = prove(none, streams_.config.cutover.max_pause);
  drained_ = false;
  if (proved.kind != Answer::Kind::done) obs::warn(cat("the rehearsal's proof: ", proved.why));
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
}

// -------------------------------------------------------------------------------------------- afterwards

void Turnover::after_back_out(const Result& result) {
  const auto& settings = streams_.config.cutover;
  Hook hook;
  hook.name = "after_back_out";
  hook.command = settings.after_back_out;
  hook.environment = hook_environment(streams_.config.migration, result.writes == name(Side::source),
                                      result.epoch, hands_->figures().after_fence_lsn, Lsn());
  hook.timeout = settings.hook_timeout;
  const auto ran = run_hook(hook, streams_.stop);
  if (!ran.ok())
    obs::warn("hook after_back_out failed", {{"status", ran.exit_status}, {"output", ran.output}});
}

namespace {

std::optional<Outcome> outcome_of(const Request& request, Result::Outcome outcome) {
  switch (outcome) {
    case Result::Outcome::done:
    case Result::Outcome::hook_failed:
      return request.extent == Extent::real ? Outcome::cut_over : Outcome::rehearsed;
    case Result::Outcome::gate: return Outcome::gates_shut;
    case Result::Outcome::backed_out: return Outcome::backed_out;
    case Result::Outcome::in_doubt: return Outcome::in_doubt;
  }
  return std::nullopt;
}

Writes writes_of(const std::vector<Progress>& steps, std::int64_t began_us) {
  const auto at = [&](double ms) { return began_us + static_cast<std::int64_t>(ms * 1000); };
  Writes out;
  for (const auto& step : steps) {
    if (step.step == "table 1" && !out.fenced_us) out.fenced_us = at(step.at_ms - step.took_ms);
    const bool ends = step.step == name(Step::open) || step.step == name(Step::reopen);
    if (ends && step.text == "done") out.opened_us = at(step.at_ms);
  }
  return out;
}

constexpr Millis kMeets{300};  // those who were refused ask again about as soon

// What a server's clock says, as ours would.
std::int64_t offset_of(pg::Connection& server) {
  const auto before = Clock::system().unix_micros();
  const auto its = source::clock_us(server);
  return (before + Clock::system().unix_micros()) / 2 - its;
}

}  // namespace

// What the triggers met on either side. Where writes were refused, the first that is accepted is waited for a little.
void Turnover::ask_writers(Side giver, Side open, Writes& writes) {
  const std::string fence = streams_.config.fence_name();
  pg::Connection gave(fence_side(giver).connection);
  const auto refused = traffic(gave, {fence, giver});
  writes.refused = refused.refused;
  if (!refused.first_refused_us) return;
  writes.stopped_us = *refused.first_refused_us + offset_of(gave);
  if (!writes.opened_us || *writes.stopped_us >= *writes.opened_us) return;
  pg::Connection takes(fence_side(open).connection);
  const auto end = std::chrono::steady_clock::now() + kMeets;
  auto met = traffic(takes, {fence, open});
  while (!met.first_passed_us && std::chrono::steady_clock::now() < end) {
    streams_.stop->sleep_for(Millis(10));
    met = traffic(takes, {fence, open});
  }
  if (met.first_passed_us) writes.accepted_us = *met.first_passed_us + offset_of(takes);
}

void Turnover::write_report(const Request& request, Result& result) {
  const auto& figures = hands_->figures();
  const auto& collected = hands_->collected();
  gates_ = collected.gates;
  blockers_ = collected.blockers;
  Report report;
  report.migration = streams_.config.migration;
  report.forward = request.verb == Verb::cutover;
  report.epoch = result.epoch;
  report.rehearsal = request.extent != Extent::real;
  report.outcome = outcome_of(request, result.outcome);
  report.why = result.message;
  report.ended_us = Clock::system().unix_micros();
  report.started_us = began_us_;
  report.source_system_id = prepared_.source.system_id;
  report.target_system_id = prepared_.target.system_id;
  if (figures.after_fence_lsn.valid()) report.fence_lsn = figures.after_fence_lsn;
  if (figures.after_open_lsn.valid()) report.open_lsn = figures.after_open_lsn;
  for (const auto& step : result.steps) {
    const bool ok = step.text == "done";
    report.steps.push_back({step.step,
                            driver_began_us_ + static_cast<std::int64_t>((step.at_ms - step.took_ms) * 1000),
                            step.took_ms, ok, ok ? "" : step.text});
  }
  report.tables = figures.tables;
  report.gates = collected.gates;
  report.blockers = collected.blockers;
  report.proved = proved_;
  report.sequences = collected.sequences;
  report.sequence_notes = collected.sequence_notes;
  report.hooks = collected.hooks;
  report.writes = writes_of(result.steps, driver_began_us_);
  for (const auto& table : figures.tables) report.writes.waiting += table.waiting;
  report.predicted_pause_ms = predicted_ms_;
  if (request.extent == Extent::real && result.epoch != 0) {
    const Side giver = request.verb == Verb::cutover ? Side::source : Side::target;
    try {
      ask_writers(giver, result.writes == name(Side::source) ? Side::source : Side::target, report.writes);
    } catch (const Error& error) {
      obs::warn(cat("how many writes were refused is not known: ", error.message()));
    }
  }
  pause_ms_ = report.writes.pause_ms();
  result.report = to_json(report);
  if (request.extent == Extent::dry_run) return;
  std::string when = utc_text(began_us_).substr(0, 19);
  when.erase(std::remove(when.begin(), when.end(), ':'), when.end());
  const std::string name =
      cat(when, "-", report.rehearsal ? "rehearse-" : "", report.forward ? "cutover" : "rollback", ".json");
  try {
    result.report_file = state::keep_report(streams_.config.state, name, result.report + "\n");
  } catch (const Error& error) {
    obs::log_error(obs::Level::warn, "the report could not be kept", error);
  }
}

}  // namespace walign::cutover
