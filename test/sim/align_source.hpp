// A source for the simulation of the copy: transactions whose commits are decoded before they are visible, and become
// visible in another order.
#pragma once

#include <map>
#include <random>
#include <set>

#include "walign/align.hpp"

namespace walign::test {

struct Change {
  enum class Kind { insert, update, remove, move } kind;
  int key;
  int new_key;  // of a move
  std::uint64_t value;
  bool whole = true;  // false: of a move, which does not bring the value
};
using Table = std::map<int, std::uint64_t>;

// A row operation on a table; false where the row is not as the change expects it.
inline bool apply_change(Table& table, const Change& change) {
  switch (change.kind) {
    case Change::Kind::insert: return table.emplace(change.key, change.value).second;
    case Change::Kind::update: {
      const auto found = table.find(change.key);
      if (found == table.end()) return false;
      found->second = change.value;
      return true;
    }
    case Change::Kind::remove: return table.erase(change.key) == 1;
    case Change::Kind::move: {
      const bool was = table.erase(change.key) == 1;
      return table.emplace(change.new_key, change.value).second && was;
    }
  }
  return false;
}

struct Transaction {
  Xid xid;
  std::vector<Change> changes;
  bool committed = false;  // in the WAL; visible later
};

// The source: rows are locked by a transaction until it is visible, which is some time after its commit record can
// be decoded.
class Source {
 public:
  struct Record {
    Lsn lsn;
    Transaction transaction;
  };

  Source(std::mt19937& random, int keys) : random_(random), keys_(keys) {
    for (int k = 0; k < keys; ++k) {
      if (chance(0.7)) start_.emplace(k, static_cast<std::uint64_t>(k));
    }
  }

  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }
  int below(int n) { return std::uniform_int_distribution<>(0, n - 1)(random_); }

  void begin() {
    const Xid xid(next_xid_++);
    running_[xid] = {xid, {}, false};
  }

  void write() {
    Transaction* t = pick(false);
    if (t == nullptr) return;
    const int key = below(keys_);
    if (!lock(key, t->xid)) return;
    const Table now = seen_by(t);
    const std::uint64_t value = ++values_ + 1'000;
    if (!now.contains(key)) {
      t->changes.push_back({Change::Kind::insert, key, 0, value});
    } else if (chance(0.25)) {
      t->changes.push_back({Change::Kind::remove, key, 0, 0});
    } else if (chance(0.33)) {
      const int to = below(keys_);
      if (now.contains(to) || !lock(to, t->xid)) return;
      const bool whole = chance(0.5);
      t->changes.push_back({Change::Kind::move, key, to, whole ? value : now.at(key), whole});
    } else {
      t->changes.push_back({Change::Kind::update, key, 0, value});
    }
  }

  // A session that waits for its commit to become visible does nothing else: there are only so many.
  void commit() {
    constexpr std::ptrdiff_t kMostWaiting = 6;
    if (std::count_if(running_.begin(), running_.end(), [](const auto& r) { return r.second.committed; }) >=
        kMostWaiting) {
      return show();
    }
    Transaction* t = pick(false);
    if (t == nullptr) return;
    t->committed = true;
    wal.push_back({Lsn(++lsn_), *t});
  }

  void show() {
    Transaction* t = pick(true);
    if (t == nullptr) return;
    visible_.push_back(*t);
    std::erase_if(locks_, [&](const auto& l) { return l.second == t->xid; });
    running_.erase(t->xid);
  }

  void settle() {
    while (Transaction* t = pick(false)) {
      t->committed = true;
      wal.push_back({Lsn(++lsn_), *t});
    }
    while (pick(true) != nullptr) show();
  }

  [[nodiscard]] Snapshot snapshot() const {
    Snapshot s{Xid(next_xid_), Xid(next_xid_), {}};
    for (const auto& [xid, t] : running_) s.running.push_back(xid);
    if (!s.running.empty()) s.xmin = s.running.front();
    return s;
  }

  // Everything that is committed in the WAL so far, visible or not: what the slot's stream will not bring.
  [[nodiscard]] Snapshot birth() const {
    Snapshot s{Xid(next_xid_), Xid(next_xid_), {}};
    for (const auto& [xid, t] : running_) {
      if (!t.committed) s.running.push_back(xid);
    }
    if (!s.running.empty()) s.xmin = s.running.front();
    return s;
  }

  [[nodiscard]] Table read(const Snapshot& snapshot) const {
    Table table = start_;
    for (const auto& t : visible_) {
      if (!snapshot.inside(t.xid)) continue;
      for (const auto& change : t.changes) apply_change(table, change);
    }
    return table;
  }

  [[nodiscard]] Table at(std::size_t position) const {
    Table table = start_;
    for (std::size_t i = 0; i < position; ++i) {
      for (const auto& change : wal[i].transaction.changes) apply_change(table, change);
    }
    return table;
  }

  [[nodiscard]] Lsn end() const { return Lsn(lsn_); }

  std::vector<Record> wal;

 private:
  Transaction* pick(bool committed) {
    std::vector<Transaction*> all;
    for (auto& [xid, t] : running_) {
      if (t.committed == committed) all.push_back(&t);
    }
    return all.empty() ? nullptr : all[static_cast<std::size_t>(below(static_cast<int>(all.size())))];
  }
  bool lock(int key, Xid xid) { return locks_.emplace(key, xid).first->second == xid; }
  [[nodiscard]] Table seen_by(const Transaction* t) const {
    Table table = start_;
    for (const auto& v : visible_) {
      for (const auto& change : v.changes) apply_change(table, change);
    }
    for (const auto& change : t->changes) apply_change(table, change);
    return table;
  }

  std::mt19937& random_;
  const int keys_;
  Table start_;
  std::map<Xid, Transaction> running_;
  std::vector<Transaction> visible_;
  std::map<int, Xid> locks_;
  std::uint64_t next_xid_ = 1;
  std::uint64_t lsn_ = 1;
  std::uint64_t values_ = 0;
};

}  // namespace walign::test
