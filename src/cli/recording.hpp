// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What capture and events share: a slot that is read beside the migration's own.
#pragma once

#include "command.hpp"
#include "walign/catalog.hpp"
#include "walign/source.hpp"

namespace walign::cli {

struct SlotChoice {
  std::string slot;                       // empty: the migration's own for captures
  std::vector<std::string> publications;  // empty: the migration's
};
// Adds --slot and --publication.
void add_slot_choice(CLI::App* command, SlotChoice& choice);

// How to read that slot from where it stands. Makes the migration's own where it is not there. Throws
// Error(precondition) where a publication is missing, or a slot that was named.
// `two_phase`: where it is made.
source::SlotOptions choose_slot(const config::Config& config, const SlotChoice& choice,
                                const Interrupt& interrupt, bool two_phase = false);

// Who the source is, as a capture's header says it.
v1::CaptureHeader describe_source(pg::Connection& source);
// What the tables of these publications are like, now.
v1::SourceCatalog describe_tables(pg::Connection& source, const std::vector<std::string>& publications);

pg::ConnectionOptions recording_connection(const config::Config& config, const Interrupt& interrupt);

// What the sidecar's journal has; Error(precondition) where it is empty.
state::JournalReach kept_journal(const config::Config& config);
// Whose transactions they are, as the state directory says it.
v1::CaptureHeader recorded_origin(const config::Config& config);

// A directory of one's own for what does not fit into memory, gone with the object.
class SpillDirectory {
 public:
  SpillDirectory();
  ~SpillDirectory();
  SpillDirectory(const SpillDirectory&) = delete;
  SpillDirectory& operator=(const SpillDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace walign::cli
