// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The source's tables as a capture keeps them.
#include "walign/source.hpp"

namespace walign::source {

namespace {

void put(const pg::Column& from, v1::SourceColumn& to) {
  to.set_name(from.name);
  to.set_attnum(static_cast<std::uint32_t>(from.attnum));
  to.set_type_oid(from.type_oid);
  to.set_type_schema(from.type.schema);
  to.set_type_name(from.type.name);
  to.set_base_type_schema(from.base_type.schema);
  to.set_base_type_name(from.base_type.name);
  to.set_declared(from.declared);
  to.set_type_kind(static_cast<unsigned char>(from.type_kind));
  to.set_category(static_cast<unsigned char>(from.category));
  to.set_identity(static_cast<unsigned char>(from.identity));
  to.set_toastable(from.toastable);
  to.set_not_null(from.not_null);
  to.set_has_default(from.has_default);
  to.set_generated(from.generated);
  to.set_nondeterministic(from.nondeterministic);
  to.set_equality_schema(from.equality_schema);
}

pg::Column read(const v1::SourceColumn& from) {
  pg::Column to;
  to.name = from.name();
  to.attnum = static_cast<int>(from.attnum());
  to.type_oid = from.type_oid();
  to.type = {from.type_schema(), from.type_name()};
  to.base_type = {from.base_type_schema(), from.base_type_name()};
  to.declared = from.declared();
  to.type_kind = static_cast<char>(from.type_kind());
  to.category = static_cast<char>(from.category());
  to.identity = static_cast<char>(from.identity());
  to.toastable = from.toastable();
  to.not_null = from.not_null();
  to.has_default = from.has_default();
  to.generated = from.generated();
  to.nondeterministic = from.nondeterministic();
  to.equality_schema = from.equality_schema();
  return to;
}

void put(const pg::Index& from, v1::SourceIndex& to) {
  to.set_name(from.name);
  for (const auto& column : from.columns) to.add_columns(column);
  to.set_primary(from.primary);
  to.set_unique(from.unique);
  to.set_immediate(from.immediate);
  to.set_partial(from.partial);
  to.set_replica_identity(from.replica_identity);
  to.set_valid(from.valid);
  to.set_expressions(from.expressions);
}

pg::Index read(const v1::SourceIndex& from) {
  pg::Index to;
  to.name = from.name();
  to.columns.assign(from.columns().begin(), from.columns().end());
  to.primary = from.primary();
  to.unique = from.unique();
  to.immediate = from.immediate();
  to.partial = from.partial();
  to.replica_identity = from.replica_identity();
  to.valid = from.valid();
  to.expressions = from.expressions();
  return to;
}

void put(const pg::Table& from, v1::SourceTable& to) {
  to.set_oid(from.oid);
  to.set_schema(from.schema);
  to.set_name(from.name);
  to.set_kind(static_cast<unsigned char>(from.kind));
  to.set_persistence(static_cast<unsigned char>(from.persistence));
  to.set_replica_identity(static_cast<unsigned char>(from.replica_identity));
  to.set_is_partition(from.is_partition);
  to.set_partition_constraint(from.partition_constraint);
  for (const auto& leaf : from.leaves) {
    auto& out = *to.add_leaves();
    out.set_schema(leaf.schema);
    out.set_name(leaf.name);
    out.set_constraint(leaf.constraint);
  }
  for (const auto& column : from.columns) put(column, *to.add_columns());
  for (const auto& index : from.indexes) put(index, *to.add_indexes());
}

pg::Table read(const v1::SourceTable& from) {
  pg::Table to;
  to.oid = from.oid();
  to.schema = from.schema();
  to.name = from.name();
  to.kind = static_cast<char>(from.kind());
  to.persistence = static_cast<char>(from.persistence());
  to.replica_identity = static_cast<char>(from.replica_identity());
  to.is_partition = from.is_partition();
  to.partition_constraint = from.partition_constraint();
  to.can_select = true;
  for (const auto& leaf : from.leaves()) to.leaves.push_back({leaf.schema(), leaf.name(), leaf.constraint()});
  for (const auto& column : from.columns()) to.columns.push_back(read(column));
  for (const auto& index : from.indexes()) to.indexes.push_back(read(index));
  return to;
}

}  // namespace

v1::SourceCatalog record_catalog(const pg::Catalog& tables, const TableNames& of) {
  TableNames kept;
  for (const auto& [name, table] : tables) {
    const auto is_kept = [&](const pg::Leaf& leaf) { return of.contains({leaf.schema, leaf.name}); };
    if (!of.contains(name) && std::none_of(table.leaves.begin(), table.leaves.end(), is_kept)) continue;
    kept.insert(name);
    for (const auto& leaf : table.leaves) kept.emplace(leaf.schema, leaf.name);
  }
  v1::SourceCatalog out;
  for (const auto& [name, table] : tables) {
    if (kept.contains(name)) put(table, *out.add_tables());
  }
  return out;
}

pg::Catalog recorded_catalog(const v1::SourceCatalog& catalog) {
  pg::Catalog out;
  for (const auto& table : catalog.tables())
    out.emplace(std::pair(table.schema(), table.name()), read(table));
  return out;
}

TableNames published_tables(pg::Connection& source, const std::vector<std::string>& publications) {
  TableNames out;
  for (const auto& name : publications) {
    const auto r = source.query(
        "SELECT schemaname, tablename FROM pg_catalog.pg_publication_tables WHERE pubname = $1", {name});
    for (int i = 0; i < r.rows(); ++i) out.emplace(r.str(i, 0), r.str(i, 1));
  }
  return out;
}

}  // namespace walign::source
