// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Two ways to know the source's order of keys: compared here, where that is exact, and asked of the source. The order
// is the one of the type's default btree operators under the column's own collation, which is what the primary key's
// index has, and ORDER BY and row comparison without further words.
//
// Compared here: integers and oid, uuid, boolean, bytea, numeric, date, time, timestamp, timestamptz; text, varchar
// and name where they sort by their bytes and those are the bytes that come over the wire. In a database whose
// encoding is neither UTF8 nor SQL_ASCII the server sorts other bytes than the UTF-8 that walign sees: asked. Asked as
// well: char(n), citext, enums, arrays, ranges, floats, timetz, interval, inet, and text under ICU or the C library.
// A key of several columns is compared here only if every column is.
#pragma once

#include <memory>

#include "chunk_map.hpp"
#include "walign/catalog.hpp"

namespace walign::backfill {

// How a column's text is compared; by pg_catalog type name (of a domain: its base type).
enum class Comparison { integer, uuid, boolean, bytes, numeric, iso_date_time, c_text, ask };

// `collation_is_c`: the column's collation sorts by bytes (C or POSIX, or the database's default where that is C),
// and the database's encoding is one whose bytes arrive here unconverted.
Comparison comparison_of(const pg::TypeName& base_type, bool collation_is_c);
// -1, 0, 1; both texts are outputs of the type under the pinned settings, Error(malformed) if they cannot be. Not for
// `ask`.
int compare_text(Comparison comparison, std::string_view a, std::string_view b);

struct KeyColumn {
  std::string name;
  std::string type_sql;     // how to cast its text on the source: "pg_catalog"."int4", "public"."mood"; of a
                            // domain its base type, since old rows need not pass a NOT VALID check
  std::string collate_sql;  // COLLATE "pg_catalog"."de-x-icu", or empty where the type has none
  Comparison comparison = Comparison::ask;
  // The schema of the type's <, <=, > and >=. search_path is empty, and a bare > between two citext would be text's.
  std::string operators = "pg_catalog";
};

// Reads the copy key's columns with their collations from the source's catalogs. Error(precondition) if a column is
// not there (any more).
std::vector<KeyColumn> read_key_columns(pg::Connection& source, const pg::Table& table,
                                        const std::vector<std::string>& names);

// Compares here where every column can be, else asks `source` (borrowed, used on the caller's thread only): one
// round trip for all keys and bounds, which the source sorts together.
std::unique_ptr<KeyOrder> make_key_order(const std::vector<KeyColumn>& columns, pg::Connection& source);

// SQL over the source's table: the condition that a row's key lies in the range ("true" for everything), by row
// comparison, so that the key's index is used (where `columns` are in the index's order); values are literals with
// the column's own collation. May hold AND, never OR outside of parentheses.
std::string range_condition(const std::vector<KeyColumn>& columns, const Range& range);
// The key's columns, quoted, for ORDER BY, with their collations.
std::string order_by(const std::vector<KeyColumn>& columns, bool descending = false);

}  // namespace walign::backfill
