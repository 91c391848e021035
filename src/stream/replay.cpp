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

class IntoTarget {
 public:
  IntoTarget(const Replay& replay, const config::Config& config)
      : replay_(replay), config_(config), stream_(config.stream_name() + "_replay"), run_(replay) {}

  ReplayDone run() {
    prepared_ = prepare(config_, replay_.stop);
    refuse_failures(prepared_);
    begin_stream();
    while (!session()) {
    }
    return run_.done();
  }

 private:
  void begin_stream() {
    pg::Connection target(connection_options(config_, config_.target, "replay", replay_.stop));
    apply::install_schema(target);
    const auto row = apply::read_stream(target, stream_);
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

  // False: it must be read again from the target's position.
  bool session() {
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
      return true;
    } catch (const apply::ReadAgain& again) {
      careful_at_ = again.careful_commit_lsn;
    } catch (const apply::UnknownRelation& relation) {
      obs::warn("changes of a table that the mapping does not name are passed over",
                {{"table", relation.name.to_string()}});
      ignored_.insert(relation.oid);
    } catch (const Error& error) {
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
