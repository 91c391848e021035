// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The two rows that decide who may write: walign.fence, one on each side's server.
//
//   giver   OPEN -> FENCING -> FENCED -> SEALED, and back to OPEN
//   taker   CLOSED | ABORTED | SEALED -> CLOSED -> OPEN | ABORTED
//
// In a cutover the source gives and the target takes; in a rollback the other way round.
//
// What those who decide (protocol.hpp) and those who write the SQL agree on:
//  1. A compare-and-set finds the row exactly as its changer last read or wrote it: epoch, state and owner; it writes
//     the changer's owner. Each in a transaction of its own with synchronous_commit = on. Who reads an owner newer
//     than himself has been displaced, and changes nothing.
//  2. A row is read FOR UPDATE and let go at once. Nobody ever waits for one row while holding the other, but for
//     the seal: it holds the taker's row and writes the giver's. (Both rows locked by a reader would be a deadlock
//     over two servers, which nobody sees.)
//  3. The raise sets fence_lsn to NULL. The applier that passes a marker writes fence_lsn into the taker's row
//     only where the row is at (the marker's epoch, CLOSED): a late marker of a dead attempt proves nothing.
//  4. Every transaction that locks a row has idle_in_transaction_session_timeout (at most max_pause): the server itself
//     ends that of an instance that has stalled. Without it nobody could ever read the row again, since ending the old
//     sessions at a start does not reach a lock that a stalled instance takes after it (the simulation found this).
//  5. A side that a human opens alone, the other being gone for ever (walign.reopen, recover --gone), gets epoch + 1,
//     and in the same transaction the stream that writes to it gets a new start epoch: should the other side be alive
//     after all, what is in flight from there fails with its position, and whoever starts again finds the side open.
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
  // From where on the stream that writes to this side applies: the commit with which the other side was opened, as
  // that stream brought it; 0 where it has applied ever since it was made. Nothing: it listens, since this side takes
  // writes, or the stream has not passed that commit yet. Opening this side forgets it.
  std::optional<Lsn> open_lsn = std::nullopt;
  // Of the target's row: why what is written on the target could not come back without loss; empty if it could.
  std::string not_back = {};
  bool operator==(const FenceRow&) const = default;
};

}  // namespace walign::cutover
