// Are two results the same? Judged by the servers, in SQL, and by nothing of walign's.
//
//   const auto result = compare_tables(source, "SELECT id, upper(name) FROM users",
//                                      target, "SELECT legacy_id, label FROM app.people");
//   INFO(result.report());
//   CHECK(result.equal());
//
// Results are compared exactly, as multisets of rows, each row as the text of row(...)::text in UTF-8:
// the same rows in any order, as many times. Columns are taken by position, so both queries should list
// theirs, and cast where the types differ in how they print. Each server hashes its own rows (md5);
// texts of rows are fetched only for those that differ.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/sql.hpp"

namespace walign::test {

struct Comparison {
  std::int64_t rows_a = 0;
  std::int64_t rows_b = 0;
  std::int64_t only_a = 0;  // rows (counted as often as they occur) that the other side lacks
  std::int64_t only_b = 0;
  std::vector<std::string> differences;  // the first ten, "only in a: (1,x)"

  [[nodiscard]] bool equal() const { return only_a == 0 && only_b == 0; }
  [[nodiscard]] std::string report() const;  // one paragraph for INFO()
};

Comparison compare_tables(Sql& a, const std::string& query_a, Sql& b, const std::string& query_b);
// Two tables, all columns; names as SQL has them: public.users, "Größe"."Ünïcode Tabelle".
Comparison compare_same(Sql& a, Sql& b, const std::string& table);

}  // namespace walign::test
