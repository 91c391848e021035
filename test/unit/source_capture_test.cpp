// Captures that cannot be read from where they are asked to be.
#include <filesystem>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"
#include "walign/source.hpp"

using namespace walign;

TEST_CASE("a capture without the segment in which its transactions begin is refused") {
  const test::TemporaryDirectory directory;
  const std::string where = directory / "c";
  {
    const auto writer = state::CaptureWriter::open(where, {}, Lsn(1), 1000, nullptr);
    writer->next_segment(Lsn(10), 1, {});  // something that began in the first is running
    writer->next_segment(Lsn(20), 3, {});
  }
  source::ReplayOptions options;
  options.directory = where;
  options.spill_directory = directory.path();
  options.from = Lsn(15);
  CHECK(source::open_capture(options) != nullptr);
  std::filesystem::remove(where + "/00000001.capture");
  try {
    (void)source::open_capture(options);
    FAIL("not refused");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::precondition);
    CHECK(error.message().find("lacks segment 1") != std::string::npos);
    CHECK_FALSE(error.hint().empty());
  }
  options.from = Lsn(25);
  CHECK(source::open_capture(options) != nullptr);
}

TEST_CASE("a segment that needs a later one is refused") {
  const test::TemporaryDirectory directory;
  state::CaptureWriter::open(directory / "c", {}, Lsn(1), 1000, nullptr)->next_segment(Lsn(10), 9, {});
  CHECK_THROWS_AS(state::CaptureReader(directory / "c"), Error);
}
