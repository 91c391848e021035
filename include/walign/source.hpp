// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// source: where transactions come from. One interface, whether they come from a live slot, a capture or the
// journal; and what a live source needs to be set up: publication and slot.
//
//   walsender ──frames──> receiver thread: decode, assemble ──> queue, bounded by bytes ──> next()
//             <──status── receiver thread <── acknowledge(durable)
//
// The highest version of the protocol that the server speaks is asked for. A large transaction comes while it is
// still running; it is kept, on disk past a bound, until it commits (src/source/running.hpp).
//
// The receiver never waits for the target: when the queue is full it stops reading, and goes on sending status
// updates, so that the server neither times out nor forgets what was acknowledged.
//
// Invariants
//  1. Items come in the order of the stream: transactions in commit order, and between them Progress positions
//     below which nothing more will come.
//  2. A Progress position is never that of a moment inside a transaction.
//  3. acknowledge() is the only way a position reaches the slot; it never goes back, and never exceeds what was
//     received. What is acknowledged must be durable on the target and saved: the server may forget it.
//
// Errors of the receiver come out of next(), after the items before them. A Source that threw is finished; make
// another, from the target's position.
//
// Threads: next() and acknowledge() from one thread; received() from any.
#pragma once

#include <memory>
#include <set>
#include <variant>

#include "walign/capture.hpp"
#include "walign/catalog.hpp"
#include "walign/config.hpp"
#include "walign/event.hpp"
#include "walign/journal.hpp"
#include "walign/pg.hpp"
#include "walign/state.hpp"

namespace walign::source {

// Everything that committed below this has been delivered.
struct Progress {
  Lsn lsn;
};
using Item = std::variant<event::TransactionPart, Progress>;

class Source {
 public:
  virtual ~Source() = default;
  // The next item, or nothing if none came within `timeout`.
  virtual std::optional<Item> next(std::chrono::milliseconds timeout) = 0;
  // Everything below `durable` may be forgotten by the source.
  virtual void acknowledge(Lsn durable) = 0;
  // Sends what was acknowledged now, rather than with the next status update; best effort.
  virtual void settle() = 0;
  [[nodiscard]] virtual Lsn received() const = 0;
  [[nodiscard]] virtual Lsn acknowledged() const = 0;
  // Nothing will ever come again: the end of a capture.
  [[nodiscard]] virtual bool ended() const { return false; }
};

struct SlotOptions {
  pg::ConnectionOptions connection;  // `replication` is set here
  // Where it must lead to, if that is known: Error(transient) where it does not.
  std::optional<pg::ServerFacts> server;
  std::string slot;
  std::vector<std::string> publications;
  Lsn from;  // transactions that end at or below are not sent
  std::size_t queue_bytes = std::size_t{32} << 20U;
  // Where transactions that are still running may be put out of memory: a state directory that this process holds.
  // Empty: they are not asked for, and come when they have committed.
  std::string spill_directory;
  std::size_t spill_above_bytes = std::size_t{64} << 20U;
  std::chrono::milliseconds status_interval{1000};
  // A server that says nothing for half of this is asked to; one that says nothing for all of it is given up.
  std::chrono::milliseconds silence_limit{120'000};
};
// Connects and starts streaming. Throws Error: transient where the slot is in use.
std::unique_ptr<Source> open_slot(const SlotOptions& options);

// ------------------------------------------------------------------- captures (walign/capture.hpp)

struct CaptureProgress {
  Lsn position;  // everything that ends here or below is on disk
  std::uint64_t transactions = 0;
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;  // of frames, before compression
};
using TableNames = std::set<std::pair<std::string, std::string>>;  // schema and name
// The tables of some publications, leaves of partitioned ones under their own names.
TableNames published_tables(pg::Connection& source, const std::vector<std::string>& publications);
// Those tables, with the ones that they are partitions of, and what was recorded of them.
v1::SourceCatalog record_catalog(const pg::Catalog& tables, const TableNames& of);
pg::Catalog recorded_catalog(const v1::SourceCatalog& catalog);

struct CaptureOptions {
  SlotOptions slot;          // spill is not used: a capture keeps frames as they come
  v1::CaptureHeader origin;  // who the source is; protocol and slot are set here
  std::string directory;
  std::int64_t segment_bytes = state::kCaptureSegmentBytes;
  Lsn until;               // ends when everything that committed below this is on disk; 0: never
  bool two_phase = false;  // PREPARE TRANSACTION is sent when it happens; the slot stays so for good
  // The source's tables as they are now: asked at the beginning, and where the stream describes one in another way.
  // May be empty: then a replay needs the source.
  std::function<v1::SourceCatalog()> catalog;
  const Interrupt* stop = nullptr;
  std::function<void(const CaptureProgress&)> progress;  // about once a second; may be empty
};
// Records what the slot sends. What is on disk is acknowledged to the slot. Returns at `until`, or when `stop` is
// raised, with all of it on disk. Throws Error; run again, it goes on in a new segment.
CaptureProgress capture(const CaptureOptions& options);

struct ReplayOptions {
  std::string directory;
  Lsn from;                     // transactions that end at or below are passed over; 0: from the beginning
  std::string spill_directory;  // as in SlotOptions; must be given
  std::size_t spill_above_bytes = std::size_t{64} << 20U;
  double pace = 0;  // 1: as fast as it was recorded, 2: twice as fast; 0: as fast as it can be read
};
// The same transactions as the slot brought. Nothing runs beside the caller's thread; acknowledge() does nothing.
// Throws Error(precondition) where the capture begins after `from`.
std::unique_ptr<Source> open_capture(const ReplayOptions& options);

// ---------------------------------------------------------------- the journal (walign/journal.hpp)

// Writes transactions into the journal as they come from a source. The journal has begun, and the source brings all
// that came behind its end; what it has already is passed over.
class JournalWriter {
 public:
  explicit JournalWriter(state::Journal& journal) : journal_(journal) {}
  void add(const event::TransactionPart& part);

