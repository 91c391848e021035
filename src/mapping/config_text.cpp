// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "mapping/config_text.hpp"

#include <array>
#include <limits>

namespace walign::config {

namespace {

constexpr std::array kSizeUnits = {
    Unit{"B", 1},
    Unit{"kB", 1'000},
    Unit{"KiB", std::int64_t{1} << 10U},
    Unit{"MB", 1'000'000},
    Unit{"MiB", std::int64_t{1} << 20U},
    Unit{"GB", 1'000'000'000},
    Unit{"GiB", std::int64_t{1} << 30U},
};
constexpr std::array kDurationUnits = {
    Unit{"ms", 1},       Unit{"s", 1'000},     Unit{"m", 60'000},
    Unit{"min", 60'000}, Unit{"h", 3'600'000}, Unit{"d", 86'400'000},
};

// Bytes after the first one of a sequence, or nothing where none begins with `lead`.
std::optional<std::size_t> continuation_bytes(unsigned char lead) {
  if (lead < 0x80) return 0;
  if (lead >= 0xC2 && lead <= 0xDF) return 1;
  if (lead >= 0xE0 && lead <= 0xEF) return 2;
  if (lead >= 0xF0 && lead <= 0xF4) return 3;
  return std::nullopt;
}

// The second byte is narrower after some leads: no overlong forms, no surrogates, nothing past U+10FFFF.
bool second_byte_fits(unsigned char lead, unsigned char second) {
  switch (lead) {
    case 0xE0: return second >= 0xA0;
    case 0xED: return second <= 0x9F;
    case 0xF0: return second >= 0x90;
    case 0xF4: return second <= 0x8F;
    default: return true;
  }
}

}  // namespace

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const auto more = continuation_bytes(lead);
    if (!more || *more >= text.size() - i) return i;
    for (std::size_t k = 1; k <= *more; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0U) != 0x80U || (k == 1 && !second_byte_fits(lead, next))) return i;
    }
    i += *more + 1;
  }
  return std::nullopt;
}

std::size_t count_characters(std::string_view utf8) {
  const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; };
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), begins));
}

std::span<const Unit> size_units() { return kSizeUnits; }
std::span<const Unit> duration_units() { return kDurationUnits; }

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Quantity parse_quantity(std::string_view text, std::span<const Unit> units, bool bare_is_base) {
  std::int64_t number = 0;
  const char* const last = text.data() + text.size();
  if (text.empty() || !is_digit(text.front())) return {0, QuantityFault::no_number};
  const auto [end, error] = std::from_chars(text.data(), last, number);
  if (error != std::errc()) return {0, QuantityFault::too_large};
  std::string_view name(end, static_cast<std::size_t>(last - end));
  name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
  if (name.empty())
    return {number, bare_is_base || number == 0 ? QuantityFault::none : QuantityFault::no_unit};
  const auto unit = std::find_if(units.begin(), units.end(), [&](const Unit& u) { return u.name == name; });
  if (unit == units.end()) return {0, QuantityFault::unknown_unit};
  if (number > std::numeric_limits<std::int64_t>::max() / unit->factor) return {0, QuantityFault::too_large};
  return {number * unit->factor, QuantityFault::none};
}

std::string format_quantity(std::int64_t value, std::span<const Unit> units) {
  if (value == 0) return "0";
  Unit best = units.front();
  for (const auto& unit : units) {
    if (value % unit.factor == 0) best = unit;
  }
  return cat(value / best.factor, best.name);
}

// -------------------------------------------------------------------------------------------- names

namespace {

constexpr std::size_t kMaxNameBytes = 63;  // NAMEDATALEN - 1: the server would cut what is longer

bool is_name_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' ||
         c == '$' || c == '*' || static_cast<unsigned char>(c) >= 0x80;
}

struct Part {
  std::string text;
  bool pattern = false;
  std::string fault;
  std::string hint;
};

