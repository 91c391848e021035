// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What `walign init` does, step by step, each of them a function:
//
//   two catalogs ──match──> pairs ──draft──> rules ──judge──> those that work, those that need a decision ──> text
//
// match and draft are pure and propose; judge asks the same code as preflight, and both servers, what becomes of a
// proposal. So a rule that is written as one to be used is one that works, and whatever does not stands in the file as
// a comment, with what hinders it.
#pragma once

#include "command.hpp"
#include "walign/stream.hpp"

namespace walign::cli::init {

using config::TableName;

inline TableName name_of(const pg::Table& table) { return {table.schema, table.name}; }

// What a catalog of tables does not have.
struct Others {
  struct Object {
    std::string kind;  // view, materialized view, foreign table
    TableName name;
  };
  struct Sequence {
    TableName name;
    bool serves_column = false;  // owned by one, or drawn from by its default
  };
  std::vector<Object> objects;
  std::vector<Sequence> sequences;
  std::set<TableName> of_extensions;                                   // tables that CREATE EXTENSION brings
  std::map<std::pair<TableName, std::string>, std::string> generated;  // table and column: the expression
  std::int64_t large_objects = 0;
};
Others read_others(pg::Connection& connection);

// ------------------------------------------------------------------------------------------------ match

struct Pair {
  const pg::Table* source;
  const pg::Table* target;
  std::string why;  // what speaks for it; empty where both have the same name
};
struct Matching {
  std::vector<Pair> pairs;
  // Tables of the source that have none, with those of the target that may be meant: at most three, the best first.
  std::vector<std::pair<const pg::Table*, std::vector<Pair>>> alone;
  std::vector<const pg::Table*> target_only;
};
struct MatchOptions {
  bool same_database = false;     // then no table is its own target
  std::set<std::string> schemas;  // of the source; empty: all
  std::set<TableName> left_out;   // of extensions
};
// Pairs of the same schema and name. Where there are none, and within one database, tables of a like name whose partner
// is beyond doubt.
Matching match(const pg::Catalog& source, const pg::Catalog& target, const MatchOptions& options);

// ------------------------------------------------------------------------------------------------ draft

struct Draft {
  struct Entry {
    std::string column;
    std::string value;   // as YAML has it
    std::string remark;  // why
  };
  Pair pair;
  std::vector<std::string> key;  // empty: the target's primary key
  std::vector<Entry> columns;
  bool one_way = false;
  std::vector<std::string> remarks;
  std::vector<std::string> obstacles;  // why it cannot be used as it stands; empty: it can
};
Draft draft(const Pair& pair, const Others& source);
// The rule that the draft is, as lines of the list `tables:`, indented by two.
std::string rule_text(const Draft& draft);

// ------------------------------------------------------------------------------------------------ judge

struct Servers {
  pg::Connection& source;
  pg::Connection& target;
  pg::Catalog source_catalog;
  pg::Catalog target_catalog;
};
// Chooses keys, and fills in remarks and obstacles, and one_way: where there is no way back. What a role may not do is
// left to preflight.
void judge(std::vector<Draft>& drafts, const config::Config& config, Servers& servers);

// ------------------------------------------------------------------------------------------------- text

struct Found {
  std::string migration, source, target, state;  // as they are to be written
  std::vector<Draft> drafts;
  Matching matching;
  Others on_source;
};
// The whole file.
std::string file_text(const Found& found);
// A value as YAML has it, in double quotes where it must be; `${` stands for itself.
std::string yaml(const std::string& value);
// The same for a connection string, in which ${VAR} is a variable.
std::string yaml_with_variables(const std::string& value);
std::string yaml_key(const std::string& name);
// The four lines that every configuration begins with, and "tables:".
std::string head_text(const Found& found);

}  // namespace walign::cli::init
