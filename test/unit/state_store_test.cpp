// The Store in one process: what is kept, what is thinned, who may read and write.
#include <thread>

#include "state_test.hpp"

using namespace walign;
using namespace walign::state;

TEST_CASE("what was put is there after opening again") {
  const TemporaryDirectory base;
  {
    const auto store = Store::open(base / "s", "m");
    CHECK_FALSE(store->identity().has_value());
    CHECK_FALSE(store->newest_checkpoint().has_value());
    CHECK(store->checkpoints(10).empty());
    CHECK(store->phase() == "new");
    store->put_identity(identity_of("m"));
    store->put_phase("streaming");
    store->put_checkpoint(checkpoint_at(0x100));
    store->put_checkpoint(checkpoint_at(0xFFFFFFFF00000000));
  }
  const auto store = Store::open(base / "s", "m");
  CHECK(store->identity()->SerializeAsString() == identity_of("m").SerializeAsString());
  CHECK(store->phase() == "streaming");
  CHECK(store->newest_checkpoint()->durable_lsn() == 0xFFFFFFFF00000000);
  CHECK(store->checkpoint(Lsn(0x100))->SerializeAsString() == checkpoint_at(0x100).SerializeAsString());
  CHECK_FALSE(store->checkpoint(Lsn(0x101)).has_value());
  CHECK(store->disk_bytes() > 0);
}

TEST_CASE("checkpoints come newest first and no more than asked for") {
  const TemporaryDirectory base;
  const auto store = Store::open(base / "s", "m");
  for (const std::uint64_t lsn : {0x1, 0xFF, 0x100, 0x10000}) store->put_checkpoint(checkpoint_at(lsn));
  CHECK(positions(*store) == std::vector<std::uint64_t>{0x10000, 0x100, 0xFF, 0x1});
  CHECK(store->checkpoints(2).size() == 2);
  CHECK(store->checkpoints(0).empty());
}

TEST_CASE("the newest checkpoint may be put again and never goes back") {
  const TemporaryDirectory base;
  const auto store = Store::open(base / "s", "m");
  store->put_checkpoint(checkpoint_at(0x200));
  auto again = checkpoint_at(0x200);
  again.set_phase("cutting_over");
  store->put_checkpoint(again);
  CHECK(store->newest_checkpoint()->phase() == "cutting_over");
  CHECK(refusal([&] { store->put_checkpoint(checkpoint_at(0x1FF)); }).kind() == ErrorKind::bug);
  CHECK(refusal([&] { store->put_checkpoint(checkpoint_at(0)); }).kind() == ErrorKind::bug);
  CHECK(positions(*store) == std::vector<std::uint64_t>{0x200});
}

TEST_CASE("a rewind forgets what lies above, for good") {
  const TemporaryDirectory base;
  {
    const auto store = Store::open(base / "s", "m");
    for (const std::uint64_t lsn : {0x100, 0x200, 0x300}) store->put_checkpoint(checkpoint_at(lsn));
    store->forget_after(Lsn(0x200));
    CHECK(positions(*store) == std::vector<std::uint64_t>{0x200, 0x100});
    store->put_checkpoint(checkpoint_at(0x250));
    store->forget_after(Lsn(0x1FF));
    store->forget_after(Lsn(UINT64_MAX));
  }
  const auto store = Store::open(base / "s", "m");
  CHECK(positions(*store) == std::vector<std::uint64_t>{0x100});
  store->forget_after(Lsn(0));
  CHECK(positions(*store).empty());
}

TEST_CASE("old checkpoints are thinned to one an hour, whenever the store is opened again") {
  const TemporaryDirectory base;
  constexpr std::uint64_t kPuts = 100;
  const Retention retention{10, 1000};
  // Seven a period; opened anew after each 9 puts, or never.
  const std::uint64_t puts_per_open = GENERATE(9, 1000);
  std::unique_ptr<RocksStore> store;
  for (std::uint64_t i = 0; i < kPuts; ++i) {
    if (i % puts_per_open == 0) {
      store.reset();
      store = RocksStore::open(base / "s", "m", retention);
    }
    store->put_checkpoint(checkpoint_at(i + 1, static_cast<std::int64_t>(i / 7 * 1000 + i % 7)));
  }
  std::vector<std::uint64_t> expected;
  for (std::uint64_t i = kPuts; i-- > 0;) {
    if (i >= kPuts - 10 || i % 7 == 0) expected.push_back(i + 1);
  }
  CHECK(positions(*store) == expected);
}

TEST_CASE("a rewind into the thinned history goes on thinning from there") {
  const TemporaryDirectory base;
  const auto store = RocksStore::open(base / "s", "m", Retention{3, 1000});
  for (std::uint64_t i = 1; i <= 9; ++i)
    store->put_checkpoint(checkpoint_at(i, static_cast<std::int64_t>(i * 400)));
  CHECK(positions(*store) == std::vector<std::uint64_t>{9, 8, 7, 5, 3, 1});
  store->forget_after(Lsn(5));
  for (std::uint64_t i = 6; i <= 8; ++i)
    store->put_checkpoint(checkpoint_at(i, static_cast<std::int64_t>(i * 400)));
  CHECK(positions(*store) == std::vector<std::uint64_t>{8, 7, 6, 5, 3, 1});
}

TEST_CASE("a reader sees a store that is held, and changes nothing") {
  const TemporaryDirectory base;
  const auto writer = Store::open(base / "s", "m");
  writer->put_identity(identity_of("m"));
  writer->put_checkpoint(checkpoint_at(0x100));
  const auto before = tree(base / "s");
  {
    const auto reader = Store::open_read_only(base / "s");
    CHECK(reader->identity()->migration() == "m");
    CHECK(reader->newest_checkpoint()->durable_lsn() == 0x100);
    CHECK(reader->phase() == "new");
    CHECK(refusal([&] { reader->put_phase("x"); }).kind() == ErrorKind::bug);
    CHECK(refusal([&] { reader->put_checkpoint(checkpoint_at(0x200)); }).kind() == ErrorKind::bug);
    CHECK(refusal([&] { reader->forget_after(Lsn(1)); }).kind() == ErrorKind::bug);
    writer->put_phase("streaming");
    CHECK(reader->phase() == "new");  // as of when it was opened
  }
  writer->put_checkpoint(checkpoint_at(0x300));
  CHECK(tree(base / "s").size() == before.size());
  CHECK(Store::open_read_only(base / "s")->newest_checkpoint()->durable_lsn() == 0x300);
}

TEST_CASE("many threads may use one store") {
  const TemporaryDirectory base;
  const auto store = Store::open(base / "s", "m");
  std::atomic<bool> done{false};
  std::atomic<int> backwards{0};
  std::vector<std::thread> others;
  for (int t = 0; t < 3; ++t) {
    others.emplace_back([&] {
      for (std::uint64_t seen = 0; !done;) {
        const auto newest = store->newest_checkpoint();
        if (newest && newest->durable_lsn() < seen) ++backwards;
        if (newest) seen = newest->durable_lsn();
        store->put_phase("streaming");
      }
    });
  }
  for (std::uint64_t lsn = 1; lsn <= 200; ++lsn) store->put_checkpoint(checkpoint_at(lsn));
  done = true;
  for (auto& other : others) other.join();
  CHECK(backwards == 0);
  CHECK(positions(*store).size() == 200);
}
