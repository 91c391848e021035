// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What is compared of one table: all of it, range by range, or the keys that have changed.
#include "shown.hpp"
#include "verification.hpp"

namespace walign::verify {

namespace {

constexpr std::size_t kKeysAtOnce = 500;
constexpr int kMostPasses = 5;  // that a TRUNCATE or too many changes have made worthless

std::vector<Key> known_differences(const v1::Verification& record) {
  std::vector<Key> keys;
  for (const auto& difference : record.kept()) {
    if (difference.source_key_size() == 0) continue;
    keys.emplace_back(difference.source_key().begin(), difference.source_key().end());
  }
  return keys;
}

}  // namespace

// What the job's report says of the table, from what is known of it.
void Verification::tell(std::uint64_t id, Table& table, const std::string& state) {
  const std::lock_guard lock(mutex_);
  auto& report = of(find(id), table);
  report.state = state;
  report.differences = table.record.differences();
  report.kept.assign(table.record.kept().begin(), table.record.kept().end());
  report.violations = table.record.violations();
  report.notes = table.plan.notes;
  report.notes.insert(report.notes.end(), table.record.notes().begin(), table.record.notes().end());
  report.verified_at = Lsn(table.record.verified_lsn());
}

void Verification::compare_table(std::uint64_t id, Table& table) {
  Request request;
  {
    const std::lock_guard lock(mutex_);
    request = find(id).request;
    of(find(id), table).state = "comparing";
  }
  if (!is_complete(table)) {
    if (loaded_part(id, table)) return;
    if (!is_complete(table)) {
      tell(id, table, "skipped");
      waits_for(id, table, "its old rows are still being copied: it can be verified after that");
      return;
    }
  }
  if (!request.key.empty()) return one_key(id, table, request.key);
  bool all = request.all;
  {
    const std::lock_guard lock(mutex_);
    all = all || table.needs_pass();
  }
  if (all) whole(id, table);
  if (!table.plan.key.empty()) changed(id, table);
  if (request.repair) repair(id, table);
  tell(id, table, "done");
}

// ---------------------------------------------------------------------------------------- the whole table

void Verification::whole(std::uint64_t id, Table& table) {
  Comparer comparer(table.plan, *source_, *target_);
  comparer.prepare();
  for (int passes = 0; passes < kMostPasses; ++passes) {
    if (pass(id, table, comparer)) return;
  }
  throw Error(ErrorKind::precondition, cat(table.label(), " changes as a whole while it is compared"),
              "it is truncated again and again, or its changes do not tell the target's key: verify it when "
              "it is quiet");
}

// Where it goes on; nothing where it begins.
std::optional<Key> Verification::begin_or_resume(Table& table) {
  const std::lock_guard lock(mutex_);
  auto& record = table.record;
  // What ranges have claimed is known to a session of the target that is gone.
  if (record.has_pass() && table.dirty.tracking() && table.plan.way == Way::hashes &&
      record.pass().next_key_size() > 0) {
    return Key(record.pass().next_key().begin(), record.pass().next_key().end());
  }
  table.dirty.begin_pass();
  record.clear_pass();
  record.mutable_pass()->set_generation(++generation_);
  record.mutable_pass()->set_began_lsn(std::max(taken_, reached_).value);
  save(table);
  return std::nullopt;
}

// False: the pass is worth nothing any more.
bool Verification::take_range(std::uint64_t id, Table& table, const Found& part,
                              const std::optional<Key>& next) {
  const std::lock_guard lock(mutex_);
  if (!table.dirty.tracking() || !table.record.has_pass()) return false;
  auto& its = *table.record.mutable_pass();
  its.set_rows(its.rows() + part.rows);
  its.set_differences(its.differences() + part.differences);
  for (const auto& difference : part.kept) {
    if (its.kept_size() < kMostKept) *its.add_kept() = difference;
  }
  its.clear_next_key();
  const Key to_keep = next.value_or(Key());
  if (std::all_of(to_keep.begin(), to_keep.end(), [](const auto& value) { return is_utf8(value); })) {
    for (const auto& value : to_keep) its.add_next_key(value);
  }
  save(table);
  auto& report = of(find(id), table);
  report.whole = true;
  report.rows = its.rows();
  report.differences = its.differences();
  count(table, part);
  return true;
}

// A difference that a second look does not find any more counts too: where nobody writes to the target and no
// expression reads other tables, there should be none.
void Verification::count(const Table& table, const Found& found) {
  if (metrics_ == nullptr) return;
  metrics_
      ->counter("walign_verified_rows_total", "Rows of the source that were compared.",
                {{"table", table.label()}})
      .add(static_cast<double>(found.rows));
  metrics_
      ->counter("walign_differing_rows_met_total",
                "Rows that differed when they were compared, also where they are equal by now.",
                {{"table", table.label()}})
      .add(static_cast<double>(found.differences));
}

std::optional<Key> Verification::cut_of(const Table& table, const Range& range) {
  if (table.plan.key.empty()) return std::nullopt;
  const auto cut = source_->exec(cut_sql(table.plan, range));
  if (cut.rows() == 0) return std::nullopt;
  Key key;
  for (int c = 0; c < cut.columns(); ++c) key.push_back(cut.str(0, c));
  return key;
}

bool Verification::pass(std::uint64_t id, Table& table, Comparer& comparer) {
  Range range;
  range.lower = begin_or_resume(table);
  if (!range.lower) comparer.begin_pass();
  for (;;) {
    range.upper.reset();
    range.upper = cut_of(table, range);
    Found part;
    meet(id, table, [&] {
      part = {};
      comparer.range(range, part);
    });
    if (!take_range(id, table, part, range.upper)) return false;
    if (!range.upper) break;
    range.lower = range.upper;
  }
  if (comparer.extras_at_the_end()) {
    Found part;
    meet(id, table, [&] {
      std::vector<Key> since;
      {
        const std::lock_guard lock(mutex_);
        since = table.dirty.since(table.record.pass().generation());
      }
      part = {};
      comparer.extras(since, part);
    });
    if (!take_range(id, table, part, std::nullopt)) return false;
  }
  std::vector<std::string> notes;
  const auto broken = check_constraints(*target_, *table.plan.route, notes);
  return end_pass(id, table, broken, std::move(notes));
}

bool Verification::end_pass(std::uint64_t id, Table& table, std::int64_t broken,
                            std::vector<std::string> notes) {
  const std::lock_guard lock(mutex_);
  auto& record = table.record;
  if (!record.has_pass() || !table.dirty.end_pass(record.pass().generation())) return false;
  record.set_dirty(false);
  record.set_verified_lsn(record.pass().began_lsn());
  record.set_verified_at_us(Clock::system().unix_micros());
  record.set_differences(record.pass().differences());
  *record.mutable_kept() = record.pass().kept();
  record.set_violations(broken);
  record.clear_notes();
  for (auto& note : notes) record.add_notes(shown(std::move(note)));
  record.clear_pass();
  // What has changed since the pass began is on disk before the table is said not to be dirty as a whole.
  write_dirty(Lsn());
  save(table);
  const auto& report = of(find(id), table);
  obs::info("table verified",
            {{"table", table.label()}, {"rows", report.rows}, {"differences", record.differences()}});
  return true;
}

// --------------------------------------------------------------------------------------- what has changed

// The result takes the place of what was known of these keys. False: the whole table must be compared.
bool Verification::compare_keys(std::uint64_t id, Table& table, Comparer& comparer,
                                const std::vector<Key>& keys) {
  Found found;
  const auto generation = meet(id, table, [&] {
    found = {};
    comparer.keys(keys, found);
  });
  const std::lock_guard lock(mutex_);
  if (!table.dirty.tracking()) return false;
  count(table, found);
  // Two keys of the source can lead to one of the target, and the other one is not looked at here.
  const bool unsure = !table.plan.keys_are_copies &&
                      std::any_of(found.kept.begin(), found.kept.end(),
                                  [](const auto& d) { return d.kind() == v1::Difference::EXTRA; });
  if (unsure) {
    table.mark_whole();
    return false;
  }
  auto& record = table.record;
  std::vector<v1::Difference> kept;
  const std::set<Key> compared(keys.begin(), keys.end());
  for (const auto& known : record.kept()) {
    if (!compared.contains(Key(known.source_key().begin(), known.source_key().end()))) kept.push_back(known);
  }
  auto number = record.differences() - (record.kept_size() - static_cast<std::int64_t>(kept.size()));
  number += found.differences;
  for (auto& difference : found.kept) {
    if (kept.size() < static_cast<std::size_t>(kMostKept)) kept.push_back(std::move(difference));
  }
  record.set_differences(number);
  record.mutable_kept()->Assign(kept.begin(), kept.end());
  table.dirty.compared(keys, generation);
  write_dirty(Lsn());
  save(table);
  auto& report = of(find(id), table);
  if (!report.whole) report.rows += static_cast<std::int64_t>(keys.size());
  return true;
}

void Verification::changed(std::uint64_t id, Table& table) {
  Comparer comparer(table.plan, *source_, *target_);
  comparer.prepare();
  constexpr auto kBetweenLooks = std::chrono::milliseconds(50);
  constexpr int kMostLooks = 3;
  int again = 0;
  std::uint64_t below = 0;
  Lsn began;
  std::vector<Key> keys;
  {
    const std::lock_guard lock(mutex_);
    if (table.needs_pass()) return;  // more differ than are kept: only all rows tell
    below = ++generation_;
    began = std::max(taken_, reached_);
    keys = known_differences(table.record);
  }
  for (;;) {
    for (std::size_t from = 0; from < keys.size(); from += kKeysAtOnce) {
      const auto first = keys.begin() + static_cast<std::ptrdiff_t>(from);
      const auto last = keys.begin() + static_cast<std::ptrdiff_t>(std::min(from + kKeysAtOnce, keys.size()));
      if (!compare_keys(id, table, comparer, {first, last})) return whole(id, table);
    }
    Lock lock(mutex_);
    keys = table.dirty.some(kKeysAtOnce, below);
    if (!keys.empty()) continue;
    // A row that is about to be given its key was looked for by it: looked for once more before it is said to differ.
    keys = known_differences(table.record);
    if (!table.plan.route->drawn_key || keys.empty() || ++again > kMostLooks) break;
    lock.unlock();
    sleep(kBetweenLooks);
  }
  const std::lock_guard lock(mutex_);
  if (table.dirty.whole()) return;
  table.record.set_verified_lsn(std::max(table.record.verified_lsn(), began.value));
  table.record.set_verified_at_us(Clock::system().unix_micros());
  save(table);
}

void Verification::one_key(std::uint64_t id, Table& table, const Key& key) {
  Comparer comparer(table.plan, *source_, *target_);
  comparer.prepare();
  Found found;
  meet(id, table, [&] {
    found = {};
    comparer.keys({key}, found);
  });
  tell(id, table, "done");
  const std::lock_guard lock(mutex_);
  auto& report = of(find(id), table);
  report.rows = 1;
  report.differences = found.differences;
  report.violations = 0;
  report.kept = std::move(found.kept);
}

// Rows that differ are read again from the source; when they are there, they are compared once more.
void Verification::repair(std::uint64_t id, Table& table) {
  {
    Lock lock(mutex_);
    auto keys = known_differences(table.record);
    if (keys.empty()) return;
    repairs_.push_back({id, &table, std::move(keys)});
    changed_.wait(lock, [&] { return stopping_ || repairs_.empty(); });
    if (stopping_) throw Error(ErrorKind::interrupted, "interrupted", "it goes on with the next session");
    if (of(find(id), table).repaired == 0) return;
  }
  constexpr auto kPause = std::chrono::milliseconds(50);
  while (!is_complete(table)) sleep(kPause);
  changed(id, table);
}

}  // namespace walign::verify
