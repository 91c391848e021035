// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "journalling.hpp"

namespace walign::stream {

namespace {

v1::JournalHeader origin_of(const v1::Identity& whose) {
  v1::JournalHeader origin;
  origin.set_source_system_id(whose.source_system_id());
  origin.set_source_timeline(whose.source_timeline());
  origin.set_source_database(whose.source_database());
  origin.set_slot(whose.slot());
  return origin;
}

}  // namespace

std::optional<state::JournalFacts> Journalling::facts() {
  if (config_.reverse) return std::nullopt;
  if (!empty()) journal_->sync();
  const auto reach = journal_ ? journal_->reach() : state::journal_reach(config_.state);
  if (!reach.from.valid()) return std::nullopt;
  return state::JournalFacts{reach.from, reach.to};
}

std::unique_ptr<source::Source> Journalling::open(const v1::Identity& whose, const state::Start& start,
                                                  Lsn position, source::SlotOptions slot) {
  slot.from = position;
  if (config_.reverse) return source::open_slot(slot);
  if (!journal_) {
    journal_ = state::Journal::open(config_.state, origin_of(whose),
                                    {config_.journal.keep_bytes, config_.journal.keep_for},
                                    [](const std::string& note) { obs::warn(note); });
  }
  const bool resumed = start.action == state::Start::Action::resume;
  const bool needed = resumed && start.stream_from > start.from;
  if (needed && !journal_->reach().has(start.stream_from)) {
    throw Error(ErrorKind::precondition,
                cat("the journal in ", config_.state, " was another stream's: what lies between ", position,
                    " and ", start.stream_from, " is not in it"),
                "restore the target to a newer state, or begin again: `walign remove`, then `walign run`")
        .at(position);
  }
  if (!resumed || start.begin_journal || empty()) journal_->begin(position);
  writer_ = std::make_unique<source::JournalWriter>(*journal_);
  const Lsn end = journal_->reach().to;
  const bool catch_up = needed && end > position;
  slot.from = catch_up ? end : std::min(position, end);
  auto from_slot = source::open_slot(slot);
  if (!catch_up) return from_slot;
  obs::info("catching the target up from the journal", {{"from", position}, {"to", end}});
  return source::one_after_the_other(source::open_journal(config_.state, position), std::move(from_slot));
}

void Journalling::take(const event::TransactionPart& part) {
  if (!writer_) return;
  if (empty()) {
    if (!part.first()) return;
    journal_->begin(part.commit_lsn());
  }
  writer_->add(part);
}

void Journalling::passed(Lsn position) {
  if (!empty()) journal_->pass(position);
}

void Journalling::clear() {
  if (!empty()) journal_->clear();
}

void Journalling::sync() {
  if (!empty()) journal_->sync();
}

std::optional<JournalStatus> Journalling::status() const {
  if (empty()) return std::nullopt;
  const auto reach = journal_->reach();
  const auto age_us = std::max<std::int64_t>(Clock::system().unix_micros() - reach.began_at_us, 0);
  return JournalStatus{reach.from, reach.to, reach.bytes, static_cast<double>(age_us) / 1e6};
}

Lsn Journalling::acknowledgeable(Lsn saved) const {
  return empty() ? saved : std::min(saved, journal_->durable_to());
}

void Journalling::trim(Lsn durable) {
  if (!journal_) return;
  journal_->trim(durable, Clock::system().unix_micros());
  if (metrics_ == nullptr) return;
  metrics_->gauge("walign_journal_bytes", "On disk, of the transactions kept to catch a target up from.")
      .set(static_cast<double>(journal_->reach().bytes));
}

}  // namespace walign::stream
