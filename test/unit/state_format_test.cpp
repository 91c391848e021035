// Formats: what earlier programs wrote is read, what later ones write is refused with what to do.
#include "state/capture_block.hpp"
#include "state/directory.hpp"
#include "state/format.hpp"
#include "state/journal_segment.hpp"
#include "state/record.hpp"
#include "state_test.hpp"

using namespace walign;
using namespace walign::state;

namespace {

// What the first program with a state directory, a journal and captures left behind, all of format 1.
const fs::path kKept = fs::path(WALIGN_TEST_DATA) / "formats" / "1";

std::string to_two(std::string_view what, std::string payload) { return cat(what, "2(", payload, ")"); }
std::string to_three(std::string_view what, std::string payload) { return cat(what, "3(", payload, ")"); }
constexpr std::array<UpgradeStep, 2> kMadeUp = {to_two, to_three};

}  // namespace

TEST_CASE("a payload goes through one step for each format between its own and this one") {
  CHECK(upgraded("m", "x", 1, kMadeUp) == "m3(m2(x))");
  CHECK(upgraded("m", "x", 2, kMadeUp) == "m3(x)");
  CHECK(upgraded("", "x", 3, kMadeUp) == "x");
  CHECK(upgraded("m", "x", kFormat) == "x");
}

TEST_CASE("a format that this program does not know is refused with what to do") {
  require_known_format(1, "it", 3);
  require_known_format(3, "it", 3);
  CHECK(says(refusal([] { require_known_format(4, "it", 3); }),
             "it has format 4, this program reads formats 1 to 3"));
  CHECK(says(refusal([] { require_known_format(kFormat + 1, "it"); }), "newer walign"));
  CHECK(says(refusal([] { require_known_format(0, "it"); }), "damaged"));
}

TEST_CASE("a state directory of an older format says, once it is opened, that it is of this one") {
  const TemporaryDirectory base;
  prepare_directory(base / "s", "m", 1);
  prepare_directory(base / "s", "m", 3);
  CHECK(content(base / "s/format") == "walign state directory\nformat: 3\nmigration: m\n");
  CHECK(says(refusal([&] { prepare_directory(base / "s", "m", 1); }), "formats up to 1"));
  CHECK(content(base / "s/format") == "walign state directory\nformat: 3\nmigration: m\n");
}

TEST_CASE("a state directory of format 1 is read") {
  const TemporaryDirectory base;
  fs::copy(kKept / "state", base / "s", fs::copy_options::recursive);
  for (int again = 0; again < 2; ++again) {  // by a reader, then by one who goes on with it
    const auto store = again == 0 ? Store::open_read_only(base / "s") : Store::open(base / "s", "kept");
    CHECK(store->identity()->slot() == "walign_kept");
    CHECK(store->phase() == "streaming");
    CHECK(positions(*store) == std::vector<std::uint64_t>{0x1E16778, 0x1E164B8, 0x1E157D0, 0x1E15178});
    CHECK(store->newest_checkpoint()->books(0).applied() == 4);
    CHECK(store->verifications().size() == 2);
  }
  const auto reach = journal_reach(base / "s");
  CHECK(reach.from == Lsn(0x1E15178));
  CHECK(reach.to == Lsn(0x1E16778));
}

TEST_CASE("segments of a later format are refused with what to do, and nothing is done to them") {
  const TemporaryDirectory base;
  fs::copy(kKept, base / "k", fs::copy_options::recursive);
  const auto make_newer = [](const std::string& path) {
    auto bytes = content(path);
    REQUIRE(bytes[7] == 1);
    bytes[7] = static_cast<char>(kFormat + 1);
    write_file(path, bytes);
  };
  const std::string capture = base / "k/capture/00000002.capture";
  make_newer(capture);
  make_newer(base / "k/state/journal/00000001.journal");
  const auto before = tree(base / "k");
  const auto newer = [](const std::function<void()>& action) {
    const auto error = refusal(action);
    CHECK(error.kind() == ErrorKind::storage);
    CHECK(says(error, cat("has format ", kFormat + 1)));
    CHECK(says(error, "if a newer walign wrote it, run that one"));
  };
  newer([&] { const CaptureReader reader(base / "k/capture"); });
  newer([&] {
    CaptureWriter::open(base / "k/capture", {}, Lsn(1), kCaptureSegmentBytes, [](const std::string&) {});
  });
  newer([&] { journal_reach(base / "k/state"); });
  newer([&] { Journal::open(base / "k/state", {}, {}, [](const std::string&) {}); });
  CHECK(tree(base / "k") == before);
}
