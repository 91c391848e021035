// What PostgreSQL sent, through decode and Assembler, against events that a person has checked.
// WALIGN_REGENERATE=1 writes the expected events instead: read the difference before committing it.
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "support/catch.hpp"
#include "support/event_text.hpp"
#include "support/frames.hpp"

using namespace walign;

namespace {

std::vector<event::TransactionPart> assemble(const std::vector<frames::Frame>& recording,
                                             std::size_t part_bytes) {
  event::Assembler assembler(part_bytes);
  std::vector<event::TransactionPart> parts;
  for (const frames::Frame& frame : recording) {
    auto taken = assembler.take(decode::decode(as_bytes(frame.payload)));
    if (auto* part = std::get_if<event::TransactionPart>(&taken)) parts.push_back(std::move(*part));
  }
  CHECK_FALSE(assembler.in_transaction());
  return parts;
}

// Through the bytes and back, so that what is compared is what a reader of the journal gets.
std::string text_of(std::vector<event::TransactionPart>& parts) {
  std::string out;
  for (event::TransactionPart& part : parts) {
    part.make_self_contained();
    v1::Transaction read;
    REQUIRE(read.ParseFromString(part.tx().SerializeAsString()));
    out += event_text::transaction(read);
  }
  return out;
}

std::vector<std::string> lines_of(std::istream&& text) {
  std::vector<std::string> out;
  for (std::string line; std::getline(text, line);) out.push_back(line);
  return out;
}

// The changes alone, whatever the parts.
std::string changes_of(const std::string& text) {
  std::string out;
  for (const std::string& line : lines_of(std::istringstream(text))) {
    const bool header = line.rfind("transaction", 0) == 0 || line.rfind("  relation", 0) == 0;
    if (!header) out += line + "\n";
  }
  return out;
}

void compare(const std::string& name, const std::string& text) {
  const std::string path = frames::path(name + ".events");
  if (const char* regenerate = std::getenv("WALIGN_REGENERATE"); regenerate && *regenerate == '1') {
    std::ofstream(path) << text;
  }
  const auto got = lines_of(std::istringstream(text));
  const auto expected = lines_of(std::ifstream(path));
  for (std::size_t i = 0; i < std::min(got.size(), expected.size()); ++i) CHECK(got[i] == expected[i]);
  CHECK(got.size() == expected.size());
}

// What an Assembler makes of transactions that come before they have committed, in the order in which it comes.
struct TextOf {
  std::string out;

  void operator()(std::monostate /*nothing complete*/) {}
  void operator()(event::TransactionPart part) { add("whole ", part); }
  void operator()(event::RunningPart running) { add("running ", running.part); }
  void operator()(const event::RunningCommitted& committed) {
    out += "committed " + event_text::transaction(committed.header);
  }
  void operator()(const event::RunningAborted& aborted) {
    out += cat("rolled back ", aborted.subxid, " of ", aborted.xid, "\n");
  }
  void add(const char* what, event::TransactionPart& part) {
    part.make_self_contained();
    out += what + event_text::transaction(part.tx());
  }
};

std::string text_of(const frames::Streamed& recording) {
  event::Assembler assembler(std::size_t{1} << 20U, {recording.version, recording.parallel, false});
  TextOf text;
  for (const frames::Frame& frame : frames::read(recording.name)) {
    std::visit([&](auto&& taken) { text(std::forward<decltype(taken)>(taken)); },
               assembler.take(decode::decode(as_bytes(frame.payload), assembler.place())));
  }
  CHECK_FALSE(assembler.in_transaction());
  return text.out;
}

}  // namespace

TEST_CASE("recorded messages become the events that are written beside them") {
  for (const std::string& name : frames::recordings()) {
    auto parts = assemble(frames::read(name), std::size_t{1} << 20U);
    compare(name, text_of(parts));
  }
  for (const auto& recording : frames::streamed_recordings()) compare(recording.name, text_of(recording));
}

TEST_CASE("a transaction in small parts has the same changes as a whole one") {
  for (const std::string& name : frames::recordings()) {
    const auto recording = frames::read(name);
    auto whole = assemble(recording, std::size_t{1} << 20U);
    auto small = assemble(recording, 1);
    CHECK(small.size() > 2 * whole.size());
    CHECK(changes_of(text_of(whole)) == changes_of(text_of(small)));
    std::uint32_t next = 0;
    for (const auto& part : small) {
      CHECK(part.tx().part() == next);
      CHECK(part.end_lsn().valid() == part.last());
      next = part.last() ? 0 : next + 1;
    }
    CHECK(next == 0);
  }
}

TEST_CASE("the positions of a recording's transactions agree with the server's own") {
  for (const std::string& name : frames::recordings()) {
    for (const frames::Frame& frame : frames::read(name)) {
      const decode::Message message = decode::decode(as_bytes(frame.payload));
      if (const auto* commit = std::get_if<decode::Commit>(&message)) {
        // The SQL functions give a COMMIT the position where its record ends.
        CHECK(frame.lsn == commit->end_lsn.to_string());
        CHECK(commit->commit_lsn < commit->end_lsn);
      }
      if (const auto* logical = std::get_if<decode::LogicalMessage>(&message)) {
        CHECK(frame.lsn == logical->lsn.to_string());
      }
    }
  }
}
