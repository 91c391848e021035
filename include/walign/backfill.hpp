// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// backfill: the rows that were there before. Every table is cut into key ranges (chunks); workers read each under a
// short snapshot of its own and load it, while the stream goes on; together they are exact by the five rules of
// walign/align.hpp.
//
//   worker   claim a pending range ──> lock, snapshot, announce ──> COPY ──┬─> rows and chunk records, one transaction
//               ^──── the next range, where rows are piped through ─────────┘
//   loop     each part: gate ──> judge every change by its key's chunk: apply, drop, wait
//   table    pending ──> backfilling ──> [every chunk loaded and its fence passed] streaming
//
// Invariants
//  1. A chunk's rows and its record in walign.chunk are one target transaction, alone or with other chunks of its
//     table. What has no record is pending: a kill at any instant costs at most the chunks in flight.
//  2. No snapshot of the source lives longer than one chunk, or, for single keys (5), than the stream's lag.
//  3. Nothing is written to the source but, when it is idle, a logical message.
//  4. A loaded chunk keeps its snapshot until the stream has passed its fence, across restarts.
//  5. A key whose row the stream cannot bring (a value it does not have) becomes a pending chunk of one key. These are
//     read together, under one snapshot, at its aligned moment: why a copy ends whatever its table's load is told in
//     fill.cpp.
//  6. After a TRUNCATE of the source the whole table is pending again.
//
// A chunk of a table whose only unique index is its key is committed as soon as it is read, or together with those
// that its worker reads behind it, for a bounded time and only while the stream waits for nothing. A table with other
// unique indexes could meet a value that a row not yet caught up still holds: its chunks are loaded at their aligned
// moment, while the loop takes nothing outside their snapshot; one that meets a unique violation is taken again.
//
// A table without a usable key is one chunk. A table that expressions look into is complete before its readers begin.
//
// What becomes of rows that the target has before a table's copy begins, existing_rows says: the start is refused; or
// they are deleted in the transaction that records the beginning; or (adopt) each chunk is compared with them in the
// transaction of its record, and writes only what differs. The record says which, so a later setting changes nothing.
//
// Threads: workers of its own, each with a connection to either server. See stream::Companion for who calls what.
#pragma once

#include "walign/stream.hpp"

namespace walign::backfill {

// `no_backfill`: every table of a new migration counts as complete (the operator has brought the rows).
std::unique_ptr<stream::Companion> make(bool no_backfill);

}  // namespace walign::backfill
