// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/catalog.hpp"

#include <unordered_map>

namespace walign::pg {

namespace {

constexpr const char* kOurTables = R"(
  c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema'
  AND n.nspname <> 'walign' AND n.nspname !~ '^pg_')";

struct TypeRow {
  TypeName name;
  char kind = 'b';
  char category = 'U';
  Oid base = 0;
  std::string equality_schema = "pg_catalog";
};
using Types = std::unordered_map<Oid, TypeRow>;
using TablesByOid = std::unordered_map<Oid, Table>;

Oid oid_of(const Result& result, int row, int column) {
  return static_cast<Oid>(result.integer(row, column));
}
char char_of(const Result& result, int row, int column) {
  const auto text = result.text(row, column);
  return text.empty() ? '\0' : text.front();
}

// With an empty search_path a bare = between two values of an extension's type (citext) would be that of another
// type that they can be taken for; the index would not be used, or no operator be found.
void read_equality(Connection& connection, Types& types) {
  const Result r = connection.exec(R"(
    SELECT c.opcintype, n.nspname FROM pg_catalog.pg_opclass c
    JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
    JOIN pg_catalog.pg_amop a ON a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype
         AND a.amoprighttype = c.opcintype AND a.amopstrategy = 3
    JOIN pg_catalog.pg_operator o ON o.oid = a.amopopr AND o.oprname = '='
    JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    WHERE c.opcdefault AND n.nspname <> 'pg_catalog')");
  for (int i = 0; i < r.rows(); ++i) {
    const auto type = types.find(oid_of(r, i, 0));
    if (type != types.end()) type->second.equality_schema = r.str(i, 1);
  }
}

Types read_type_rows(Connection& connection) {
  const Result result = connection.exec(
      "SELECT t.oid, n.nspname, t.typname, t.typtype, t.typcategory, t.typbasetype "
      "FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace");
  Types types;
  for (int i = 0; i < result.rows(); ++i) {
    types[oid_of(result, i, 0)] = {{result.str(i, 1), result.str(i, 2)},
                                   char_of(result, i, 3),
                                   char_of(result, i, 4),
                                   oid_of(result, i, 5)};
  }
  read_equality(connection, types);
  return types;
}

TablesByOid read_table_rows(Connection& connection) {
  const Result r = connection.exec(cat(R"(
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident, c.relrowsecurity,
           c.relispartition, c.reltuples, pg_catalog.pg_table_size(c.oid),
           pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.has_table_privilege(c.oid, 'INSERT'),
           pg_catalog.has_table_privilege(c.oid, 'UPDATE'), pg_catalog.has_table_privilege(c.oid, 'DELETE'),
           pg_catalog.has_table_privilege(c.oid, 'TRUNCATE'), pg_catalog.pg_has_role(c.relowner, 'USAGE'),
           EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
           EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f'),
           EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f'),
           CASE WHEN c.relispartition THEN pg_catalog.pg_get_partition_constraintdef(c.oid) END
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE)",
                                       kOurTables));
  TablesByOid tables;
  for (int i = 0; i < r.rows(); ++i) {
    Table t;
    t.oid = oid_of(r, i, 0);
    t.schema = r.str(i, 1);
    t.name = r.str(i, 2);
    t.kind = char_of(r, i, 3);
    t.persistence = char_of(r, i, 4);
    t.replica_identity = char_of(r, i, 5);
    t.row_security = r.boolean(i, 6);
    t.is_partition = r.boolean(i, 7);
    t.estimated_rows = std::strtod(r.str(i, 8).c_str(), nullptr);
    t.bytes = r.is_null(i, 9) ? 0 : r.integer(i, 9);
    t.can_select = r.boolean(i, 10);
    t.can_insert = r.boolean(i, 11);
    t.can_update = r.boolean(i, 12);
    t.can_delete = r.boolean(i, 13);
    t.can_truncate = r.boolean(i, 14);
    t.is_owner = r.boolean(i, 15);
    t.has_user_triggers = r.boolean(i, 16);
    t.has_foreign_keys = r.boolean(i, 17);
    t.referenced = r.boolean(i, 18);
    t.partition_constraint = r.str(i, 19);
    tables.emplace(t.oid, std::move(t));
  }
  return tables;
}

