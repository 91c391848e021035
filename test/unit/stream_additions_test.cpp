// schema_change: add_columns: what is added to the target, with which SQL, and what is not.
#include "stream/additions.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::stream;

namespace {

constexpr pg::Oid kOid = 100, kFile = 7;

pg::Column column_c() {
  pg::Column c;
  c.name = "c";
  c.attnum = 3;
  c.type_oid = 23;
  c.type = c.base_type = {"pg_catalog", "int4"};
  c.declared = "integer";
  return c;
}

apply::RelationShape seen(pg::Oid oid, const std::vector<int>& attnums, pg::Oid filenode) {
  apply::RelationShape shape{oid, oid, "public", "t", {}, filenode, Lsn(1)};
  for (const int attnum : attnums) shape.columns.push_back({attnum, "c" + std::to_string(attnum), 23});
  return shape;
}

pg::Table plain_table(pg::Oid oid = kOid, const std::string& name = "t") {
  pg::Table t;
  t.oid = oid;
  t.schema = "public";
  t.name = name;
  t.is_owner = true;
  return t;
}

const std::set<pg::TypeName>& types() {
  static const std::set<pg::TypeName> its = {{"pg_catalog", "int4"}, {"pg_catalog", "text"}};
  return its;
}

NewColumn wanted(std::optional<std::string> value = std::nullopt, std::string default_sql = "") {
  NewColumn its;
  its.column = column_c();
  its.given = {true, std::move(value)};
  its.default_sql = std::move(default_sql);
  return its;
}

AdditionVerdict judged(const NewColumn& its, const pg::Table& target = plain_table(), bool others = false) {
  return judge_addition({{{"public", "t"}, its}}, target, others, types());
}

using Statements = std::vector<std::string>;

}  // namespace

TEST_CASE("a column is new where the newest shape of its table does not have it") {
  const auto t = plain_table();
  const auto c = column_c();
  CHECK_FALSE(added_since(t, c, {}));  // a first start: the operator's mapping is to say where it goes
  CHECK_FALSE(added_since(t, c, {seen(200, {1, 2}, kFile)}));
  CHECK(added_since(t, c, {seen(kOid, {1, 2}, kFile)}));
  CHECK_FALSE(added_since(t, c, {seen(kOid, {1, 2}, kFile), seen(kOid, {1, 2, 3}, kFile)}));
}

TEST_CASE(
    "what rows from before have in a column is in the catalog, or NULL where nothing was written anew") {
  const auto t = plain_table();
  auto c = column_c();
  CHECK(given_by(t, c, kFile, {seen(kOid, {1, 2}, kFile)}) == Given{true, std::nullopt});
  CHECK_FALSE(given_by(t, c, kFile + 1, {seen(kOid, {1, 2}, kFile)}).known);
  CHECK_FALSE(given_by(t, c, 0, {seen(kOid, {1, 2}, 0)}).known);
  CHECK_FALSE(given_by(t, c, kFile, {seen(kOid, {1, 2, 3}, kFile)}).known);
  CHECK_FALSE(given_by(t, c, kFile, {seen(200, {1, 2}, kFile)}).known);
  c.missing = "7";
  CHECK(given_by(t, c, kFile + 1, {}) == Given{true, "7"});
}

TEST_CASE("the partitions of a table must have given the same") {
  auto root = plain_table();
  root.kind = 'p';
  const auto c = column_c();
  pg::Catalog catalog;
  std::map<pg::Oid, pg::Oid> filenodes;
  std::vector<apply::RelationShape> past = {seen(kOid, {1, 2}, 0)};
  const auto add_leaf = [&](pg::Oid oid, std::optional<std::string> missing, bool was_there) {
    auto leaf = plain_table(oid, "t" + std::to_string(oid));
    leaf.columns.push_back(c);
    leaf.columns.back().attnum = 9;  // its own numbers
    leaf.columns.back().missing = std::move(missing);
    root.leaves.push_back({leaf.schema, leaf.name, ""});
    catalog.emplace(std::pair(leaf.schema, leaf.name), leaf);
    filenodes[oid] = oid + 1000;
    if (was_there) past.push_back(seen(oid, {1, 2}, oid + 1000));
  };
  const auto given = [&] { return given_in_all(root, c, catalog, filenodes, past); };
  CHECK(given() == Given{true, std::nullopt});
  SECTION("one value") {
    add_leaf(201, "7", true);
    add_leaf(202, "7", true);
    add_leaf(203, std::nullopt, false);  // made after the column
    CHECK(given() == Given{true, "7"});
    add_leaf(204, std::nullopt, true);
    CHECK_FALSE(given().known);
  }
  SECTION("NULL in all") {
    add_leaf(201, std::nullopt, true);
    add_leaf(202, std::nullopt, true);
    CHECK(given() == Given{true, std::nullopt});
    filenodes[202] = 1;
    CHECK_FALSE(given().known);
  }
  SECTION("two values") {
    add_leaf(201, "7", true);
    add_leaf(202, "8", true);
    CHECK_FALSE(given().known);
  }
}

