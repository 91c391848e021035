// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/replay.hpp"

#include "begin.hpp"

namespace walign::stream {

namespace {

using Steady = std::chrono::steady_clock;

// What both kinds have in common: the counting, the end, the progress.
class Run {
 public:
  explicit Run(const Replay& replay) : replay_(replay) { WALIGN_CHECK(replay.stop != nullptr); }

  // The next part that is to be taken; nothing at the end. `passed` is told of positions.
  std::optional<event::TransactionPart> next(source::Source& source, const std::function<void(Lsn)>& passed) {
    while (!source.ended()) {
      replay_.stop->throw_if_raised();
      tell();
      auto item = source.next(std::chrono::milliseconds(100));
      if (!item) continue;
      if (const auto* progress = std::get_if<source::Progress>(&*item)) {
        if (replay_.until.valid() && progress->lsn > replay_.until) continue;
        reached(progress->lsn);
        passed(progress->lsn);
        continue;
      }
      auto& part = std::get<event::TransactionPart>(*item);
      if (part.first() && replay_.until.valid() && part.commit_lsn() >= replay_.until) return std::nullopt;
      return std::move(part);
    }
    return std::nullopt;
  }

  void reached(Lsn position) { done_.position = std::max(done_.position, position); }

  void count(const event::TransactionPart& part) {
    done_.changes += static_cast<std::uint64_t>(part.tx().changes_size());
    for (const auto& change : part.tx().changes()) {
      done_.bytes += change.new_row().values().size() + change.old_row().values().size();
    }
    if (!part.last()) return;
    ++done_.transactions;
    reached(part.end_lsn());
  }

  ReplayDone done() {
    done_.seconds = std::chrono::duration<double>(Steady::now() - began_).count();
    return done_;
  }

 private:
  void tell() {
    if (!replay_.progress || ++calls_ % 64 != 0 || Steady::now() - told_ < std::chrono::seconds(1)) return;
    told_ = Steady::now();
    replay_.progress(done());
  }

  const Replay& replay_;
  ReplayDone done_;
  const Steady::time_point began_ = Steady::now();
  Steady::time_point told_ = began_;
  std::uint64_t calls_ = 0;
};

class Faulty final : public source::Source {
 public:
  Faulty(std::unique_ptr<source::Source> good, Fault fault) : good_(std::move(good)), fault_(fault) {}

  std::optional<source::Item> next(std::chrono::milliseconds timeout) override {
    if (given_ < fault_.after) {
      auto item = good_->next(timeout);
      if (item) ++given_;
      return item;
    }
    if (fault_.kind != Fault::Kind::truncate) throw Error(ErrorKind::connection, "broken off on purpose");
    truncated_ = true;
    return std::nullopt;
  }
  void acknowledge(Lsn durable) override { good_->acknowledge(durable); }
  void settle() override { good_->settle(); }
  [[nodiscard]] Lsn received() const override { return good_->received(); }
  [[nodiscard]] Lsn acknowledged() const override { return good_->acknowledged(); }
  [[nodiscard]] bool ended() const override { return truncated_ || good_->ended(); }

 private:
  std::unique_ptr<source::Source> good_;
  const Fault fault_;
  std::uint64_t given_ = 0;
  bool truncated_ = false;
};

// walign records values as text; what another program has recorded may have others.
void refuse_binary_values(const event::TransactionPart& part) {
  const auto& changes = part.tx().changes();
  const bool any = std::any_of(changes.begin(), changes.end(), [](const v1::Change& change) {
    return !change.new_row().binary().empty() || !change.old_row().binary().empty();
  });
  if (!any) return;
  throw Error(
      ErrorKind::precondition,
      "what was recorded has values in binary form, which only their server can read",
      "capture again with `walign capture`, which asks for text; `walign events` prints them as they are")
      .at(part.commit_lsn());
}

class IntoTarget {
 public:
  IntoTarget(const Replay& replay, const config::Config& config)
      : replay_(replay), config_(config), stream_(config.stream_name() + "_replay"), run_(replay) {}

  ReplayDone run() {
    pg::Connection target(connection_options(config_, config_.target, "replay", replay_.stop));
    apply::install_schema(target);
    const auto row = apply::read_stream(target, stream_);
    const Lsn begins = row && row->position.valid() ? row->position : replay_.from;
    while (recorded_ + 1 < replay_.recorded.size() && replay_.recorded[recorded_ + 1].from <= begins)
      ++recorded_;
    prepared_ = replay_.recorded.empty() ? as_the_source_says(target) : as_recorded(target);
    refuse_failures(prepared_);
    begin_stream(target, row);
    while (!session(target)) {
    }
    return run_.done();
  }

 private:
  Prepared as_recorded(pg::Connection& target) const {
    const auto& its = replay_.recorded[recorded_];
    pg::ServerFacts source;
    source.system_id = replay_.system_id;
    source.timeline = replay_.timeline;
    source.database = replay_.database;
    source.version = static_cast<int>(its.version);
    source.encoding = its.encoding;
    return prepare_replay(config_, std::move(source), source::recorded_catalog(its.catalog), target);
  }

  Prepared as_the_source_says(pg::Connection& target) const {
    try {
      pg::Connection source(connection_options(config_, config_.source, "replay", replay_.stop));
      return prepare_replay(config_, pg::read_server(source), pg::read_tables(source), target);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::connection) throw;
      throw Error(
          error.kind(),
          cat("what was recorded does not say what the source's tables are like, and the source does not "
              "either: ",
              error.message()),
          "let source: name a server that has the tables; what `walign capture` records now says it by "
          "itself");
    }
  }

