// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A change on its way back meets one of four cases: its row was ours and stays so, is ours no more, becomes ours, or
// never was. One statement for all, of up to four parts:
//
//   news   the new rows, numbered, and whether the filter takes them
//   m      those it takes: the source's columns
//   o      the rows that were ours: their keys on the source (the same as m's unless the key changes)
//   changed m and o | gone o without m | entered m without o
//
// A column that is to stay where nobody touched it is set to CASE WHEN one of its inputs changed THEN its new value
// ELSE what it is. Whether input i changed is `d<i>` where the stream has the old row, else the text that the row
// there would be mapped to now, compared with `p<i>`, the text that came.
#include "back_statements.hpp"

#include "statement_parts.hpp"

namespace walign::mapping {

namespace {

using pg::quote_ident;

const SourceColumn& sent(const Route& route, int input) {
  return route.source_columns[static_cast<std::size_t>(input)];
}

// The inputs of columns that are set only where one of these changed.
std::vector<int> compared_inputs(const Route& route, const std::vector<int>& columns) {
  std::set<int> all;
  for (const int c : columns) {
    if (!column(route, c).kept_if_same) continue;
    all.insert(column(route, c).inputs.begin(), column(route, c).inputs.end());
  }
  return {all.begin(), all.end()};
}

class BackUpdate {
 public:
  BackUpdate(const Route& route, const ColumnSet& unchanged, bool key_change, bool reinsert)
      : route_(route),
        key_change_(key_change),
        reinsert_(reinsert),
        set_(updated_columns(route, unchanged, key_change || reinsert)),
        complete_(updated_columns(route, unchanged, true).size() == route.columns.size()),
        compared_(compared_inputs(route, set_)) {
    check_filter_inputs(route, unchanged);
    auto needed = route.key_inputs;
    needed.insert(needed.end(), route.filter_inputs.begin(), route.filter_inputs.end());
    needed.insert(needed.end(), compared_.begin(), compared_.end());
    s_.inputs = inputs_of(route, set_, needed);
    s_.counts_weights = route.filter.has_value();
    std::set<int> old;
    if (key_change) old.insert(route.key_inputs.begin(), route.key_inputs.end());
    if (route.identity_full) old.insert(compared_.begin(), compared_.end());
    s_.old_inputs.assign(old.begin(), old.end());
  }

  Statement statement() {
    s_.sql =
        cat("WITH ", news(), ", ", taken(), ", ", were_ours(), ", ", reinsert_ ? reinserted() : in_place(),
            ", ours AS (SELECT \"walign.n\" FROM m UNION SELECT \"walign.n\" FROM o) SELECT ",
            s_.counts_weights ? "coalesce((SELECT sum(\"walign.w\") FROM news JOIN ours USING "
                                "(\"walign.n\")), 0), "
                              : "",
            expect(counted(), "(SELECT count(*) FROM ours)", wrong_count(route_, "way back: update of")),
            ", ", expect("(SELECT count(*) FROM news)", count_param(s_), wrong_count(route_, "rows for")));
    return named(std::move(s_));
  }

 private:
  [[nodiscard]] bool crosses_filter() const { return key_change_ && route_.filter; }
  [[nodiscard]] bool enters() const { return crosses_filter() && complete_; }

  [[nodiscard]] std::string counted() const {
    return cat("(SELECT count(*) FROM changed)", crosses_filter() ? " + (SELECT count(*) FROM gone)" : "",
               enters() ? " + (SELECT count(*) FROM entered)" : "");
  }

