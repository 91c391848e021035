// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "migration.hpp"

#include "finish.hpp"

namespace walign::cutover {

namespace {

constexpr Millis kLooks{500};
constexpr Millis kBackAgain{15'000};  // after a way back that has stopped
constexpr Millis kPatience{200};

stream::Options forward_options(const Migration::Options& options, obs::Metrics* metrics, stream::Turn& turn,
                                std::vector<stream::Companion*> companions) {
  stream::Options out;
  out.config = options.config;
  out.until = options.until;
  out.no_backfill = options.no_backfill;
  out.companions = std::move(companions);
  out.turn = &turn;
  out.stop = options.stop;
  out.metrics = metrics;
  return out;
}

obs::Metrics* pointer_to(std::optional<obs::Metrics>& metrics) { return metrics ? &*metrics : nullptr; }

std::optional<obs::Metrics> in_direction(const obs::Metrics* all, const char* direction) {
  if (all == nullptr) return std::nullopt;
  return std::optional<obs::Metrics>(std::in_place, *all, obs::Labels{{"direction", direction}});
}

constexpr std::array kPhases = {MigrationPhase::new_one,   MigrationPhase::backfilling,
                                MigrationPhase::streaming, MigrationPhase::cutting_over,
                                MigrationPhase::cut_over,  MigrationPhase::rolling_back,
                                MigrationPhase::finished,  MigrationPhase::removed};

}  // namespace

Migration::Impl::Impl(Options o)
    : options(std::move(o)),
      forward_metrics(in_direction(options.metrics, "forward")),
      back_metrics(in_direction(options.metrics, "reverse")),
      fence(options.config.fence_name()),
      lane({fence, Side::target}, options.config.stream_name(),
           config::reversed(options.config).stream_name()),
      backfill(backfill::make(options.no_backfill)),
      verifier(verify::make(backfill.get())),
      forward(forward_options(options, pointer_to(forward_metrics), lane, {verifier.get(), backfill.get()})),
      back(options.config, pointer_to(back_metrics)),
      controller([this](const Request& request, const Controller::Tell& tell,
                        const std::atomic<bool>& cancelled) { return change(request, tell, cancelled); }) {}

// ------------------------------------------------------------------------------------------- a change

Result Migration::Impl::change(const Request& request, const Controller::Tell& tell,
                               const std::atomic<bool>& cancelled) {
  const std::lock_guard lock(changing);
  watching = true;
  {
    const std::lock_guard its(mutex);
    sides.steps.clear();
    sides.lsn.reset();
    sides.refused_ms.reset();
  }
  const auto told = [&](const Progress& step) {
    {
      const std::lock_guard its(mutex);
      sides.steps.push_back({step.step, step.text, step.at_ms, step.took_ms});
    }
    tell(step);
    log_step(step);
  };
  Turnover turnover({options.config, forward, *verifier, lane, back, options.stop}, told, cancelled);
  try {
    Result result = turnover.run(request);
    ended(turnover);
    return result;
  } catch (...) {
    settled = false;  // as if by a crash: the rows say what is to be done
    ended(turnover);
    throw;
  }
}

void Migration::Impl::log_step(const Progress& step) const {
  obs::info("change of sides",
            {{"step", step.step}, {"came", step.text}, {"ms", static_cast<std::int64_t>(step.took_ms)}});
  if (options.step) options.step(step);
}

void Migration::Impl::ended(const Turnover& turnover) {
  lane.halt(false);
  back.lane().halt(false);
  tidy = false;
  note_now();
  const std::lock_guard its(mutex);
  sides.gates.clear();
  for (const auto& gate : turnover.gates())
    sides.gates.push_back({gate.name, gate.value, gate.limit, gate.ok});
  sides.blockers.clear();
  for (const auto& blocker : turnover.blockers()) sides.blockers.push_back({blocker.pid, blocker.query});
  if (turnover.pause_ms()) sides.refused_ms = turnover.pause_ms();
}

// ------------------------------------------------------------------------------------------ the keeper

pg::Connection& Migration::Impl::server(Side side) {
  auto& connection = side == Side::source ? source : target;
  if (!connection || connection->broken()) {
    pg::ConnectionOptions its;
    its.conninfo = side == Side::source ? options.config.source : options.config.target;
    its.application_name = cat(fence, " sides");
    its.interrupt = &done;
    connection = std::make_unique<pg::Connection>(its);
  }
  return *connection;
}

void Migration::Impl::note(const FenceRow& s, const FenceRow& t) {
  const std::lock_guard its(mutex);
  sides.source = std::string(state_name(s.state));
  sides.target = std::string(state_name(t.state));
  sides.lease_until_us = s.lease_until_us ? s.lease_until_us : t.lease_until_us;
  sides.epoch = std::max(s.epoch, t.epoch);
  if (t.fence_lsn) sides.lsn = t.fence_lsn;
  not_back = t.not_back;
  const auto before = parse_phase(shown_phase).value_or(MigrationPhase::streaming);
  const auto next = next_phase(before, fact_of(s, t)).value_or(before);
  const std::string now = next == MigrationPhase::streaming ? "" : name(next);
  if (std::exchange(phase_kept, true) && now == shown_phase) return;
  shown_phase = now;
  forward.put_phase(name(next));
}

void Migration::Impl::note_now() {
  try {
    pg::ConnectionOptions its;
    its.application_name = cat(fence, " sides");
    its.interrupt = options.stop;
    its.conninfo = options.config.source;
    pg::Connection s_server(its);
    its.conninfo = options.config.target;
    pg::Connection t_server(its);
    const auto s = read_row(s_server, {fence, Side::source});
    const auto t = read_row(t_server, {fence, Side::target});
    if (s && t) note(*s, *t);
  } catch (const Error& error) {  // the keeper will look
    obs::log_error(obs::Level::debug, "looking at who takes writes", error);
  }
}

bool Migration::Impl::both_open(const FenceRow& s, const FenceRow& t) {
  return s.state == RowState::open && t.state == RowState::open;
}

// What the rows say to the table of phases.
MigrationFact Migration::Impl::fact_of(const FenceRow& s, const FenceRow& t) {
  const auto gives = [](const FenceRow& row) {
    return row.state == RowState::fencing || row.state == RowState::fenced || row.state == RowState::sealed;
  };
  if (t.state == RowState::open) return MigrationFact::writes_on_target;
  if (s.state == RowState::open) return MigrationFact::writes_on_source;
  return gives(t) ? MigrationFact::rollback_begun : MigrationFact::cutover_begun;
}

void Migration::Impl::export_phase() {
  if (options.metrics == nullptr) return;
  const auto gauge = [&](const char* name, const char* help, double value) {
    options.metrics->gauge(name, help).set(value);
  };
  const auto shown = status();
  const std::string& now = shown.phase;
  gauge("walign_fence_breaches", "Transactions that were written on the closed source, kept as dead letters.",
        static_cast<double>(lane.breaches()));
  // Where there is nothing to go back from, nothing is wrong.
  gauge("walign_rollback_ready", "0 while the target takes writes and they could not be brought back.",
        shown.sides.rollback_ready.value_or(true) ? 1 : 0);
  for (const auto phase : kPhases) {
    options.metrics->gauge("walign_phase", "1 for the phase the migration is in.", {{"phase", name(phase)}})
        .set(now == name(phase) ? 1 : 0);
  }
}

void Migration::Impl::look() {
  auto& s_server = server(Side::source);
  auto& t_server = server(Side::target);
  auto s = read_row(s_server, {fence, Side::source});
  const auto t = read_row(t_server, {fence, Side::target});
  if (s && t && both_open(*s, *t)) s = read_row(s_server, {fence, Side::source});  // it was read first
  if (!s || !t) return;
  watching = true;
  note(*s, *t);
  if (alarm_both(both_open(*s, *t))) return;
  const std::unique_lock lock(changing, std::try_to_lock);
  if (!lock) return;
  if (!settled) {
    settle(*s);
  } else {
    keep_house(*s, *t);
  }
}

// Nothing is cleared away either: the slots have what one side lacks of the other.
bool Migration::Impl::alarm_both(bool both) {
  const std::lock_guard its(mutex);
  if (both && !both_are_open) obs::log(obs::Level::error, cat(kBothOpen, "; ", kBothOpenHint));
  return both_are_open = both;
}

void Migration::Impl::settle(const FenceRow& s) {
  if (!forward.status().connected) return;
  const bool at_rest = s.state == RowState::open;
  if (!at_rest) back.start();
  if (!at_rest && !back.await(kBackAgain, never)) return;
  Turnover turnover(
      {options.config, forward, *verifier, lane, back, options.stop},
      [this](const Progress& step) { log_step(step); }, never);
  const auto result = turnover.settle();
  ended(turnover);
  settled = true;
  if (result && result->outcome == Result::Outcome::in_doubt) {
    obs::warn(cat("the change of sides is in doubt: ", result->message, "; ", result->hint));
  }
}

// At rest: the stream that nobody needs goes, the one that somebody needs runs, and the triggers of the side that is
// open come down.
void Migration::Impl::keep_house(const FenceRow& s, const FenceRow& t) {
  if (s.state == RowState::open) {
    if (!tidy) back.drop(options.stop);
  } else if (t.state == RowState::open && !back.running()) {
    const auto now = std::chrono::steady_clock::now();
    if (now - back_tried >= kBackAgain) {
      back_tried = now;
      back.start();
    }
  }
  if (tidy) return;
  const Side open = s.state == RowState::open ? Side::source : Side::target;
  const auto& row = open == Side::source ? s : t;
  if (row.state != RowState::open) return;
  tidy = take_guards_down(server(open), {fence, open}, row.epoch, kPatience).empty();
}

void Migration::Impl::keep() noexcept {
  bool first = true;
  while (!done.raised()) {
    try {
      export_phase();
      if (first || watching) look();
      first = false;
    } catch (const Error& error) {
      if (done.raised()) return;
      obs::log_error(obs::Level::debug, "looking at who takes writes", error);
      source.reset();
      target.reset();
    } catch (const std::exception& error) {
      obs::warn("looking at who takes writes", {{"why", error.what()}});
    }
    try {
      done.sleep_for(kLooks);
    } catch (const Error&) {
      return;
    }
  }
}

// --------------------------------------------------------------------------------------- the public face

Migration::Migration(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Migration::~Migration() = default;

// Begun again, it would copy the closed source over what has been written since.
void Migration::Impl::refuse_if_finished() {
  bool finished = forward.status().phase == name(MigrationPhase::finished);
  if (!finished) {
    try {
      finished = finished_on(server(Side::source), fence);
    } catch (const Error& error) {
      if (remedy(error.kind()) != Remedy::retry) throw;
      obs::log_error(obs::Level::debug, "looking whether it is finished", error);  // the stream will say more
    }
  }
  if (!finished) return;
  throw Error(
      ErrorKind::precondition, cat("migration ", options.config.migration, " is finished"),
      "the target has the tables now; another migration needs another name, and `walign finish --reopen` "
      "opens the old side first");
}

void Migration::run() {
  auto& i = *impl_;
  i.refuse_if_finished();
  i.keeper = std::thread([&i] { i.keep(); });
  struct End {
    Impl& i;
    ~End() {
      i.done.raise();
      i.keeper.join();
      i.back.stop();
    }
  } const end{i};
  i.forward.run();
}

bool Migration::Impl::reverse() const {
  const std::lock_guard its(mutex);
  return sides.target == state_name(RowState::open) || shown_phase == name(MigrationPhase::rolling_back);
}

stream::Status Migration::status() const { return impl_->status(); }

stream::Status Migration::Impl::status() const {
  auto out = forward.status();
  const auto its = back.status();
  const bool turned = reverse();
  if (turned && its) {
    out = *its;
    out.direction = "reverse";
  }
  const std::lock_guard lock(mutex);
  if (!shown_phase.empty()) out.phase = shown_phase;
  out.sides = sides;
  if (!turned) return out;
  auto& shown = out.sides;
  if (both_are_open) out.last_error = cat(kBothOpen, "; ", kBothOpenHint);
  if (both_are_open) {
    shown.rollback_why = kBothOpen;
  } else if (!its || !its->connected) {
    shown.rollback_why =
        its && !its->last_error.empty() ? its->last_error : "the reverse stream does not run";
  } else if (!not_back.empty()) {
    shown.rollback_why = not_back;
  } else if (lane.breaches() > 0) {
    shown.rollback_why =
        cat(lane.breaches(), " transactions were written on the closed source: walign dead-letters");
  } else if (its->dead_letters.value_or(0) > 0) {
    shown.rollback_why =
        cat(*its->dead_letters, " changes could not be applied on the source: walign dead-letters");
  }
  shown.rollback_ready = shown.rollback_why.empty();
  if (its) shown.rollback_lag_seconds = its->lag_seconds;
  return out;
}

template <class Do>
auto Migration::Impl::on_applying(Do what) {
  if (!reverse()) return what(forward);
  const auto held = back.hold();
  if (held.sidecar == nullptr) {
    throw Error(ErrorKind::transient, "the reverse stream does not run",
                "walign status says why; try again then");
  }
  return what(*held.sidecar);
}

bool Migration::pause_apply(std::chrono::milliseconds patience) {
  bool at_rest = false;
  impl_->on_applying([&](stream::Sidecar& s) { at_rest = s.pause_apply(patience); });
  return at_rest;
}
void Migration::resume_apply() {
  impl_->on_applying([](stream::Sidecar& s) { s.resume_apply(); });
}
bool Migration::pause_backfill(bool paused) { return impl_->forward.pause_backfill(paused); }
void Migration::retry_dead_letter(std::int64_t id, std::chrono::milliseconds timeout) {
  impl_->on_applying([&](stream::Sidecar& s) { s.retry_dead_letter(id, timeout); });
}
void Migration::discard_dead_letter(std::int64_t id, std::chrono::milliseconds timeout) {
  impl_->on_applying([&](stream::Sidecar& s) { s.discard_dead_letter(id, timeout); });
}
verify::Verifier& Migration::verifier() {
  return impl_->reverse() ? impl_->back.verifier() : *impl_->verifier;
}
Controller& Migration::controller() { return impl_->controller; }

}  // namespace walign::cutover
