// Routes the other way round: which column gives which back, and every finding with its remedy.
#include <cstdlib>
#include <fstream>

#include "mapping_route_test.hpp"

using namespace route_test;
using mapping::Finding;
using mapping::WayBack;

namespace {

std::vector<pg::TypeName> types() {
  return {{"pg_catalog", "int4"}, {"pg_catalog", "text"}, {"pg_catalog", "numeric"}};
}

struct Inverted {
  std::vector<mapping::Route> forward;
  std::vector<WayBack> ways;
  [[nodiscard]] const mapping::Route& route(std::size_t i = 0) const {
    REQUIRE(ways.at(i).route);
    return *ways[i].route;
  }
};

// Names of columns that stand in an expression, as words.
mapping::ExpressionFacts reads(const std::string& sql, const std::vector<std::string>& columns) {
  mapping::ExpressionFacts facts;
  for (const auto& name : columns) {
    for (auto at = sql.find(name); at != std::string::npos; at = sql.find(name, at + 1)) {
      const auto word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
      const bool whole =
          (at == 0 || !word(sql[at - 1])) && (at + name.size() == sql.size() || !word(sql[at + name.size()]));
      if (!whole) continue;
      facts.columns.push_back(name);
      break;
    }
  }
  if (has(sql, "nosuch")) facts.error = "function nosuch() does not exist";
  return facts;
}

std::vector<mapping::ExpressionFacts> answers(const mapping::Route& route) {
  std::vector<std::string> columns;
  for (const auto& c : route.source_columns) columns.push_back(c.name);
  std::vector<mapping::ExpressionFacts> facts;
  for (const auto& sql : mapping::expressions_to_probe(route)) facts.push_back(reads(sql, columns));
  return facts;
}

Inverted invert(const World& w, const std::vector<std::string>& unknown_on_source = {}) {
  Inverted out;
  out.forward = w.resolve().routes;
  for (auto& route : out.forward) mapping::complete(route, answers(route));
  out.ways = mapping::invert(out.forward, w.source, w.target, types());
  for (std::size_t i = 0; i < out.ways.size(); ++i) {
    auto& way = out.ways[i];
    if (!way.route) continue;
    const auto asked = mapping::asked_of_source(out.forward[i]);
    auto on_source = answers(asked);
    const auto sql = mapping::expressions_to_probe(asked);
    for (std::size_t e = 0; e < sql.size(); ++e) {
      for (const auto& name : unknown_on_source) {
        if (has(sql[e], name)) on_source[e].error = name + " is not here";
      }
    }
    mapping::complete_way_back(way, out.forward[i], answers(*way.route), on_source);
  }
  return out;
}

std::string said(const WayBack& way, Finding::Level level) {
  std::string out;
  for (const auto& f : way.findings) {
    if (f.level != level) continue;
    CHECK_FALSE(f.remedy.empty());
    CHECK_FALSE(f.subject.empty());
    out += f.what + " / " + f.remedy + "\n";
  }
  return out;
}
std::string refused(const WayBack& way) {
  CHECK_FALSE(way.route);
  return said(way, Finding::Level::fail);
}

pg::Table full(pg::Table t) {
  t.replica_identity = 'f';
  return t;
}

}  // namespace

TEST_CASE("equal tables come back as they went") {
  World w;
  w.both(table("public.t", {"id int4 key", "v text"}));
  w.tables = "  - public.t: public.t\n";
  const auto i = invert(w);
  const auto& back = i.route();
  CHECK(back.back);
  CHECK(back.label() == "public.t -> public.t");
  CHECK(names(back) == std::vector<std::string>{"id=src.\"id\"", "v=src.\"v\""});
  CHECK(back.key == std::vector<int>{0});
  CHECK(back.key_inputs == std::vector<int>{0});
  CHECK_FALSE(i.ways[0].needs_proof);
  CHECK(i.ways[0].findings.empty());
  CHECK(i.ways[0].not_carried.empty());
  for (const auto& c : back.columns) CHECK_FALSE(c.kept_if_same);
}