Column column_of(const Result& r, int i, const Types& types) {
  Column c;
  c.name = r.str(i, 1);
  c.attnum = static_cast<int>(r.integer(i, 2));
  c.type_oid = oid_of(r, i, 3);
  c.declared = r.str(i, 4);
  c.toastable = r.text(i, 5) != "p";
  c.not_null = r.boolean(i, 6);
  c.has_default = r.boolean(i, 7);
  c.identity = char_of(r, i, 8);
  c.generated = !r.text(i, 9).empty();
  c.nondeterministic = r.boolean(i, 10);
  if (!r.is_null(i, 11)) c.missing = r.str(i, 11);
  if (const auto found = types.find(c.type_oid); found != types.end()) {
    c.type = found->second.name;
    c.type_kind = found->second.kind;
    c.category = found->second.category;
    auto base = found;
    while (base->second.kind == 'd' && types.contains(base->second.base))
      base = types.find(base->second.base);
    c.base_type = base->second.name;
    c.equality_schema = base->second.equality_schema;
  }
  return c;
}

void read_columns(Connection& connection, TablesByOid& tables) {
  const Types types = read_type_rows(connection);
  const Result r = connection.exec(cat(R"(
    SELECT a.attrelid, a.attname, a.attnum, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod),
           a.attstorage, a.attnotnull, a.atthasdef, a.attidentity, a.attgenerated,
           coalesce(NOT l.collisdeterministic, false),
           CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    WHERE a.attnum > 0 AND NOT a.attisdropped AND)",
                                       kOurTables, " ORDER BY a.attrelid, a.attnum"));
  for (int i = 0; i < r.rows(); ++i) {
    const auto table = tables.find(oid_of(r, i, 0));
    if (table != tables.end()) table->second.columns.push_back(column_of(r, i, types));
  }
}

void read_indexes(Connection& connection, TablesByOid& tables) {
  const Result r = connection.exec(cat(R"(
    SELECT i.indrelid, ic.relname, i.indisprimary, i.indimmediate, i.indpred IS NOT NULL, i.indisreplident,
           i.indisvalid, i.indexprs IS NOT NULL, i.indexrelid, a.attname
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
         JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
    WHERE i.indisunique AND k.place <= i.indnkeyatts AND)",
                                       kOurTables, " ORDER BY i.indisprimary DESC, ic.relname, k.place"));
  std::map<Oid, std::pair<Oid, Index>> indexes;  // by index OID: table OID, index
  std::vector<Oid> order;
  for (int i = 0; i < r.rows(); ++i) {
    const Oid oid = oid_of(r, i, 8);
    auto [entry, is_new] = indexes.try_emplace(oid);
    if (is_new) {
      order.push_back(oid);
      entry->second.first = oid_of(r, i, 0);
      Index& index = entry->second.second;
      index.name = r.str(i, 1);
      index.unique = true;
      index.primary = r.boolean(i, 2);
      index.immediate = r.boolean(i, 3);
      index.partial = r.boolean(i, 4);
      index.replica_identity = r.boolean(i, 5);
      index.valid = r.boolean(i, 6);
      index.expressions = r.boolean(i, 7);
    }
    entry->second.second.columns.push_back(r.str(i, 9));
  }
  for (const Oid oid : order) {
    auto& [table, index] = indexes[oid];
    if (const auto found = tables.find(table); found != tables.end()) {
      found->second.indexes.push_back(std::move(index));
    }
  }
}

