// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Columns that were added to a source: what both servers say of them, and ALTER TABLE.
#include "additions.hpp"

namespace walign::stream {

namespace {

using apply::RelationShape;
using config::TableName;
using mapping::Finding;

// A column as it is now; the table was read before.
NewColumn read_new_column(pg::Connection& source, const pg::Table& table, const pg::Column& column) {
  const auto r = source.query(
      "SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid), d.adbin IS NOT NULL AND EXISTS (SELECT FROM "
      "pg_catalog.regexp_matches(d.adbin::text, ':(?:funcid|opfuncid) (\\d+)', 'g') AS m(oid) JOIN "
      "pg_catalog.pg_proc p ON p.oid = m.oid[1]::oid WHERE p.provolatile = 'v'), CASE WHEN a.attcollation <> "
      "t.typcollation THEN pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname) "
      "END "
      "FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
      "LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
      "LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation "
      "LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace "
      "WHERE a.attrelid = $1::oid AND a.attnum = $2::int2 AND NOT a.attisdropped AND a.attname = $3 AND "
      "a.atttypid = $4::oid AND a.attnotnull = $5::bool",
      {cat(table.oid), cat(column.attnum), column.name, cat(column.type_oid), column.not_null ? "t" : "f"});
  if (r.rows() == 0) {
    throw Error(ErrorKind::transient,
                cat("column ", column.name, " of ", table.schema, ".", table.name, " is being altered"),
                "nothing is to be done: the tables are looked at again");
  }
  NewColumn out;
  out.column = column;
  if (!r.is_null(0, 0)) out.default_sql = r.str(0, 0);
  out.volatile_default = r.boolean(0, 1);
  if (!r.is_null(0, 2)) out.collation = r.str(0, 2);
  return out;
}

// The columns that were added, by where they would go.
class Additions {
 public:
  // `prepared`: of the direction that adds.
  Additions(Prepared& prepared, const std::vector<RelationShape>& known, pg::Connection& source)
      : prepared_(prepared), known_(known), source_(source) {}

  // What was there when it was last seen is none.
  void want(const TableName& from, const std::string& name, const TableName& into) {
    const pg::Table& table = prepared_.source_catalog.at({from.schema, from.name});
    const pg::Column* column = table.column(name);
    WALIGN_CHECK(column != nullptr);
    if (!added_since(table, *column, known_)) return;
    if (!filenodes_) filenodes_ = read_filenodes(source_);
    auto its = read_new_column(source_, table, *column);
    its.given = given_in_all(table, *column, prepared_.source_catalog, *filenodes_, known_);
    auto place = std::find_if(wanted_.begin(), wanted_.end(),
                              [&](const Wanted& w) { return w.into == into && w.column == name; });
    if (place == wanted_.end()) place = wanted_.insert(place, {into, name, {}});
    place->wishes.emplace_back(from, std::move(its));
  }

  // `say`: what becomes of a column of `from` that would go to `into`.
  using Say = std::function<void(const TableName& from, const TableName& into, const std::string& column,
                                 const AdditionVerdict& verdict)>;
  void judge(pg::Connection& target, const Say& say) {
    if (wanted_.empty()) return;
    const auto named = pg::read_types(target);
    const std::set<pg::TypeName> types(named.begin(), named.end());
    for (const auto& [into, column, wishes] : wanted_) {
      const auto leading =
          std::count_if(prepared_.routes.begin(), prepared_.routes.end(),
                        [&to = into](const mapping::Route& route) { return route.target == to; });
      const bool others = static_cast<std::size_t>(leading) > wishes.size();
      const auto verdict =
          judge_addition(wishes, prepared_.target_catalog.at({into.schema, into.name}), others, types);
      for (const auto& wish : wishes) say(wish.first, into, column, verdict);
      if (!verdict.sql.empty()) prepared_.additions.push_back({into, column, verdict.sql});
    }
  }

 private:
  struct Wanted {
    TableName into;
    std::string column;
    std::vector<std::pair<TableName, NewColumn>> wishes;
  };