TEST_CASE("renames, value maps and pairs of expressions are turned round") {
  World w;
  w.source_table(table("app.listings", {"id int4 key", "status text not null", "cents int4 not null",
                                        "notes text", "sum int4 generated", "made int4 not null default"}));
  w.target_table(table("market.services", {"legacy int4 key", "state text", "price numeric", "own text"}));
  w.tables = R"yaml(  - from: app.listings
    to: market.services
    columns:
      legacy: id
      state: { values: { ACTIVE: active, OLD: null }, from: status }
      price: { sql: "cents / 100.0", reverse: "(price * 100)::int" }
      notes: false
      made: false
)yaml";
  const auto i = invert(w);
  const auto& back = i.route();
  CHECK(back.label() == "market.services -> app.listings");
  CHECK(names(back) ==
        std::vector<std::string>{
            "id=src.\"legacy\"",
            "status=(CASE WHEN src.\"state\" IS NULL THEN 'OLD' WHEN src.\"state\" = "
            "'active'::\"pg_catalog\".\"text\" THEN 'ACTIVE' ELSE walign.unmapped_value('market.services -> "
            "app.listings', 'status', src.\"state\"::pg_catalog.text) END)::\"pg_catalog\".\"text\"",
            "cents=((price * 100)::int)"});
  CHECK(back.other_columns == std::vector<std::string>{"notes", "made"});
  CHECK(i.ways[0].not_carried == std::vector<std::string>{"own"});
  CHECK(i.ways[0].needs_proof);
  CHECK(back.columns[2].kept_if_same);
  CHECK_FALSE(back.columns[1].kept_if_same);
  CHECK(back.source_columns[2].present ==
        "(SELECT (((cents / 100.0)))::pg_catalog.text FROM (SELECT t.\"cents\"::\"pg_catalog\".\"int4\" AS "
        "\"cents\") "
        "AS src)");
  CHECK(back.source_columns[3].present.empty());
  const auto warned = said(i.ways[0], Finding::Level::warn);
  CHECK(has(warned, "source column notes is NULL in rows made on the target"));
  CHECK(has(warned, "source column made gets its default"));
  CHECK_FALSE(has(warned, "source column status is NOT NULL"));  // the map says what NULL is
}

TEST_CASE("value maps that are no pairs have no inverse") {
  World w;
  w.source_table(table("public.t", {"id int4 key", "v text"}));
  w.target_table(table("public.t", {"id int4 key", "v text"}));
  const auto why = [&](const std::string& map) {
    w.tables = "  - {from: public.t, columns: {v: {" + map + "}}}\n";
    return refused(invert(w).ways[0]);
  };
  CHECK(has(why("values: {A: a}, else: b"),
            "column v is given by nothing: target column v is made of it, and its"));
  CHECK(has(why("values: {A: a, B: a}"), "makes a of both A and B"));
  CHECK(has(why("values: {A: null}"), "makes NULL of both NULL and A"));
  CHECK(has(why("values: {A: x, null: x}"), "makes x of both A and NULL"));
  w.tables = "  - {from: public.t, columns: {v: {values: {A: null, null: x}}}}\n";
  CHECK(has(names(invert(w).route())[1], "WHEN src.\"v\" IS NULL THEN 'A' WHEN src.\"v\" = 'x'"));
  w.tables = "  - {from: public.t, columns: {v: {values: {null: x}}}}\n";
  CHECK(has(names(invert(w).route())[1], "WHEN src.\"v\" IS NULL THEN walign.unmapped_value("));
}

