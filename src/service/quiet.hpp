// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Signals belong to the main thread: threads made while one of these lives take none.
#pragma once

#include <csignal>

namespace walign::service {

class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~NoSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace walign::service
