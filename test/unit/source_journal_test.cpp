// Transactions through the journal: what comes out is what the source brought, from any of them on.
#include "source_test.hpp"
#include "support/event_text.hpp"
#include "support/frames.hpp"
#include "support/temporary_directory.hpp"
#include "walign/export.hpp"

using namespace walign;

namespace {

std::vector<event::TransactionPart> assemble(const std::string& recording, std::size_t part_bytes) {
  event::Assembler assembler(part_bytes);
  std::vector<event::TransactionPart> parts;
  for (const auto& frame : frames::read(recording)) {
    auto taken = assembler.take(decode::decode(as_bytes(frame.payload)));
    if (auto* part = std::get_if<event::TransactionPart>(&taken)) parts.push_back(std::move(*part));
  }
  return parts;
}

std::string text_of(event::TransactionPart& part) {
  part.make_self_contained();
  return event_text::transaction(part.tx());
}

std::unique_ptr<state::Journal> open(const std::string& directory, Lsn from) {
  auto journal = state::Journal::open(directory, {}, {}, [](const std::string&) {});
  if (from.valid()) journal->begin(from);
  return journal;
}

struct Read {
  std::string text;
  Lsn progress;
};
Read read(source::Source& source) {
  Read out;
  while (auto item = source.next(std::chrono::milliseconds(0))) {
    if (auto* part = std::get_if<event::TransactionPart>(&*item)) {
      CHECK(part->memory_bytes() > 0);
      out.text += text_of(*part);
    } else {
      out.progress = std::get<source::Progress>(*item).lsn;
    }
  }
  CHECK(source.ended());
  return out;
}
Read read(const std::string& directory, Lsn from) { return read(*source::open_journal(directory, from)); }

}  // namespace

TEST_CASE("every recorded transaction comes out of the journal as it went in") {
  for (const auto& name : frames::recordings()) {
    for (const std::size_t part_bytes : {std::size_t{1} << 20U, std::size_t{300}}) {
      INFO(name << ", parts of " << part_bytes);
      const test::TemporaryDirectory directory;
      auto parts = assemble(name, part_bytes);
      const auto journal = open(directory.path(), parts.front().commit_lsn());
      source::JournalWriter writer(*journal);
      std::vector<std::pair<Lsn, std::string>> expected;
      for (auto& part : parts) {
        writer.add(part);
        expected.emplace_back(part.commit_lsn(), text_of(part));
      }
      journal->sync();
      for (std::size_t from = 0; from<expected.size(); from += part_bytes> 1000 ? 1 : 37) {
        std::string text;
        for (const auto& [lsn, its] : expected) text += lsn >= expected[from].first ? its : "";
        const auto got = read(directory.path(), expected[from].first);
        CHECK(got.text == text);
        CHECK(got.progress == parts.back().end_lsn());
      }
    }
  }
}

TEST_CASE("what the journal has is passed over when it comes again, what it lacks is added") {
  const test::TemporaryDirectory directory;
  auto parts = assemble("pg15-v1-text", 300);
  const Lsn from = parts.front().commit_lsn();
  auto journal = open(directory.path(), from);
  std::string expected;
  {
    source::JournalWriter writer(*journal);
    for (std::size_t i = 0; i < parts.size() / 2; ++i) writer.add(parts[i]);  // maybe inside a transaction
    journal->sync();
  }
  for (int again = 0; again < 2; ++again) {
    if (again == 1) {
      journal.reset();
      journal = open(directory.path(), Lsn());
    }
    source::JournalWriter writer(*journal);
    for (const auto& part : parts) writer.add(part);
  }
  journal->sync();
  for (auto& part : parts) expected += text_of(part);
  CHECK(read(directory.path(), from).text == expected);
}

