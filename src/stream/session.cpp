// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include "walign/pulse.hpp"

namespace walign::stream {

namespace {

using Steady = std::chrono::steady_clock;
constexpr auto kHousekeeping = std::chrono::milliseconds(500);
constexpr auto kIdleWait = std::chrono::milliseconds(20);
constexpr auto kAwaitedWait =
    std::chrono::milliseconds(2);  // while somebody waits for the stream to pass a position
constexpr auto kNudgeEvery = std::chrono::milliseconds(100);

void observe_flush(obs::Metrics& metrics, const apply::Applier::FlushStats& stats) {
  metrics.histogram("walign_batch_rows", "Source changes in one batch.", {1, 10, 100, 1000, 10000, 100000})
      .observe(static_cast<double>(stats.changes));
  metrics
      .histogram("walign_batch_seconds", "Time to write one batch to the target.",
                 {0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30})
      .observe(stats.seconds);
}

struct StopCompanions {
  Companions& companions;
  ~StopCompanions() { companions.stop(); }
};

}  // namespace

Session::Session(const Options& options, state::Store& store, Board& board, Carried& carried,
                 const Interrupt& hard)
    : options_(options),
      companions_(options_.companions),
      store_(store),
      board_(board),
      carried_(carried),
      hard_(hard) {}

void Session::run() {
  const StopCompanions stop_with_us{companions_};
  connect();
  try {
    loop();
  } catch (const Error& error) {
    // Asked to stop while waiting for a server: what was applied is still to be saved and acknowledged.
    if (error.kind() != ErrorKind::interrupted || hard_.raised()) throw;
  }
  finish();
}

void Session::connect() {
  const auto& config = options_.config;
  source_sql_ =
      std::make_unique<pg::Connection>(connection_options(config, config.source, "control", options_.stop));
  if (!carried_.journal) carried_.journal = std::make_unique<Journalling>(config, options_.metrics);
  Snapshot birth;
  state::Start start;
  pg::Connection target(connection_options(config, config.target, "control", options_.stop));
  {
    const auto old_rows = options_.no_backfill              ? OldRows::brought
                          : companions_.copier() != nullptr ? OldRows::copied
                                                            : OldRows::refused;
    auto begun = begin(config, old_rows, store_, *source_sql_, target, carried_.made, may_alter(target),
                       carried_.journal->facts());
    prepared_ = std::move(begun.prepared);
    start = begun.start;
    if (begun.crossing) carried_.journal = std::make_unique<Journalling>(config, options_.metrics);
    birth = begun.birth;
    shapes_ = std::make_unique<Shapes>(prepared_.source_catalog, begun.shapes, begun.past);
    followed_ = std::move(begun.shapes);
    partitions_ = read_partitions(prepared_, *source_sql_);
    carried_.shape_asked.reset();
  }
  apply::Options apply;
  apply.connection = connection_options(config, config.target, "apply", &hard_);
  apply.stream = config.stream_name();
  apply.max_batch_rows = config.apply.max_batch_rows;
  apply.max_batch_bytes = config.apply.max_batch_bytes;
  apply.on_conflict = config.apply.on_conflict;
  if (config.reverse) apply.signature = cat("apply ", config.stream_name());
  apply.ignored_relations = carried_.ignored_relations;
  applier_ = std::make_unique<apply::Applier>(std::move(apply), prepared_.routes);
  applier_->be_careful_at(carried_.careful_at);
  open_crosswalk();
  if (options_.turn != nullptr) options_.turn->begin(target, prepared_, companions_.copier() != nullptr);
  note_progress();  // a commit whose answer was lost counts
  if (!applier_->replica_role()) {
    obs::warn("triggers and foreign keys of the target fire: changes are applied in strict source order");
  }
  progress_ = applier_->position();
  if (const auto newest = store_.newest_checkpoint()) {
    saved_ = Lsn(newest->durable_lsn());
    before_ = *newest;
  }

  source::SlotOptions slot;
  slot.connection = connection_options(config, config.source, "stream", options_.stop);
  slot.server = prepared_.source;
  slot.slot = config.slot_name();
  if (!prepared_.published.empty()) slot.publications.push_back(config.stream_name());
  if (!prepared_.published_inserts.empty()) slot.publications.push_back(inserts_publication(config));
  slot.from = applier_->position();
  slot.spill_directory = config.state;
  slot.spill_above_bytes = static_cast<std::size_t>(config.apply.spill_above_bytes);
  source_ = carried_.journal->open(*store_.identity(), start, applier_->position(), slot);
  companions_.listening(told_listening_ = listening());
  companions_.start(
      {&config, &prepared_, applier_->epoch(), birth, applier_->position(), &store_, options_.metrics});
  find_end();
  last_stored_ = last_flush_ = last_watched_ = last_nudge_ = Steady::now();
  obs::info("streaming", {{"slot", slot.slot}, {"lsn", slot.from}, {"epoch", applier_->epoch()}});
  housekeeping(true);
  board_.update([](Status& s) {
    s.connected = true;
    s.tries_again = false;
    s.last_error.clear();
  });
}

// Not what the application writes to: a stream that listens alters nothing.
bool Session::may_alter(pg::Connection& target) {
  const auto& config = options_.config;
  if (config.schema_change == config::SchemaChange::stop) return false;
  if (options_.turn != nullptr) options_.turn->begin(target, Prepared(), false);
  return !listening();
}

// After the applier, which has ended whoever was there before.
void Session::open_crosswalk() {
  if (!apply::Crosswalk::needed(prepared_.routes)) return;
  const auto& config = options_.config;
  apply::Crosswalk::Options keys;
  keys.keys = connection_options(config, config.target, "keys", options_.stop);
  keys.rows = connection_options(config, config.source, "keys", options_.stop);
  keys.stream = config.stream_name();
  keys.signature = cat("apply ", config::reversed(config).stream_name());
  crosswalk_ = std::make_unique<apply::Crosswalk>(std::move(keys), prepared_.routes);
}

void Session::tend_keys() {
  if (crosswalk_ && !listening()) crosswalk_->tend(applier_->position(), applied());
}

void Session::acknowledge(Lsn position) {
  const Lsn to = crosswalk_ ? std::min(position, crosswalk_->owed()) : position;
  if (to >= source_->acknowledged()) source_->acknowledge(to);
}

// --until-caught-up is the end of WAL as it is when streaming begins, or when the last old row was copied.
void Session::find_end() {
  if (!carried_.until.caught_up || carried_.until.lsn || companions_.copying()) return;
  carried_.until.lsn = source::current_lsn(*source_sql_, prepared_.source.wal_segment_bytes);
  obs::info("running until caught up", {{"lsn", *carried_.until.lsn}});
}

void Session::loop() {
  if (ends_at(carried_.until, applier_->reached())) return;
  while (!options_.stop->raised()) {
    Pulse::beat();
    tell_listening();
    if (!applier_->gathering() && !applier_->in_transaction() && wanted_between()) flush();
    const bool between = !applier_->pending() && !applier_->in_transaction();
    if (between) board_.carry_out(*applier_);
    if (between && !may_go_on()) {
      options_.stop->sleep_for(kAwaitedWait);
      housekeeping(false);
      continue;
    }
    if (between && board_.paused()) {
      options_.stop->sleep_for(kIdleWait);
      housekeeping(false);
      continue;
    }
    tend_keys();
    // What was gathered is written as soon as nothing more is waiting; a large transaction's beginning can wait.
    const bool write_soon = applier_->pending() && !applier_->in_transaction();
    const auto patience = companions_.active() ? kAwaitedWait : kIdleWait;
    auto item = source_->next(write_soon ? std::chrono::milliseconds(0) : patience);
    if (item) {
      if (!take(std::move(*item))) return;
    } else if (!idle()) {
      return;
    }
    if (Steady::now() - last_housekeeping_ >= kHousekeeping) housekeeping(false);
  }
}

bool Session::take(source::Item item) {
  if (const auto* progress = std::get_if<source::Progress>(&item)) {
    progress_ = std::max(progress_, progress->lsn);
    carried_.journal->passed(progress->lsn);
    if (!ends_at(carried_.until, progress_)) return true;
    flush();
    return false;
  }
  auto& part = std::get<event::TransactionPart>(item);
  listening() ? carried_.journal->clear() : carried_.journal->take(part);
  // What ends at or below the position begins below it, and what begins at it is new: records do not overlap.
  if (part.commit_lsn() < applier_->reached()) return true;
  if (part.first() && ends_before(carried_.until, part.commit_lsn(), part.tx().commit_time_us())) {
    flush();
    return false;
  }
  part = brought_up(std::move(part));
  if (options_.metrics != nullptr) {
    options_.metrics
        ->counter("walign_received_bytes_total", "Memory of the changes received, before they are written.")
        .add(static_cast<double>(part.memory_bytes()));
  }
  gather(std::move(part));
  return true;
}

// Where the stream stops here, it stops just before the first row of the altered table.
event::TransactionPart Session::brought_up(event::TransactionPart part) {
  const bool first = part.first();
  try {
    return shapes_->bring_up(std::move(part));
  } catch (const ShapeUnknown&) {
    if (first) flush();
    throw;
  } catch (const Error&) {
    if (first) flush();
    throw;
  }
}

void Session::gather(event::TransactionPart part) {
  Turn::Heard heard;
  if (options_.turn != nullptr) heard = options_.turn->hear(part);
  if (heard.pass_over) return pass_over(std::move(part), std::move(heard));
  const bool at_once = !heard.extra.empty();
  if (crosswalk_) {
    auto its = crosswalk_->fill(part);
    heard.extra.insert(heard.extra.end(), its.begin(), its.end());
  }
  if (companions_.active()) {
    take_judged(std::move(part), std::move(heard.extra));
  } else {
    companions_.taken(part, std::nullopt);
    applier_->add(std::move(part), {}, std::move(heard.extra));
  }
  if (at_once) {
    flush();
  } else if (applier_->full()) {
    hand_over();
  }
}

// ---------------------------------------------------------------------------------------- whose turn it is

void Session::pass_over(event::TransactionPart part, Turn::Heard heard) {
  carried_.journal->clear();
  if (!part.last()) return;
  const Lsn end = part.end_lsn();
  if (!heard.extra.empty()) {
    event::TransactionPart empty;
    empty.mutable_tx() = part.tx();
    empty.mutable_tx().clear_changes();
    empty.mutable_tx().set_part(0);
    applier_->add(std::move(empty), {}, std::move(heard.extra));
    flush();
  }
  progress_ = std::max(progress_, end);
  if (heard.equal) companions_.equal(end);
  if (heard.begin_again) throw BeginAgain();
}

void Session::tell_listening() {
  if (listening() != told_listening_) companions_.listening(told_listening_ = listening());
}

bool Session::may_go_on() {
  if (options_.turn == nullptr) return true;
  const auto pause = options_.turn->pause();
  if (pause == Turn::Pause::none) return true;
  if (pause == Turn::Pause::rest) return false;
  pg::Connection target(
      connection_options(options_.config, options_.config.target, "control", options_.stop));
  options_.turn->begin(target, prepared_, companions_.copier() != nullptr);
  return false;  // asked again: it may have been told to rest meanwhile
}

void Session::store(Lsn progress) {
  companions_.before_commit(progress);
  applier_->store_progress(progress);
}

void Session::tell_companions(std::optional<Next> next) {
  if (options_.companions.empty() || listening() || applier_->pending() || applier_->in_transaction()) return;
  // A table is complete when the *stored* position has passed its last fence, so store it without delay.
  const Lsn reached = applied();
  const Lsn awaited = companions_.awaited();
  if (awaited.valid() && reached >= awaited && applier_->position() < awaited) store(reached);
  companions_.committed(applier_->position(), next ? std::max(reached, next->commit_lsn) : reached,
                        next ? std::optional(next->xid) : std::nullopt);
}

void Session::meanwhile(const Next& next) {
  options_.stop->throw_if_raised();
  flush();
  tell_companions(next);
  if (Steady::now() - last_housekeeping_ >= kHousekeeping) housekeeping(false);
}

// Rule 1 of walign/align.hpp: a commit can be decoded before it is visible. What has been taken is visible.
Xid Session::pass_gate(std::uint32_t xid, Lsn commit_lsn) {
  for (int tries = 0;; ++tries) {
    const Xid wide = Xid::widen(xid, gate_.xmax);
    if (gate_.inside(wide)) return wide;
    if (tries > 0) {
      meanwhile({wide, commit_lsn});
      options_.stop->sleep_for(std::chrono::milliseconds(std::min(tries, 20)));
    }
    const auto r = source_sql_->exec("SELECT pg_catalog.pg_current_snapshot()");
    const auto snapshot = Snapshot::parse(r.text(0, 0));
    WALIGN_CHECK(snapshot.has_value());
    gate_ = *snapshot;
  }
}

void Session::take_judged(event::TransactionPart part, std::vector<apply::Extra> extra) {
  // Not only the first part: somebody may have begun to read rows in the middle of the transaction.
  const Xid xid = pass_gate(part.tx().xid(), part.commit_lsn());
  auto judgement = companions_.judge(part, xid);
  while (!judgement) {
    meanwhile({xid, part.commit_lsn()});
    companions_.wait(std::chrono::milliseconds(20));
    judgement = companions_.judge(part, xid);
  }
  if (judgement->alone) flush();
  companions_.taken(part, xid);
  extra.insert(extra.end(), judgement->extra.begin(), judgement->extra.end());
  applier_->add(std::move(part), std::move(judgement->exceptions), std::move(extra));
  if (judgement->alone) flush();
}

void Session::flush() {
  if (!applier_->pending()) return;
  companions_.before_commit(Lsn());
  applier_->flush();
  tell_companions(std::nullopt);
  wrote();
}

void Session::hand_over() {
  if (companions_.active() || listening() || crosswalk_) return flush();
  companions_.before_commit(Lsn());
  applier_->hand_over();
  wrote();
}

bool Session::wanted_between() const {
  return board_.wanted() || (options_.turn != nullptr && options_.turn->pause() != Turn::Pause::none);
}

void Session::wrote() {
  last_flush_ = Steady::now();
  note_progress();
  if (!applier_->in_transaction() && carried_.careful_at.valid() &&
      applier_->reached() > carried_.careful_at) {
    carried_.careful_at = Lsn();
  }
  const auto flushes = applier_->take_flush_stats();
  if (options_.metrics == nullptr || flushes.empty()) return;
  for (const auto& stats : flushes) observe_flush(*options_.metrics, stats);
  const double seconds =
      static_cast<double>(Clock::system().unix_micros() - applier_->last_commit_time_us()) / 1e6;
  if (applier_->last_commit_time_us() == 0) return;
  options_.metrics
      ->histogram("walign_commit_to_apply_seconds",
                  "From the commit on the source to the commit on the target.",
                  {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600})
      .observe(std::max(0.0, seconds));
}

void Session::note_progress() {
  const Lsn reached = applier_->reached();
  carried_.made_progress =
      carried_.made_progress || (carried_.position.valid() && reached > carried_.position);
  carried_.position = std::max(carried_.position, reached);
}

bool Session::idle() {
  if (!applier_->in_transaction()) flush();
  if (companions_.active() && !listening()) {
    tell_companions(std::nullopt);
    // Nothing makes an idle source say that a fence is passed.
    if (companions_.awaited() > applied() && !applier_->in_transaction() &&
        Steady::now() - last_nudge_ >= kNudgeEvery) {
      source::nudge(*source_sql_);
      last_nudge_ = Steady::now();
    }
  }
  find_end();
  if (!carried_.until.any() || applier_->in_transaction()) return true;
  // Past the time, by the source's clock, which commits have theirs from: what was committed up to it is below the
  // end of WAL that is read after it.
  const bool time_is_over = carried_.until.time_us && !carried_.until.lsn &&
                            source::clock_us(*source_sql_) > *carried_.until.time_us;
  const Lsn end = source::current_lsn(*source_sql_, prepared_.source.wal_segment_bytes);
  if (time_is_over) carried_.until.lsn = end;
  if (ends_at(carried_.until, applied())) return false;
  // The end is in the source's WAL, and nothing makes the source say so: a record of an open transaction, or one
  // that is not flushed.
  if (carried_.until.lsn && end >= *carried_.until.lsn) source::nudge(*source_sql_);
  return true;
}

Lsn Session::applied() const {
  const Lsn reached = applier_->reached();
  return applier_->pending() || applier_->in_transaction() ? reached : std::max(reached, progress_);
}

}  // namespace walign::stream
