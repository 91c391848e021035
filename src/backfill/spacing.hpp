// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Where the next chunk ends, without asking the source: as far on in the keys as the last chunk went, in proportion to
// the rows that it should have. Only for keys that are numbers (integers; uuids, by their first half). A cut need be no
// row's key, and a range that turns out to have more rows is cut by its reader. Asking costs the source a walk along
// the index over every row of the chunk: a seventh of what reading them costs (measured with rows of 200 bytes).
//
// Threads: plain values.
#pragma once

#include "key_order.hpp"

namespace walign::backfill {

class Spacing {
 public:
  Spacing() = default;
  explicit Spacing(const std::vector<KeyColumn>& key);
  // The source was asked where to cut, or not, and its range had so many rows of `planned`.
  void learn(const Range& range, std::int64_t rows, std::int64_t planned);
  // The end of a chunk that begins where the range does: a bound inside it, or the range's own upper one. Nothing where
  // the source must be asked: both ends must be known, and the last chunk have had about as many rows as it should.
  [[nodiscard]] std::optional<Bound> cut(const Range& range, std::int64_t rows) const;
  // How many different keys the range has room for, where they are integers and both ends are known.
  [[nodiscard]] std::optional<std::uint64_t> room(const Range& range) const;

 private:
  struct Ends {
    std::uint64_t lower;
    std::uint64_t upper;
  };
  [[nodiscard]] std::optional<Ends> ends_of(const Range& range) const;

  std::optional<Comparison> numbers_;  // what they are; nothing: the key is none
  double per_row_ = 0;                 // 0: not known
};

}  // namespace walign::backfill
