// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the servers ask a migration.
#include <limits>

#include "verifications.hpp"

namespace walign::service {

namespace {

constexpr std::chrono::seconds kBatchEnds(30);

void refuse_repair_elsewhere(const stream::Status& status) {
  if (status.phase == "backfilling" || status.phase == "streaming") return;
  throw Error(
      ErrorKind::precondition,
      cat("rows are repaired only on a side that takes no application writes; the phase is ", status.phase),
      "compare the rows by hand: walign verify --show TABLE KEY");
}

void verify_with(Handlers& out, cutover::Migration& migration) {
  const auto numbers =
      std::make_shared<Verifications>([&migration]() -> verify::Verifier& { return migration.verifier(); });
  out.verify = [&migration, numbers](const verify::Request& request) {
    if (request.repair) refuse_repair_elsewhere(migration.status());
    return numbers->begin(request);
  };
  out.verification = [numbers](std::uint64_t id) { return numbers->result(id); };
}

void change_with(Handlers& out, cutover::Controller& controller) {
  // Every change asks the gates first.
  const auto asked = std::make_shared<std::atomic<std::int64_t>>(0);
  out.change_sides = [&controller, asked](const cutover::Request& request) {
    controller.ask(request);
    asked->store(Clock::system().unix_micros());
  };
  out.gates_asked_at_us = [asked] { return asked->load(); };
  out.cancel_change = [&controller] { controller.cancel(); };
  out.watch_change = [&controller](std::size_t seen, std::chrono::milliseconds timeout) {
    return controller.watch(seen, timeout);
  };
}

// Nobody but the stream's monitor sets these; until it does, nothing is known.
void look_at_slots(Handlers& out, obs::Metrics& metrics) {
  const auto gauge = [&](const char* direction) {
    auto& made =
        metrics.gauge("walign_slot_safe_bytes",
                      "WAL that may still be written before the slot loses what it needs; +Inf without "
                      "max_slot_wal_keep_size.",
                      {{"direction", direction}});
    made.set(std::numeric_limits<double>::quiet_NaN());
    return &made;
  };
  out.slot_safe_bytes = [forward = gauge("forward"),
                         reverse = gauge("reverse")](const std::string& direction) {
    return (direction == "reverse" ? reverse : forward)->value();
  };
}

}  // namespace

Handlers handlers_of(cutover::Migration& migration, obs::Metrics& metrics, const config::Config& config) {
  Handlers out;
  out.status = [&migration] { return migration.status(); };
  out.metrics = [&metrics] { return metrics.text(); };
  out.pause_apply = [&migration] { return migration.pause_apply(kBatchEnds); };
  out.resume_apply = [&migration] { migration.resume_apply(); };
  // What it was last told, in a sidecar that has something to copy: nobody else holds it.
  const auto held = std::make_shared<std::atomic<bool>>(false);
  out.pause_backfill = [&migration, held](bool paused) {
    const bool done = migration.pause_backfill(paused);
    held->store(paused && done);
    return done;
  };
  out.backfill_paused = [held] { return held->load(); };
  out.retry_dead_letter = [&migration](std::int64_t id) { migration.retry_dead_letter(id, kBatchEnds); };
  out.discard_dead_letter = [&migration](std::int64_t id) { migration.discard_dead_letter(id, kBatchEnds); };
  verify_with(out, migration);
  change_with(out, migration.controller());
  out.max_lag_bytes = config.gates.max_lag_bytes;
  look_at_slots(out, metrics);
  observe(out);
  return out;
}

}  // namespace walign::service
