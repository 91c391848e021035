// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include "state/journal_segment.hpp"

namespace walign::state {

struct JournalReader::Impl {
  Impl(const std::string& state, Lsn its_from)
      : directory(journal_directory(state)),
        from(its_from),
        reach(journal_reach(state)),
        headers(read_headers(directory)) {
    if (!reach.has(from)) refuse();
    const auto after = std::find_if(headers.begin(), headers.end(),
                                    [&](const auto& header) { return Lsn(header.from_lsn()) > from; });
    at = static_cast<std::size_t>(after - headers.begin()) - 1;
  }

  [[noreturn]] void refuse() const {
    const std::string has = reach.from.valid() ? cat("goes from ", reach.from, " to ", reach.to) : "is empty";
    throw Error(
        ErrorKind::precondition, cat("the journal in ", directory, " ", has, ": it does not have ", from),
        "begin at a position that it has (`walign checkpoints list` shows them); journal: {keep, keep_for} "
        "says how much of it is kept")
        .at(from);
  }

  // Whether there is another one.
  bool open_next() {
    if (at == headers.size()) return false;
    segment = headers[at++].segment();
    const std::string path = segment_path(directory, segment, kJournalSegments);
    reader = std::make_unique<BlockReader>(path, kJournalSegments);
    v1::JournalHeader header;
    if (!reader->next(header)) damaged("it has no header");
    relations.clear();
    order.emplace(Lsn(header.from_lsn()));
    return true;
  }

  bool next_block() {
    for (;;) {
      if (reader && reader->next(block)) return true;
      if (reader && at != headers.size() && (!reader->torn().empty() || order->open())) {
        damaged("it is cut short, and there are later ones");
      }
      if (!open_next()) return false;
    }
  }

  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorKind::storage,
                cat(segment_path(directory, segment, kJournalSegments), ", before offset ",
                    reader ? reader->offset() : 0, ": ", what),
                kJournalSegments.remedy);
  }

  const v1::JournalPart* next() {
    for (;;) {
      while (next_part == block.parts_size()) {
        next_part = 0;
        block.Clear();
        if (!next_block()) return nullptr;
        for (const auto& relation : block.relations()) relations[relation.number()] = relation.description();
      }
      const auto& part = block.parts(next_part++);
      if (Lsn(part.commit_lsn()) >= reach.to) return nullptr;
      check(part);
      if (Lsn(part.commit_lsn()) >= from) return &part;
    }
  }

  void check(const v1::JournalPart& part) {
    try {
      order->take(part);
    } catch (const Error& error) {
      damaged(error.message());
    }
    for (const auto number : part.relations()) {
      if (!relations.contains(number)) damaged(cat("table number ", number, " was never described"));
    }
  }

  const std::string directory;
  const Lsn from;
  const JournalReach reach;
  const std::vector<v1::JournalHeader> headers;
  std::size_t at = 0;  // the segment that is opened next
  std::uint32_t segment = 0;
  std::unique_ptr<BlockReader> reader;
  std::optional<PartOrder> order;
  std::map<std::uint32_t, std::string> relations;
  v1::JournalBlock block;
  int next_part = 0;
};

JournalReader::JournalReader(const std::string& directory, Lsn from)
    : impl_(std::make_unique<Impl>(directory, from)) {}
JournalReader::~JournalReader() = default;

const v1::JournalPart* JournalReader::next() { return impl_->next(); }
const std::string& JournalReader::relation(std::uint32_t number) const {
  const auto found = impl_->relations.find(number);
  WALIGN_CHECK(found != impl_->relations.end());
  return found->second;
}
std::uint32_t JournalReader::segment() const { return impl_->segment; }
const JournalReach& JournalReader::reach() const { return impl_->reach; }

}  // namespace walign::state
