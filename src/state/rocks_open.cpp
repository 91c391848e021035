// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Opening and closing of the store.
#include <thread>

#include "state/directory.hpp"
#include "state/rocks_options.hpp"
#include "state/rocks_store.hpp"

namespace walign::state {

namespace {

constexpr std::array<const char*, kFamilies> kNames = {"identity", "checkpoints", "phase", "dirty", "verify"};

// Logs, catalog and what opening writes, with a margin: on a disk without any room RocksDB does not fail
// to open, it aborts.
constexpr std::uint64_t kRoomToOpen = 16U << 20U;

std::vector<rocksdb::ColumnFamilyDescriptor> descriptors() {
  const auto options = family_options();
  std::vector<rocksdb::ColumnFamilyDescriptor> out{{rocksdb::kDefaultColumnFamilyName, options}};
  for (const char* name : kNames) out.emplace_back(name, options);
  return out;
}

}  // namespace

std::unique_ptr<RocksStore> RocksStore::open(const std::string& directory, const std::string& migration,
                                             Retention retention) {
  WALIGN_CHECK(retention.recent > 0 && retention.then_every_us > 0);
  prepare_directory(directory, migration);
  require_room(directory, kRoomToOpen);
  std::unique_ptr<RocksStore> store(new RocksStore(directory, retention));
  auto options = database_options();
  // Not where files without their catalog lie: RocksDB would begin afresh and delete them.
  options.create_if_missing = database_is_new(directory);
  rocksdb::DB* db = nullptr;
  const auto status =
      rocksdb::DB::Open(options, database_path(directory), descriptors(), &store->owned_, &db);
  if (!status.ok()) throw rocks_error(directory, "open it", status);
  store->db_.reset(db);
  store->handles_.assign(store->owned_.begin() + 1, store->owned_.end());
  store->writable_ = true;
  store->migration_ = migration;
  if (const auto identity = store->identity(); identity && identity->migration() != migration) {
    throw Error(ErrorKind::precondition,
                cat("state directory ", directory, " holds the state of migration ", identity->migration(),
                    ", this is ", migration),
                "set state: to another directory; each migration has its own");
  }
  return store;
}

// Families that the writer has not made yet are empty to the reader.
bool RocksStore::try_open_read_only(rocksdb::Status& status) {
  auto options = database_options();
  options.create_missing_column_families = false;
  options.info_log = no_log();
  const std::string path = database_path(directory_);
  std::vector<std::string> names;
  status = rocksdb::DB::ListColumnFamilies(options, path, &names);
  if (!status.ok()) return false;
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const auto& name : names) families.emplace_back(name, family_options());
  rocksdb::DB* db = nullptr;
  status = rocksdb::DB::OpenForReadOnly(options, path, families, &owned_, &db);
  if (!status.ok()) return false;
  db_.reset(db);
  handles_.assign(kFamilies, nullptr);
  for (auto* family : owned_) {
    const auto at = std::find(kNames.begin(), kNames.end(), family->GetName());
    if (at != kNames.end()) handles_[static_cast<std::size_t>(at - kNames.begin())] = family;
  }
  return true;
}

std::unique_ptr<RocksStore> RocksStore::open_read_only(const std::string& directory) {
  check_directory(directory);
  if (database_is_new(directory)) {
    throw Error(ErrorKind::precondition, cat("state directory ", directory, " holds nothing yet"),
                "`walign run` fills it; is state: what the sidecar on this machine was started with?");
  }
  // The writer may remove a file between our reading its name and opening it: look again.
  constexpr int kAttempts = 20;
  std::unique_ptr<RocksStore> store(new RocksStore(directory, Retention{}));
  rocksdb::Status status;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (store->try_open_read_only(status)) return store;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw rocks_error(directory, "read it", status);
}

RocksStore::~RocksStore() {
  if (!db_) return;
  for (auto* family : owned_) {
    [[maybe_unused]] const auto status = db_->DestroyColumnFamilyHandle(family);
  }
  // All writes are synced: there is nothing that closing could lose.
  [[maybe_unused]] const auto status = db_->Close();
}

std::unique_ptr<Store> Store::open(const std::string& directory, const std::string& migration) {
  return RocksStore::open(directory, migration);
}

std::unique_ptr<Store> Store::open_read_only(const std::string& directory) {
  return RocksStore::open_read_only(directory);
}

Error RocksStore::unreadable(Family family, std::string_view key, const Error& why) const {
  return {ErrorKind::storage,
          cat("state directory ", directory_, ", family ", kNames[static_cast<std::size_t>(family)], ", key ",
              key, ": ", why.message()),
          why.hint().empty() ? cat("move ", directory_,
                                   " away and run again: it is written anew from the target; "
                                   "what is lost is the history of saved positions")
                             : why.hint()};
}

}  // namespace walign::state
