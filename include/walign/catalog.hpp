// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// catalog: what a server says of its tables, as plain values. The part of pg that reads pg_catalog, so that
// whoever decides (mapping, preflight) can be pure.
//
// Invariants
//  1. A Table is complete: columns in attnum order without dropped ones, all unique indexes, partitions.
//  2. Types are named by pg_type's schema and name, never through a type modifier or search_path: a cast to
//     such a name keeps every character ("bit" is not bit(1)). Domains carry their base type beside them.
//
// Threads: read_tables uses the connection it is given; values are plain.
#pragma once

#include <map>

#include "walign/pg.hpp"

namespace walign::pg {

struct TypeName {
  std::string schema;
  std::string name;
  auto operator<=>(const TypeName&) const = default;
  [[nodiscard]] std::string sql() const { return qualified(schema, name); }
};

struct Column {
  std::string name;
  int attnum = 0;
  Oid type_oid = 0;
  TypeName type;
  TypeName base_type;      // of a domain; otherwise equal to `type`
  std::string declared;    // format_type(): numeric(10,2)
  char type_kind = 'b';    // pg_type.typtype: b base, c composite, d domain, e enum, r range, m multirange
  char category = 'U';     // pg_type.typcategory
  bool toastable = false;  // attstorage other than plain
  bool not_null = false;
  bool has_default = false;
  // Text of what a row from before ADD COLUMN has in it (attmissingval): its constant default, of the time. Gone when
  // the table has been rewritten since.
  std::optional<std::string> missing;
  char identity = 0;  // 'a' always, 'd' by default, 0 none
  bool generated = false;
  std::string equality_schema = "pg_catalog";  // where the type's own = lives: an extension's is elsewhere
  bool nondeterministic = false;               // of a collation that takes different bytes for equal
};

struct Index {
  std::string name;
  std::vector<std::string> columns;  // empty names for expressions
  bool primary = false;
  bool unique = false;
  bool immediate = true;  // not DEFERRABLE
  bool partial = false;
  bool replica_identity = false;
  // Can identify every row by equality: unique, valid, of plain columns, whole.
  [[nodiscard]] bool usable_as_key() const;
  bool valid = true;
  bool expressions = false;
};

struct Leaf {
  std::string schema;
  std::string name;
  std::string constraint;  // which rows it holds, SQL over the root's columns
};

struct Table {
  Oid oid = 0;
  std::string schema;
  std::string name;
  char kind = 'r';              // pg_class.relkind: r table, p partitioned
  char persistence = 'p';       // p permanent, u unlogged, t temporary
  char replica_identity = 'd';  // d default, n nothing, f full, i index
  bool row_security = false;
  bool is_partition = false;
  double estimated_rows = 0;  // reltuples; negative where never analysed; of partitions summed
  std::int64_t bytes = 0;     // with TOAST, without indexes; of partitions summed
  bool can_select = false, can_insert = false, can_update = false, can_delete = false, can_truncate = false;
  bool is_owner = false;
  bool has_user_triggers = false;
  bool has_foreign_keys = false;  // this table refers to others
  bool referenced = false;        // other tables refer to this one
  std::vector<Column> columns;
  std::vector<Index> indexes;        // unique ones only, the primary key first
  std::string partition_constraint;  // SQL over its own columns; empty unless a partition
  std::vector<Leaf> leaves;          // of a partitioned table, of every level

  [[nodiscard]] const Column* column(std::string_view column_name) const;
  [[nodiscard]] const Index* primary_key() const;
  // The columns that an old row of an UPDATE or DELETE carries; empty if there are none.
  [[nodiscard]] std::vector<std::string> identity_columns() const;
};

// By (schema, name).
using Catalog = std::map<std::pair<std::string, std::string>, Table>;

// Tables and partitioned tables of every schema but PostgreSQL's own and walign's. One round trip each for
// tables, columns and indexes, whatever their number.
Catalog read_tables(Connection& connection);

// Schemas and names of all types that a cast can name, for deciding whether a source's type exists here.
std::vector<TypeName> read_types(Connection& connection);

// Which server this is.
struct ServerFacts {
  std::string system_id;  // pg_control_system()
  std::uint32_t timeline = 0;
  std::string database;
  std::string role;
  int version = 0;  // 150013
  bool superuser = false;
  bool replication = false;  // pg_roles.rolreplication
  bool in_recovery = false;
  std::string encoding;
  std::uint64_t wal_segment_bytes = 0;
};
ServerFacts read_server(Connection& connection);

}  // namespace walign::pg
