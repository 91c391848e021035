// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "obs/terminal.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace walign::obs {

namespace {

constexpr const char* kClearLine = "\r\x1b[K";

// There is nobody to tell when standard error itself cannot be written.
void write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd entry{STDERR_FILENO, POLLOUT, 0};
      ::poll(&entry, 1, -1);
    } else if (errno != EINTR) {
      return;
    }
  }
}

std::size_t terminal_columns() {
  winsize size{};
  constexpr std::size_t kUsual = 80;
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsual;
  return size.ws_col;
}

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

}  // namespace

std::string_view cut(std::string_view text, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_continuation(text[i])) continue;
    if (seen == columns) return text.substr(0, i);
    ++seen;
  }
  return text;
}

// Never destroyed: the last log lines may come from destructors of static objects.
Terminal& Terminal::stderr_terminal() {
  static auto* terminal = new Terminal;
  return *terminal;
}

// One that calls itself dumb (an editor's shell) shows control sequences as text.
bool Terminal::can_redraw() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && (kind == nullptr || std::string_view(kind) != "dumb");
}

bool Terminal::has_colours() {
  const char* no_color = std::getenv("NO_COLOR");  // https://no-color.org
  return can_redraw() && (no_color == nullptr || *no_color == '\0');
}

void Terminal::write_line(std::string_view line) {
  const std::lock_guard lock(mutex_);
  write_all(drawn_.empty() ? std::string(line) : cat(kClearLine, line, drawn_));
}

void Terminal::draw(std::string_view line) {
  const std::lock_guard lock(mutex_);
  // A line as wide as the terminal would make some of them move on to the next.
  drawn_ = cut(line, terminal_columns() - 1);
  write_all(cat(kClearLine, drawn_));
}

void Terminal::end_drawing() {
  const std::lock_guard lock(mutex_);
  if (drawn_.empty()) return;
  drawn_.clear();
  write_all("\n");
}

}  // namespace walign::obs
