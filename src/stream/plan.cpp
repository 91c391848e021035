// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a run would create, and what `remove` takes away again.
#include "servers.hpp"

namespace walign::stream {

namespace {

std::string create_publication_sql(const std::string& name, const std::vector<config::TableName>& tables,
                                   bool inserts_only) {
  std::string list;
  for (const auto& t : tables) list += cat(list.empty() ? "" : ", ", pg::qualified(t.schema, t.name));
  return cat("CREATE PUBLICATION ", pg::quote_ident(name), " FOR TABLE ", list, " WITH (publish = '",
             inserts_only ? "insert, truncate" : "insert, update, delete, truncate",
             "', publish_via_partition_root = false)");
}

// What the copy of old rows will do, by what the catalogs tell before it.
void plan_copy(const config::Backfill& limits, const mapping::Route& route, const Prepared& prepared,
               Plan::Table& table) {
  const auto& source = prepared.source_catalog.at({route.source.schema, route.source.name});
  const auto& target = prepared.target_catalog.at({route.target.schema, route.target.name});
  if (source.estimated_rows >= 0) table.estimated_rows = source.estimated_rows;
  table.bytes = source.bytes;
  table.copy = mapping::copy_way(route, source, target);
  table.rows_per_chunk = mapping::rows_per_chunk(limits, source);
  if (table.copy.key.empty()) return;
  const auto rows = static_cast<std::int64_t>(table.estimated_rows.value_or(0));
  table.chunks = std::max<std::int64_t>(1, (rows + table.rows_per_chunk - 1) / table.rows_per_chunk);
}

Plan::Table plan_table(const config::Backfill& limits, const mapping::Route& route,
                       const Prepared& prepared) {
  Plan::Table table;
  table.source = route.source.to_string();
  table.target = route.target.to_string();
  for (const auto& column : route.columns) table.columns.emplace_back(column.name, column.expression);
  for (const int c : route.key) table.key.push_back(route.columns[static_cast<std::size_t>(c)].name);
  table.filter = route.filter.value_or("");
  for (const auto& read : route.reads) table.reads.push_back(read.to_string());
  for (const auto& finding : prepared.findings) {
    if (finding.level == mapping::Finding::Level::warn && finding.subject == route.label()) {
      table.risks.push_back(finding.what);
    }
  }
  for (const auto& name : route.other_columns) {
    table.risks.push_back(cat("target column ", name, " is not mapped: it keeps its default"));
  }
  if (!route.reads.empty()) {
    table.risks.push_back("its expressions read other tables: a row is not computed again when those change");
  }
  table.insert_sql = mapping::insert_statement(route).sql;
  if (!route.key.empty()) {
    table.update_sql =
        mapping::update_statement(route, mapping::ColumnSet(route.source_columns.size(), false)).sql;
    table.delete_sql = mapping::delete_statement(route).sql;
  }
  plan_copy(limits, route, prepared, table);
  return table;
}

}  // namespace

Plan plan(const config::Config& config, const Prepared& prepared) {
  Plan out;
  if (!prepared.published.empty()) {
    out.on_source.push_back(create_publication_sql(config.stream_name(), prepared.published, false));
  }
  if (!prepared.published_inserts.empty()) {
    out.on_source.push_back(
        create_publication_sql(inserts_publication(config), prepared.published_inserts, true));
  }
  if (!config.slot) {
    out.on_source.push_back(cat("SELECT pg_create_logical_replication_slot(",
                                pg::quote_literal(config.slot_name()), ", 'pgoutput')"));
  }
  out.on_target.emplace_back(
      "CREATE SCHEMA walign  -- tables stream, copy, chunk, dead_letter, schema_version; functions advance, "
      "expect, unmapped_value");
  for (const auto& route : prepared.routes)
    out.tables.push_back(plan_table(config.backfill, route, prepared));
  return out;
}

std::vector<std::string> remove(const config::Config& config, const Interrupt* interrupt) {
  std::vector<std::string> done;
  pg::Connection source(connection_options(config, config.source, "remove", interrupt));
  pg::Connection target(connection_options(config, config.target, "remove", interrupt));
  const auto slot = source::read_slot(source, config.slot_name());
  if (slot && slot->active_pid != 0) {
    throw Error(ErrorKind::precondition,
                cat("slot ", slot->name, " is being read by pid ", slot->active_pid, " of the source"),
                "stop `walign run` first");
  }
  if (slot && !config.slot) {
    source::drop_slot(source, slot->name);
    done.push_back(cat("source: slot ", slot->name));
  }
  for (const auto& name : {config.stream_name(), inserts_publication(config)}) {
    if (!source::read_publication(source, name)) continue;
    source::drop_publication(source, name);
    done.push_back(cat("source: publication ", name));
  }
  if (apply::read_stream(target, config.stream_name())) {
    apply::remove_stream(target, config.stream_name());
    done.push_back(cat("target: stream ", config.stream_name(),
                       apply::schema_installed(target) ? "" : ", and schema walign with it"));
  }
  return done;
}

}  // namespace walign::stream
