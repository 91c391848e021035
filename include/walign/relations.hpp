// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// relations: which tables of the source a stream follows, and every shape that they were seen in; kept on the target,
// beside the position, in walign.relation. A table is known by its OID: its name and its columns may change. And what
// walign itself has altered on the target for that (walign.alteration).
//
// What is kept here answers two questions that the source's catalogs cannot: whether a table that is in the
// configuration is the one whose rows the stream has brought so far, and what the columns of a row were called that
// was written before somebody altered the table.
//
// Threads: on the connection that is given; values are plain. Errors: as pg::Connection.
#pragma once

#include "walign/pg.hpp"

namespace walign::apply {

struct RelationColumn {
  int attnum = 0;  // pg_attribute's: stays when the column is renamed, and is never used again
  std::string name;
  pg::Oid type_oid = 0;
  auto operator<=>(const RelationColumn&) const = default;
};

struct RelationShape {
  pg::Oid oid = 0;
  pg::Oid table = 0;  // the partitioned table that it is a partition of, directly or not; otherwise `oid`
  std::string schema;
  std::string name;
  std::vector<RelationColumn> columns;  // that the stream sends (none that is generated), ascending by attnum
  // pg_relation_filenode(): another one says that all its rows were written anew. 0: not known, or it has no rows.
  pg::Oid filenode = 0;
  // End of the source's WAL when the catalogs said so: what commits from here on has this shape or a newer one.
  Lsn seen;
  [[nodiscard]] bool same(const RelationShape& other) const {
    return oid == other.oid && table == other.table && schema == other.schema && name == other.name &&
           columns == other.columns && filenode == other.filenode;
  }
};

// In the order in which they were noted. Nothing where schema walign is not installed, or older than this.
std::vector<RelationShape> read_relations(pg::Connection& target, const std::string& stream);
void note_relation(pg::Connection& target, const std::string& stream, const RelationShape& shape);
// The table was written anew, and has no column that its newest shape does not have.
void note_filenode(pg::Connection& target, const std::string& stream, pg::Oid oid, pg::Oid filenode);
// The table and its partitions: it is no longer followed.
void forget_relations(pg::Connection& target, const std::string& stream, pg::Oid table);

// What walign did to a table of the target, noted in the transaction that does it.
struct Alteration {
  std::string schema;
  std::string name;
  std::string sql;
  Lsn position;  // the stream's, when it was done
};
// Oldest first. Nothing where schema walign is not installed, or older than this.
std::vector<Alteration> read_alterations(pg::Connection& target, const std::string& stream);
void note_alteration(pg::Connection& target, const std::string& stream, const Alteration& alteration);

}  // namespace walign::apply
