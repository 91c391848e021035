// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Keys that the source draws for rows made on the target: whether it can, and whether they may be written there.
// Nothing is drawn to find out.
#include "settings.hpp"
#include "way_back.hpp"

namespace walign::stream {

namespace {

using mapping::Finding;
using mapping::WayBack;

class Keys {
 public:
  Keys(const BothWays& both, WayBack& way)
      : both_(both), way_(way), drawn_(*way.route->drawn_key), made_on_(way.route->source) {}

  void check() {
    check_expression();
    if (!mapping::any_failed(way_.findings)) check_sequences();
    check_writable();
    check_triggers();
    if (mapping::any_failed(way_.findings)) way_.route.reset();
  }

 private:
  void fails(const std::string& what, std::string remedy) {
    way_.findings.push_back(
        {Finding::Level::fail, way_.label, cat("no way back: reverse_key: ", what), std::move(remedy)});
  }

  [[nodiscard]] std::string table() const { return pg::qualified(made_on_.schema, made_on_.name); }
  [[nodiscard]] std::string table_literal() const {
    return cat(pg::quote_literal(table()), "::pg_catalog.regclass");
  }

  void check_expression() {
    mapping::Route asked;
    asked.columns.emplace_back();
    asked.columns.back().name = drawn_.source_column;
    asked.columns.back().expression = drawn_.sql;
    const auto facts = apply::probe(both_.source, asked);
    if (!facts.front().error.empty()) {
      fails(cat("the source rejects it: ", bare(facts.front().error)),
            "it runs on the source, sees no column, and must name sequences and functions with their schema");
    } else if (facts.front().unstable.empty()) {
      fails("it gives the same key each time", "draw keys from a sequence: nextval('SCHEMA.SEQUENCE')");
    }
  }

  // The sequences that it names, by what a view over it would depend on.
  void check_sequences() {
    both_.source.exec("BEGIN");
    try {
      both_.source.query(cat("CREATE TEMPORARY VIEW walign_key AS SELECT ((", drawn_.sql,
                             "\n)::", drawn_.source_type, ")::pg_catalog.text AS key"),
                         {});
      const auto r = both_.source.exec(
          "SELECT DISTINCT c.oid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_rewrite w "
          "JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND "
          "d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass "
          "JOIN pg_catalog.pg_class c ON c.oid = d.refobjid "
          "WHERE w.ev_class = 'pg_temp.walign_key'::pg_catalog.regclass AND CASE WHEN c.relkind = 'S' THEN "
          "NOT pg_catalog.has_sequence_privilege(c.oid, 'USAGE, UPDATE') ELSE false END");
      const std::string role = pg::quote_ident(both_.prepared.source.role);
      for (int i = 0; i < r.rows(); ++i) {
        fails(cat("role ", both_.prepared.source.role, " may not draw from sequence ", r.text(i, 0),
                  " on the source"),
              cat("GRANT USAGE ON SEQUENCE ", r.text(i, 0), " TO ", role));
      }
    } catch (const Error& error) {
      if (both_.source.broken() || error.sqlstate().empty()) throw;
      fails(cat("the source rejects it as the key: ", bare(error.message())),
            cat("let it give a value of ", drawn_.source_column, "'s type"));
    }
    both_.source.exec("ROLLBACK");
  }

  void check_writable() {
    const auto r = both_.target.exec(cat("SELECT pg_catalog.has_column_privilege(", table_literal(), ", ",
                                         pg::quote_literal(drawn_.target_column), ", 'UPDATE') AND ",
                                         "pg_catalog.has_table_privilege(", table_literal(), ", 'SELECT')"));
    if (r.boolean(0, 0)) return;
    fails(cat("role ", both_.prepared.target.role, " may not write ", drawn_.target_column, " of ",
              made_on_.to_string(), " on the target"),
          cat("GRANT SELECT, UPDATE ON ", table(), " TO ", pg::quote_ident(both_.prepared.target.role)));
  }

  // What a trigger would do beside the key would not come back: that transaction is passed over.
  void check_triggers() {
    const bool held_off = may_set_replica_role(both_.target);
    const auto r = both_.target.exec(cat(
        "SELECT DISTINCT t.tgname FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE NOT t.tgisinternal AND n.nspname <> "
        "'walign' ",
        "AND (t.tgtype & 16) <> 0 AND t.tgenabled IN (", held_off ? "'A', 'R'" : "'O', 'A'",
        ") AND t.tgrelid IN (SELECT ", table_literal(),
        " UNION SELECT relid FROM pg_catalog.pg_partition_tree(", table_literal(), ")) ORDER BY 1"));
    for (int i = 0; i < r.rows(); ++i) {
      fails(cat("trigger ", r.text(i, 0), " of ", made_on_.to_string(),
                " on the target would fire when a key is written into a row, and what it does would not come "
                "back"),
            held_off ? cat("ALTER TABLE ", table(), " ENABLE TRIGGER ", pg::quote_ident(r.text(i, 0)),
                           " (for the application's changes only)")
                     : cat("GRANT SET ON PARAMETER session_replication_role TO ",
                           pg::quote_ident(both_.prepared.target.role), ", on the target"));
    }
  }

  const BothWays& both_;
  WayBack& way_;
  const mapping::DrawnKey drawn_;
  const config::TableName made_on_;
};

}  // namespace

void check_drawn_keys(const BothWays& both, std::vector<WayBack>& ways) {
  for (auto& way : ways) {
    if (way.route && way.route->drawn_key) Keys(both, way).check();
  }
}

}  // namespace walign::stream
