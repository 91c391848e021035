// The SQL of routes, as texts that a person can read: test/data/mapping/NAME.sql. WALIGN_REGENERATE=1 writes them
// anew; read the difference before it is kept.
#include <cstdlib>
#include <fstream>

#include "mapping_route_test.hpp"

using namespace route_test;

namespace {

void add(std::string& out, const std::string& title, const mapping::Statement& s) {
  const auto list = [](const std::vector<int>& of) {
    std::string text;
    for (const int i : of) text += " " + std::to_string(i);
    return text;
  };
  out += "-- " + title + "; inputs" + list(s.inputs);
  if (!s.old_inputs.empty()) out += "; old" + list(s.old_inputs);
  if (s.counts_weights) out += "; weights";
  out += "\n" + s.sql + ";\n\n";
}

// Every statement that the route can need; `unchanged` is the source column that an UPDATE may not have.
std::string statements(const mapping::Route& route, int unchanged) {
  mapping::ColumnSet all(route.source_columns.size(), false);
  mapping::ColumnSet without = all;
  without.at(static_cast<std::size_t>(unchanged)) = true;
  std::string out = "-- " + route.label() + "\n\n";
  add(out, "insert", mapping::insert_statement(route));
  if (!route.key.empty()) {
    add(out, "delete", mapping::delete_statement(route));
    add(out, "update", mapping::update_statement(route, all));
    add(out, "update, a value unchanged", mapping::update_statement(route, without));
    add(out, "key change", mapping::key_change_statement(route, all));
    add(out, "replace, a value unchanged", mapping::replace_statement(route, without, false));
    add(out, "replace with keys", mapping::replace_statement(route, all, true));
  }
  const auto truncate = mapping::truncate_sql(route, true);
  out += "-- truncate, restart identity\n" + truncate.value_or("-- cannot be told") + ";\n\n";
  const auto leaf = mapping::truncate_leaf_sql(route, "(id < 10)");
  out += "-- truncate of a partition\n" + leaf.value_or("-- cannot be told") + ";\n";
  return out;
}

void check_golden(const std::string& name, const std::string& actual) {
  const std::string path = std::string(WALIGN_TEST_DATA) + "/mapping/" + name + ".sql";
  if (std::getenv("WALIGN_REGENERATE") != nullptr) std::ofstream(path) << actual;
  std::ifstream file(path);
  std::ostringstream expected;
  expected << file.rdbuf();
  INFO(path);
  CHECK(actual == expected.str());
}

mapping::ExpressionFacts answers_to(const std::string& sql) {
  mapping::ExpressionFacts facts;
  for (const char* name : {"id", "status", "cents", "notes"}) {
    if (has(sql, name)) facts.columns.emplace_back(name);
  }
  return facts;
}

}  // namespace

TEST_CASE("the statements of a plain route") {
  World w;
  w.both(table("public.t", {"id int4 key", "v text", "n int4"}));
  w.tables = "  - public.t\n";
  check_golden("plain", statements(w.completed(), 1));
}

TEST_CASE("the statements of a mapped route with columns of the target's own") {
  World w;
  w.source_table(table("app.listings", {"id int4 key", "status text", "cents int4", "notes text"}));
  auto target = table("market.services", {"pk int4 key always", "legacy int4 not null", "state text",
                                          "price numeric", "kind text", "own text", "notes text"});
  target.indexes.push_back(index("by_legacy", {"legacy"}));
  target.referenced = true;
  w.target_table(target);
  w.tables = R"yaml(  - from: app.listings
    to: market.services
    key: [legacy]
    target_where: kind = 'listing'
    columns:
      legacy: id
      state: { values: { ACTIVE: active, null: gone }, from: status }
      price: { sql: "cents / 100.0" }
      kind: { constant: listing }
)yaml";
  w.answer = answers_to;
  CHECK(w.all_findings().empty());
  check_golden("mapped", statements(w.completed(), 3));
}

TEST_CASE("the statements of a filtered route") {
  World w;
  w.both(table("public.t", {"id int4 key", "status text", "notes text"}));
  w.tables = "  - {from: public.t, where: \"status <> 'DRAFT'\"}\n";
  w.answer = answers_to;
  check_golden("filtered", statements(w.completed(), 2));
}

TEST_CASE("the statements of a route whose key is GENERATED ALWAYS AS IDENTITY") {
  World w;
  w.source_table(table("public.t", {"id int4 key", "notes text"}));
  w.target_table(table("public.t", {"id int4 key always", "notes text", "own text"}));
  w.tables = "  - public.t\n";
  check_golden("identity-always", statements(w.completed(), 1));
}

TEST_CASE("the statements of a route that only takes inserts") {
  World w;
  w.both(table("public.t", {"id int4", "v text"}));
  w.tables = "  - {from: public.t, inserts_only: true}\n";
  CHECK(w.all_findings().empty());
  check_golden("inserts-only", statements(w.completed(), 1));
}

TEST_CASE("an expression of an unchanged value and another cannot be computed, and says which value") {
  World w;
  w.source_table(table("public.t", {"id int4 key", "status text", "notes text"}));
  w.target_table(table("public.t", {"id int4 key", "both_ text", "alone text"}));
  w.tables =
      "  - {from: public.t, columns: {both_: {sql: \"status || notes\"}, alone: {sql: \"upper(notes)\"}}}\n";
  w.answer = answers_to;
  const auto route = w.completed();
  const auto message = [&](const mapping::ColumnSet& unchanged) {
    try {
      mapping::update_statement(route, unchanged);
      return std::string();
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::conflict);
      CHECK(has(error.hint(), "REPLICA IDENTITY FULL"));
      return error.message();
    }
  };
  CHECK(has(message({false, false, true}), "needs the value of notes"));
  CHECK(message({false, true, true}).empty());  // both unchanged: the target has the result already
  CHECK(message({false, false, false}).empty());
}

TEST_CASE("what a truncate can do depends on whose rows the target has") {
  World w;
  w.both(table("public.t", {"id int4 key"}));
  w.tables = "  - public.t\n";
  auto route = w.completed();
  CHECK(mapping::truncate_sql(route, false) == R"(TRUNCATE "public"."t")");
  CHECK(mapping::truncate_sql(route, true) == R"(TRUNCATE "public"."t" RESTART IDENTITY)");
  CHECK(mapping::truncate_leaf_sql(route, "(id < 3)"));
  CHECK_FALSE(mapping::truncate_leaf_sql(route, ""));
  CHECK_FALSE(mapping::truncate_leaf_sql(route, "satisfies_hash_partition('1'::oid, 2, 0, id)"));
  route.target_referenced = true;
  CHECK(mapping::truncate_sql(route, true) == R"(DELETE FROM "public"."t")");
  route.sole_writer = false;
  CHECK_FALSE(mapping::truncate_sql(route, false));
  CHECK_FALSE(mapping::truncate_leaf_sql(route, "(id < 3)"));
  route.target_where = "kind = 1";
  CHECK(mapping::truncate_sql(route, false) == R"(DELETE FROM "public"."t" WHERE kind = 1)");
  CHECK(mapping::truncate_leaf_sql(route, "(id < 3)"));
}