  Prepared& prepared_;
  const std::vector<RelationShape>& known_;
  pg::Connection& source_;
  std::optional<std::map<pg::Oid, pg::Oid>> filenodes_;
  std::vector<Wanted> wanted_;  // in the order of the source's columns
};

bool is_same(const Finding& a, const Finding& b) { return a.subject == b.subject && a.what == b.what; }

// Nothing else is wrong, and so the findings are complete.
bool only_columns_fail(const Prepared& prepared) {
  mapping::Findings of_columns;
  for (const auto& route : prepared.routes) {
    for (const auto& name : mapping::going_nowhere(route)) {
      of_columns.push_back(mapping::goes_nowhere(route, name));
    }
  }
  return std::all_of(prepared.findings.begin(), prepared.findings.end(), [&](const Finding& f) {
    return f.level != Finding::Level::fail || std::any_of(of_columns.begin(), of_columns.end(),
                                                          [&](const auto& its) { return is_same(its, f); });
  });
}

void say_of(mapping::Findings& findings, const mapping::Route& route, const std::string& column,
            const AdditionVerdict& verdict) {
  const auto before = mapping::goes_nowhere(route, column);
  for (auto& finding : findings) {
    if (!is_same(finding, before)) continue;
    finding.run_mends = !verdict.sql.empty();
    if (finding.run_mends) {
      finding.what += "; walign run adds it, as schema_change: add_columns says";
      finding.remedy = join(verdict.sql, "; ");
    } else {
      finding.what += cat("; schema_change: add_columns does not add it, since ", verdict.refused);
      finding.remedy = verdict.remedy.empty() ? before.remedy : cat(verdict.remedy, "; or ", before.remedy);
    }
  }
}

// Not `columns: { only: true }`.
bool takes_by_name(const mapping::Route& route) {
  return std::any_of(route.columns.begin(), route.columns.end(),
                     [](const auto& column) { return !column.rule.has_value(); });
}

// Who has a lock on a table, where that could not be had.
std::string who_holds(pg::Connection& target, const TableName& table) {
  const auto r = target.query(
      "SELECT l.pid, l.mode, coalesce(nullif(a.application_name, ''), 'no name'), coalesce(a.query, '') FROM "
      "pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = "
      "'relation' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid() AND l.relation = "
      "$1::pg_catalog.regclass AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname "
      "= "
      "pg_catalog.current_database()) ORDER BY a.xact_start LIMIT 3",
      {pg::qualified(table.schema, table.name)});
  std::string out;
  for (int i = 0; i < r.rows(); ++i) {
    out += cat(out.empty() ? ": " : "; ", "pid ", r.text(i, 0), " has ", r.text(i, 1), " (", r.text(i, 2),
               ": ", r.text(i, 3), ")");
  }
  return out;
}

Error cannot_add(pg::Connection& target, const Addition& addition, const Error& error) {
  constexpr std::string_view kDuplicateColumn = "42701";
  const std::string what =
      cat("column ", addition.column, " of ", addition.target.to_string(), " on the target");
  if (error.sqlstate() == kDuplicateColumn) {
    return {ErrorKind::transient, cat(what, " was added by another"),
            "nothing is to be done: it is looked at again"};
  }
  if (error.sqlstate() == kLockTimeout) {
    return Error(ErrorKind::transient,
                 cat(what, " could not be added within ", kAlterPatience, ", since the table is in use",
                     who_holds(target, addition.target)),
                 "it is tried again; end the transaction that has the table for so long")
        .with_sqlstate(std::string(kLockTimeout));
  }
  if (error.kind() != ErrorKind::query && error.kind() != ErrorKind::precondition) return error;
  return Error(ErrorKind::precondition,
               cat(what, " cannot be added as schema_change: add_columns says: ", error.message()),
               cat("add it yourself and run again: ", join(addition.sql, "; ")))
      .with_sqlstate(error.sqlstate());
}

}  // namespace

void judge_additions(Prepared& prepared, const std::vector<RelationShape>& known, pg::Connection& source,
                     pg::Connection& target) {
  if (!only_columns_fail(prepared)) return;
  Additions additions(prepared, known, source);
  for (const auto& route : prepared.routes) {
    for (const auto& name : mapping::going_nowhere(route)) additions.want(route.source, name, route.target);
  }
  additions.judge(target, [&](const TableName& from, const TableName& into, const std::string& column,
                              const AdditionVerdict& verdict) {
    for (const auto& route : prepared.routes) {
      if (route.source == from && route.target == into) say_of(prepared.findings, route, column, verdict);
    }
  });
}

void judge_additions_back(const std::vector<mapping::Route>& there, Prepared& back,
                          const std::vector<RelationShape>& known, pg::Connection& source,
                          pg::Connection& target) {
  if (mapping::any_failed(back.findings)) return;
  Additions additions(back, known, source);
  for (const auto& route : there) {
    const bool comes_back = std::any_of(back.routes.begin(), back.routes.end(), [&](const auto& way) {
      return way.source == route.target && way.target == route.source;
    });
    if (!comes_back || !takes_by_name(route)) continue;
    const pg::Table& into = back.target_catalog.at({route.source.schema, route.source.name});
    for (const auto& name : route.other_columns) {
      if (into.column(name) == nullptr) additions.want(route.target, name, route.source);
    }
  }
  additions.judge(target, [&](const TableName& from, const TableName& into, const std::string& column,
                              const AdditionVerdict& verdict) {
    if (!verdict.sql.empty()) return;
    obs::warn("a column that was added is not carried back: schema_change: add_columns does not add it",
              {{"table", from.to_string()},
               {"column", column},
               {"to", into.to_string()},
               {"why", verdict.refused}});
  });
}

std::vector<RelationShape> written_anew(pg::Connection& source, const std::vector<RelationShape>& followed) {
  std::map<pg::Oid, const RelationShape*> by_oid;
  std::string oids;
  for (const auto& shape : followed) {
    by_oid[shape.oid] = &shape;
    oids += cat(oids.empty() ? "" : ",", shape.oid);
  }
  // One statement, so that both are of one moment.
  const auto r = source.exec(
      cat("SELECT c.oid, c.relfilenode, coalesce((SELECT max(a.attnum) FROM pg_catalog.pg_attribute a WHERE "
          "a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''), 0) FROM "
          "pg_catalog.pg_class c WHERE c.relfilenode <> 0 AND c.oid = ANY ('{",
          oids, "}'::oid[])"));
  std::vector<RelationShape> out;
  for (int i = 0; i < r.rows(); ++i) {
    const RelationShape& known = *by_oid.at(static_cast<pg::Oid>(r.integer(i, 0)));
    const auto filenode = static_cast<pg::Oid>(r.integer(i, 1));
    const int newest = known.columns.empty() ? 0 : known.columns.back().attnum;
    if (known.filenode == filenode || r.integer(i, 2) > newest) continue;
    out.push_back(known);
    out.back().filenode = filenode;
  }
  return out;
}

void check_may_alter(Prepared& prepared) {
  std::set<TableName> seen;
  bool all = true;
  for (const auto& route : prepared.routes) {
    const auto found = prepared.target_catalog.find({route.target.schema, route.target.name});
    if (found == prepared.target_catalog.end() || !seen.insert(route.target).second) continue;
    if (found->second.is_owner) continue;
    all = false;
    prepared.findings.push_back(
        {Finding::Level::warn, cat("target table ", route.target.to_string()),
         cat("role ", prepared.target.role,
             " does not own it: a column that is added to its source is not added to it, and stops the "
             "stream "
             "(schema_change: add_columns)"),
         cat("ALTER TABLE ", pg::qualified(route.target.schema, route.target.name), " OWNER TO ",
             pg::quote_ident(prepared.target.role), ", or make the role a member of its owner's")});
  }
  if (!all || seen.empty()) return;
  prepared.findings.push_back(
      {Finding::Level::ok, "schema_change",
       "a column that is added to a source is added to its target, where that is safe", ""});
}

void add_column(pg::Connection& target, const std::string& stream, Lsn position, const Addition& addition) {
  target.exec(
      cat("BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '", kAlterPatience, "'"));
  try {
    // One statement each, whatever the source says of a default.
    for (const auto& sql : addition.sql) target.query(sql, {});
    apply::note_alteration(
        target, stream, {addition.target.schema, addition.target.name, join(addition.sql, "; "), position});
    target.exec("COMMIT");
  } catch (const Error& error) {
    if (!target.broken()) target.exec("ROLLBACK");
    throw cannot_add(target, addition, error);
  }
  obs::warn("a column was added to the target, as schema_change: add_columns says",
            {{"table", addition.target.to_string()},
             {"column", addition.column},
             {"lsn", position},
             {"statement", join(addition.sql, "; ")}});
}

}  // namespace walign::stream
