// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a Session does about every half second, and at its end: positions durable, saved, acknowledged, shown.
#include "additions.hpp"
#include "session.hpp"

namespace walign::stream {

namespace {

using Steady = std::chrono::steady_clock;
constexpr auto kCatalogWatch = std::chrono::seconds(5);

}  // namespace

void Session::store_progress(bool force) {
  if (applier_->pending() || applier_->in_transaction()) return;
  ProgressFacts facts;
  facts.progress = std::max(progress_, applier_->reached());
  facts.stored = applier_->position();
  facts.same_server = prepared_.source.system_id == prepared_.target.system_id;
  facts.our_last_commit = applier_->last_commit_on_target();
  facts.since_stored = Steady::now() - last_stored_;
  if (!force && !worth_storing(facts)) return;
  store(facts.progress);
  last_stored_ = Steady::now();
}

void Session::housekeeping(bool force) {
  last_housekeeping_ = Steady::now();
  companions_.check();
  companions_.lag(board_.status().lag_bytes.value_or(0));
  store_progress(false);
  // A busy target flushes by itself; a quiet one is made to.
  applier_->poll_durable(force || last_housekeeping_ - last_flush_ > std::chrono::seconds(1));
  if (applier_->durable() > saved_) checkpoint();
  acknowledge(carried_.journal->acknowledgeable(saved_));
  carried_.journal->trim(saved_);
  publish();
  if (last_housekeeping_ - last_watched_ < kCatalogWatch) return;
  require_still_published(options_.config, prepared_, *source_sql_);
  if (read_partitions(prepared_, *source_sql_) != partitions_) throw BeginAgain();
  if (options_.config.schema_change == config::SchemaChange::add_columns) note_written_anew();
  last_watched_ = Steady::now();
}

void Session::note_written_anew() {
  const auto rewritten = written_anew(*source_sql_, followed_);
  if (rewritten.empty()) return;
  pg::Connection target(
      connection_options(options_.config, options_.config.target, "control", options_.stop));
  for (const auto& shape : rewritten) {
    apply::note_filenode(target, options_.config.stream_name(), shape.oid, shape.filenode);
    for (auto& known : followed_) {
      if (known.oid == shape.oid) known.filenode = shape.filenode;
    }
  }
}

// Since the stream began, as far as checkpoints tell: after a crash the counts of what was applied since the
// last one are missing, on both sides of the balance.
apply::Books Session::books(const mapping::Route& route) const {
  auto sum = applier_->books()[static_cast<std::size_t>(route.id)];
  for (const auto& before : before_.books()) {
    if (before.table() == route.label()) {
      sum += {before.decoded(), before.applied(), before.filtered(), before.dropped(), before.dead_letters()};
    }
  }
  return sum;
}

std::uint64_t Session::transactions() const { return before_.transactions() + applier_->transactions(); }

void Session::checkpoint() {
  const Lsn durable = applier_->durable();
  WALIGN_CHECK(durable <= applier_->position());
  v1::Checkpoint record;
  record.set_durable_lsn(durable.value);
  record.set_saved_at_us(Clock::system().unix_micros());
  record.set_commit_time_us(applier_->last_commit_time_us());
  record.set_epoch(applier_->epoch());
  record.set_phase("streaming");
  record.set_transactions(transactions());
  for (const auto& route : prepared_.routes) {
    const auto its = books(route);
    if (!its.balance()) {
      throw Error(ErrorKind::bug, cat("the books of ", route.label(), " do not balance at ", durable),
                  "this is a defect in walign; compare the table on both sides, and report it")
          .at(durable);
    }
    auto* entry = record.add_books();
    entry->set_table(route.label());
    entry->set_decoded(its.decoded);
    entry->set_applied(its.applied);
    entry->set_filtered(its.filtered);
    entry->set_dropped(its.dropped);
    entry->set_dead_letters(its.dead_letters);
  }
  carried_.journal->sync();
  store_.put_checkpoint(record);
  saved_ = durable;
}

void Session::finish() {
  applier_->settle();
  // Stopped in the middle of a batch: what is not committed is forgotten, and comes again.
  if (applier_->in_transaction() || applier_->pending()) {
    obs::info("stopped in the middle of a transaction: it comes again at the next start");
  } else {
    store_progress(true);
  }
  applier_->poll_durable(true);
  if (applier_->durable() > saved_) checkpoint();
  acknowledge(std::min(carried_.journal->acknowledgeable(saved_), source_->received()));
  source_->settle();
  publish();
  board_.update([](Status& s) { s.connected = false; });
}

void Session::publish() {
  const Lsn applied_lsn = applied();
  board_.update([&](Status& s) {
    s.received = std::max(source_->received(), applied_lsn);
    s.applied = applied_lsn;
    s.durable = applier_->durable();
    s.acknowledged = source_->acknowledged();
    s.epoch = applier_->epoch();
    s.dead_letters = applier_->dead_letters();
    s.journal = carried_.journal->status();
    s.transactions = transactions();
    s.listening = listening();
    s.last_commit_time_us = applier_->last_commit_time_us();
    s.source_system_id = prepared_.source.system_id;
    s.tables.clear();
    for (const auto& route : prepared_.routes) {
      s.tables.push_back(
          {route.source.to_string(), route.target.to_string(), "streaming", books(route), {}, {}, {}, {}});
    }
    s.phase = "streaming";
    companions_.report(s);
  });
}

}  // namespace walign::stream
