// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "lane.hpp"

namespace walign::cutover {

namespace {

constexpr std::size_t kKeptOfOne = 100;  // changes of one transaction
constexpr const char* kBreach = "fence breach";

std::optional<std::string_view> message_of(const v1::Change& change) {
  if (change.kind() != v1::Change::MESSAGE || change.message().prefix() != kMarkerPrefix) return std::nullopt;
  return std::string_view(change.message().content());
}

}  // namespace

std::string signature_of(const std::string& stream) { return cat("apply ", stream); }

// What was written to a one_way table while its side was open did not come back; the source has its writes again, and
// the table is copied as if it were new.
std::vector<apply::Extra> Lane::copied_again(const stream::Prepared& prepared) const {
  std::vector<apply::Extra> out;
  for (const auto& route : prepared.routes) {
    if (!route.one_way) continue;
    const auto empties = mapping::truncate_sql(route, false);
    if (!empties) {
      obs::warn("this one_way table is not copied again: which of its rows are ours cannot be told",
                {{"table", route.label()}});
      continue;
    }
    out.push_back({*empties, {}});
    const auto forgets = apply::forget_copied(stream_, route.label());
    out.insert(out.end(), forgets.begin(), forgets.end());
  }
  return out;
}

void Lane::begin(pg::Connection& target, const stream::Prepared& prepared, bool copies) {
  again_ = copies && id_.side == Side::target ? copied_again(prepared) : std::vector<apply::Extra>();
  std::uint64_t halts = 0;
  {
    const std::lock_guard lock(mutex_);
    halts = halt_ ? halts_ - 1 : halts_;  // what is read during a halt is old at its end
  }
  const auto row = read_row(target, id_);
  {
    const std::lock_guard lock(mutex_);
    begun_ = halts;  // one that came meanwhile is not known to what was read
  }
  // Before anything was prepared there is no row, and only the way there.
  listening_ = row ? !row->open_lsn : id_.side == Side::source;
  ours_ = false;
  breach_.clear();
  if (row) breaches_ = apply::count_transactions_kept(target, stream_, kBreach);
}

void Lane::read_marker(const event::TransactionPart& part, Heard& heard) {
  for (const auto& change : part.tx().changes()) {
    const auto text = message_of(change);
    const auto marker = text ? parse_marker(*text) : std::nullopt;
    if (!marker || marker->id != FenceId{id_.migration, other(id_.side)}) continue;
    if (marker->kind == Marker::Kind::fence && !listening_) {
      heard.extra.push_back(note_fence_lsn(id_, marker->epoch, part.end_lsn()));
    }
    if (marker->kind == Marker::Kind::open && listening_) {
      heard.extra.push_back(note_open_lsn(id_, marker->epoch, part.end_lsn()));
      heard.equal = true;
      heard.begin_again = !again_.empty();
      heard.extra.insert(heard.extra.end(), again_.begin(), again_.end());
      ours_ = true;
      listening_ = false;
      obs::info("this direction applies from here on", {{"stream", stream_}, {"lsn", part.end_lsn()}});
    }
  }
}

void Lane::keep_breach(const event::TransactionPart& part) {
  for (const auto& change : part.tx().changes()) {
    if (change.kind() == v1::Change::MESSAGE || breach_.size() >= kKeptOfOne) continue;
    breach_.push_back(
        apply::keep_as_dead_letter(stream_, kBreach, part, change,
                                   "written on the closed side, past its fence: it is on that side only"));
  }
}

stream::Turn::Heard Lane::hear(const event::TransactionPart& part) {
  if (part.first()) {
    const auto& changes = part.tx().changes();
    const auto text = changes.empty() ? std::nullopt : message_of(changes[0]);
    ours_ = text == opposite_;
    breach_.clear();
  }
  Heard heard;
  const bool listened = listening_;
  read_marker(part, heard);
  heard.pass_over = listened || ours_;
  // The way there listens while its source is closed; the way back also beside a source that is open.
  if (!listened || ours_ || id_.side == Side::source) return heard;
  keep_breach(part);
  if (!part.last() || breach_.empty()) return heard;
  ++breaches_;
  obs::warn("fence breach: somebody has written on the closed side; what was written is kept as dead letters",
            {{"lsn", part.commit_lsn()}, {"changes", breach_.size()}});
  heard.extra.insert(heard.extra.end(), breach_.begin(), breach_.end());
  return heard;
}

stream::Turn::Pause Lane::pause() {
  const std::lock_guard lock(mutex_);
  rests_ = halt_;
  if (rests_) changed_.notify_all();
  if (halt_) return Pause::rest;
  return begun_ == halts_ ? Pause::none : Pause::begin;
}

void Lane::halt(bool halt) {
  const std::lock_guard lock(mutex_);
  if (halt && !halt_) ++halts_;
  halt_ = halt;
  rests_ = rests_ && halt;
}

bool Lane::rests(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [this] { return rests_; });
}

}  // namespace walign::cutover
