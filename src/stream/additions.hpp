// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// schema_change: add_columns. A column that was added to a table of the source since the stream last saw it, and of
// which the mapping says nothing, is added to the target before a session goes on; the session that met its first row
// has ended just before that.
//
//   both catalogs ──> judge_additions() ──> [nothing else is wrong] add_column(), each ──> both catalogs again
//
// Rows that the target has get what ADD COLUMN gave to the source's: its constant default of the time, or NULL. Rows
// between the stream's position and now are brought up to it as after any other change (shapes.hpp); of tables that
// are still copied, no chunk was read with the column and by a plan without it (backfill/copier.hpp).
//
// Invariants
//  1. No value is guessed. What rows from before have is in the catalog (attmissingval); or it is NULL, where the table
//     has not been written anew since it was seen without the column. Otherwise the column is not added.
//  2. The column, its value in the rows that are there, its default and the note in walign.alteration are one
//     transaction of the target. A start after a crash finds all of it, and then nothing to add, or nothing.
//  3. Nobody waits behind the wait for the table's lock for longer than kAlterPatience.
//  4. Only what was added since: a column that was there when the table was last seen was dropped on the target, or
//     taken out of the mapping, and that is for the operator to decide.
//
// Threads: the loop's.
#pragma once

#include "servers.hpp"

namespace walign::stream {

inline constexpr const char* kAlterPatience = "500ms";

// What rows from before ADD COLUMN have in it.
struct Given {
  bool known = false;
  std::optional<std::string> value;  // nothing: NULL
  bool operator==(const Given&) const = default;
};
// Of one table or partition. `filenode`: as it is, read after the catalogs; `past`: shapes of any table.
Given given_by(const pg::Table& its, const pg::Column& column, pg::Oid filenode,
               const std::vector<apply::RelationShape>& past);
// Of a table with all its partitions, which must agree.
Given given_in_all(const pg::Table& table, const pg::Column& column, const pg::Catalog& catalog,
                   const std::map<pg::Oid, pg::Oid>& filenodes,
                   const std::vector<apply::RelationShape>& past);
// It was not there when the table was last seen; false where it never was.
bool added_since(const pg::Table& table, const pg::Column& column,
                 const std::vector<apply::RelationShape>& past);

// A new column, as the source has it.
struct NewColumn {
  pg::Column column;
  std::string default_sql;  // of rows that are made now; empty: none
  bool volatile_default = false;
  std::string collation;  // SQL; empty: its type's own
  Given given;
  // Leads to the same column of a target.
  [[nodiscard]] bool same(const NewColumn& other) const;
};

// What is to become of one column of one table of the target.
struct AdditionVerdict {
  std::vector<std::string> sql;  // adds it; empty where it is refused
  std::string refused;           // why
  std::string remedy;            // what to do then, beside mapping it otherwise
};
// `wishes`: of every route to the table whose source has got it, by its source, at least one. `others`: further routes
// lead to the table, of which the sources have no such column. `types`: that a cast on the target can name.
AdditionVerdict judge_addition(const std::vector<std::pair<config::TableName, NewColumn>>& wishes,
                               const pg::Table& target, bool others, const std::set<pg::TypeName>& types);

// ------------------------------------------------------------------------------------- on both servers

// Judges every column that goes nowhere, of a prepared way there whose findings are complete: fills
// Prepared::additions, and says in the findings what becomes of each. `known`: as for check_followed().
void judge_additions(Prepared& prepared, const std::vector<apply::RelationShape>& known,
                     pg::Connection& source, pg::Connection& target);

// The same of a way back: of its source's columns that the way there (`there`, complete) leaves alone because its own
// source has none of their name. What is not added is not carried back, as ever; that is logged.
void judge_additions_back(const std::vector<mapping::Route>& there, Prepared& back,
                          const std::vector<apply::RelationShape>& known, pg::Connection& source,
                          pg::Connection& target);

// Of `followed`, those that were written anew and have got no column since, with the filenode of now. What they get
// later can be known again (given_by()).
std::vector<apply::RelationShape> written_anew(pg::Connection& source,
                                               const std::vector<apply::RelationShape>& followed);

// Only a table's owner may alter it. Adds findings.
void check_may_alter(Prepared& prepared);

// `position`: the stream's, on the target. Throws Error(transient) where the table is locked, or has got the column
// meanwhile; Error(precondition) where the target refuses it.
void add_column(pg::Connection& target, const std::string& stream, Lsn position, const Addition& addition);

}  // namespace walign::stream
