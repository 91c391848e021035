// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/spill.hpp"

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>

#include <map>

#include "state/directory.hpp"
#include "state/rocks_options.hpp"

namespace walign::state {

namespace {

constexpr std::uint64_t kLookEveryBytes = 16 * kMiB;

// Big-endian, so that a transaction's pieces lie together, in order.
std::string key_of(std::uint64_t transaction, std::uint64_t number) {
  std::string key;
  for (const std::uint64_t part : {transaction, number}) {
    for (int shift = 56; shift >= 0; shift -= 8) key += static_cast<char>((part >> shift) & 0xFFU);
  }
  return key;
}

rocksdb::Options options() {
  rocksdb::Options options(database_options(), family_options());
  options.create_if_missing = true;
  options.write_buffer_size = 8 * kMiB;
  options.db_write_buffer_size = 24 * kMiB;
  options.target_file_size_base = 16 * kMiB;
  options.max_bytes_for_level_base = 128 * kMiB;
  options.compression = rocksdb::kLZ4Compression;
  return options;
}

rocksdb::WriteOptions unlogged() {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  return options;
}

// Beside compactions that go on, and to the last level.
rocksdb::CompactRangeOptions whole() {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  return options;
}

class RocksSpill final : public Spill {
 public:
  explicit RocksSpill(const std::string& directory) : directory_(directory), path_(directory + "/spill") {
    require_room(directory_, kRoomBytes);
    check(rocksdb::DestroyDB(path_, options()), "empty its spill");
    rocksdb::DB* db = nullptr;
    check(rocksdb::DB::Open(options(), path_, &db), "open its spill");
    db_.reset(db);
  }
  ~RocksSpill() override {
    [[maybe_unused]] const auto closed = db_->Close();
    db_.reset();
    [[maybe_unused]] const auto gone = rocksdb::DestroyDB(path_, options());
  }

  void put(std::uint64_t transaction, std::uint64_t number, std::string_view bytes) override {
    look_for_room(bytes.size());
    check(db_->Put(unlogged(), key_of(transaction, number), rocksdb::Slice(bytes.data(), bytes.size())),
          "write to its spill");
    const std::lock_guard lock(mutex_);
    sizes_[transaction] += bytes.size();
    bytes_ += bytes.size();
  }

  std::string get(std::uint64_t transaction, std::uint64_t number) override {
    rocksdb::ReadOptions once;
    once.fill_cache = false;
    std::string bytes;
    check(db_->Get(once, key_of(transaction, number), &bytes), "read its spill");
    return bytes;
  }

  void drop(std::uint64_t transaction) override {
    const std::string from = key_of(transaction, 0);
    const std::string to = key_of(transaction + 1, 0);
    const rocksdb::Slice lower(from);
    const rocksdb::Slice upper(to);
    check(rocksdb::DeleteFilesInRange(db_.get(), db_->DefaultColumnFamily(), &lower, &upper, false),
          "drop from its spill");
    check(db_->DeleteRange(unlogged(), db_->DefaultColumnFamily(), lower, upper), "drop from its spill");
    // What a compaction had in hand, and the newest files, are left: their room comes back only when they are compacted
    // with that deletion, and nothing else would make them.
    check(db_->CompactRange(whole(), db_->DefaultColumnFamily(), &lower, &upper), "make room in its spill");
    const std::lock_guard lock(mutex_);
    if (const auto size = sizes_.find(transaction); size != sizes_.end()) {
      bytes_ -= size->second;
      sizes_.erase(size);
    }
  }

  [[nodiscard]] std::uint64_t bytes() const override {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }

 private:
  void check(const rocksdb::Status& status, std::string_view doing) const {
    if (!status.ok()) throw rocks_error(directory_, doing, status);
  }
  void look_for_room(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      unlooked_ += bytes;
      if (unlooked_ < kLookEveryBytes) return;
      unlooked_ = 0;
    }
    require_room(directory_, kRoomBytes);
  }

  const std::string directory_;
  const std::string path_;
  std::unique_ptr<rocksdb::DB> db_;
  mutable std::mutex mutex_;  // all below
  std::map<std::uint64_t, std::uint64_t> sizes_;
  std::uint64_t bytes_ = 0;
  std::uint64_t unlooked_ = 0;
};

}  // namespace

std::unique_ptr<Spill> Spill::open(const std::string& directory) {
  return std::make_unique<RocksSpill>(directory);
}

}  // namespace walign::state
