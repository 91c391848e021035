// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "fence_hands.hpp"

#include "walign/catalog.hpp"

namespace walign::cutover {

namespace {

struct OtherTimeline {
  std::string why;
};

void compare_server(pg::Connection& server, const FenceSide& side) {
  if (side.system_id.empty()) return;
  const auto facts = pg::read_server(server);
  if (facts.system_id == side.system_id && facts.timeline == side.timeline) return;
  throw OtherTimeline{cat(server.describe(), " is system ", facts.system_id, " on timeline ", facts.timeline,
                          "; expected ", side.system_id, " on ", side.timeline)};
}

}  // namespace

FenceHands::FenceHands(std::string migration, FenceSide source, FenceSide target, config::Cutover settings,
                       std::uint64_t owner)
    : migration_(std::move(migration)),
      source_(std::move(source)),
      target_(std::move(target)),
      settings_(std::move(settings)),
      owner_(owner) {}

pg::Connection& FenceHands::server(Side which) {
  auto& k = known(which);
  if (k.connection && k.connection->broken()) {
    let_go();
    k.connection.reset();
  }
  if (!k.connection) {
    auto made = std::make_unique<pg::Connection>(side(which).connection);
    compare_server(*made, side(which));
    k.breaks_deadlocks = may_set_deadlock_timeout(*made);
    k.connection = std::move(made);
  }
  return *k.connection;
}

Limits FenceHands::limits(Side which) {
  Limits limits;
  limits.lock_timeout = settings_.lock_timeout;
  limits.statement_timeout = settings_.max_pause;
  limits.attempts = settings_.attempts;
  limits.max_pause = settings_.max_pause;
  limits.break_deadlocks = known(which).breaks_deadlocks;
  return limits;
}

FenceRow FenceHands::expected(Side which, const RowKey& key) {
  return {key.epoch, key.state, known(which).owner, {}, {}};
}

RowRead FenceHands::read_row(Side which) {
  try {
    const auto row = settled_row(server(which), id(which), settings_.lock_timeout);
    if (!row) return {RowRead::Kind::no_row, {}, cat("no row in walign.fence on the ", side_name(which))};
    known(which).owner = row->owner;
    return {RowRead::Kind::row, *row, {}};
  } catch (const OtherTimeline& other) {
    return {RowRead::Kind::other_timeline, {}, other.why};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::connection && error.kind() != ErrorKind::transient) throw;
    return {RowRead::Kind::unreachable, {}, error.message()};
  }
}

Answer FenceHands::swap(Side which, const RowKey& finds, const RowKey& writes, std::optional<Millis> lease,
                        const std::string& displaces) {
  const auto swapped =
      compare_and_set(server(which), id(which), expected(which, finds),
                      {writes.epoch, writes.state, owner_, lease, displaces}, settings_.lock_timeout);
  if (!swapped.done) {
    return refused(cat("the ", side_name(which), " is at ", swapped.row ? describe(*swapped.row) : "no row"));
  }
  known(which).owner = owner_;
  return {};
}

Answer FenceHands::write_row(const act::WriteRow& write) {
  try {
    switch (write.step) {
      case Step::open: return open();
      case Step::fencing:
        figures_ = {};
        for (const Side which : {Side::source, Side::target}) reset_traffic(server(which), id(which));
        return swap(write.side, write.finds, write.writes, settings_.lease);
      case Step::seal: {
        const Answer answer = swap(write.side, write.finds, write.writes, {});
        return answer.kind == Answer::Kind::done ? flush_seal(write.side) : answer;
      }
      default: return swap(write.side, write.finds, write.writes, {});
    }
  } catch (const OtherTimeline& other) {
    return refused(other.why);
  }
}

// The commit was synchronous; what is left are the standbys that it does not wait for.
Answer FenceHands::flush_seal(Side giver) {
  auto& s = server(giver);
  const auto end = s.exec("SELECT pg_catalog.pg_current_wal_flush_lsn()").lsn(0, 0);
  const auto flushed = wait_until_flushed(s, end, settings_.max_pause, nullptr);
  if (flushed.done) return {};
  std::vector<std::string> names;
  for (const auto& standby : flushed.behind) names.push_back(standby.name);
  return refused(cat("the seal is not flushed on ", names.empty() ? "the server" : join(names, ", ")));
}

