// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Text in and out of the configuration: UTF-8, quantities with units, names of tables, spelling.
#pragma once

#include "walign/config.hpp"

namespace walign::config {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::optional<std::size_t> first_invalid_utf8(std::string_view text);
std::size_t count_characters(std::string_view utf8);

// --------------------------------------------------------------------------------------- quantities

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
std::span<const Unit> size_units();      // bytes, from the smallest
std::span<const Unit> duration_units();  // milliseconds

enum class QuantityFault { none, no_number, unknown_unit, no_unit, too_large };
struct Quantity {
  std::int64_t value = 0;
  QuantityFault fault = QuantityFault::none;
};
// A whole number and a unit, with or without a space between.
Quantity parse_quantity(std::string_view text, std::span<const Unit> units, bool bare_is_base);
// In the largest unit that divides it.
std::string format_quantity(std::int64_t value, std::span<const Unit> units);
std::optional<std::int64_t> parse_integer(std::string_view text);  // an optional '-', digits

// -------------------------------------------------------------------------------------------- names

struct ParsedName {
  TableName name;
  bool wildcard = false;
  std::string fault;  // empty: none
  std::string hint;
};
ParsedName parse_table_name(std::string_view text);
// "a.b: c.d" in two, at the first ": " outside double quotes.
std::optional<std::pair<std::string_view, std::string_view>> split_pair(std::string_view text);

// ----------------------------------------------------------------------------------------- spelling

// The candidate that `word` is probably a misspelling of.
std::optional<std::string_view> nearest(std::string_view word, std::span<const std::string_view> candidates);

// ---------------------------------------------------------------------------------- connection strings

struct TextFault {
  std::string what;  // empty: none; never has any of the text in it
  std::string hint;
};
// Checks the form only; which parameters exist is for libpq to say.
TextFault check_connection_string(std::string_view text);

}  // namespace walign::config
