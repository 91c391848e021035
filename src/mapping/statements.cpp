// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The SQL of a route. Names that are ours inside a statement have a dot ("walign.w"), which no sensible column
// has; exactness does not hang on it: a source column of that name is refused by the target as ambiguous.
#include <cstdio>

#include "walign/mapping.hpp"

namespace walign::mapping {

namespace {

using pg::qualified;
using pg::quote_ident;
using pg::quote_literal;

std::string target_sql(const Route& route) { return qualified(route.target.schema, route.target.name); }

std::uint64_t fnv1a(std::string_view text, std::uint64_t hash = 0xcbf29ce484222325ULL) {
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  return hash;
}

std::string hex(std::uint64_t value) {
  char buffer[20];
  std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(value));
  return buffer;
}

Statement named(Statement statement) {
  statement.name = cat("walign_", hex(fnv1a(statement.sql)));
  return statement;
}

std::string wrong_count(const Route& route, std::string_view doing) {
  return quote_literal(cat(doing, " ", route.target.to_string()));
}

// The union of the inputs of some columns and of more, ascending; never empty, so that unnest has an argument.
std::vector<int> inputs_of(const Route& route, const std::vector<int>& columns,
                           const std::vector<int>& more) {
  std::set<int> all(more.begin(), more.end());
  for (const int c : columns) {
    const auto& inputs = route.columns[static_cast<std::size_t>(c)].inputs;
    all.insert(inputs.begin(), inputs.end());
  }
  if (all.empty()) all.insert(0);
  return {all.begin(), all.end()};
}

const TargetColumn& column(const Route& route, int index) {
  return route.columns[static_cast<std::size_t>(index)];
}

// (SELECT u.c0::"pg_catalog"."int4" AS "id", ... FROM unnest($1::text[], ...) AS u(c0, ...))
std::string rows_of(const Route& route, const std::vector<int>& inputs, std::size_t first_param,
                    bool weights) {
  std::string select;
  std::string arrays;
  std::string names;
  std::size_t param = first_param;
  for (const int input : inputs) {
    const auto& source = route.source_columns[static_cast<std::size_t>(input)];
    const std::string_view comma = arrays.empty() ? "" : ", ";
    select += cat(comma, "u.c", input, "::", source.type_sql, " AS ", quote_ident(source.name));
    arrays += cat(comma, "$", param++, "::pg_catalog.text[]");
    names += cat(comma, "c", input);
  }
  if (weights) {
    select += ", u.w::pg_catalog.int8 AS \"walign.w\"";
    arrays += cat(", $", param, "::pg_catalog.text[]");
    names += ", w";
  }
  return cat("(SELECT ", select, " FROM unnest(", arrays, ") AS u(", names, "))");
}

// The same, numbered from 1 in the order of the arrays; with the weights that parameter `weights` holds, if any.
std::string numbered_rows(const Route& route, const std::vector<int>& inputs, std::size_t first_param,
                          std::size_t weights) {
  std::string select;
  std::string arrays;
  std::string names;
  std::size_t param = first_param;
  for (const int input : inputs) {
    const auto& source = route.source_columns[static_cast<std::size_t>(input)];
    select += cat("u.c", input, "::", source.type_sql, " AS ", quote_ident(source.name), ", ");
    arrays += cat(arrays.empty() ? "" : ", ", "$", param++, "::pg_catalog.text[]");
    names += cat("c", input, ", ");
  }
  if (weights != 0) {
    select += "u.w::pg_catalog.int8 AS \"walign.w\", ";
    arrays += cat(", $", weights, "::pg_catalog.text[]");
    names += "w, ";
  }
  return cat("(SELECT ", select, "u.n AS \"walign.n\" FROM unnest(", arrays, ") WITH ORDINALITY AS u(", names,
             "n))");
}

std::string count_param(const Statement& s) {
  return cat("$", s.inputs.size() + s.old_inputs.size() + (s.counts_weights ? 1 : 0) + 1,
             "::pg_catalog.int8");
}

std::string expect(std::string_view count, std::string_view wanted, std::string_view label) {
  return cat("walign.expect(", count, ", ", wanted, ", ", label, ")");
}

// "name" and its expression for each of some target columns, as e0, e1, ... (index into Route::columns).
std::string select_columns(const Route& route, const std::vector<int>& columns) {
  std::string out;
  for (const int c : columns) out += cat(out.empty() ? "" : ", ", column(route, c).expression, " AS e", c);
  return out;
}

// The key's expressions, typed as the target's columns, as k0, k1, ...
std::string select_key(const Route& route) {
  std::string out;
  for (const int c : route.key) {
    out += cat(out.empty() ? "" : ", ", "(", column(route, c).expression,
               ")::", column(route, c).base_type_sql, " AS k", c);
  }
  return out;
}

std::string match_key(const Route& route, std::string_view from) {
  std::string out;
  for (const int c : route.key) {
    out += cat(out.empty() ? "" : " AND ", "t.", quote_ident(column(route, c).name), " ",
               column(route, c).equals, " ", from, ".k", c);
  }
  return out;
}

std::string column_names(const Route& route, const std::vector<int>& columns) {
  std::string out;
  for (const int c : columns) out += cat(out.empty() ? "" : ", ", quote_ident(column(route, c).name));
  return out;
}

std::string column_values(const std::vector<int>& columns, std::string_view from) {
  std::string out;
  for (const int c : columns) out += cat(out.empty() ? "" : ", ", from, ".e", c);
  return out;
}

std::string assignments(const Route& route, const std::vector<int>& columns) {
  std::string out;
  for (const int c : columns) {
    out += cat(out.empty() ? "" : ", ", quote_ident(column(route, c).name), " = m.e", c);
  }
  return out;
}

std::vector<int> all_columns(const Route& route) {
  std::vector<int> all;
  for (std::size_t c = 0; c < route.columns.size(); ++c) all.push_back(static_cast<int>(c));
  return all;
}

bool is_key(const Route& route, int c) {
  return std::find(route.key.begin(), route.key.end(), c) != route.key.end();
}

[[noreturn]] void missing_value(const Route& route, std::string_view what, int input) {
  const auto& source = route.source_columns[static_cast<std::size_t>(input)];
  throw Error(
      ErrorKind::conflict,
      cat(route.label(), ": ", what, " needs the value of ", source.name,
          ", which did not change and was not sent (TOAST)"),
      cat("ALTER TABLE ", qualified(route.source.schema, route.source.name),
          " REPLICA IDENTITY FULL, so that old rows carry it; changes already in the WAL can be set aside "
          "with on_conflict: dead_letter"));
}

// Whether a column can be computed; throws where it needs an unchanged value and a changed one.
bool computable(const Route& route, const TargetColumn& c, const ColumnSet& unchanged) {
  const auto is_unchanged = [&](int input) { return unchanged[static_cast<std::size_t>(input)]; };
  const auto first = std::find_if(c.inputs.begin(), c.inputs.end(), is_unchanged);
  if (first == c.inputs.end()) return true;
  if (!std::all_of(c.inputs.begin(), c.inputs.end(), is_unchanged)) {
    missing_value(route, cat("the expression of column ", c.name), *first);
  }
  return false;
}

// The columns that an UPDATE sets: computable ones, without the key unless it may have changed.
std::vector<int> updated_columns(const Route& route, const ColumnSet& unchanged, bool with_key) {
  std::vector<int> set;
  for (const int c : all_columns(route)) {
    if (computable(route, column(route, c), unchanged) && (with_key || !is_key(route, c))) set.push_back(c);
  }
  return set;
}

// Rows deleted into `old` and inserted again with what `from` has, both numbered; if `from` is empty, `old` has it.
// The sort makes the executor delete all before it inserts the first.
std::string insert_from_old(const Route& route, const std::vector<int>& set, std::string_view from) {
  std::string names;
  std::string values;
  const auto add = [&](const std::string& name, const std::string& value) {
    names += cat(names.empty() ? "" : ", ", name);
    values += cat(values.empty() ? "" : ", ", value);
  };
  for (const int c : all_columns(route)) {
    const std::string name = quote_ident(column(route, c).name);
    const bool is_set = std::find(set.begin(), set.end(), c) != set.end();
    const std::string set_value = from.empty() ? cat("old.\"walign.e", c, "\"") : cat("m.e", c);
    add(name, is_set ? set_value : cat("old.", name));
  }
  for (const auto& name : route.other_columns) add(quote_ident(name), cat("old.", quote_ident(name)));
  return cat("INSERT INTO ", target_sql(route), " (", names, ") OVERRIDING SYSTEM VALUE SELECT ", values,
             " FROM old", from.empty() ? std::string() : cat(" JOIN ", from, " AS m USING (\"walign.n\")"),
             " ORDER BY \"walign.n\" RETURNING 1");
}

void check_filter_inputs(const Route& route, const ColumnSet& unchanged) {
  for (const int input : route.filter_inputs) {
    if (unchanged[static_cast<std::size_t>(input)]) missing_value(route, "the filter (where)", input);
  }
}

// A row's way through a filtered route: out of it, changed in it, or into it; one statement, three parts. Rows
// are found by the new row's key, or (key change) by the old row's. `reinsert`: rows that stay are deleted and
// inserted again, as reinsert_statement does.
class Merge {
 public:
  Merge(const Route& route, const ColumnSet& unchanged, bool key_change, bool reinsert)
      : route_(route),
        key_change_(key_change),
        reinsert_(reinsert),
        set_(updated_columns(route, unchanged, key_change)),
        whole_(updated_columns(route, unchanged, true)),
        complete_(whole_.size() == route.columns.size()) {
    check_filter_inputs(route, unchanged);
    auto needed = route.key_inputs;
    needed.insert(needed.end(), route.filter_inputs.begin(), route.filter_inputs.end());
    s_.inputs = inputs_of(route, whole_, needed);
    s_.counts_weights = true;
    if (key_change) s_.old_inputs = route.key_inputs;
  }

