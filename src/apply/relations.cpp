// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/relations.hpp"

namespace walign::apply {

std::vector<RelationShape> read_relations(pg::Connection& target, const std::string& stream) {
  const auto there = target.exec("SELECT pg_catalog.to_regclass('walign.relation') IS NOT NULL");
  if (!there.boolean(0, 0)) return {};
  const auto r = target.query(
      "SELECT r.id, r.oid, r.table_oid, r.schema, r.name, c.attnum, c.name, c.type, r.filenode, r.seen "
      "FROM walign.relation r LEFT JOIN LATERAL unnest(r.attnums, r.columns, r.types) "
      "WITH ORDINALITY AS c(attnum, name, type, place) ON true WHERE r.stream = $1 ORDER BY r.id, c.place",
      {stream});
  std::vector<RelationShape> out;
  std::int64_t last = -1;
  for (int i = 0; i < r.rows(); ++i) {
    if (r.integer(i, 0) != last) {
      last = r.integer(i, 0);
      out.push_back({static_cast<pg::Oid>(r.integer(i, 1)),
                     static_cast<pg::Oid>(r.integer(i, 2)),
                     r.str(i, 3),
                     r.str(i, 4),
                     {},
                     static_cast<pg::Oid>(r.integer(i, 8)),
                     r.lsn(i, 9)});
    }
    if (r.is_null(i, 5)) continue;  // a table without columns
    out.back().columns.push_back(
        {static_cast<int>(r.integer(i, 5)), r.str(i, 6), static_cast<pg::Oid>(r.integer(i, 7))});
  }
  return out;
}

void note_relation(pg::Connection& target, const std::string& stream, const RelationShape& shape) {
  pg::TextArray attnums, names, types;
  for (const auto& column : shape.columns) {
    attnums.add(cat(column.attnum));
    names.add(column.name);
    types.add(cat(column.type_oid));
  }
  const std::string oid = cat(shape.oid), table = cat(shape.table), filenode = cat(shape.filenode);
  const std::string seen = shape.seen.to_string();
  target.query_params(
      "INSERT INTO walign.relation (stream, oid, table_oid, schema, name, attnums, columns, types, filenode, "
      "seen) "
      "VALUES ($1, $2, $3, $4, $5, $6::text[]::int[], $7::text[], $8::text[]::bigint[], $9, $10)",
      {{stream},
       {oid},
       {table},
       {shape.schema},
       {shape.name},
       attnums.param(),
       names.param(),
       types.param(),
       {filenode},
       {seen}});
}

void note_filenode(pg::Connection& target, const std::string& stream, pg::Oid oid, pg::Oid filenode) {
  target.query(
      "UPDATE walign.relation r SET filenode = $3 WHERE r.id = (SELECT max(n.id) FROM walign.relation n "
      "WHERE "
      "n.stream = $1 AND n.oid = $2)",
      {stream, cat(oid), cat(filenode)});
}

void forget_relations(pg::Connection& target, const std::string& stream, pg::Oid table) {
  target.query("DELETE FROM walign.relation WHERE stream = $1 AND table_oid = $2", {stream, cat(table)});
}

std::vector<Alteration> read_alterations(pg::Connection& target, const std::string& stream) {
  const auto there = target.exec("SELECT pg_catalog.to_regclass('walign.alteration') IS NOT NULL");
  if (!there.boolean(0, 0)) return {};
  const auto r = target.query(
      "SELECT schema, name, statements, position FROM walign.alteration WHERE stream = $1 ORDER BY id",
      {stream});
  std::vector<Alteration> out;
  for (int i = 0; i < r.rows(); ++i) out.push_back({r.str(i, 0), r.str(i, 1), r.str(i, 2), r.lsn(i, 3)});
  return out;
}

void note_alteration(pg::Connection& target, const std::string& stream, const Alteration& alteration) {
  target.query(
      "INSERT INTO walign.alteration (stream, schema, name, statements, position) VALUES ($1, $2, $3, $4, "
      "$5)",
      {stream, alteration.schema, alteration.name, alteration.sql, alteration.position.to_string()});
}

}  // namespace walign::apply
