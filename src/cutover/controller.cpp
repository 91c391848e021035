// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/cutover.hpp"

namespace walign::cutover {

Controller::~Controller() {
  cancelled_ = true;
  if (thread_.joinable()) thread_.join();
}

void Controller::ask(const Request& request) {
  const std::lock_guard lock(mutex_);
  if (now_.running) {
    throw Error(ErrorKind::precondition, "a change of sides is under way already",
                "walign status shows it; walign cutover --cancel backs it out before the open");
  }
  if (thread_.joinable()) thread_.join();  // it has ended: it holds no lock any more
  cancelled_ = false;
  now_ = {};
  now_.running = true;
  now_.request = request;
  thread_ = std::thread([this, request] { carry_out(request); });
}

void Controller::cancel() {
  const std::lock_guard lock(mutex_);
  if (!now_.running) {
    throw Error(ErrorKind::precondition, "no change of sides is under way",
                "walign status says where it stands");
  }
  cancelled_ = true;
}

void Controller::carry_out(const Request& request) {
  std::optional<Result> result;
  std::string failed;
  try {
    result = run_(
        request,
        [this](const Progress& step) {
          const std::lock_guard lock(mutex_);
          now_.steps.push_back(step);
          changed_.notify_all();
        },
        cancelled_);
  } catch (const Error& error) {
    failed = error.describe();
  } catch (const std::exception& error) {
    failed = error.what();
  }
  const std::lock_guard lock(mutex_);
  now_.running = false;
  now_.result = std::move(result);
  now_.failed = std::move(failed);
  changed_.notify_all();
}

Controller::Watch Controller::watch(std::size_t seen, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return !now_.running || now_.steps.size() > seen; });
  Watch out = now_;
  const auto known = static_cast<std::ptrdiff_t>(std::min(seen, out.steps.size()));
  out.steps.erase(out.steps.begin(), out.steps.begin() + known);
  return out;
}

}  // namespace walign::cutover
