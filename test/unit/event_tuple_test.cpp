#include "event/builtin_types.hpp"
#include "event/utf8.hpp"
#include "support/catch.hpp"
#include "walign/event.hpp"

using namespace walign;
using event::State;
using event::Value;

namespace {

std::vector<Value> values_of(const v1::Tuple& tuple) {
  std::vector<Value> out;
  event::for_each_value(tuple, [&](int i, const Value& value) {
    CHECK(i == static_cast<int>(out.size()));
    out.push_back(value);
  });
  return out;
}

bool same(const Value& a, const Value& b) {
  return a.state == b.state && a.bytes == b.bytes && a.binary == b.binary;
}

}  // namespace

TEST_CASE("values that are appended to a row are read again in their states") {
  const std::vector<Value> row = {{State::value, "one", false},
                                  {State::null, {}, false},
                                  {State::value, "", false},
                                  {State::unchanged_toast, {}, false},
                                  {State::value, std::string_view("\0\1", 2), true},
                                  {State::not_sent, {}, false},
                                  {State::value, "", true},
                                  {State::value, "last", false}};
  v1::Tuple tuple;
  for (const Value& value : row) event::append_value(tuple, value);
  event::validate(tuple);
  const auto read = values_of(tuple);
  REQUIRE(read.size() == row.size());
  for (std::size_t i = 0; i < row.size(); ++i) CHECK(same(read[i], row[i]));
}

TEST_CASE("a row of text has no binary flags") {
  v1::Tuple tuple;
  event::append_value(tuple, {State::value, "a", false});
  CHECK(tuple.binary().empty());
  CHECK(tuple.lengths(0) == event::kFirstLength + 1);
}

TEST_CASE("NULL, unchanged TOAST and not sent have the codes that are written down") {
  v1::Tuple tuple;
  for (const State state : {State::null, State::unchanged_toast, State::not_sent}) {
    event::append_value(tuple, {state, {}, false});
  }
  CHECK(tuple.lengths(0) == 0);
  CHECK(tuple.lengths(1) == 1);
  CHECK(tuple.lengths(2) == 2);
  CHECK(tuple.values().empty());
}

TEST_CASE("a row whose lengths do not add up to its bytes is refused") {
  v1::Tuple tuple;
  event::validate(tuple);
  tuple.set_values("abc");
  CHECK_THROWS_AS(event::validate(tuple), Error);
  tuple.add_lengths(event::kFirstLength + 2);
  CHECK_THROWS_AS(event::validate(tuple), Error);
  tuple.add_lengths(event::kFirstLength + 1);
  event::validate(tuple);
  tuple.add_lengths(event::kNull);
  event::validate(tuple);
  tuple.set_binary("\1\0\1", 3);
  event::validate(tuple);
  tuple.set_binary("\1\0\1\1", 4);
  CHECK_THROWS_AS(event::validate(tuple), Error);
}

TEST_CASE("lengths that overflow 32 bits together are refused") {
  v1::Tuple tuple;
  tuple.set_values("ab");
  tuple.add_lengths(0xFFFFFFFF);               // 2^32 - 4 bytes
  tuple.add_lengths(event::kFirstLength + 6);  // together 2^32 + 2
  CHECK_THROWS_AS(event::validate(tuple), Error);
}

TEST_CASE("built-in types have PostgreSQL's names, others none") {
  CHECK(event::builtin_type_name(16) == "bool");
  CHECK(event::builtin_type_name(23) == "int4");
  CHECK(event::builtin_type_name(1009) == "_text");
  CHECK(event::builtin_type_name(1700) == "numeric");
  CHECK(event::builtin_type_name(3802) == "jsonb");
  CHECK(event::builtin_type_name(0).empty());
  CHECK(event::builtin_type_name(15).empty());
  CHECK(event::builtin_type_name(9999).empty());
}

TEST_CASE("UTF-8 is told from what is not") {
  for (const char* good : {"", "plain", "\x7F", "\xC2\x80", "Größe", "日本", "😀", "\xED\x9F\xBF",
                           "\xEE\x80\x80", "\xF4\x8F\xBF\xBF", "\xE0\xA0\x80", "\xF0\x90\x80\x80"}) {
    CHECK(event::is_utf8(good));
  }
  for (const char* bad :
       {"\x80", "\xC1\xBF", "\xC3", "a\xC3", "\xC3(", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xE2\x82", "\xE2\x82(",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xF0\x9F\x98",
        "Gr\xF6\xDF"
        "e"}) {
    CHECK_FALSE(event::is_utf8(bad));
  }
}
