// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The SQL that compares the target with what the mapping makes of the source's rows.
#include <algorithm>

#include "walign/mapping.hpp"

namespace walign::mapping {

namespace {

using pg::quote_ident;

class Comparing {
 public:
  Comparing(const Route& route, const std::vector<std::string>& source_key, int limit)
      : route_(route), source_key_(source_key), limit_(limit) {
    for (const auto& c : route.columns) columns_.push_back(quote_ident(c.name));
    for (const int c : route.key) key_.push_back(quote_ident(column(c).name));
  }

  CompareSql sql() {
    CompareSql out;
    out.rows = table("rows");
    for (const auto& c : route_.source_columns) out.source_columns.push_back(quote_ident(c.name));
    out.tables = {declared("rows", false),
                  cat(create("want"), " ON COMMIT DELETE ROWS AS SELECT ", join(columns_, ", "),
                      source_keys("''::text"), " FROM ", target(), " WITH NO DATA")};
    out.map = map();
    out.differing = differing();
    out.sum_wanted = sum(table("want"), "");
    out.sum_there = sum(target(), route_.target_where ? cat(" WHERE ", *route_.target_where) : "");
    if (!route_.key.empty()) add_keyed(out);
    return out;
  }

 private:
  [[nodiscard]] const TargetColumn& column(int c) const {
    return route_.columns[static_cast<std::size_t>(c)];
  }
  [[nodiscard]] std::string target() const { return pg::qualified(route_.target.schema, route_.target.name); }
  [[nodiscard]] std::string name(std::string_view what) const {
    return cat("walign_v", route_.id, "_", what);
  }
  [[nodiscard]] std::string table(std::string_view what) const { return cat("pg_temp.", name(what)); }
  [[nodiscard]] std::string create(std::string_view what) const {
    return cat("CREATE TEMPORARY TABLE IF NOT EXISTS ", name(what));
  }
  // A table of the source's columns, or of its key.
  [[nodiscard]] std::string declared(std::string_view what, bool key_only) const {
    std::string columns;
    for (const auto& c : route_.source_columns) {
      const bool in_key = std::find(source_key_.begin(), source_key_.end(), c.name) != source_key_.end();
      if (key_only && !in_key) continue;
      columns += cat(columns.empty() ? "" : ", ", quote_ident(c.name), " ", c.type_sql);
    }
    return cat(create(what), " (", columns, ") ON COMMIT DELETE ROWS");
  }
  // , value AS "walign.s0", ...
  [[nodiscard]] std::string source_keys(std::string_view value) const {
    std::string out;
    for (std::size_t i = 0; i < source_key_.size(); ++i) out += cat(", ", value, " AS \"walign.s", i, "\"");
    return out;
  }

  [[nodiscard]] std::string map() const {
    std::string names = join(columns_, ", ");
    std::string values;
    for (const auto& c : route_.columns) values += cat(values.empty() ? "" : ", ", c.expression);
    for (std::size_t i = 0; i < source_key_.size(); ++i) {
      names += cat(", \"walign.s", i, "\"");
      values += cat(", pg_catalog.format('%s', src.", quote_ident(source_key_[i]), ")");
    }
    return cat("INSERT INTO ", table("want"), " (", names, ") SELECT ", values, " FROM ", table("rows"),
               " AS src", route_.filter ? cat(" WHERE (", *route_.filter, ") IS TRUE") : "");
  }

  [[nodiscard]] std::string of(std::string_view alias) const {
    std::string out;
    for (const auto& c : columns_) out += cat(out.empty() ? "" : ", ", alias, ".", c);
    return out;
  }
  [[nodiscard]] std::string row_of(std::string_view alias) const {
    return cat("ROW(", of(alias), ")::pg_catalog.text COLLATE \"C\"");
  }
  [[nodiscard]] std::string match(std::string_view a, std::string_view b) const {
    std::string out;
    for (const int c : route_.key) {
      const std::string n = quote_ident(column(c).name);
      out += cat(out.empty() ? "" : " AND ", a, ".", n, " ", column(c).equals, " ", b, ".", n);
    }
    return out;
  }

