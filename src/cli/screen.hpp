// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A text that is shown on a terminal again and again, in place.
#pragma once

#include <ostream>

#include "walign/base.hpp"

namespace walign::cli {

struct Size {
  std::size_t columns = 80;
  std::size_t rows = 24;
};
// Of the terminal that stdout is; it may change at any time.
Size terminal_size();

// Each line cut to `columns`, at most `rows` of them: the last one says how many more there are. Each line is written
// over what stood there, and what is below is erased: nothing is ever blank in between, so that nothing flickers.
std::string drawn(std::string_view text, Size size);

// Lines that are longer than `columns` go on below, indented; 0: as they are.
std::string wrapped(std::string_view line, std::size_t columns, std::size_t indent);

class Screen {
 public:
  explicit Screen(std::ostream& out);
  ~Screen();  // leaves what was shown last, and the cursor below it
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  void show(std::string_view text);

 private:
  std::ostream& out_;
};

}  // namespace walign::cli
