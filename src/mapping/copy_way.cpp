// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// How a route's old rows are copied, as far as both catalogs tell.
#include <algorithm>

#include "walign/mapping.hpp"

namespace walign::mapping {

namespace {

// Every target column is a source column of the very same type.
bool goes_through_unparsed(const Route& route) {
  if (route.filter) return false;
  return std::all_of(route.columns.begin(), route.columns.end(), [&](const TargetColumn& column) {
    const auto source = std::find_if(
        route.source_columns.begin(), route.source_columns.end(),
        [&](const SourceColumn& c) { return column.expression == cat("src.", pg::quote_ident(c.name)); });
    return source != route.source_columns.end() && source->type_sql == column.base_type_sql;
  });
}

bool has_other_unique_index(const Route& route, const pg::Table& target) {
  std::set<std::string> key;
  for (const int c : route.key) key.insert(route.columns[static_cast<std::size_t>(c)].name);
  return std::any_of(target.indexes.begin(), target.indexes.end(), [&](const pg::Index& index) {
    return index.unique && std::set<std::string>(index.columns.begin(), index.columns.end()) != key;
  });
}

// The primary key, if old rows carry it; else the identity's index.
std::vector<std::string> cutting_key(const pg::Table& source) {
  const auto identity = source.identity_columns();
  const pg::Index* primary = source.primary_key();
  const auto is_carried = [&](const std::string& c) {
    return std::find(identity.begin(), identity.end(), c) != identity.end();
  };
  if (primary != nullptr && std::all_of(primary->columns.begin(), primary->columns.end(), is_carried)) {
    return primary->columns;
  }
  return source.replica_identity == 'i' ? identity : std::vector<std::string>();
}

}  // namespace

CopyWay copy_way(const Route& route, const pg::Table& source, const pg::Table& target) {
  // The key that the other side has too; a row without it is not there yet.
  if (route.drawn_key) return {{route.drawn_key->target_column}, goes_through_unparsed(route), true};
  return {cutting_key(source), goes_through_unparsed(route), has_other_unique_index(route, target)};
}

// On the slow side of what small servers on one network do; an index beside the key, or a distant server, can make it
// a fraction of that.
CopyRate assumed_rate(const CopyWay& way) {
  constexpr double kMiB = 1 << 20;
  return way.piped ? CopyRate{100'000, 20 * kMiB} : CopyRate{50'000, 10 * kMiB};
}

double copy_work_seconds(const CopyWay& way, double rows, double bytes) {
  const auto rate = assumed_rate(way);
  return std::max(rows / rate.rows_per_second, bytes / rate.bytes_per_second);
}

std::int64_t most_bytes_at_once(const config::Backfill& limits) { return 16 * limits.chunk_bytes; }

std::int64_t rows_per_chunk(const config::Backfill& limits, const pg::Table& source) {
  std::int64_t most = limits.chunk_rows;
  if (limits.max_rows_per_second > 0) most = std::min(most, limits.max_rows_per_second);
  if (source.estimated_rows < 1 || source.bytes <= 0) return most;
  const auto row_bytes =
      std::max<std::int64_t>(1, source.bytes / static_cast<std::int64_t>(source.estimated_rows));
  return std::clamp<std::int64_t>(limits.chunk_bytes / row_bytes, 1, most);
}

}  // namespace walign::mapping
