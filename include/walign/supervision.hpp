// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// supervision: what the sidecar tells the service manager that started it (walign/systemd.hpp carries it).
//
//   READY=1     once: it streams or copies, or tries again after an error that goes away by itself. A start that a
//               human must mend (a wrong configuration, a missing privilege) ends the process before that, so that
//               `systemctl start` fails; until it is known, EXTEND_TIMEOUT_USEC as long as the loop has a pulse
//   STATUS=     phase, lag and rate, whenever they change
//   WATCHDOG=1  while the loop has a pulse (walign/pulse.hpp): also paused, connecting again, or waiting for a server
//   STOPPING=1  once: it was asked to stop, or ends by itself
//
// Pure: what to say is decided here, and saying it is the caller's.
#pragma once

#include "walign/stream.hpp"

namespace walign::service {

using Silence = std::optional<std::chrono::duration<double>>;  // Pulse::longest_silence()

// The outcome of a start is known.
bool started(const stream::Status& status);
// The loops have pulses that are younger than half of what the watchdog allows, or a minute without one.
bool alive(Silence silence, std::optional<std::chrono::microseconds> watchdog);

class Supervision {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Look {
    bool started = false;
    bool stopping = false;
    Silence silence;
    std::string line;  // the status in words
    Time now;
  };

  explicit Supervision(std::optional<std::chrono::microseconds> watchdog) : watchdog_(watchdog) {}

  // What is to be said now; empty: nothing.
  [[nodiscard]] std::string say(const Look& look) const;
  // It was taken; what was not is said again.
  void said(const std::string& lines, const Look& look);

 private:
  const std::optional<std::chrono::microseconds> watchdog_;
  bool ready_ = false, stopping_ = false;
  std::string status_;
  std::optional<Time> fed_, extended_;
};

}  // namespace walign::service
