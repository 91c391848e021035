// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The keys of one table that have changed since they were last compared. In memory here; what of it is not on disk yet
// is handed out by take_unwritten().
//
//   whole      everything is dirty: no key is kept, until a pass over the whole table begins
//   tracking   keys are kept; with a pass under way, or after one
//
// Generations: each comparison raises the number at its aligned moment, when everything taken is applied. A key whose
// number is lower has not changed since.
#pragma once

#include <unordered_map>

#include "walign/event.hpp"
#include "walign/mapping.hpp"
#include "walign/state.hpp"

namespace walign::verify {

using Key = std::vector<std::string>;

std::string pack(const Key& key);
Key unpack(std::string_view packed);  // Error(malformed)

// More are not kept: the table is dirty as a whole then.
inline constexpr std::size_t kMostKeys = 1'000'000;
inline constexpr std::size_t kMostBytes = std::size_t{64} << 20U;

class DirtyTable {
 public:
  explicit DirtyTable(std::string table) : table_(std::move(table)) {}

  [[nodiscard]] bool whole() const { return whole_; }
  [[nodiscard]] bool tracking() const { return tracking_; }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  void changed(std::string&& packed, std::uint64_t generation);
  // Forgets the keys, and stops keeping them.
  void mark_whole();
  // Every row is known to be the same on both sides now.
  void known_equal();
  // From now on keys are kept. `whole()` stays until the pass has ended.
  void begin_pass() { tracking_ = true; }
  // Every row was compared since `generation`; false where it has become dirty as a whole meanwhile.
  bool end_pass(std::uint64_t generation);
  // These keys were compared at a moment with this generation.
  void compared(const std::vector<Key>& keys, std::uint64_t generation);
  // At most so many keys with a lower generation.
  [[nodiscard]] std::vector<Key> some(std::size_t most, std::uint64_t below) const;
  // Every key whose generation is at least that.
  [[nodiscard]] std::vector<Key> since(std::uint64_t generation) const;

  // As it was when the state directory was written.
  void restore(bool whole, bool tracking);
  void restore_key(std::string_view packed, std::uint64_t generation);

  // Adds what the disk does not have yet.
  void take_unwritten(state::DirtyKeys& out);

 private:
  using Keys = std::unordered_map<std::string, std::uint64_t>;
  void forget(Keys::iterator at);

  std::string table_;
  bool whole_ = true;
  bool tracking_ = false;
  Keys keys_;
  std::size_t bytes_ = 0;
  std::vector<std::string> unwritten_;  // keys that are new, or of a newer generation
  std::vector<std::string> forgotten_;
  bool forget_all_ = false;
};

// Where the key of a table stands in the stream's rows.
class KeyFinder {
 public:
  // `key`: columns of the source; empty: there is none, and any change makes the table dirty as a whole.
  KeyFinder(const mapping::Route& route, std::vector<std::string> key)
      : route_(&route), key_(std::move(key)) {}

  // Whether a relation of the stream is this table, or one of its partitions.
  bool is(const event::RelationPtr& relation) {
    return !positions(relation).empty() || known_->second.second;
  }
  // Where the key's columns stand in it.
  const std::vector<int>& positions(const event::RelationPtr& relation);
  // The packed keys of a row change, old and new; false where one cannot be told. Only if is().
  bool keys_of(const v1::Change& change, const event::RelationPtr& relation, std::vector<std::string>& out);

 private:
  struct Known {
    event::RelationPtr relation;  // kept, so that its address is not used again
    std::vector<int> first;       // positions
    bool second = false;          // it is ours
  };
  const mapping::Route* route_;
  std::vector<std::string> key_;
  std::unordered_map<const v1::Relation*, Known> relations_;
  std::pair<const v1::Relation* const, Known>* known_ = nullptr;  // the latest: rows of a table come in runs
};

}  // namespace walign::verify
