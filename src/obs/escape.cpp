// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "obs/escape.hpp"

namespace walign::obs {

namespace {

struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 1;
  bool valid = false;
};

// The bytes that a UTF-8 sequence has according to its first; 0 if none begins so.
std::size_t sequence_bytes(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first < 0xE0) return 2;
  if (first >= 0xE0 && first < 0xF0) return 3;
  if (first >= 0xF0 && first < 0xF5) return 4;
  return 0;
}

// The first character of `text`, which is not empty. Overlong forms, surrogates and what lies above
// U+10FFFF are not valid; an invalid byte is passed over alone.
Character next_character(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const std::size_t bytes = sequence_bytes(first);
  if (bytes == 1) return {first, 1, true};
  if (bytes == 0 || bytes > text.size()) return {first, 1, false};
  std::uint32_t code = first & (0x7FU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xC0U) != 0x80U) return {first, 1, false};
    code = (code << 6U) | (byte & 0x3FU);
  }
  const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  if (overlong || surrogate || code > 0x10FFFF) return {first, 1, false};
  return {code, bytes, true};
}

bool is_control(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029;
}

void append_hex(std::string& out, std::uint32_t code, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += "0123456789abcdef"[(code >> static_cast<unsigned>(shift)) & 0xFU];
  }
}

// \n, \r and \t are the same in both forms.
bool append_short_escape(std::string& out, std::uint32_t code) {
  switch (code) {
    case '\n': out += "\\n"; return true;
    case '\r': out += "\\r"; return true;
    case '\t': out += "\\t"; return true;
    default: return false;
  }
}

void append_text_escape(std::string& out, std::uint32_t code) {
  if (append_short_escape(out, code)) return;
  out += code < 0x100 ? "\\x" : "\\u";
  append_hex(out, code, code < 0x100 ? 2 : 4);
}

void append_json_escape(std::string& out, std::uint32_t code) {
  if (append_short_escape(out, code)) return;
  out += "\\u";
  append_hex(out, code, 4);
}

// `escape_quotes`: also " and backslash. Sets `escaped` when anything was not as it was.
std::string escaped_text(std::string_view text, bool escape_quotes, bool& escaped) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character at = next_character(text);
    if (!at.valid || is_control(at.code)) {
      escaped = true;
      append_text_escape(out, at.code);
    } else {
      if (escape_quotes && (at.code == '"' || at.code == '\\')) out += '\\';
      out += text.substr(0, at.bytes);
    }
    text.remove_prefix(at.bytes);
  }
  return out;
}

}  // namespace

std::string escape_text(std::string_view text) {
  bool escaped = false;
  return escaped_text(text, false, escaped);
}

std::string quote_text(std::string_view value) {
  bool needs_quotes = value.empty() || value.find_first_of(" \"=") != std::string_view::npos;
  std::string quoted = escaped_text(value, true, needs_quotes);
  return needs_quotes ? cat('"', quoted, '"') : std::string(value);
}

std::string quote_json(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const Character at = next_character(text);
    if (!at.valid) {
      out += "\xEF\xBF\xBD";
    } else if (is_control(at.code)) {
      append_json_escape(out, at.code);
    } else {
      if (at.code == '"' || at.code == '\\') out += '\\';
      out += text.substr(0, at.bytes);
    }
    text.remove_prefix(at.bytes);
  }
  out += '"';
  return out;
}

}  // namespace walign::obs
