// Which way a table is compared, and the SQL of ranges and keys.
#include "mapping_route_test.hpp"
#include "verify/plan.hpp"

using namespace walign;
using namespace walign::verify;
using namespace route_test;

namespace {

struct Planned {
  mapping::Route route;
  Plan plan;
};

// Text keys sort by their bytes on the sides whose columns are named.
std::unique_ptr<Planned> planned(const World& world, const SortsByBytes& on_source = {},
                                 const SortsByBytes& on_target = {}) {
  auto out = std::make_unique<Planned>();
  out->route = world.completed();
  stream::Prepared prepared;
  prepared.source_catalog = world.source;
  prepared.target_catalog = world.target;
  prepared.source.encoding = prepared.target.encoding = "UTF8";
  out->plan = make_plan(prepared, out->route, {}, on_source, on_target);
  return out;
}

World world_of(const std::vector<std::string>& source, const std::vector<std::string>& target,
               const std::string& rule = "") {
  World world;
  world.source_table(table("public.t", source));
  world.target_table(table("public.u", target));
  world.tables = "  - { from: public.t, to: public.u" + rule + " }\n";
  return world;
}

}  // namespace

TEST_CASE("a table that is only renamed is compared by hashes, each side's own") {
  const auto same = planned(world_of({"id int4 key", "v text"}, {"id int4 key", "v text"}));
  CHECK(same->plan.way == Way::hashes);
  CHECK(same->plan.keys_are_copies);
  const auto renamed =
      planned(world_of({"id int4 key", "v text"}, {"key int4 key", "v text"}, ", columns: { key: id }"));
  CHECK(renamed->plan.way == Way::hashes);
  CHECK(renamed->plan.target_columns == std::vector<std::string>{"\"key\"", "\"v\""});
  CHECK(renamed->plan.source_columns == std::vector<std::string>{"\"id\"", "\"v\""});
}

TEST_CASE("text keys are compared by hashes only where both sides sort them by their bytes") {
  const auto world = world_of({"id text key", "v text"}, {"id text key", "v text"});
  CHECK(planned(world, {"id"}, {"id"})->plan.way == Way::hashes);
  CHECK(planned(world, {"id"}, {})->plan.way == Way::mapped);
  CHECK(planned(world, {}, {"id"})->plan.way == Way::mapped);
}

TEST_CASE("keys of numeric, whose equal values have several texts, are joined on the target") {
  CHECK(planned(world_of({"id numeric key"}, {"id numeric key"}))->plan.way == Way::mapped);
}

TEST_CASE("expressions, filters and other types are mapped on the target") {
  CHECK(
      planned(world_of({"id int4 key", "v text"}, {"id int4 key", "v text"}, ", where: id > 5"))->plan.way ==
      Way::mapped);
  CHECK(planned(world_of({"id int4 key", "v int4"}, {"id int4 key", "v text"},
                         ", columns: { v: { sql: 'v::text' } }"))
            ->plan.way == Way::mapped);
}

TEST_CASE("a table without a key on the target is compared by its content") {
  const auto plan = planned(world_of({"id int4", "v text"}, {"id int4", "v text"}, ", inserts_only: true"));
  CHECK(plan->plan.way == Way::content);
  CHECK(plan->plan.key.empty());
  CHECK(plan->plan.notes.size() == 1);
}

TEST_CASE("ranges and keys are conditions that the key's index answers") {
  const auto one = planned(world_of({"id int4 key"}, {"id int4 key"}));
  CHECK(range_condition(one->plan, Side::source, {}) == "true");
  CHECK(range_condition(one->plan, Side::source, {Key{"5"}, Key{"9"}}) ==
        R"("id" >= '5'::"pg_catalog"."int4" AND "id" < '9'::"pg_catalog"."int4")");
  CHECK(keys_condition(one->plan, Side::source, {{"5"}, {"9"}}) ==
        R"("id" IN ('5'::"pg_catalog"."int4", '9'::"pg_catalog"."int4"))");
  CHECK(keys_condition(one->plan, Side::source, {}) == "false");
  const auto two =
      planned(world_of({"a int4 key", "b text key"}, {"x int4 key", "b text key"}, ", columns: { x: a }"));
  CHECK(range_condition(two->plan, Side::target, {std::nullopt, Key{"1", "it's"}}) ==
        R"(("x", "b") < ('1'::"pg_catalog"."int4", 'it''s'::"pg_catalog"."text"))");
  CHECK(keys_condition(two->plan, Side::source, {{"1", "x"}}) ==
        R"(("a", "b") IN (VALUES ('1'::"pg_catalog"."int4", 'x'::"pg_catalog"."text")))");
}