 private:
  std::uint32_t number(const event::RelationPtr& relation);

  state::Journal& journal_;
  bool skipping_ = false;
  std::uint32_t numbering_ = 0;                                    // that the numbers are of
  std::unordered_map<event::RelationPtr, std::uint32_t> numbers_;  // of descriptions; keeps them alive
};

// The transactions of the journal in a state directory that commit at `from` or above, up to where it ends now, and
// then that position as Progress. Nothing runs beside the caller's thread; acknowledge() does nothing. Throws
// Error(precondition) where the journal does not have `from`.
std::unique_ptr<Source> open_journal(const std::string& state_directory, Lsn from);
// All that `first` has, then `second`, which goes on where that ends, and is the one that is acknowledged to.
std::unique_ptr<Source> one_after_the_other(std::unique_ptr<Source> first, std::unique_ptr<Source> second);

// -------------------------------------------------------------------------------------------- set-up

std::optional<state::SlotFacts> read_slot(pg::Connection& source, const std::string& slot);
void drop_slot(pg::Connection& source, const std::string& slot);

// Which tables a publication has; nullopt where it does not exist.
std::optional<std::vector<config::TableName>> read_publication(pg::Connection& source,
                                                               const std::string& name);
// Leaves of partitioned tables are published as themselves (publish_via_partition_root = false).
void create_publication(pg::Connection& source, const std::string& name,
                        const std::vector<config::TableName>& tables, bool inserts_only);
void add_to_publication(pg::Connection& source, const std::string& name, const config::TableName& table);
void drop_publication(pg::Connection& source, const std::string& name);

struct NewSlot {
  Lsn consistent_point;  // transactions that commit after this are streamed
  std::string snapshot;  // pg_current_snapshot() of exactly that moment
};
// Makes the slot. `under_snapshot` runs on the walsender inside the snapshot of the slot's beginning: it sees
// exactly the rows that the stream will not bring; if it throws, the slot is dropped again. Slot creation waits
// for every transaction that is running; `still_waiting` is called about every two seconds, and may throw.
// `two_phase`: for captures only, see CaptureOptions.
NewSlot create_slot(const pg::ConnectionOptions& connection, const std::string& slot,
                    const std::function<void(pg::Connection&)>& under_snapshot,
                    const std::function<void()>& still_waiting, bool two_phase = false);

// Sessions whose transactions slot creation waits for: "pid 123 (app, 12 s): UPDATE ...".
std::vector<std::string> running_transactions(pg::Connection& source);

// The source's own time, microseconds since 1970: what its commits are stamped with.
std::int64_t clock_us(pg::Connection& source);
// The source's end of WAL, normalised (RULES 1), and a logical message that moves it and flushes what is below
// (RULES 2): in a transaction of its own, so that the connection must be in none.
Lsn current_lsn(pg::Connection& source, std::uint64_t wal_segment_bytes);
void nudge(pg::Connection& source);

}  // namespace walign::source
