// What can happen next in a world of two servers, their applications, and two instances of walign that do what the
// protocol (src/cutover/protocol.hpp, the same code that the program runs) tells them.
//
// Held to, in every state and at every change:
//   P1  never do both sides take writes of the application
//   P2  a side opens only when every write that the other ever acknowledged has been applied to it
//   P3  nothing is applied to a side that takes writes of the application; nothing old over something newer
//   P5  a row only ever goes forward: (epoch, state) never comes back; no instance meets rows that no step leads to
//   P6  a side is sealed only when the other has flushed every write that it ever acknowledged
// and of the whole (cutover_search.hpp)
//   P4  from everywhere there is a way to rest, even if the other instance never moves again
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cutover_state.hpp"

namespace sim {

// The bounds of a run, what else may happen in it, and what is taken away from the rules.
struct Rules {
  int epochs = 2;            // attempts, at most 3
  int writes = 1;            // of the application, on each side
  bool owners = true;        // rows carry their owner. Without, there are fewer states and no fewer dangers
  bool server_gone = false;  // a server may go for ever; a human says so

  StepTable table = kSteps;
  unsigned blind = 0;                  // bits by Kind: writes whatever the row is
  unsigned any_epoch = 0;              // compares the state only
  unsigned any_state = 0;              // compares the epoch only
  bool lease_by_clock = false;         // a writer after the lease changes no row
  bool anyone_applies = false;         // no owner and no position guard the stream's position
  bool drain_unflushed = false;        // drained means applied
  bool open_unproved = false;          // hold and open do not look at the position
  bool reads_past_locks = false;       // rows are read without FOR UPDATE
  bool one_look = false;               // the second read of the source's row is left out
  bool lower_unchecked = false;        // triggers come down without a look at the row
  bool trigger_without_epoch = false;  // a snapshot from before the fence passes
  bool seal_asynchronous = false;
  bool failover_without_fence = false;
  bool marker_of_any_epoch = false;  // the applier notes a fence LSN whatever the row's epoch
  bool raise_keeps_fence_lsn = false;
  bool keeps_epoch = false;           // every attempt keeps the epoch of the last
  bool no_hold = false;               // the taker's row is not locked while the giver is sealed
  bool idle_transactions_end = true;  // idle_in_transaction_session_timeout
  bool strict =
      true;  // P5 and P6 are checked: they break early, and what comes of it later is of interest too
};
constexpr unsigned bit(Kind kind) { return 1U << kind; }

// Who can bring a step about: bit 0 and 1, the instances; 3: servers, applications, time, a human; 0: only bad luck.
using Who = unsigned;
inline constexpr Who kEnvironment = 3;
inline constexpr Who kFault = 0;

struct Move {
  State to;
  Who who = kFault;
  const char* broken = nullptr;  // the rule that this step breaks
  std::string label;             // if asked for
};

class World {
 public:
  World(Rules rules, bool labels) : rules_(std::move(rules)), labels_(labels) {}

  [[nodiscard]] State start() const;
  // Labels call the instances by each other's names.
  void exchange_names(bool exchanged) { exchanged_ = exchanged; }
  // Everything that can happen next.
  const std::vector<Move>& moves(const State& from);
  // What is wrong with a state; null if nothing.
  [[nodiscard]] const char* broken(const State& s) const;
  // At rest, by an instance that `who` has.
  [[nodiscard]] bool rests(const State& s, Who who) const;

 private:
  // What the servers and the applications do (cutover_world.cpp).
  void applications(const State& s);
  void writes_of(const State& s, int d);
  void servers(const State& s);
  void accidents(const State& s);
  [[nodiscard]] bool takes_write(const State& s, int d, int table) const;
  [[nodiscard]] bool writable(const State& s, int d) const;
  const char* commit(State& s, int d, SimLock change) const;
  const char* open_row(State& s, int d) const;
  const char* set_row(State& s, int d, int epoch, RowState state, u8 owner) const;
  void cut_connection(State& s, int i, int d) const;
  void server_restarts(State& s, int d) const;

  // What the instances do (cutover_instance.cpp).
  void instance(const State& s, int i);
  void begin(const State& s, int i);
  void act(const State& s, int i);
  void read_row(const State& s, int i, const walign::cutover::act::ReadRow& read);
  void stream(const State& s, int i);
  void lower(const State& s, int i, int d, RowKey known);
  void change(const State& s, int i, int d, Kind kind, RowKey finds, int epoch);
  void open(const State& s, int i, int d, RowKey finds);
  void end_transaction(const State& s, int i, int d);
  void drain(const State& s, int i, const Attempt& attempt);
  void apply(const State& s, int i);
  [[nodiscard]] bool finds_row(const State& s, int i, int d, Kind kind, RowKey row) const;
  [[nodiscard]] bool proved(const State& s, int taker) const;
  // Tells the protocol, and follows it through the steps that touch nothing here.
  void tell(State s, int i, const Fact& fact, Who who, const std::string& label);
  void settle(State s, int i, const Phase& phase, Who who, const std::string& label);
  void enter(State& s, int i, const Phase& phase) const;
  [[nodiscard]] bool newer(const State& s, u8 a, u8 b) const;

  [[nodiscard]] u8 owner(int i) const { return rules_.owners ? mark(i) : kOld; }
  [[nodiscard]] const char* who_is(int i) const { return (i == 0) != exchanged_ ? "A" : "B"; }
  template <class L>
  std::string say(L label) const {
    return labels_ ? label() : std::string();
  }
  void emit(State to, Who who, std::string label, const char* broken = nullptr) {
    if (to.row[0].state != static_cast<u8>(RowState::fencing) &&
        to.row[0].state != static_cast<u8>(RowState::fenced) &&
        to.row[1].state != static_cast<u8>(RowState::fencing) &&
        to.row[1].state != static_cast<u8>(RowState::fenced)) {
      to.lease_over = 0;
    }
    moves_.push_back({to, who, broken, std::move(label)});
  }

  const Rules rules_;
  const bool labels_;
  bool exchanged_ = false;
  std::vector<Move> moves_;
};

// The instance is gone with all that it had open; its marks are of a start that is over.
void forget_instance(State& s, int i);

inline RowKey key_of(const SimRow& row) { return {row.epoch, static_cast<RowState>(row.state)}; }
inline bool is(const SimRow& row, RowState state) { return row.state == static_cast<u8>(state); }
std::string text(const SimRow& row);
std::string text(const RowKey& row);
inline const char* side_text(int d) { return d == 0 ? "source" : "target"; }

}  // namespace sim
