// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Steps to executions: which prepared statement, with which arrays. Pure.
#pragma once

#include "copy_rows.hpp"
#include "steps.hpp"

namespace walign::apply {

// One statement to send, and what it stands for.
struct Execution {
  const mapping::Route* route = nullptr;
  const mapping::Statement* statement = nullptr;  // null: `sql` as it is
  std::string sql;
  std::vector<pg::TextArray> arrays;     // in the statement's order of parameters
  std::vector<std::string> text_params;  // of `sql`
  std::string copy;                      // rows, where `sql` is a COPY; else empty
  std::string count;                     // the last parameter, as text
  std::uint64_t weight = 0;              // source changes in it
  bool dead_letter = false;              // they are set aside, not applied
  bool forgets = false;                  // deletes dead letters, which are no changes
};

// Every statement of every route, made once.
class Statements {
 public:
  const mapping::Statement& insert(const mapping::Route& route);
  const mapping::Statement& remove(const mapping::Route& route);
  const mapping::Statement& update(const mapping::Route& route, const mapping::ColumnSet& unchanged);
  const mapping::Statement& key_change(const mapping::Route& route, const mapping::ColumnSet& unchanged);
  const mapping::Statement& replace(const mapping::Route& route, const mapping::ColumnSet& unchanged,
                                    bool keys);
  // Null where a route's rows cannot come by COPY.
  const CopyInto* copy(const mapping::Route& route);

 private:
  enum class Kind { insert, remove, update, key_change, replace, replace_keys };
  template <class Make>
  const mapping::Statement& get(Kind kind, const mapping::Route& route, const mapping::ColumnSet& unchanged,
                                Make make);
  std::map<std::tuple<Kind, int, mapping::ColumnSet>, mapping::Statement> made_;
  std::map<int, std::optional<CopyInto>> copies_;  // by route id
};

// How updates and key changes are written.
enum class Updates {
  in_place,
  reinserted,  // all rows deleted, then inserted: unique values and keys may change places
};

class Encoder {
 public:
  explicit Encoder(Statements& statements);
  ~Encoder();
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // So many inserts into one table, or more, come by COPY. Until this is called none do.
  void copy_from(std::size_t rows) { copy_from_ = rows; }

  // Appends the executions of a Rows step. Rows that net to nothing are counted in `cancelled` by route id.
  void rows(const RowsStep& step, Updates updates, std::vector<Execution>& out,
            std::map<int, std::uint64_t>& cancelled);
  // Key changes that are reinserted are gathered, as long as one follows the other.
  void single(const SingleChange& change, Updates how, std::vector<Execution>& out);
  // Throws Error(conflict) where it cannot be told which target rows are meant.
  void truncate(const TruncateStep& step, std::vector<Execution>& out);
  // After the last step.
  void finish(std::vector<Execution>& out);

 private:
  static bool is_same_row(const v1::Tuple& old_row, const v1::Tuple& earlier);
  void gather(const SingleChange& change, std::vector<Execution>& out);
  // False where they come in arrays.
  bool copy_inserts(const RouteRows& table, std::vector<Execution>& out);

  std::size_t copy_from_ = std::numeric_limits<std::size_t>::max();
  struct Gathered;
  std::unique_ptr<Gathered> gathered_;  // key changes not yet in `out`
  Statements& statements_;
};

}  // namespace walign::apply