TEST_CASE("a column that is rounded on the way is set only where the target changed it") {
  World w;
  auto source = table("public.t", {"id int4 key", "v numeric"});
  auto target = source;
  source.columns[1].declared = "numeric(10,4)";
  target.columns[1].declared = "numeric(10,2)";
  w.source_table(source);
  w.target_table(target);
  w.tables = "  - public.t\n";
  auto i = invert(w);
  CHECK(i.route().columns[1].kept_if_same);
  CHECK_FALSE(i.route().columns[0].kept_if_same);
  const mapping::ColumnSet none(2, false);
  const auto update = mapping::update_statement(i.route(), none);
  CHECK(has(update.sql, "\"v\" = CASE WHEN (SELECT"));
  CHECK(update.old_inputs.empty());
  w.target_table(full(target));
  i = invert(w);
  const auto by_old_row = mapping::update_statement(i.route(), none);
  CHECK(by_old_row.old_inputs == std::vector<int>{1});
  CHECK(
      has(by_old_row.sql, "\"v\" = CASE WHEN m.d1 THEN (m.e1)::\"pg_catalog\".\"numeric\" ELSE t.\"v\" END"));
}

TEST_CASE("which source column an expression gives") {
  World w;
  w.source_table(table("public.t", {"id int4 key", "a text", "b text"}));
  w.target_table(table("public.t", {"id int4 key", "w text", "b text"}));
  const auto at = [&](const std::string& columns) {
    w.tables = "  - {from: public.t, columns: {a: false, " + columns + "}}\n";
    return invert(w);
  };
  // b goes by its own name, so that what is left is a.
  CHECK(names(at("w: {sql: 'a || b', reverse: 'left(w, 1)'}").route()) ==
        std::vector<std::string>{"id=src.\"id\"", "a=(left(w, 1))", "b=src.\"b\""});
  CHECK(has(refused(at("b: {sql: 'b || a', reverse: b}, w: {sql: a}").ways[0]),
            "cannot be told: its sql reads a, b"));
  CHECK(names(at("b: false, w: {sql: 'a || b', reverse: {a: 'left(w, 1)', b: 'right(w, 1)'}}").route())[2] ==
        "b=(right(w, 1))");
  CHECK(has(refused(at("w: {sql: a, reverse: {nosuch: w}}").ways[0]),
            "gives nosuch, which the source does not have"));
  CHECK(has(refused(at("w: {sql: 'b || b', reverse: w}").ways[0]),
            "source column b is given back by both b and w"));
  CHECK(has(refused(at("w: {sql: a, reverse: nosuch(w)}").ways[0]),
            "the source rejects it: function nosuch()"));
}

TEST_CASE("what the source cannot compute needs whole old rows") {
  World w;
  w.source_table(table("public.t", {"id int4 key", "a text"}));
  const auto target = table("public.t", {"id int4 key", "a text"});
  w.target_table(target);
  w.tables = "  - {from: public.t, columns: {a: {sql: theirs(a), reverse: lower(a)}}}\n";
  CHECK(has(refused(invert(w, {"theirs"}).ways[0]), "whether a, which gives a, changed cannot be told"));
  w.target_table(full(target));
  CHECK(invert(w, {"theirs"}).ways[0].route);
  CHECK_FALSE(mapping::round_trip_sql(invert(w).forward[0], invert(w, {"theirs"}).ways[0], "public.t"));
}

