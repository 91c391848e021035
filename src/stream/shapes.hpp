// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Rows from before somebody altered their table. The mapping is made for the columns that a table has now; a stream
// that is behind brings rows in the shapes that it had. They are brought up to the shape of now, before anybody looks
// at them: columns are followed by their attnum through renames, what was dropped since is left out, and of a column
// that was added since
//
//   an INSERT   has what ADD COLUMN gave to the rows that were there: its constant default, or NULL
//   an UPDATE   says nothing (as of unchanged TOAST): the target's row keeps what it has
//   an old row  has not sent it
//
// Invariants
//  1. A relation of the stream is taken for one assignment of its columns to attnums, or refused. It is known where
//     each of its columns has a name and type that its attnum once had, in ascending order, and there is one way only
//     to see it so. Without doubt in particular where all columns are as they are now and no older shape fits.
//     A column that was seen to be gone before it was committed is none of its.
//  2. What commits at or after the moment when the shape of now was seen (RelationShape::seen) has exactly that shape,
//     or a newer one, which is refused here: the catalogs must be read again.
//  3. No value is guessed: a column whose value in a row cannot be known makes the row refused.
//
// Threads: the loop's.
#pragma once

#include <unordered_map>

#include "walign/event.hpp"
#include "walign/relations.hpp"
#include "walign/stream.hpp"

namespace walign::stream {

// The shape of a table or partition of the catalog now, without its filenode. `table`: of its root.
apply::RelationShape shape_of(const pg::Table& its, pg::Oid table, Lsn seen);

// Every table that `prepared` maps, and their partitions; without filenodes.
std::vector<apply::RelationShape> shapes_of(const Prepared& prepared, Lsn seen);

// Thrown where a relation of the stream has no shape that is known.
struct ShapeUnknown {
  config::TableName name;  // as the stream calls it
  pg::Oid oid = 0;
  Lsn commit_lsn;
  std::string what;  // "it has a column c that it does not have now"
};

class Shapes {
 public:
  // `now` and `past`: all of the same stream; `past` may hold those of `now` too.
  Shapes(const pg::Catalog& catalog, std::vector<apply::RelationShape> now,
         std::vector<apply::RelationShape> past);

  // The part with every relation in the shape that it has now; usually the same part. Throws ShapeUnknown, and
  // Error(precondition) where a row's value cannot be known.
  event::TransactionPart bring_up(event::TransactionPart part);

 private:
  // What ADD COLUMN gave to the rows that were there.
  struct Added {
    bool known = false;
    std::optional<std::string> value;  // nothing: NULL
  };
  struct Way {
    event::RelationPtr before;  // kept, so that its address is not used again
    event::RelationPtr now;     // null: it is as it is now
    std::vector<int> from;      // by column of `now`: index into `before`, or -1
    std::vector<Added> added;   // by column of `now`, for those which `from` does not have
  };
  // Names and types by attnum.
  using Columns = std::map<int, std::vector<std::pair<std::string, pg::Oid>>>;
  struct Known {
    apply::RelationShape now;
    const pg::Table* table = nullptr;
    Columns ever;                            // that each attnum has had, those of now included
    bool changed = false;                    // there is more than one shape
    std::vector<apply::RelationShape> past;  // in the order in which they were noted
  };
  static Columns possible(const Known& known, Lsn commit_lsn);
  const Way& way_of(const event::RelationPtr& relation, Lsn commit_lsn);
  static Added added(const Known& known, const pg::Column& column);
  Way make_way(const event::RelationPtr& relation, Lsn commit_lsn) const;
  event::TransactionPart rewrite(const event::TransactionPart& part);
  // `missing`: the state of what was added since; a value: what ADD COLUMN gave.
  static void rewrite_row(const v1::Tuple& row, const Way& way, event::State missing, v1::Tuple& out);

  std::unordered_map<pg::Oid, Known> known_;
  std::unordered_map<const v1::Relation*, Way> ways_;
};

}  // namespace walign::stream
