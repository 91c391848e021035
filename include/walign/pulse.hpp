// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Pulse: whether the loops of this process are alive. The thread of a stream's loop has one, and the thread that writes
// a batch for it; it beats at each turn of the loop, and all along while the thread waits for a server or sleeps. So a
// loop that is paused, connects again or waits for a long statement has a pulse, and one that hangs (a deadlock, an
// endless loop, a disk that does not answer) has none.
//
// Threads: beat() and here() are of the thread that calls them; longest_silence() from any.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace walign {

class Pulse {
 public:
  // Where there is a pulse, a wait is cut into pieces of this length.
  static constexpr std::chrono::milliseconds kSlice{1000};

  // The calling thread has a pulse until this is destroyed, by the same thread; one at a time.
  Pulse();
  ~Pulse();
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;

  // Nothing happens where the calling thread has none.
  static void beat() noexcept {
    if (mine_ != nullptr) mine_->last_.store(now());
  }
  static bool here() noexcept { return mine_ != nullptr; }

  // Of all pulses of the process, since the last beat of the one that has been silent for longest; nothing where there
  // is none.
  static std::optional<std::chrono::duration<double>> longest_silence();

 private:
  using Ticks = std::chrono::steady_clock::duration;
  static std::int64_t now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

  inline static thread_local Pulse* mine_ = nullptr;
  std::atomic<std::int64_t> last_;
};

}  // namespace walign
