// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The inside of backfill, shared by the files that make it: backfill.cpp (a session, and what the loop tells),
// copies.cpp (the tables it begins with), judge.cpp (what the loop asks), again.cpp (which rows are read again),
// workers.cpp (what they do next), runs.cpp (ranges), fill.cpp (single keys, and why a copy has an end).
#pragma once

#include <deque>
#include <thread>

#include "table_copy.hpp"
#include "walign/backfill.hpp"

namespace walign::backfill {

using Judgement = stream::Companion::Judgement;
using Tables = std::vector<std::unique_ptr<TableCopy>>;

// What a chunk met, for the operator; a row that the target does not take above all.
Error explained(const Error& error, const TableCopy& table);

class Backfill final : public stream::Companion {
 public:
  explicit Backfill(bool no_backfill) : no_backfill_(no_backfill) {}
  ~Backfill() override { stop_workers(); }

  void start(const Session& session) override;
  void stop() override { stop_workers(); }
  [[nodiscard]] bool active() const override {
    const std::lock_guard lock(mutex_);
    return std::any_of(tables_.begin(), tables_.end(), [](const auto& t) { return !t->complete; });
  }
  std::optional<Judgement> judge(const event::TransactionPart& part, Xid xid) override;
  void committed(Lsn position, Lsn reached, std::optional<Xid> next) override;
  [[nodiscard]] Lsn awaited() const override;
  void wait(std::chrono::milliseconds timeout) override;
  void check() override {
    const std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
  }
  void report(stream::Status& status) const override;
  void take_again(int route, const std::vector<std::vector<std::string>>& keys) override;
  [[nodiscard]] std::vector<stream::KeyRange> loaded(int route) const override;
  void pause(bool paused) override {
    const std::lock_guard lock(mutex_);
    paused_ = paused;
    changed_.notify_all();
  }
  void lag(std::int64_t bytes) override;

 private:
  // ---- the loop's thread
  std::unique_ptr<TableCopy> make_table(const Session& session, const mapping::Route& route,
                                        const CopyRow& row);
  CopyRow new_copy(const Session& session, const mapping::Route& route, bool begins);
  std::vector<KeyColumn> adopted_key_of(const Session& session, const mapping::Route& route);
  bool empty_target(const mapping::Route& route);
  Snapshot birth_now();
  void find_chunks(std::vector<KeyedChange>& changes, std::map<TableCopy*, std::uint64_t>& versions);
  void find_entering(const event::TransactionPart& part, std::vector<KeyedChange>& changes);
  bool enters(const v1::Change& change, const v1::Relation& relation, const KeyedChange& keyed);
  bool judge_truncates(const event::TransactionPart& part, std::set<TableCopy*>& truncated);
  std::optional<Judgement> judge_located(const event::TransactionPart& part,
                                         const std::vector<KeyedChange>& changes, Xid xid);
  void punch(TableCopy& table, const Key& key, Judgement& out);
  void begin_again(TableCopy& table, const event::TransactionPart& part, Judgement& out);
  // Until the transaction that changes its chunks is committed on the target: no other ends past its commit record
  // and not past its end.
  static void freeze(TableCopy& table, Lsn commit_lsn) {
    table.frozen = true;
    table.frozen_at = commit_lsn;
  }
  void note_gathered(const KeyedChange& change);
  bool in_the_way(Xid xid) const;
  void reopen(TableCopy& table, const std::vector<Key>& keys);
  void punch_loaded(TableCopy& table, const std::vector<Key>& keys);
  std::int64_t delete_rows(const TableCopy& table, const std::vector<Key>& keys);
  void forget_removed(const std::vector<mapping::Route>& routes, const std::vector<CopyRow>& rows);
  void finish_table(TableCopy& table);
  void save_phase();
  void wake_workers();
  void stop_workers();

