// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The order of values by their text alone, type by type.
#include <map>

#include "key_order.hpp"

namespace walign::backfill {

namespace {

int sign_of(std::strong_ordering order) { return order < 0 ? -1 : (order > 0 ? 1 : 0); }

// char_traits compares as unsigned char; a prefix is less.
int compare_bytes(std::string_view a, std::string_view b) { return sign_of(a <=> b); }

[[noreturn]] void malformed(std::string_view type, std::string_view text) {
  constexpr std::size_t kShown = 60;
  throw Error(
      ErrorKind::malformed,
      cat("a key of type ", type, " has the text '", text.substr(0, kShown),
          text.size() > kShown ? "...'" : "'"),
      "this should not happen: please report it, with the source's version and the table's definition");
}

bool all_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::int64_t integer_of(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) malformed("integer", text);
  return value;
}

int compare_bytea(std::string_view a, std::string_view b) {
  // Lower-case hex digits sort as what they stand for.
  for (const auto text : {a, b}) {
    if (!text.starts_with("\\x")) malformed("bytea", text);
  }
  return compare_bytes(a, b);
}

// ---------------------------------------------------------------------------------------- numeric

// PostgreSQL prints numeric without an exponent, with as many zeros after the point as the value's scale has.
struct Numeric {
  enum class Kind : std::uint8_t { minus_infinity, finite, infinity, not_a_number } kind = Kind::finite;
  int sign = 0;               // of a finite one
  std::string_view whole;     // without leading zeros
  std::string_view fraction;  // without trailing zeros
};

Numeric numeric_of(std::string_view text) {
  if (text == "NaN") return {Numeric::Kind::not_a_number, 0, {}, {}};
  if (text == "Infinity") return {Numeric::Kind::infinity, 0, {}, {}};
  if (text == "-Infinity") return {Numeric::Kind::minus_infinity, 0, {}, {}};
  std::string_view digits = text;
  const bool negative = digits.starts_with('-');
  if (negative) digits.remove_prefix(1);
  const auto point = digits.find('.');
  Numeric n;
  n.whole = digits.substr(0, point);
  if (point != std::string_view::npos) n.fraction = digits.substr(point + 1);
  if (n.whole.empty() || !all_digits(n.whole) || !all_digits(n.fraction)) malformed("numeric", text);
  n.whole.remove_prefix(std::min(n.whole.find_first_not_of('0'), n.whole.size()));
  n.fraction = n.fraction.substr(0, n.fraction.find_last_not_of('0') + 1);
  if (!n.whole.empty() || !n.fraction.empty()) n.sign = negative ? -1 : 1;
  return n;
}

int compare_numeric(std::string_view text_a, std::string_view text_b) {
  const Numeric a = numeric_of(text_a), b = numeric_of(text_b);
  if (a.kind != b.kind || a.kind != Numeric::Kind::finite) return sign_of(a.kind <=> b.kind);
  if (a.sign != b.sign) return a.sign < b.sign ? -1 : 1;
  int magnitude = sign_of(a.whole.size() <=> b.whole.size());
  if (magnitude == 0) magnitude = compare_bytes(a.whole, b.whole);
  if (magnitude == 0) magnitude = compare_bytes(a.fraction, b.fraction);
  return a.sign * magnitude;
}

// ---------------------------------------------------------------------------------- date and time

// 2024-03-02, 0044-03-15 BC, 12345-01-01 00:00:00.5, 0001-12-31 23:59:59+00 BC, infinity. Within a year the rest
// sorts as text: its parts have fixed widths but for the fraction, which has no trailing zeros. TimeZone is pinned, so
// that the only offset is +00.
struct Moment {
  std::int64_t year = 0;  // 1 BC is -1
  std::string_view rest;
};

// 03-02, or 03-02 01:02:03.45
bool is_month_and_rest(std::string_view text) {
  return text.size() >= 5 && text[2] == '-' &&
         text.find_first_not_of("0123456789:. ", 3) == std::string_view::npos;
}

Moment moment_of(std::string_view text) {
  constexpr std::int64_t kBeyondAllYears = std::int64_t{1} << 40U;
  if (text == "infinity") return {kBeyondAllYears, {}};
  if (text == "-infinity") return {-kBeyondAllYears, {}};
  std::string_view left = text;
  const bool before_christ = left.ends_with(" BC");
  if (before_christ) left.remove_suffix(3);
  if (left.size() > 3 && left.ends_with("+00")) left.remove_suffix(3);
  const auto dash = left.find('-');
  constexpr std::size_t kMostDigits = 9;
  if (dash == std::string_view::npos || dash == 0 || dash > kMostDigits ||
      !all_digits(left.substr(0, dash)) || !is_month_and_rest(left.substr(dash + 1))) {
    malformed("date or timestamp", text);
  }
  const std::int64_t year = integer_of(left.substr(0, dash));
  return {before_christ ? -year : year, left.substr(dash + 1)};
}

int compare_iso(std::string_view a, std::string_view b) {
  const auto is_time = [](std::string_view text) { return text.size() > 2 && text[2] == ':'; };
  if (is_time(a) && is_time(b)) return compare_bytes(a, b);
  const Moment x = moment_of(a), y = moment_of(b);
  if (x.year != y.year) return x.year < y.year ? -1 : 1;
  return compare_bytes(x.rest, y.rest);
}

const std::map<std::string_view, Comparison>& exact_types() {
  static const std::map<std::string_view, Comparison> types = {
      {"int2", Comparison::integer},
      {"int4", Comparison::integer},
      {"int8", Comparison::integer},
      {"oid", Comparison::integer},
      {"uuid", Comparison::uuid},
      {"bool", Comparison::boolean},
      {"bytea", Comparison::bytes},
      {"numeric", Comparison::numeric},
      {"date", Comparison::iso_date_time},
      {"time", Comparison::iso_date_time},
      {"timestamp", Comparison::iso_date_time},
      {"timestamptz", Comparison::iso_date_time},
      {"text", Comparison::c_text},
      {"varchar", Comparison::c_text},
      {"name", Comparison::c_text},
  };
  return types;
}

}  // namespace

Comparison comparison_of(const pg::TypeName& base_type, bool collation_is_c) {
  if (base_type.schema != "pg_catalog") return Comparison::ask;
  const auto found = exact_types().find(base_type.name);
  if (found == exact_types().end()) return Comparison::ask;
  if (found->second == Comparison::c_text && !collation_is_c) return Comparison::ask;
  return found->second;
}

int compare_text(Comparison comparison, std::string_view a, std::string_view b) {
  switch (comparison) {
    case Comparison::integer: return sign_of(integer_of(a) <=> integer_of(b));
    case Comparison::bytes: return compare_bytea(a, b);
    case Comparison::numeric: return compare_numeric(a, b);
    case Comparison::iso_date_time: return compare_iso(a, b);
    case Comparison::boolean: return compare_bytes(a.substr(0, 1), b.substr(0, 1));  // t; as text, true
    case Comparison::uuid:  // lower case, dashes in their places
    case Comparison::c_text: return compare_bytes(a, b);
    case Comparison::ask: break;
  }
  WALIGN_CHECK(comparison != Comparison::ask);
  return 0;
}

}  // namespace walign::backfill