TEST_CASE("a new row of the target must have a key on the source") {
  World w;
  w.source_table(table("public.t", {"id int4 key", "v text"}));
  auto target = full(table("public.t", {"pk int4 key always", "legacy int4", "v text"}));
  target.indexes.push_back(index("by_legacy", {"legacy"}));
  w.tables = "  - {from: public.t, key: [legacy], columns: {legacy: id}}\n";
  const auto way = [&] {
    w.target_table(target);
    return invert(w).ways[0];
  };
  CHECK(has(refused(way()), "legacy, which gives id, may be NULL"));
  target.columns[1].not_null = true;
  CHECK(has(refused(way()), "legacy, which gives id, has no default"));
  target.columns[1].has_default = true;
  CHECK(way().route);
  target.columns[1].not_null = false;
  w.tables = "  - {from: public.t, key: [legacy], columns: {legacy: id}, reverse_key: \"nextval('s')\"}\n";
  const auto drawn = way();
  REQUIRE(drawn.route);
  REQUIRE(drawn.route->drawn_key);
  const auto& key = *drawn.route->drawn_key;
  CHECK(key.sql == "nextval('s')");
  CHECK(key.source_column == "id");
  CHECK(key.target_column == "legacy");
  REQUIRE(key.row_key.size() == 1);
  CHECK(key.row_key[0].name == "pk");
  target.columns[1].not_null = true;
  CHECK(has(refused(way()), "legacy is NOT NULL"));
  target.columns[1].not_null = false;
  target.indexes[0].immediate = false;
  CHECK(has(refused(way()), "no primary key beside it"));
  target.indexes[0].immediate = true;
  target.indexes.erase(target.indexes.begin());
  CHECK(has(refused(way()), "no primary key beside it"));
  w.tables = "  - {from: public.t, key: [legacy], columns: {legacy: id}, one_way: true}\n";
  CHECK(way().one_way);
  CHECK_FALSE(way().route);
  CHECK_FALSE(mapping::any_failed(way().findings));
}

TEST_CASE("the target's replica identity must have what makes the source's key") {
  World w;
  w.source_table(table("public.t", {"id int4 key", "v text"}));
  auto target = table("public.t", {"pk int4 key always", "legacy int4 not null default", "v text"});
  target.indexes.push_back(index("by_legacy", {"legacy"}));
  w.target_table(target);
  w.tables = "  - {from: public.t, key: [legacy], columns: {legacy: id}}\n";
  CHECK(
      has(refused(invert(w).ways[0]), "computed from legacy, which is not in the target's replica identity"));
  target.replica_identity = 'i';
  target.indexes.back().replica_identity = true;
  w.target_table(target);
  CHECK(invert(w).ways[0].route);
}

TEST_CASE("several sources to one target are told apart by target_where or by constants") {
  World w;
  w.source_table(table("public.cats", {"id int4 key", "name text"}));
  w.source_table(table("public.dogs", {"id int4 key", "name text"}));
  w.target_table(full(table("public.animals", {"kind text key", "id int4 key", "name text"})));
  const auto rules = [&](const std::string& cats, const std::string& dogs) {
    w.tables = "  - {from: public.cats, to: public.animals, " + cats +
               "}\n  - {from: public.dogs, to: public.animals, " + dogs + "}\n";
    return invert(w);
  };
  const auto by_constant = rules("columns: {kind: {constant: cat}}", "columns: {kind: {constant: dog}}");
  CHECK(by_constant.route(0).filter == "src.\"kind\" = 'cat'::\"pg_catalog\".\"text\"");
  CHECK(by_constant.route(1).filter == "src.\"kind\" = 'dog'::\"pg_catalog\".\"text\"");
  CHECK(by_constant.route(0).key_inputs == std::vector<int>{0, 1});
  const auto by_where = rules("columns: {kind: {constant: cat}}, target_where: kind = 'cat'",
                              "columns: {kind: {constant: dog}}, target_where: kind = 'dog'");
  CHECK(by_where.route(0).filter == "kind = 'cat'");
  CHECK(has(refused(rules("columns: {kind: {constant: pet}}", "columns: {kind: {constant: pet}}").ways[0]),
            "whose a row is cannot be told"));
  const auto other =
      rules("columns: {kind: {constant: cat}}", "columns: {kind: {constant: dog}}, one_way: true");
  CHECK(other.route(0).filter);
  CHECK(other.ways[1].one_way);
  // A target of its own needs none: rows made there come back, whatever their constant.
  w.tables = "  - {from: public.cats, to: public.animals, columns: {kind: {constant: cat}}}\n";
  CHECK_FALSE(invert(w).route().filter);
}

