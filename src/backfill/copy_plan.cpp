// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "copy_plan.hpp"

#include <array>
#include <limits>

namespace walign::backfill {

namespace {

using mapping::Route;
using namespace std::string_view_literals;

constexpr std::int64_t kEveryRow = std::numeric_limits<std::int64_t>::max() / 4;

std::string plain_source(const Route& route, const mapping::TargetColumn& column) {
  for (const auto& source : route.source_columns) {
    if (column.expression == cat("src.", pg::quote_ident(source.name))) return source.name;
  }
  return {};
}

// Types whose binary format says the same to every server of the versions that walign knows, whatever the encodings,
// settings and numbers of catalog rows on either side. Not here: what an extension or a user made; types of which the
// binary format is a number of another catalog (regclass); "char" and xml, of which the text is another than the one
// that the stream brings where encodings differ; those whose format is not made for this (money, aclitem).
constexpr std::array kSameEverywhere = {
    "bool"sv,     "int2"sv,      "int4"sv,     "int8"sv,    "oid"sv,       "float4"sv,      "float8"sv,
    "numeric"sv,  "text"sv,      "varchar"sv,  "bpchar"sv,  "name"sv,      "bytea"sv,       "uuid"sv,
    "date"sv,     "time"sv,      "timetz"sv,   "json"sv,    "timestamp"sv, "timestamptz"sv, "jsonb"sv,
    "bit"sv,      "varbit"sv,    "inet"sv,     "cidr"sv,    "macaddr"sv,   "macaddr8"sv,    "pg_lsn"sv,
    "point"sv,    "lseg"sv,      "box"sv,      "path"sv,    "line"sv,      "polygon"sv,     "circle"sv,
    "tsvector"sv, "int4range"sv, "numrange"sv, "tsrange"sv, "int8range"sv, "daterange"sv,   "tstzrange"sv};

bool travels_binary(const mapping::SourceColumn& column, bool same_version) {
  constexpr std::string_view kSchema = "\"pg_catalog\".\"";
  std::string_view name = column.type_sql;
  if (column.travels_as_text || !name.starts_with(kSchema)) return false;
  name = name.substr(kSchema.size(), name.size() - kSchema.size() - 1);
  if (name.starts_with('_')) name.remove_prefix(1);  // an array of it
  // From version 17 on intervals may be infinite, which older servers take for a number of months.
  if (name == "interval") return same_version;
  return std::find(kSameEverywhere.begin(), kSameEverywhere.end(), name) != kSameEverywhere.end();
}

}  // namespace

CopyPlan make_plan(const Route& route, const pg::Table& source, const pg::Table& target,
                   std::vector<KeyColumn> key, std::int64_t rows_per_chunk, bool same_version) {
  CopyPlan plan;
  plan.route = &route;
  plan.key = std::move(key);
  plan.rows_per_chunk = rows_per_chunk;
  plan.source_oid = source.oid;
  for (const auto& column : source.columns) {
    if (!column.generated) plan.newest_attnum = std::max(plan.newest_attnum, column.attnum);
  }
  std::string target_columns;
  std::string source_columns;
  std::string declared;
  const auto way = mapping::copy_way(route, source, target);
  const bool pipe = way.piped;
  for (const auto& column : route.columns) {
    target_columns += cat(target_columns.empty() ? "" : ", ", pg::quote_ident(column.name));
    if (pipe) {
      source_columns += cat(source_columns.empty() ? "" : ", ", pg::quote_ident(plain_source(route, column)));
    }
  }
  for (const auto& column : route.source_columns) {
    const std::string name = pg::quote_ident(column.name);
    if (!pipe) source_columns += cat(source_columns.empty() ? "" : ", ", name);
    declared += cat(declared.empty() ? "" : ", ", name, " ", column.type_sql);
  }
  plan.at_aligned_moment = way.at_aligned_moment;
  const std::string table = pg::qualified(target.schema, target.name);
  plan.binary = std::all_of(route.source_columns.begin(), route.source_columns.end(),
                            [&](const auto& column) { return travels_binary(column, same_version); });
  plan.source_sql = cat("SELECT ", source_columns, " FROM ", pg::qualified(source.schema, source.name));
  if (pipe && !plan.at_aligned_moment) {
    plan.into = cat(table, " (", target_columns, ")");
    return plan;
  }
  const std::string rows = cat("walign_rows_", route.id);
  if (pipe) {  // as the target has them
    plan.temporary = cat("CREATE TEMPORARY TABLE IF NOT EXISTS ", rows, " ON COMMIT DELETE ROWS AS SELECT ",
                         target_columns, " FROM ", table, " WITH NO DATA");
    plan.insert = cat("INSERT INTO ", table, " (", target_columns, ") OVERRIDING SYSTEM VALUE SELECT ",
                      target_columns, " FROM pg_temp.", rows);
  } else {
    plan.temporary =
        cat("CREATE TEMPORARY TABLE IF NOT EXISTS ", rows, " (", declared, ") ON COMMIT DELETE ROWS");
    plan.insert = mapping::copy_sql(route, cat("pg_temp.", rows));
  }
  plan.into = cat("pg_temp.", rows);
  return plan;
}

CopyPlan make_adopting_plan(CopyPlan plain, const pg::Table& source, const pg::Table& target,
                            std::vector<KeyColumn> target_key) {
  const Route& route = *plain.route;
  const auto way = mapping::copy_way(route, source, target);
  CopyPlan plan = std::move(plain);
  plan.adoption = make_adoption(route, std::move(target_key), way.at_aligned_moment);
  if (way.piped) {
    plan.temporary = plan.adoption->temporary;
    plan.insert.clear();
    plan.into = plan.adoption->want;
  } else {
    plan.temporary += cat("; ", plan.adoption->temporary);
    plan.insert = want_sql(route, *plan.adoption, plan.into);
  }
  if (plan.whole()) plan.rows_per_chunk = kEveryRow;
  return plan;
}

}  // namespace walign::backfill
