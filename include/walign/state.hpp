// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// state: everything walign keeps on local disk, and the comparison that decides where a start goes on.
// The truth about the position is on the target (walign.stream); what is here makes a saved LSN usable
// and lets a start notice that a server is not the one it was. Knows no server: it is told the facts.
//
//   DIRECTORY/format        text: that this is walign's, its format, its migration
//   DIRECTORY/db/           one RocksDB
//   DIRECTORY/journal/      transactions as they were received (walign/journal.hpp)
//   DIRECTORY/spill/        transactions that are still running (walign/spill.hpp); nothing after a restart
//   DIRECTORY/reports/      what changes of sides have left on paper
//   DIRECTORY/reverse/      the same of the way back, while there is one
//   DIRECTORY/control.sock  the sidecar's (module service)
//
//   column family   key                          value (walign.v1, behind a format byte and its length)
//   identity        "identity"                   Identity
//   checkpoints     durable LSN, big-endian u64  Checkpoint
//   phase           "phase"                      text
//   dirty           table, 0, key                generation, u64
//   verify          table                        Verification; "", the position up to which `dirty` is complete, u64
//
// Invariants
//  1. put_checkpoint() returns after the record is on disk (fsync); only then may its position be
//     acknowledged to the slot. The same for all that writes here, but for what verification keeps: that survives a
//     kill of the process, not one of the machine, and says itself how far it goes.
//  2. The newest checkpoint's durable_lsn never goes back, except through forget_after() (a rewind).
//     The same one may be put again.
//  3. A directory belongs to one process (RocksDB's lock), one migration and one format; anything else
//     is refused with a hint and left as it was.
//  4. A value that cannot be read is Error(storage) naming the directory, family and key; never skipped.
//  5. decide_start() goes on only where nothing can be missing: never above the target's position, never
//     with a slot that has confirmed more than the target, or a journal that the target is in, has.
//
// The history of checkpoints is thinned as it is written: all of the newest 10,000, then one an hour.
// Losing the directory loses that history, and the means to notice that the target went back in time;
// the next start writes it anew from the target.
//
// Threads: a Store may be used from any thread.
#pragma once

#include <memory>

#include "walign/base.hpp"
#include "walign/v1/state.pb.h"

namespace walign::state {

// What is written of the keys that have changed since they were last verified, in one go.
struct DirtyKeys {
  struct Key {
    std::string table;
    std::string key;               // any bytes
    std::uint64_t generation = 0;  // when it changed
  };
  std::vector<Key> put;
  std::vector<Key> forget;                 // whatever their generation
  std::vector<std::string> forget_tables;  // all keys; before `put`
  std::optional<Lsn> complete_to;          // the keys of all transactions that end at or below this are here
};

class Store {
 public:
  // Opens the directory for writing, making it (mode 0700) where it is missing. Throws
  // Error(precondition) where it is held, foreign, of a newer format or not permitted; Error(storage)
  // where the disk refuses or what is on it is damaged.
  static std::unique_ptr<Store> open(const std::string& directory, const std::string& migration);
  // Opens for reading, also while a sidecar holds it; sees what was there at this moment and changes
  // nothing on disk. Its put_ and forget_ functions must not be called. Error(precondition) where there
  // is none.
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

  // ---- verification: not flushed to the disk
  virtual void write_dirty(const DirtyKeys& keys) = 0;
  // Every dirty key of a table, in the order of their bytes.
  virtual void for_each_dirty(
      const std::string& table,
      const std::function<void(std::string_view key, std::uint64_t generation)>& visit) = 0;
  virtual Lsn dirty_complete_to() = 0;  // 0 if never written
  virtual void put_verification(const v1::Verification& verification) = 0;
  virtual std::vector<v1::Verification> verifications() = 0;

  // Bytes on disk, roughly.
  virtual std::uint64_t disk_bytes() = 0;

 protected:
  Store() = default;
};

// ------------------------------------------------------------------------------- files beside a store

// Writes DIRECTORY/reports/NAME, whole or not at all; on disk when it returns its path. Error(storage, precondition).
std::string keep_report(const std::string& directory, const std::string& name, std::string_view text);
// Removes a directory that no process uses, with all that is in it; false where there was none. Error(storage) where
// the disk refuses, with what is left.
bool remove_directory(const std::string& path);

// ------------------------------------------------------------------------------- where to go on from

// What the source says of the slot.
struct SlotFacts {
  std::string name;
  std::string plugin;
  std::string database;
  std::string wal_status;  // reserved, extended, unreserved, lost
  Lsn confirmed_flush;     // 0: NULL, the slot is still being made
  Lsn restart;
  bool temporary = false;
  bool two_phase = false;
  int active_pid = 0;  // 0: nobody reads it
};
// What the target's row in walign.stream says.
struct TargetFacts {
  Lsn position;  // 0: the row exists, its slot was never finished
  std::string source_system_id;
  std::uint32_t source_timeline = 0;
  std::string source_database;
  std::string slot;
  std::string mapping_hash;
};
// What this state directory says; one that has no identity yet says nothing.
struct StoreFacts {
  v1::Identity identity;
  Lsn durable;                      // newest checkpoint; 0 if none
  std::string phase = "streaming";  // as put_phase() keeps it
};
// Everything that committed in [from, to) is in the journal, on disk.
struct JournalFacts {
  Lsn from;
  Lsn to;
};
struct StartFacts {
  std::string source_system_id;  // of the servers that are connected now
  std::uint32_t source_timeline = 0;
  std::string source_database;
  Lsn source_flushed;  // the source's WAL flush position; 0: not asked
  std::string target_system_id;
  std::string target_database;
  std::string mapping_hash;  // of the configuration that is to run now
  std::string slot_name;
  bool slot_is_brought = false;  // configured with `slot:`
  std::optional<SlotFacts> slot;
  std::optional<TargetFacts> target;
  std::optional<StoreFacts> store;
  std::optional<JournalFacts> journal;  // none: it is empty
};

struct Start {
  enum class Action {
    create,    // nothing exists: make the slot, stream from its consistent point
    recreate,  // a slot of ours was left half made: drop it and make it again
    adopt,     // a slot the operator brings, never used: stream from its confirmed position
    resume,    // go on at `from`
  };
  Action action = Action::create;
  Lsn from;  // resume: the position that the target has; adopt: the slot's
  // resume: where the slot goes on. Above `from`: what lies between comes from the journal. Below: it is received
  // again for the journal alone, which a crash left behind the target.
  Lsn stream_from;
  bool begin_journal = false;  // resume: the journal cannot be gone on with; it begins at `from`
  bool rewound = false;        // resume: saved positions above `from` are to be forgotten
  bool rebuild_store = false;  // resume: the state directory is new or lags, write it from the target
  // resume: the target's rows up to `from` were written under another mapping. What that means (a table
  // more, a column's expression changed) is the caller's to judge; the position is good either way.
  bool mapping_changed = false;
  std::string note;  // what was unusual, for the log; empty if nothing
};

// DESIGN section 6's table, pure; test/data/state/start.txt has every case as a transcript. Throws,
// always with a hint, for every case that cannot be gone on with exactly:
//   Error(precondition)  another system identifier, timeline or database; another migration's slot; a
//                        slot gone, invalidated, of another plugin, or past the target; a source or a
//                        target that went back in time (a target behind this directory), further than the
//                        journal reaches
//   Error(transient)     all is well, but somebody reads the slot (maybe our own old connection)
// create, recreate and adopt begin the stream: the caller writes the target's row and the identity anew.
Start decide_start(const StartFacts& facts);

}  // namespace walign::state
