#include "support/compare.hpp"

#include <algorithm>
#include <map>

namespace walign::test {

namespace {

constexpr std::size_t kShown = 10;

// Hash of a row's text and how often it occurs. UTF-8 before hashing: the text of equal rows has other
// bytes in a database of another encoding.
using Counts = std::map<std::string, std::int64_t>;

std::string texts(const std::string& query) {
  return "(SELECT row(q.*)::text AS t FROM (" + query + ") AS q) AS r";
}

constexpr const char* kHash = "md5(convert_to(t, 'UTF8'))";

Counts hash_rows(Sql& db, const std::string& query) {
  Counts counts;
  for (const auto& row :
       db.rows(std::string("SELECT ") + kHash + ", count(*) FROM " + texts(query) + " GROUP BY 1")) {
    counts[row[0].value()] = std::stoll(row[1].value());
  }
  return counts;
}

std::int64_t total(const Counts& counts) {
  std::int64_t sum = 0;
  for (const auto& [hash, count] : counts) sum += count;
  return sum;
}

// What `a` has more often than `b`.
Counts excess(const Counts& a, const Counts& b) {
  Counts out;
  for (const auto& [hash, count] : a) {
    const auto other = b.find(hash);
    const std::int64_t more = count - (other == b.end() ? 0 : other->second);
    if (more > 0) out[hash] = more;
  }
  return out;
}

void fetch_texts(Sql& db, const std::string& query, const Counts& lacking, const std::string& side,
                 std::vector<std::string>& out) {
  if (lacking.empty()) return;
  std::string hashes = "{";
  for (const auto& [hash, count] : lacking) hashes += (hashes.size() > 1 ? "," : "") + hash;
  const std::string shown = "left(min(t), 2000)";
  const auto rows = db.rows(std::string("SELECT ") + kHash + ", " + shown + " FROM " + texts(query) +
                                " WHERE " + kHash + " = ANY ($1::text[]) GROUP BY 1 ORDER BY " + shown +
                                " COLLATE \"C\" LIMIT " + std::to_string(kShown),
                            {hashes + "}"});
  for (const auto& row : rows) {
    const std::int64_t count = lacking.at(row[0].value());
    const std::string times = count == 1 ? "" : " (" + std::to_string(count) + " times)";
    out.push_back("only in " + side + times + ": " + row[1].value());
  }
}

}  // namespace

Comparison compare_tables(Sql& a, const std::string& query_a, Sql& b, const std::string& query_b) {
  const Counts counts_a = hash_rows(a, query_a);
  const Counts counts_b = hash_rows(b, query_b);
  const Counts only_a = excess(counts_a, counts_b);
  const Counts only_b = excess(counts_b, counts_a);
  Comparison out{total(counts_a), total(counts_b), total(only_a), total(only_b), {}};
  std::vector<std::string> from_b;
  fetch_texts(a, query_a, only_a, "a", out.differences);
  fetch_texts(b, query_b, only_b, "b", from_b);
  // Both sides are shown, half each, when there are too many: a changed row is in both.
  const std::size_t keep_a = std::max(kShown / 2, kShown - std::min(kShown, from_b.size()));
  if (out.differences.size() > keep_a) out.differences.resize(keep_a);
  for (const auto& text : from_b) {
    if (out.differences.size() < kShown) out.differences.push_back(text);
  }
  return out;
}

Comparison compare_same(Sql& a, Sql& b, const std::string& table) {
  return compare_tables(a, "TABLE " + table, b, "TABLE " + table);
}

std::string Comparison::report() const {
  std::string out = std::to_string(rows_a) + " rows in a, " + std::to_string(rows_b) + " in b";
  if (equal()) return out + ", equal";
  out += "; only in a: " + std::to_string(only_a) + ", only in b: " + std::to_string(only_b);
  for (const auto& difference : differences) out += "\n  " + difference;
  return out;
}

}  // namespace walign::test
