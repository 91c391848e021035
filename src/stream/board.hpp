// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What threads tell each other: the status that anyone may read, and requests that the loop carries out between
// two batches.
#pragma once

#include <future>

#include "walign/stream.hpp"

namespace walign::stream {

class Board {
 public:
  [[nodiscard]] Status status() const {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  // change(Status&) under the lock.
  template <class Change>
  void update(Change&& change) {
    const std::lock_guard lock(mutex_);
    change(status_);
  }

  // Runs `work` on the loop's thread between two batches; throws what it throws, or Error(transient) if that
  // moment did not come in time.
  void ask(std::function<void(apply::Applier&)> work, std::chrono::milliseconds timeout);
  // Whether the loop is between two batches within `timeout`.
  bool comes_to_it(std::chrono::milliseconds timeout);
  // The loop's side.
  void carry_out(apply::Applier& applier);
  // Somebody waits for the loop to be between two batches.
  [[nodiscard]] bool wanted() const {
    const std::lock_guard lock(mutex_);
    return status_.paused || !requests_.empty();
  }

  void pause(bool paused) {
    const std::lock_guard lock(mutex_);
    status_.paused = paused;
    status_.stable_since_us = Clock::system().unix_micros();
  }
  [[nodiscard]] bool paused() const {
    const std::lock_guard lock(mutex_);
    return status_.paused;
  }

 private:
  struct Request {
    std::function<void(apply::Applier&)> work;
    std::promise<void> done;
    bool withdrawn = false;
  };
  mutable std::mutex mutex_;
  Status status_;  // both: guarded by mutex_
  std::deque<std::shared_ptr<Request>> requests_;
};

inline void Board::ask(std::function<void(apply::Applier&)> work, std::chrono::milliseconds timeout) {
  auto request = std::make_shared<Request>();
  request->work = std::move(work);
  auto done = request->done.get_future();
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
  }
  if (done.wait_for(timeout) == std::future_status::ready) return done.get();
  {
    const std::lock_guard lock(mutex_);
    request->withdrawn = true;
  }
  throw Error(
      ErrorKind::transient, "the sidecar did not come to it in time",
      "it is in the middle of a large transaction, or not connected: `walign status`; then try again");
}

inline bool Board::comes_to_it(std::chrono::milliseconds timeout) {
  try {
    ask([](apply::Applier&) {}, timeout);
    return true;
  } catch (const Error&) {
    return false;
  }
}

inline void Board::carry_out(apply::Applier& applier) {
  for (;;) {
    std::shared_ptr<Request> request;
    {
      const std::lock_guard lock(mutex_);
      if (requests_.empty()) return;
      request = std::move(requests_.front());
      requests_.pop_front();
      if (request->withdrawn) continue;
    }
    try {
      request->work(applier);
      request->done.set_value();
    } catch (...) {
      request->done.set_exception(std::current_exception());
    }
  }
}

}  // namespace walign::stream