  Statement statement() {
    s_.sql = cat(
        "WITH ", flagged(), ", ", kept(), ", ", reinsert_ ? reinserted() : in_place(), " SELECT ",
        "coalesce((SELECT sum(\"walign.w\") FROM flagged WHERE \"walign.keep\"), 0), ",
        expect(cat("(SELECT count(*) FROM changed)", complete_ ? " + (SELECT count(*) FROM entered)" : ""),
               "(SELECT count(*) FROM kept)",
               wrong_count(route_, complete_ ? "update of a filtered row of"
                                             : "a row with values that were not sent (TOAST) "
                                               "enters the filter of")),
        ", ", expect("(SELECT count(*) FROM flagged)", count_param(s_), wrong_count(route_, "rows for")));
    return named(std::move(s_));
  }

 private:
  // The new rows, numbered, with their weights and whether the filter keeps them.
  [[nodiscard]] std::string flagged() const {
    const std::size_t weights = s_.inputs.size() + s_.old_inputs.size() + 1;
    return cat("flagged AS MATERIALIZED (SELECT src.*, (", *route_.filter,
               ") IS TRUE AS \"walign.keep\" FROM ", numbered_rows(route_, s_.inputs, 1, weights),
               " AS src)");
  }
  [[nodiscard]] std::string kept() const {
    return cat("kept AS MATERIALIZED (SELECT src.\"walign.n\", ", select_key(route_),
               whole_.empty() ? "" : ", ", select_columns(route_, whole_),
               " FROM (SELECT * FROM flagged WHERE \"walign.keep\") AS src)");
  }
  // Every row's key on the target, with its number and whether it is kept.
  [[nodiscard]] std::string keys() const {
    if (!key_change_) {
      return cat("(SELECT src.\"walign.n\", src.\"walign.keep\", ", select_key(route_),
                 " FROM flagged AS src)");
    }
    return cat(
        "(SELECT f.\"walign.n\", f.\"walign.keep\", o.* FROM flagged AS f JOIN (SELECT src.\"walign.n\" AS "
        "\"walign.o\", ",
        select_key(route_), " FROM ", numbered_rows(route_, s_.old_inputs, s_.inputs.size() + 1, 0),
        " AS src) AS o ON o.\"walign.o\" = f.\"walign.n\")");
  }