  // The new rows; beside them the old values as o0, o1, ... where they are sent.
  [[nodiscard]] std::string news() const {
    std::string select, arrays, names;
    std::size_t param = 1;
    const auto add = [&](const std::string& name, const std::string& value) {
      arrays += cat(arrays.empty() ? "" : ", ", "$", param++, "::pg_catalog.text[]");
      names += cat(name, ", ");
      select += value;
    };
    for (const int i : s_.inputs) {
      add(cat("c", i),
          cat("u.c", i, "::", sent(route_, i).type_sql, " AS ", quote_ident(sent(route_, i).name), ", "));
    }
    for (const int i : s_.old_inputs) {
      add(cat("o", i), cat("u.o", i, " AS \"walign.o", i, "\", "));
    }
    if (s_.counts_weights) add("w", "u.w::pg_catalog.int8 AS \"walign.w\", ");
    const auto is_sent = [&](int i) {
      return std::find(s_.inputs.begin(), s_.inputs.end(), i) != s_.inputs.end();
    };
    for (const int i : compared_) {
      WALIGN_CHECK(is_sent(i));
      select +=
          route_.identity_full ? cat("u.c", i, " IS DISTINCT FROM u.o", i, " AS \"walign.d", i, "\", ") : "";
    }
    const std::string rows = cat("(SELECT ", select, "u.n AS \"walign.n\" FROM unnest(", arrays,
                                 ") WITH ORDINALITY AS u(", names, "n))");
    return cat("news AS MATERIALIZED (SELECT src.*, ",
               route_.filter ? cat("(", *route_.filter, ") IS TRUE") : "true", " AS \"walign.keep\" FROM ",
               rows, " AS src)");
  }

  [[nodiscard]] std::string taken() const {
    std::string compared;
    for (const int i : compared_) {
      compared += route_.identity_full
                      ? cat(", src.\"walign.d", i, "\" AS d", i)
                      : cat(", src.", quote_ident(sent(route_, i).name), "::pg_catalog.text AS p", i);
    }
    return cat("m AS MATERIALIZED (SELECT src.\"walign.n\", ", select_key(route_), set_.empty() ? "" : ", ",
               select_columns(route_, set_), compared, " FROM news AS src WHERE src.\"walign.keep\")");
  }

  [[nodiscard]] std::string were_ours() const {
    if (!key_change_) {
      std::string keys;
      for (const int c : route_.key) keys += cat(", k", c);
      return cat("o AS (SELECT \"walign.n\"", keys, " FROM m)");
    }
    std::string old;
    for (const int i : route_.key_inputs) {
      old +=
          cat(", \"walign.o", i, "\"::", sent(route_, i).type_sql, " AS ", quote_ident(sent(route_, i).name));
    }
    return cat("o AS MATERIALIZED (SELECT src.\"walign.n\", ", select_key(route_),
               " FROM (SELECT \"walign.n\"", old, " FROM news) AS src",
               route_.filter ? cat(" WHERE (", *route_.filter, ") IS TRUE") : "", ")");
  }

  // What a column is set to, over the row `t` as it was.
  [[nodiscard]] std::string value(int c) const {
    const auto& to = column(route_, c);
    if (!to.kept_if_same) return cat("m.e", c);
    std::string differs;
    for (const int i : to.inputs) {
      differs += cat(
          differs.empty() ? "" : " OR ",
          route_.identity_full ? cat("m.d", i) : cat(sent(route_, i).present, " IS DISTINCT FROM m.p", i));
    }
    if (differs.empty()) differs = "false";
    return cat("CASE WHEN ", differs, " THEN (m.e", c, ")::", to.base_type_sql, " ELSE t.",
               quote_ident(to.name), " END");
  }

  [[nodiscard]] std::string in_place() const {
    const std::string target = target_sql(route_);
    std::string assign;
    for (const int c : set_) {
      assign += cat(assign.empty() ? "" : ", ", quote_ident(column(route_, c).name), " = ", value(c));
    }
    const std::string where = cat(" FROM m JOIN o USING (\"walign.n\") WHERE ", match_key(route_, "o"));
    std::string sql = set_.empty()
                          ? cat("changed AS (SELECT 1 FROM ", target,
                                " AS t, m JOIN o USING (\"walign.n\") WHERE ", match_key(route_, "o"), ")")
                          : cat("changed AS (UPDATE ", target, " AS t SET ", assign, where, " RETURNING 1)");
    if (crosses_filter()) {
      sql += cat(", gone AS (DELETE FROM ", target,
                 " AS t USING o WHERE NOT EXISTS (SELECT FROM m WHERE "
                 "m.\"walign.n\" = o.\"walign.n\") AND ",
                 match_key(route_, "o"), " RETURNING 1)");
    }
    return sql + entered();
  }

