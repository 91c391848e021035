// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What verification keeps. Nothing of it is flushed by itself: a kill of the process loses nothing, since the
// operating system has it, and after one of the machine dirty_complete_to() is behind the target's position.
#include "state/record.hpp"
#include "state/rocks_options.hpp"
#include "state/rocks_store.hpp"

namespace walign::state {

namespace {

constexpr const char* kCompleteTo = "";  // the empty key: no table has no name

std::string prefix_of(const std::string& table) {
  std::string out = table;
  out += '\0';
  return out;
}

}  // namespace

void RocksStore::write_dirty(const DirtyKeys& keys) {
  WALIGN_CHECK(writable_);
  rocksdb::WriteBatch batch;
  auto* dirty = handle(Family::dirty);
  for (const auto& table : keys.forget_tables) {
    std::string end = prefix_of(table);
    end.back() = '\1';
    batch.DeleteRange(dirty, prefix_of(table), end);
  }
  for (const auto& key : keys.forget) batch.Delete(dirty, prefix_of(key.table) + key.key);
  for (const auto& key : keys.put)
    batch.Put(dirty, prefix_of(key.table) + key.key, encode_key(Lsn(key.generation)));
  if (keys.complete_to) batch.Put(handle(Family::verify), kCompleteTo, encode_key(*keys.complete_to));
  write(batch, false);
}

void RocksStore::for_each_dirty(
    const std::string& table,
    const std::function<void(std::string_view key, std::uint64_t generation)>& visit) {
  if (handle(Family::dirty) == nullptr) return;
  const std::string prefix = prefix_of(table);
  const auto it = iterate(Family::dirty);
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) {
    std::uint64_t generation = 0;
    try {
      generation = decode_key(view(it->value())).value;
    } catch (const Error& error) {
      throw unreadable(Family::dirty, cat("of ", table), error);
    }
    visit(view(it->key()).substr(prefix.size()), generation);
  }
  check_iterator(*it);
}

Lsn RocksStore::dirty_complete_to() {
  const auto record = get(Family::verify, kCompleteTo);
  if (!record) return {};
  try {
    return decode_key(*record);
  } catch (const Error& error) {
    throw unreadable(Family::verify, "of the position", error);
  }
}

void RocksStore::put_verification(const v1::Verification& verification) {
  WALIGN_CHECK(writable_ && !verification.table().empty());
  rocksdb::WriteBatch batch;
  batch.Put(handle(Family::verify), verification.table(), encode_record(verification));
  write(batch, false);
}

std::vector<v1::Verification> RocksStore::verifications() {
  std::vector<v1::Verification> out;
  if (handle(Family::verify) == nullptr) return out;
  const auto it = iterate(Family::verify);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    if (it->key().empty()) continue;
    try {
      decode_record(view(it->value()), out.emplace_back());
    } catch (const Error& error) {
      throw unreadable(Family::verify, view(it->key()), error);
    }
  }
  check_iterator(*it);
  return out;
}

}  // namespace walign::state