  [[nodiscard]] std::string in_place() const {
    const std::string target = target_sql(route_);
    const std::string_view by = key_change_ ? "o" : "m";
    const std::string stays =
        key_change_ ? cat(keys(), " AS o JOIN kept AS m USING (\"walign.n\")") : std::string("kept AS m");
    std::string sql = cat("gone AS (DELETE FROM ", target, " AS t USING ", keys(),
                          " AS o WHERE NOT o.\"walign.keep\" AND ", match_key(route_, "o"), "), ");
    if (set_.empty()) {
      sql +=
          cat("changed AS (SELECT 1 FROM ", target, " AS t, ", stays, " WHERE ", match_key(route_, by), ")");
    } else {
      sql += cat("changed AS (UPDATE ", target, " AS t SET ", assignments(route_, set_), " FROM ", stays,
                 " WHERE ", match_key(route_, by), " RETURNING 1)");
    }
    if (complete_) {
      sql += cat(", entered AS (INSERT INTO ", target, " (", column_names(route_, whole_),
                 ") OVERRIDING SYSTEM VALUE SELECT ", column_values(whole_, "m"), " FROM ", stays,
                 " WHERE NOT EXISTS (SELECT FROM ", target, " AS t WHERE ", match_key(route_, by),
                 ") RETURNING 1)");
    }
    return sql;
  }

