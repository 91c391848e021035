// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Standard error as one thing: log lines and the progress line go through here, each in one write, so
// that neither garbles the other. On a terminal at most one progress line stands, below all else.
#pragma once

#include <mutex>

#include "walign/base.hpp"

namespace walign::obs {

class Terminal {
 public:
  static Terminal& stderr_terminal();

  // Asked each time: a daemon's standard error may be exchanged under it.
  static bool can_redraw();
  static bool has_colours();

  // A complete line, with its newline; above the progress line if there is one.
  void write_line(std::string_view line);
  // Draws the progress line, in place of the one that stands.
  void draw(std::string_view line);
  // Leaves the progress line where it is; what comes next begins below it.
  void end_drawing();

 private:
  std::mutex mutex_;
  std::string drawn_;  // guarded by mutex_: the progress line on the screen, empty if none
};

// `text` cut to `columns`, never inside a character. Every code point counts as one column.
std::string_view cut(std::string_view text, std::size_t columns);

}  // namespace walign::obs
