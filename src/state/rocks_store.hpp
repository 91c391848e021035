// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The Store on RocksDB. One mutex guards the writing of checkpoints; RocksDB itself is thread safe.
#pragma once

#include <rocksdb/db.h>

#include "walign/state.hpp"

namespace walign::state {

// What is kept of the history: the newest `recent`, before them the first of each `then_every_us`.
struct Retention {
  std::size_t recent = 10'000;
  std::int64_t then_every_us = 3'600'000'000;
};

enum class Family : std::size_t { identity, checkpoints, phase, dirty, verify };
constexpr std::size_t kFamilies = 5;

inline std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

class RocksStore final : public Store {
 public:
  static std::unique_ptr<RocksStore> open(const std::string& directory, const std::string& migration,
                                          Retention retention = {});
  static std::unique_ptr<RocksStore> open_read_only(const std::string& directory);
  RocksStore(const RocksStore&) = delete;
  RocksStore& operator=(const RocksStore&) = delete;
  ~RocksStore() override;

  std::optional<v1::Identity> identity() override;
  void put_identity(const v1::Identity& identity) override;
  void put_checkpoint(const v1::Checkpoint& checkpoint) override;
  std::optional<v1::Checkpoint> newest_checkpoint() override;
  std::optional<v1::Checkpoint> checkpoint(Lsn durable) override;
  std::vector<v1::Checkpoint> checkpoints(std::size_t limit) override;
  void forget_after(Lsn lsn) override;
  std::string phase() override;
  void put_phase(const std::string& phase) override;
  void write_dirty(const DirtyKeys& keys) override;
  void for_each_dirty(
      const std::string& table,
      const std::function<void(std::string_view key, std::uint64_t generation)>& visit) override;
  Lsn dirty_complete_to() override;
  void put_verification(const v1::Verification& verification) override;
  std::vector<v1::Verification> verifications() override;
  std::uint64_t disk_bytes() override;

 private:
  explicit RocksStore(std::string directory, Retention retention)
      : directory_(std::move(directory)), retention_(retention) {}
  bool try_open_read_only(rocksdb::Status& status);

  [[nodiscard]] rocksdb::ColumnFamilyHandle* handle(Family family) const {
    return handles_[static_cast<std::size_t>(family)];
  }
  [[nodiscard]] Error unreadable(Family family, std::string_view key, const Error& why) const;
  std::optional<std::string> get(Family family, const std::string& key) const;
  void put(Family family, const std::string& key, const std::string& record);
  void write(rocksdb::WriteBatch& batch, bool flush = true);
  [[nodiscard]] Lsn read_key(std::string_view key) const;
  v1::Checkpoint read_checkpoint(std::string_view key, std::string_view record) const;
  std::unique_ptr<rocksdb::Iterator> iterate(Family family) const;
  void check_iterator(const rocksdb::Iterator& it) const;
  void load_recent();
  std::int64_t period_of(Lsn durable) const;

  const std::string directory_;
  const Retention retention_;
  std::string migration_;
  bool writable_ = false;
  std::atomic<bool> failed_{false};  // a write failed: what comes after it must not be on disk without it
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> owned_;    // to be given back before db_ goes
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;  // by Family; null: not there yet (read-only)

  std::mutex mutex_;
  // Guarded by mutex_. The newest checkpoints' LSNs, oldest first, read when first needed; and the
  // period of the newest one before them, which is what decides whether the next to leave them is kept.
  bool recent_loaded_ = false;
  std::deque<Lsn> recent_;
  std::optional<std::int64_t> last_period_;
};

}  // namespace walign::state
