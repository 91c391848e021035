// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the source says of a way back; and the SQL that proves it.
#include "statement_parts.hpp"
#include "tables.hpp"

namespace walign::mapping {

namespace {

using config::ColumnKind;
using pg::quote_ident;
using pg::quote_literal;

class Completion {
 public:
  Completion(WayBack& way, const Route& forward)
      : way_(way),
        back_(*way.route),
        forward_(forward),
        sent_from_(pg::qualified(back_.source.schema, back_.source.name)) {}

  void take(const std::vector<ExpressionFacts>& back_facts,
            const std::vector<ExpressionFacts>& forward_facts) {
    take_forward(forward_facts);
    take_back(back_facts);
    if (any_failed(way_.findings)) return;
    if (back_.drawn_key && back_.filter) {
      fails("reverse_key: gives a key to every row of the target, and only some of them are this table's",
            "give new rows of the target their key there, with a default, or one_way: true");
    }
    check_key();
    check_kept();
  }

 private:
  void fails(std::string what, std::string remedy) {
    way_.findings.push_back(fail(way_.label, cat("no way back: ", what), std::move(remedy)));
  }
  void warns(std::string what, std::string remedy) {
    way_.findings.push_back(warn(way_.label, cat("way back: ", what), std::move(remedy)));
  }

  // The same on the source as on the target: nothing there that may be another thing here.
  static bool computes_the_same(const ExpressionFacts& facts) {
    return facts.error.empty() && facts.reads.empty() && facts.opaque.empty() && facts.unstable.empty();
  }

  void take_forward(const std::vector<ExpressionFacts>& facts) {
    std::size_t next = 0;
    for (const auto& column : asked_of_source(forward_).columns) {
      if (column.probed) continue;
      if (computes_the_same(facts.at(next++))) continue;
      for (auto& sent : back_.source_columns) {
        if (sent.name == column.name) sent.present.clear();
      }
    }
    if (!forward_.filter) return;
    const auto& filter = facts.at(next);
    if (computes_the_same(filter)) {
      warns(
          "a row that the target writes outside where: comes back all the same, and is none of this table's "
          "after a rollback",
          "let a CHECK on the target permit only rows that where: lets through");
      return;
    }
    back_.target_where.reset();
    back_.sole_writer = false;
    warns(cat("where: cannot be computed on the source", filter.error.empty() ? "" : ": ", filter.error,
              "; a TRUNCATE on the target would stop the way back, and a row that the target writes outside "
              "where: comes back all the same"),
          "use only what both servers have, and no other tables");
  }

  void take_inputs(const ExpressionFacts& facts, std::vector<int>& inputs) {
    for (std::size_t i = 0; i < back_.source_columns.size(); ++i) {
      const auto& name = back_.source_columns[i].name;
      if (std::find(facts.columns.begin(), facts.columns.end(), name) != facts.columns.end()) {
        inputs.push_back(static_cast<int>(i));
      }
    }
  }

  void judge(const std::string& what, const ExpressionFacts& facts) {
    if (!facts.error.empty()) {
      fails(
          cat(what, ": the source rejects it: ", facts.error),
          "it sees the target's columns as src.NAME, runs on the source, and must name tables and functions "
          "that are there with their schema");
    }
    if (!facts.unstable.empty()) {
      fails(cat(what, " calls ", join(facts.unstable, ", "),
                ": its value would differ each time it is computed"),
            "use only functions of the row's values; let a default of the source fill in times and random "
            "values");
    }
    back_.reads.insert(facts.reads.begin(), facts.reads.end());
    back_.reads_unseen = back_.reads_unseen || !facts.opaque.empty();
  }

  void take_back(const std::vector<ExpressionFacts>& facts) {
    std::size_t next = 0;
    for (auto& column : back_.columns) {
      if (column.probed) continue;
      const auto& fact = facts.at(next++);
      judge(cat("reverse: that gives ", column.name), fact);
      take_inputs(fact, column.inputs);
      column.probed = true;
      warn_of_toast(cat("reverse: that gives ", column.name), column.inputs, 2);
    }
    if (!back_.filter) return;
    judge(forward_.target_where ? "target_where:" : "the constant that tells its rows apart", facts.at(next));
    take_inputs(facts.at(next), back_.filter_inputs);
    for (const int input : back_.filter_inputs) {
      if (sent(input).part_of_identity) continue;
      fails(cat("whose a row is depends on ", sent(input).name,
                ", which is not in the target's replica identity: a DELETE would not carry it"),
            identity_full());
    }
  }

  [[nodiscard]] const SourceColumn& sent(int input) const {
    return back_.source_columns[static_cast<std::size_t>(input)];
  }
  [[nodiscard]] std::string identity_full() const {
    return cat("ALTER TABLE ", sent_from_,
               " REPLICA IDENTITY FULL (or USING INDEX with an index that has it)",
               back_.leaves.empty() ? "" : " (each partition has its own)");
  }

  void warn_of_toast(const std::string& what, const std::vector<int>& inputs, std::size_t at_least) {
    if (back_.identity_full || back_.inserts_only || inputs.size() < at_least) return;
    for (const int input : inputs) {
      if (!sent(input).toastable) continue;
      warns(
          cat(what, " reads ", sent(input).name,
              ", which an UPDATE on the target does not send when it is large and unchanged (TOAST); such a "
              "change could not be carried back"),
          cat("ALTER TABLE ", sent_from_, " REPLICA IDENTITY FULL"));
    }
  }

