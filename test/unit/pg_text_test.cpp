// Quoting, arrays and error kinds: what other rooms build statements from.
#include "pg/failure.hpp"
#include "support/catch.hpp"
#include "walign/pg.hpp"

using namespace walign;

TEST_CASE("identifiers are always quoted, and quotes in them doubled") {
  CHECK(pg::quote_ident("users") == R"("users")");
  CHECK(pg::quote_ident("User \"x\"") == R"("User ""x""")");
  CHECK(pg::quote_ident("") == R"("")");
  CHECK(pg::qualified("public", "a.b") == R"("public"."a.b")");
}

TEST_CASE("literals double quotes, and backslashes in an E string") {
  CHECK(pg::quote_literal("it's") == "'it''s'");
  CHECK(pg::quote_literal("") == "''");
  CHECK(pg::quote_literal("a\\b'") == "E'a\\\\b'''");
  CHECK(pg::quote_literal("line\nbreak") == "'line\nbreak'");
}

TEST_CASE("a text array has the bytes that array_recv takes") {
  using namespace std::string_literals;
  pg::TextArray array;
  const std::string head_without = "\0\0\0\1\0\0\0\0\0\0\0\x19"s;
  const std::string head_with = "\0\0\0\1\0\0\0\1\0\0\0\x19"s;
  CHECK(array.param().bytes == head_without + "\0\0\0\0\0\0\0\1"s);
  array.add("ab");
  array.add("");
  CHECK(array.size() == 2);
  CHECK(array.param().bytes == head_without + "\0\0\0\2\0\0\0\1"s + "\0\0\0\2ab"s + "\0\0\0\0"s);
  array.add_null();
  const auto param = array.param();
  CHECK(param.bytes == head_with + "\0\0\0\3\0\0\0\1"s + "\0\0\0\2ab"s + "\0\0\0\0"s + "\xFF\xFF\xFF\xFF"s);
  CHECK(param.type == pg::kTextArrayOid);
  CHECK(param.binary);
  CHECK_FALSE(param.null);
  CHECK(array.bytes() == param.bytes.size());
  array.clear();
  CHECK(array.size() == 0);
  CHECK(array.param().bytes == head_without + "\0\0\0\0\0\0\0\1"s);  // the NULL is forgotten too
}

TEST_CASE("an SQLSTATE tells what kind of error it is") {
  const std::vector<std::pair<const char*, ErrorKind>> kinds = {
      {"", ErrorKind::connection},        {"08006", ErrorKind::connection},
      {"57P01", ErrorKind::connection},   {"57P03", ErrorKind::connection},
      {"40001", ErrorKind::transient},    {"40P01", ErrorKind::transient},
      {"53300", ErrorKind::transient},    {"55P03", ErrorKind::transient},
      {"55006", ErrorKind::transient},    {"57014", ErrorKind::transient},
      {"28P01", ErrorKind::precondition}, {"3D000", ErrorKind::precondition},
      {"42501", ErrorKind::precondition}, {"55000", ErrorKind::precondition},
      {"53400", ErrorKind::precondition}, {"23505", ErrorKind::query},
      {"22P02", ErrorKind::query},        {"42P01", ErrorKind::query},
      {"WA001", ErrorKind::query},
  };
  for (const auto& [state, kind] : kinds) {
    INFO(state);
    CHECK(pg::kind_of_sqlstate(state) == kind);
  }
}
