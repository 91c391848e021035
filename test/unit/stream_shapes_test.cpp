// Which attnums the columns of an old relation are, and what becomes of its rows.
#include "stream/shapes.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::stream;

namespace {

constexpr pg::Oid kInt4 = 23, kInt8 = 20, kText = 25;

struct At {
  int attnum;
  std::string name;
  pg::Oid type = kText;
};

pg::Table table(const std::vector<At>& columns) {
  pg::Table t;
  t.oid = 100;
  t.schema = "public";
  t.name = "t";
  for (const auto& c : columns) {
    pg::Column column;
    column.name = c.name;
    column.attnum = c.attnum;
    column.type_oid = c.type;
    column.base_type = {"pg_catalog", "text"};
    t.columns.push_back(column);
  }
  pg::Index key;
  key.columns = {columns.front().name};
  key.primary = key.unique = true;
  t.indexes.push_back(key);
  return t;
}

pg::Catalog catalog_of(const pg::Table& t) { return {{{t.schema, t.name}, t}}; }

event::RelationPtr relation(const std::vector<std::pair<std::string, pg::Oid>>& columns,
                            const std::string& name = "t") {
  auto r = std::make_shared<v1::Relation>();
  r->set_oid(100);
  r->set_schema("public");
  r->set_name(name);
  for (const auto& [its, type] : columns) {
    auto* c = r->add_columns();
    c->set_name(its);
    c->set_type_oid(type);
    c->set_part_of_identity(r->columns_size() == 1);
  }
  return r;
}

// One INSERT and one UPDATE whose values are their columns' numbers.
event::TransactionPart part_of(const event::RelationPtr& its, std::uint64_t commit_lsn) {
  event::TransactionPart part;
  part.add_relation(its);
  auto& tx = part.mutable_tx();
  tx.set_commit_lsn(commit_lsn);
  tx.set_last(true);
  for (const auto kind : {v1::Change::INSERT, v1::Change::UPDATE}) {
    auto* change = tx.add_changes();
    change->set_kind(kind);
    for (int i = 0; i < its->columns_size(); ++i) {
      event::append_value(*change->mutable_new_row(), {event::State::value, std::to_string(i), false});
    }
    if (kind == v1::Change::INSERT) continue;
    change->set_old_row_is_key(true);
    for (int i = 0; i < its->columns_size(); ++i) {
      event::append_value(*change->mutable_old_row(), i == 0
                                                          ? event::Value{event::State::value, "k", false}
                                                          : event::Value{event::State::not_sent, {}, false});
    }
  }
  return part;
}

std::string text(const v1::Tuple& tuple) {
  std::string out;
  event::for_each_value(tuple, [&](int, const event::Value& v) {
    const char* names[] = {"null", "unchanged", "not sent", ""};
    out += v.state == event::State::value ? std::string(v.bytes) : names[static_cast<int>(v.state)];
    out += ",";
  });
  return out;
}

Shapes shapes(const pg::Catalog& catalog, const std::vector<pg::Table>& past, std::uint64_t seen) {
  std::vector<apply::RelationShape> before;
  for (const auto& p : past) before.push_back(shape_of(p, p.oid, Lsn(1)));
  return {catalog, {shape_of(catalog.begin()->second, 100, Lsn(seen))}, before};
}

}  // namespace

TEST_CASE("what has the shape of now passes as it is") {
  const auto catalog = catalog_of(table({{1, "id", kInt4}, {2, "a"}}));
  auto s = shapes(catalog, {}, 500);
  const auto its = relation({{"id", kInt4}, {"a", kText}});
  for (const std::uint64_t lsn : {10U, 1000U}) {
    const auto out = s.bring_up(part_of(its, lsn));
    CHECK(out.relations().at(0) == its);
    CHECK(text(out.tx().changes(0).new_row()) == "0,1,");
  }
}

TEST_CASE(
    "columns are followed through renames, drops and additions, by the states of the three kinds of row") {
  auto now = table({{1, "key", kInt8}, {3, "c"}, {4, "d"}, {5, "e"}});
  now.columns[3].missing = "five";
  const auto catalog = catalog_of(now);
  auto s = shapes(catalog, {table({{1, "id", kInt4}, {2, "b"}, {3, "was"}})}, 500);
  const auto out =
      s.bring_up(part_of(relation({{"id", kInt4}, {"b", kText}, {"was", kText}}, "old_name"), 10));
  const auto& changed = *out.relations().at(0);
  CHECK(changed.name() == "t");
  REQUIRE(changed.columns_size() == 4);
  CHECK(changed.columns(0).name() == "key");
  CHECK(changed.columns(0).type_oid() == kInt8);
  CHECK(changed.columns(0).part_of_identity());
  CHECK_FALSE(changed.columns(1).part_of_identity());
  CHECK(text(out.tx().changes(0).new_row()) == "0,2,null,five,");
  CHECK(text(out.tx().changes(1).new_row()) == "0,2,unchanged,unchanged,");
  CHECK(text(out.tx().changes(1).old_row()) == "k,not sent,not sent,not sent,");
}

