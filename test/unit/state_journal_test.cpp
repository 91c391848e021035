// The journal on disk: what is added is read from any position, a kill costs what was not whole, nothing has a hole.
#include <filesystem>

#include "state_test.hpp"
#include "walign/journal.hpp"

using namespace walign;
using namespace walign::state;

namespace {

v1::JournalHeader origin(const std::string& slot = "s") {
  v1::JournalHeader header;
  header.set_source_system_id("7300000000000000001");
  header.set_source_timeline(1);
  header.set_source_database("app");
  header.set_slot(slot);
  return header;
}

std::unique_ptr<Journal> open_journal(const std::string& directory, std::vector<std::string>* notes = nullptr,
                                      JournalLimits limits = {}, const std::string& slot = "s") {
  return Journal::open(directory, origin(slot), limits, [notes](const std::string& note) {
    if (notes != nullptr) notes->push_back(note);
  });
}

// Transaction n commits at 1000 + 10 n and ends 10 after that; its table is called after n / 4.
Lsn commit_of(int n) { return Lsn(1000U + 10U * static_cast<unsigned>(n)); }
std::string table_of(int n) { return cat("table ", n / 4); }
std::string content_of(int n, int part) {
  return cat("transaction ", n, ", part ", part, std::string(40, 'x'));
}

void add_part(Journal& journal, int n, int part, bool last) {
  if (part == 0) journal.between();
  v1::JournalPart out;
  out.set_commit_lsn(commit_of(n).value);
  if (last) out.set_end_lsn(commit_of(n + 1).value);
  out.set_commit_time_us(n);
  out.set_part(static_cast<std::uint32_t>(part));
  out.set_last(last);
  out.add_relations(journal.relation(table_of(n)));
  out.set_transaction(content_of(n, part));
  journal.add(std::move(out));
}
void add(Journal& journal, int n, int parts = 1) {
  for (int part = 0; part < parts; ++part) add_part(journal, n, part, part + 1 == parts);
}
void add_up_to(Journal& journal, int from, int end) {
  for (int n = from; n < end; ++n) add(journal, n, n % 5 == 3 ? 3 : 1);
}

// The transactions from a position on; every part is checked.
std::vector<int> read(const std::string& directory, Lsn from) {
  JournalReader reader(directory, from);
  std::vector<int> out;
  int expected = 0;
  while (const auto* part = reader.next()) {
    const int n = static_cast<int>(part->commit_time_us());
    CHECK(static_cast<int>(part->part()) == expected);
    CHECK(part->transaction() == content_of(n, expected));
    CHECK(reader.relation(part->relations(0)) == table_of(n));
    expected = part->last() ? 0 : expected + 1;
    if (part->last()) out.push_back(n);
  }
  CHECK(expected == 0);
  return out;
}
std::vector<int> numbers(int from, int end) {
  std::vector<int> out;
  for (int n = from; n < end; ++n) out.push_back(n);
  return out;
}

JournalLimits small_segments() {
  JournalLimits limits;
  limits.keep_bytes = 1;  // the smallest segments
  return limits;
}
// Large enough for a few segments; what does not compress.
void add_large(Journal& journal, int n) {
  journal.between();
  v1::JournalPart out;
  out.set_commit_lsn(commit_of(n).value);
  out.set_end_lsn(commit_of(n + 1).value);
  out.set_last(true);
  out.add_relations(journal.relation(table_of(n)));
  std::uint32_t seed = static_cast<std::uint32_t>(n) + 1;
  for (int i = 0; i < 40'000; ++i) {
    out.mutable_transaction()->push_back(static_cast<char>((seed = seed * 1664525U + 1013904223U) >> 24U));
  }
  journal.add(std::move(out));
  journal.sync();
}

std::vector<std::string> files(const std::string& directory) {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(directory + "/journal")) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

TEST_CASE("a journal gives the transactions from any position that it has") {
  const TemporaryDirectory directory;
  const auto journal = open_journal(directory.path());
  CHECK_FALSE(journal->reach().from.valid());
  journal->begin(commit_of(0));
  add_up_to(*journal, 0, 20);
  journal->sync();
  for (int n = 0; n <= 20; ++n) CHECK(read(directory.path(), commit_of(n)) == numbers(n, 20));
  CHECK(journal->reach().from == commit_of(0));
  CHECK(journal->reach().to == commit_of(20));
  CHECK(journal->reach().bytes == fs::file_size(files(directory.path()).at(0)));
}

TEST_CASE("a position that the journal does not have is refused with what it has") {
  const TemporaryDirectory directory;
  const auto none = refusal([&] { read(directory.path(), Lsn(5)); });
  CHECK(none.kind() == ErrorKind::precondition);
  CHECK(says(none, "is empty"));
  const auto journal = open_journal(directory.path());
  journal->begin(commit_of(3));
  add_up_to(*journal, 3, 6);
  journal->sync();
  CHECK(says(refusal([&] { read(directory.path(), commit_of(2)); }), "goes from 0/406 to 0/424"));
  CHECK(says(refusal([&] { read(directory.path(), commit_of(7)); }), "it does not have 0/42E"));
}

TEST_CASE("what was added is durable when it was synced, not before") {
  const TemporaryDirectory directory;
  const auto journal = open_journal(directory.path());
  journal->begin(commit_of(0));
  CHECK(journal->durable_to() == commit_of(0));
  add(*journal, 0);
  CHECK(journal->reach().to == commit_of(1));
  CHECK(journal->durable_to() == commit_of(0));
  journal->sync();
  CHECK(journal->durable_to() == commit_of(1));
  journal->pass(Lsn(5000));
  CHECK(journal->durable_to() == commit_of(1));
  journal->sync();
  CHECK(journal_reach(directory.path()).to == Lsn(5000));
}

TEST_CASE("in the middle of a transaction what is durable ends before it") {
  const TemporaryDirectory directory;
  auto journal = open_journal(directory.path());
  journal->begin(commit_of(0));
  add(*journal, 0);
  add_part(*journal, 1, 0, false);
  journal->sync();
  CHECK(journal->durable_to() == commit_of(1));
  CHECK(read(directory.path(), commit_of(0)) == numbers(0, 1));
}

TEST_CASE("a journal goes on where it ended, in another segment, whatever was not whole") {
  const TemporaryDirectory directory;
  auto journal = open_journal(directory.path());
  journal->begin(commit_of(0));
  add_up_to(*journal, 0, 7);
  add_part(*journal, 7, 0, false);
  add_part(*journal, 7, 1, false);
  journal->sync();
  journal.reset();
  std::vector<std::string> notes;
  journal = open_journal(directory.path(), &notes);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].find("ends inside a transaction") != std::string::npos);
  CHECK(journal->reach().to == commit_of(7));
  CHECK(journal->durable_to() == commit_of(7));
  add_up_to(*journal, 7, 12);
  journal->sync();
  CHECK(read(directory.path(), commit_of(2)) == numbers(2, 12));
}

