// Writers pinned to one side each, who remember every write that was acknowledged, and when.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "support/sql.hpp"

namespace walign::test {

class Writers {
 public:
  using Clock = std::chrono::steady_clock;
  struct Write {
    std::int64_t id = 0;
    int side = 0;  // 0 source, 1 target
    Clock::time_point asked, answered;
  };
  // `write`: one transaction that takes an id and has it in the table of its side when it is acknowledged.
  struct SideOf {
    std::string conninfo;
    std::function<void(Sql& sql, std::int64_t id)> write;
  };

  Writers(const std::vector<SideOf>& sides, int each) {
    for (std::size_t side = 0; side < sides.size(); ++side) {
      for (int i = 0; i < each; ++i) {
        threads_.emplace_back([this, side, its = sides[side]] { work(static_cast<int>(side), its); });
      }
    }
  }
  ~Writers() { stop(); }
  Writers(const Writers&) = delete;
  Writers& operator=(const Writers&) = delete;

  void stop() {
    stopping_ = true;
    for (auto& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }
  [[nodiscard]] std::size_t acknowledged() const {
    const std::lock_guard lock(mutex_);
    return writes_.size();
  }
  // Ids of all acknowledged writes, and of those whose answer was lost.
  [[nodiscard]] std::set<std::int64_t> ids() const {
    const std::lock_guard lock(mutex_);
    std::set<std::int64_t> out;
    for (const auto& w : writes_) out.insert(w.id);
    return out;
  }
  [[nodiscard]] std::set<std::int64_t> in_doubt() const {
    const std::lock_guard lock(mutex_);
    return in_doubt_;
  }
  // Writes that one side took after the other had begun to, and before that one had its last: pairs of reigns that
  // overlap. A write counts from when it was asked for to its answer; only what is certain counts.
  [[nodiscard]] std::vector<std::string> overlaps() const {
    const std::lock_guard lock(mutex_);
    auto sorted = writes_;
    std::sort(sorted.begin(), sorted.end(),
              [](const auto& a, const auto& b) { return a.answered < b.answered; });
    std::vector<std::string> out;
    std::vector<std::pair<int, std::size_t>> reigns;  // side, first index
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      if (reigns.empty() || reigns.back().first != sorted[i].side) reigns.emplace_back(sorted[i].side, i);
    }
    reigns_ = reigns.size();
    for (std::size_t r = 1; r < reigns.size(); ++r) {
      // Everything of the reign before must have been asked for before the first of this one was answered.
      const auto first = sorted[reigns[r].second].answered;
      for (std::size_t i = reigns[r - 1].second; i < reigns[r].second; ++i) {
        if (sorted[i].asked > first) out.push_back("write " + std::to_string(sorted[i].id));
      }
    }
    return out;
  }
  // How often the side that takes writes has changed, plus one; after overlaps().
  [[nodiscard]] std::size_t reigns() const { return reigns_; }
  // The longest time in which no side acknowledged anything, in ms.
  [[nodiscard]] std::vector<double> pauses_ms() const {
    const std::lock_guard lock(mutex_);
    auto sorted = writes_;
    std::sort(sorted.begin(), sorted.end(),
              [](const auto& a, const auto& b) { return a.answered < b.answered; });
    std::vector<double> out;
    for (std::size_t i = 1; i < sorted.size(); ++i) {
      if (sorted[i].side == sorted[i - 1].side) continue;
      out.push_back(
          std::chrono::duration<double, std::milli>(sorted[i].answered - sorted[i - 1].answered).count());
    }
    return out;
  }
  [[nodiscard]] std::vector<std::string> unexpected() const {
    const std::lock_guard lock(mutex_);
    return unexpected_;
  }

 private:
  void work(int side, const SideOf& its) {
    std::unique_ptr<Sql> sql;
    while (!stopping_) {
      Write write;
      write.id = ++next_;
      write.side = side;
      write.asked = Clock::now();
      try {
        if (!sql) sql = std::make_unique<Sql>(its.conninfo);
        its.write(*sql, write.id);
        write.answered = Clock::now();
        const std::lock_guard lock(mutex_);
        writes_.push_back(write);
      } catch (const SqlError& error) {
        refused(error, write.id, sql);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(8));  // a machine that is loaded keeps up
    }
  }
  void refused(const SqlError& error, std::int64_t id, std::unique_ptr<Sql>& sql) {
    const std::string& state = error.sqlstate();
    if (state.empty() || state.starts_with("57") || state.starts_with("08")) {
      sql.reset();
      const std::lock_guard lock(mutex_);
      in_doubt_.insert(id);
      return;
    }
    try {
      if (sql) sql->exec("ROLLBACK");
    } catch (const SqlError&) {
      sql.reset();
    }
    if (state == "25006" || state == "40P01") return;  // not here now; a deadlock that it lost
    const std::lock_guard lock(mutex_);
    unexpected_.push_back(error.what());
  }

  std::atomic<bool> stopping_{false};
  std::atomic<std::int64_t> next_{0};
  mutable std::mutex mutex_;  // the next three
  std::vector<Write> writes_;
  std::set<std::int64_t> in_doubt_;
  std::vector<std::string> unexpected_;
  mutable std::size_t reigns_ = 0;
  std::vector<std::thread> threads_;
};

// The ids that a table has, each once; those that it has more than once are in `twice`.
inline std::set<std::int64_t> ids_of(Sql& sql, const std::string& query, std::vector<std::int64_t>& twice) {
  std::set<std::int64_t> out;
  for (const auto& row : sql.rows(query)) {
    const auto id = std::stoll(*row.at(0));
    if (!out.insert(id).second) twice.push_back(id);
  }
  return out;
}

}  // namespace walign::test
