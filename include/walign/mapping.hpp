// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// mapping: what the configuration means against two catalogs: routes, and the SQL that walks them. Pure:
// catalogs and facts come in as values, findings and statements go out; the target is asked elsewhere.
//
//   Config + two catalogs ──resolve──> Routes ──(the target judges the expressions)──> complete ──> Statements
//
// A route leads from one source table to one target table. Its statements are set-based: they take one text
// array per source column and make of them a relation `src`, typed as on the source, over which every target
// column is an SQL expression:
//
//   unnest($1::text[], $2::text[]) AS u(c0, c1)              rows of text
//     SELECT u.c0::int4 AS id, u.c1::text AS status          src: the source's names and types
//       SELECT src.id, CASE src.status WHEN ... END          the target's columns
//         INSERT | UPDATE | DELETE
//
// The stream, the copy of old rows and the comparison all use these same expressions, so they cannot disagree.
//
// Invariants
//  1. A source type is named without modifier, a domain by its base type: a cast never cuts a value; what does
//     not fit the target's column is refused by the assignment (SQLSTATE 22xxx).
//  2. Expressions see only `src`: a target column of the same name cannot be meant by mistake.
//  3. A route that takes UPDATE or DELETE has a key: target columns with a unique index of exactly these, each
//     computed from columns of the source's replica identity only.
//  4. Statements that must hit n rows raise SQLSTATE WA001 where they hit another number (walign.expect).
//
// Threads: plain values and pure functions.
#pragma once

#include <set>

#include "walign/catalog.hpp"
#include "walign/config.hpp"

namespace walign::mapping {

using config::TableName;

// SQLSTATEs that the functions in schema walign raise on the target.
inline constexpr std::string_view kWrongRowCount = "WA001";  // a row that should be there is not, or twice
inline constexpr std::string_view kUnmappedValue = "WA002";  // a value map has no entry and no else
inline constexpr std::string_view kPositionTaken = "WA003";  // another instance moved the position

struct Finding {
  enum class Level { ok, warn, fail };
  Level level = Level::ok;
  std::string subject;  // a table, a setting, a privilege
  std::string what;
  std::string remedy;      // the exact SQL or setting; empty where level is ok
  bool run_mends = false;  // of one that fails: `walign run` sees to it itself, before anything else
};
using Findings = std::vector<Finding>;
bool any_failed(const Findings& findings);
// Something fails, and `walign run` sees to all that does.
bool run_mends_all(const Findings& findings);

// A column of `src`.
struct SourceColumn {
  std::string name;
  pg::Oid type_oid = 0;          // on the source
  std::string type_sql;          // cast applied to its text: "pg_catalog"."int4"
  bool travels_as_text = false;  // its type does not exist on the target
  bool part_of_identity = false;
  bool toastable = false;
  bool nullable = false;
  // Of a way back: SQL that makes this column's text out of the row `t` as it stands there now; empty where there is
  // none.
  std::string present;
};

struct TargetColumn {
  std::string name;
  std::string expression;                  // SQL over src
  std::string declared;                    // its type with what modifies it: numeric(10,2)
  std::optional<config::ColumnRule> rule;  // that made it; nothing: it has the name of a source column
  std::string equals = "=";                // the operator, with its schema where that is not pg_catalog
  std::string base_type_sql;               // of the column, for comparing keys
  std::vector<int> inputs;                 // indexes into Route::source_columns, ascending
  bool identity_always = false;
  bool nullable = false;
  bool probed = false;  // inputs are known (at once for renames, after complete() for expressions)
  // Of a way back, where there and back need not be the same: an UPDATE leaves the column alone unless one of its
  // inputs is another than before.
  bool kept_if_same = false;
};

// What the target said of one expression (apply::probe).
struct ExpressionFacts {
  std::vector<std::string> columns;   // of src
  std::vector<TableName> reads;       // tables of the target, through views too
  std::vector<std::string> unstable;  // volatile or session-dependent functions, by name
  std::vector<std::string> opaque;    // functions that may read tables of their own, by name
  std::string error;                  // the target rejects it; empty if not
};

// Of a way back: a row made on the forward target may have no source key (NULL in `target_column`). It is drawn on the
// source, where the row is inserted with it, and written into the target's row (walign/crosswalk.hpp).
struct DrawnKey {
  struct Part {
    std::string name;
    std::string type_sql;
    std::string equals = "=";
    bool operator==(const Part&) const = default;
  };
  std::string sql;            // on the source: nextval('s')
  std::string source_column;  // the key that it gives
  std::string source_type;    // what it is cast to
  std::string target_column;  // where it is written
  std::string target_type;
  std::vector<Part> row_key;  // the target's primary key, by which its row is found
};

struct Route {
  int id = 0;
  config::Place place;  // of its rule
  TableName source;
  TableName target;
  std::vector<pg::Leaf> leaves;  // the source's partitions: relations of the stream that lead here too
  std::vector<SourceColumn> source_columns;
  std::vector<TargetColumn> columns;       // what is written, in the target's order
  std::vector<std::string> other_columns;  // of the target: not mapped, not generated
  std::vector<std::string> unplaced;       // source columns that no target column has by name
  std::vector<int> key;                    // indexes into columns; empty: inserts only
  std::vector<int> key_inputs;             // source columns that make the key
  std::optional<std::string> filter;       // SQL over src
  std::vector<int> filter_inputs;
  std::optional<std::string> target_where;
  std::set<TableName> reads;  // target tables that expressions look into
  bool reads_unseen = false;  // and perhaps others: they call functions that cannot be looked into
  bool inserts_only = false;
  bool sole_writer = true;                 // no other route leads to the target
  bool target_referenced = false;          // foreign keys point to it
  bool identity_full = false;              // the source sends whole old rows
  bool one_way = false;                    // nothing comes back
  std::optional<std::string> reverse_key;  // SQL that draws a new target row's key on the source
  bool back = false;                       // made by invert(): see there what is different
  std::optional<DrawnKey> drawn_key;       // of a way back

