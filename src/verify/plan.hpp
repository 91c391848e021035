// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// How a table is compared, and the SQL for it.
#pragma once

#include "dirty.hpp"
#include "walign/stream.hpp"

namespace walign::verify {

// A column of the key by which the source is cut, and the target's column that is its copy, if there is one.
struct KeyColumn {
  std::string source;
  std::string source_type;
  std::string target;  // empty: none
  std::string target_type;
  std::string operators = "pg_catalog";  // the schema of the source type's comparisons
};

// Keys k with lower <= k < upper, or, where it says so, lower < k and k <= upper; nothing: no bound.
struct Range {
  std::optional<Key> lower;
  std::optional<Key> upper;
  bool after_lower = false;
  bool after_upper = false;
};

enum class Way : std::uint8_t {
  hashes,   // each server hashes its own rows
  mapped,   // the source's rows are mapped on the target and joined there by key
  content,  // the target has no key: count and sum of what is wanted and what is there
};

struct Plan {
  const mapping::Route* route = nullptr;
  std::vector<KeyColumn> key;  // empty: the table is one range, and dirty as a whole
  Way way = Way::mapped;
  std::int64_t rows_per_chunk = 50'000;
  double rows_estimated = 0;
  bool tells_extras = true;      // which rows of the target are this route's is known
  bool keys_map = false;         // the target's key can be computed from the source's
  bool keys_are_copies = false;  // and is the same text: what is known of one is known of the other
  std::vector<std::string> source_columns;  // hashes: quoted, in the order of Route::columns
  std::vector<std::string> target_columns;  // quoted
  mapping::CompareSql sql;                  // mapped, content
  std::vector<std::string> lookups;         // target columns whose expression reads other tables
  std::vector<std::string> notes;           // what cannot be told

  [[nodiscard]] std::string source_table() const {
    return pg::qualified(route->source.schema, route->source.name);
  }
  [[nodiscard]] std::string target_table() const {
    return pg::qualified(route->target.schema, route->target.name);
  }
};

inline constexpr int kMostKept = 1000;  // differences of a table that are kept by key

// Columns of a table whose text sorts by its bytes on this server.
using SortsByBytes = std::set<std::string>;
SortsByBytes read_sorts_by_bytes(pg::Connection& connection, const pg::Table& table);

Plan make_plan(const stream::Prepared& prepared, const mapping::Route& route, const config::Backfill& limits,
               const SortsByBytes& on_source, const SortsByBytes& on_target);

enum class Side : std::uint8_t { source, target };
// SQL over that side's table; for the target only where every key column has its copy there.
std::string range_condition(const Plan& plan, Side side, const Range& range);
std::string keys_condition(const Plan& plan, Side side, const std::vector<Key>& keys);
// The first key that a range has no more room for, in one row; no row where it has room for all.
std::string cut_sql(const Plan& plan, const Range& range);

}  // namespace walign::verify
