// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The inside of a Crosswalk: crosswalk.cpp (entries and keys), crosswalk_fill.cpp (the changes that they fill),
// crosswalk_rows.cpp (the target's rows).
#pragma once

#include "walign/crosswalk.hpp"

namespace walign::apply {

// A row's primary key: its columns' texts, each behind its length.
using RowKey = std::string;

struct CrosswalkEntry {
  std::string key;        // on the source
  Lsn changed;            // commit of the last change that came without the key
  std::uint32_t xid = 0;  // of its transaction
  std::uint32_t seen_xmin = 0;
  std::string seen_key;
  Lsn seen_at;  // when the row was last seen in a version that the stream has not explained
  Lsn ends_at;  // behind the writing of its key, or of its row's end; 0: not yet
};

// The entries of one route.
struct Walk {
  const mapping::Route* route = nullptr;
  std::unordered_map<RowKey, CrosswalkEntry> entries;
  // By the position of their last change: those whose turn has come are in front, however many wait behind.
  std::set<std::pair<Lsn, RowKey>> unwritten;
  std::pair<Lsn, RowKey> tried;          // the last one that was; others come first
  std::vector<std::string> drawn_ahead;  // the next one last
  // Behind their writing (or their row's end): to be forgotten when the stream has passed that.
  std::deque<std::pair<Lsn, RowKey>> passing;
  std::set<RowKey> forgotten;  // still in the table

  [[nodiscard]] const mapping::DrawnKey& drawn() const { return *route->drawn_key; }
  void end_of(const RowKey& row, Lsn at);  // its key is there, or it is gone, since `at`
  // At most `most` that changed below `position`, beginning behind the last one that was tried.
  std::vector<RowKey> ready(Lsn position, std::size_t most);
};

void add_part(RowKey& row, std::string_view part);
std::vector<std::string> parts_of(const RowKey& row);

struct Crosswalk::Impl {
  Impl(Options o, const std::vector<mapping::Route>& routes);

  // ---- crosswalk_fill.cpp
  struct Bound {
    event::RelationPtr relation;  // kept, so that its address is not used again
    Walk* walk = nullptr;
    int key = -1;
    std::vector<int> row_key;
    bool leaf = false;
  };
  // What one part changes.
  struct Filling {
    event::TransactionPart& part;
    std::map<Walk*, std::set<RowKey>> touched;
    std::set<Walk*> emptied;
    std::vector<int> left_out;  // changes of rows that the source never had
  };
  const Bound& bind(const event::RelationPtr& relation);
  std::vector<Extra> fill(event::TransactionPart& part);
  void truncate(const v1::Change& change, Filling& filling);
  void insert(const Bound& bound, v1::Change& change, Filling& filling);
  void update(const Bound& bound, v1::Change& change, Filling& filling);
  void first_sight(const Bound& bound, v1::Change& change, Filling& filling);
  void remove(const Bound& bound, v1::Change& change, int index, Filling& filling);

  // ---- crosswalk.cpp
  void install();
  void load(Walk& walk);
  static std::optional<std::string> known(const Walk& walk, const RowKey& row);
  static void put(Walk& walk, const RowKey& row, std::string key, Filling& filling);
  static void forget(Walk& walk, const RowKey& row, Filling& filling);
  void draw_at_least(Walk& walk, std::size_t count);
  static std::string next_key(Walk& walk);
  void draw(Walk& walk, std::size_t count);
  std::vector<Extra> statements(Filling& filling);

  // ---- crosswalk_rows.cpp
  using Rows = std::vector<RowKey>;
  void tend(Lsn position, Lsn reached);
  static void settle(Walk& walk, Lsn reached);
  // What is still without its key afterwards.
  Rows write(Walk& walk, const Rows& rows, Lsn reached);
  void look(Walk& walk, const Rows& rows, Lsn reached);
  void look_at(Walk& walk, const RowKey& row, const pg::Result& r, int i, Lsn reached);
  static bool may_be_unseen(const CrosswalkEntry& entry, const pg::Result& r, int i);
  void nudge(Lsn reached);

  const Options options;
  pg::Connection keys;
  pg::Connection rows;
  std::deque<Walk> walks;
  std::unordered_map<const v1::Relation*, Bound> bound;
  std::chrono::steady_clock::time_point next_try;
  std::chrono::steady_clock::time_point last_nudge;
};

}  // namespace walign::apply
