// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The old side's tables: which they are, and what --archive makes of them.
#include "fence_transaction.hpp"
#include "finish.hpp"

namespace walign::cutover {

namespace {

constexpr std::size_t kNameBytes = 63;  // NAMEDATALEN - 1
constexpr const char* kArchived = "archived by ";

// $1 the fence's name; $2, $3 publications; $4 tables that the configuration names. The arguments of a trigger are in
// tgargs, each with a zero byte behind it.
constexpr const char* kOldTables = R"(
WITH marked AS (
  SELECT t.tgrelid AS oid, t.tgname = $1 || '_row' AS guard, a.args
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid,
    LATERAL (SELECT pg_catalog.string_to_array(pg_catalog.encode(t.tgargs, 'escape'), E'\\000')) a(args)
  WHERE t.tgparentid = 0 AND ((t.tgname = $1 || '_row' AND t.tgfoid = pg_catalog.to_regprocedure('walign.guard()')
      AND a.args[1] = $1 AND a.args[2] = 'source')
    OR (t.tgname = 'walign_closed' AND p.proname = 'walign_closed' AND a.args[1] = $1))),
published AS (
  SELECT r.prrelid AS oid FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication b ON b.oid = r.prpubid
  WHERE b.pubname IN ($2, $3)),
named AS (
  SELECT pg_catalog.to_regclass(n.name)::pg_catalog.oid AS oid FROM pg_catalog.unnest($4) AS n(name)
  WHERE EXISTS (SELECT FROM published p WHERE p.oid = pg_catalog.to_regclass(n.name)
    OR p.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(n.name)) t)))
SELECT n.nspname, c.relname, c.relkind = 'p', coalesce(pg_catalog.bool_or(m.guard), false),
  coalesce(pg_catalog.bool_or(NOT m.guard), false),
  coalesce(pg_catalog.bool_or(NOT m.guard) AND pg_catalog.starts_with(pg_catalog.obj_description(c.oid, 'pg_class'),
    $5), false)
FROM (SELECT oid FROM marked UNION SELECT oid FROM named) x JOIN pg_catalog.pg_class c ON c.oid = x.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN marked m ON m.oid = c.oid
GROUP BY n.nspname, c.relname, c.relkind, c.oid ORDER BY 1, 2)";

std::string archive_mark(const std::string& fence) { return cat(kArchived, fence, ": "); }

// The same name on the other side where only a wildcard names it.
std::string moved_to(const TwoServers& servers, const TableName& table) {
  const config::TableRule* found = nullptr;
  for (const auto& rule : servers.config.tables) {
    if (rule.wildcard ? found == nullptr && rule.from.schema == table.schema : rule.from == table)
      found = &rule;
  }
  if (found == nullptr) return servers.target_address;
  const TableName to{found->to.schema, found->wildcard ? table.name : found->to.name};
  return to == table ? servers.target_address : cat(servers.target_address, ", table ", to.to_string());
}

std::string cut_to(std::string text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  // Not in the middle of a character of UTF-8.
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0U) == 0x80U) --bytes;
  text.resize(bytes);
  return text;
}

// A table has a type of its name.
bool is_taken(pg::Connection& server, const TableName& name) {
  return server
      .query(
          "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
          "c.relnamespace WHERE n.nspname = $1 AND c.relname = $2) OR EXISTS (SELECT FROM pg_catalog.pg_type "
          "t "
          "JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $1 AND t.typname = $2)",
          {name.schema, name.name})
      .boolean(0, 0);
}

std::string comment_of(pg::Connection& server, const std::string& relation) {
  return server
      .query("SELECT coalesce(pg_catalog.obj_description(pg_catalog.to_regclass($1), 'pg_class'), '')",
             {relation})
      .str(0, 0);
}

}  // namespace

std::vector<OldTable> old_tables(TwoServers& servers) {
  pg::TextArray names;
  for (const auto& rule : servers.config.tables) {
    if (!rule.wildcard) names.add(pg::qualified(rule.from.schema, rule.from.name));
  }
  pg::Param array = names.param();
  array.type = pg::kTextArrayOid;
  const auto text = [](const std::string& value) { return pg::Param{value, 0, false, false}; };
  const std::string inserts = stream::inserts_publication(servers.config);
  const std::string publication = servers.config.stream_name();
  const std::string mark = archive_mark(servers.fence);
  const auto r = servers.source.query_params(
      kOldTables, {text(servers.fence), text(publication), text(inserts), array, text(mark)});
  std::vector<OldTable> out;
  for (int i = 0; i < r.rows(); ++i) {
    OldTable table;
    table.table = {r.str(i, 0), r.str(i, 1)};
    table.partitioned = r.boolean(i, 2);
    table.guarded = r.boolean(i, 3);
    table.closed = r.boolean(i, 4);
    table.archived = r.boolean(i, 5);
    table.moved_to = moved_to(servers, table.table);
    out.push_back(std::move(table));
  }
  return out;
}

bool finished_on(pg::Connection& source, const std::string& fence) {
  return source
      .query(
          "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid "
          "WHERE t.tgname = 'walign_closed' AND p.proname = 'walign_closed' AND "
          "(pg_catalog.string_to_array(pg_catalog.encode(t.tgargs, 'escape'), E'\\\\000'))[1] = $1)",
          {fence})
      .boolean(0, 0);
}

ArchiveDates archive_dates(pg::Connection& source, std::optional<int> keep_days) {
  const auto r = source.query(
      "SELECT pg_catalog.to_char(d, 'YYYYMMDD'), pg_catalog.to_char(d, 'YYYY-MM-DD'), "
      "pg_catalog.to_char(d + $1::pg_catalog.int4, 'YYYY-MM-DD') "
      "FROM (SELECT (pg_catalog.now() AT TIME ZONE 'UTC')::pg_catalog.date) AS t(d)",
      {cat(keep_days.value_or(0))});
  return {r.str(0, 0), r.str(0, 1), keep_days ? r.str(0, 2) : std::string()};
}

std::string archive_name(pg::Connection& source, const TableName& table, const ArchiveDates& dates,
                         const std::set<TableName>& taken) {
  for (int n = 1;; ++n) {
    const std::string end = cat(n == 1 ? "" : cat("_", n), "_archived_", dates.compact);
    const TableName name{table.schema, cut_to(table.name, kNameBytes - end.size()) + end};
    if (!taken.contains(name) && !is_taken(source, name)) return name.name;
  }
}

bool archive(TwoServers& servers, const OldTable& table, const std::string& name, const ArchiveDates& dates) {
  const std::string from = pg::qualified(table.table.schema, table.table.name);
  const std::string before = comment_of(servers.source, from);
  std::string comment = cat(archive_mark(servers.fence), "was ", table.table.to_string(), ", moved to ",
                            table.moved_to, ", closed on ", dates.today);
  if (!dates.until.empty()) comment += cat(", kept until ", dates.until);
  if (!before.empty()) comment += cat("\n", before);
  try {
    FenceTransaction transaction(
        servers.source, {servers.config.cutover.lock_timeout, Millis(0), false},
        cat("ALTER TABLE ", from, " RENAME TO ", pg::quote_ident(name), "; COMMENT ON TABLE ",
            pg::qualified(table.table.schema, name), " IS ", pg::quote_literal(comment)));
    transaction.commit(cat("archiving ", table.table.to_string()));
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::transient) throw;
    return false;
  }
}

}  // namespace walign::cutover
