// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The journal's segments as files: which there are, and how far one is whole.
#pragma once

#include "state/capture_block.hpp"
#include "walign/journal.hpp"

namespace walign::state {

inline constexpr SegmentKind kJournalSegments{
    {"waljrn\0", 7},
    ".journal",
    "the journal",
    "the file was damaged after it was written: move the journal's directory away and run again; walign goes "
    "on from "
    "the target's position, and what is lost is how far a target can be taken back",
    1};  // fast: it is on the way of every row

// DIRECTORY/journal.
std::string journal_directory(const std::string& directory);

// That the parts of transactions follow each other as they must.
class PartOrder {
 public:
  explicit PartOrder(Lsn from) : to_(from) {}
  // Throws Error(malformed).
  void take(const v1::JournalPart& part);
  void passed(Lsn position) { to_ = std::max(to_, position); }
  // Of what is whole.
  [[nodiscard]] Lsn to() const { return to_; }
  [[nodiscard]] bool open() const { return open_; }

 private:
  Lsn to_;
  Lsn commit_;  // of the open transaction
  std::uint32_t next_part_ = 0;
  bool open_ = false;
};

struct JournalScan {
  std::optional<v1::JournalHeader> header;  // none: its making was cut short
  Lsn to;                                   // what is whole ends here
  std::uint64_t whole_bytes = 0;            // and here in the file
  std::string rest;                         // what comes after that; empty if nothing does
};
// Reads all of a segment. Throws Error(storage) for damage.
JournalScan scan_segment(const std::string& path);

// The headers of the segments that have one, in order; the newest may lack it. Throws Error(storage) where one is
// missing between two others.
std::vector<v1::JournalHeader> read_headers(const std::string& journal);

}  // namespace walign::state
