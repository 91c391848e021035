// Captures on disk: what is written is read, and what a kill or a bad disk makes of it is seen.
#include <fstream>
#include <sstream>

#include "state_test.hpp"
#include "walign/capture.hpp"

using namespace walign;
using namespace walign::state;

namespace {

v1::CaptureHeader origin() {
  v1::CaptureHeader header;
  header.set_source_system_id("7300000000000000001");
  header.set_source_timeline(1);
  header.set_source_database("app");
  header.set_slot("s");
  header.add_publications("p");
  header.set_server_version(150013);
  header.set_protocol_version(3);
  return header;
}

v1::CaptureFrame frame(int number) {
  v1::CaptureFrame out;
  out.set_wal_end(static_cast<std::uint64_t>(number) + 1000);
  out.set_payload("payload " + std::to_string(number) +
                  std::string(static_cast<std::size_t>(number % 50), '\0'));
  out.set_keepalive(number % 7 == 0);
  return out;
}

std::unique_ptr<CaptureWriter> open(const std::string& directory, std::vector<std::string>* notes = nullptr,
                                    std::int64_t segment_bytes = kCaptureSegmentBytes) {
  return CaptureWriter::open(directory, origin(), Lsn(1), segment_bytes, [notes](const std::string& note) {
    if (notes != nullptr) notes->push_back(note);
  });
}

// The numbers of all frames, in order; whether each is what was written.
std::vector<int> numbers(CaptureReader& reader) {
  std::vector<int> out;
  while (const auto* one = reader.next()) {
    const int number = static_cast<int>(one->wal_end()) - 1000;
    CHECK(one->payload() == frame(number).payload());
    CHECK(one->keepalive() == frame(number).keepalive());
    if (!one->repeated()) out.push_back(number);
  }
  return out;
}
std::vector<int> numbers(const std::string& directory) {
  CaptureReader reader(directory);
  return numbers(reader);
}

std::vector<int> up_to(int end) {
  std::vector<int> out;
  for (int i = 0; i < end; ++i) out.push_back(i);
  return out;
}

std::string content(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}
void put(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// The message of the error that reading ends in; empty if it does not.
std::string refusal(const std::string& directory) {
  try {
    numbers(directory);
  } catch (const Error& error) {
    CHECK_FALSE(error.hint().empty());
    return error.message();
  }
  return "";
}

}  // namespace

TEST_CASE("what is captured is read, over segments and writers") {
  const TemporaryDirectory base;
  const std::string directory = base / "deep/capture";
  {
    const auto writer = open(directory, nullptr, 2000);
    for (int i = 0; i < 500; ++i) {
      writer->add(frame(i));
      if (i % 10 == 0) writer->sync();
      if (writer->full()) writer->next_segment(Lsn(static_cast<std::uint64_t>(i)), 1, {frame(0), frame(1)});
    }
    writer->sync();
    CHECK(writer->segment() > 3);
  }
  {
    const auto writer = open(directory);
    for (int i = 500; i < 600; ++i) writer->add(frame(i));
    writer->sync();
  }
  CHECK(numbers(directory) == up_to(600));
  CaptureReader reader(directory);
  const auto& segments = reader.segments();
  CHECK(segments.front().new_connection());
  CHECK_FALSE(segments[1].new_connection());
  CHECK(segments[1].needs_segment() == 1);
  CHECK(segments.back().new_connection());
  CHECK(segments.back().needs_segment() == segments.back().segment());
  SECTION("reading may begin at any segment, with the descriptions again") {
    reader.seek(3);
    const auto* first = reader.next();
    REQUIRE(first != nullptr);
    CHECK(reader.first_of_segment());
    CHECK(first->repeated());
    CHECK(reader.header().segment() == 3);
    CHECK(numbers(reader).back() == 599);
    reader.seek(1);
    CHECK(numbers(reader) == up_to(600));
  }
}

TEST_CASE("a capture of another origin is not gone on with") {
  const TemporaryDirectory base;
  open(base / "c")->add(frame(0));
  auto other = origin();
  other.set_slot("another");
  CHECK_THROWS_AS(CaptureWriter::open(base / "c", other, Lsn(1), 1000, nullptr), Error);
  CHECK_THROWS_AS(CaptureReader(base / "nothing here"), Error);
  fs::create_directory(base / "files");
  put(base / "files/notes.txt", "not ours");
  CHECK_THROWS_AS(open(base / "files"), Error);
  CHECK(content(base / "files/notes.txt") == "not ours");
}

TEST_CASE("a capture that is cut short anywhere is good up to its last whole block, and goes on from there") {
  const TemporaryDirectory base;
  {
    const auto writer = open(base / "c");
    for (int i = 0; i < 30; ++i) {
      writer->add(frame(i));
      if (i % 10 == 9) writer->sync();
    }
  }
  const std::string path = base / "c/00000001.capture";
  const std::string whole = content(path);
  int torn = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    put(path, whole.substr(0, size));
    std::size_t before = 0;
    try {
      CaptureReader reader(base / "c");
      const auto seen = numbers(reader);
      CHECK(seen.size() % 10 == 0);
      CHECK(seen == up_to(static_cast<int>(seen.size())));
      before = seen.size();
      torn += reader.torn().empty() ? 0 : 1;
    } catch (const Error& error) {  // not even a header
      CHECK(error.kind() == ErrorKind::precondition);
    }
    if (size % 37 != 0) continue;  // opening syncs: some of them
    std::vector<std::string> notes;
    {
      const auto writer = open(base / "c", &notes);
      for (int i = static_cast<int>(before); i < 30; ++i) writer->add(frame(i));
      writer->sync();
    }
    CHECK(numbers(base / "c") == up_to(30));
    fs::remove(base / "c/00000002.capture");
  }
  CHECK(torn > 100);
}

TEST_CASE("any one bit turned over in a capture is seen, with its place") {
  const TemporaryDirectory base;
  {
    const auto writer = open(base / "c");
    for (int i = 0; i < 20; ++i) {
      writer->add(frame(i));
      if (i % 10 == 9) writer->sync();
    }
  }
  open(base / "c")->sync();  // a later segment: what is cut short before it is damage
  const std::string path = base / "c/00000001.capture";
  std::string bytes = content(path);
  std::size_t unseen = 0;
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    put(path, bytes);
    const std::string message = refusal(base / "c");
    if (message.find(path) == std::string::npos) ++unseen;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  }
  CHECK(unseen == 0);
}

TEST_CASE("a segment that is missing, or has another's name, is seen") {
  const TemporaryDirectory base;
  for (int i = 0; i < 3; ++i) open(base / "c")->add(frame(i));
  fs::remove(base / "c/00000002.capture");
  CHECK(refusal(base / "c").find("segment 2") != std::string::npos);
  fs::rename(base / "c/00000003.capture", base / "c/00000002.capture");
  CHECK(refusal(base / "c").find("says that it is segment 3") != std::string::npos);
}