TEST_CASE("a key that belongs to another source is not looked for among the rows of this one") {
  World w;
  w.source_table(table("public.cats", {"id int4 key", "name text"}));
  w.source_table(table("public.dogs", {"id int4 key", "name text"}));
  w.target_table(table("public.animals", {"id text key", "name text"}));
  const std::string rule =
      "target_where: \"starts_with(id, 'X')\", columns: {id: {sql: \"'X' || src.id\", reverse: \"substr(id, "
      "2)::int\"}}";
  std::string dogs = rule;
  for (auto at = dogs.find('X'); at != std::string::npos; at = dogs.find('X', at)) dogs[at] = 'Y';
  w.tables = "  - {from: public.cats, to: public.animals, " + rule +
             "}\n  - {from: public.dogs, to: public.animals, " + dogs + "}\n";
  const auto inverted = invert(w);
  const auto asked = [&](std::size_t i, const std::vector<std::string>& key) {
    return mapping::compare_sql(inverted.route(i), key, 10).ask;
  };
  CHECK(has(asked(0, {"id"}), "AS src WHERE (starts_with(id, 'X')) IS TRUE"));
  CHECK(has(asked(1, {"id"}), "AS src WHERE (starts_with(id, 'Y')) IS TRUE"));
  // Where the key does not tell, a row may have been of this source before.
  w.target_table(full(table("public.animals", {"id text key", "kind text", "name text"})));
  for (auto at = w.tables.find("starts_with(id"); at != std::string::npos;
       at = w.tables.find("starts_with(id"))
    w.tables.replace(at, 14, "starts_with(kind");
  for (auto at = w.tables.find("columns: {id"); at != std::string::npos;
       at = w.tables.find("columns: {id", at + 1))
    w.tables.insert(at + 10, "kind: {constant: k}, ");
  CHECK_FALSE(has(mapping::compare_sql(invert(w).route(0), {"id"}, 10).ask, "WHERE"));
}

TEST_CASE("one source to several targets comes back from one of them") {
  World w;
  const auto t = table("public.t", {"id int4 key", "v text"});
  w.both(t);
  w.target_table(table("public.u", {"id int4 key", "v text"}));
  w.tables = "  - public.t\n  - public.t: public.u\n";
  const auto both = invert(w);
  CHECK(has(refused(both.ways[0]), "leads to public.t and to public.u"));
  CHECK(has(refused(both.ways[1]), "one_way: true for all of them but one"));
  w.tables = "  - {from: public.t, to: public.t, one_way: true}\n  - public.t: public.u\n";
  CHECK(invert(w).ways[1].route);
}

TEST_CASE("the forward filter says which of the source's rows a TRUNCATE means") {
  World w;
  w.both(table("public.t", {"id int4 key", "v text"}));
  w.tables = "  - {from: public.t, where: \"src.v <> 'x'\"}\n";
  CHECK(mapping::truncate_sql(invert(w).route(), false) ==
        "DELETE FROM \"public\".\"t\" AS src WHERE (src.v <> 'x') IS TRUE");
  w.tables = "  - {from: public.t, where: \"theirs(v)\"}\n";
  const auto unknown = invert(w, {"theirs"});
  CHECK_FALSE(mapping::truncate_sql(unknown.route(), false));
  CHECK(has(said(unknown.ways[0], Finding::Level::warn),
            "where: cannot be computed on the source: theirs is not here"));
}

TEST_CASE("the hash of a way back knows by what changes are told") {
  World w;
  auto target = table("public.t", {"id int4 key", "v text"});
  w.both(target);
  w.tables = "  - {from: public.t, columns: {v: {sql: upper(v), reverse: lower(v)}}}\n";
  const auto hash = [&] { return mapping::mapping_hash({invert(w).route()}); };
  const auto first = hash();
  CHECK(hash() == first);
  w.target_table(full(target));
  CHECK(hash() != first);
  w.target_table(target);
  w.tables = "  - {from: public.t, columns: {v: {sql: upper(v || ''), reverse: lower(v)}}}\n";
  CHECK(hash() != first);
}

