// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "state/rocks_store.hpp"

#include "state/directory.hpp"
#include "state/record.hpp"
#include "state/rocks_options.hpp"

namespace walign::state {

namespace {

constexpr const char* kIdentityKey = "identity";
constexpr const char* kPhaseKey = "phase";

}  // namespace

// ------------------------------------------------------------------------------------ reading, writing

std::optional<std::string> RocksStore::get(Family family, const std::string& key) const {
  if (handle(family) == nullptr) return std::nullopt;
  std::string record;
  const auto status = db_->Get(rocksdb::ReadOptions(), handle(family), key, &record);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) throw rocks_error(directory_, "read from it", status);
  return record;
}

void RocksStore::write(rocksdb::WriteBatch& batch, bool flush) {
  WALIGN_CHECK(writable_);
  if (failed_) {
    throw Error(ErrorKind::storage, cat("state directory ", directory_, ": an earlier write failed"),
                "see the log for why; then start again");
  }
  rocksdb::WriteOptions options;
  options.sync = flush;
  const auto status = db_->Write(options, &batch);
  if (status.ok()) return;
  failed_ = true;
  throw rocks_error(directory_, "write to it", status);
}

void RocksStore::put(Family family, const std::string& key, const std::string& record) {
  WALIGN_CHECK(writable_);
  rocksdb::WriteBatch batch;
  batch.Put(handle(family), key, record);
  write(batch);
}

std::unique_ptr<rocksdb::Iterator> RocksStore::iterate(Family family) const {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  return std::unique_ptr<rocksdb::Iterator>(db_->NewIterator(options, handle(family)));
}

void RocksStore::check_iterator(const rocksdb::Iterator& it) const {
  if (!it.status().ok()) throw rocks_error(directory_, "read from it", it.status());
}

// ------------------------------------------------------------------------------------ identity, phase

std::optional<v1::Identity> RocksStore::identity() {
  const auto record = get(Family::identity, kIdentityKey);
  if (!record) return std::nullopt;
  v1::Identity identity;
  try {
    decode_record(*record, identity);
  } catch (const Error& error) {
    throw unreadable(Family::identity, kIdentityKey, error);
  }
  return identity;
}

void RocksStore::put_identity(const v1::Identity& identity) {
  WALIGN_CHECK(identity.migration() == migration_);
  put(Family::identity, kIdentityKey, encode_record(identity));
}

std::string RocksStore::phase() {
  const auto record = get(Family::phase, kPhaseKey);
  if (!record) return "new";
  try {
    return decode_record(*record);
  } catch (const Error& error) {
    throw unreadable(Family::phase, kPhaseKey, error);
  }
}

void RocksStore::put_phase(const std::string& phase) { put(Family::phase, kPhaseKey, encode_record(phase)); }

// ---------------------------------------------------------------------------------------- checkpoints

Lsn RocksStore::read_key(std::string_view key) const {
  try {
    return decode_key(key);
  } catch (const Error& error) {
    throw unreadable(Family::checkpoints, cat("of ", key.size(), " bytes"), error);
  }
}

v1::Checkpoint RocksStore::read_checkpoint(std::string_view key, std::string_view record) const {
  const Lsn durable = read_key(key);
  try {
    v1::Checkpoint checkpoint;
    decode_record(record, checkpoint);
    if (checkpoint.durable_lsn() != durable.value) {
      throw Error(ErrorKind::malformed, cat("the record is that of ", Lsn(checkpoint.durable_lsn())));
    }
    return checkpoint;
  } catch (const Error& error) {
    throw unreadable(Family::checkpoints, durable.to_string(), error);
  }
}

std::optional<v1::Checkpoint> RocksStore::checkpoint(Lsn durable) {
  const auto key = encode_key(durable);
  const auto record = get(Family::checkpoints, key);
  if (!record) return std::nullopt;
  return read_checkpoint(key, *record);
}

std::vector<v1::Checkpoint> RocksStore::checkpoints(std::size_t limit) {
  std::vector<v1::Checkpoint> out;
  if (handle(Family::checkpoints) == nullptr || limit == 0) return out;
  const auto it = iterate(Family::checkpoints);
  for (it->SeekToLast(); it->Valid() && out.size() < limit; it->Prev()) {
    out.push_back(read_checkpoint(view(it->key()), view(it->value())));
  }
  check_iterator(*it);
  return out;
}

std::optional<v1::Checkpoint> RocksStore::newest_checkpoint() {
  auto newest = checkpoints(1);
  if (newest.empty()) return std::nullopt;
  return std::move(newest.front());
}

std::int64_t RocksStore::period_of(Lsn durable) const {
  const auto key = encode_key(durable);
  const auto record = get(Family::checkpoints, key);
  WALIGN_CHECK(record.has_value());
  return read_checkpoint(key, *record).saved_at_us() / retention_.then_every_us;
}

void RocksStore::load_recent() {
  if (recent_loaded_) return;
  recent_.clear();
  last_period_.reset();
  const auto it = iterate(Family::checkpoints);
  it->SeekToLast();
  for (; it->Valid() && recent_.size() < retention_.recent; it->Prev()) {
    recent_.push_front(read_key(view(it->key())));
  }
  if (it->Valid()) last_period_ = period_of(read_key(view(it->key())));
  check_iterator(*it);
  recent_loaded_ = true;
}

// One write does both, so the history is thinned exactly once whatever happens in between.
void RocksStore::put_checkpoint(const v1::Checkpoint& checkpoint) {
  const Lsn durable(checkpoint.durable_lsn());
  const std::lock_guard lock(mutex_);
  WALIGN_CHECK(writable_);
  load_recent();
  WALIGN_CHECK(durable.valid());
  WALIGN_CHECK(recent_.empty() || durable >= recent_.back());
  const bool again = !recent_.empty() && durable == recent_.back();
  rocksdb::WriteBatch batch;
  batch.Put(handle(Family::checkpoints), encode_key(durable), encode_record(checkpoint));
  std::optional<std::int64_t> leaving_period;
  if (!again && recent_.size() == retention_.recent) {
    leaving_period = period_of(recent_.front());
    if (leaving_period == last_period_)
      batch.Delete(handle(Family::checkpoints), encode_key(recent_.front()));
  }
  write(batch);
  if (again) return;
  recent_.push_back(durable);
  if (!leaving_period) return;
  recent_.pop_front();
  last_period_ = leaving_period;
}

void RocksStore::forget_after(Lsn lsn) {
  const std::lock_guard lock(mutex_);
  WALIGN_CHECK(writable_);
  rocksdb::WriteBatch batch;
  const auto it = iterate(Family::checkpoints);
  for (it->Seek(encode_key(lsn)); it->Valid(); it->Next()) {
    if (read_key(view(it->key())) > lsn) batch.Delete(handle(Family::checkpoints), it->key());
  }
  check_iterator(*it);
  write(batch);
  recent_loaded_ = false;
}

std::uint64_t RocksStore::disk_bytes() { return directory_bytes(directory_); }

}  // namespace walign::state
