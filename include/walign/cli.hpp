// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// cli: the command line. Options, one file per command, and the wiring of everything below. Data goes to `out`,
// logs, progress, questions and errors to `err`.
//
//   walign [-c FILE] COMMAND ...   ──parse──>  Context + an action  ──run──>  exit status
//
// Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 a precondition or gate does not hold, 4 verify found
// differences, 5 backed out, 6 in doubt, 7 the switch hook failed, 130 interrupted after a clean stop. Whatever a
// command throws ends here, as a message with its hint.
//
// Threads: the caller's, until a command starts its own. SIGINT and SIGTERM are taken while a command runs.
#pragma once

#include <iosfwd>

#include "walign/base.hpp"

namespace walign::cli {

struct Io {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;
  bool err_is_journal = false;  // systemd's, which takes a priority before each line
};

// `arguments` without the program's name.
int main(std::vector<std::string> arguments, const Io& io);

// The same with the process's own streams.
int main(int argc, char** argv);

}  // namespace walign::cli
