// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// existing_rows: adopt. The target had rows before the copy began; each chunk makes its range what the source has, and
// writes only what is not so yet.
//
//   COPY ──> [rows, through the mapping] ──> want     what the target should have in the chunk's range
//   remove   target's rows of the range that are not wanted
//   change   those that differ: UPDATE, or DELETE and INSERT where a unique value could be exchanged
//   add      what is missing
//   then the chunk's record, in the same transaction
//
// Nothing else of the copy is different: what the target has where a chunk is pending decides nothing (the stream's
// changes to it are dropped), and from the record on the range is what it would be if it had been copied into an empty
// table. So the five rules hold as they are.
//
// Which of the target's rows lie in a range of the source's order the target must be able to tell. It can where its
// key is the source's, column by column, of types that both servers order alike and that no assignment rounds. A row's
// other unique values may stand in a row of a range that was not looked at yet. Where either is not so, the table is
// one chunk.
//
// A row outside target_where is not ours: it is neither compared nor removed. Columns that are not mapped keep their
// values in rows that stay.
#pragma once

#include "key_order.hpp"
#include "walign/mapping.hpp"

namespace walign::backfill {

struct Adoption {
  std::vector<KeyColumn> key;  // of the target, for the source's ranges; empty: the table is one chunk
  std::string want;            // COPY's target, where rows go through unparsed
  std::string temporary;       // what makes it
  std::string remove;          // to which the range's condition is added
  std::string change;
  std::string add;
};

// The target's columns for `key`, the source's; none where the target's rows do not fall into the source's ranges.
std::vector<KeyColumn> adopted_key(pg::Connection& target_server, const mapping::Route& route,
                                   const pg::Table& source, const pg::Table& target,
                                   const std::vector<KeyColumn>& key);
// `other_unique`: the target has unique indexes beside the route's key. The route has a key.
Adoption make_adoption(const mapping::Route& route, std::vector<KeyColumn> key, bool other_unique);
// Fills `want` from a table that looks like the source's.
std::string want_sql(const mapping::Route& route, const Adoption& adoption, const std::string& from);

struct Mended {
  std::int64_t removed = 0;
  std::int64_t changed = 0;
  std::int64_t added = 0;
  [[nodiscard]] bool any() const { return removed + changed + added > 0; }
};
// In the transaction that is open, in which `want` was filled with the range's rows. No range: with those of keys whose
// rows were deleted before (ChunkMap::punch), so that nothing is removed.
Mended mend(pg::Connection& target, const Adoption& adoption, const Range* range);

}  // namespace walign::backfill