void add_leaves(const std::unordered_map<Oid, std::vector<Oid>>& children, TablesByOid& tables, Table& root,
                Oid parent) {
  const auto found = children.find(parent);
  if (found == children.end()) return;
  for (const Oid child : found->second) {
    const auto table = tables.find(child);
    if (table == tables.end()) continue;
    if (table->second.kind == 'p') {
      add_leaves(children, tables, root, child);
      continue;
    }
    root.leaves.push_back({table->second.schema, table->second.name, table->second.partition_constraint});
    root.estimated_rows = std::max(0.0, root.estimated_rows) + std::max(0.0, table->second.estimated_rows);
    root.bytes += table->second.bytes;
  }
}

void read_partitions(Connection& connection, TablesByOid& tables) {
  const Result r = connection.exec(
      "SELECT i.inhparent, i.inhrelid FROM pg_catalog.pg_inherits i "
      "JOIN pg_catalog.pg_class c ON c.oid = i.inhparent WHERE c.relkind = 'p' ORDER BY i.inhrelid");
  std::unordered_map<Oid, std::vector<Oid>> children;
  for (int i = 0; i < r.rows(); ++i) children[oid_of(r, i, 0)].push_back(oid_of(r, i, 1));
  for (auto& [oid, table] : tables) {
    if (table.kind == 'p') add_leaves(children, tables, table, oid);
  }
}

}  // namespace

bool Index::usable_as_key() const { return unique && immediate && valid && !partial && !expressions; }

const Column* Table::column(std::string_view column_name) const {
  const auto found =
      std::find_if(columns.begin(), columns.end(), [&](const Column& c) { return c.name == column_name; });
  return found == columns.end() ? nullptr : &*found;
}

const Index* Table::primary_key() const {
  const auto found = std::find_if(indexes.begin(), indexes.end(), [](const Index& i) { return i.primary; });
  return found == indexes.end() ? nullptr : &*found;
}

std::vector<std::string> Table::identity_columns() const {
  std::vector<std::string> all;
  switch (replica_identity) {
    case 'f':
      for (const Column& c : columns) {
        if (!c.generated) all.push_back(c.name);
      }
      return all;
    // A DEFERRABLE primary key is none: with it, UPDATE and DELETE fail as soon as the table is published.
    case 'd': return primary_key() == nullptr || !primary_key()->immediate ? all : primary_key()->columns;
    case 'i':
      for (const Index& index : indexes) {
        if (index.replica_identity) return index.columns;
      }
      return all;
    default: return all;
  }
}

Catalog read_tables(Connection& connection) {
  TablesByOid tables = read_table_rows(connection);
  read_columns(connection, tables);
  read_indexes(connection, tables);
  read_partitions(connection, tables);
  Catalog catalog;
  for (auto& [oid, table] : tables) {
    auto name = std::pair(table.schema, table.name);
    catalog.emplace(std::move(name), std::move(table));
  }
  return catalog;
}

std::vector<TypeName> read_types(Connection& connection) {
  std::vector<TypeName> names;
  for (auto& [oid, row] : read_type_rows(connection)) names.push_back(std::move(row.name));
  return names;
}

ServerFacts read_server(Connection& connection) {
  const Result r = connection.exec(R"(
    SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), pg_catalog.pg_is_in_recovery(),
           pg_catalog.current_database(), current_user, r.rolsuper, r.rolreplication,
           pg_catalog.pg_encoding_to_char(d.encoding),
           pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))
    FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
    WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database())");
  ServerFacts facts;
  facts.system_id = r.str(0, 0);
  facts.in_recovery = r.boolean(0, 1);
  facts.database = r.str(0, 2);
  facts.role = r.str(0, 3);
  facts.superuser = r.boolean(0, 4);
  facts.replication = r.boolean(0, 5);
  facts.encoding = r.str(0, 6);
  facts.wal_segment_bytes = static_cast<std::uint64_t>(r.integer(0, 7));
  facts.version = connection.server_version();
  if (!facts.in_recovery) {
    // A WAL file's name begins with its timeline; pg_control's lags behind a promotion.
    const Result t = connection.exec(
        "SELECT ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))"
        "::bit(32)::int");
    facts.timeline = static_cast<std::uint32_t>(t.integer(0, 0));
  }
  return facts;
}

}  // namespace walign::pg
