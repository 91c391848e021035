// How old rows are copied, as far as catalogs tell.
#include "mapping_route_test.hpp"

using namespace walign;
using namespace route_test;

namespace {

mapping::CopyWay way_of(const World& world) {
  const auto route = world.completed();
  return mapping::copy_way(route, world.source.at({route.source.schema, route.source.name}),
                           world.target.at({route.target.schema, route.target.name}));
}

World plain() {
  World world;
  world.both(table("public.t", {"id int4 key", "v text"}));
  world.tables = "  - public.t\n";
  return world;
}

}  // namespace

TEST_CASE("a table of the same columns is piped, as soon as it is read, cut by its primary key") {
  const auto way = way_of(plain());
  CHECK(way.piped);
  CHECK_FALSE(way.at_aligned_moment);
  CHECK(way.key == std::vector<std::string>{"id"});
}

TEST_CASE("a rename is piped; a filter, an expression and another type go through the mapping's SQL") {
  World world = plain();
  world.target_table(table("public.t", {"id int4 key", "w text"}));
  world.tables = "  - { from: public.t, columns: { w: v } }\n";
  CHECK(way_of(world).piped);
  world.tables = "  - { from: public.t, columns: { w: v }, where: id > 1 }\n";
  CHECK_FALSE(way_of(world).piped);
  world.tables = "  - { from: public.t, columns: { w: { sql: upper(src.v) }, v: false } }\n";
  CHECK_FALSE(way_of(world).piped);
  world.target_table(table("public.t", {"id numeric key", "w text"}));
  world.tables = "  - { from: public.t, columns: { w: v } }\n";
  CHECK_FALSE(way_of(world).piped);
}

TEST_CASE("a unique index of the target beside the key makes chunks wait for their aligned moment") {
  World world = plain();
  world.target.at({"public", "t"}).indexes.push_back(index("t_v_key", {"v"}));
  CHECK(way_of(world).at_aligned_moment);
  // Another index of the key's columns is no other.
  world = plain();
  world.target.at({"public", "t"}).indexes.push_back(index("t_id_again", {"id"}));
  CHECK_FALSE(way_of(world).at_aligned_moment);
}

TEST_CASE(
    "a table is cut by what old rows carry: its primary key, or the index of its replica identity, or not") {
  World world = plain();
  auto& source = world.source.at({"public", "t"});
  source.replica_identity = 'f';
  CHECK(way_of(world).key == std::vector<std::string>{"id"});
  source.indexes.push_back(index("t_id_v", {"id", "v"}));
  source.indexes.back().replica_identity = true;
  source.replica_identity = 'i';
  CHECK(way_of(world).key == std::vector<std::string>{"id"});
  source.indexes.erase(source.indexes.begin());
  CHECK(way_of(world).key == std::vector<std::string>{"id", "v"});
  source.indexes.clear();
  source.replica_identity = 'f';
  CHECK(way_of(world).key.empty());
}

TEST_CASE("a chunk has as many rows as its bytes allow, at least one, at most chunk_rows and a second's") {
  config::Backfill limits;
  limits.chunk_rows = 1000;
  limits.chunk_bytes = 10'000;
  pg::Table source;
  source.estimated_rows = -1;
  CHECK(mapping::rows_per_chunk(limits, source) == 1000);
  source.estimated_rows = 100;
  source.bytes = 10'000;  // 100 each
  CHECK(mapping::rows_per_chunk(limits, source) == 100);
  source.bytes = 100'000'000;
  CHECK(mapping::rows_per_chunk(limits, source) == 1);
  source.bytes = 100;
  CHECK(mapping::rows_per_chunk(limits, source) == 1000);
  limits.max_rows_per_second = 10;
  CHECK(mapping::rows_per_chunk(limits, source) == 10);
  source.estimated_rows = -1;
  CHECK(mapping::rows_per_chunk(limits, source) == 10);
}

TEST_CASE("copying is reckoned by rows or by bytes, whichever takes longer") {
  mapping::CopyWay way;
  way.piped = true;
  const auto piped = mapping::assumed_rate(way);
  CHECK(mapping::copy_work_seconds(way, piped.rows_per_second * 3, 0) == 3.0);
  CHECK(mapping::copy_work_seconds(way, 1, piped.bytes_per_second * 5) == 5.0);
  CHECK(mapping::copy_work_seconds(way, 0, 0) == 0.0);
  way.piped = false;
  CHECK(mapping::copy_work_seconds(way, piped.rows_per_second * 3, 0) > 3.0);
}