  void begin_stream(pg::Connection& target, const std::optional<apply::StreamRow>& row) {
    if (row && (row->source_system_id != replay_.system_id || row->source_timeline != replay_.timeline ||
                row->source_database != replay_.database)) {
      throw Error(
          ErrorKind::precondition,
          cat("the target was replayed to from database ", row->source_database, " of system identifier ",
              row->source_system_id, ", timeline ", row->source_timeline, "; this is of ", replay_.database,
              " of ", replay_.system_id, ", timeline ", replay_.timeline),
          cat("replay into another target, or forget the earlier one: DELETE FROM walign.stream WHERE name "
              "= ",
              pg::quote_literal(stream_)));
    }
    if (row && row->position.valid()) return;
    apply::StreamRow fresh;
    fresh.source_system_id = replay_.system_id;
    fresh.source_timeline = replay_.timeline;
    fresh.source_database = replay_.database;
    fresh.slot = replay_.slot;
    fresh.mapping_hash = mapping::mapping_hash(prepared_.routes);
    if (!row) apply::insert_stream(target, stream_, fresh);
    apply::begin_stream(target, stream_, replay_.from, "");
  }

  // The stream describes a table otherwise than the mapping was made for. What came before is applied first, then the
  // tables are taken to be as they were recorded another time: later, or else earlier, since what was recorded is how
  // they were when a connection began, which may bring what is older.
  bool may_have_changed() {
    if (std::exchange(mismatch_at_, at_) != at_) tried_.clear();
    tried_.insert(recorded_);
    std::vector<std::size_t> others;
    for (std::size_t i = recorded_ + 1; i < replay_.recorded.size(); ++i) others.push_back(i);
    for (std::size_t i = std::min(recorded_, replay_.recorded.size()); i-- > 0;) others.push_back(i);
    const auto next = std::find_if(others.begin(), others.end(), [&](auto i) { return !tried_.contains(i); });
    if (next == others.end()) return false;
    next_recorded_ = *next;
    changed_at_ = at_;
    return true;
  }
  bool take_next_recorded(pg::Connection& target) {
    changed_at_ = Lsn();
    recorded_ = next_recorded_;
    prepared_ = as_recorded(target);
    refuse_failures(prepared_);
    return false;
  }

  // False: it must be read again from the target's position.
  bool session(pg::Connection& target) {
    apply::Options options;
    options.connection = connection_options(config_, config_.target, "apply", replay_.stop);
    options.stream = stream_;
    options.max_batch_rows = config_.apply.max_batch_rows;
    options.max_batch_bytes = config_.apply.max_batch_bytes;
    options.on_conflict = config_.apply.on_conflict;
    options.ignored_relations = ignored_;
    apply::Applier applier(std::move(options), prepared_.routes);
    applier.be_careful_at(careful_at_);
    try {
      apply_all(applier);
      return changed_at_.valid() ? take_next_recorded(target) : true;
    } catch (const apply::ReadAgain& again) {
      careful_at_ = again.careful_commit_lsn;
    } catch (const apply::UnknownRelation& relation) {
      obs::warn("changes of a table that the mapping does not name are passed over",
                {{"table", relation.name.to_string()}});
      ignored_.insert(relation.oid);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::precondition && may_have_changed()) return false;
      if (error.kind() != ErrorKind::connection || !replay_.fault || std::exchange(broken_, true)) throw;
    }
    return false;
  }

  void apply_all(apply::Applier& applier) {
    const Lsn from = applier.position();
    const bool repeat = broken_ && replay_.fault->kind == Fault::Kind::repeat;
    auto source = replay_.open(repeat ? replay_.from : from);
    if (replay_.fault && !broken_) source = std::make_unique<Faulty>(std::move(source), *replay_.fault);
    Lsn passed = from;
    while (auto part = run_.next(*source, [&](Lsn lsn) { passed = std::max(passed, lsn); })) {
      if (part->commit_lsn() < from) continue;
      at_ = part->commit_lsn();
      if (changed_at_.valid() && at_ >= changed_at_) break;
      refuse_binary_values(*part);
      run_.count(*part);
      applier.add(std::move(*part));
      if (applier.full()) applier.flush();
    }
    applier.flush();
    if (applier.in_transaction()) return;  // cut short in the middle of one: forgotten
    passed = std::max(passed, applier.reached());
    if (passed > applier.position()) applier.store_progress(passed);
    applier.poll_durable(true);
    run_.reached(applier.position());
  }

  const Replay& replay_;
  const config::Config& config_;
  const std::string stream_;
  Run run_;
  Prepared prepared_;
  std::set<pg::Oid> ignored_;
  Lsn careful_at_;
  std::size_t recorded_ = 0;  // which of replay_.recorded the mapping is made for
  Lsn at_;                    // of the transaction that is being read
  std::size_t next_recorded_ = 0;
  std::set<std::size_t> tried_;  // at mismatch_at_
  Lsn mismatch_at_;
  Lsn changed_at_;       // from this one on a table is otherwise; 0: not known
  bool broken_ = false;  // the fault has been
};

}  // namespace

ReplayDone replay_into_nothing(const Replay& replay) {
  Run run(replay);
  const auto source = replay.open(replay.from);
  while (const auto part = run.next(*source, [](Lsn) {})) run.count(*part);
  return run.done();
}

ReplayDone replay_into_target(const Replay& replay, const config::Config& config) {
  return IntoTarget(replay, config).run();
}

}  // namespace walign::stream
