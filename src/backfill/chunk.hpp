// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Key ranges. A chunk is a range of the source's own order of the table's copy key: the columns of the primary key
// (or of the replica identity's index). Values are PostgreSQL's text output.
#pragma once

#include "walign/align.hpp"
#include "walign/base.hpp"

namespace walign::backfill {

using Key = std::vector<std::string>;

// A place between keys: just before `key`, or just after it. Without a key: before all keys (as a lower bound),
// after all keys (as an upper bound).
struct Bound {
  std::optional<Key> key;
  bool after = false;
  bool operator==(const Bound&) const = default;
};

// All keys k with lower <= "just before k" < upper.
struct Range {
  Bound lower;
  Bound upper;
  bool operator==(const Range&) const = default;
  [[nodiscard]] bool everything() const { return !lower.key && !upper.key; }
  // One key: what ChunkMap::punch() makes.
  [[nodiscard]] bool one_key() const {
    return lower.key && lower.key == upper.key && !lower.after && upper.after;
  }
};

}  // namespace walign::backfill
