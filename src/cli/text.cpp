// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "text.hpp"

#include <chrono>
#include <cmath>
#include <cstdio>

namespace walign::cli {

namespace {

std::string format(const char* pattern, double value, const char* unit) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, pattern, value, unit);
  return buffer;
}

// A cursor over a text that is to be a time.
struct Digits {
  std::string_view rest;
  bool good = true;

  int take(std::size_t count) {
    int value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      good = good && i < rest.size() && rest[i] >= '0' && rest[i] <= '9';
      if (good) value = value * 10 + (rest[i] - '0');
    }
    if (good) rest.remove_prefix(count);
    return value;
  }
  bool skip(char c) {
    if (!good || rest.empty() || rest.front() != c) return false;
    rest.remove_prefix(1);
    return true;
  }
  void need(char c) { good = skip(c) && good; }
};

// .5 and .500000 are the same; beyond microseconds there is nothing to compare with.
int take_fraction(Digits& d) {
  int micros = 0;
  int digits = 0;
  while (!d.rest.empty() && d.rest.front() >= '0' && d.rest.front() <= '9') {
    if (digits < 6) micros = micros * 10 + (d.rest.front() - '0');
    ++digits;
    d.rest.remove_prefix(1);
  }
  d.good = d.good && digits > 0;
  for (; digits < 6; ++digits) micros *= 10;
  return micros;
}

// Minutes east of UTC.
int take_zone(Digits& d) {
  if (d.rest.empty() || d.skip('Z') || d.skip('z')) return 0;
  const bool west = d.rest.front() == '-';
  if (!d.skip('+') && !d.skip('-')) d.good = false;
  const int hours = d.take(2);
  int minutes = 0;
  if (d.good && !d.rest.empty()) {
    d.skip(':');
    minutes = d.take(2);
  }
  if (hours > 15 || minutes > 59) d.good = false;
  return (west ? -1 : 1) * (hours * 60 + minutes);
}

struct Parts {
  int year, month, day, hour, minute, second, micros, zone_minutes;
};

std::optional<Parts> take_parts(std::string_view text) {
  Digits d{text};
  Parts p{};
  p.year = d.take(4);
  d.need('-');
  p.month = d.take(2);
  d.need('-');
  p.day = d.take(2);
  if (!d.skip('T') && !d.skip('t')) d.need(' ');
  p.hour = d.take(2);
  d.need(':');
  p.minute = d.take(2);
  if (d.skip(':')) {
    p.second = d.take(2);
    if (d.skip('.')) p.micros = take_fraction(d);
  }
  p.zone_minutes = take_zone(d);
  const bool in_range = p.hour < 24 && p.minute < 60 && p.second < 60;
  if (!d.good || !d.rest.empty() || !in_range) return std::nullopt;
  return p;
}

bool is_start_of_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

}  // namespace

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += "0123456789abcdef"[byte >> 4U];
    out += "0123456789abcdef"[byte & 15U];
  }
  return out;
}

std::string bytes_text(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (std::abs(value) >= 1023.95 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return format(unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
}

std::string seconds_text(double seconds) {
  if (seconds < 59.95) return format("%.1f %s", seconds, "s");
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600) return cat(whole / 60, " min ", whole % 60, " s");
  return cat(whole / 3600, " h ", whole % 3600 / 60, " min");
}

std::string count_text(double count) {
  if (count < 9999.5) return format("%.0f%s", count, "");
  if (count < 999'950) return format("%.1f%s", count / 1e3, "k");
  return format("%.1f%s", count / 1e6, "M");
}

std::int64_t parse_time(const std::string& text) {
  namespace ch = std::chrono;
  const auto p = take_parts(text);
  if (p) {
    const ch::year_month_day date(ch::year(p->year), ch::month(static_cast<unsigned>(p->month)),
                                  ch::day(static_cast<unsigned>(p->day)));
    if (date.ok()) {
      const auto time = ch::sys_days(date) + ch::hours(p->hour) + ch::minutes(p->minute - p->zone_minutes) +
                        ch::seconds(p->second) + ch::microseconds(p->micros);
      return ch::duration_cast<ch::microseconds>(time.time_since_epoch()).count();
    }
  }
  throw Error(ErrorKind::usage, cat("\"", text, "\" is not a date and time"),
              "write it as 2026-01-31T12:00:00Z, or with another zone as 2026-01-31T14:00:00+02:00");
}

Lsn parse_lsn(const std::string& text) {
  const auto lsn = Lsn::parse(text);
  if (lsn && lsn->valid()) return *lsn;
  throw Error(ErrorKind::usage, cat("\"", text, "\" is not a position in the WAL"),
              "write it as PostgreSQL does: 16/B374D848");
}

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
    const bool is_c1 = byte == 0xC2 && next >= 0x80 && next < 0xA0;  // U+0080 to U+009F
    if (byte >= 0x20 && byte != 0x7F && !is_c1) {
      out += text[i];
    } else if (byte == '\n') {
      out += "\\n";
    } else {
      char buffer[8];
      std::snprintf(buffer, sizeof buffer, "\\x%02x", static_cast<unsigned>(is_c1 ? next : byte));
      out += buffer;
      if (is_c1) ++i;
    }
  }
  return out;
}

std::string one_line(std::string_view text) {
  std::string out;
  bool between = false;
  for (const char c : text) {
    const bool space = c == '\n' || c == '\r' || c == '\t';
    if (space) between = !out.empty();
    if (space) continue;
    if (std::exchange(between, false) && c != ' ' && out.back() != ' ') out += ' ';
    out += c;
  }
  return printable(out);
}

std::string printable_lines(std::string_view text) {
  std::string out;
  for (;;) {
    const auto end = text.find('\n');
    std::string line(text.substr(0, end));
    std::replace(line.begin(), line.end(), '\t', ' ');
    out += printable(line);
    if (end == std::string_view::npos) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), is_start_of_character));
}

Table::Table(std::vector<std::string> header) {
  if (!header.empty()) rows_.push_back(std::move(header));
}

void Table::add(std::vector<std::string> row) {
  for (auto& cell : row) cell = printable(cell);
  rows_.push_back(std::move(row));
}

std::string Table::text(std::size_t indent) const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    if (widths.size() < row.size()) widths.resize(row.size());
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line(indent, ' ');
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string padding(widths[c] - width(row[c]), ' ');
      const bool right = std::find(right_.begin(), right_.end(), c) != right_.end();
      line += cat(c == 0 ? "" : "  ", right ? padding : "", row[c], right ? "" : padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace walign::cli
