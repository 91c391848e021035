// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Numbers, times and tables as people read and type them.
#pragma once

#include "walign/base.hpp"

namespace walign::cli {

std::string hex(std::string_view bytes);     // lower case, two digits a byte
std::string bytes_text(std::int64_t bytes);  // 1.5 MiB
std::string seconds_text(double seconds);    // 0.4 s, 3 min 20 s, 2 h 5 min
std::string count_text(double count);        // 1234, 56.7k, 1.2M

// Microseconds since 1970 of an ISO 8601 date and time: 2026-01-31T12:00, :30, .250, then Z, +02:00, +0200, +02 or
// nothing for UTC; a blank for the T. Error(usage) for anything else, days that do not exist included.
std::int64_t parse_time(const std::string& text);
// Error(usage); 0/0 is none.
Lsn parse_lsn(const std::string& text);

// Control characters as \xHH, so that nothing a database holds can steer a terminal. Newlines too.
std::string printable(std::string_view text);
// The same, with a blank for each run of line ends and tabs.
std::string one_line(std::string_view text);
// printable(), line by line.
std::string printable_lines(std::string_view text);

// Rows under each other, columns aligned, two blanks between, nothing at line ends. `indent` blanks before each.
class Table {
 public:
  explicit Table(std::vector<std::string> header = {});
  void add(std::vector<std::string> row);
  // These columns are numbers.
  void right(std::vector<std::size_t> columns) { right_ = std::move(columns); }
  [[nodiscard]] std::string text(std::size_t indent = 0) const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> right_;
};

// How many columns of a terminal UTF-8 text takes, one for each character.
std::size_t width(std::string_view text);

}  // namespace walign::cli
