// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Texts of a database whose encoding is SQL_ASCII can be any bytes; what is kept of differences must be UTF-8.
#pragma once

#include "walign/base.hpp"

namespace walign::verify {

inline bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t size = lead < 0x80   ? 1
                             : lead < 0xC2 ? 0
                             : lead < 0xE0 ? 2
                             : lead < 0xF0 ? 3
                             : lead < 0xF5 ? 4
                                           : 0;
    if (size == 0 || size > text.size() - i) return false;
    for (std::size_t k = 1; k < size; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0U) != 0x80U) return false;
    }
    const auto second = size > 2 ? static_cast<unsigned char>(text[i + 1]) : 0;
    // Overlong, a surrogate, or past the last code point.
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) {
      return false;
    }
    i += size;
  }
  return true;
}

// The text, or where it is not UTF-8, a question mark for each byte that is not ASCII.
inline std::string shown(std::string text) {
  if (is_utf8(text)) return text;
  for (char& c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return text;
}

}  // namespace walign::verify
