// The keys that have changed since they were compared: what is kept, what is forgotten, what goes to disk.
#include "support/catch.hpp"
#include "verify/dirty.hpp"

using namespace walign;
using namespace walign::verify;

namespace {

std::vector<std::string> put(DirtyTable& table) {
  state::DirtyKeys keys;
  table.take_unwritten(keys);
  std::vector<std::string> out;
  for (const auto& k : keys.put) out.push_back(cat(unpack(k.key).front(), "@", k.generation));
  for (const auto& k : keys.forget) out.push_back(cat("-", unpack(k.key).front()));
  for (const auto& t : keys.forget_tables) out.push_back(cat("all of ", t));
  std::sort(out.begin(), out.end());
  return out;
}

DirtyTable tracking() {
  DirtyTable table("a -> b");
  table.begin_pass();
  REQUIRE(table.end_pass(1));
  return table;
}

}  // namespace

TEST_CASE("a key is packed so that no two keys look alike") {
  for (const Key& key : {Key{}, Key{""}, Key{"a", "b"}, Key{"ab", ""}, Key{std::string("\0x", 2), "é"}}) {
    CHECK(unpack(pack(key)) == key);
  }
  CHECK(pack({"a", "b"}) != pack({"ab", ""}));
  const std::string packed = pack({"abc", "d"});
  for (std::size_t size = 1; size < packed.size(); ++size) {
    if (size == 7) continue;  // the first column alone
    CHECK_THROWS_AS(unpack(packed.substr(0, size)), Error);
  }
}

TEST_CASE("a table that was never compared is dirty as a whole and keeps no keys") {
  DirtyTable table("a -> b");
  table.changed(pack({"1"}), 1);
  CHECK(table.whole());
  CHECK(table.size() == 0);
  CHECK(put(table).empty());
}

TEST_CASE("keys that change during a pass stay dirty after it, those before are forgotten") {
  auto table = tracking();
  table.changed(pack({"before"}), 3);
  table.changed(pack({"both"}), 3);
  CHECK(put(table) == std::vector<std::string>{"before@3", "both@3"});
  table.begin_pass();  // generation 4
  table.changed(pack({"both"}), 4);
  table.changed(pack({"during"}), 5);
  CHECK(table.since(4).size() == 2);
  REQUIRE(table.end_pass(4));
  CHECK_FALSE(table.whole());
  CHECK(table.size() == 2);
  CHECK(put(table) == std::vector<std::string>{"-before", "both@4", "during@5"});
}

TEST_CASE("a comparison forgets the keys that have not changed since its moment") {
  auto table = tracking();
  table.changed(pack({"1"}), 2);
  table.changed(pack({"2"}), 2);
  CHECK(table.some(10, 3).size() == 2);
  CHECK(table.some(1, 3).size() == 1);
  CHECK(table.some(10, 2).empty());
  table.changed(pack({"2"}), 3);  // after the moment, which has generation 3
  (void)put(table);
  table.compared({{"1"}, {"2"}, {"not there"}}, 3);
  CHECK(table.since(0) == std::vector<Key>{{"2"}});
  CHECK(put(table) == std::vector<std::string>{"-1"});
}

TEST_CASE("a key that is dirty again is not forgotten on disk") {
  auto table = tracking();
  table.changed(pack({"1"}), 2);
  (void)put(table);
  table.compared({{"1"}}, 3);
  table.changed(pack({"1"}), 3);
  CHECK(put(table) == std::vector<std::string>{"1@3"});
}

TEST_CASE("the same key in the same generation is written once") {
  auto table = tracking();
  for (int i = 0; i < 3; ++i) table.changed(pack({"1"}), 2);
  CHECK(put(table) == std::vector<std::string>{"1@2"});
  table.changed(pack({"1"}), 2);
  CHECK(put(table).empty());
}

TEST_CASE("what makes the whole table dirty forgets its keys, and ends a pass under way") {
  auto table = tracking();
  table.changed(pack({"1"}), 2);
  table.begin_pass();
  table.mark_whole();
  table.changed(pack({"2"}), 3);
  CHECK(table.size() == 0);
  CHECK(table.bytes() == 0);
  CHECK_FALSE(table.end_pass(2));
  CHECK(table.whole());
  CHECK(put(table) == std::vector<std::string>{"all of a -> b"});
}

TEST_CASE("too many keys make the whole table dirty") {
  auto table = tracking();
  const std::string large(kMostBytes / 4, 'x');
  for (char c = 'a'; c <= 'd'; ++c) table.changed(pack({large + c}), 2);
  CHECK(table.whole());
  CHECK_FALSE(table.tracking());
}

TEST_CASE("keys of a row change are found by the columns' names, unchanged ones in the old row") {
  mapping::Route route;
  route.source = {"public", "t"};
  auto relation = std::make_shared<v1::Relation>();
  relation->set_schema("public");
  relation->set_name("t");
  for (const char* name : {"v", "b", "a"}) relation->add_columns()->set_name(name);
  KeyFinder finder(route, {"a", "b"});
  REQUIRE(finder.is(relation));
  const auto row = [](std::initializer_list<event::Value> values, v1::Tuple& out) {
    for (const auto& value : values) event::append_value(out, value);
  };
  v1::Change change;
  row({{event::State::not_sent, {}, false},
       {event::State::value, "1", false},
       {event::State::value, "x", false}},
      *change.mutable_old_row());
  row({{event::State::null, {}, false},
       {event::State::value, "2", false},
       {event::State::unchanged_toast, {}, false}},
      *change.mutable_new_row());
  std::vector<std::string> keys;
  REQUIRE(finder.keys_of(change, relation, keys));
  CHECK(keys == std::vector<std::string>{pack({"x", "1"}), pack({"x", "2"})});

  auto other = std::make_shared<v1::Relation>();
  other->set_schema("public");
  other->set_name("u");
  CHECK_FALSE(finder.is(other));
  KeyFinder without(route, {});
  CHECK(without.is(relation));
  keys.clear();
  CHECK_FALSE(without.keys_of(change, relation, keys));
}
