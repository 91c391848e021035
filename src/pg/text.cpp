// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <array>

#include "walign/pg.hpp"

namespace walign::pg {

namespace {

void put_u32(std::string& out, std::uint32_t value) {
  const std::array<char, 4> bytes = {static_cast<char>(value >> 24U), static_cast<char>(value >> 16U),
                                     static_cast<char>(value >> 8U), static_cast<char>(value)};
  out.append(bytes.data(), bytes.size());
}

void set_u32(std::string& out, std::size_t at, std::uint32_t value) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out[at++] = static_cast<char>((value >> shift) & 0xFFU);
}

constexpr Oid kTextOid = 25;
// array_recv: dimensions, has-null flag, element type, then length and lower bound of each dimension.
constexpr std::size_t kHasNullAt = 4;
constexpr std::size_t kCountAt = 12;

}  // namespace

std::string quote_ident(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out += '"';
}

std::string quote_literal(std::string_view text) {
  const bool escapes = text.find('\\') != std::string_view::npos;
  std::string out = escapes ? "E'" : "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  return out += '\'';
}

std::string qualified(std::string_view schema, std::string_view name) {
  return cat(quote_ident(schema), ".", quote_ident(name));
}

void TextArray::clear() {
  buffer_.clear();
  count_ = 0;
  put_u32(buffer_, 1);
  put_u32(buffer_, 0);
  put_u32(buffer_, kTextOid);
  put_u32(buffer_, 0);
  put_u32(buffer_, 1);
}

void TextArray::add(std::string_view value) {
  put_u32(buffer_, static_cast<std::uint32_t>(value.size()));
  buffer_ += value;
  count_one();
}

void TextArray::add_null() {
  put_u32(buffer_, 0xFFFFFFFFU);
  set_u32(buffer_, kHasNullAt, 1);
  count_one();
}

void TextArray::count_one() { set_u32(buffer_, kCountAt, ++count_); }

Param TextArray::param() const { return {buffer_, kTextArrayOid, true, false}; }

}  // namespace walign::pg