  void check_key() {
    std::set<int> inputs;
    for (const int c : back_.key) {
      const auto& column = back_.columns[static_cast<std::size_t>(c)];
      inputs.insert(column.inputs.begin(), column.inputs.end());
      if (column.inputs.empty()) {
        fails(cat("the source's key ", column.name, " would be the same for every row"),
              "let its reverse: read the columns that make it");
      }
    }
    for (const int input : inputs) {
      if (sent(input).part_of_identity) continue;
      fails(cat("the source's key is computed from ", sent(input).name,
                ", which is not in the target's replica identity: an UPDATE or DELETE would not carry it"),
            identity_full());
    }
    inputs.insert(back_.filter_inputs.begin(), back_.filter_inputs.end());
    back_.key_inputs.assign(inputs.begin(), inputs.end());
    if (back_.key.empty()) back_.key_inputs.clear();
  }

  void check_kept() {
    if (back_.identity_full || back_.inserts_only) return;
    for (const auto& column : back_.columns) {
      if (!column.kept_if_same) continue;
      for (const int input : column.inputs) {
        if (!sent(input).present.empty()) continue;
        fails(cat("whether ", sent(input).name, ", which gives ", column.name,
                  ", changed cannot be told: the source cannot compute it, and the target does not send old "
                  "rows"),
              cat("ALTER TABLE ", sent_from_, " REPLICA IDENTITY FULL"));
      }
    }
  }

  WayBack& way_;
  Route& back_;
  const Route& forward_;
  const std::string sent_from_;
};

// The text of a row's key, as the source has it: id=1, ...
std::string key_text(const Route& back) {
  std::string out;
  for (const int c : back.key) {
    const std::string& name = back.columns[static_cast<std::size_t>(c)].name;
    out += cat(out.empty() ? "" : " || ', ' || ", quote_literal(name + "="), " || t.", quote_ident(name),
               "::pg_catalog.text");
  }
  return out.empty() ? "NULL::pg_catalog.text" : out;
}

std::string kept_text(const TargetColumn& column) {
  return cat("((", column.expression, ")", column.declared.empty() ? "" : "::", column.declared,
             ")::pg_catalog.text");
}

}  // namespace

Route asked_of_source(const Route& forward) {
  Route asked = forward;
  for (auto& column : asked.columns) {
    const bool mapped = column.rule && column.rule->kind == ColumnKind::values;
    column.probed = !column.rule || column.rule->kind == ColumnKind::rename || mapped;
  }
  return asked;
}

void complete_way_back(WayBack& way, const Route& forward, const std::vector<ExpressionFacts>& back_facts,
                       const std::vector<ExpressionFacts>& forward_facts) {
  Completion(way, forward).take(back_facts, forward_facts);
  if (any_failed(way.findings)) way.route.reset();
}

Statement values_statement(const Route& route) {
  Statement s;
  const auto columns = all_columns(route);
  s.inputs = inputs_of(route, columns, route.filter_inputs);
  std::string values;
  for (const int c : columns) values += cat(", ", kept_text(column(route, c)));
  s.sql = cat("SELECT src.\"walign.n\"", values, " FROM ", numbered_rows(route, s.inputs, 1, 0), " AS src",
              route.filter ? cat(" WHERE (", *route.filter, ") IS TRUE") : "", " ORDER BY src.\"walign.n\"");
  return named(std::move(s));
}

std::optional<std::string> round_trip_sql(const Route& forward, const WayBack& way, const std::string& from) {
  if (!way.route) return std::nullopt;
  const Route& back = *way.route;
  std::set<int> inputs;
  std::string checked;
  for (const auto& c : back.columns) {
    if (!c.kept_if_same) continue;
    inputs.insert(c.inputs.begin(), c.inputs.end());
    // In a scope of its own, where a bare name means the target's column.
    checked += cat(checked.empty() ? "" : ", ", "(", quote_literal(c.name), ", ", key_text(back), ", t.",
                   quote_ident(c.name), "::pg_catalog.text, (SELECT ", kept_text(c),
                   " FROM (SELECT sent.*) AS src))");
  }
  std::string sent;
  for (const int input : inputs) {
    const auto& column = back.source_columns[static_cast<std::size_t>(input)];
    if (column.present.empty()) return std::nullopt;
    sent += cat(sent.empty() ? "" : ", ", column.present, "::", column.type_sql, " AS ",
                quote_ident(column.name));
  }
  if (checked.empty()) checked = "('', '', '', '')";
  return cat("SELECT d.* FROM (SELECT * FROM ", from, " AS src",
             forward.filter ? cat(" WHERE (", *forward.filter, ") IS TRUE") : "",
             ") AS t CROSS JOIN LATERAL (SELECT ", sent, ") AS sent CROSS JOIN LATERAL (VALUES ", checked,
             ") AS d(source_column, key, was, came_back) WHERE d.was IS DISTINCT FROM d.came_back");
}

}  // namespace walign::mapping