TEST_CASE("a transaction that a lost connection cut short comes again") {
  const TemporaryDirectory directory;
  const auto journal = open_journal(directory.path());
  journal->begin(commit_of(0));
  add_up_to(*journal, 0, 4);
  for (int again = 0; again < 3; ++again) {
    add_part(*journal, 4, 0, false);
    if (again > 0) journal->sync();
    add_part(*journal, 4, 1, false);
    if (again == 2) journal->pass(commit_of(4));  // the first that the next connection says
  }
  add_up_to(*journal, 4, 9);
  journal->sync();
  CHECK(read(directory.path(), commit_of(0)) == numbers(0, 9));
}

TEST_CASE("a journal of another slot is emptied, and says so") {
  const TemporaryDirectory directory;
  {
    const auto journal = open_journal(directory.path());
    journal->begin(commit_of(0));
    add_up_to(*journal, 0, 4);
    journal->sync();
  }
  std::vector<std::string> notes;
  const auto journal = open_journal(directory.path(), &notes, {}, "other");
  CHECK(notes.size() == 1);
  CHECK_FALSE(journal->reach().from.valid());
  CHECK(files(directory.path()).empty());
}

TEST_CASE("a journal that begins anew has nothing of before") {
  const TemporaryDirectory directory;
  auto journal = open_journal(directory.path());
  journal->begin(commit_of(0));
  add_up_to(*journal, 0, 4);
  add_part(*journal, 4, 0, false);
  journal->begin(commit_of(10));
  add_up_to(*journal, 10, 12);
  journal->sync();
  CHECK(journal->reach().from == commit_of(10));
  CHECK(read(directory.path(), commit_of(10)) == numbers(10, 12));
  journal->clear();
  CHECK_FALSE(journal->reach().from.valid());
  journal.reset();
  CHECK_FALSE(open_journal(directory.path())->reach().from.valid());
}