TEST_CASE("the SQL gives rows that are there what they have on the source, and the default of now after it") {
  CHECK(judged(wanted()).sql == Statements{R"(ALTER TABLE "public"."t" ADD COLUMN "c" integer)"});
  CHECK(judged(wanted("7", "7")).sql ==
        Statements{R"(ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT '7'::integer)",
                   R"(ALTER TABLE "public"."t" ALTER COLUMN "c" SET DEFAULT 7)"});
  CHECK(judged(wanted("7")).sql ==
        Statements{R"(ALTER TABLE "public"."t" ADD COLUMN "c" integer DEFAULT '7'::integer)",
                   R"(ALTER TABLE "public"."t" ALTER COLUMN "c" DROP DEFAULT)"});
  CHECK(judged(wanted(std::nullopt, "8")).sql ==
        Statements{R"(ALTER TABLE "public"."t" ADD COLUMN "c" integer)",
                   R"(ALTER TABLE "public"."t" ALTER COLUMN "c" SET DEFAULT 8)"});
  auto its = wanted("it's \\", "''::text");
  its.column.not_null = true;
  its.column.type = {"pg_catalog", "text"};
  its.column.declared = "text";
  its.collation = R"("pg_catalog"."C")";
  CHECK(
      judged(its).sql ==
      Statements{
          R"(ALTER TABLE "public"."t" ADD COLUMN "c" text COLLATE "pg_catalog"."C" DEFAULT E'it''s \\'::text NOT NULL)",
          R"(ALTER TABLE "public"."t" ALTER COLUMN "c" SET DEFAULT ''::text)"});
}

TEST_CASE("what is not added, and why") {
  auto its = wanted();
  auto target = plain_table();
  std::string words;
  SECTION("identity") {
    its.column.identity = 'a';
    words = "identity";
  }
  SECTION("a default that is not a constant") {
    its.volatile_default = true;
    words = "not a constant";
  }
  SECTION("written anew") {
    its.given = {};
    words = "written anew";
  }
  SECTION("NOT NULL") {
    its.column.not_null = true;
    words = "NOT NULL";
  }
  SECTION("a domain") {
    its.column.type_kind = 'd';
    words = "domain";
  }
  SECTION("no such type") {
    its.column.type = {"public", "mood"};
    its.column.declared = "public.mood";
    words = "no type public.mood";
  }
  SECTION("the name is taken") {
    target.columns.push_back(column_c());
    words = "of that name";
  }
  SECTION("a partition") {
    target.is_partition = true;
    words = "is a partition";
  }
  SECTION("another one's table") {
    target.is_owner = false;
    words = "does not own";
  }
  const auto verdict = judged(its, target);
  CHECK(verdict.sql.empty());
  INFO(verdict.refused);
  CHECK(verdict.refused.find(words) != std::string::npos);
}

TEST_CASE("run goes on by itself where nothing else fails than what it mends") {
  using mapping::Finding;
  const Finding fine{Finding::Level::ok, "t", "fine", ""};
  const Finding fails{Finding::Level::fail, "t", "fails", "do"};
  Finding mended = fails;
  mended.run_mends = true;
  CHECK_FALSE(mapping::run_mends_all({fine}));
  CHECK_FALSE(mapping::run_mends_all({fine, fails}));
  CHECK_FALSE(mapping::run_mends_all({mended, fails}));
  CHECK(mapping::run_mends_all({fine, mended}));
}

TEST_CASE(
    "several sources of one table must have got the column alike, or nothing that rows of others would get") {
  const auto both = [](const NewColumn& a, const NewColumn& b) {
    return judge_addition({{{"public", "a"}, a}, {{"public", "b"}, b}}, plain_table(), false, types());
  };
  CHECK(both(wanted("7", "7"), wanted("7", "7")).sql.size() == 2);
  CHECK(both(wanted("7", "7"), wanted("8", "8")).refused.find("alike") != std::string::npos);
  CHECK(both(wanted(), wanted("8", "8")).refused.find("alike") != std::string::npos);
  CHECK(judged(wanted(), plain_table(), true).sql.size() == 1);
  CHECK(judged(wanted("7"), plain_table(), true).refused.find("other sources") != std::string::npos);
  CHECK(judged(wanted(std::nullopt, "8"), plain_table(), true).refused.find("other sources") !=
        std::string::npos);
}
