// From a configuration and two catalogs to routes: what is matched, and every finding with its remedy.
#include "mapping_route_test.hpp"

using namespace route_test;
using mapping::Finding;

namespace {

struct Expected {
  const char* what;     // part of the finding
  const char* remedy;   // part of its remedy
  const char* subject;  // part of its subject
  bool fails = true;
};

// The one finding of a world; others are reported.
void check_only(const World& world, const Expected& expected) {
  const auto findings = world.all_findings();
  int found = 0;
  for (const auto& f : findings) {
    INFO(f.subject << ": " << f.what << " / " << f.remedy);
    const bool it = has(f.what, expected.what);
    CHECK(it);
    if (!it) continue;
    ++found;
    CHECK((f.level == Finding::Level::fail) == expected.fails);
    CHECK(has(f.remedy, expected.remedy));
    CHECK(has(f.subject, expected.subject));
    CHECK_FALSE(f.remedy.empty());
  }
  CHECK(found == 1);
}

}  // namespace

TEST_CASE("equal tables need no finding") {
  World w;
  w.both(table("public.t", {"id int4 key", "v text"}));
  w.tables = "  - public.t\n";
  const auto r = w.resolve();
  CHECK(w.all_findings().empty());
  REQUIRE(r.routes.size() == 1);
  CHECK(r.routes[0].label() == "public.t -> public.t");
  CHECK(names(r.routes[0]) == std::vector<std::string>{"id=src.\"id\"", "v=src.\"v\""});
  CHECK(r.routes[0].key == std::vector<int>{0});
  CHECK(r.routes[0].sole_writer);
}