TEST_CASE("an older shape that lies between two that were seen is known by its order") {
  const auto catalog = catalog_of(table({{1, "id", kInt4}, {2, "a"}, {3, "b"}, {4, "c"}}));
  auto s = shapes(catalog, {table({{1, "id", kInt4}, {2, "a"}})}, 500);
  const auto out = s.bring_up(part_of(relation({{"id", kInt4}, {"a", kText}, {"b", kText}}), 10));
  CHECK(text(out.tx().changes(0).new_row()) == "0,1,2,null,");
}

TEST_CASE("names that were exchanged are told apart by their place") {
  const auto catalog = catalog_of(table({{1, "id", kInt4}, {2, "b"}, {3, "a"}}));
  auto s = shapes(catalog, {table({{1, "id", kInt4}, {2, "a"}, {3, "b"}})}, 500);
  const auto before = s.bring_up(part_of(relation({{"id", kInt4}, {"a", kText}, {"b", kText}}), 10));
  CHECK(before.relations().at(0)->columns(1).name() == "b");
  CHECK(text(before.tx().changes(0).new_row()) == "0,1,2,");
  const auto after = relation({{"id", kInt4}, {"b", kText}, {"a", kText}});
  CHECK(s.bring_up(part_of(after, 20)).relations().at(0) == after);
}

TEST_CASE("what could be two things, or none, is refused") {
  const auto refuses = [](const pg::Table& now, const std::vector<pg::Table>& past,
                          const event::RelationPtr& its, std::uint64_t lsn = 10) {
    const auto catalog = catalog_of(now);
    auto s = shapes(catalog, past, 500);
    CHECK_THROWS_AS(s.bring_up(part_of(its, lsn)), ShapeUnknown);
  };
  const auto id_a = relation({{"id", kInt4}, {"a", kText}});
  SECTION("a column dropped, and another of its name: also where all names are as they are now") {
    refuses(table({{1, "id", kInt4}, {3, "a"}}), {table({{1, "id", kInt4}, {2, "a"}})}, id_a);
  }
  SECTION("past the position at which the shape of now was seen there is no older one") {
    refuses(table({{1, "id", kInt4}, {2, "a"}, {3, "b"}}), {table({{1, "id", kInt4}, {2, "a"}})}, id_a, 500);
  }
  SECTION("a name that was never seen") { refuses(table({{1, "id", kInt4}, {2, "b"}}), {}, id_a); }
  SECTION("a type that reads differently") {
    refuses(table({{1, "id", kInt4}, {2, "a", kInt4}}), {table({{1, "id", kInt4}, {2, "a"}})}, id_a);
  }
  SECTION("a column of the key that was not there") {
    auto now = table({{1, "id", kInt4}, {2, "a"}, {3, "k"}});
    now.indexes[0].columns = {"id", "k"};
    refuses(now, {}, id_a);
  }
}

TEST_CASE("a column that was seen to be gone is none of a row that was committed after that") {
  const auto catalog = catalog_of(table({{1, "id", kInt4}, {2, "a"}, {4, "c"}}));
  const auto with = shape_of(table({{1, "id", kInt4}, {2, "a"}, {3, "c"}}), 100, Lsn(1));
  const auto without = shape_of(table({{1, "id", kInt4}, {2, "a"}}), 100, Lsn(100));
  Shapes s(catalog, {shape_of(catalog.begin()->second, 100, Lsn(500))}, {with, without});
  const auto its = relation({{"id", kInt4}, {"a", kText}, {"c", kText}});
  CHECK(s.bring_up(part_of(its, 100)).relations().at(0) == its);
  const auto older = relation({{"id", kInt4}, {"a", kText}, {"c", kText}});
  CHECK_THROWS_AS(s.bring_up(part_of(older, 99)), ShapeUnknown);
}

TEST_CASE("an INSERT from before a default that is no constant is refused, an UPDATE is not") {
  auto now = table({{1, "id", kInt4}, {2, "a"}, {3, "c"}});
  now.columns[2].has_default = true;
  const auto catalog = catalog_of(now);
  auto s = shapes(catalog, {}, 500);
  auto part = part_of(relation({{"id", kInt4}, {"a", kText}}), 10);
  CHECK_THROWS_AS(s.bring_up(part_of(relation({{"id", kInt4}, {"a", kText}}), 10)), Error);
  part.mutable_tx().mutable_changes()->DeleteSubrange(0, 1);
  const auto out = s.bring_up(std::move(part));
  CHECK(text(out.tx().changes(0).new_row()) == "0,1,unchanged,");
}
