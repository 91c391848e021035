// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The inside of verify, shared by the files that make it: loop.cpp (what the loop asks and tells), jobs.cpp (requests
// and reports, what is kept of each table), worker.cpp (the comparisons, one after another), passes.cpp and loaded.cpp
// (what is compared of one table).
#pragma once

#include <thread>

#include "compare.hpp"
#include "meeting.hpp"
#include "walign/verify.hpp"

namespace walign::verify {

// A table of the session, and what is known of it.
struct Table {
  Table(Plan p, std::vector<std::string> key)
      : plan(std::move(p)), keys(*plan.route, std::move(key)), dirty(plan.route->label()) {}

  Plan plan;  // not changed in a session
  KeyFinder keys;
  DirtyTable dirty;
  v1::Verification record;
  bool record_changed = false;  // not in the store yet

  [[nodiscard]] std::string label() const { return plan.route->label(); }
  // Compared again as a whole even if only what has changed is asked for.
  [[nodiscard]] bool needs_pass() const;
  void mark_whole();
  void known_equal(Lsn at);
};

// Ranges of a key are read through its index; what is joined by key is found through it.
pg::ConnectionOptions options_for(const config::Config& config, const std::string& conninfo,
                                  const Interrupt& interrupt);

struct Job {
  std::uint64_t id = 0;
  bool in_background = false;  // nobody asked for it
  Request request;
  Report report;
};

class Verification final : public Verifier {
 public:
  explicit Verification(stream::Companion* copier) : copier_(copier) {}
  ~Verification() override { end_worker(); }

  // ---- the loop's thread
  void start(const Session& session) override;
  void stop() override;
  [[nodiscard]] bool active() const override { return active_.load(); }
  [[nodiscard]] bool copies_rows() const override { return false; }
  std::optional<Judgement> judge(const event::TransactionPart& part, Xid xid) override;
  void taken(const event::TransactionPart& part, std::optional<Xid> xid) override;
  void before_commit(Lsn progress) override;
  void committed(Lsn position, Lsn reached, std::optional<Xid> next) override;
  [[nodiscard]] Lsn awaited() const override;
  void wait(std::chrono::milliseconds timeout) override;
  void check() override {}
  void equal(Lsn at) override;
  void listening(bool listens) override;
  void report(stream::Status& status) const override;
  void pause(bool /*paused*/) override {}
  void lag(std::int64_t /*bytes*/) override {}

  // ---- from any thread
  std::uint64_t begin(const Request& request) override;
  void distrust() override;
  [[nodiscard]] Report result(std::uint64_t id) const override;
  Report await(std::uint64_t id, std::chrono::milliseconds timeout) override;

 private:
  using Tables = std::vector<std::unique_ptr<Table>>;
  using Lock = std::unique_lock<std::mutex>;

  std::unique_ptr<Table> make_table(const Session& session, const mapping::Route& route,
                                    pg::Connection& source, pg::Connection& target);
  void restore(Table& table, const std::vector<v1::Verification>& records, bool complete);
  const std::vector<Table*>& tables_of(const event::RelationPtr& relation);
  void write_dirty(Lsn progress);
  void save(Table& table);
  void open_meeting();
  void hand_over_repairs();
  bool take_truncate(const v1::Change& change, const event::TransactionPart& part);
  void take_row(Table& table, const v1::Change& change, const event::RelationPtr& relation);
  void trim_jobs();
  [[nodiscard]] bool truncates_what_meets(const event::TransactionPart& part);
  void end_worker();
  Job& find(std::uint64_t id);
  TableReport& of(Job& job, const Table& table);
  [[nodiscard]] bool asks_for(const Request& request, const Table& table) const;

