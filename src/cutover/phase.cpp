// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The phases of a migration as one table: a line per phase, a column per fact; `no` where the fact is refused or
// cannot be. Facts about rows and writes may be told again and again, and come first after a start, when the phase
// on disk may be an old one or lost: whatever it says, the two rows of walign.fence win.
#include <array>

#include "walign/cutover.hpp"

namespace walign::cutover {

namespace {

constexpr std::size_t kPhaseCount = 8;
constexpr std::size_t kFacts = 8;
using P = MigrationPhase;
using Next = std::optional<MigrationPhase>;

constexpr Next no = std::nullopt;
constexpr Next fresh = P::new_one;
constexpr Next fill = P::backfilling;
constexpr Next stream = P::streaming;
constexpr Next cutting = P::cutting_over;
constexpr Next cut = P::cut_over;
constexpr Next rolling = P::rolling_back;
constexpr Next done = P::finished;
constexpr Next gone = P::removed;

// clang-format off
constexpr std::array<std::array<Next, kFacts>, kPhaseCount> kTable{{
  // rows     rows      cutover   rollback  writes on writes on
  // missing  complete  begun     begun     source    target    finish    remove
  {fill,      stream,   cutting,  rolling,  fresh,    cut,      no,       gone},   // new
  {fill,      stream,   cutting,  rolling,  fill,     cut,      no,       gone},   // backfilling
  {fill,      stream,   cutting,  rolling,  stream,   cut,      no,       gone},   // streaming
  {cutting,   cutting,  cutting,  rolling,  stream,   cut,      no,       no},     // cutting_over
  {cut,       cut,      cutting,  rolling,  stream,   cut,      done,     no},     // cut_over
  {rolling,   rolling,  cutting,  rolling,  stream,   cut,      no,       no},     // rolling_back
  {no,        no,       no,       no,       no,       no,       done,     no},     // finished
  {no,        no,       no,       no,       no,       no,       no,       gone},   // removed
}};
constexpr std::array<const char*, kPhaseCount> kPhaseNames{
  "new", "backfilling", "streaming", "cutting_over", "cut_over", "rolling_back", "finished", "removed"};
constexpr std::array<const char*, kFacts> kFactNames{
  "rows_missing", "rows_complete", "cutover_begun", "rollback_begun",
  "writes_on_source", "writes_on_target", "finish", "remove"};
// clang-format on

}  // namespace

const char* name(MigrationPhase phase) { return kPhaseNames.at(static_cast<std::size_t>(phase)); }
const char* name(MigrationFact fact) { return kFactNames.at(static_cast<std::size_t>(fact)); }

std::optional<MigrationPhase> parse_phase(std::string_view text) {
  for (std::size_t i = 0; i < kPhaseCount; ++i) {
    if (kPhaseNames.at(i) == text) return static_cast<MigrationPhase>(i);
  }
  return std::nullopt;
}

std::optional<MigrationPhase> next_phase(MigrationPhase phase, MigrationFact fact) {
  return kTable.at(static_cast<std::size_t>(phase)).at(static_cast<std::size_t>(fact));
}

}  // namespace walign::cutover
