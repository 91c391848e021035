// Which tables are copied before which.
#include "support/catch.hpp"
#include "walign/mapping.hpp"

using namespace walign;

namespace {

using Places = std::vector<std::vector<std::size_t>>;

mapping::Route route(const std::string& target, const std::vector<std::string>& reads) {
  mapping::Route route;
  route.source = {"public", target};
  route.target = {"public", target};
  for (const auto& table : reads) route.reads.insert({"public", table});
  return route;
}

}  // namespace

TEST_CASE("a table is copied after those that its expressions read") {
  const auto order = mapping::copy_order({route("a", {"c", "elsewhere"}), route("b", {}), route("c", {"b"})});
  CHECK(order.after == Places{{2}, {}, {1}});
  CHECK(order.circles.empty());
}

TEST_CASE("a table is copied after every rule that leads to what it reads") {
  const auto order = mapping::copy_order({route("a", {"b"}), route("b", {}), route("b", {})});
  CHECK(order.after == Places{{1, 2}, {}, {}});
}

TEST_CASE("a table that reads itself waits for nothing") {
  const auto order = mapping::copy_order({route("a", {"a"}), route("a", {"a"})});
  CHECK(order.after == Places{{}, {}});
  CHECK(order.circles.empty());
}

TEST_CASE("of tables in a circle none waits for another, and who reads them waits for all that it reads") {
  const auto order = mapping::copy_order(
      {route("a", {"b", "e"}), route("b", {"c"}), route("c", {"a"}), route("d", {"b"}), route("e", {})});
  CHECK(order.after == Places{{4}, {}, {}, {1}, {}});
  CHECK(order.circles == Places{{0, 1, 2}});
}
