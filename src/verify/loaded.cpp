// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What is compared of a table whose old rows are still being copied: the ranges that the target has.
//
// A range that is loaded when both sides are about to meet was read under an older snapshot than theirs, and the stream
// has brought it to their moment. One of which a key, or all of it, is read again meanwhile says nothing.
#include "verification.hpp"

namespace walign::verify {

namespace {

// Of a range that differs: a TRUNCATE may have emptied it, and a copy under a later snapshot filled it again.
constexpr int kLooks = 2;

void add(Found& all, Found part) {
  all.rows += part.rows;
  all.differences += part.differences;
  for (auto& difference : part.kept) all.add(std::move(difference));
}

}  // namespace

std::optional<Found> Verification::compare_loaded(std::uint64_t id, Table& table, Comparer& comparer,
                                                  const stream::KeyRange& chunk) {
  Found all;
  Range rest{chunk.lower, chunk.upper, chunk.after_lower, chunk.after_upper};
  for (std::optional<Key> cut;; rest.lower = cut, rest.after_lower = false) {
    cut = cut_of(table, rest);
    Range part = rest;
    if (cut) part.upper = cut, part.after_upper = false;
    Found found;
    meet(id, table, [&] {
      found = {};
      comparer.range(part, found);
    });
    add(all, std::move(found));
    if (!cut) break;
  }
  const auto loaded = copier_->loaded(table.plan.route->id);
  if (std::find(loaded.begin(), loaded.end(), chunk) == loaded.end()) return std::nullopt;
  return all;
}

// False, and nothing done, where there is nothing to say of it. Nothing is kept: the whole table is compared once its
// copy is complete.
bool Verification::loaded_part(std::uint64_t id, Table& table) {
  if (copier_ == nullptr || table.plan.key.empty() || table.plan.way == Way::content) return false;
  bool repairs = false;
  {
    const std::lock_guard lock(mutex_);
    const auto& job = find(id);
    if (job.in_background || !job.request.key.empty()) return false;
    repairs = job.request.repair;
  }
  const auto chunks = copier_->loaded(table.plan.route->id);
  if (chunks.empty()) return false;
  Comparer comparer(table.plan, *source_, *target_);
  comparer.prepare();
  comparer.begin_pass();
  Found all;
  std::size_t compared = 0;
  for (const auto& chunk : chunks) {
    std::optional<Found> found;
    for (int looks = 0; looks == 0 || (looks < kLooks && found && found->differences > 0); ++looks) {
      found = compare_loaded(id, table, comparer, chunk);
    }
    if (!found) continue;
    ++compared;
    add(all, std::move(*found));
    const std::lock_guard lock(mutex_);
    auto& report = of(find(id), table);
    report.state = "comparing";
    report.whole = true;
    report.rows = all.rows;
    report.differences = all.differences;
  }
  const std::lock_guard lock(mutex_);
  auto& report = of(find(id), table);
  report.state = "partial";
  report.kept = std::move(all.kept);
  report.notes = table.plan.notes;
  if (table.plan.way == Way::mapped) {
    report.notes.emplace_back("rows too many on the target are looked for when the copy is complete");
  }
  report.error = cat("its old rows are still being copied: ", compared,
                     " of its ranges were there and are compared, the rest can be after that",
                     repairs ? "; what differs is not repaired before" : "");
  return true;
}

}  // namespace walign::verify