// A part in double quotes; `rest` stands after the opening one.
Part quoted_part(std::string_view& rest) {
  Part part;
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c == '"' && !rest.starts_with('"')) return part;
    if (c == '"') rest.remove_prefix(1);
    part.text += c;
  }
  part.fault = "a double quote is not closed";
  part.hint = "write \"\" for a quote inside a name";
  return part;
}

Part plain_part(std::string_view& rest) {
  Part part;
  while (!rest.empty() && is_name_character(rest.front())) {
    part.text += rest.front();
    rest.remove_prefix(1);
  }
  part.pattern = part.text.find('*') != std::string::npos;
  if (rest.empty() || rest.front() == '.') return part;
  if (rest.front() == ':') {
    part.fault = "there is no space after the colon";
    part.hint = "write SOURCE: TARGET";
  } else {
    part.fault = "a name with other characters than letters, digits, _, - and $ is not quoted";
    part.hint = "put double quotes around that part, and single quotes around the whole";
  }
  return part;
}

Part next_part(std::string_view& rest) {
  Part part;
  if (rest.starts_with('"')) {
    rest.remove_prefix(1);
    part = quoted_part(rest);
    if (part.fault.empty() && !rest.empty() && rest.front() != '.') {
      part.fault = "something follows a closing double quote";
      part.hint = "only a dot can";
    }
    if (part.text.find('*') != std::string::npos) part.fault = "a '*' cannot stand in quotes";
  } else {
    part = plain_part(rest);
  }
  if (part.fault.empty() && part.text.empty())
    part = {"", false, "a part of the name is empty", "write SCHEMA.TABLE"};
  if (part.fault.empty() && part.text.size() > kMaxNameBytes) {
    part.fault = "a name is longer than 63 bytes";
    part.hint = "the server keeps the first 63";
  }
  return part;
}

std::string quote_part(const std::string& part) {
  if (!part.empty() && std::all_of(part.begin(), part.end(), is_name_character)) return part;
  std::string out = "\"";
  for (const char c : part) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + '"';
}

}  // namespace

std::string TableName::to_string() const { return cat(quote_part(schema), '.', quote_part(name)); }

ParsedName parse_table_name(std::string_view text) {
  std::vector<Part> parts;
  for (auto rest = text;;) {
    parts.push_back(next_part(rest));
    if (!parts.back().fault.empty()) return {{}, false, parts.back().fault, parts.back().hint};
    if (rest.empty()) break;
    rest.remove_prefix(1);
  }
  if (parts.size() > 2) return {{}, false, "a name has more than two parts", "write SCHEMA.TABLE"};
  if (parts.size() == 1) return {{"public", parts[0].text}, parts[0].pattern, "", ""};
  if (parts[0].pattern)
    return {{}, false, "a '*' cannot stand in the schema", "write one line for each schema"};
  return {{parts[0].text, parts[1].text}, parts[1].pattern, "", ""};
}

std::optional<std::pair<std::string_view, std::string_view>> split_pair(std::string_view text) {
  bool quoted = false;
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (quoted || text[i] != ':' || text[i + 1] != ' ') continue;
    auto right = text.substr(i + 1);
    right.remove_prefix(std::min(right.find_first_not_of(' '), right.size()));
    return std::pair{text.substr(0, i), right};
  }
  return std::nullopt;
}

// ----------------------------------------------------------------------------------------- spelling

namespace {

// Letters to insert, remove, replace or swap with their neighbour to get from one word to the other.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::optional<std::string_view> nearest(std::string_view word, std::span<const std::string_view> candidates) {
  constexpr std::size_t kLongestKey = 40;  // longer ones are no misspelling of ours, and the table is square
  if (word.size() > kLongestKey) return std::nullopt;
  std::optional<std::string_view> best;
  std::size_t best_distance = 0;
  for (const auto candidate : candidates) {
    const auto distance = edit_distance(word, candidate);
    const auto bound = candidate.size() <= 4 ? std::size_t{1} : candidate.size() <= 7 ? 2 : 3;
    if (distance > bound) continue;
    if (!best || distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace walign::config