TEST_CASE("a table that is described anew is read as it was described then") {
  const test::TemporaryDirectory directory;
  event::Assembler assembler;
  const auto journal = open(directory.path(), Lsn(0x100));
  source::JournalWriter writer(*journal);
  const auto take = [&](const std::string& bytes) {
    auto taken = assembler.take(decode::decode(as_bytes(bytes)));
    if (auto* part = std::get_if<event::TransactionPart>(&taken)) writer.add(*part);
  };
  for (unsigned n = 0; n < 6; ++n) {
    const std::string column = n % 2 == 0 ? "even" : "odd";
    take(wire::begin(0x100 + 0x10 * n, 0, n));
    take(wire::relation(1, "public", "t", 'd', {{column, 23, true}}));
    take(wire::insert(1, {wire::text(std::to_string(n))}));
    take(wire::commit(0x100 + 0x10 * n, 0x110 + 0x10 * n, 0));
  }
  journal->sync();
  const std::string text = read(directory.path(), Lsn(0x100)).text;
  for (unsigned n = 0; n < 6; ++n) {
    const std::string row = cat("(", n % 2 == 0 ? "even" : "odd", " '", n, "')");
    CHECK(text.find(row) != std::string::npos);
  }
}

TEST_CASE("a journal and the slot behind it are one stream, and only the slot is acknowledged to") {
  const test::TemporaryDirectory directory;
  const auto journal = open(directory.path(), Lsn(0x100));
  {
    event::Assembler assembler;
    source::JournalWriter writer(*journal);
    for (const auto& bytes :
         {wire::begin(0x100, 0, 1), wire::relation(1, "public", "t", 'd', {{"id", 23, true}, {"v", 25}}),
          wire::insert(1, {wire::text("1"), wire::text("journal")}), wire::commit(0x100, 0x200, 0)}) {
      auto taken = assembler.take(decode::decode(as_bytes(bytes)));
      if (auto* part = std::get_if<event::TransactionPart>(&taken)) writer.add(*part);
    }
    journal->sync();
  }
  test::FakeServer server;
  source::SlotOptions slot;
  slot.from = Lsn(0x200);
  const auto both =
      source::one_after_the_other(source::open_journal(directory.path(), Lsn(0x100)), server.open(slot));
  server.send(test::transaction(0x200, 0x300, "slot"));
  std::string values;
  for (int parts = 0; parts < 2;) {
    auto item = both->next(std::chrono::seconds(10));
    REQUIRE(item);
    if (auto* part = std::get_if<event::TransactionPart>(&*item)) {
      values += text_of(*part);
      ++parts;
    }
    if (parts == 1) {
      both->acknowledge(Lsn(0x150));  // of the journal: nothing to tell the slot
      CHECK(both->acknowledged() == Lsn(0x200));
    }
  }
  CHECK(values.find("'journal'") < values.find("'slot'"));
  both->acknowledge(Lsn(0x300));
  CHECK(both->acknowledged() == Lsn(0x300));
  CHECK_FALSE(both->ended());
}

TEST_CASE("a journal that is exported as a capture is read from it as it was") {
  for (const auto& name : frames::recordings()) {
    INFO(name);
    const test::TemporaryDirectory directory;
    auto parts = assemble(name, 300);
    const auto journal = open(directory.path(), parts.front().commit_lsn());
    source::JournalWriter writer(*journal);
    for (auto& part : parts) writer.add(part);
    journal->sync();

    const Interrupt stop;
    source::ExportOptions options;
    options.state_directory = directory.path();
    options.from = parts.front().commit_lsn();
    options.directory = directory / "capture";
    options.segment_bytes = 2000;
    options.stop = &stop;
    const auto done = source::export_journal(options);
    CHECK(done.position == parts.back().end_lsn());
    CHECK_THROWS_AS(source::export_journal(options), Error);  // it is not empty

    source::ReplayOptions replay;
    replay.directory = options.directory;
    replay.spill_directory = directory.path();
    // In parts of another size: the changes are what is compared, by the message of each.
    const auto messages = [](source::Source& source) {
      source::MessageMaker maker;
      std::string out;
      while (!source.ended()) {
        const auto item = source.next(std::chrono::milliseconds(0));
        if (!item) continue;
        if (const auto* part = std::get_if<event::TransactionPart>(&*item)) {
          for (const auto& message : maker.make(*part)) out += event_text::hex(message) + "\n";
        }
      }
      return out;
    };
    auto captured = source::open_capture(replay);
    const auto kept = source::open_journal(directory.path(), options.from);
    CHECK(messages(*captured) == messages(*kept));
    captured.reset();  // its spill
    replay.from = parts[parts.size() / 2].commit_lsn();
    CHECK_FALSE(messages(*source::open_capture(replay)).empty());
  }
}
