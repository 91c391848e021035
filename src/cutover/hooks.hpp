// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The operator's commands: run by /bin/sh in a process group of their own, with the facts in their environment, a
// time-out, and what they print captured. A hook that is out of time is killed with all that it started.
#pragma once

#include "walign/base.hpp"

namespace walign::cutover {

struct Hook {
  std::string name;     // before_fence, before_open, switch_hook, after_back_out
  std::string command;  // for /bin/sh -c; empty: nothing is run
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  std::chrono::milliseconds timeout{60'000};
};

struct HookResult {
  bool ran = false;
  int exit_status = 0;  // 128 + the signal's number where one ended it, as in a shell
  bool timed_out = false;
  std::string output;  // stdout and stderr, the last 64 KiB
  double ms = 0;
  [[nodiscard]] bool ok() const { return !timed_out && exit_status == 0; }
};

// Error(interrupted) when raised, after the hook has been killed.
HookResult run_hook(const Hook& hook, const Interrupt* interrupt);

// What every hook is told: WALIGN_MIGRATION, WALIGN_DIRECTION (forward, reverse), WALIGN_EPOCH, WALIGN_FENCE_LSN and
// WALIGN_OPEN_LSN (empty where there is none yet).
std::vector<std::pair<std::string, std::string>> hook_environment(const std::string& migration, bool forward,
                                                                  std::uint64_t epoch, Lsn fence, Lsn open);

}  // namespace walign::cutover
