// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// How a route's rows are copied, as SQL for both servers. Pure.
#pragma once

#include "adopt.hpp"

namespace walign::backfill {

struct CopyPlan {
  const mapping::Route* route = nullptr;
  std::vector<KeyColumn> key;  // of the source; empty: the table is one chunk
  std::int64_t rows_per_chunk = 50'000;
  std::int64_t most_bytes = std::int64_t{128} << 20U;  // a reader that has met so many stops
  bool at_aligned_moment = false;                      // the target has other unique constraints than its key
  std::string source_sql;                              // what is copied, up to and without the WHERE
  std::string into;                                    // COPY target: the table itself, or the temporary one
  std::string temporary;  // CREATE TEMPORARY TABLE ...; empty: rows are piped through unparsed
  std::string insert;     // from the temporary table, through the mapping's SQL
  bool binary = false;    // both servers agree on every type's binary format
  // Of the source, which it was made for. A column that was added since has a higher attnum.
  pg::Oid source_oid = 0;
  int newest_attnum = 0;
  std::optional<Adoption> adoption;  // the target has rows; then `insert` fills what it should have
  // Nothing is cut off a range, whatever its size.
  [[nodiscard]] bool whole() const { return key.empty() || (adoption && adoption->key.empty()); }
  // Rows of several chunks may come in one COPY: nothing is done with them on the target but that.
  [[nodiscard]] bool piped() const { return temporary.empty(); }
};
CopyPlan make_plan(const mapping::Route& route, const pg::Table& source, const pg::Table& target,
                   std::vector<KeyColumn> key, std::int64_t rows_per_chunk, bool same_version);
// Of a table that has rows on the target. `target_key`: see adopted_key().
CopyPlan make_adopting_plan(CopyPlan plain, const pg::Table& source, const pg::Table& target,
                            std::vector<KeyColumn> target_key);

}  // namespace walign::backfill