  [[nodiscard]] std::string reinserted() const {
    const std::string target = target_sql(route_);
    std::string sql =
        cat("old AS (DELETE FROM ", target, " AS t USING ", keys(), " AS o WHERE ", match_key(route_, "o"),
            " RETURNING o.\"walign.n\", t.*), changed AS (", insert_from_old(route_, whole_, "kept"), ")");
    if (complete_) {
      sql += cat(", entered AS (INSERT INTO ", target, " (", column_names(route_, whole_),
                 ") OVERRIDING SYSTEM VALUE SELECT ", column_values(whole_, "m"),
                 " FROM kept AS m WHERE NOT EXISTS (SELECT FROM old WHERE old.\"walign.n\" = m.\"walign.n\") "
                 "ORDER BY \"walign.n\" RETURNING 1)");
    }
    return sql;
  }

  const Route& route_;
  const bool key_change_;
  const bool reinsert_;
  const std::vector<int> set_;    // what an UPDATE sets
  const std::vector<int> whole_;  // what the event has
  const bool complete_;           // it has everything
  Statement s_;
};

// Deletes the rows, then inserts them: what the event does not have comes from the deleted row.
Statement reinsert_statement(const Route& route, const ColumnSet& unchanged, bool key_change) {
  if (route.filter) return Merge(route, unchanged, key_change, true).statement();
  const auto set = updated_columns(route, unchanged, true);
  Statement s;
  s.inputs = inputs_of(route, set, route.key_inputs);
  if (key_change) s.old_inputs = route.key_inputs;
  const std::string old_keys = key_change
                                   ? cat(" JOIN (SELECT src.\"walign.n\", ", select_key(route), " FROM ",
                                         numbered_rows(route, s.old_inputs, s.inputs.size() + 1, 0),
                                         " AS src) AS o USING (\"walign.n\")")
                                   : std::string();
  std::string returned;
  for (const int c : set) returned += cat("m.e", c, " AS \"walign.e", c, "\", ");
  s.sql = cat("WITH m AS MATERIALIZED (SELECT src.\"walign.n\", ", select_key(route), ", ",
              select_columns(route, set), " FROM ", numbered_rows(route, s.inputs, 1, 0), " AS src), ",
              "old AS (DELETE FROM ", target_sql(route), " AS t USING m", old_keys, " WHERE ",
              match_key(route, key_change ? "o" : "m"), " RETURNING m.\"walign.n\", ", returned,
              "t.*), done AS (", insert_from_old(route, set, ""), ") SELECT ",
              expect("(SELECT count(*) FROM done)", count_param(s), wrong_count(route, "update of")));
  return named(std::move(s));
}

bool sets_identity_always(const Route& route, const std::vector<int>& set) {
  return std::any_of(set.begin(), set.end(), [&](int c) { return column(route, c).identity_always; });
}

}  // namespace

