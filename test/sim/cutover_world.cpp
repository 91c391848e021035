// The servers, and what applications, time and bad luck do to them.
#include "cutover_world.hpp"

namespace sim {

using walign::cat;

std::string text(const RowKey& row) { return cat('(', row.epoch, ' ', name(row.state), ')'); }
std::string text(const SimRow& row) { return text(key_of(row)); }

State World::start() const {
  State s;
  s.row[0].state = static_cast<u8>(RowState::open);
  s.row[1].state = static_cast<u8>(RowState::closed);
  s.trigger[1] = {kClosing, kClosing};
  s.ever_open[0] = 1;
  return s;
}

// ---------------------------------------------------------------------------------------- who may write

// By the trigger alone: what it sees of the row, in a snapshot of now or in one from long ago.
bool World::takes_write(const State& s, int d, int table) const {
  const u8 trigger = s.trigger[d][table];
  if (trigger == kNoTrigger) return true;
  const int least = trigger == kClosing ? 0 : trigger - trigger_of(0);
  if (is(s.row[d], RowState::open) && s.row[d].epoch >= least) return true;
  const int seen_open = s.ever_open[d] - 1;
  return rules_.trigger_without_epoch ? seen_open >= 0 : seen_open >= least;
}

bool World::writable(const State& s, int d) const {
  if (s.gone == d + 1) return false;
  for (int t = 0; t < kTables; ++t) {
    if (takes_write(s, d, t)) return true;
  }
  return s.lease_over != 0 && (is(s.row[d], RowState::fencing) || is(s.row[d], RowState::fenced));
}

const char* World::broken(const State& s) const {
  return writable(s, 0) && writable(s, 1) ? "P1 both sides take writes" : nullptr;
}

// ------------------------------------------------------------------------------------------- commits

namespace {
// How far a row is within an epoch; a side is giver or taker in it, never both.
int rank(RowState state) {
  switch (state) {
    case RowState::closed: return 0;
    case RowState::fencing: return 1;
    case RowState::fenced: return 2;
    case RowState::sealed: return 3;
    case RowState::aborted: return 4;
    case RowState::open: return 5;
  }
  return 0;
}
}  // namespace

const char* World::set_row(State& s, int d, int epoch, RowState state, u8 owner) const {
  auto& row = s.row[d];
  const bool back =
      epoch < row.epoch || (epoch == row.epoch && rank(state) <= rank(static_cast<RowState>(row.state)));
  row.epoch = static_cast<u8>(epoch);
  row.state = static_cast<u8>(state);
  row.owner = owner;
  if (state == RowState::open) s.ever_open[d] = std::max(s.ever_open[d], static_cast<u8>(epoch + 1));
  return back && rules_.strict ? "P5 a row goes back" : nullptr;
}

const char* World::open_row(State& s, int d) const {
  const int giver = 1 - d;
  return s.wal[giver].writes_from(s.applied[giver]) > 0 ? "P2 a side opens without a write of the other"
                                                        : nullptr;
}

const char* World::commit(State& s, int d, SimLock change) const {
  s.lock[d] = {};
  s.durable[1 - d] = s.applied[1 - d];  // a synchronous commit flushes all that came before it
  const auto set = [&](RowState state) { return set_row(s, d, change.epoch, state, change.owner); };
  const auto fence_table = [&](int t) { s.trigger[d][t] = trigger_of(change.epoch); };
  switch (change.kind) {
    case k_raise:
      if (!rules_.raise_keeps_fence_lsn) s.row[d].fence = 0;
      return set(RowState::closed);
    case k_fencing: s.lease_over = 0; return set(RowState::fencing);
    case k_table: fence_table(0); return nullptr;
    case k_table2:
      fence_table(1);
      s.wal[d].push(change.epoch);
      return set(RowState::fenced);
    case k_seal: {
      const bool lost = s.wal[d].writes_from(s.durable[d]) > 0;
      const char* back = set(RowState::sealed);
      return lost && rules_.strict ? "P6 a side is sealed before the other has flushed all its writes" : back;
    }
    case k_open: {
      const char* bad = open_row(s, d);
      const char* back = set(RowState::open);
      return bad != nullptr ? bad : back;
    }
    case k_abort: return set(RowState::aborted);
    case k_reopen:
    case k_alone: return set(RowState::open);
    case k_lower: s.trigger[d] = {kNoTrigger, kNoTrigger}; return nullptr;
    default: return nullptr;
  }
}

// ------------------------------------------------------------------------------------- applications, time

void World::writes_of(const State& s, int d) {
  const int written = s.wal[d].writes_from(0);
  for (int t = 0; t < kTables && written < rules_.writes; ++t) {
    const auto kind = static_cast<Kind>(k_table + t);
    if (s.lock[d].kind == kind || !takes_write(s, d, t)) continue;
    State to = s;
    to.wal[d].push(0);
    emit(to, kEnvironment, say([&] { return cat("app writes to table ", t, " of the ", side_text(d)); }));
    break;  // which of the tables makes no difference to what follows
  }
  if (s.lease_over == 0 || s.lock[d].holder != kNobody) return;
  if (!is(s.row[d], RowState::fencing) && !is(s.row[d], RowState::fenced)) return;
  State to = s;
  if (written < rules_.writes) to.wal[d].push(0);
  const char* bad =
      rules_.lease_by_clock ? nullptr : set_row(to, d, s.row[d].epoch, RowState::open, s.row[d].owner);
  emit(to, kEnvironment, say([&] {
         return cat("app writes on the ", side_text(d), " after the lease: row ", text(s.row[d]), " becomes ",
                    text(to.row[d]));
       }),
       bad);
}

void World::applications(const State& s) {
  for (int d = 0; d < 2; ++d) {
    if (s.gone == d + 1) continue;
    writes_of(s, d);
    if (s.lease_over == 0 && (is(s.row[d], RowState::fencing) || is(s.row[d], RowState::fenced))) {
      State to = s;
      to.lease_over = 1;
      emit(to, kEnvironment, "the lease runs out");
    }
  }
}

// -------------------------------------------------------------------------------- servers and bad luck

// The instance's connection to a server is cut, and what it had open there rolled back.
void World::cut_connection(State& s, int i, int d) const {
  if (s.lock[d].holder != mark(i)) return;
  const bool held = s.lock[d].kind == k_hold;
  const bool lowering = s.lock[d].kind == k_lower;
  s.lock[d] = {};
  if (held) return;  // it finds out when it comes to open
  auto& in = s.instance[i];
  const Fact fact = lowering ? Fact(fact::LookAgain{}) : Fact(fact::NoAnswer{});
  enter(s, i, step(decode(in.phase), fact, rules_.table));
}

// Open transactions go, and what was committed and not flushed.
void World::server_restarts(State& s, int d) const {
  for (int i = 0; i < kInstances; ++i) cut_connection(s, i, d);
  s.lock[d] = {};
  s.applied[1 - d] = s.durable[1 - d];
  if (s.row[d].fence > s.applied[1 - d]) s.row[d].fence = 0;
}

void World::servers(const State& s) {
  for (int d = 0; d < 2; ++d) {
    if (s.gone == d + 1) continue;
    if (s.durable[1 - d] < s.applied[1 - d]) {
      State to = s;
      to.durable[1 - d] = to.applied[1 - d];
      emit(to, kEnvironment, say([&] { return cat("the ", side_text(d), " flushes its WAL"); }));
    }
    if (s.lock[d].holder == kGhost) {
      State to = s;
      const char* bad = commit(to, d, s.lock[d]);
      emit(to, kEnvironment, say([&] {
             return cat("a COMMIT without an answer is executed on the ", side_text(d),
                        " after all: ", text(to.row[d]));
           }),
           bad);
      State lost = s;
      lost.lock[d] = {};
      emit(lost, kEnvironment,
           say([&] { return cat("a COMMIT without an answer never reached the ", side_text(d)); }));
    }
    for (int i = 0; i < kInstances && rules_.idle_transactions_end; ++i) {
      if (s.lock[d].holder != mark(i)) continue;
      State to = s;
      cut_connection(to, i, d);
      emit(to, kEnvironment, say([&] {
             return cat("the ", side_text(d), " ends the transaction of ", who_is(i), ", idle for too long");
           }));
    }
    if (s.lock[d].holder != kNobody || s.applied[1 - d] > s.durable[1 - d]) {
      State to = s;
      server_restarts(to, d);
      emit(to, kFault, say([&] {
             return cat("the ", side_text(d), " crashes and comes back with what it had flushed");
           }));
    }
  }
}

void World::accidents(const State& s) {
  for (int d = 0; d < 2; ++d) {
    const bool free = s.lock[d].holder == kNobody;
    if (rules_.seal_asynchronous && s.accident == 0 && free && is(s.row[d], RowState::sealed)) {
      State to = s;
      to.accident = 1;
      to.lease_over = 1;
      to.row[d].state = static_cast<u8>(RowState::fenced);
      emit(to, kFault, say([&] {
             return cat("the ", side_text(d), " crashes before the seal is flushed: FENCED again");
           }));
    }
    if (rules_.failover_without_fence && s.accident == 0 && free && s.row[d].epoch > 0 &&
        (is(s.row[d], RowState::fenced) || is(s.row[d], RowState::sealed))) {
      State to = s;
      to.accident = 1;
      to.row[d].epoch = static_cast<u8>(to.row[d].epoch - 1);
      to.row[d].state = static_cast<u8>(RowState::open);
      to.trigger[d] = {kNoTrigger, kNoTrigger};
      emit(to, kFault,
           say([&] { return cat("the ", side_text(d), " fails over to a replica without the fence"); }));
    }
    if (rules_.server_gone && s.gone == 0) {
      State to = s;
      server_restarts(to, d);
      to.gone = static_cast<u8>(d + 1);
      emit(to, kFault, say([&] { return cat("the ", side_text(d), " is gone for ever"); }));
    }
  }
}

const std::vector<Move>& World::moves(const State& from) {
  moves_.clear();
  applications(from);
  servers(from);
  accidents(from);
  for (int i = 0; i < kInstances; ++i) instance(from, i);
  return moves_;
}

bool World::rests(const State& s, Who who) const {
  if (s.lock[0].holder != kNobody || s.lock[1].holder != kNobody) return false;
  const bool w[2] = {writable(s, 0), writable(s, 1)};
  if (s.gone != 0) return w[2 - s.gone];
  if (w[0] == w[1]) return false;
  const int giver = w[0] ? 0 : 1;
  if (!is(s.row[giver], RowState::open)) return false;
  for (int i = 0; i < kInstances; ++i) {
    const auto& in = s.instance[i];
    const bool owns = (giver == 0 ? s.newest : s.on_source) == mark(i);
    if ((who >> i & 1U) == 0 || in.life != running || !owns) continue;
    const Phase phase = decode(in.phase);
    const auto* at = std::get_if<phase::Streaming>(&phase);
    if (at != nullptr && static_cast<int>(at->giver) == giver) return true;
  }
  return false;
}

}  // namespace sim
