// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The SQL of a route. Names that are ours inside a statement have a dot ("walign.w"), which no sensible column
// has; exactness does not hang on it: a source column of that name is refused by the target as ambiguous.
#include "back_statements.hpp"
#include "statement_parts.hpp"

namespace walign::mapping {

namespace {

using pg::quote_ident;

std::string assignments(const Route& route, const std::vector<int>& columns) {
  std::string out;
  for (const int c : columns) {
    out += cat(out.empty() ? "" : ", ", quote_ident(column(route, c).name), " = m.e", c);
  }
  return out;
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
  if (route.back && route.filter) return delete_back(route);
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
  const bool reinsert = sets_identity_always(route, set);
  if (route.back) return update_back(route, unchanged, false, reinsert);
  if (reinsert) return reinsert_statement(route, unchanged, false);
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
  const bool reinsert = sets_identity_always(route, set);
  if (route.back) return update_back(route, unchanged, true, reinsert);
  if (reinsert) return reinsert_statement(route, unchanged, true);
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
  if (route.back) return update_back(route, unchanged, keys, true);
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
  // A way back's is the forward filter, which may say src.
  if (route.target_where && route.back) {
    return cat("DELETE FROM ", target, " AS src WHERE (", *route.target_where, ") IS TRUE");
  }
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
  const std::string alias = route.back ? "src" : "t";
  std::string columns;
  for (const auto& c : route.columns) {
    for (const auto& source : route.source_columns) {
      if (c.expression != cat("src.", quote_ident(source.name))) continue;
      columns += cat(", ", alias, ".", quote_ident(c.name), " AS ", quote_ident(source.name));
    }
  }
  const std::string target = target_sql(route);
  return cat("DELETE FROM ", target, " AS d USING (SELECT * FROM (SELECT ", alias,
             ".tableoid AS \"walign.o\", ", alias, ".ctid AS \"walign.c\"", columns, " FROM ", target, " AS ",
             alias, route.target_where ? cat(" WHERE (", *route.target_where, ")") : "", ") AS p WHERE ",
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
    if (!route.back) continue;
    for (const auto& c : route.source_columns) hash = fnv1a(cat(c.name, "=", c.present, ";"), hash);
    hash = fnv1a(route.identity_full ? "old rows" : "", hash);
    if (route.drawn_key) hash = fnv1a(route.drawn_key->sql, hash);
  }
  return hex(hash);
}

std::string comparison_hash(const Route& route) {
  std::uint64_t hash = fnv1a(mapping_hash({route}));
  for (const auto& column : route.source_columns)
    hash = fnv1a(cat(column.name, " ", column.type_oid, ";"), hash);
  for (const auto& leaf : route.leaves) hash = fnv1a(cat(leaf.schema, ".", leaf.name, ";"), hash);
  return hex(hash);
}

}  // namespace walign::mapping
