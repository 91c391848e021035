// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A thin shell around the protocol: does what action() says with somebody's Hands, and tells step() what came of it.
// It decides nothing but when time is out.
//
// The lease is given once, with FENCING, and never renewed: max_pause is shorter, so that we have backed out or sealed
// before a writer may take the fence down; if we have not, because we stalled, the writer wins, and the seal finds out.
// Time is not looked at between the seal and the open: to open is then the shortest way to end the pause.
//
// Threads: run() and recover() on one; cancel() from any.
#pragma once

#include "protocol.hpp"
#include "walign/cutover.hpp"

namespace walign::cutover {

using Millis = std::chrono::milliseconds;

struct Answer {
  enum class Kind : std::uint8_t {
    done,
    refused,    // the row is not as it was known; a gate does not hold; a proof or a hook failed
    no_answer,  // it may be done or not, now or later
    given_up,   // a lock was not to be had in time; nothing has changed
  };
  Kind kind = Kind::done;
  std::string why;    // if not done
  bool idle = false;  // there was nothing to do: not told
};
inline Answer refused(std::string why) { return {Answer::Kind::refused, std::move(why)}; }

struct RowRead {
  enum class Kind : std::uint8_t { row, no_row, other_timeline, unreachable };
  Kind kind = Kind::unreachable;
  FenceRow row;
  std::string why;  // if there is no row
};

// The verbs of the protocol. Each may throw Error instead of answering: `in_doubt` and `connection` count as no
// answer, `transient` as given up, `interrupted` and `bug` end the run, everything else as refused.
class Hands {
 public:
  virtual ~Hands() = default;
  // Above the owner of every row that was there when this instance started.
  [[nodiscard]] virtual std::uint64_t owner() const = 0;
  [[nodiscard]] virtual std::size_t tables(Side giver) const = 0;

  // FOR UPDATE, in a transaction of its own: waits for what is in flight.
  virtual RowRead read_row(Side side) = 0;
  // One compare-and-set (record.hpp). Step::fencing gives the lease; Step::open is done in the transaction that holds
  // the row, proves the position, and writes the marker.
  virtual Answer write_row(const act::WriteRow& write) = 0;
  virtual Answer fence_table(const act::FenceTable& table) = 0;
  // Locks the taker's row, finds it as it must be and the position at or past the fence LSN, and keeps it locked.
  virtual Answer hold(const act::Hold& hold) = 0;
  virtual void let_go() noexcept = 0;  // of what hold() keeps, if it does
  virtual Answer open_alone(const act::OpenAlone& open) = 0;
  // A step that changes no row: gate, before_fence, drain, prove, sequences, before_open, freeze, switch_over. `left`:
  // of max_pause, where it counts.
  virtual Answer work(Step step, const Attempt& attempt, Millis left) = 0;
  // Which changes may be applied from now on. Never Flow::unchanged.
  virtual void flow(Flow flow) = 0;
  // Everything of the fence that can be tried, rolled back table by table.
  virtual Answer rehearse(Side giver) = 0;
};

struct Timing {
  Millis max_pause{5'000};  // from the first refused write to the seal
  Millis reach{30'000};     // how long a server may be out of reach before a human is asked
  Millis again{100};        // between two looks that led nowhere
  bool goes_on = true;      // an attempt found half done is gone on with; false: recover, which has no stream
  Millis lease{10'000};     // what fencing gives; longer than max_pause, or a cutover is refused
};

class Driver {
 public:
  using Tell = std::function<void(const Progress&)>;
  using Pause = std::function<void(Millis)>;  // sleeps; throws Error(interrupted)
  // `cancelled`: besides cancel(), something that says so; may be null.
  Driver(Hands& hands, Timing timing, const Clock& clock, Pause pause, Tell tell,
         const std::atomic<bool>* cancelled = nullptr);

  // A half-done attempt of before is brought to its end first.
  Result run(const Request& request);
  // Brings whatever is half done to rest. `gone`: the side whose server a human has said to be gone for ever.
  Result recover(std::optional<Side> gone);
  // Backs out, if the side is not open yet.
  void cancel() { cancelled_ = true; }

 private:
  using Time = std::chrono::steady_clock::time_point;
  void begin();
  void go_until_rest();
  Fact act_on(const Action& action);
  Fact read(Side side);
  std::optional<Fact> out_of_time() const;
  Fact told(const Answer& answer);
  template <class Do>
  Fact attempt(Do what);
  void enter(Phase next);
  void note(const Action& action, const Fact& fact, Time began);
  [[nodiscard]] Millis left() const;
  [[nodiscard]] bool cancelled() const;
  [[nodiscard]] bool in_time() const;
  Result try_out(const Request& request, Side giver);
  Result result(Side wanted) const;
  Result in_doubt(Why why) const;
  Result lease_too_short() const;

  Hands& hands_;
  const Timing timing_;
  const Clock& clock_;
  const Pause pause_;
  const Tell tell_;
  const std::atomic<bool>* const also_cancelled_;
  std::atomic<bool> cancelled_{false};

  Phase phase_ = phase::Looking{};
  Time began_;
  std::optional<Time> pause_began_;
  std::array<std::optional<Time>, 2> unreachable_since_;  // by side
  int looks_ = 0;                                         // since something was done
  std::uint64_t epoch_ = 0;
  bool touched_ = false;  // a row was changed, or found half done
  std::string why_;       // of the last thing that was not done
  bool idle_ = false;     // the last answer said that there was nothing to do
  bool hook_failed_ = false;
  std::vector<Progress> steps_;
};

}  // namespace walign::cutover
