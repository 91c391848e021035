// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// remove, which knows of the fence: not while the target takes writes.
#include "finish.hpp"

namespace walign::cutover {

namespace {

bool is(const std::optional<FenceRow>& row, RowState state) { return row && row->state == state; }

void refuse_standing(const TwoServers& servers, const FenceRows& rows) {
  const std::string what =
      cat("migration ", servers.config.migration, " cannot be removed (", rows.describe(), ")");
  const bool target_rests = !rows.target || is(rows.target, RowState::closed) ||
                            is(rows.target, RowState::aborted) || is(rows.target, RowState::sealed);
  if (target_rests && (!rows.source || is(rows.source, RowState::open))) return;
  // A human has opened one beside the other, and there is no way on for a migration: what there was to bring over is
  // his to have brought.
  if (is(rows.source, RowState::open) && is(rows.target, RowState::open)) return;
  if (is(rows.target, RowState::open) && (!rows.source || is(rows.source, RowState::sealed))) {
    throw Error(ErrorKind::precondition, cat(what, ": it is cut over, and the target takes the writes"),
                "keep them: walign finish; or go back to the source with them: walign rollback");
  }
  throw Error(ErrorKind::precondition, cat(what, ": a change of sides is half done"),
              "bring it to rest first: walign recover");
}

// Of a migration that was finished there are no rows, and no streams. (One of the same name may have begun since.)
void refuse_finished(TwoServers& servers, const FenceRows& rows, state::Store* store) {
  const auto& config = servers.config;
  const bool said_here = store != nullptr && store->phase() == name(MigrationPhase::finished);
  const bool nothing_else =
      rows.source ? is(rows.source, RowState::sealed) : things_of_streams(servers).empty();
  const bool done =
      nothing_else && !is(rows.target, RowState::open) && finished_on(servers.source, servers.fence);
  if (!said_here && !done) return;
  throw Error(
      ErrorKind::precondition, cat("migration ", config.migration, " is finished"),
      cat("what is left of it goes with: walign finish (--reopen takes walign_closed away too). After that, ",
          config.state, " has its reports and nothing that is needed: delete it by hand"));
}

}  // namespace

void remove(const config::Config& config, state::Store* store, const Interrupt* interrupt, const Tell& tell) {
  TwoServers servers(config, "remove", interrupt);
  const auto rows = read_rows(servers);
  refuse_finished(servers, rows, store);
  refuse_standing(servers, rows);
  refuse_company(servers);
  repeatable("remove", [&] {
    displace(servers, rows);
    guards_down(servers, tell);
    remove_rows(servers, tell);
    remove_streams(servers, tell);
  });
}

}  // namespace walign::cutover
