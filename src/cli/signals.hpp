// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// SIGINT and SIGTERM while a command runs: the first raises an Interrupt, so that the command ends cleanly; the
// second ends the process at once, which loses nothing but the time to do it again.
#pragma once

#include <csignal>

#include "walign/base.hpp"

namespace walign::cli {

// One at a time in a process.
class Signals {
 public:
  Signals();
  ~Signals();  // puts back what was
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  [[nodiscard]] const Interrupt& interrupt() const { return interrupt_; }

 private:
  Interrupt interrupt_;
  struct sigaction before_int_ {};
  struct sigaction before_term_ {};
};

}  // namespace walign::cli