TEST_CASE("each mistake has one finding that says what to do") {
  World w;
  auto s = table("public.t", {"id int4 key", "v text", "n int4"});
  auto t = s;
  w.tables = "  - public.t\n";
  const auto check = [&](const Expected& expected) {
    w.source_table(s);
    w.target_table(t);
    check_only(w, expected);
  };
  SECTION("no table on the source") {
    w.target_table(t);
    check_only(w, {"does not exist on the source", "correct the name", "public.t"});
  }
  SECTION("no table on the target") {
    w.source_table(s);
    check_only(w, {"does not exist on the target", "pg_dump", "public.t"});
  }
  SECTION("mapped twice") {
    w.tables = "  - \"public.*\"\n  - public.t\n";
    check({"twice", "remove one", "public.t"});
  }
  SECTION("a pattern that matches nothing") {
    w.tables = "  - public.t\n  - \"other.*\"\n";
    check({"matches no table", "pattern", "other.*"});
  }
  SECTION("an unlogged source") {
    s.persistence = 'u';
    check({"not in the WAL", "SET LOGGED", "public.t"});
  }
  SECTION("an unlogged target") {
    t.persistence = 'u';
    check({"unlogged", "SET LOGGED", "public.t"});
  }
  SECTION("no privileges") {
    t.can_delete = false;
    check({"may not read and write", "GRANT", "public.t"});
  }
  SECTION("no TRUNCATE") {
    t.can_truncate = false;
    check({"may not TRUNCATE", "GRANT TRUNCATE", "public.t", false});
  }
  SECTION("row-level security") {
    t.row_security = true;
    check({"row-level security", "BYPASSRLS", "public.t", false});
  }
  SECTION("a deferrable constraint beside the key") {
    t.indexes.push_back(index("late", {"v"}));
    t.indexes.back().immediate = false;
    check({"late is deferrable", "NOT DEFERRABLE", "public.t", false});
  }
  SECTION("no primary key on the target") {
    t.indexes.clear();
    check({"no primary key", "ADD PRIMARY KEY", "public.t"});
  }
  SECTION("a key without an index") {
    w.tables = "  - {from: public.t, key: [v]}\n";
    check({"no unique index on exactly (v)", "CREATE UNIQUE INDEX", "public.t"});
  }
  SECTION("indexes that are no keys") {
    w.tables = "  - {from: public.t, key: [n]}\n";
    for (int i = 0; i < 3; ++i) t.indexes.push_back(index("i" + std::to_string(i), {"n"}));
    t.indexes[1].partial = true;
    t.indexes[2].valid = false;
    t.indexes[3].expressions = true;
    check({"no unique index on exactly (n)", "CREATE UNIQUE INDEX", "public.t"});
  }
  SECTION("no replica identity") {
    s.indexes.clear();
    w.source_table(s);
    w.target_table(t);
    const auto findings = w.all_findings();
    REQUIRE(findings.size() == 2);  // none at all, and so not the key's either
    CHECK(has(findings[0].what, "no replica identity"));
    CHECK(has(findings[0].remedy, "REPLICA IDENTITY FULL"));
    CHECK(has(findings[1].what, "not in the source's replica identity"));
  }
  SECTION("a DEFERRABLE primary key of the source is no replica identity") {
    s.indexes[0].immediate = false;
    CHECK(s.identity_columns().empty());
  }
  SECTION("a key outside the replica identity") {
    t.indexes.push_back(index("by_n", {"n"}));
    t.columns[2].not_null = true;
    w.tables = "  - {from: public.t, key: [n]}\n";
    check({"computed from n", "REPLICA IDENTITY FULL", "public.t"});
  }
  SECTION("a key that may be NULL") {
    s.replica_identity = 'f';
    t.indexes.push_back(index("by_n", {"n"}));
    w.tables = "  - {from: public.t, key: [n]}\n";
    check({"may be NULL", "SET NOT NULL", "public.t"});
  }
  SECTION("a key column that nothing is mapped to") {
    w.tables = "  - {from: public.t, columns: {id: false}}\n";
    t.columns[0].has_default = true;
    check({"key column id is not mapped", "map it", "public.t"});
  }
  SECTION("a key of constants") {
    w.tables = "  - {from: public.t, columns: {id: {constant: \"1\"}, v: v}}\n";
    w.source_table(s);
    w.target_table(t);
    CHECK(has(w.all_findings().at(0).what, "constants only"));
  }
  SECTION("a required column that nothing is mapped to") {
    t.columns.push_back(column("must int4 not null"));
    check({"must is NOT NULL", "SET DEFAULT", "public.t"});
  }
  SECTION("a source column that goes nowhere") {
    s.columns.push_back(column("extra text"));
    check({"extra goes nowhere", "extra: false", "public.t"});
  }
  SECTION("a rename of a column that is not there") {
    w.tables = "  - {from: public.t, columns: {v: nosuch}}\n";
    s.columns.erase(s.columns.begin() + 1);
    check({"the source has no column nosuch", "correct the name", "public.t"});
  }
  SECTION("a value map of a column that is not there") {
    w.tables = "  - {from: public.t, columns: {v: {values: {a: b}, from: nosuch}}}\n";
    s.columns.erase(s.columns.begin() + 1);
    check({"the source has no column nosuch", "from:", "public.t"});
  }
  SECTION("a rule for a column that the target has not") {
    w.tables = "  - {from: public.t, columns: {nosuch: {constant: x}}}\n";
    check({"the target has no column nosuch", "add the column", "public.t"});
  }
  SECTION("a drop of a column that the source has not") {
    w.tables = "  - {from: public.t, columns: {nosuch: false}}\n";
    check({"nosuch: false", "remove it", "public.t"});
  }
  SECTION("a rule for a generated column") {
    t.columns.push_back(column("g int4 generated"));
    w.tables = "  - {from: public.t, columns: {g: {sql: \"n\"}}}\n";
    check({"g is generated on the target", "leave it out", "public.t"});
  }
  SECTION("a generated column of the source into a plain one") {
    s.columns.push_back(column("g int4 generated"));
    t.columns.push_back(column("g int4"));
    check({"g is generated and not in the stream", "g: false", "public.t"});
  }
  SECTION("several sources of one target") {
    auto other = s;
    other.name = "other";
    w.source_table(other);
    w.tables = "  - public.t\n  - {from: public.other, to: public.t, target_where: \"true\"}\n";
    check({"several sources", "target_where", "public.t", false});
  }
  SECTION("a partition and its root") {
    auto root = s;
    root.name = "root";
    root.kind = 'p';
    root.leaves = {{"public", "t", "(id > 0)"}};
    s.is_partition = true;
    w.source_table(root);
    w.target_table(root);
    w.tables = "  - public.t\n  - public.root\n";
    check({"is a partition of root", "not both", "public.t"});
  }
}