Answer FenceHands::fence_table(const act::FenceTable& table) {
  try {
    auto& giver = server(table.side);
    const auto fenced =
        cutover::fence_table(giver, guard(table.side), expected(table.side, {table.epoch, RowState::fencing}),
                             side(table.side).tables.at(table.table), table.last, limits(table.side));
    figures_.tables.insert(figures_.tables.end(), fenced.tables.begin(), fenced.tables.end());
    if (!fenced.done) {
      return refused(
          cat("the ", side_name(table.side), " is at ", fenced.row ? describe(*fenced.row) : "no row"));
    }
    if (table.last) {
      figures_.fence_message_lsn = fenced.message_lsn;
      figures_.after_fence_lsn = fenced.after_lsn;
    }
    return {};
  } catch (const OtherTimeline& other) {
    return refused(other.why);
  }
}

Answer FenceHands::hold(const act::Hold& hold) {
  let_go();
  try {
    auto& taker = server(hold.side);
    const auto bare =
        unguarded(server(other(hold.side)), id(other(hold.side)), side(other(hold.side)).tables);
    if (!bare.empty()) return refused(cat("somebody has taken the fence of ", bare.front(), " down"));
    opening_.emplace(taker, id(hold.side), expected(hold.side, hold.finds), side(hold.side).stream,
                     settings_.lock_timeout, settings_.max_pause);
  } catch (const OtherTimeline& other) {
    return refused(other.why);
  }
  if (!opening_->refusal()) return {};
  const std::string why = *opening_->refusal();
  let_go();
  return refused(why);
}

Answer FenceHands::open() {
  if (!opening_) return refused("the taker's row is not held");
  const auto opened = opening_->open();
  let_go();
  if (!opened.done) return refused("the taker's row is not as it was");
  figures_.open_message_lsn = opened.marker_lsn;
  figures_.after_open_lsn = opened.after_lsn;
  return {};
}

Answer FenceHands::open_alone(const act::OpenAlone& open) {
  try {
    return swap(open.side, open.finds, open.writes, {}, side(open.side).stream);
  } catch (const OtherTimeline& other) {
    return refused(other.why);
  }
}

Answer FenceHands::rehearse(Side giver) {
  try {
    figures_ = {};
    auto& s = server(giver);
    figures_.tables = rehearse_fence(s, guard(giver), side(giver).tables, limits(giver));
    for (const auto& t : figures_.tables) figures_.predicted_ms += t.lock_ms + t.ddl_ms;
    return {};
  } catch (const OtherTimeline& other) {
    return refused(other.why);
  }
}

bool FenceHands::closed(Side which) {
  try {
    auto& s = server(which);
    const auto row = cutover::read_row(s, id(which));
    return row && row->state != RowState::open && unguarded(s, id(which), side(which).tables).empty();
  } catch (const OtherTimeline& other) {
    throw Error(ErrorKind::precondition, other.why,
                "correct the connection string, or start the migration again");
  }
}

void FenceHands::prepare(Side which, RowState first) {
  try {
    auto& s = server(which);
    install_fence(s);
    insert_row(s, id(which), {0, first, owner_, {}, {}});
    const auto row = settled_row(s, id(which), settings_.lock_timeout);
    if (!row) throw Error(ErrorKind::bug, "the fence's first row is gone", "look who removes it");
    known(which).owner = row->owner;
    if (row->state != RowState::closed && row->state != RowState::aborted) return;
    const auto bare = unguarded(s, id(which), side(which).tables);
    if (!bare.empty()) close_tables(s, guard(which), *row, side(which).tables, limits(which));
  } catch (const OtherTimeline& other) {
    throw Error(ErrorKind::precondition, other.why,
                "correct the connection string, or start the migration again");
  }
}

}  // namespace walign::cutover
