// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Connection strings: what must not be shown of them, and whether they have the right form. Where a text
// can be read in two ways, masking takes the one that hides more.
#include <array>

#include "mapping/config_text.hpp"

namespace walign::config {

namespace {

constexpr std::string_view kMask = "***";
constexpr auto kNowhere = std::string_view::npos;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '%';
}

std::optional<unsigned char> hex_byte(std::string_view two) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(two.data(), two.data() + two.size(), value, 16);
  if (two.size() != 2 || error != std::errc() || end != two.data() + 2) return std::nullopt;
  return static_cast<unsigned char>(value);
}

// Percent codes decoded and letters folded: pass%57ord is still password.
std::string plain_keyword(std::string_view word) {
  std::string out;
  for (std::size_t i = 0; i < word.size(); ++i) {
    const auto byte = word[i] == '%' ? hex_byte(word.substr(i + 1, 2)) : std::nullopt;
    auto c = byte ? static_cast<char>(*byte) : word[i];
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    out += c;
    if (byte) i += 2;
  }
  return out;
}

// password, sslpassword, oauth_client_secret, scram_client_key, scram_server_key; passfile names a file.
bool is_secret_keyword(std::string_view word) {
  const auto plain = plain_keyword(word);
  return plain.ends_with("password") || plain.ends_with("secret") || plain == "scram_client_key" ||
         plain == "scram_server_key";
}

// Where a parameter's value ends: after its closing quote, or before one of `stops`. kNowhere for a
// quote that is not closed.
std::size_t find_value_end(std::string_view text, std::size_t at, std::string_view stops) {
  const bool quoted = at < text.size() && text[at] == '\'';
  for (std::size_t i = quoted ? at + 1 : at; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (quoted ? text[i] == '\'' : stops.find(text[i]) != kNowhere) {
      return quoted ? i + 1 : i;
    }
  }
  return quoted ? kNowhere : text.size();
}

// The word that ends before `end`, spaces passed over.
std::string_view word_before(std::string_view text, std::size_t end) {
  while (end > 0 && is_space(text[end - 1])) --end;
  auto begin = end;
  while (begin > 0 && is_word(text[begin - 1])) --begin;
  return text.substr(begin, end - begin);
}

std::string mask_parameters(std::string_view text, std::string_view stops) {
  std::string out;
  std::size_t copied = 0;
  for (auto equals = text.find('='); equals != kNowhere;
       equals = text.find('=', std::max(equals + 1, copied))) {
    if (!is_secret_keyword(word_before(text, equals))) continue;
    auto begin = equals + 1;
    while (begin < text.size() && is_space(text[begin])) ++begin;
    // What stands right behind a closing quote belongs to a mistake in the value.
    auto end = std::min(find_value_end(text, begin, stops), text.size());
    while (end < text.size() && stops.find(text[end]) == kNowhere) ++end;
    out += text.substr(copied, begin - copied);
    if (end > begin) out += kMask;
    copied = end;
  }
  return out += text.substr(copied);
}

// Where the part of a URL that can hold user:password ends: at an '@', or kNowhere. Passwords that
// should have been percent-encoded may have '@', '/' and '?' in them, so this is the last '@' that is
// not plainly in the parameters.
std::size_t userinfo_end(std::string_view rest) {
  auto end = rest.find('@');
  if (end == kNowhere) return end;
  const auto query = rest.find('?', end);
  const auto equals = query == kNowhere ? kNowhere : rest.find('=', query);
  const bool parameters = equals != kNowhere && equals > query + 1 &&
                          std::all_of(rest.begin() + static_cast<std::ptrdiff_t>(query) + 1,
                                      rest.begin() + static_cast<std::ptrdiff_t>(equals), is_word);
  return rest.rfind('@', parameters ? query : kNowhere);
}

// `rest` follows "://".
std::string mask_url(std::string_view rest, std::string_view stops) {
  const auto end = userinfo_end(rest);
  const auto colon = rest.find(':');
  if (end != kNowhere && colon < end) {
    const auto mask = colon + 1 < end ? kMask : std::string_view();
    return cat(rest.substr(0, colon + 1), mask, mask_parameters(rest.substr(end), stops));
  }
  // No '@': what should be a port but is not a number may be a password cut short.
  const bool port =
      colon != kNowhere && colon + 1 < rest.size() && rest[colon + 1] >= '0' && rest[colon + 1] <= '9';
  if (end == kNowhere && colon != kNowhere && !port && !rest.starts_with('[')) {
    const auto stop = std::min(rest.find_first_of("/?", colon), rest.size());
    const auto mask = stop > colon + 1 ? kMask : std::string_view();
    return cat(rest.substr(0, colon + 1), mask, mask_parameters(rest.substr(stop), stops));
  }
  return mask_parameters(rest, stops);
}

}  // namespace

std::string mask_secrets(std::string_view connection_string) {
  constexpr std::string_view kSpaces = " \t\n\v\f\r";
  const auto scheme = connection_string.find("://");
  if (scheme == kNowhere) return mask_parameters(connection_string, kSpaces);
  // In a URL of its own a space ends nothing; inside dbname=... it ends the URL.
  const bool whole = connection_string.starts_with("postgres");
  const auto head = connection_string.substr(0, scheme + 3);
  return mask_parameters(head, kSpaces) +
         mask_url(connection_string.substr(scheme + 3), whole ? "&" : "& \t\n\v\f\r'");
}

// --------------------------------------------------------------------------------------------- form

namespace {

TextFault check_url(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_space(text[i])) return {cat("has a space at character ", i + 1), "write it as %20"};
    if (text[i] == '%' && !hex_byte(text.substr(i + 1, 2))) {
      return {cat("has a '%' at character ", i + 1, " without two hexadecimal digits"),
              "write a '%' itself as %25"};
    }
  }
  return {};
}

TextFault check_parameters(std::string_view text) {
  std::size_t at = 0;
  const auto skip_spaces = [&] {
    while (at < text.size() && is_space(text[at])) ++at;
  };
  for (skip_spaces(); at < text.size(); skip_spaces()) {
    const auto begin = at;
    while (at < text.size() && is_word(text[at]) && text[at] != '%') ++at;
    const bool named = at > begin;
    skip_spaces();
    if (!named || at == text.size() || text[at] != '=') {
      return {cat("has no key=value at character ", begin + 1),
              "write postgresql://user@host/database, or host=... dbname=..."};
    }
    ++at;
    skip_spaces();
    const auto end = find_value_end(text, at, " \t\n\v\f\r");
    if (end == kNowhere) {
      return {cat("has a quote at character ", at + 1, " that is not closed"),
              "write \\' for a quote inside a value"};
    }
    at = end;
  }
  return {};
}

}  // namespace

TextFault check_connection_string(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), is_space)) {
    return {"is empty", "write postgresql://user@host/database, or host=... dbname=..."};
  }
  if (text.starts_with("postgresql://") || text.starts_with("postgres://")) return check_url(text);
  const auto scheme = text.find("://");
  if (scheme != kNowhere && text.substr(0, scheme).find('=') == kNowhere) {
    return {"is a URL of something else", "begin it with postgresql://"};
  }
  return check_parameters(text);
}

}  // namespace walign::config
