// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A batch's changes, compacted. Pure: no connection, no SQL.
//
//   changes in commit order ──> [Rows] [KeyChange] [Rows] [Truncate] [Rows] ...
//
// Inside a Rows step each key of a route appears once, with its net effect, so that the step can be written as
// deletes, then updates, then inserts:
//
//   before \ change   INSERT          UPDATE            DELETE
//   (none)            insert          update            remove
//   insert            cut             insert, merged    nothing
//   update            cut             update, merged    remove
//   replace           cut             replace, merged   remove
//   remove            replace         cut               cut
//   nothing           insert          cut               cut
//
// "cut": not what a source with unique keys can do. The change begins a new step, and the target judges it.
// "nothing" is not written: an insert and its delete leave no trace.
//
// Keys are compared as bytes of the source columns that make them. Two byte strings may be one key for the
// target's index (numeric 1.0 and 1.00; citext). That is exact as well: of one such class the source has at most
// one row at a time, so the net effects of its members are at most one "insert or replace by insert" and at most
// one "remove" that finds a row, and deletes are written before inserts.
//
// A step is also cut between a change to a table and a change whose expression reads that table, either way
// round; and, where the target enforces foreign keys and triggers (strict order), between changes of different
// kinds or tables.
#pragma once

#include "router.hpp"

namespace walign::apply {

enum class Net : std::uint8_t { insert, update, replace, remove, nothing };

struct NetRow {
  Net net = Net::nothing;
  const Binding* binding = nullptr;
  const v1::Tuple* row = nullptr;      // the new row; null for remove and nothing
  const v1::Tuple* old_row = nullptr;  // remove, replace: where the deleted row's key stands
  std::uint32_t weight = 0;            // source changes in it
};

struct RouteRows {
  const mapping::Route* route = nullptr;
  std::vector<NetRow> rows;  // in the order in which keys were first touched
};

// A change that runs by itself, as the source made it.
struct SingleChange {
  enum class Kind { insert, update, remove, key_change };
  Kind kind = Kind::update;
  const Binding* binding = nullptr;
  const v1::Tuple* row = nullptr;
  const v1::Tuple* old_row = nullptr;
};

struct TruncateStep {
  std::vector<const Binding*> bindings;
  std::vector<const Binding*> emptied_before;  // with all of their target, since the copy begins again
  bool restart_identity = false;
  [[nodiscard]] bool empty() const { return bindings.empty() && emptied_before.empty(); }
};

// A change whose key has a dead letter: it is set aside behind it.
struct QueueStep {
  SingleChange change;
  const v1::Change* event = nullptr;
  std::size_t transaction = 0;  // index of its part in the batch
  std::int64_t chain = 0;       // that it stands behind
  std::int64_t joined = 0;      // a chain that it joins to that one; 0 if none
};

struct RowsStep {
  std::vector<RouteRows> routes;  // in the order in which they were first touched
};

using Step = std::variant<RowsStep, SingleChange, TruncateStep, QueueStep>;

// The key of a row as bytes: the values of the route's key inputs, length-prefixed where there are several.
// nullopt where one of them is not in the row.
std::optional<std::string> key_bytes(const Binding& binding, const v1::Tuple& row);

// The new row of an UPDATE with what it did not send taken from the old row, if that has it; else the row itself.
// Merged rows live on `arena`.
const v1::Tuple* complete_from(const v1::Tuple& row, const v1::Tuple& other, google::protobuf::Arena& arena);

// What an event means for one route.
SingleChange single_change(const Binding& binding, const v1::Change& change, google::protobuf::Arena& arena);

// Some value is unchanged TOAST.
bool has_unchanged(const v1::Tuple& row);
// Columns of the route's source that the row does not have.
mapping::ColumnSet unchanged_columns(const Binding& binding, const v1::Tuple& row);

class Compactor {
 public:
  Compactor(bool strict_order, const std::vector<mapping::Route>& routes);
  ~Compactor();

  void add(const SingleChange& change);
  void add(TruncateStep truncate);
  void add(QueueStep queued);
  // The steps so far; the compactor is empty again. What they point to is on arena() until clear().
  std::vector<Step> take();
  void clear();
  [[nodiscard]] google::protobuf::Arena& arena();
  [[nodiscard]] bool empty() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace walign::apply
