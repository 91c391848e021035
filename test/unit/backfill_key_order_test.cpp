// Comparing values by their text, and SQL made of keys. What a real server says of the same is in
// test/pg/key_order_test.cpp.
#include "backfill/key_order.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::backfill;

namespace {

// Every text against every other: groups ascend, texts within a group are equal.
void check_ascending(Comparison comparison, const std::vector<std::vector<std::string>>& groups) {
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (std::size_t j = 0; j < groups.size(); ++j) {
      for (const std::string& a : groups[i]) {
        for (const std::string& b : groups[j]) {
          INFO(a << " and " << b);
          CHECK(compare_text(comparison, a, b) == (i < j ? -1 : (i > j ? 1 : 0)));
        }
      }
    }
  }
}

bool is_malformed(Comparison comparison, const std::string& text) {
  try {
    compare_text(comparison, text, text);
    return false;
  } catch (const Error& error) {
    return error.kind() == ErrorKind::malformed && !error.hint().empty();
  }
}

Comparison of(const char* schema, const char* name, bool is_c) { return comparison_of({schema, name}, is_c); }

KeyColumn column(const char* name, const char* type, Comparison comparison, const char* collate = "") {
  return {name, type, collate, comparison};
}

}  // namespace

TEST_CASE("types whose order is known are compared here, all others are asked for") {
  for (const char* type : {"int2", "int4", "int8", "oid"})
    CHECK(of("pg_catalog", type, false) == Comparison::integer);
  for (const char* type : {"date", "time", "timestamp", "timestamptz"}) {
    CHECK(of("pg_catalog", type, false) == Comparison::iso_date_time);
  }
  CHECK(of("pg_catalog", "uuid", false) == Comparison::uuid);
  CHECK(of("pg_catalog", "bool", false) == Comparison::boolean);
  CHECK(of("pg_catalog", "bytea", false) == Comparison::bytes);
  CHECK(of("pg_catalog", "numeric", false) == Comparison::numeric);
  for (const char* type : {"text", "varchar", "name"}) {
    CHECK(of("pg_catalog", type, true) == Comparison::c_text);
    CHECK(of("pg_catalog", type, false) == Comparison::ask);
  }
  for (const char* type :
       {"bpchar", "char", "timetz", "interval", "float4", "float8", "inet", "_int4", "int4range", "money",
        "bit", "varbit", "jsonb", "macaddr", "xid8", "pg_lsn", "regclass"}) {
    CHECK(of("pg_catalog", type, true) == Comparison::ask);
  }
  CHECK(of("public", "citext", true) == Comparison::ask);
  CHECK(of("public", "int4", true) == Comparison::ask);
}

TEST_CASE("integers are compared by value") {
  check_ascending(Comparison::integer, {{"-9223372036854775808"},
                                        {"-10"},
                                        {"-9"},
                                        {"0"},
                                        {"7"},
                                        {"10"},
                                        {"4294967295"},
                                        {"9223372036854775807"}});
}

TEST_CASE("uuid, boolean and text are compared by bytes") {
  check_ascending(Comparison::uuid, {{"00000000-0000-0000-0000-000000000009"},
                                     {"00000000-0000-0000-0000-00000000000a"},
                                     {"9fffffff-0000-0000-0000-000000000000"},
                                     {"a0000000-0000-0000-0000-000000000000"}});
  check_ascending(Comparison::boolean, {{"f", "false"}, {"t", "true"}});
  check_ascending(Comparison::c_text,
                  {{""}, {" "}, {"A"}, {"AB"}, {"Z"}, {"a"}, {"a "}, {"z"}, {"\x7f"}, {"é"}, {"中"}, {"😀"}});
}

TEST_CASE("bytea is compared by unsigned bytes") {
  check_ascending(Comparison::bytes, {{"\\x"},
                                      {"\\x00"},
                                      {"\\x0000"},
                                      {"\\x09"},
                                      {"\\x0a"},
                                      {"\\x7f"},
                                      {"\\x80"},
                                      {"\\x9fff"},
                                      {"\\xa0"},
                                      {"\\xff"},
                                      {"\\xff00"}});
}

TEST_CASE("numeric is compared by value, whatever its scale and length") {
  check_ascending(Comparison::numeric, {{"-Infinity"},
                                        {"-123456789012345678901234567890.5"},
                                        {"-123456789012345678901234567890.49999"},
                                        {"-10"},
                                        {"-9.99"},
                                        {"-1.10", "-1.1", "-1.1000"},
                                        {"-1.0", "-1", "-1.000"},
                                        {"-0.5"},
                                        {"-0.05", "-0.050"},
                                        {"0", "0.0", "0.000", "-0", "-0.00"},
                                        {"0.000000000000000000000000000001"},
                                        {"0.05"},
                                        {"0.5", "0.50"},
                                        {"1", "1.0", "1.00"},
                                        {"1.0000000000000000000000000001"},
                                        {"1.1", "1.10"},
                                        {"9.99"},
                                        {"10", "10.0"},
                                        {"100"},
                                        {"123456789012345678901234567890"},
                                        {"123456789012345678901234567890.1"},
                                        {"123456789012345678901234567891"},
                                        {"Infinity"},
                                        {"NaN"}});
}

TEST_CASE("dates are compared across eras, long years and infinities") {
  check_ascending(Comparison::iso_date_time, {{"-infinity"},
                                              {"4713-01-01 BC"},
                                              {"0044-03-15 BC"},
                                              {"0044-03-16 BC"},
                                              {"0001-12-31 BC"},
                                              {"0001-01-01"},
                                              {"1999-12-31"},
                                              {"2024-02-29"},
                                              {"2024-03-01"},
                                              {"9999-12-31"},
                                              {"10000-01-01"},
                                              {"5874897-12-31"},
                                              {"infinity"}});
}