  // ---- the worker's thread
  void work() noexcept;
  bool next_job(std::uint64_t& id);
  void background();
  void run(std::uint64_t id);
  void run_table(std::uint64_t id, Table& table);
  void compare_table(std::uint64_t id, Table& table);
  void whole(std::uint64_t id, Table& table);
  bool pass(std::uint64_t id, Table& table, Comparer& comparer);
  // Where a range has no more room.
  std::optional<Key> cut_of(const Table& table, const Range& range);
  bool loaded_part(std::uint64_t id, Table& table);
  std::optional<Found> compare_loaded(std::uint64_t id, Table& table, Comparer& comparer,
                                      const stream::KeyRange& chunk);
  std::optional<Key> begin_or_resume(Table& table);
  bool take_range(std::uint64_t id, Table& table, const Found& part, const std::optional<Key>& next);
  bool end_pass(std::uint64_t id, Table& table, std::int64_t broken, std::vector<std::string> notes);
  void changed(std::uint64_t id, Table& table);
  void one_key(std::uint64_t id, Table& table, const Key& key);
  bool compare_keys(std::uint64_t id, Table& table, Comparer& comparer, const std::vector<Key>& keys);
  void repair(std::uint64_t id, Table& table);
  void tell(std::uint64_t id, Table& table, const std::string& state);
  void count(const Table& table, const Found& found);
  void connect();
  void disconnect() {
    source_.reset();
    nudging_.reset();
    target_.reset();
  }
  void note_unseen();
  // Both sides at one moment; `body` compares. Again and again until the result counts. The moment's generation.
  std::uint64_t meet(std::uint64_t id, Table& table, const std::function<void()>& body);
  bool announce(Table& table);
  bool wait_until_open(Table& table);
  void wait_until_flushed(Lsn fence);
  void nudge();
  bool wait_until_decided();
  void wait_until_applied();  // the stream's transactions, again
  void waits_for(std::uint64_t id, Table& table, const std::string& what);
  [[nodiscard]] bool is_complete(const Table& table);
  void sleep(std::chrono::milliseconds time) const { cancel_->sleep_for(time); }

  stream::Companion* const copier_;
  const config::Config* config_ = nullptr;
  state::Store* store_ = nullptr;
  obs::Metrics* metrics_ = nullptr;
  std::uint64_t wal_segment_bytes_ = 0;
  std::unique_ptr<Interrupt> cancel_;
  std::unique_ptr<pg::Connection> source_;   // the worker's
  std::unique_ptr<pg::Connection> nudging_;  // the same, where the source's WAL is slow to be flushed
  std::unique_ptr<pg::Connection>
      target_;  // the worker's; the loop's while the worker waits for the aligned moment
  std::thread worker_;
  std::atomic<bool> active_{false};

  mutable std::mutex mutex_;  // all below
  std::condition_variable changed_;
  Tables tables_;
  struct Leads {
    event::RelationPtr relation;  // kept, so that its address is not used again
    std::vector<Table*> tables;
  };
  std::unordered_map<const v1::Relation*, Leads> leads_;  // which tables a relation of the stream leads to
  std::deque<Job> jobs_;
  std::uint64_t last_job_ = 0;
  std::uint64_t generation_ = 1;
  std::optional<Meeting> meeting_;
  Table* meeting_table_ = nullptr;
  bool holds_locks_ = false;  // of the table that meets
  bool let_go_ = false;       // a TRUNCATE waits for them, or the stream does not apply any more
  bool listening_ = false;    // the stream applies nothing: there is no moment to meet at
  std::exception_ptr open_failed_;
  std::uint64_t open_generation_ = 0;
  Unseen unseen_;
  bool unseen_known_ = false;  // what earlier sessions have applied
  Lsn start_position_;
  Lsn taken_;    // the end of the last transaction taken
  Lsn written_;  // the store's dirty_complete_to
  Lsn reached_;
  bool stopping_ = true;
  std::chrono::steady_clock::time_point due_;
  struct Repair {
    std::uint64_t job = 0;
    Table* table = nullptr;
    std::vector<Key> keys;
  };
  std::vector<Repair> repairs_;
};

}  // namespace walign::verify
