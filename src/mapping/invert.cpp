// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Routes the other way round: which source column each target column gives back, and by what SQL.
#include "invert.hpp"

#include "value_map.hpp"

namespace walign::mapping {

namespace {

using config::ColumnKind;
using pg::quote_ident;
using pg::quote_literal;

std::string sql_of(const TableName& name) { return pg::qualified(name.schema, name.name); }

template <class List, class Value>
bool contains(const List& list, const Value& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// Whether every value of type `t` is one of type `s`.
bool takes_all(const pg::Column& s, const pg::Column& t) {
  static const std::vector<std::string> kNumbers = {"int2", "int4", "int8", "numeric"};
  static const std::set<std::string> kTexts = {"text", "varchar", "bpchar"};
  const bool modified = s.declared.find('(') != std::string::npos;
  if (s.base_type == t.base_type) return s.declared == t.declared || !modified;
  if (s.base_type.schema != "pg_catalog" || t.base_type.schema != "pg_catalog" || modified) return false;
  if (kTexts.contains(s.base_type.name) && kTexts.contains(t.base_type.name)) return true;
  const auto number = std::find(kNumbers.begin(), kNumbers.end(), s.base_type.name);
  return number != kNumbers.end() && std::find(kNumbers.begin(), number, t.base_type.name) != number;
}

class Inverter {
 public:
  Inverter(const Route& forward, const pg::Catalog& source, const pg::Catalog& target,
           const std::set<pg::TypeName>& types)
      : forward_(forward),
        source_(source.at({forward.source.schema, forward.source.name})),
        target_(target.at({forward.target.schema, forward.target.name})),
        targets_(target),
        types_(types) {
    way_.label = forward.label();
    way_.one_way = forward.one_way;
  }

  WayBack build() {
    if (forward_.one_way) {
      way_.findings.push_back(
          {Finding::Level::ok, way_.label, "one_way: nothing comes back; copied again after a rollback", ""});
      return std::move(way_);
    }
    describe();
    add_sent_columns();
    for (const auto& column : forward_.columns) add_way(column);
    place_columns();
    find_not_carried();
    choose_key();
    check_new_keys();
    warn_of_inserts_only();
    if (!any_failed(way_.findings)) way_.route = std::move(back_);
    return std::move(way_);
  }

 private:
  // What gives a source column back.
  struct Way {
    const TargetColumn* from = nullptr;
    std::string expression;
    bool exact = false;   // there and back is the same by construction
    bool probed = false;  // it reads `from` only
    bool keeps_null = true;
  };

  void fails(std::string what, std::string remedy) {
    way_.findings.push_back(fail(way_.label, cat("no way back: ", what), std::move(remedy)));
  }
  void warns(std::string what, std::string remedy) {
    way_.findings.push_back(warn(way_.label, cat("way back: ", what), std::move(remedy)));
  }

  void describe() {
    back_.back = true;
    back_.id = forward_.id;
    back_.place = forward_.place;
    back_.source = forward_.target;
    back_.target = forward_.source;
    back_.leaves = target_.leaves;
    back_.inserts_only = forward_.inserts_only;
    back_.target_referenced = source_.referenced;
    back_.target_where = forward_.filter;
    back_.filter = forward_.target_where;
    back_.identity_full = identity_is_full();
  }

  [[nodiscard]] std::vector<const pg::Table*> sending_tables() const {
    if (target_.leaves.empty()) return {&target_};
    std::vector<const pg::Table*> tables;
    for (const auto& leaf : target_.leaves) {
      const auto found = targets_.find({leaf.schema, leaf.name});
      if (found != targets_.end()) tables.push_back(&found->second);
    }
    return tables;
  }
  [[nodiscard]] bool identity_is_full() const {
    const auto tables = sending_tables();
    return std::all_of(tables.begin(), tables.end(),
                       [](const pg::Table* t) { return t->replica_identity == 'f'; });
  }
  [[nodiscard]] bool in_identity(const std::string& column) const {
    const auto tables = sending_tables();
    return std::all_of(tables.begin(), tables.end(),
                       [&](const pg::Table* t) { return contains(t->identity_columns(), column); });
  }

  // What the target's stream brings, and what each column would be now by the source's row.
  void add_sent_columns() {
    for (const auto& c : target_.columns) {
      if (c.generated) continue;
      SourceColumn column;
      column.name = c.name;
      column.type_oid = c.type_oid;
      column.travels_as_text = !types_.contains(c.base_type);
      column.type_sql = column.travels_as_text ? R"("pg_catalog"."text")" : c.base_type.sql();
      column.part_of_identity = in_identity(c.name);
      column.toastable = c.toastable;
      column.nullable = !c.not_null;
      column.present = present(c);
      back_.source_columns.push_back(std::move(column));
    }
  }

  [[nodiscard]] std::string present(const pg::Column& target) const {
    const auto found = std::find_if(forward_.columns.begin(), forward_.columns.end(),
                                    [&](const TargetColumn& c) { return c.name == target.name; });
    if (found == forward_.columns.end()) return "";
    std::string row;
    for (const int input : found->inputs) {
      const auto& c = forward_.source_columns[static_cast<std::size_t>(input)];
      row += cat(row.empty() ? "" : ", ", "t.", quote_ident(c.name), "::", c.type_sql, " AS ",
                 quote_ident(c.name));
    }
    const bool known = types_.contains(target.type) && !target.declared.empty();
    return cat("(SELECT ((", computed_on_source(*found, target), ")", known ? "::" : "",
               known ? target.declared : "", ")::pg_catalog.text FROM (SELECT ", row, ") AS src)");
  }

  static std::string computed_on_source(const TargetColumn& column, const pg::Column& target) {
    const bool mapped = column.rule && column.rule->kind == ColumnKind::values;
    return mapped ? value_map_sql(*column.rule, target, "NULL") : column.expression;
  }

  // -------------------------------------------------------------------- which column gives which back

  [[nodiscard]] const std::string& source_name(int input) const {
    return forward_.source_columns[static_cast<std::size_t>(input)].name;
  }

  void add_way(const TargetColumn& column) {
    const ColumnKind kind = column.rule ? column.rule->kind : ColumnKind::rename;
    switch (kind) {
      case ColumnKind::rename: add_plain(column); return;
      case ColumnKind::values: add_values(column); return;
      case ColumnKind::sql: add_expressions(column); return;
      case ColumnKind::constant:
      case ColumnKind::drop: return;
    }
  }

  void add_plain(const TargetColumn& column) {
    const std::string& name = source_name(column.inputs.front());
    const pg::Column& s = *source_.column(name);
    const pg::Column& t = *target_.column(column.name);
    const bool same = s.base_type == t.base_type;
    const bool whole = s.declared == t.declared || t.declared.find('(') == std::string::npos;
    const std::string expression = same ? src(t.name) : cat(src(t.name), "::", s.base_type.sql());
    ways_[name].push_back({&column, expression, same && whole, true, true});
    warn_of_narrower(s, t);
  }

  void add_values(const TargetColumn& column) {
    const pg::Column& s = *source_.column(column.rule->source);
    const pg::Column& t = *target_.column(column.name);
    if (const auto why = why_not_one_to_one(*column.rule, s); !why.empty()) {
      blocked_[s.name] = cat("target column ", column.name, " is made of it, and ", why);
      return;
    }
    const auto& values = column.rule->values;
    const bool names_null =
        std::any_of(values.begin(), values.end(), [](const auto& pair) { return !pair.from || !pair.to; });
    ways_[s.name].push_back({&column,
                             inverse_map_sql(*column.rule, back_.label(), s, t, types_.contains(t.base_type)),
                             true, true, !names_null});
  }

  void add_expressions(const TargetColumn& column) {
    const auto& rule = *column.rule;
    for (const auto& [name, sql] : rule.reverse_columns) {
      if (const auto* s = source_.column(name); s == nullptr || s->generated) {
        fails(cat("reverse: of column ", column.name, " gives ", name, ", which the source ",
                  s == nullptr ? "does not have" : "generates itself"),
              "correct the name in walign.yaml");
        continue;
      }
      ways_[name].push_back({&column, cat("(", sql, ")"), false, false, false});
    }
    if (rule.reverse) {
      whole_reverses_.push_back(&column);
    } else if (rule.reverse_columns.empty()) {
      for (const int input : column.inputs) {
        blocked_.try_emplace(source_name(input),
                             cat("target column ", column.name, " is computed from it and has no reverse:"));
      }
    }
  }

  // `reverse: "..."` gives the one column of its sql: that nothing else gives.
  void place_whole_reverse(const TargetColumn& column) {
    std::vector<std::string> open;
    std::vector<std::string> all;
    for (const int input : column.inputs) {
      all.push_back(source_name(input));
      if (!ways_.contains(all.back())) open.push_back(all.back());
    }
    const std::string expression = cat("(", *column.rule->reverse, ")");
    if (open.size() == 1 || all.size() == 1) {
      ways_[open.size() == 1 ? open.front() : all.front()].push_back(
          {&column, expression, false, false, false});
      return;
    }
    fails(cat("which source column reverse: of column ", column.name, " gives cannot be told: its sql reads ",
              all.empty() ? std::string("none") : join(all, ", ")),
          cat("name them: reverse: { ", all.empty() ? std::string("COLUMN") : join(all, ": \"...\", "),
              ": \"...\" }"));
  }

  void place_columns() {
    for (const auto* column : whole_reverses_) place_whole_reverse(*column);
    for (const auto& c : source_.columns) {
      if (c.generated) continue;
      const auto found = ways_.find(c.name);
      if (found == ways_.end()) {
        leave_to_default(c);
        continue;
      }
      if (found->second.size() > 1) {
        fails(cat("source column ", c.name, " is given back by both ", found->second[0].from->name, " and ",
                  found->second[1].from->name, ", and they may differ"),
              cat("let one of them have none: ", found->second[1].from->name, ": { sql: \"src.",
                  quote_ident(c.name), "\" }"));
      }
      add_column(c, found->second.front());
    }
  }

  void add_column(const pg::Column& c, const Way& way) {
    TargetColumn column;
    column.name = c.name;
    column.expression = way.expression;
    column.declared = c.declared;
    if (c.equality_schema != "pg_catalog") {
      column.equals = cat("OPERATOR(", quote_ident(c.equality_schema), ".=)");
    }
    column.base_type_sql = c.base_type.sql();
    column.identity_always = c.identity == 'a';
    column.nullable = !c.not_null;
    column.kept_if_same = !way.exact;
    column.probed = way.probed;
    if (way.probed) column.inputs = {sent_index(way.from->name)};
    way_.needs_proof = way_.needs_proof || !way.exact;
    givers_[c.name] = way.from;
    back_.columns.push_back(std::move(column));
    warn_of_null(c, way);
  }

  void warn_of_null(const pg::Column& c, const Way& way) {
    const pg::Column* t = target_.column(way.from->name);
    const bool is_key = contains(key_names_of_source(), c.name);  // has a check of its own
    if (!c.not_null || t->not_null || !way.probed || !way.keeps_null || is_key) return;
    warns(cat("source column ", c.name, " is NOT NULL and ", t->name,
              " is not: a NULL that the target writes stops the way back"),
          cat("ALTER TABLE ", sql_of(forward_.target), " ALTER COLUMN ", quote_ident(t->name),
              " SET NOT NULL"));
  }

  void warn_of_narrower(const pg::Column& s, const pg::Column& t) {
    if (takes_all(s, t)) return;
    warns(
        cat("source column ", s.name, " is ", shown_type(s), " and ", t.name, " is ", shown_type(t),
            ": a value that the target writes and the source cannot take stops the way back"),
        cat("add CHECK (...) to ", sql_of(forward_.target), " for what fits, or alter the source's column"));
  }
  static std::string shown_type(const pg::Column& c) {
    return c.declared.empty() ? c.type.sql() : c.declared;
  }

  void leave_to_default(const pg::Column& c) {
    const bool has_default = c.has_default || c.identity != 0;
    const std::string on_source = sql_of(forward_.source);
    const auto blocked = blocked_.find(c.name);
    if (blocked != blocked_.end() && !has_default) {
      fails(cat("source column ", c.name, " is given by nothing: ", blocked->second),
            cat("give it back (reverse:, or a one-to-one value map), or ALTER TABLE ", on_source,
                " ALTER COLUMN ", quote_ident(c.name), " SET DEFAULT ..., or one_way: true"));
      return;
    }
    if (!has_default && c.not_null) {
      fails(cat("source column ", c.name, " is NOT NULL, has no default, and nothing gives it back"),
            cat("ALTER TABLE ", on_source, " ALTER COLUMN ", quote_ident(c.name),
                " SET DEFAULT ..., or map it, or one_way: true"));
      return;
    }
    back_.other_columns.push_back(c.name);
    warns(cat("source column ", c.name, has_default ? " gets its default" : " is NULL",
              " in rows made on the target, and stays as it is in others"),
          "map it in columns: if the target can say more");
  }

  [[nodiscard]] int sent_index(const std::string& name) const {
    for (std::size_t i = 0; i < back_.source_columns.size(); ++i) {
      if (back_.source_columns[i].name == name) return static_cast<int>(i);
    }
    return -1;
  }

  void find_not_carried() {
    for (const auto& c : target_.columns) {
      if (c.generated) continue;
      const bool gives = std::any_of(givers_.begin(), givers_.end(),
                                     [&](const auto& giver) { return giver.second->name == c.name; });
      if (!gives) way_.not_carried.push_back(c.name);
    }
  }

  // ------------------------------------------------------------------------------------------ the key

  [[nodiscard]] std::vector<std::string> key_names_of_source() const {
    const auto gives_all = [&](const pg::Index& index) {
      return index.usable_as_key() &&
             std::all_of(index.columns.begin(), index.columns.end(), [&](const std::string& name) {
               return ways_.contains(name) && source_.column(name)->not_null;
             });
    };
    const auto found = std::find_if(source_.indexes.begin(), source_.indexes.end(), gives_all);
    return found == source_.indexes.end() ? std::vector<std::string>() : found->columns;
  }

  void choose_key() {
    if (back_.inserts_only) return;
    const auto names = key_names_of_source();
    if (names.empty()) {
      fails("no key of the source is given back whole, so its rows cannot be found",
            cat("map the columns of a primary key, or of a unique index on NOT NULL columns, of ",
                sql_of(forward_.source), ", or one_way: true"));
      return;
    }
    for (const auto& name : names) {
      for (std::size_t c = 0; c < back_.columns.size(); ++c) {
        if (back_.columns[c].name == name) back_.key.push_back(static_cast<int>(c));
      }
    }
  }

  // Rule 3: a new row of the target must have a key on the source.
  void check_new_keys() {
    if (back_.inserts_only && forward_.reverse_key) {
      fails(
          "reverse_key: draws a key for rows of a table that takes inserts only, whose rows are not found by "
          "key",
          "take inserts_only: or reverse_key: out of walign.yaml");
    }
    if (back_.inserts_only || any_failed(way_.findings)) return;
    if (forward_.reverse_key) {
      take_drawn_key();
      return;
    }
    const pg::Index* primary = target_.primary_key();
    for (const int k : back_.key) {
      const auto& key = back_.columns[static_cast<std::size_t>(k)];
      const pg::Column& t = *target_.column(givers_.at(key.name)->name);
      if (primary != nullptr && contains(primary->columns, t.name)) continue;
      if (t.not_null && (t.has_default || t.identity != 0)) continue;
      fails(cat("rows made on the target have no key on the source: ", t.name, ", which gives ", key.name,
                t.not_null ? ", has no default" : ", may be NULL"),
            cat("ALTER TABLE ", sql_of(forward_.target), " ALTER COLUMN ", quote_ident(t.name),
                " SET DEFAULT nextval('...'), ALTER COLUMN ", quote_ident(t.name),
                " SET NOT NULL; or reverse_key: \"nextval('...')\" in walign.yaml; or one_way: true"));
    }
  }

  void take_drawn_key() {
    const pg::Index* primary = target_.primary_key();
    const auto& key = back_.columns[static_cast<std::size_t>(back_.key.front())];
    const TargetColumn* giver = givers_.at(key.name);
    const pg::Column& s = *source_.column(key.name);
    const pg::Column& t = *target_.column(giver->name);
    const bool plain = !giver->rule || giver->rule->kind == ColumnKind::rename;
    if (back_.key.size() != 1 || !plain || s.base_type != t.base_type) {
      fails("reverse_key: needs a key of one column that is copied as it is, of the same type on both sides",
            "give new rows of the target their key there, with a default, or one_way: true");
      return;
    }
    if (t.not_null) {
      fails(cat("reverse_key: a row made on the target waits for its key, and ", t.name, " is NOT NULL"),
            cat("ALTER TABLE ", sql_of(forward_.target), " ALTER COLUMN ", quote_ident(t.name),
                " DROP NOT NULL; or leave reverse_key: out, and give the column a default"));
      return;
    }
    if (primary == nullptr || !primary->usable_as_key() || contains(primary->columns, giver->name)) {
      fails(cat("reverse_key: draws a key for ", giver->name, ", and the target has no primary key beside it",
                " (one that is not DEFERRABLE) by which the row could be found again"),
            cat("ALTER TABLE ", sql_of(forward_.target), " ADD PRIMARY KEY (...)"));
      return;
    }
    DrawnKey drawn{*forward_.reverse_key, key.name, s.declared, t.name, t.base_type.sql(), {}};
    for (const auto& name : primary->columns) {
      add_row_key(name, drawn);
    }
    back_.drawn_key = std::move(drawn);
  }

  void add_row_key(const std::string& name, DrawnKey& drawn) {
    if (!in_identity(name)) {
      fails(
          cat("reverse_key: finds the target's row by ", name, ", which its replica identity does not have"),
          cat("ALTER TABLE ", sql_of(forward_.target), " REPLICA IDENTITY FULL"));
    }
    const pg::Column& column = *target_.column(name);
    if (column.generated) {
      fails(cat("reverse_key: finds the target's row by ", name, ", which is generated and not sent"),
            "give new rows of the target their key there, with a default, or one_way: true");
    }
    drawn.row_key.push_back({name, column.base_type.sql(), "="});
    if (column.equality_schema != "pg_catalog") {
      drawn.row_key.back().equals = cat("OPERATOR(", quote_ident(column.equality_schema), ".=)");
    }
  }

  void warn_of_inserts_only() {
    if (!back_.inserts_only) return;
    warns("inserts_only: an UPDATE or DELETE on the target does not come back",
          "give both sides a key, and take inserts_only: out of walign.yaml");
  }

  const Route& forward_;
  const pg::Table& source_;
  const pg::Table& target_;
  const pg::Catalog& targets_;
  const std::set<pg::TypeName>& types_;
  WayBack way_;
  Route back_;
  std::map<std::string, std::vector<Way>> ways_;       // by source column
  std::map<std::string, std::string> blocked_;         // source column: why nothing gives it
  std::map<std::string, const TargetColumn*> givers_;  // source column: the target's that gives it
  std::vector<const TargetColumn*> whole_reverses_;
};

}  // namespace

std::vector<WayBack> invert(const std::vector<Route>& routes, const pg::Catalog& source,
                            const pg::Catalog& target, const std::vector<pg::TypeName>& source_types) {
  const std::set<pg::TypeName> types(source_types.begin(), source_types.end());
  std::vector<WayBack> ways;
  for (const auto& route : routes) {
    ways.push_back(Inverter(route, source, target, types).build());
    warn_of_collisions(ways.back(), source, target);
  }
  tell_apart(routes, ways);
  return ways;
}

}  // namespace walign::mapping