TEST_CASE("a wildcard takes what can be published, keeps names, and says what it left out") {
  World w;
  w.both(table("app.a", {"id int4 key"}));
  w.both(table("app.b", {"id int4 key"}));
  auto bare = table("app.bare", {"v text"});
  w.both(bare);
  auto leaf = table("app.leaf", {"id int4 key"});
  leaf.is_partition = true;
  w.source_table(leaf);
  auto late = table("app.late", {"id int4 key"});
  late.indexes[0].immediate = false;
  w.source_table(late);
  w.tables = "  - \"app.*\"\n";
  auto r = w.resolve();
  REQUIRE(r.routes.size() == 2);
  CHECK(r.routes[0].label() == "app.a -> app.a");
  CHECK(r.routes[1].label() == "app.b -> app.b");
  REQUIRE(r.findings.size() == 2);
  for (const auto& f : r.findings) {
    CHECK(f.level == Finding::Level::warn);
    CHECK(has(f.what, "left out of the wildcard"));
    CHECK(has(f.remedy, "inserts_only"));
  }
  w.tables = "  - \"app.a*\"\n";
  CHECK(w.resolve().routes.size() == 1);
}

TEST_CASE("columns: only, drop, rename away, other columns, unplaced ones that expressions use") {
  World w;
  w.source_table(table("public.t", {"id int4 key", "a text", "b text", "c text"}));
  w.target_table(
      table("public.t", {"id int4 key", "a text", "b text", "x text", "own text", "g text generated"}));
  SECTION("a rename does not also go to its own name") {
    w.tables = "  - {from: public.t, columns: {x: a, c: false}}\n";
    CHECK(names(w.resolve().routes[0]) ==
          std::vector<std::string>{"id=src.\"id\"", "b=src.\"b\"", "x=src.\"a\""});
    CHECK(w.resolve().routes[0].other_columns == std::vector<std::string>{"a", "own"});
    CHECK(w.all_findings().empty());
  }
  SECTION("only copies what is named") {
    w.tables = "  - {from: public.t, columns: {only: true, id: id, b: b}}\n";
    CHECK(names(w.resolve().routes[0]) == std::vector<std::string>{"id=src.\"id\"", "b=src.\"b\""});
    CHECK(w.all_findings().empty());
  }
  SECTION("a column that an expression reads goes somewhere") {
    w.tables = "  - {from: public.t, columns: {x: {sql: \"upper(c)\"}}}\n";
    CHECK(w.resolve().routes[0].unplaced == std::vector<std::string>{"c"});
    w.answer = [](const std::string&) { return mapping::ExpressionFacts{{"c"}, {}, {}, {}, ""}; };
    CHECK(w.all_findings().empty());
  }
}