  [[nodiscard]] std::string entered() const {
    if (!enters()) return "";
    return cat(", entered AS (INSERT INTO ", target_sql(route_), " (",
               column_names(route_, all_columns(route_)), ") OVERRIDING SYSTEM VALUE SELECT ",
               column_values(all_columns(route_), "m"),
               " FROM m WHERE NOT EXISTS (SELECT FROM o WHERE o.\"walign.n\" = m.\"walign.n\") ORDER BY "
               "m.\"walign.n\" RETURNING 1)");
  }

  // All rows deleted, then inserted: the sort makes the executor delete all before it inserts the first.
  [[nodiscard]] std::string reinserted() const {
    const std::string target = target_sql(route_);
    std::string values, names, again;
    const auto add = [&](const std::string& name, const std::string& from) {
      names += cat(names.empty() ? "" : ", ", quote_ident(name));
      again += cat(again.empty() ? "" : ", ", "old.", from);
    };
    for (const int c : all_columns(route_)) {
      const std::string& name = column(route_, c).name;
      const bool is_set = std::find(set_.begin(), set_.end(), c) != set_.end();
      if (is_set) values += cat(value(c), " AS \"walign.e", c, "\", ");
      add(name, is_set ? cat("\"walign.e", c, "\"") : quote_ident(name));
    }
    for (const auto& name : route_.other_columns) add(name, quote_ident(name));
    std::string sql =
        cat("old AS (DELETE FROM ", target, " AS t USING o LEFT JOIN m USING (\"walign.n\") WHERE ",
            match_key(route_, "o"), " RETURNING o.\"walign.n\", ", values, "t.*), changed AS (INSERT INTO ",
            target, " (", names, ") OVERRIDING SYSTEM VALUE SELECT ", again,
            " FROM old WHERE EXISTS (SELECT FROM m WHERE m.\"walign.n\" = old.\"walign.n\") ORDER BY "
            "\"walign.n\" RETURNING 1)");
    if (crosses_filter()) {
      sql +=
          ", gone AS (SELECT 1 FROM old WHERE NOT EXISTS (SELECT FROM m WHERE m.\"walign.n\" = "
          "old.\"walign.n\"))";
    }
    return sql + entered();
  }

  const Route& route_;
  const bool key_change_;
  const bool reinsert_;
  const std::vector<int> set_;
  const bool complete_;  // the event has everything that an INSERT needs
  const std::vector<int> compared_;
  Statement s_;
};

}  // namespace

Statement delete_back(const Route& route) {
  Statement s;
  auto needed = route.key_inputs;
  needed.insert(needed.end(), route.filter_inputs.begin(), route.filter_inputs.end());
  s.inputs = inputs_of(route, {}, needed);
  s.counts_weights = true;
  s.sql = cat(
      "WITH rows AS MATERIALIZED (SELECT * FROM ", rows_of(route, s.inputs, 1, true), " AS r), m AS ",
      "MATERIALIZED (SELECT ", select_key(route), ", src.\"walign.w\" AS w FROM rows AS src WHERE (",
      *route.filter, ") IS TRUE), done AS (DELETE FROM ", target_sql(route), " AS t USING m WHERE ",
      match_key(route, "m"), " RETURNING 1) SELECT coalesce((SELECT sum(w) FROM m), 0), ",
      expect("(SELECT count(*) FROM done)", "(SELECT count(*) FROM m)", wrong_count(route, "delete from")),
      ", ", expect("(SELECT count(*) FROM rows)", count_param(s), wrong_count(route, "rows for")));
  return named(std::move(s));
}

Statement update_back(const Route& route, const ColumnSet& unchanged, bool key_change, bool reinsert) {
  return BackUpdate(route, unchanged, key_change, reinsert).statement();
}

}  // namespace walign::mapping