TEST_CASE("a journal is trimmed by size, by age, and never above what the target has durable") {
  const TemporaryDirectory directory;
  auto journal = open_journal(directory.path(), nullptr, small_segments());
  journal->begin(commit_of(0));
  for (int n = 0; n < 12; ++n) add_large(*journal, n);
  const auto all = files(directory.path()).size();
  CHECK(all > 4);
  const auto now = Clock::system().unix_micros();
  journal->trim(commit_of(0), now);
  CHECK(files(directory.path()).size() == all);
  journal->trim(commit_of(7), now);
  const Lsn from = journal->reach().from;
  CHECK(from > commit_of(0));
  CHECK(from <= commit_of(7));
  CHECK(JournalReader(directory.path(), from).next()->commit_lsn() == from.value);
  journal->trim(commit_of(12), now);
  CHECK(files(directory.path()).size() == 1);
  CHECK(journal->reach().to == commit_of(12));

  JournalLimits by_age;
  by_age.keep_bytes = 1 << 20;
  by_age.keep_for = std::chrono::hours(1);
  const TemporaryDirectory other;
  journal = open_journal(other.path(), nullptr, by_age);
  journal->begin(commit_of(0));
  for (int n = 0; n < 8; ++n) add_large(*journal, n);
  const auto before = files(other.path()).size();
  REQUIRE(before > 2);
  journal->trim(commit_of(8), now + std::int64_t{1'800'000'000});
  CHECK(files(other.path()).size() == before);
  journal->trim(commit_of(8), now + std::int64_t{3'700'000'000});
  CHECK(files(other.path()).size() == 1);
}

TEST_CASE("every truncation of a journal costs whole transactions from its end, and no more") {
  const TemporaryDirectory directory;
  {
    const auto journal = open_journal(directory.path());
    journal->begin(commit_of(0));
    for (int n = 0; n < 6; ++n) {
      add(*journal, n, n % 2 + 1);
      journal->sync();
    }
  }
  const std::string path = files(directory.path()).at(0);
  const std::string whole = content(path);
  int most = -1;
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    INFO("cut at " << size);
    write_file(path, whole.substr(0, size));
    for (const auto& left : files(directory.path())) {
      if (left != path) fs::remove(left);
    }
    const auto journal = open_journal(directory.path());
    const auto reach = journal->reach();
    if (!reach.from.valid()) {
      CHECK(most <= 0);
      journal->begin(commit_of(0));
    }
    const int had = static_cast<int>((journal->reach().to.value - commit_of(0).value) / 10);
    CHECK(had >= most);
    most = std::max(most, had);
    CHECK(read(directory.path(), commit_of(0)) == numbers(0, had));
    add(*journal, had);
    journal->sync();
    CHECK(read(directory.path(), commit_of(0)) == numbers(0, had + 1));
  }
  CHECK(most == 6);
}

TEST_CASE("every flipped bit of a journal is an error with its place, or costs what was at its end") {
  const TemporaryDirectory directory;
  {
    const auto journal = open_journal(directory.path());
    journal->begin(commit_of(0));
    for (int n = 0; n < 3; ++n) {
      add(*journal, n);
      journal->sync();
    }
  }
  const std::string path = files(directory.path()).at(0);
  const std::string whole = content(path);
  for (std::size_t at = 0; at < whole.size() * 8; at += 3) {
    std::string bad = whole;
    bad[at / 8] = static_cast<char>(static_cast<unsigned char>(bad[at / 8]) ^ (1U << (at % 8)));
    write_file(path, bad);
    INFO("bit " << at);
    try {
      const auto got = read(directory.path(), commit_of(0));
      CHECK(got.size() < 3);
      CHECK(got == numbers(0, static_cast<int>(got.size())));
    } catch (const Error& error) {
      CHECK((error.kind() == ErrorKind::storage || error.kind() == ErrorKind::precondition));
      CHECK(error.message().find("journal") != std::string::npos);
      CHECK_FALSE(error.hint().empty());
    }
  }
}

TEST_CASE("a journal that lacks a segment in its middle is refused") {
  const TemporaryDirectory directory;
  {
    const auto journal = open_journal(directory.path(), nullptr, small_segments());
    journal->begin(commit_of(0));
    for (int n = 0; n < 8; ++n) add_large(*journal, n);
  }
  fs::remove(files(directory.path()).at(1));
  CHECK(refusal([&] { open_journal(directory.path()); }).kind() == ErrorKind::storage);
  CHECK(refusal([&] { journal_reach(directory.path()); }).kind() == ErrorKind::storage);
}