TEST_CASE("timestamps are compared across eras and fractions of different length") {
  for (const std::string offset : {"", "+00"}) {
    const auto at = [&](const char* time, const char* era = "") { return std::vector{time + offset + era}; };
    check_ascending(Comparison::iso_date_time, {{"-infinity"},
                                                at("4713-11-24 00:00:00", " BC"),
                                                at("0044-03-15 12:00:00", " BC"),
                                                at("0044-03-15 12:00:00.000001", " BC"),
                                                at("0044-03-15 12:00:00.5", " BC"),
                                                at("0001-01-01 00:00:00"),
                                                at("2024-03-02 01:02:03"),
                                                at("2024-03-02 01:02:03.000001"),
                                                at("2024-03-02 01:02:03.1"),
                                                at("2024-03-02 01:02:03.12"),
                                                at("2024-03-02 01:02:03.123456"),
                                                at("2024-03-02 01:02:03.13"),
                                                at("2024-03-02 01:02:04"),
                                                at("294276-12-31 23:59:59.999999"),
                                                {"infinity"}});
  }
}

TEST_CASE("times of day are compared up to 24:00") {
  check_ascending(Comparison::iso_date_time, {{"00:00:00"},
                                              {"00:00:00.000001"},
                                              {"01:02:03"},
                                              {"01:02:03.4"},
                                              {"01:02:03.45"},
                                              {"01:02:03.5"},
                                              {"23:59:59.999999"},
                                              {"24:00:00"}});
}

TEST_CASE("a text that its type cannot have is refused") {
  for (const char* text : {"", "x", "1.5", "1 ", "+1", "9223372036854775808"}) {
    CHECK(is_malformed(Comparison::integer, text));
  }
  for (const char* text : {"", "abc", "\\", "x00"}) CHECK(is_malformed(Comparison::bytes, text));
  for (const char* text : {"", "-", ".", ".5", "1e5", "1.2.3", "nan", "+1", "1 "}) {
    CHECK(is_malformed(Comparison::numeric, text));
  }
  for (const char* text :
       {"", "2024", "-5", "03/02/2024", "2024-03-02 01:02:03+05:30", "2024-03-02 01:02:03-08",
        "99999999999999999999-01-01", "x-01-01", "Infinity", "BC", " BC"}) {
    CHECK(is_malformed(Comparison::iso_date_time, text));
  }
  CHECK_THROWS_AS(compare_text(Comparison::ask, "a", "b"), Error);
}

TEST_CASE("a range is a row comparison with literals of the columns' types") {
  const std::vector<KeyColumn> one = {column("id", "\"pg_catalog\".\"int4\"", Comparison::integer)};
  CHECK(range_condition(one, {}) == "true");
  CHECK(range_condition(one, {{Key{"1"}, false}, {}}) == R"("id" >= '1'::"pg_catalog"."int4")");
  CHECK(range_condition(one, {{Key{"1"}, true}, {}}) == R"("id" > '1'::"pg_catalog"."int4")");
  CHECK(range_condition(one, {{}, {Key{"9"}, false}}) == R"("id" < '9'::"pg_catalog"."int4")");
  CHECK(range_condition(one, {{Key{"1"}, true}, {Key{"9"}, true}}) ==
        R"("id" > '1'::"pg_catalog"."int4" AND "id" <= '9'::"pg_catalog"."int4")");

  const std::vector<KeyColumn> two = {
      column("a\"b", "\"public\".\"mood\"", Comparison::ask),
      column("t", "\"pg_catalog\".\"text\"", Comparison::ask, "COLLATE \"public\".\"de\"")};
  CHECK(range_condition(two, {{Key{"o'k", "\\"}, true}, {}}) ==
        R"(("a""b", "t") > ('o''k'::"public"."mood", E'\\'::"pg_catalog"."text" COLLATE "public"."de"))");
  CHECK(order_by(two) == R"("a""b", "t" COLLATE "public"."de")");
  CHECK_THROWS_AS(range_condition(two, {{Key{"1"}, true}, {}}), Error);
}

TEST_CASE("operators that are not PostgreSQL's own are named with their schema") {
  std::vector<KeyColumn> columns = {column("a", "\"x\".\"citext\"", Comparison::ask),
                                    column("b", "\"x\".\"citext\"", Comparison::ask)};
  for (KeyColumn& c : columns) c.operators = "x";
  CHECK(range_condition(columns, {{Key{"1", "2"}, true}, {}}) ==
        R"(("a", "b") OPERATOR("x".>) ('1'::"x"."citext", '2'::"x"."citext"))");
  columns[1] = column("b", "int4", Comparison::integer);
  columns.push_back(column("c", "int2", Comparison::integer));
  const std::string a = R"("a" OPERATOR("x".)", one = R"() '1'::"x"."citext")";
  CHECK(range_condition(columns, {{Key{"1", "2", "3"}, true}, {Key{"1", "2", "3"}, true}}) ==
        a + ">=" + one + " AND (" + a + ">" + one +
            R"( OR "b" >= '2'::int4 AND ("b" > '2'::int4 OR "c" > '3'::int2)) AND )" + a + "<=" + one +
            " AND (" + a + "<" + one + R"( OR "b" <= '2'::int4 AND ("b" < '2'::int4 OR "c" <= '3'::int2)))");
}
