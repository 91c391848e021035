// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "spacing.hpp"

#include <array>
#include <charconv>
#include <limits>

namespace walign::backfill {

namespace {

// Integers as they sort, from 0 on: the smallest int8 is 0.
constexpr std::uint64_t kSign = std::uint64_t{1} << 63U;
constexpr std::size_t kFirstHalf = 18;  // of 01234567-89ab-cdef-0123-456789abcdef
constexpr std::string_view kSecondHalf = "-0000-000000000000";

template <class Number>
std::optional<Number> parsed(std::string_view digits, int base) {
  Number number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> place_of(Comparison numbers, std::string_view text) {
  if (numbers == Comparison::integer) {
    const auto number = parsed<std::int64_t>(text, 10);
    return number ? std::optional(static_cast<std::uint64_t>(*number) ^ kSign) : std::nullopt;
  }
  std::string digits(text.substr(0, kFirstHalf));
  std::erase(digits, '-');
  return digits.size() == 16 ? parsed<std::uint64_t>(digits, 16) : std::nullopt;
}

std::string text_at(Comparison numbers, std::uint64_t place) {
  if (numbers == Comparison::integer) return cat(static_cast<std::int64_t>(place ^ kSign));
  std::array<char, 17> hex{};
  std::snprintf(hex.data(), hex.size(), "%016llx", static_cast<unsigned long long>(place));
  const std::string_view digits(hex.data(), 16);
  return cat(digits.substr(0, 8), "-", digits.substr(8, 4), "-", digits.substr(12), kSecondHalf);
}

}  // namespace

Spacing::Spacing(const std::vector<KeyColumn>& key) {
  if (key.size() != 1) return;
  const auto comparison = key.front().comparison;
  if (comparison == Comparison::integer || comparison == Comparison::uuid) numbers_ = comparison;
}

std::optional<Spacing::Ends> Spacing::ends_of(const Range& range) const {
  if (!numbers_ || !range.lower.key || !range.upper.key) return std::nullopt;
  const auto lower = place_of(*numbers_, range.lower.key->front());
  const auto upper = place_of(*numbers_, range.upper.key->front());
  if (!lower || !upper || *lower >= *upper) return std::nullopt;
  return Ends{*lower, *upper};
}

void Spacing::learn(const Range& range, std::int64_t rows, std::int64_t planned) {
  const auto ends = ends_of(range);
  const bool as_planned = rows > 0 && rows >= planned / 4 && rows <= 4 * planned;
  per_row_ =
      ends && as_planned ? static_cast<double>(ends->upper - ends->lower) / static_cast<double>(rows) : 0;
}

std::optional<Bound> Spacing::cut(const Range& range, std::int64_t rows) const {
  const auto ends = ends_of(range);
  if (!ends || per_row_ <= 0) return std::nullopt;
  const double step = std::max(1.0, per_row_ * static_cast<double>(rows));
  const auto left = static_cast<double>(ends->upper - ends->lower);
  // No small rest.
  if (left <= 1.5 * step) return range.upper;
  return Bound{Key{text_at(*numbers_, ends->lower + static_cast<std::uint64_t>(step))}, false};
}

std::optional<std::uint64_t> Spacing::room(const Range& range) const {
  if (numbers_ != Comparison::integer) return std::nullopt;
  const auto ends = ends_of(range);
  if (!ends) return std::nullopt;
  const auto between = ends->upper - ends->lower;
  return between + (between < std::numeric_limits<std::uint64_t>::max() ? 1 : 0);
}

}  // namespace walign::backfill