  [[nodiscard]] std::string label() const;  // "public.users -> public.users_async"
};

struct Resolution {
  std::vector<Route> routes;
  Findings findings;
};

// Expands wildcards, matches tables and columns, chooses keys, writes the expressions.
// `target_types`: the types that a cast on the target can name.
Resolution resolve(const config::Config& config, const pg::Catalog& source, const pg::Catalog& target,
                   const std::vector<pg::TypeName>& target_types);

// Every expression of a route that the target must judge, in order: columns not yet probed, then the filter.
std::vector<std::string> expressions_to_probe(const Route& route);
// Takes the answers, in that order; what cannot work becomes a finding.
Findings complete(Route& route, const std::vector<ExpressionFacts>& facts);
// Of a complete route: columns of the source that nothing on the target takes, and no rule leaves out. Each is a
// finding of complete(), this one.
std::vector<std::string> going_nowhere(const Route& route);
Finding goes_nowhere(const Route& route, const std::string& column);

// ---------------------------------------------------------------------------------------- statements

// Which source columns an UPDATE does not have (unchanged TOAST), by index into Route::source_columns.
using ColumnSet = std::vector<bool>;

struct Statement {
  std::string name;  // of the prepared statement; equal text has an equal name
  std::string sql;
  std::vector<int> inputs;      // source columns: one text[] parameter each, from $1
  std::vector<int> old_inputs;  // the same of the old row (key changes), after them
  bool counts_weights = false;  // takes the rows' weights as a text[] after those, and answers their sum
                                // over the rows that the filter kept (or that were there to delete)
  // Always last: the number of rows that must be hit, as int8.
};

Statement insert_statement(const Route& route);
Statement delete_statement(const Route& route);
// Sets every column that can be computed without `unchanged`; rows are found by key. Throws Error(conflict)
// if an expression needs both an unchanged column and another, or a filter or insert needs one.
Statement update_statement(const Route& route, const ColumnSet& unchanged);
// One row whose key may differ between the old and the new row; columns of the target that are not mapped,
// and those that are unchanged, keep their values.
Statement key_change_statement(const Route& route, const ColumnSet& unchanged);
// Like update_statement (with `keys`: like key_change_statement, for many rows), but deletes all rows first and
// inserts them again, so that unique values (and keys) may be exchanged between rows.
Statement replace_statement(const Route& route, const ColumnSet& unchanged, bool keys);
// Inserts the rows of a table that looks like the source's (a temporary one, `from` as SQL), for the copy of old rows.
std::string copy_sql(const Route& route, const std::string& from);
// Empties the target of this route's rows. nullopt: which rows are this route's cannot be told (several
// sources, no target_where). Takes no parameters.
std::optional<std::string> truncate_sql(const Route& route, bool restart_identity);
// The rows that came from one partition of the source, by its partition constraint (SQL over the source's
// columns); nullopt where that cannot be computed on the target.
std::optional<std::string> truncate_leaf_sql(const Route& route, const std::string& partition_constraint);

// How the rows that are there already are copied.
struct CopyWay {
  std::vector<std::string> key;    // columns of the source by which the table is cut; empty: it is one chunk
  bool piped = false;              // rows go through as they are; else through the mapping's SQL
  bool at_aligned_moment = false;  // the target has unique indexes beside the route's key: a row could meet a
                                   // value that another row, not yet caught up, still holds
};
CopyWay copy_way(const Route& route, const pg::Table& source, const pg::Table& target);
// What one worker is taken to copy, where nobody has measured it: whichever takes longer.
struct CopyRate {
  double rows_per_second;
  double bytes_per_second;
};
CopyRate assumed_rate(const CopyWay& way);
// One worker's time for so many rows and bytes.
double copy_work_seconds(const CopyWay& way, double rows, double bytes);
// Rows of about chunk_bytes, but not more than chunk_rows, nor than are allowed in a second.
std::int64_t rows_per_chunk(const config::Backfill& limits, const pg::Table& source);
// The size of a table up to which its rows are compared as one chunk (existing_rows: adopt), in one snapshot and one
// transaction, where ranges of it cannot be told apart on the target.
std::int64_t most_bytes_at_once(const config::Backfill& limits);

// An expression that looks into another table finds what the target has at that moment. Where that table is a target
// too, its rows are copied first: its readers begin when it is complete.
struct CopyOrder {
  // For each route, by its place in `routes`: the places of those that are complete before it begins.
  std::vector<std::vector<std::size_t>> after;
  // Routes that read each other in a circle: none of them waits for another of its circle. A table that only reads
  // itself is in none.
  std::vector<std::vector<std::size_t>> circles;
};
CopyOrder copy_order(const std::vector<Route>& routes);

// ------------------------------------------------------------------------------------- the way back

// What becomes of one route when source and target change places: a route that the same machinery can run, from
// forward target to forward source. Its columns are the forward source's; `other_columns` get their defaults in new
// rows and keep their values in others; `filter` is the forward target_where (or the constants that tell several
// sources apart), `target_where` the forward filter. Different from a forward route:
//
//  1. An UPDATE sets a column whose value there and back need not be the same only where one of its inputs changed:
//     against the old row where that is sent (REPLICA IDENTITY FULL), else against the forward value of the row
//     that is there. So a lossy pair cannot rewrite what nobody touched.
//  2. A row outside `filter` is none of ours: it is neither written nor deleted, whatever its key. What the filter
//     reads is part of the replica identity, and of key_inputs: a change of it comes with the old row.
//  3. A row that the forward filter would leave out is carried back all the same: nothing that was written is lost.
//  4. With a drawn key, no row reaches its statements without a key: who applies it gives each one its own first.
struct WayBack {
  std::string label;                     // of the forward route
  bool one_way = false;                  // nothing is to come back
  std::optional<Route> route;            // nothing: there is no way back
  std::vector<std::string> not_carried;  // target columns from which nothing on the source is computed
  // Some value there and back could be another: what round_trip_sql() is to prove of every row.
  bool needs_proof = false;
  Findings findings;  // why there is none; what it needs; what is lost
};

// One for each route, in their order. `routes` are complete, `source_types` what a cast on the source can name.
std::vector<WayBack> invert(const std::vector<Route>& routes, const pg::Catalog& source,
                            const pg::Catalog& target, const std::vector<pg::TypeName>& source_types);
// The forward expressions, for the source to judge whether it can compute them too: a route to be asked about with
// expressions_to_probe().
Route asked_of_source(const Route& forward);
// Takes the source's answers about the way back (expressions_to_probe(*way.route)) and about asked_of_source(). The
// route is gone where it cannot work.
void complete_way_back(WayBack& way, const Route& forward, const std::vector<ExpressionFacts>& back_facts,
                       const std::vector<ExpressionFacts>& forward_facts);

// Rows as they come out: takes one text array per input and no other parameter; answers, in the order of the arrays,
// each row's number (from 1) and the text of every target column as the target would keep it. Rows that the filter
// leaves out are not in the answer.
Statement values_statement(const Route& route);
// On the source alone, over `from` (SQL of a relation with the source's columns, named or in parentheses): the rows
// that do not come back as they were. Columns of the answer: source column, key (column=value, ...), what it was,
// what came back. Nothing where the source cannot compute the forward mapping.
std::optional<std::string> round_trip_sql(const Route& forward, const WayBack& way, const std::string& from);

// --------------------------------------------------------------------------------------- comparison

// The source's rows are brought to the target, into `rows` (as the source has them), mapped there into `want` (as the
// target should have them) by what copy_sql() selects, and compared with what is there. Temporary tables, emptied at
// each commit unless said otherwise; names begin with walign_v and the route's number.
struct CompareSql {
  std::vector<std::string> tables;          // CREATE TEMPORARY TABLE IF NOT EXISTS ...; once per session
  std::vector<std::string> source_columns;  // quoted, in the order of `rows`
  std::string rows;                         // pg_temp.walign_v7_rows
  std::string map;                          // rows to want
  // kind (m missing, d different), source key ..., then each target column as wanted, then as it is, then the
  // number of rows in all; at most `limit` of them.
  std::string differing;
  // Routes with a key only, from here on. `asked` takes keys of the source, `claimed` and `changed` hold keys of the
  // target; claimed is kept from one commit to the next.
  std::string asked;
  std::vector<std::string> forget_claimed;
  std::string claim;  // the keys of want
  std::string ask;    // the target's keys of `asked`, into `changed`
  std::string
      extra_in_all;  // rows of the target that are neither claimed nor changed: columns, then the number
  std::string extra_in_asked;  // rows of the target with a key in `changed` that are not wanted: the same
  // Without a key: count and sum of hashes of what is wanted, and of what is there.
  std::string sum_wanted;
  std::string sum_there;
};
// `source_key`: the source's columns by which it is cut; `limit`: rows reported at most.
CompareSql compare_sql(const Route& route, const std::vector<std::string>& source_key, int limit);
// Every column of the target is a column of the source: their names, in the order of Route::columns.
std::optional<std::vector<std::string>> plain_columns(const Route& route);
// pg_catalog.hashtextextended(ROW(...)::text COLLATE "C", 0) over quoted columns.
std::string row_hash(const std::vector<std::string>& columns);

// Changes when anything does that decides what a route writes.
std::string mapping_hash(const std::vector<Route>& routes);
// What a comparison is worth nothing after: another mapping, other types, other partitions (one may have come with rows
// that no stream has brought).
std::string comparison_hash(const Route& route);

}  // namespace walign::mapping
