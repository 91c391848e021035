// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// align: which rows a copy has and which the stream must bring. Pure decisions; the loop, the chunk readers and
// the simulation (test/sim) all use these.
//
// A snapshot S of the source splits the transactions of the stream into those inside it (visible in it) and those
// outside. LSNs cannot: a commit is in the WAL, and decoded, before it is visible, and with a synchronous standby
// long before. A table that is being copied is cut into key ranges (chunks), each read under a snapshot of its
// own. For a change of key k, in a transaction with id x, of the chunk that k lies in:
//
//   chunk \ x      inside S           outside S
//   pending        drop: whatever reads the chunk later will see it (the gate makes sure)
//   in flight      drop: the chunk has it             wait: the chunk must be loaded first
//   loaded         drop: the chunk has it             apply
//
// Five rules make that exact. Each is a function here or a duty of the one that is named:
//  1. Gate      (the loop)   a transaction is taken only when a bare snapshot, made after it was received, has it
//                            inside: what was dropped as pending is inside every later snapshot.
//  2. Birth     may_serve()  a snapshot serves a chunk only if everything inside the slot's first snapshot is
//                            inside it: a transaction that committed before the slot began and became visible
//                            after is in no stream.
//  3. Announce  (the reader) between a chunk's snapshot and its being known as in flight nothing is taken.
//  4. Wait      judge()      see the table.
//  5. Inside    (the loop)   S stays with a loaded chunk until the stream has passed its fence, across restarts.
//
// A fence is the end of the source's WAL read just after S: everything inside S committed below it.
//
// Threads: plain values.
#pragma once

#include "walign/base.hpp"

namespace walign::align {

enum class ChunkState : std::uint8_t { pending, in_flight, loaded };

// What is known of a chunk when a change of one of its keys arrives.
struct ChunkView {
  ChunkState state = ChunkState::pending;
  const Snapshot* snapshot = nullptr;  // in flight; loaded until its fence is passed, null after
};

enum class Verdict : std::uint8_t { apply, drop, wait };

inline Verdict judge(const ChunkView& chunk, Xid xid) {
  if (chunk.state == ChunkState::pending) return Verdict::drop;
  if (chunk.snapshot != nullptr && chunk.snapshot->inside(xid)) return Verdict::drop;
  return chunk.state == ChunkState::in_flight ? Verdict::wait : Verdict::apply;
}

// What becomes of an UPDATE that moves a row from one key to another.
enum class MoveVerdict : std::uint8_t {
  update,      // both keys' chunks take it
  insert_new,  // only the new key's does: the old row is not here yet, or was never copied
  delete_old,  // only the old key's does: the new row comes, or came, with its chunk
  drop,
  wait,
};

inline MoveVerdict judge_move(const ChunkView& old_chunk, const ChunkView& new_chunk, Xid xid) {
  const Verdict from = judge(old_chunk, xid);
  const Verdict to = judge(new_chunk, xid);
  if (from == Verdict::wait || to == Verdict::wait) return MoveVerdict::wait;
  if (from == Verdict::apply) return to == Verdict::apply ? MoveVerdict::update : MoveVerdict::delete_old;
  return to == Verdict::apply ? MoveVerdict::insert_new : MoveVerdict::drop;
}

// Rule 2. `birth` is the snapshot of the slot's consistent point, or of a moment after which every transaction
// that touches the table is streamed.
inline bool may_serve(const Snapshot& snapshot, const Snapshot& birth) {
  if (snapshot.xmax < birth.xmax) return false;
  return std::none_of(snapshot.running.begin(), snapshot.running.end(),
                      [&](Xid running) { return birth.inside(running); });
}

// Has the aligned moment of S come: every transaction inside S applied, none outside? `next` is the transaction
// that the stream would bring next, if it is known; `delivered` is what the stream has passed.
inline bool aligned(const Snapshot& snapshot, Lsn fence, std::optional<Xid> next, Lsn delivered) {
  return delivered >= fence || (next && !snapshot.inside(*next));
}

}  // namespace walign::align
