// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the servers ask a migration.
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
  out.change_sides = [&controller](const cutover::Request& request) { controller.ask(request); };
  out.cancel_change = [&controller] { controller.cancel(); };
  out.watch_change = [&controller](std::size_t seen, std::chrono::milliseconds timeout) {
    return controller.watch(seen, timeout);
  };
}

}  // namespace

Handlers handlers_of(cutover::Migration& migration, const obs::Metrics& metrics,
                     const config::Config& config) {
  Handlers out;
  out.status = [&migration] { return migration.status(); };
  out.metrics = [&metrics] { return metrics.text(); };
  out.pause_apply = [&migration] { migration.pause_apply(); };
  out.resume_apply = [&migration] { migration.resume_apply(); };
  out.pause_backfill = [&migration](bool paused) { return migration.pause_backfill(paused); };
  out.retry_dead_letter = [&migration](std::int64_t id) { migration.retry_dead_letter(id, kBatchEnds); };
  out.discard_dead_letter = [&migration](std::int64_t id) { migration.discard_dead_letter(id, kBatchEnds); };
  verify_with(out, migration);
  change_with(out, migration.controller());
  out.max_lag_bytes = config.gates.max_lag_bytes;
  return out;
}

}  // namespace walign::service