TEST_CASE("a unique index of the source without its like on the target is named") {
  World w;
  auto source = table("public.t", {"id int4 key", "v text", "n int4"});
  source.indexes.push_back(index("by_v", {"v"}));
  w.source_table(source);
  auto target = table("public.t", {"id int4 key", "w text", "n int4"});
  w.target_table(target);
  w.tables = "  - {from: public.t, columns: {w: v}}\n";
  const auto warned = said(invert(w).ways[0], Finding::Level::warn);
  CHECK(has(warned, "the source's by_v permits one row with each (v)"));
  CHECK(has(warned, "CREATE UNIQUE INDEX CONCURRENTLY ON \"public\".\"t\" (w)"));
  CHECK_FALSE(has(warned, "t_pkey"));
  target.indexes.push_back(index("by_w", {"w"}));
  w.target_table(target);
  CHECK(invert(w).ways[0].findings.empty());
}

TEST_CASE("the statements of a way back") {
  World w;
  w.source_table(table("app.listings",
                       {"id int4 key", "status text", "cents int4", "serial int4 always", "notes text"}));
  w.tables = R"yaml(  - from: app.listings
    to: market.services
    where: src.status <> 'x'
    target_where: kind = 'listing'
    columns:
      legacy: id
      state: { values: { ACTIVE: active }, from: status }
      price: { sql: "cents / 100.0", reverse: "(price * 100)::int" }
      kind: { constant: listing }
      notes: false
)yaml";
  std::string out;
  for (const bool whole_rows : {false, true}) {
    auto target = table("market.services",
                        {"legacy int4 key", "kind text key", "state text", "price numeric", "serial int4"});
    target.replica_identity = whole_rows ? 'f' : 'd';
    w.target_table(target);
    const auto i = invert(w);
    const auto& back = i.route();
    mapping::ColumnSet all(back.source_columns.size(), false);
    mapping::ColumnSet without = all;
    without.at(3) = true;
    const auto add = [&](const std::string& title, const mapping::Statement& s) {
      out += "-- " + title + (whole_rows ? ", whole old rows" : "") + "; inputs";
      for (const int c : s.inputs) out += " " + std::to_string(c);
      out += "; old";
      for (const int c : s.old_inputs) out += " " + std::to_string(c);
      out += std::string(s.counts_weights ? "; weights" : "") + "\n" + s.sql + ";\n\n";
    };
    add("insert", mapping::insert_statement(back));
    add("delete", mapping::delete_statement(back));
    add("update", mapping::update_statement(back, all));
    add("update, a value unchanged", mapping::update_statement(back, without));
    add("key change", mapping::key_change_statement(back, all));
    add("key change, a value unchanged", mapping::key_change_statement(back, without));
    add("replace", mapping::replace_statement(back, all, false));
    out += "-- truncate\n" + mapping::truncate_sql(back, true).value_or("") + ";\n\n";
    out += "-- truncate of a partition\n" + mapping::truncate_leaf_sql(back, "(legacy < 10)").value_or("") +
           ";\n\n";
    out += "-- values\n" + mapping::values_statement(back).sql + ";\n\n";
    out += "-- there and back\n" +
           mapping::round_trip_sql(i.forward[0], i.ways[0], "\"app\".\"listings\"").value_or("-- not here") +
           ";\n\n";
  }
  out.pop_back();
  const std::string path = std::string(WALIGN_TEST_DATA) + "/mapping/way-back.sql";
  if (std::getenv("WALIGN_REGENERATE") != nullptr) std::ofstream(path) << out;
  std::ifstream file(path);
  std::ostringstream expected;
  expected << file.rdbuf();
  INFO(path);
  CHECK(out == expected.str());
}
