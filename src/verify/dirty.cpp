// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "dirty.hpp"

namespace walign::verify {

namespace {

constexpr std::size_t kOverhead = 96;  // of a key in memory: node, bucket, string

void append(std::string& out, std::string_view value) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out += static_cast<char>(static_cast<std::uint8_t>(value.size() >> static_cast<unsigned>(shift)));
  }
  out += value;
}

}  // namespace

std::string pack(const Key& key) {
  std::string out;
  for (const auto& value : key) append(out, value);
  return out;
}

Key unpack(std::string_view packed) {
  ByteReader reader(as_bytes(packed));
  Key key;
  while (reader.remaining() > 0) {
    const auto size = reader.u32("length of a key's column");
    key.emplace_back(as_text(reader.bytes(size, "a key's column")));
  }
  return key;
}

// ----------------------------------------------------------------------------------------- the keys

void DirtyTable::changed(std::string&& packed, std::uint64_t generation) {
  if (!tracking_) return;
  const auto [at, is_new] = keys_.try_emplace(std::move(packed), generation);
  if (!is_new && at->second == generation) return;
  at->second = generation;
  unwritten_.push_back(at->first);
  if (!is_new) return;
  bytes_ += at->first.size() + kOverhead;
  if (keys_.size() > kMostKeys || bytes_ > kMostBytes) mark_whole();
}

void DirtyTable::mark_whole() {
  whole_ = true;
  tracking_ = false;
  forget_all_ = true;
  keys_ = {};
  bytes_ = 0;
  unwritten_.clear();
  forgotten_.clear();
}

void DirtyTable::known_equal() {
  mark_whole();
  whole_ = false;
  tracking_ = true;
}

void DirtyTable::forget(Keys::iterator at) {
  bytes_ -= at->first.size() + kOverhead;
  forgotten_.push_back(at->first);
}

bool DirtyTable::end_pass(std::uint64_t generation) {
  if (!tracking_) return false;
  whole_ = false;
  for (auto at = keys_.begin(); at != keys_.end();) {
    if (at->second < generation) {
      forget(at);
      at = keys_.erase(at);
    } else {
      ++at;
    }
  }
  return true;
}

void DirtyTable::compared(const std::vector<Key>& keys, std::uint64_t generation) {
  for (const auto& key : keys) {
    const auto at = keys_.find(pack(key));
    if (at == keys_.end() || at->second >= generation) continue;
    forget(at);
    keys_.erase(at);
  }
}

std::vector<Key> DirtyTable::some(std::size_t most, std::uint64_t below) const {
  std::vector<Key> out;
  for (auto at = keys_.begin(); at != keys_.end() && out.size() < most; ++at) {
    if (at->second < below) out.push_back(unpack(at->first));
  }
  return out;
}

std::vector<Key> DirtyTable::since(std::uint64_t generation) const {
  std::vector<Key> out;
  for (const auto& [key, its] : keys_) {
    if (its >= generation) out.push_back(unpack(key));
  }
  return out;
}

void DirtyTable::restore(bool whole, bool tracking) {
  whole_ = whole;
  tracking_ = tracking;
}

void DirtyTable::restore_key(std::string_view packed, std::uint64_t generation) {
  (void)unpack(packed);  // damage is found here
  const auto [at, is_new] = keys_.try_emplace(std::string(packed), generation);
  if (is_new) bytes_ += at->first.size() + kOverhead;
}

void DirtyTable::take_unwritten(state::DirtyKeys& out) {
  if (std::exchange(forget_all_, false)) out.forget_tables.push_back(table_);
  for (auto& key : forgotten_) {
    // It may have become dirty again.
    if (!keys_.contains(key)) out.forget.push_back({table_, std::move(key), 0});
  }
  forgotten_.clear();
  for (auto& key : unwritten_) {
    const auto at = keys_.find(key);
    if (at != keys_.end()) out.put.push_back({table_, std::move(key), at->second});
  }
  unwritten_.clear();
}

// ------------------------------------------------------------------------------------- where keys stand

const std::vector<int>& KeyFinder::positions(const event::RelationPtr& relation) {
  if (known_ != nullptr && known_->first == relation.get()) return known_->second.first;
  const auto [at, is_new] = relations_.try_emplace(relation.get());
  known_ = &*at;
  if (!is_new) return at->second.first;
  Known& known = at->second;
  known.relation = relation;
  const auto named = [&](const std::string& schema, const std::string& name) {
    return schema == relation->schema() && name == relation->name();
  };
  known.second = named(route_->source.schema, route_->source.name) ||
                 std::any_of(route_->leaves.begin(), route_->leaves.end(),
                             [&](const pg::Leaf& leaf) { return named(leaf.schema, leaf.name); });
  if (!known.second) return known.first;
  for (const auto& column : key_) {
    for (int i = 0; i < relation->columns_size(); ++i) {
      if (relation->columns(i).name() == column) known.first.push_back(i);
    }
  }
  if (known.first.size() != key_.size()) known.first.clear();
  return known.first;
}

namespace {

// The values at these positions; one that is unchanged TOAST stands in the other row.
bool pack_key(const std::vector<int>& positions, const v1::Tuple& row, const v1::Tuple* other,
              std::string& out) {
  const std::string_view values = row.values();
  for (const int position : positions) {
    std::size_t at = 0;
    if (position >= row.lengths_size()) return false;
    for (int i = 0; i < position; ++i) {
      const auto code = row.lengths(i);
      if (code >= event::kFirstLength) at += code - event::kFirstLength;
    }
    const auto code = row.lengths(position);
    if (code == event::kUnchangedToast && other != nullptr) {
      if (!pack_key({position}, *other, nullptr, out)) return false;
    } else if (code >= event::kFirstLength) {
      append(out, values.substr(at, code - event::kFirstLength));
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

bool KeyFinder::keys_of(const v1::Change& change, const event::RelationPtr& relation,
                        std::vector<std::string>& out) {
  const auto& at = positions(relation);
  if (at.empty()) return false;
  const v1::Tuple* old_row = change.has_old_row() ? &change.old_row() : nullptr;
  for (const v1::Tuple* row : {old_row, change.has_new_row() ? &change.new_row() : nullptr}) {
    if (row == nullptr) continue;
    std::string packed;
    if (!pack_key(at, *row, row == old_row ? nullptr : old_row, packed)) return false;
    if (out.empty() || out.back() != packed) out.push_back(std::move(packed));
  }
  return !out.empty();
}

}  // namespace walign::verify
