// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Looks at the status each second, and more often while sides change; keeps the last minutes, and the newest look as
// the text that every reader of events gets.
#pragma once

#include "history.hpp"

namespace walign::service {

class Observer {
 public:
  explicit Observer(const Handlers& handlers);
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  // Of a status that was taken just now.
  [[nodiscard]] Outlook outlook() const;
  [[nodiscard]] std::string history_json() const;
  struct Seen {
    std::uint64_t number = 0;
    std::shared_ptr<const std::string> status;  // JSON, one line
  };
  // The newest look, if it is not the one of that number; waits for one, at most `timeout`.
  [[nodiscard]] std::optional<Seen> after(std::uint64_t number, std::chrono::milliseconds timeout) const;

 private:
  void watch() noexcept;
  bool look();  // whether sides change

  const std::function<stream::Status()> status_;
  const std::function<bool()> backfill_paused_;
  const std::function<std::int64_t()> gates_asked_at_us_;
  const std::function<double(const std::string&)> slot_safe_bytes_;
  const std::function<cutover::Controller::Watch(std::size_t, std::chrono::milliseconds)> change_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  History history_;  // guarded by mutex_, as the next two
  Seen newest_;
  bool done_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace walign::service
