// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the target declares and nobody enforced while changes were applied.
#include "compare.hpp"

namespace walign::verify {

namespace {

struct ForeignKey {
  std::string name;
  std::string child, parent;                                 // SQL
  std::vector<std::pair<std::string, std::string>> columns;  // child's, parent's
};

// Of the table and to it; constraints of partitions that stem from their parent's are left out.
std::vector<ForeignKey> read_foreign_keys(pg::Connection& target, const mapping::Route& route) {
  const auto r = target.query(
      "SELECT c.oid, c.conname, cn.nspname, cc.relname, pn.nspname, pc.relname, ca.attname, pa.attname "
      "FROM pg_catalog.pg_constraint c "
      "JOIN pg_catalog.pg_class cc ON cc.oid = c.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = "
      "cc.relnamespace "
      "JOIN pg_catalog.pg_class pc ON pc.oid = c.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = "
      "pc.relnamespace "
      "CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey)) "
      "WITH ORDINALITY AS k (child, parent, place) "
      "JOIN pg_catalog.pg_attribute ca ON ca.attrelid = c.conrelid AND ca.attnum = k.child "
      "JOIN pg_catalog.pg_attribute pa ON pa.attrelid = c.confrelid AND pa.attnum = k.parent "
      "WHERE c.contype = 'f' AND c.conparentid = 0 AND "
      "((cn.nspname = $1 AND cc.relname = $2) OR (pn.nspname = $1 AND pc.relname = $2)) ORDER BY c.oid, "
      "k.place",
      {route.target.schema, route.target.name});
  std::vector<ForeignKey> out;
  std::string last;
  for (int i = 0; i < r.rows(); ++i) {
    if (r.str(i, 0) != last) {
      last = r.str(i, 0);
      out.push_back({r.str(i, 1),
                     pg::qualified(r.text(i, 2), r.text(i, 3)),
                     pg::qualified(r.text(i, 4), r.text(i, 5)),
                     {}});
    }
    out.back().columns.emplace_back(pg::quote_ident(r.text(i, 6)), pg::quote_ident(r.text(i, 7)));
  }
  return out;
}

std::int64_t check(pg::Connection& target, const ForeignKey& key, std::vector<std::string>& notes) {
  std::string there;
  std::string match;
  std::string names;
  for (const auto& [child, parent] : key.columns) {
    there += cat(there.empty() ? "" : " AND ", "c.", child, " IS NOT NULL");
    match += cat(match.empty() ? "" : " AND ", "p.", parent, " = c.", child);
    names += cat(names.empty() ? "" : ", ", "c.", child);
  }
  const auto r = target.exec(cat("SELECT pg_catalog.count(*), pg_catalog.min(ROW(", names,
                                 ")::pg_catalog.text) FROM ", key.child, " AS c WHERE ", there,
                                 " AND NOT EXISTS (SELECT FROM ", key.parent, " AS p WHERE ", match, ")"));
  const auto rows = r.integer(0, 0);
  if (rows > 0) {
    notes.push_back(cat("foreign key ", key.name, " of ", key.child, " to ", key.parent, ": ", rows,
                        rows == 1 ? " row refers" : " rows refer", " to nothing, such as ", r.text(0, 1)));
  }
  return rows;
}

std::int64_t check_not_valid(pg::Connection& target, const mapping::Route& route,
                             std::vector<std::string>& notes) {
  const auto r = target.query(
      "SELECT c.conname, pg_catalog.pg_get_expr(c.conbin, c.conrelid) FROM pg_catalog.pg_constraint c "
      "JOIN pg_catalog.pg_class t ON t.oid = c.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = "
      "t.relnamespace "
      "WHERE c.contype = 'c' AND NOT c.convalidated AND n.nspname = $1 AND t.relname = $2",
      {route.target.schema, route.target.name});
  std::int64_t all = 0;
  for (int i = 0; i < r.rows(); ++i) {
    const auto broken = target.exec(cat("SELECT pg_catalog.count(*) FROM ",
                                        pg::qualified(route.target.schema, route.target.name), " WHERE (",
                                        r.text(i, 1), ") IS FALSE"));
    const auto rows = broken.integer(0, 0);
    if (rows > 0)
      notes.push_back(cat("check ", r.text(i, 0), " does not hold for ", rows, rows == 1 ? " row" : " rows"));
    all += rows;
  }
  return all;
}

}  // namespace

std::int64_t check_constraints(pg::Connection& target, const mapping::Route& route,
                               std::vector<std::string>& notes) {
  target.exec(
      "BEGIN READ ONLY; SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL "
      "enable_mergejoin = on");
  std::int64_t broken = 0;
  for (const auto& key : read_foreign_keys(target, route)) broken += check(target, key, notes);
  broken += check_not_valid(target, route, notes);
  target.exec("COMMIT");
  return broken;
}

}  // namespace walign::verify
