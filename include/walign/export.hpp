// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// export: a stretch of the journal as a capture (walign/capture.hpp). A part of module source.
//
// The journal has transactions as they were understood, a capture has messages as the source sent them: they are made
// again, of protocol version 1, whatever the source spoke. What is read from the capture is what the journal has.
#pragma once

#include "walign/source.hpp"

namespace walign::source {

struct ExportOptions {
  std::string state_directory;
  Lsn from;                  // transactions that commit at or above it; the journal has it
  Lsn until;                 // before the first that commits at or above it; 0: to the journal's end
  v1::CaptureHeader origin;  // who the source is; the protocol is set here
  std::string directory;     // empty, or not there
  std::int64_t segment_bytes = state::kCaptureSegmentBytes;
  const Interrupt* stop = nullptr;
};
// What was written, all of it on disk. Throws Error.
CaptureProgress export_journal(const ExportOptions& options);

// pgoutput's messages of version 1 for transactions that come part by part.
class MessageMaker {
 public:
  std::vector<std::string> make(const event::TransactionPart& part);

 private:
  void describe(const event::RelationPtr& relation, std::vector<std::string>& out);
  void change(const event::TransactionPart& part, const v1::Change& change, std::vector<std::string>& out);

  std::map<std::uint32_t, event::RelationPtr> relations_;               // as they were sent
  std::map<std::uint32_t, std::pair<std::string, std::string>> types_;  // schema and name
};

}  // namespace walign::source
