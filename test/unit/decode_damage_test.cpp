// Messages cut short, too long, or with bits turned over: an error that names a field, or another
// message, and never a read outside of them (the sanitizers would see it).
#include <cstring>
#include <map>
#include <memory>

#include "support/catch.hpp"
#include "support/frames.hpp"
#include "support/wire.hpp"
#include "walign/decode.hpp"

using namespace walign;

namespace {

enum class Outcome { message, malformed, other };

// Decodes a copy that ends where its memory ends, and reads every value of its rows.
Outcome outcome(std::string_view bytes, decode::Place place = {}) {
  const auto copy = std::make_unique<char[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(copy.get(), bytes.data(), bytes.size());
  std::size_t total = 0;
  const auto read = [&total](const decode::TupleView& row) {
    std::size_t sum = 0;
    row.for_each([&](const decode::Value& value) { sum += value.bytes.size(); });
    CHECK(sum == row.value_bytes());
    total += sum;
  };
  try {
    const auto message = decode::decode(as_bytes({copy.get(), bytes.size()}), place);
    if (const auto* insert = std::get_if<decode::Insert>(&message)) read(insert->new_row);
    if (const auto* update = std::get_if<decode::Update>(&message)) {
      read(update->old_row);
      read(update->new_row);
    }
    if (const auto* gone = std::get_if<decode::Delete>(&message)) read(gone->old_row);
    CHECK(total <= bytes.size());
    return Outcome::message;
  } catch (const Error& error) {
    return error.kind() == ErrorKind::malformed ? Outcome::malformed : Outcome::other;
  }
}

struct Sample {
  std::string bytes;
  decode::Place place = {};
};

std::vector<std::string> first_version() {
  return {wire::begin(1, 2, 3),
          wire::commit(1, 2, 3),
          wire::origin(1, "o"),
          wire::relation(1, "s", "t", 'd', {{"a", 23, true}, {"b"}}),
          wire::type(1, "s", "t"),
          wire::insert(1, {wire::text("a"), wire::null(), wire::unchanged(), wire::binary("b")}),
          wire::update(1, {wire::text("a")}),
          wire::update(1, 'K', {wire::text("a")}, {wire::unchanged()}),
          wire::update(1, 'O', {wire::text("a"), wire::null()}, {wire::text("b"), wire::null()}),
          wire::remove(1, 'K', {wire::text("a"), wire::null()}),
          wire::truncate({1, 2}, 3),
          wire::message(true, 1, "p", "content")};
}

std::vector<Sample> samples() {
  constexpr decode::Place kTwoPhase{3, false, false};
  constexpr decode::Place kParallel{4, true, false};
  std::vector<Sample> out = {{wire::stream_start(1, 1), kTwoPhase},
                             {wire::stream_stop(), kTwoPhase},
                             {wire::stream_commit(1, 2, 3, 4), kTwoPhase},
                             {wire::stream_abort(1, 2), kTwoPhase},
                             {wire::stream_abort(1, 2, 3, 4), kParallel},
                             {wire::begin_prepare(1, 2, 3, 4, "g"), kTwoPhase},
                             {wire::prepared('P', 1, 2, 3, 4, "g"), kTwoPhase},
                             {wire::prepared('K', 1, 2, 3, 4, "g"), kTwoPhase},
                             {wire::prepared('p', 1, 2, 3, 4, "g"), kTwoPhase},
                             {wire::rollback_prepared(1, 2, 3, 4, 5, "g"), kTwoPhase}};
  for (const std::string& bytes : first_version()) {
    out.push_back({bytes});
    if (std::string_view("BCO").find(bytes[0]) != std::string_view::npos) continue;  // not in a block
    out.push_back({wire::in_block(9, bytes), {2, false, true}});
  }
  for (const std::string& name : frames::recordings()) {
    for (const frames::Frame& frame : frames::read(name)) out.push_back({frame.payload});
  }
  for (const auto& recording : frames::streamed_recordings()) {
    decode::Place place{recording.version, recording.parallel, false};
    std::map<char, int> seen;  // of each message some: the rows are alike
    for (const frames::Frame& frame : frames::read(recording.name)) {
      const char tag = frame.payload.at(0);
      if (++seen[tag] <= 20) out.push_back({frame.payload, place});
      if (tag == 'S') place.in_block = true;
      if (tag == 'E') place.in_block = false;
    }
  }
  return out;
}

}  // namespace

TEST_CASE("every message that was made or recorded decodes") {
  for (const auto& [bytes, place] : samples()) CHECK(outcome(bytes, place) == Outcome::message);
}

TEST_CASE("the recordings have every message of protocol version 1") {
  for (const std::string& name : frames::recordings()) {
    std::string tags;
    for (const frames::Frame& frame : frames::read(name)) tags += frame.payload.at(0);
    for (const char tag : {'B', 'C', 'O', 'R', 'Y', 'I', 'U', 'D', 'T', 'M'}) {
      CHECK(tags.find(tag) != std::string::npos);
    }
  }
}

TEST_CASE("the recordings have every message of the later versions") {
  for (const auto& recording : frames::streamed_recordings()) {
    std::string tags;
    for (const frames::Frame& frame : frames::read(recording.name)) tags += frame.payload.at(0);
    for (const char tag : std::string(recording.version == 2 ? "SEcA" : "SEcAbPKrp")) {
      CHECK(tags.find(tag) != std::string::npos);
    }
  }
}

TEST_CASE("every prefix of a message is an error") {
  std::size_t wrong = 0;
  for (const auto& [bytes, place] : samples()) {
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      wrong += outcome(std::string_view(bytes).substr(0, size), place) == Outcome::malformed ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("bytes after a message are an error") {
  for (const auto& [bytes, place] : samples()) {
    CHECK(outcome(bytes + '\0', place) == Outcome::malformed);
    CHECK(outcome(bytes + bytes, place) == Outcome::malformed);
  }
}

TEST_CASE("a message with any one bit turned over is an error or a message") {
  std::size_t messages = 0;
  std::size_t errors = 0;
  std::size_t wrong = 0;
  for (auto& [bytes, place] : samples()) {
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      const auto flip = [&] { bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8))); };
      flip();
      switch (outcome(bytes, place)) {
        case Outcome::message: ++messages; break;
        case Outcome::malformed: ++errors; break;
        case Outcome::other: ++wrong; break;
      }
      flip();
    }
  }
  CHECK(wrong == 0);
  CHECK(messages > 1000);
  CHECK(errors > 1000);
}
