// A batch compacted: the table at the top of steps.hpp, cell by cell, and where a step must end.
#include "apply_test.hpp"
#include "walign/apply.hpp"

using namespace apply_test;
using Lines = std::vector<std::string>;

namespace {

struct Bench {
  explicit Bench(bool strict = false, std::size_t keys = 1)
      : routes{route(0, "t", {"id", "v"}, static_cast<int>(keys)), route(1, "u", {"id", "v"})},
        t(routes[0]),
        u(routes[1]),
        compactor(strict, routes) {}
  Lines take() { return text(compactor.take()); }
  std::vector<mapping::Route> routes;
  Table t, u;
  apply::Compactor compactor;
};

}  // namespace

TEST_CASE("the first change of a key is its net effect") {
  Bench b;
  b.compactor.add(b.t.insert({"1", "a"}));
  b.compactor.add(b.t.update({"2", "b"}));
  b.compactor.add(b.t.remove({"3", kNotSent}));
  CHECK(b.take() == Lines{"t: insert 1,a update 2,b remove 3,."});
  CHECK(b.compactor.empty());
}

TEST_CASE("changes of one key become one, or begin a new step, as the table says") {
  // Ways into each state of the first column, with the weight so far.
  struct Before {
    const char* name;
    std::vector<char> changes;
  };
  const std::vector<Before> befores = {{"insert", {'i'}},
                                       {"update", {'u'}},
                                       {"replace", {'d', 'i'}},
                                       {"remove", {'d'}},
                                       {"nothing", {'i', 'd'}},
                                       {"removed after an update", {'u', 'd'}},
                                       {"an updated insert", {'i', 'u'}}};
  struct Cell {
    const char* before;
    char change;
    Lines after;
  };
  const std::vector<Cell> cells = {
      {"insert", 'i', {"t: insert 1,a", "t: insert 1,z"}},
      {"insert", 'u', {"t: insert 1,z x2"}},
      {"insert", 'd', {"t: nothing - x2"}},
      {"update", 'i', {"t: update 1,a", "t: insert 1,z"}},
      {"update", 'u', {"t: update 1,z x2"}},
      {"update", 'd', {"t: remove 1,. x2"}},
      {"replace", 'i', {"t: replace 1,b for 1,. x2", "t: insert 1,z"}},
      {"replace", 'u', {"t: replace 1,z for 1,. x3"}},
      {"replace", 'd', {"t: remove 1,. x3"}},
      {"remove", 'i', {"t: replace 1,z for 1,. x2"}},
      {"remove", 'u', {"t: remove 1,.", "t: update 1,z"}},
      {"remove", 'd', {"t: remove 1,.", "t: remove 1,."}},
      {"nothing", 'i', {"t: insert 1,z x3"}},
      {"nothing", 'u', {"t: nothing - x2", "t: update 1,z"}},
      {"nothing", 'd', {"t: nothing - x2", "t: remove 1,."}},
      {"removed after an update", 'i', {"t: replace 1,z for 1,. x3"}},
      {"an updated insert", 'u', {"t: insert 1,z x3"}},
      {"an updated insert", 'd', {"t: nothing - x3"}},
  };
  for (const auto& cell : cells) {
    const auto before = std::find_if(befores.begin(), befores.end(),
                                     [&](const Before& one) { return std::string(one.name) == cell.before; });
    REQUIRE(before != befores.end());
    INFO(cell.before << " then " << cell.change);
    Bench b;
    const auto add = [&](char change, const std::string& value) {
      if (change == 'i') b.compactor.add(b.t.insert({"1", value}));
      if (change == 'u') b.compactor.add(b.t.update({"1", value}));
      if (change == 'd') b.compactor.add(b.t.remove({"1", kNotSent}));
    };
    std::string value = "a";
    for (const char change : before->changes) {
      add(change, value);
      ++value[0];
    }
    add(cell.change, "z");
    CHECK(b.take() == cell.after);
  }
}

