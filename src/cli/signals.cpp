// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "signals.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace walign::cli {

namespace {

std::atomic<Interrupt*> to_raise{nullptr};

void on_signal(int /*number*/) {
  const int saved = errno;
  Interrupt* interrupt = to_raise.load();
  if (interrupt == nullptr || interrupt->raised()) ::_exit(exit_status(ErrorKind::interrupted));
  interrupt->raise();
  errno = saved;
}

}  // namespace

Signals::Signals() {
  WALIGN_CHECK(to_raise.load() == nullptr);
  to_raise.store(&interrupt_);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // whoever must wake up polls the Interrupt's descriptor
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &before_int_);
  ::sigaction(SIGTERM, &action, &before_term_);
}

Signals::~Signals() {
  ::sigaction(SIGINT, &before_int_, nullptr);
  ::sigaction(SIGTERM, &before_term_, nullptr);
  to_raise.store(nullptr);
}

}  // namespace walign::cli
