// What is kept of texts that may be any bytes.
#include "support/catch.hpp"
#include "verify/shown.hpp"

using namespace walign::verify;

TEST_CASE("UTF-8 is shown as it is, other bytes as question marks") {
  for (const char* text : {"", "abc", "é", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"}) {
    CHECK(is_utf8(text));
    CHECK(shown(text) == text);
  }
  for (const char* text : {"\xE9", "a\x80", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                           "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "\xFF"}) {
    INFO(text);
    CHECK_FALSE(is_utf8(text));
  }
  CHECK(shown("caf\xE9!") == "caf?!");
}
