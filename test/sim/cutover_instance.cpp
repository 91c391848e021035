// One instance of walign: it does what the protocol's action says, a server's transaction at a time, and may stall
// or crash between any two of them, or lose the answer to any COMMIT.
#include "cutover_world.hpp"

namespace sim {

using walign::cat;

void forget_instance(State& s, int i) {
  for (auto& l : s.lock) {
    if (l.holder == mark(i)) l = {};
    if (l.owner == mark(i)) l.owner = kOld;
  }
  for (auto& r : s.row) {
    if (r.owner == mark(i)) r.owner = kOld;
  }
  if (s.newest == mark(i)) s.newest = kOld;
  if (s.on_source == mark(i)) s.on_source = kOld;
  s.instance[i] = {};
}

// Of two marks: the instances that run are newer than all that ran, and `newest` is the newer of them.
bool World::newer(const State& s, u8 a, u8 b) const {
  const auto age = [&](u8 m) { return m == kOld ? 0 : m == s.newest ? 2 : 1; };
  return age(a) > age(b);
}

void World::instance(const State& s, int i) {
  const auto& in = s.instance[i];
  if (in.life != running) return begin(s, i);
  State crashed = s;
  forget_instance(crashed, i);
  emit(crashed, kFault, say([&] { return cat(who_is(i), " crashes"); }));
  act(s, i);
  apply(s, i);
}

// A start takes the stream over on the target, then on the source, ending the sessions of whoever had it.
void World::begin(const State& s, int i) {
  State to = s;
  const Who who = 1U << i;
  if (s.instance[i].life == idle) {
    to.newest = mark(i);
    if (s.gone != 2) cut_connection(to, 1 - i, 1);
    to.instance[i].life = taking_source;
    emit(to, who, say([&] { return cat(who_is(i), " starts, and takes over on the target"); }));
    return;
  }
  if (s.newest != mark(i)) {
    forget_instance(to, i);
    emit(to, who, say([&] { return cat(who_is(i), " finds that another has started since, and ends"); }));
    return;
  }
  to.on_source = mark(i);
  if (s.gone != 1) cut_connection(to, 1 - i, 0);
  to.instance[i].life = running;
  enter(to, i, phase::Looking{});
  emit(to, who, say([&] { return cat(who_is(i), " takes over on the source"); }));
}

// ------------------------------------------------------------------------------------- the protocol's word

void World::enter(State& s, int i, const Phase& phase) const {
  auto& in = s.instance[i];
  in.phase = encode(phase);
  const Flow now = flow(phase);
  if (now != Flow::unchanged && in.flow != static_cast<u8>(now)) {
    in.flow = static_cast<u8>(now);
    in.hand = 0;
  }
  for (auto& l : s.lock) {
    if (l.holder == mark(i) && l.kind == k_hold && !keeps_hold(phase)) l = {};
  }
}

void World::settle(State s, int i, const Phase& phase, Who who, const std::string& label) {
  enter(s, i, phase);
  const auto* stopped = std::get_if<phase::Stopped>(&phase);
  if (stopped != nullptr && stopped->why == Why::displaced) {
    forget_instance(s, i);
    return emit(s, who, say([&] { return label + ", and ends: displaced"; }));
  }
  const auto* trying = std::get_if<phase::Trying>(&phase);
  if (trying == nullptr || row_of(rules_.table, trying->step).row != Which::none ||
      trying->step == Step::drain) {
    const bool lost = stopped != nullptr && stopped->why == Why::implausible && rules_.strict;
    return emit(s, who, label, lost ? "P5 rows to which no step leads" : nullptr);
  }
  settle(s, i, step(phase, fact::Done{}, rules_.table), who, label);
  const bool can_fail = trying->step == Step::prove;  // the others lead to where one of these leads
  if (can_fail) {
    settle(s, i, step(phase, fact::Refused{}, rules_.table), who,
           say([&] { return label + "; a proof fails"; }));
  }
}

void World::tell(State s, int i, const Fact& fact, Who who, const std::string& label) {
  settle(s, i, step(decode(s.instance[i].phase), fact, rules_.table), who, label);
}

// ----------------------------------------------------------------------------------------------- actions

void World::act(const State& s, int i) {
  const Phase phase = decode(s.instance[i].phase);
  for (int d = 0; d < 2; ++d) {
    if (s.lock[d].holder == mark(i) && s.lock[d].kind != k_hold) return end_transaction(s, i, d);
  }
  const Action next = action(phase, rules_.table);
  if (const auto* a = std::get_if<act::ReadRow>(&next)) return read_row(s, i, *a);
  if (std::holds_alternative<act::Stream>(next)) return stream(s, i);
  if (const auto* a = std::get_if<act::FenceTable>(&next)) {
    const auto kind = static_cast<Kind>(k_table + a->table);
    return change(s, i, static_cast<int>(a->side), kind, {a->epoch, RowState::fencing},
                  static_cast<int>(a->epoch));
  }
  if (const auto* a = std::get_if<act::Hold>(&next)) {
    return change(s, i, static_cast<int>(a->side), k_hold, a->finds, static_cast<int>(a->finds.epoch));
  }
  if (const auto* a = std::get_if<act::OpenAlone>(&next)) {
    return change(s, i, static_cast<int>(a->side), k_alone, a->finds, static_cast<int>(a->writes.epoch));
  }
  if (const auto* a = std::get_if<act::WriteRow>(&next)) {
    const int d = static_cast<int>(a->side);
    if (a->step == Step::open) return open(s, i, d, a->finds);
    static constexpr Kind kKinds[] = {k_none, k_none, k_raise, k_fencing, k_none, k_none, k_none,  k_none,
                                      k_none, k_none, k_seal,  k_none,    k_open, k_none, k_abort, k_reopen};
    return change(s, i, d, kKinds[static_cast<int>(a->step)], a->finds, static_cast<int>(a->writes.epoch));
  }
  if (const auto* a = std::get_if<act::Work>(&next)) return drain(s, i, a->attempt);
  if (const auto* a = std::get_if<act::Stop>(&next)) {
    if (a->why == Why::unreachable && s.gone != 0) {
      tell(s, i, fact::HumanSays{static_cast<Side>(s.gone - 1)}, kEnvironment, say([&] {
             return cat("a human tells ", who_is(i), " that the ", side_text(s.gone - 1),
                        " is gone for ever");
           }));
    }
  }
}

void World::read_row(const State& s, int i, const act::ReadRow& read) {
  const int d = static_cast<int>(read.side);
  const Who who = 1U << i;
  if (s.gone == d + 1) {
    return tell(s, i, fact::GivenUp{}, who,
                say([&] { return cat(who_is(i), " cannot reach the ", side_text(d)); }));
  }
  if (s.lock[d].holder != kNobody && !rules_.reads_past_locks) return;  // FOR UPDATE waits
  const RowKey row = key_of(s.row[d]);
  const bool newer_owner = newer(s, s.row[d].owner, mark(i));
  const Phase phase = decode(s.instance[i].phase);
  const auto* looking = std::get_if<phase::Looking>(&phase);
  State from = s;
  if (rules_.one_look && looking != nullptr && looking->source && !looking->target) {
    // As if the source's row were found as it was.
    const Phase both = step(phase, fact::RowIs{row, newer_owner, true}, rules_.table);
    if (std::holds_alternative<phase::Looking>(both)) {
      from.instance[i].phase = encode(both);
      const RowKey first = *looking->source;
      for (const bool in_time : {true, false}) {
        tell(from, i, fact::RowIs{first, false, in_time}, who,
             say([&] { return cat(who_is(i), " reads ", text(first), ' ', text(row)); }));
      }
      return;
    }
  }
  const bool decides = looking != nullptr && looking->target && row == *looking->source;
  for (const bool in_time : {true, false}) {
    if (!in_time && !decides) continue;
    tell(from, i, fact::RowIs{row, newer_owner, in_time}, who, say([&] {
           return cat(who_is(i), " reads the ", side_text(d), "'s row ", text(row),
                      in_time ? "" : ", out of time");
         }));
  }
}

void World::stream(const State& s, int i) {
  const auto at = std::get<phase::Streaming>(decode(s.instance[i].phase));
  const Who who = 1U << i;
  const Rows rows{key_of(s.row[0]), key_of(s.row[1])};
  if (rows != at.rows || s.gone != 0)
    tell(s, i, fact::LookAgain{}, who, say([&] { return cat(who_is(i), " looks again"); }));
  lower(s, i, static_cast<int>(at.giver), at.rows.at(at.giver));
  const auto highest = static_cast<int>(std::max(at.rows.source.epoch, at.rows.target.epoch));
  if (!rules_.keeps_epoch && highest >= rules_.epochs) return;
  Phase next = step(at, fact::Asked{at.giver, kTables}, rules_.table);
  if (auto* trying = std::get_if<phase::Trying>(&next); trying != nullptr && rules_.keeps_epoch) {
    trying->attempt.epoch = static_cast<std::uint64_t>(std::max(highest, 1));
  }
  settle(s, i, next, who,
         say([&] { return cat(who_is(i), " begins an attempt, from the ", name(at.giver)); }));
}

// Triggers come down while the side is open.
void World::lower(const State& s, int i, int d, RowKey known) {
  if (s.lock[d].holder != kNobody || s.gone == d + 1) return;
  if (s.trigger[d] == std::array<u8, kTables>{kNoTrigger, kNoTrigger}) return;
  if (key_of(s.row[d]) != known && !rules_.lower_unchecked) return;
  State to = s;
  to.lock[d] = {mark(i), k_lower, 0, kOld};
  emit(to, 1U << i,
       say([&] { return cat(who_is(i), " is about to take the triggers of the ", side_text(d), " down"); }));
}

bool World::finds_row(const State& s, int i, int d, Kind kind, RowKey row) const {
  if ((rules_.blind & bit(kind)) != 0) return true;
  if (newer(s, s.row[d].owner, mark(i))) return false;
  const RowKey found = key_of(s.row[d]);
  return (found.epoch == row.epoch || (rules_.any_epoch & bit(kind)) != 0) &&
         (found.state == row.state || (rules_.any_state & bit(kind)) != 0);
}

// The position has passed the fence LSN that the row has.
bool World::proved(const State& s, int taker) const {
  const u8 fence = s.row[taker].fence;
  return rules_.open_unproved || (fence != 0 && s.applied[1 - taker] >= fence);
}

// A transaction that locks a row, finds it as known or not, and changes it at its COMMIT.
void World::change(const State& s, int i, int d, Kind kind, RowKey finds, int epoch) {
  const Who who = 1U << i;
  const Phase phase = decode(s.instance[i].phase);
  const auto* trying = std::get_if<phase::Trying>(&phase);
  const auto* fencing = std::get_if<phase::FencingTable>(&phase);
  if (s.gone == d + 1) {
    return tell(s, i, fact::NoAnswer{}, who,
                say([&] { return cat(who_is(i), " cannot reach the ", side_text(d)); }));
  }
  if (trying != nullptr || fencing != nullptr) {
    const Then& then = row_of(rules_.table, trying != nullptr ? trying->step : Step::tables).given_up;
    if (then.kind != Then::Kind::impossible) {
      tell(s, i, fact::GivenUp{}, who, say([&] { return cat(who_is(i), " runs out of time"); }));
    }
  }
  if (s.lock[d].holder != kNobody) return;  // waits
  if (!finds_row(s, i, d, kind, finds) || (kind == k_hold && !proved(s, d))) {
    return tell(s, i, fact::Refused{}, who, say([&] {
                  return cat(who_is(i), " finds the ", side_text(d), "'s row ", text(s.row[d]),
                             ", not as it must be: ", text(finds));
                }));
  }
  State to = s;
  if (kind == k_hold) {
    if (!rules_.no_hold) to.lock[d] = {mark(i), k_hold, 0, kOld};
    return tell(to, i, fact::Done{}, who,
                say([&] { return cat(who_is(i), " holds the ", side_text(d), "'s row ", text(finds)); }));
  }
  to.lock[d] = {mark(i), static_cast<u8>(kind), static_cast<u8>(epoch), owner(i)};
  emit(to, who, say([&] {
         const Step step = trying != nullptr ? trying->step : Step::tables;
         return cat(who_is(i), ' ', name(step), ": has locked the ", side_text(d), "'s row ", text(s.row[d]));
       }));
}

// In the transaction that holds the row; a new one where the hold was taken away.
void World::open(const State& s, int i, int d, RowKey finds) {
  const Who who = 1U << i;
  if (s.lock[d].holder == mark(i) || rules_.no_hold) {
    if (s.lock[d].holder != kNobody && s.lock[d].holder != mark(i)) return;
    tell(s, i, fact::GivenUp{}, who,
         say([&] { return cat(who_is(i), " runs out of time before it opens"); }));
    if (!finds_row(s, i, d, k_open, finds) || !proved(s, d)) {
      return tell(s, i, fact::Refused{}, who,
                  say([&] { return cat(who_is(i), " may not open the ", side_text(d)); }));
    }
    State to = s;
    to.lock[d] = {mark(i), k_open, static_cast<u8>(finds.epoch), owner(i)};
    return emit(to, who, say([&] { return cat(who_is(i), " is about to open the ", side_text(d)); }));
  }
  tell(s, i, fact::NoAnswer{}, who, say([&] { return cat(who_is(i), " has lost the row that it held"); }));
}

void World::end_transaction(const State& s, int i, int d) {
  const SimLock change = s.lock[d];
  const bool lowers = change.kind == k_lower;
  const Who who = 1U << i;
  State to = s;
  const char* bad = commit(to, d, change);
  const auto label = say([&] {
    return cat(who_is(i), " commits: the ", side_text(d), "'s row ", text(s.row[d]), " -> ", text(to.row[d]));
  });
  if (bad != nullptr || lowers) {
    emit(to, who, label, bad);
  } else {
    tell(to, i, fact::Done{}, who, label);
  }
  State lost = s;
  lost.lock[d].holder = kGhost;
  const Fact fact = lowers ? Fact(fact::LookAgain{}) : Fact(fact::NoAnswer{});
  tell(lost, i, fact, kFault,
       say([&] { return cat(who_is(i), " loses the answer to its COMMIT on the ", side_text(d)); }));
}

void World::drain(const State& s, int i, const Attempt& attempt) {
  const int giver = static_cast<int>(attempt.giver);
  const int taker = 1 - giver;
  const Who who = 1U << i;
  tell(s, i, fact::GivenUp{}, who, say([&] { return cat(who_is(i), " runs out of time in the drain"); }));
  const u8 fence = s.row[taker].fence;
  if (s.gone == taker + 1 || fence == 0 || s.applied[giver] < fence) return;
  if (s.durable[giver] < fence && !rules_.drain_unflushed) return;
  tell(s, i, fact::Done{}, who, say([&] { return cat(who_is(i), " has drained the ", side_text(giver)); }));
}

// ----------------------------------------------------------------------------------------------- the stream

void World::apply(const State& s, int i) {
  const auto& in = s.instance[i];
  if (in.flow != static_cast<u8>(Flow::from_source) && in.flow != static_cast<u8>(Flow::from_target)) return;
  const int g = in.flow == static_cast<u8>(Flow::from_source) ? 0 : 1;
  const int k = 1 - g;
  if (s.gone != 0) return;
  const Who who = 1U << i;
  const bool owns = (k == 1 ? s.newest : s.on_source) == mark(i) || rules_.anyone_applies;
  if (!owns) {  // its next batch, or the next time that it stores its position, fails
    State ended = s;
    forget_instance(ended, i);
    emit(ended, who, say([&] { return cat(who_is(i), " finds its position taken, and ends"); }));
  }
  State to = s;
  auto& hand = to.instance[i].hand;
  if (in.hand == 0) {
    if (!owns || s.applied[g] >= s.wal[g].length) return;
    hand = static_cast<u8>(s.applied[g] + 1);
    return emit(to, who, say([&] {
                  return cat(who_is(i), " has item ", static_cast<int>(hand), " of the ", side_text(g),
                             "'s WAL in hand");
                }));
  }
  hand = 0;
  if (!owns || (s.applied[g] != in.hand - 1 && !rules_.anyone_applies)) {
    return emit(to, who, say([&] { return cat(who_is(i), " cannot move the position"); }));
  }
  const int item = s.wal[g].at(in.hand - 1);
  const bool noted =
      item != 0 && is(s.row[k], RowState::closed) && (s.row[k].epoch == item || rules_.marker_of_any_epoch);
  if (noted && s.lock[k].holder != kNobody) return;  // the row is locked
  const char* bad = nullptr;
  if (item == 0 && writable(s, k)) bad = "P3 applied to a side that takes writes";
  if (s.applied[g] != in.hand - 1) bad = "P3 something old is applied over something newer";
  to.applied[g] = in.hand;
  if (noted) to.row[k].fence = in.hand;
  emit(to, who, say([&] {
         return cat(who_is(i), " applies item ", static_cast<int>(in.hand), " of the ", side_text(g),
                    item == 0 ? "'s WAL: a write" : "'s WAL: a marker");
       }),
       bad);
}

}  // namespace sim
