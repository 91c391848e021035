// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One comparison's way to the same moment on both sides. Pure decisions; the loop, the worker and the simulation
// (test/sim/verify_test.cpp) use these.
//
//   announce   the source's snapshot S and its fence are known
//   open       S's aligned moment: everything inside S is applied, nothing outside; the target's snapshot is made
//   counts     the stream has passed the fence, and nothing inside S came after the aligned moment
//
// While it is announced and not open, nothing outside S may be taken. After that the stream goes on. Visibility and
// WAL order can differ: a transaction inside S may come after one outside, and so after the aligned moment. If it
// touches the table, the source's rows have it and the target's have not: the comparison is made again.
//
// What was taken without passing the gate before verification began could be decoded and not yet visible: see Unseen.
#pragma once

#include "walign/align.hpp"

namespace walign::verify {

class Meeting {
 public:
  Meeting(Snapshot snapshot, Lsn fence) : snapshot_(std::move(snapshot)), fence_(fence) {}

  [[nodiscard]] const Snapshot& snapshot() const { return snapshot_; }
  [[nodiscard]] Lsn fence() const { return fence_; }
  [[nodiscard]] bool is_open() const { return open_; }
  [[nodiscard]] bool again() const { return again_; }

  [[nodiscard]] bool must_open(std::optional<Xid> next, Lsn reached) const {
    return !open_ && align::aligned(snapshot_, fence_, next, reached);
  }
  void opened() { open_ = true; }

  [[nodiscard]] bool may_take(Xid xid) const { return open_ || snapshot_.inside(xid); }
  // `xid`: nothing where it did not pass the gate, so that nobody knows whether it is inside.
  void took(std::optional<Xid> xid, bool touches_the_table) {
    if (!touches_the_table) return;
    if (!xid || (open_ && snapshot_.inside(*xid))) again_ = true;
  }
  // Everything below `reached` has been taken.
  [[nodiscard]] bool counts(Lsn reached) const { return open_ && !again_ && reached >= fence_; }
  [[nodiscard]] bool decided(Lsn reached) const { return again_ || counts(reached); }

 private:
  Snapshot snapshot_;
  Lsn fence_;
  bool open_ = false;
  bool again_ = false;
};

inline constexpr std::size_t kManyUnseen = 8192;  // worth asking which are visible by now

// Transactions that were taken without passing the gate, and perhaps are not visible yet (with a synchronous standby
// that can take long). A snapshot that does not have all of them inside sees less than the target has.
class Unseen {
 public:
  void add(std::uint32_t xid) { narrow_.push_back(xid); }
  void add(Xid xid) { wide_.push_back(xid); }
  void remove(Xid xid) { std::erase(wide_, xid); }
  [[nodiscard]] std::size_t size() const { return narrow_.size() + wide_.size(); }
  [[nodiscard]] const std::vector<Xid>& left() const { return wide_; }
  // Whether all are inside; those that are need not be remembered.
  bool all_inside(const Snapshot& snapshot) {
    for (const auto xid : narrow_) wide_.push_back(Xid::widen(xid, snapshot.xmax));
    narrow_.clear();
    std::erase_if(wide_, [&](Xid xid) { return snapshot.inside(xid); });
    return wide_.empty();
  }

 private:
  std::vector<std::uint32_t> narrow_;  // as the stream has them
  std::vector<Xid> wide_;
};

}  // namespace walign::verify
