// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "screen.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

namespace walign::cli {

namespace {

constexpr std::string_view kClear = "\x1b[2J";
constexpr std::string_view kHome = "\x1b[H";
constexpr std::string_view kHideCursor = "\x1b[?25l";
constexpr std::string_view kShowCursor = "\x1b[?25h";
constexpr std::string_view kEraseLine = "\x1b[K";
constexpr std::string_view kEraseBelow = "\x1b[J";

bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

// How many bytes the first `columns` characters have.
std::size_t bytes_of(std::string_view text, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (starts_character(text[i]) && seen++ == columns) return i;
  }
  return text.size();
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    out.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

}  // namespace

Size terminal_size() {
  winsize found{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &found) != 0 || found.ws_col == 0 || found.ws_row == 0) return {};
  return {found.ws_col, found.ws_row};
}

std::string drawn(std::string_view text, Size size) {
  auto lines = lines_of(text);
  // The last row stays free: a line end there would scroll.
  const std::size_t room = std::max<std::size_t>(size.rows, 3) - 1;
  std::string more;
  if (lines.size() > room) {
    more = cat("... ", lines.size() - room + 1, " more lines: walign status");
    lines.resize(room - 1);
    lines.emplace_back(more);
  }
  std::string out(kHome);
  for (const auto line : lines) {
    out += cat(line.substr(0, bytes_of(line, size.columns)), kEraseLine, "\r\n");
  }
  return out + std::string(kEraseBelow);
}

std::string wrapped(std::string_view line, std::size_t columns, std::size_t indent) {
  std::string out;
  std::size_t room = columns;
  if (columns <= indent + 8) return std::string(line);
  while (bytes_of(line, room) < line.size()) {
    std::size_t end = bytes_of(line, room);
    if (const auto blank = line.rfind(' ', end); blank != std::string_view::npos && blank > 0) end = blank;
    out += cat(line.substr(0, end), "\n", std::string(indent, ' '));
    line.remove_prefix(end);
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    room = columns - indent;
  }
  return out + std::string(line);
}

Screen::Screen(std::ostream& out) : out_(out) { out_ << kHideCursor << kClear << std::flush; }

Screen::~Screen() { out_ << kShowCursor << std::flush; }

void Screen::show(std::string_view text) { out_ << drawn(text, terminal_size()) << std::flush; }

}  // namespace walign::cli
