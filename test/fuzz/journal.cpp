// A journal: the first byte chooses between the bytes of its only segment's file, and blocks of messages, each behind
// its length (two bytes), which are written as blocks are, so that the checksum does not end everything.
#include "fuzz.hpp"
#include "state/journal_segment.hpp"
#include "support/frames.hpp"
#include "walign/source.hpp"

namespace walign::fuzz {

namespace {

std::string segment_of(std::string_view bytes) {
  v1::JournalHeader header;
  header.set_segment(1);
  header.set_from_lsn(1);
  std::string out =
      state::segment_magic(state::kJournalSegments) + state::encode_block(header, state::kJournalSegments);
  while (bytes.size() >= 2) {
    const std::size_t size =
        static_cast<unsigned char>(bytes[0]) * 256U + static_cast<unsigned char>(bytes[1]);
    v1::JournalBlock block;
    const auto message = bytes.substr(2, size);
    if (block.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
      out += state::encode_block(block, state::kJournalSegments);
    }
    bytes.remove_prefix(2 + message.size());
  }
  return out;
}

// What was read is whole, and in order.
void read_all(const std::string& directory) {
  const auto reach = state::journal_reach(directory);
  if (!reach.from.valid()) return;
  const auto source = source::open_journal(directory, reach.from);
  bool open = false;
  Lsn last;
  while (auto item = source->next(std::chrono::milliseconds(0))) {
    auto* part = std::get_if<event::TransactionPart>(&*item);
    if (part == nullptr) continue;
    if (part->first() == open) wrong("a part that is none");
    if (part->commit_lsn() < last) wrong("not in order");
    last = part->commit_lsn();
    open = !part->last();
    part->make_self_contained();
  }
  if (open) wrong("a transaction that does not end");
}

void write_behind(const std::string& directory) {
  const auto journal = state::Journal::open(directory, {}, {}, [](const std::string&) {});
  if (!journal->reach().from.valid()) journal->begin(Lsn(1));
  const Lsn to = journal->reach().to;
  if (to.value > UINT64_MAX - 10) return;
  journal->between();
  v1::JournalPart part;
  part.set_commit_lsn(to.value);
  part.set_end_lsn(to.value + 1);
  part.set_last(true);
  v1::Transaction tx;
  tx.set_commit_lsn(to.value);
  tx.set_last(true);
  part.set_transaction(tx.SerializeAsString());
  journal->add(std::move(part));
  journal->sync();
  if (state::journal_reach(directory).to.value != to.value + 1) wrong("what was added is not there");
}

const Scratch& scratch() {
  static const Scratch one;
  return one;
}

}  // namespace

void one_input(std::string_view bytes) {
  if (bytes.empty()) return;
  const bool raw = bytes[0] % 4 == 0;
  bytes.remove_prefix(1);
  const std::string directory = scratch().fresh("journal");
  std::filesystem::create_directory(directory + "/journal");
  std::ofstream(directory + "/journal/00000001.journal", std::ios::binary)
      << (raw ? std::string(bytes) : segment_of(bytes));
  for (const auto& act : {read_all, write_behind}) {
    try {
      act(directory);
    } catch (const Error& error) {
      check_refusal(error);
    }
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> out;
  for (const char* name : {"pg15-v1-text", "pg17-v1-binary"}) {
    const std::string directory = scratch().fresh("seed");
    const auto journal = state::Journal::open(directory, {}, {}, [](const std::string&) {});
    journal->begin(Lsn(1));
    source::JournalWriter writer(*journal);
    event::Assembler assembler(300);
    int parts = 0;
    for (const auto& frame : frames::read(name)) {
      auto taken = assembler.take(decode::decode(as_bytes(frame.payload)));
      auto* part = std::get_if<event::TransactionPart>(&taken);
      if (part == nullptr) continue;
      writer.add(*part);
      if (++parts % 5 == 0) journal->sync();
      if (parts == 60) break;
    }
    journal->sync();
    const std::string path = directory + "/journal/00000001.journal";
    out.push_back(std::string(1, '\0') + read_file(path));
    state::BlockReader reader(path, state::kJournalSegments);
    v1::JournalHeader header;
    reader.next(header);
    std::string blocks(1, '\1');
    for (v1::JournalBlock block; reader.next(block);) {
      const std::string message = block.SerializeAsString();
      if (message.size() > 60'000) continue;
      blocks += static_cast<char>(message.size() >> 8U);
      blocks += static_cast<char>(message.size() & 0xFFU);
      blocks += message;
    }
    out.push_back(blocks);
  }
  return out;
}

}  // namespace walign::fuzz
