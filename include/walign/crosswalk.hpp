// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// crosswalk: source keys for rows that were made on the target without one (reverse_key:, mapping::DrawnKey).
//
// A row made on the target has NULL where its source key is to stand. The way back gives each such change the row's key
// before anything else sees it, so that whoever batches, applies, verifies or sets changes aside knows rows with keys
// only; then the key is written into the target's row.
//
//   change, key NULL ──fill()──> the same change with its key ──> source transaction ──> durable ──tend()──> the row
//                        │                                           │
//                        └─ drawn on the source, once per row        └─ with the entry in walign.crosswalk
//
// Invariants
//  1. At each position of the stream every row that has no key there (as of that position) has one entry: its primary
//     key, and its key on the source. The entry is made when the stream first meets the row, moves when its primary key
//     changes, and goes with the row, in the source transaction that applies the change: both are there, or neither.
//  2. A key is written into a row only when that transaction is in the source's flushed WAL: no crash takes back a key
//     that the target has.
//  3. It is written only into the version of the row that the stream has brought, known by its xmin: the transaction's
//     own id or, for one written by a subtransaction, an xmin that the stream had not explained otherwise when it had
//     passed everything that was committed as it was seen. A row that was changed, deleted or made again meanwhile is
//     left alone: its change is still to come, and finds its entry. Commits are decoded, and applied, before they can
//     be seen: until then nothing is concluded from what is there, or is not.
//  4. An entry is kept until the stream has passed the writing of its key. Row locks order the two: a change that came
//     without the key committed before it, so none comes later.
//  5. What is written back begins with the forward stream's signature, passes the fence by its setting, and fires no
//     trigger where that is permitted: the way back passes it over, and nothing takes it for the application's.
//
// A crash at any point is made good at the next start: the entries are read again, and each row is looked at. Nobody
// who holds a row's lock is waited for: the row's turn comes again.
//
// Threads: one; it belongs to the loop.
#pragma once

#include "walign/apply.hpp"

namespace walign::apply {

class Crosswalk {
 public:
  struct Options {
    pg::ConnectionOptions keys;  // where rows are inserted: keys are drawn there, walign.crosswalk is there
    pg::ConnectionOptions rows;  // where rows were made
    std::string stream;          // the way back's
    std::string signature;       // with which transactions begin that the way back passes over
  };
  // Connects, makes walign.crosswalk where it is missing, reads the entries. `routes` outlive it.
  Crosswalk(Options options, const std::vector<mapping::Route>& routes);
  ~Crosswalk();
  Crosswalk(const Crosswalk&) = delete;
  Crosswalk& operator=(const Crosswalk&) = delete;

  static bool needed(const std::vector<mapping::Route>& routes);

  // Gives the part's changes their keys. What it returns belongs to the transaction that applies the part; nothing
  // where nothing changed. Parts in the order of the stream, each once.
  std::vector<Extra> fill(event::TransactionPart& part);
  // Writes keys into rows. `position`: committed on the source; `reached`: everything that ends at or below it was
  // filled. Error(precondition) where a row has another key.
  void tend(Lsn position, Lsn reached);
  // The first commit whose key is not in its row yet: nothing from there on is to be acknowledged. The highest position
  // if there is none.
  [[nodiscard]] Lsn owed() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Deletes the stream's entries, or the table where no stream is left; in the caller's transaction.
void forget_crosswalk(pg::Connection& server, const std::string& stream, bool last_stream);

}  // namespace walign::apply