TEST_CASE("values that were not sent come from earlier rows of the batch") {
  Bench b;
  b.compactor.add(b.t.insert({"1", "big"}));
  b.compactor.add(b.t.update({"1", kUnchanged}));
  b.compactor.add(b.t.update({"2", "big too"}));
  b.compactor.add(b.t.update({"2", kUnchanged}));
  b.compactor.add(b.t.update({"3", kUnchanged}));  // nothing has it
  b.compactor.add(b.t.update({"3", kUnchanged}));
  b.compactor.add(b.t.update({"4", kUnchanged}));
  b.compactor.add(b.t.update({"4", kNull}));
  b.compactor.add(b.t.update({"4", kUnchanged}));
  b.compactor.add(b.t.remove({"5", kNotSent}));
  b.compactor.add(b.t.insert({"5", "new"}));
  b.compactor.add(b.t.update({"5", kUnchanged}));
  CHECK(b.take() == Lines{"t: insert 1,big x2 update 2,big too x2 update 3,? x2 update 4,NULL x3 "
                          "replace 5,new for 5,. x3"});
}

TEST_CASE("values that were not sent come from an old row that has them, and not from a key") {
  Bench b;
  b.compactor.add(b.t.update({"1", "whole"}, {"1", kUnchanged}));
  b.compactor.add(b.t.update({"2", kNotSent}, {"3", kUnchanged}));
  CHECK(b.take() == Lines{"t: update 1,whole", "key_change t: 2,. -> 3,?"});
  // A key kept out of line comes as unchanged in the new row, and whole in the old one (RULES 22).
  b.compactor.add(b.t.update({"long key", kNotSent}, {kUnchanged, "v"}));
  CHECK(b.take() == Lines{"t: update long key,v"});
  CHECK_THROWS_AS(b.compactor.add(b.t.update({kUnchanged, "v"})), Error);
}

TEST_CASE("a key change stands alone, and what follows it begins anew") {
  Bench b;
  b.compactor.add(b.t.update({"1", "a"}));
  b.compactor.add(b.t.update({"1", kNotSent}, {"2", kUnchanged}));
  b.compactor.add(b.t.update({"2", "b"}));
  b.compactor.add(b.t.insert({"1", "c"}));
  CHECK(b.take() == Lines{"t: update 1,a", "key_change t: 1,. -> 2,?", "t: update 2,b insert 1,c"});
}

TEST_CASE("a truncate stands in its place") {
  Bench b;
  b.compactor.add(b.t.insert({"1", "a"}));
  apply::TruncateStep truncate;
  truncate.bindings = {&b.t.binding(), &b.u.binding()};
  b.compactor.add(truncate);
  b.compactor.add(b.t.insert({"1", "b"}));
  CHECK(b.take() == Lines{"t: insert 1,a", "truncate t u", "t: insert 1,b"});
}

TEST_CASE("tables that do not read each other share a step") {
  Bench b;
  b.compactor.add(b.t.insert({"1", "a"}));
  b.compactor.add(b.u.insert({"1", "b"}));
  b.compactor.add(b.t.update({"1", "c"}));
  CHECK(b.take() == Lines{"t: insert 1,c x2; u: insert 1,b"});
}

TEST_CASE("a step ends between a table and one whose expressions read it, either way round") {
  Bench b;
  SECTION("u reads t") { b.routes[1].reads = {b.routes[0].target}; }
  SECTION("t reads u") { b.routes[0].reads = {b.routes[1].target}; }
  SECTION("t reads what cannot be seen") { b.routes[0].reads_unseen = true; }
  SECTION("u reads what cannot be seen") { b.routes[1].reads_unseen = true; }
  apply::Compactor compactor(false, b.routes);
  compactor.add(b.t.insert({"1", "a"}));
  compactor.add(b.t.insert({"2", "a"}));
  compactor.add(b.u.insert({"1", "b"}));
  compactor.add(b.u.update({"1", "c"}));
  compactor.add(b.t.update({"1", "d"}));
  CHECK(text(compactor.take()) == Lines{"t: insert 1,a insert 2,a", "u: insert 1,c x2", "t: update 1,d"});
}

