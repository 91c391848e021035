// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// systemd: what a service says to the manager that started it, by sd_notify(3)'s protocol: datagrams of lines
// (READY=1, STATUS=..., WATCHDOG=1, STOPPING=1) to the socket that NOTIFY_SOCKET names. No library is needed for that.
//
// Threads: any. Nothing here throws after the constructor, nor waits: a manager that does not listen hinders nobody.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace walign::obs {

class ServiceManager {
 public:
  using Environment = std::function<const char*(const char* name)>;

  // The process's own environment, unless another is given.
  explicit ServiceManager(const Environment& environment = {});
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  // There is one, and it wants to be told.
  [[nodiscard]] bool listens() const { return fd_ >= 0; }
  // It wants to hear WATCHDOG=1 at least this often.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }
  // Lines, parted by newlines. False where they were not taken: say it again later.
  bool tell(std::string_view lines) const noexcept;

 private:
  std::string address_;  // of the socket, as the kernel takes it: '\0' first where it is abstract
  int fd_ = -1;
  std::optional<std::chrono::microseconds> watchdog_;
};

// Whether standard error leads to systemd's journal. There a log line has its priority before it (sd-daemon(3)) and no
// time, and a line of progress is a log line.
bool stderr_is_journal();

}  // namespace walign::obs
