// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// state: everything walign keeps on local disk, in one RocksDB, and the comparison that decides where a
// start goes on. The truth about the position is on the target (walign.stream); what is here makes a saved
// LSN usable and lets a start notice that a server is not the one it was.
//
//   column family   key                          value (walign.v1, behind a format byte)
//   identity        "identity"                   Identity
//   checkpoints     durable LSN, big-endian u64  Checkpoint
//   phase           "phase"                      text
//
// Invariants
//  1. put_checkpoint() returns after the record is on disk (fsync); only then may its position be
//     acknowledged to the slot.
//  2. The newest checkpoint's durable_lsn never goes back, except through forget_after() (a rewind).
//  3. A directory belongs to one process (RocksDB's lock), one migration and one format; anything else is
//     refused with a hint and left as it was.
//  4. A value that cannot be read is Error(storage) naming the directory, family and key; never skipped.
//
// The history of checkpoints is thinned as it is written: all of the newest 10,000, then one an hour.
// Threads: a Store may be used from any thread.
#pragma once

#include <memory>

#include "walign/base.hpp"
#include "walign/v1/state.pb.h"

namespace walign::state {

class Store {
 public:
  // Opens the directory for writing, making it (mode 0700) where it is missing. Throws Error(precondition)
  // where it is held, foreign or of a newer format; Error(storage) where the disk refuses.
  static std::unique_ptr<Store> open(const std::string& directory, const std::string& migration);
  // Opens for reading, also while a sidecar holds it; sees what was there at this moment.
  static std::unique_ptr<Store> open_read_only(const std::string& directory);
  virtual ~Store() = default;

  virtual std::optional<v1::Identity> identity() = 0;
  virtual void put_identity(const v1::Identity& identity) = 0;

  virtual void put_checkpoint(const v1::Checkpoint& checkpoint) = 0;
  virtual std::optional<v1::Checkpoint> newest_checkpoint() = 0;
  // The one with exactly this durable LSN.
  virtual std::optional<v1::Checkpoint> checkpoint(Lsn durable) = 0;
  // Newest first, at most `limit`.
  virtual std::vector<v1::Checkpoint> checkpoints(std::size_t limit) = 0;
  // Deletes the checkpoints above `lsn`; on disk when it returns.
  virtual void forget_after(Lsn lsn) = 0;

  virtual std::string phase() = 0;  // "new" if never set
  virtual void put_phase(const std::string& phase) = 0;

  // Bytes on disk, roughly.
  virtual std::uint64_t disk_bytes() = 0;

 protected:
  Store() = default;
};

// ------------------------------------------------------------------------------- where to go on from

// What the source says of the slot.
struct SlotFacts {
  std::string name;
  std::string plugin;
  std::string database;
  std::string wal_status;    // reserved, extended, unreserved, lost
  Lsn confirmed_flush;
  Lsn restart;
  bool temporary = false;
  bool two_phase = false;
  int active_pid = 0;        // 0: nobody reads it
};
// What the target's row in walign.stream says.
struct TargetFacts {
  Lsn position;              // 0: the row exists, its slot was never finished
  std::string source_system_id;
  std::uint32_t source_timeline = 0;
  std::string source_database;
  std::string slot;
  std::string mapping_hash;
};
// What this state directory says.
struct StoreFacts {
  v1::Identity identity;
  Lsn durable;               // newest checkpoint; 0 if none
};
struct StartFacts {
  std::string source_system_id;  // of the servers that are connected now
  std::uint32_t source_timeline = 0;
  std::string source_database;
  std::string target_system_id;
  std::string target_database;
  std::string slot_name;
  bool slot_is_brought = false;  // configured with `slot:`
  std::optional<SlotFacts> slot;
  std::optional<TargetFacts> target;
  std::optional<StoreFacts> store;
};

struct Start {
  enum class Action {
    create,         // nothing exists: make the slot, stream from its consistent point
    recreate,       // a slot of ours was left half made: drop it and make it again
    adopt,          // a slot the operator brings, never used: stream from its confirmed position
    resume,         // go on at `from`
  };
  Action action = Action::create;
  Lsn from;                     // adopt, resume: the position that the target has
  bool rebuild_store = false;   // the state directory is new or lags: write it from the target
  std::string note;             // what was unusual, for the log; empty if nothing
};

// DESIGN section 6's table, pure. Throws Error(precondition) with a hint for every case that cannot be gone
// on with exactly: another system identifier or timeline or database, another migration's slot, a slot gone,
// invalidated, of another plugin, or past the target; a target behind this directory (it went back in time).
Start decide_start(const StartFacts& facts);

}  // namespace walign::state
