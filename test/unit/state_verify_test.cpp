// What verification keeps: keys by table, a position, a record of each table.
#include "state_test.hpp"

using namespace walign;
using namespace walign::state;

namespace {

std::vector<std::string> keys_of(Store& store, const std::string& table) {
  std::vector<std::string> out;
  store.for_each_dirty(table, [&](std::string_view key, std::uint64_t generation) {
    out.push_back(cat(key, "@", generation));
  });
  return out;
}

}  // namespace

TEST_CASE("dirty keys are kept by table and forgotten one by one or all at once") {
  const TemporaryDirectory base;
  {
    const auto store = Store::open(base / "s", "m");
    CHECK_FALSE(store->dirty_complete_to().valid());
    store->write_dirty({{{"a", "1", 7}, {"a", "2", 7}, {"ab", "1", 8}}, {}, {}, Lsn(0x100)});
    store->write_dirty({{{"a", "1", 9}}, {{"a", "2", 0}}, {}, Lsn(0x200)});
    CHECK(keys_of(*store, "a") == std::vector<std::string>{"1@9"});
  }
  const auto store = Store::open(base / "s", "m");
  CHECK(store->dirty_complete_to() == Lsn(0x200));
  CHECK(keys_of(*store, "a") == std::vector<std::string>{"1@9"});
  CHECK(keys_of(*store, "ab") == std::vector<std::string>{"1@8"});
  // What is put in the same go as its table is forgotten stays.
  store->write_dirty({{{"a", "3", 10}}, {}, {"a"}, std::nullopt});
  CHECK(keys_of(*store, "a") == std::vector<std::string>{"3@10"});
  CHECK(keys_of(*store, "ab") == std::vector<std::string>{"1@8"});
  CHECK(keys_of(*store, "nothing").empty());
  CHECK(store->dirty_complete_to() == Lsn(0x200));
}

TEST_CASE("records of verification come back as they were put, beside the position") {
  const TemporaryDirectory base;
  const auto store = Store::open(base / "s", "m");
  CHECK(store->verifications().empty());
  v1::Verification record;
  record.set_table("public.a -> public.b");
  record.set_verified_lsn(0x300);
  record.add_kept()->set_kind(v1::Difference::MISSING);
  store->write_dirty({{}, {}, {}, Lsn(1)});
  store->put_verification(record);
  record.set_differences(4);
  store->put_verification(record);
  const auto all = store->verifications();
  REQUIRE(all.size() == 1);
  CHECK(all[0].SerializeAsString() == record.SerializeAsString());
}
