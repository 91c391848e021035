// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "state/journal_segment.hpp"

#include <fcntl.h>

namespace walign::state {

std::string journal_directory(const std::string& directory) {
  const auto end = directory.find_last_not_of('/');
  return cat(directory.substr(0, end == std::string::npos ? 0 : end + 1), "/journal");
}

void PartOrder::take(const v1::JournalPart& part) {
  const auto wrong = [&](const char* what) {
    throw Error(ErrorKind::malformed,
                cat("part ", part.part(), " of the transaction at ", Lsn(part.commit_lsn()), " ", what));
  };
  if (part.part() != (open_ ? next_part_ : 0)) wrong("is not the one that comes next");
  if (open_ && Lsn(part.commit_lsn()) != commit_) wrong("stands in another transaction");
  if (!open_ && Lsn(part.commit_lsn()) < to_) wrong("comes after what committed later");
  if (part.last() && part.end_lsn() <= part.commit_lsn()) wrong("ends before it begins");
  commit_ = Lsn(part.commit_lsn());
  next_part_ = part.part() + 1;
  open_ = !part.last();
  if (part.last()) to_ = Lsn(part.end_lsn());
}

JournalScan scan_segment(const std::string& path) {
  BlockReader reader(path, kJournalSegments);
  JournalScan scan;
  v1::JournalHeader header;
  if (reader.next(header)) {
    scan.to = Lsn(header.from_lsn());
    scan.whole_bytes = reader.offset();
    PartOrder order(scan.to);
    v1::JournalBlock block;
    while (reader.next(block)) {
      try {
        for (const auto& part : block.parts()) order.take(part);
      } catch (const Error& error) {
        throw Error(ErrorKind::storage,
                    cat(path, ", block before offset ", reader.offset(), ": ", error.message()),
                    kJournalSegments.remedy);
      }
      order.passed(Lsn(block.passed_lsn()));
      if (order.open()) continue;
      scan.to = order.to();
      scan.whole_bytes = reader.offset();
    }
    if (reader.torn().empty() && order.open()) {
      scan.rest = cat(path, " ends inside a transaction, which began at offset ", scan.whole_bytes);
    }
    scan.header = std::move(header);
  }
  if (!reader.torn().empty()) scan.rest = reader.torn();
  if (!scan.header && scan.rest.empty()) scan.rest = cat(path, " has no header");
  return scan;
}

std::vector<v1::JournalHeader> read_headers(const std::string& journal) {
  std::vector<v1::JournalHeader> headers;
  const auto numbers = list_segments(journal, kJournalSegments);
  for (const auto number : numbers) {
    const std::string path = segment_path(journal, number, kJournalSegments);
    BlockReader reader(path, kJournalSegments);
    v1::JournalHeader header;
    if (!reader.next(header)) {
      if (number == numbers.back()) break;
      throw Error(ErrorKind::storage, cat(path, " has no header"), kJournalSegments.remedy);
    }
    if (header.segment() != number || (!headers.empty() && number != headers.back().segment() + 1)) {
      throw Error(ErrorKind::storage,
                  cat(path, " is segment ", header.segment(), " and comes after ",
                      headers.empty() ? 0 : headers.back().segment(), ": one is missing, or was renamed"),
                  kJournalSegments.remedy);
    }
    headers.push_back(std::move(header));
  }
  return headers;
}

JournalReach journal_reach(const std::string& directory) {
  const std::string journal = journal_directory(directory);
  const auto headers = read_headers(journal);
  if (headers.empty()) return {};
  JournalReach reach;
  reach.from = Lsn(headers.front().from_lsn());
  reach.to = scan_segment(segment_path(journal, headers.back().segment(), kJournalSegments)).to;
  reach.began_at_us = headers.front().began_at_us();
  for (const auto& header : headers) {
    reach.bytes += File(segment_path(journal, header.segment(), kJournalSegments), O_RDONLY).size();
  }
  return reach;
}

}  // namespace walign::state