std::string Route::label() const { return cat(source.to_string(), " -> ", target.to_string()); }

Statement insert_statement(const Route& route) {
  const auto columns = all_columns(route);
  Statement s;
  s.inputs = inputs_of(route, columns, route.filter_inputs);
  s.counts_weights = route.filter.has_value();
  std::string values;
  for (const int c : columns) values += cat(values.empty() ? "" : ", ", column(route, c).expression);
  const std::string insert = cat("INSERT INTO ", target_sql(route), " (", column_names(route, columns),
                                 ") OVERRIDING SYSTEM VALUE SELECT ", values, " FROM ");
  const std::string rows = rows_of(route, s.inputs, 1, s.counts_weights);
  if (!route.filter) {
    s.sql = cat("WITH done AS (", insert, rows, " AS src RETURNING 1) SELECT ",
                expect("(SELECT count(*) FROM done)", count_param(s), wrong_count(route, "insert into")));
    return named(std::move(s));
  }
  s.sql = cat(
      "WITH rows AS MATERIALIZED (SELECT * FROM ", rows, " AS r), ",
      "kept AS MATERIALIZED (SELECT * FROM rows AS src WHERE (", *route.filter, ") IS TRUE), ", "done AS (",
      insert, "kept AS src RETURNING 1) ", "SELECT coalesce((SELECT sum(\"walign.w\") FROM kept), 0), ",
      expect("(SELECT count(*) FROM done)", "(SELECT count(*) FROM kept)", wrong_count(route, "insert into")),
      ", ", expect("(SELECT count(*) FROM rows)", count_param(s), wrong_count(route, "rows for")));
  return named(std::move(s));
}

Statement delete_statement(const Route& route) {
  Statement s;
  s.inputs = inputs_of(route, {}, route.key_inputs);
  s.counts_weights = route.filter.has_value();
  const std::string keys =
      cat("(SELECT ", select_key(route), s.counts_weights ? ", src.\"walign.w\" AS w" : "", " FROM ",
          rows_of(route, s.inputs, 1, s.counts_weights), " AS src) AS m");
  const std::string remove =
      cat("DELETE FROM ", target_sql(route), " AS t USING ", keys, " WHERE ", match_key(route, "m"));
  if (!route.filter) {
    s.sql = cat("WITH done AS (", remove, " RETURNING 1) SELECT ",
                expect("(SELECT count(*) FROM done)", count_param(s), wrong_count(route, "delete from")));
  } else {
    // A row that was never in the filter is not there to delete.
    s.sql = cat("WITH done AS (", remove, " RETURNING m.w) SELECT coalesce(sum(w), 0) FROM done HAVING ",
                count_param(s), " >= 0");
  }
  return named(std::move(s));
}

Statement update_statement(const Route& route, const ColumnSet& unchanged) {
  const auto set = updated_columns(route, unchanged, false);
  if (sets_identity_always(route, set)) return reinsert_statement(route, unchanged, false);
  if (route.filter) return Merge(route, unchanged, false, false).statement();
  Statement s;
  s.inputs = inputs_of(route, set, route.key_inputs);
  const std::string rows =
      cat("(SELECT ", select_key(route), set.empty() ? "" : ", ", select_columns(route, set), " FROM ",
          rows_of(route, s.inputs, 1, false), " AS src) AS m");
  const std::string change =
      set.empty()
          ? cat("SELECT 1 FROM ", target_sql(route), " AS t, ", rows, " WHERE ", match_key(route, "m"))
          : cat("UPDATE ", target_sql(route), " AS t SET ", assignments(route, set), " FROM ", rows,
                " WHERE ", match_key(route, "m"), " RETURNING 1");
  s.sql = cat("WITH done AS (", change, ") SELECT ",
              expect("(SELECT count(*) FROM done)", count_param(s), wrong_count(route, "update of")));
  return named(std::move(s));
}