TEST_CASE("a table whose expressions read itself takes one row a step") {
  Bench b;
  b.routes[0].reads = {b.routes[0].target};
  apply::Compactor compactor(false, b.routes);
  compactor.add(b.t.insert({"1", "a"}));
  compactor.add(b.t.insert({"2", "b"}));
  CHECK(text(compactor.take()) == Lines{"t: insert 1,a", "t: insert 2,b"});
}

TEST_CASE("in strict order only runs of one kind and one table share a step, and nothing is merged") {
  Bench b(true);
  b.compactor.add(b.t.insert({"1", "a"}));
  b.compactor.add(b.t.insert({"2", "a"}));
  b.compactor.add(b.t.update({"1", "b"}));
  b.compactor.add(b.t.update({"1", "c"}));
  b.compactor.add(b.u.insert({"1", "a"}));
  b.compactor.add(b.t.remove({"1", kNotSent}));
  b.compactor.add(b.t.insert({"1", "d"}));
  CHECK(b.take() == Lines{"t: insert 1,a insert 2,a", "t: update 1,b", "t: update 1,c", "u: insert 1,a",
                          "t: remove 1,.", "t: insert 1,d"});
}

TEST_CASE("rows without a key are never merged") {
  Bench b(false, 0);
  b.compactor.add(b.t.insert({"1", "a"}));
  b.compactor.add(b.t.insert({"1", "a"}));
  CHECK(b.take() == Lines{"t: insert 1,a insert 1,a"});
}

TEST_CASE("keys of several columns do not run into each other") {
  auto wide = route(0, "t", {"a", "b", "v"}, 2);
  Table t(wide);
  apply::Compactor compactor(false, {});
  compactor.add(t.insert({"1", "23", "x"}));
  compactor.add(t.insert({"12", "3", "y"}));
  compactor.add(t.insert({"", "123", "z"}));
  compactor.add(t.insert({kNull, "123", "n"}));
  CHECK(text(compactor.take()) == Lines{"t: insert 1,23,x insert 12,3,y insert ,123,z insert NULL,123,n"});
}

TEST_CASE("what a row does not have is told by source column") {
  const auto r = route(0, "t", {"id", "v", "w"});
  Table t(r);
  const auto row = tuple({"1", kUnchanged, kNull});
  CHECK(apply::unchanged_columns(t.binding(), row) == mapping::ColumnSet{false, true, false});
}

TEST_CASE("a relation is bound by column name, and refused where it is not what the mapping was made for") {
  const std::vector<mapping::Route> routes{route(0, "t", {"id", "v"})};
  const std::set<pg::Oid> ignored{77};
  apply::Router router(routes, ignored);
  const auto with = [&](const std::function<void(v1::Relation&)>& change) {
    auto copy = std::make_shared<v1::Relation>(*relation(routes[0]));
    change(*copy);
    return event::RelationPtr(copy);
  };
  const auto swapped = with([](v1::Relation& r) { r.mutable_columns()->SwapElements(0, 1); });
  const auto& bindings = router.bind(swapped);
  REQUIRE(bindings.size() == 1);
  CHECK(bindings[0].source_of == std::vector<int>{1, 0});
  CHECK(bindings[0].relation_of == std::vector<int>{1, 0});
  const auto refused = [&](const event::RelationPtr& r) {
    try {
      router.bind(r);
      return std::string();
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::precondition);
      return error.message();
    }
  };
  CHECK(refused(with([](v1::Relation& r) { r.add_columns()->set_name("extra"); })).find("new column extra") !=
        std::string::npos);
  CHECK(refused(with([](v1::Relation& r) { r.mutable_columns()->RemoveLast(); })).find("column v is gone") !=
        std::string::npos);
  CHECK(refused(with([](v1::Relation& r) { r.mutable_columns(1)->set_type_oid(20); })).find("another type") !=
        std::string::npos);
  CHECK(refused(with([](v1::Relation& r) {
          r.mutable_columns(0)->set_part_of_identity(false);
        })).find("replica identity") != std::string::npos);
  CHECK_THROWS_AS(router.bind(with([](v1::Relation& r) { r.set_name("other"); })), apply::UnknownRelation);
  CHECK(router
            .bind(with([](v1::Relation& r) {
              r.set_name("other");
              r.set_oid(77);
            }))
            .empty());
}
