#include <filesystem>

#include "state_test.hpp"
#include "walign/spill.hpp"

using namespace walign;
using namespace walign::state;

TEST_CASE("what is put into the spill is got again until it is dropped") {
  const TemporaryDirectory base;
  const auto spill = Spill::open(base.path());
  spill->put(1, 0, "a");
  spill->put(1, 1, std::string("\0b", 2));
  spill->put(2, 0, "");
  CHECK(spill->bytes() == 3);
  CHECK(spill->get(1, 0) == "a");
  CHECK(spill->get(1, 1) == std::string("\0b", 2));
  CHECK(spill->get(2, 0).empty());
  spill->drop(1);
  CHECK(spill->bytes() == 0);
  CHECK_THROWS_AS(spill->get(1, 0), Error);
  CHECK(spill->get(2, 0).empty());
  spill->drop(1);  // again does nothing
}

TEST_CASE("the spill is empty when it is opened, whatever a killed process left there") {
  const TemporaryDirectory base;
  {
    const auto spill = Spill::open(base.path());
    spill->put(1, 0, std::string(1000000, 'x'));
    // As a kill leaves it: the files stay.
    fs::copy(base / "spill", base / "kept", fs::copy_options::recursive);
  }
  CHECK((!fs::exists(base / "spill") || fs::is_empty(base / "spill")));
  fs::remove_all(base / "spill");
  fs::rename(base / "kept", base / "spill");
  const auto spill = Spill::open(base.path());
  CHECK_THROWS_AS(spill->get(1, 0), Error);
  spill->put(1, 0, "new");
  CHECK(spill->get(1, 0) == "new");
}

TEST_CASE("much more than memory goes through the spill, and its room comes back") {
  const TemporaryDirectory base;
  const auto spill = Spill::open(base.path());
  const auto disk = [&] {
    std::uintmax_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(base / "spill")) {
      if (entry.is_regular_file()) bytes += entry.file_size();
    }
    return bytes;
  };
  std::string piece(1 << 20, '\0');
  std::uint32_t seed = 1;
  for (char& c : piece)
    c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24U);  // does not compress
  for (std::uint64_t i = 0; i < 100; ++i) {
    piece[0] = static_cast<char>(i);
    spill->put(7, i, piece);
  }
  CHECK(disk() > 50U << 20U);
  for (std::uint64_t i = 0; i < 100; ++i) {
    piece[0] = static_cast<char>(i);
    CHECK(spill->get(7, i) == piece);
  }
  spill->drop(7);
  // Soon, and as long as it takes on a busy machine.
  bool came_back = false;
  for (int i = 0; i < 1500 && !came_back; ++i) {
    came_back = disk() < 8U << 20U;
    if (!came_back) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  CHECK(came_back);
}

TEST_CASE("transactions that are dropped one after the other leave nothing, and one among them stays whole") {
  const TemporaryDirectory base;
  const auto spill = Spill::open(base.path());
  const std::string piece(100000, 'p');
  spill->put(1, 0, "kept");
  for (std::uint64_t transaction = 2; transaction < 200; ++transaction) {
    spill->put(transaction, 0, piece);
    if (transaction % 3 == 0) spill->put(1, transaction, "kept " + std::to_string(transaction));
    spill->drop(transaction);
    spill->put(transaction, 1, "again");  // the number may be used for another one at once
    CHECK_THROWS_AS(spill->get(transaction, 0), Error);
    CHECK(spill->get(transaction, 1) == "again");
    spill->drop(transaction);
  }
  CHECK(spill->get(1, 0) == "kept");
  CHECK(spill->get(1, 198) == "kept 198");
}