TEST_CASE("what the target says of an expression becomes inputs and findings") {
  World w;
  w.both(table("public.t", {"id int4 key", "v text", "n int4"}));
  w.tables = "  - {from: public.t, where: n > 1, columns: {v: {sql: f(v)}}}\n";
  SECTION("its columns and tables") {
    w.answer = [](const std::string& sql) {
      if (sql == "n > 1") return mapping::ExpressionFacts{{"n"}, {{"public", "p"}}, {}, {}, ""};
      return mapping::ExpressionFacts{{"v"}, {{"public", "q"}}, {}, {}, ""};
    };
    const auto route = w.completed();
    CHECK(route.columns[1].inputs == std::vector<int>{1});
    CHECK(route.filter_inputs == std::vector<int>{2});
    CHECK(route.reads == std::set<config::TableName>{{"public", "p"}, {"public", "q"}});
    CHECK_FALSE(route.reads_unseen);
    CHECK(w.all_findings().empty());
  }
  SECTION("its errors") {
    w.answer = [](const std::string&) {
      return mapping::ExpressionFacts{{}, {}, {}, {}, "no such function"};
    };
    const auto findings = w.all_findings();
    REQUIRE(findings.size() == 2);
    CHECK(has(findings[0].what, "column v: the target rejects it: no such function"));
    CHECK(has(findings[1].what, "where: the target rejects it"));
    CHECK(findings[0].level == Finding::Level::fail);
  }
  SECTION("what it calls") {
    w.answer = [](const std::string& sql) {
      if (sql == "n > 1") return mapping::ExpressionFacts{{"n"}, {}, {"random"}, {}, ""};
      return mapping::ExpressionFacts{{"v"}, {}, {}, {"find_p"}, ""};
    };
    const auto findings = w.all_findings();
    REQUIRE(findings.size() == 2);
    CHECK(has(findings[0].what, "find_p"));
    CHECK(findings[0].level == Finding::Level::warn);
    CHECK(w.completed().reads_unseen);
    CHECK(has(findings[1].what, "random"));
    CHECK(findings[1].level == Finding::Level::fail);
  }
  SECTION("values that may not be sent") {
    w.answer = [](const std::string& sql) {
      if (sql == "n > 1") return mapping::ExpressionFacts{{"v"}, {}, {}, {}, ""};
      return mapping::ExpressionFacts{{"v", "n"}, {}, {}, {}, ""};
    };
    const auto findings = w.all_findings();
    REQUIRE(findings.size() == 2);
    for (const auto& f : findings) {
      CHECK(f.level == Finding::Level::warn);
      CHECK(has(f.what, "reads v"));
      CHECK(has(f.remedy, "REPLICA IDENTITY FULL"));
    }
  }
}

TEST_CASE("types that the target has not travel as text, domains as their base type") {
  World w;
  auto s = table("public.t", {"id int4 key", "m text", "d text"});
  s.columns[1].type = s.columns[1].base_type = {"app", "mood"};
  s.columns[2].type = {"app", "short"};
  w.source_table(s);
  auto t = table("public.t", {"id int4 key", "m text", "d text"});
  t.columns[1].type = t.columns[1].base_type = {"v2", "mood"};
  w.target_table(t);
  w.tables = "  - public.t\n";
  const auto route = w.resolve().routes.at(0);
  CHECK(route.source_columns[1].travels_as_text);
  CHECK(route.columns[1].expression == R"(src."m"::"v2"."mood")");
  CHECK_FALSE(route.source_columns[2].travels_as_text);
  CHECK(route.source_columns[2].type_sql == R"("pg_catalog"."text")");
}

TEST_CASE("partitions: their relations lead to the root's route, and each must have the identity") {
  World w;
  auto root = table("public.t", {"id int4 key", "v text"});
  root.kind = 'p';
  root.leaves = {{"public", "t1", "(id < 10)"}, {"public", "t2", "(id >= 10)"}};
  auto leaf = table("public.t1", {"id int4 key", "v text"});
  leaf.is_partition = true;
  w.source_table(root);
  w.source_table(leaf);
  leaf.name = "t2";
  w.target_table(table("public.t", {"id int4 key", "v text"}));
  w.tables = "  - public.t\n";
  SECTION("all have it") {
    w.source_table(leaf);
    CHECK(w.all_findings().empty());
    CHECK(w.resolve().routes.at(0).leaves.size() == 2);
  }
  SECTION("one has not") {
    leaf.replica_identity = 'n';
    w.source_table(leaf);
    const auto findings = w.all_findings();
    REQUIRE(findings.size() == 2);
    CHECK(has(findings[0].remedy, "each partition has its own"));
  }
}

TEST_CASE("the mapping's hash changes with what is written, and with nothing else") {
  World w;
  w.both(table("public.t", {"id int4 key", "v text"}));
  w.tables = "  - public.t\n";
  const auto hash = [&] { return mapping::mapping_hash({w.completed()}); };
  const auto plain = hash();
  w.tables = "  - {from: public.t, to: public.t}\n";
  CHECK(hash() == plain);
  w.tables = "  - {from: public.t, where: \"true\"}\n";
  CHECK(hash() != plain);
  w.tables = "  - {from: public.t, columns: {v: {constant: x}}}\n";
  CHECK(hash() != plain);
}