  [[nodiscard]] std::string differing() const {
    if (route_.key.empty()) return "";
    std::string keys;
    for (std::size_t i = 0; i < source_key_.size(); ++i) keys += cat("w.\"walign.s", i, "\", ");
    return cat("SELECT CASE WHEN t.tableoid IS NULL THEN 'm' ELSE 'd' END, ", keys, of("w"), ", ", of("t"),
               ", pg_catalog.count(*) OVER () FROM ", table("want"), " AS w LEFT JOIN ", target(),
               " AS t ON ", match("t", "w"), " WHERE t.tableoid IS NULL OR ", row_of("w"), " <> ",
               row_of("t"), " LIMIT ", limit_);
  }

  [[nodiscard]] std::string sum(const std::string& from, const std::string& where) const {
    return cat("SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(", row_hash(columns_), "), 0) FROM ",
               from, where);
  }

  [[nodiscard]] std::string limited_to_ours() const {
    return route_.target_where
               ? cat("(SELECT * FROM ", target(), " WHERE (", *route_.target_where, ") IS TRUE)")
               : target();
  }

  // Of a way back whose filter reads nothing but the key: what is outside is another route's, for good. Its key may
  // well lead to a key that is there, of a row that has nothing to do with it (cus_17 and sup_17, both to 17).
  [[nodiscard]] bool keys_decide() const {
    return route_.back && route_.filter &&
           std::all_of(route_.filter_inputs.begin(), route_.filter_inputs.end(), [this](int input) {
             const auto& name = route_.source_columns[static_cast<std::size_t>(input)].name;
             return std::find(source_key_.begin(), source_key_.end(), name) != source_key_.end();
           });
  }

  void add_keyed(CompareSql& out) const {
    const std::string keys = join(key_, ", ");
    const std::string as_key = cat(" AS SELECT ", keys, " FROM ", target(), " WITH NO DATA");
    out.tables.push_back(cat(create("claimed"), " ON COMMIT PRESERVE ROWS", as_key));
    out.tables.push_back(cat(create("changed"), " ON COMMIT DELETE ROWS", as_key));
    out.claim = cat("INSERT INTO ", table("claimed"), " SELECT ", keys, " FROM ", table("want"));
    out.forget_claimed = {cat("TRUNCATE ", table("claimed"))};
    if (!source_key_.empty()) {
      out.tables.push_back(declared("asked", true));
      out.asked = table("asked");
      std::string values;
      for (const int c : route_.key) values += cat(values.empty() ? "" : ", ", column(c).expression);
      out.ask = cat("INSERT INTO ", table("changed"), " SELECT ", values, " FROM ", table("asked"), " AS src",
                    keys_decide() ? cat(" WHERE (", *route_.filter, ") IS TRUE") : "");
    }
    const std::string all =
        cat("SELECT ", of("t"), ", pg_catalog.count(*) OVER () FROM ", limited_to_ours(), " AS t");
    const auto none_in = [&](std::string_view what) {
      return cat("NOT EXISTS (SELECT FROM ", table(what), " AS x WHERE ", match("t", "x"), ")");
    };
    out.extra_in_all =
        cat(all, " WHERE ", none_in("claimed"), " AND ", none_in("changed"), " LIMIT ", limit_);
    out.extra_in_asked = cat(all, " JOIN (SELECT DISTINCT * FROM ", table("changed"), ") AS c ON ",
                             match("t", "c"), " WHERE ", none_in("want"), " LIMIT ", limit_);
  }

  const Route& route_;
  const std::vector<std::string>& source_key_;
  const int limit_;
  std::vector<std::string> columns_;
  std::vector<std::string> key_;
};

}  // namespace

CompareSql compare_sql(const Route& route, const std::vector<std::string>& source_key, int limit) {
  return Comparing(route, source_key, limit).sql();
}

std::optional<std::vector<std::string>> plain_columns(const Route& route) {
  std::vector<std::string> out;
  for (const auto& c : route.columns) {
    const auto source =
        std::find_if(route.source_columns.begin(), route.source_columns.end(),
                     [&](const auto& s) { return c.expression == cat("src.", quote_ident(s.name)); });
    if (source == route.source_columns.end()) return std::nullopt;
    out.push_back(source->name);
  }
  return out;
}

std::string row_hash(const std::vector<std::string>& columns) {
  return cat("pg_catalog.hashtextextended(ROW(", join(columns, ", "), ")::pg_catalog.text COLLATE \"C\", 0)");
}

}  // namespace walign::mapping
