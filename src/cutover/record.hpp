// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The two rows that decide who may write: walign.fence, one on each side's server.
//
//   giver   OPEN -> FENCING -> FENCED -> SEALED, and back to OPEN
//   taker   CLOSED | ABORTED | SEALED -> CLOSED -> OPEN | ABORTED
//
// In a cutover the source gives and the target takes; in a rollback the other way round.
#pragma once

#include "walign/base.hpp"

namespace walign::cutover {

enum class Side : std::uint8_t { source, target };
constexpr Side other(Side side) { return side == Side::source ? Side::target : Side::source; }

enum class RowState : std::uint8_t { open, fencing, fenced, sealed, closed, aborted };

// Every change of a row is a compare-and-set on (epoch, state) and, but for that of a writer whose lease is over,
// on the owner.
struct FenceRow {
  std::uint64_t epoch = 0;  // of the attempt, not of the stream's start
  RowState state = RowState::open;
  std::uint64_t owner = 0;  // the stream's start epoch (walign.stream) of the instance that wrote it
  std::optional<std::int64_t> lease_until_us;  // since 1970, by that server's clock
  std::optional<Lsn> fence_lsn;                // taker: the marker's commit, as the stream brought it
  bool operator==(const FenceRow&) const = default;
};

}  // namespace walign::cutover