  // ---- the workers' threads
  struct Worker {
    std::thread thread;
    bool ended = true;  // or not begun
  };
  void work(Worker& me);
  void work_until_stopped(Worker& me);
  // What a worker does next: a range, or, without one, the pending keys.
  struct Claim {
    TableCopy* table = nullptr;  // null: the end has come
    std::optional<Range> range;
  };
  Claim claim(std::unique_lock<std::mutex>& lock);
  std::optional<Claim> to_do(std::chrono::steady_clock::time_point now);
  void take(const Claim& claim);
  bool fill_is_due(TableCopy& table, std::chrono::steady_clock::time_point now);
  // How far the reading of a range, or of keys, has come.
  struct Reading {
    const TableCopy* table = nullptr;
    bool planning = false;  // TableCopy::planning is this one's
    bool announced = false;
    std::chrono::steady_clock::time_point since;  // of its snapshot
    Snapshot snapshot;
    Lsn fence;
    std::chrono::milliseconds patience{0};  // with a loop that says nothing; 0: without end
    bool may_load = false;                  // at its aligned moment now; of those in waiting_, under the lock
    bool past_fence = false;                // the stream has passed the fence
  };
  // Chunks that one target transaction brings (copier.hpp). The errand of the last one is what steps are about.
  struct Run {
    TableCopy& table;
    Copier& copier;
    std::chrono::steady_clock::time_point since;
    std::deque<std::pair<Errand, Reading>> chunks;  // stay where they are
  };
  void copy_run(Copier& copier, TableCopy& table, const Range& range);
  void settle(Run& run, const std::vector<Copied>& copied);
  void plan(Run& run, const Range& range, Copier::Wait wait);
  void cut(Run& run, Range& range, Copier::Wait wait);
  bool cut_by_spacing(TableCopy& table, Range& range);
  std::optional<Errand> next_of(Run& run, std::int64_t bytes);
  CopySteps steps_for(Run& run);
  using Look = std::function<std::pair<Snapshot, Lsn>()>;
  bool announce(Reading& reading, const TableCopy& table, const Look& look);
  void planned(TableCopy& table, Reading& reading);
  void release(const Reading& reading);
  struct Released {
    Backfill& owner;
    const Reading& reading;
    ~Released() { owner.release(reading); }
  };
  bool announce_range(TableCopy& table, const Range& range, Reading& reading, const Look& look);
  bool wait_for_alignment(Reading& reading, const std::function<void()>& nudge);
  bool wait_until(const std::function<bool()>& decided, const Reading& reading,
                  std::unique_lock<std::mutex>& lock);
  bool may_try_again(TableCopy& table, const Error& error, bool past_fence) const;
  void note_read(std::int64_t bytes);
  void note_copied(TableCopy& table, const Copied& copied);
  void fill(Copier& copier, TableCopy& table);
  bool announce_fill(TableCopy& table, Reading& reading, const Look& look);
  bool held_by_lag(std::chrono::steady_clock::time_point now);
  bool over_rate();
  void note_mended(TableCopy& table, const Mended& mended);

  const bool no_backfill_;
  const config::Config* config_ = nullptr;
  obs::Metrics* metrics_ = nullptr;
  state::Store* store_ = nullptr;
  CopierOptions copier_options_;
  std::unique_ptr<Interrupt> cancel_;
  std::unique_ptr<pg::Connection> source_;  // of the loop's thread
  std::unique_ptr<pg::Connection> target_;
  std::vector<std::unique_ptr<Worker>> workers_;  // their `ended` under the lock
  // Of tables with a filter, what was let through since committed() was called: the target need not have it yet. Of
  // the loop's thread.
  std::set<std::pair<const TableCopy*, Key>> gathered_;

  mutable std::mutex mutex_;  // all below
  std::condition_variable changed_;
  Tables tables_;
  std::vector<const Reading*> held_;  // whose snapshot is open; each stands in its worker
  std::vector<Reading*> waiting_;     // for their aligned moment; each stands in its worker
  std::exception_ptr failure_;
  bool stopping_ = false;
  bool paused_ = false;
  bool loop_waits_ = false;  // for a chunk or a fill
  std::int64_t lag_bytes_ = 0;
  std::optional<std::chrono::steady_clock::time_point> lag_since_;  // too far behind, and no chunk begun
  Lsn reached_;                                                     // as of committed()
  std::uint64_t told_ = 0;                                          // how often committed() was called
  std::chrono::steady_clock::time_point told_at_;
  std::chrono::steady_clock::time_point rate_since_;
  std::int64_t rows_since_ = 0;
};

}  // namespace walign::backfill