Statement key_change_statement(const Route& route, const ColumnSet& unchanged) {
  const auto set = updated_columns(route, unchanged, true);
  if (sets_identity_always(route, set)) return reinsert_statement(route, unchanged, true);
  if (route.filter) return Merge(route, unchanged, true, false).statement();
  Statement s;
  s.inputs = inputs_of(route, set, route.key_inputs);
  s.old_inputs = route.key_inputs;
  s.sql =
      cat("WITH done AS (UPDATE ", target_sql(route), " AS t SET ", assignments(route, set), " FROM (SELECT ",
          select_columns(route, set), " FROM ", rows_of(route, s.inputs, 1, false), " AS src) AS m, (SELECT ",
          select_key(route), " FROM ", rows_of(route, s.old_inputs, s.inputs.size() + 1, false),
          " AS src) AS o WHERE ", match_key(route, "o"), " RETURNING 1) SELECT ",
          expect("(SELECT count(*) FROM done)", count_param(s), wrong_count(route, "key change in")));
  return named(std::move(s));
}

Statement replace_statement(const Route& route, const ColumnSet& unchanged, bool keys) {
  return reinsert_statement(route, unchanged, keys);
}

std::string copy_sql(const Route& route, const std::string& from) {
  std::string values;
  for (const auto& column : route.columns) values += cat(values.empty() ? "" : ", ", column.expression);
  return cat("INSERT INTO ", target_sql(route), " (", column_names(route, all_columns(route)),
             ") OVERRIDING SYSTEM VALUE SELECT ", values, " FROM ", from, " AS src",
             route.filter ? cat(" WHERE (", *route.filter, ") IS TRUE") : "");
}

std::optional<std::string> truncate_sql(const Route& route, bool restart_identity) {
  const std::string target = target_sql(route);
  if (route.target_where) return cat("DELETE FROM ", target, " WHERE ", *route.target_where);
  if (!route.sole_writer) return std::nullopt;
  // TRUNCATE is refused on a table that another refers to, also where foreign keys are not enforced.
  if (route.target_referenced) return cat("DELETE FROM ", target);
  return cat("TRUNCATE ", target, restart_identity ? " RESTART IDENTITY" : "");
}

std::optional<std::string> truncate_leaf_sql(const Route& route, const std::string& partition_constraint) {
  if (!route.sole_writer && !route.target_where) return std::nullopt;
  if (partition_constraint.empty() ||
      partition_constraint.find("satisfies_hash_partition") != std::string::npos) {
    return std::nullopt;
  }
  std::string columns;
  for (const auto& c : route.columns) {
    for (const auto& source : route.source_columns) {
      if (c.expression != cat("src.", quote_ident(source.name))) continue;
      columns += cat(", t.", quote_ident(c.name), " AS ", quote_ident(source.name));
    }
  }
  const std::string target = target_sql(route);
  return cat("DELETE FROM ", target,
             " AS d USING (SELECT * FROM (SELECT t.tableoid AS \"walign.o\", t.ctid AS "
             "\"walign.c\"",
             columns, " FROM ", target, " AS t",
             route.target_where ? cat(" WHERE (", *route.target_where, ")") : "", ") AS p WHERE ",
             partition_constraint,
             ") AS gone WHERE d.tableoid = gone.\"walign.o\" AND d.ctid = gone.\"walign.c\"");
}

std::string mapping_hash(const std::vector<Route>& routes) {
  std::uint64_t hash = fnv1a("");
  for (const auto& route : routes) {
    hash = fnv1a(route.label(), hash);
    for (const auto& c : route.columns) hash = fnv1a(cat(c.name, "=", c.expression, ";"), hash);
    for (const int c : route.key) hash = fnv1a(cat(c, ","), hash);
    hash = fnv1a(route.filter ? *route.filter : "", hash);
    hash = fnv1a(route.target_where ? *route.target_where : "", hash);
  }
  return hex(hash);
}

}  // namespace walign::mapping
