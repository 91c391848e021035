// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The protocol's hands, whole: rows and triggers (FenceHands), and the steps that change no row, done with the gates,
// hooks, sequences and flushes of this room. What only a running stream can say or do is asked of its Surroundings.
//
// Threads: the driver's. The functions of Surroundings are called on it, and see to it themselves that the stream's
// thread is not in their way.
#pragma once

#include "drain.hpp"
#include "fence_hands.hpp"
#include "hooks.hpp"
#include "sequences.hpp"

namespace walign::cutover {

struct Surroundings {
  config::Gates gates;
  // What the stream and the verification know; `giver` and `taker` of it are measured here.
  std::function<cutover::Figures(Side giver)> figures;
  // Proves what is left: the dirty keys.
  std::function<Answer(const Attempt& attempt, Millis left)> prove;
  std::function<void(Flow flow)> flow;
  // Waits until nothing is being applied any more; false if that was not so in time.
  std::function<bool(Millis left)> still;
  std::vector<mapping::Route> forward, backward;  // for sequences: from the giver to the taker
  const Interrupt* interrupt = nullptr;
};

class StepHands : public FenceHands {
 public:
  // `migration`: Config::migration, as hooks are told it; `fence`: walign.fence's name of it.
  StepHands(std::string migration, const std::string& fence, FenceSide source, FenceSide target,
            config::Cutover settings, std::uint64_t owner, Surroundings surroundings);

  Answer work(Step step, const Attempt& attempt, Millis left) override;
  void flow(Flow flow) override { around_.flow(flow); }

  // Of the last run, for the report.
  struct Collected {
    std::vector<Gate> gates;
    std::vector<Blocker> blockers;
    std::vector<SequenceSet> sequences;
    std::vector<std::string> sequence_notes;
    std::vector<std::pair<std::string, HookResult>> hooks;
  };
  [[nodiscard]] const Collected& collected() const { return collected_; }

 private:
  Answer gate(Side giver);
  Answer gate_behind_fence(Side giver);
  Answer hook(const std::string& name, const std::string& command, const Attempt& attempt, Millis left);
  Answer set_all(const Attempt& attempt);
  Answer freeze(Side giver, Millis left);
  Answer switch_over(const Attempt& attempt);
  Answer prove(const Attempt& attempt, Millis left);
  void pause(Millis time) const;

  const std::string migration_;
  const Surroundings around_;
  Collected collected_;
  // Of source and target, when the gates were asked; empty where another instance did that.
  std::map<Side, std::map<TableName, std::string>> fingerprints_;
};

}  // namespace walign::cutover
