// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What happens before the driver is let go, and after.
#include "turnover.hpp"

#include <thread>

#include "actions.hpp"

namespace walign::cutover {

namespace {

constexpr Millis kBackStarts{120'000};  // making its slot waits for the target's running transactions
constexpr Millis kOwner{15'000};
constexpr Millis kTry{100};  // the application waits behind us
constexpr Millis kFigures{5'000};
constexpr std::string_view kLockTimeout = "55P03";
constexpr int kRounds = 5;
constexpr double kPasses = 5;  // that a verification makes over one table before it fails
constexpr double kSoon = 100;  // ms

Result gate_result(std::string message, std::string hint) {
  Result out;
  out.outcome = Result::Outcome::gate;
  out.message = std::move(message);
  out.hint = std::move(hint);
  return out;
}

Result both_open(std::uint64_t epoch) {
  Result out;
  out.outcome = Result::Outcome::in_doubt;
  out.epoch = epoch;
  out.message = kBothOpen;
  out.hint = kBothOpenHint;
  return out;
}

std::optional<Result> first_failure(const mapping::Findings& findings) {
  std::string message, hint;
  for (const auto& f : findings) {
    if (f.level != mapping::Finding::Level::fail) continue;
    message += cat(message.empty() ? "" : "; ", f.subject, ": ", f.what);
    if (hint.empty()) hint = f.remedy;
  }
  if (message.empty()) return std::nullopt;
  return gate_result(std::move(message), cat(hint, "; nothing was changed"));
}

// Each table once, in an order that everybody has.
template <class Of>
std::vector<TableName> names_of(const std::vector<mapping::Route>& routes, Of of) {
  std::set<TableName> out;
  for (const auto& route : routes) out.insert(of(route));
  return {out.begin(), out.end()};
}

}  // namespace

pg::ConnectionOptions Turnover::connection(const std::string& conninfo) const {
  pg::ConnectionOptions out;
  out.conninfo = conninfo;
  out.application_name = cat(streams_.config.fence_name(), " cutover");
  out.settings.push_back(pass_setting(streams_.config.fence_name()));
  out.interrupt = streams_.stop;
  return out;
}

FenceSide Turnover::fence_side(Side side) const {
  const auto& config = streams_.config;
  const bool source = side == Side::source;
  const auto& server = source ? prepared_.source : prepared_.target;
  FenceSide out;
  out.connection = connection(source ? config.source : config.target);
  out.tables = source ? names_of(prepared_.routes, [](const auto& r) { return r.source; })
                      : names_of(prepared_.routes, [](const auto& r) { return r.target; });
  out.address = pg::describe_conninfo(source ? config.source : config.target);
  out.stream = stream_to({config.fence_name(), side});
  out.system_id = server.system_id;
  out.timeline = server.timeline;
  return out;
}

// ------------------------------------------------------------------------------------------- beforehand

void Turnover::look_at_servers(bool forward) {
  prepared_ = stream::prepare(streams_.config, streams_.stop);
  if (mapping::any_failed(prepared_.findings) && forward) return;
  ways_ = stream::ways_back(streams_.config, prepared_, streams_.stop);
  backward_.clear();
  for (const auto& way : ways_.tables) {
    if (way.route) backward_.push_back(*way.route);
  }
}

// The side that shall take writes takes them, and nothing is half done or left to do.
std::optional<Result> Turnover::nothing_to_do(Side giver) {
  const std::string fence = streams_.config.fence_name();
  const Side taker = other(giver);
  pg::Connection gives(connection(giver == Side::source ? streams_.config.source : streams_.config.target));
  pg::Connection takes(connection(taker == Side::source ? streams_.config.source : streams_.config.target));
  const auto g = read_row(gives, {fence, giver});
  const auto t = read_row(takes, {fence, taker});
  const bool never = !g && !t && giver == Side::target;  // nothing was ever cut over
  if (!never) {
    if (!g || !t || t->state != RowState::open) return std::nullopt;
    if (g->state == RowState::open) return both_open(t->epoch);
    if (g->state == RowState::fencing || g->state == RowState::fenced) return std::nullopt;
    if (g->state == RowState::sealed && !switched(takes, {fence, taker}, t->epoch)) return std::nullopt;
  }
  Result out;
  out.outcome = Result::Outcome::done;
  out.writes = side_name(taker);
  out.epoch = t ? t->epoch : 0;
  out.message = cat("the ", side_name(taker), " takes writes already");
  out.hint = "there was nothing to do; walign status";
  return out;
}

std::optional<Result> Turnover::refuse_findings(Verb verb) {
  if (verb == Verb::rollback) return std::nullopt;  // it is under way already, and must not be hindered
  if (auto refused = first_failure(prepared_.findings)) return refused;
  if (auto refused = first_failure(ways_.findings)) {
    refused->hint = cat(refused->hint, ", or say one_way: true for a table that needs no way back");
    return refused;
  }
  const auto status = streams_.forward.status();
  if (!status.connected) {
    return gate_result(cat("the stream is not connected: ", status.last_error), "walign status has more");
  }
  for (const auto& table : status.tables) {
    if (table.state == "streaming") continue;
    return gate_result(cat(table.source, " is still being copied"),
                       "wait until walign status says streaming; nothing was changed");
  }
  return std::nullopt;
}

std::optional<Result> Turnover::try_all_privileges() {
  for (const Side side : {Side::source, Side::target}) {
    const auto its = fence_side(side);
    pg::Connection server(its.connection);
    const auto findings = try_privileges(server, {streams_.config.fence_name(), side}, its.tables, kTry);
    if (auto refused = first_failure(findings)) return refused;
  }
  return std::nullopt;
}

std::optional<Result> Turnover::start_back() {
  if (backward_.empty()) return std::nullopt;
  streams_.back.start();
  if (streams_.back.await(kBackStarts, cancelled_)) return std::nullopt;
  return gate_result(cat("the way back does not stream: ", streams_.back.why()),
                     "without it nothing written on the target could come back; no write was stopped");
}

// What was verified while the target could still be written to says nothing of it now: every row once more.
void Turnover::close_target() {
  hands_->prepare(Side::source, RowState::open);
  const bool was_closed = hands_->closed(Side::target);
  if (!was_closed) streams_.verifier.distrust();  // also if we end right after closing
  hands_->prepare(Side::target, RowState::closed);
  if (was_closed) return;
  streams_.verifier.distrust();
  verify::Request every;
  every.all = true;
  verify_beforehand(streams_.verifier, every);
}

// While writes go on. The milliseconds that it took.
double Turnover::verify_beforehand(verify::Verifier& verifier, const verify::Request& request, Millis most) {
  const auto began = std::chrono::steady_clock::now();
  const auto id = verifier.begin(request);
  verify::Report report;
  do {
    streams_.stop->sleep_for(Millis(20));
    report = verifier.result(id);
  } while (!report.done && !cancelled_ && std::chrono::steady_clock::now() - began < most);
  const auto took =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
  const double at = static_cast<double>(Clock::system().unix_micros() - began_us_) / 1000;
  const char* came = report.clean() ? "done"
                     : report.done  ? "refused: both sides are not equal"
                                    : "given up: it takes too long";
  if (tell_) tell_({"verify", came, at, took});
  // A table without a key that is written to all the time cannot be compared before the fence, but behind it.
  const bool no_pass = std::any_of(report.tables.begin(), report.tables.end(),
                                   [](const auto& t) { return t.state == "failed"; });
  proof_ms_ = report.done && no_pass ? took / kPasses : took;
  return took;
}

// What is dirty is proved behind the fence, where writes wait: as little as can be is left for it.
void Turnover::prove_beforehand(Side giver) {
  if (giver == Side::target && backward_.empty()) return;
  auto& verifier = giver == Side::source ? streams_.verifier : streams_.back.verifier();
  double before = verify_beforehand(verifier, {});
  const bool passes_fail = *proof_ms_ < before;
  for (int round = 0; round < kRounds && before > kSoon && !passes_fail; ++round) {
    const double now = verify_beforehand(verifier, {}, streams_.config.cutover.max_pause);
    if (now > before / 2) return;
    before = now;
  }
}

// Why what is written on the target could not come back without loss; empty if it could. That does not hinder a
// cutover, but its way back.
std::string Turnover::prove_round_trips() {
  if (backward_.empty()) return "no table has a way back";
  pg::Connection source(connection(streams_.config.source));
  for (std::size_t i = 0; i < ways_.tables.size(); ++i) {
    const auto& way = ways_.tables[i];
    if (!way.one_way && !way.route) {  // a sample has shown it already
      const auto failed = first_failure(way.findings);
      return failed ? failed->message : cat(way.label, " has no way back");
    }
    if (!way.needs_proof || !way.route) continue;
    const auto& route = prepared_.routes[i];
    const auto sql =
        mapping::round_trip_sql(route, way, pg::qualified(route.source.schema, route.source.name));
    if (!sql) continue;
    const auto r = source.exec(cat("SELECT * FROM (", *sql, ") AS lossy LIMIT 1"));
    if (r.rows() == 0) continue;
    return cat(way.label, ": ", r.text(0, 0), " of the row with ", r.text(0, 1), " would come back as ",
               r.is_null(0, 3) ? "NULL" : r.text(0, 3), " instead of ",
               r.is_null(0, 2) ? "NULL" : r.text(0, 2));
  }
  return "";
}

// Before the fence, so that an operator is told in time; and behind it, where nobody writes to the source any more, so
// that a row written in between counts too.
void Turnover::note_losses() {
  pg::Connection target(connection(streams_.config.target));
  note_not_back(target, streams_.config.fence_name(), prove_round_trips());
}

// It is done: nothing that goes wrong here makes it undone, and a rollback looks for itself.
void Turnover::note_losses_behind() {
  try {
    note_losses();
  } catch (const Error& error) {
    obs::log_error(obs::Level::warn, "what would not come back is looked for when a rollback is asked for",
                   error);
  }
}

// Looked for once more, whatever the cutover found: it may have been mended since, or an instance that ended right
// behind the opening has not looked. What the way back has brought counts.
std::optional<Result> Turnover::refuse_loss(const Request& request) {
  if (request.verb != Verb::rollback) return std::nullopt;
  const std::string fence = streams_.config.fence_name();
  pg::Connection target(connection(streams_.config.target));
  const auto row = read_row(target, {fence, Side::target});
  if (!row) return std::nullopt;
  const std::string why = prove_round_trips();
  note_not_back(target, fence, why);
  if (why.empty() || request.accept_loss) return std::nullopt;
  return gate_result(
      cat("writes would not come back without loss: ", why),
      "change or delete such rows on the target: they are looked at again when you ask again, as "
      "they have come back then; or accept it: walign rollback --accept-loss; nothing was changed");
}

// A stream that has just connected does not know its lag yet; one that is behind for a moment is no reason to refuse.
// One that stays behind is: what has changed is compared at positions that it has to reach.
std::optional<Result> Turnover::refuse_lag(Side giver) const {
  const auto end = std::chrono::steady_clock::now() + kFigures;
  const auto& limits = streams_.config.gates;
  for (;;) {
    const auto now = figures(giver);
    const bool known = now.lag_bytes && now.lag_seconds;
    if (known && *now.lag_bytes <= limits.max_lag_bytes &&
        *now.lag_seconds * 1000 <= static_cast<double>(limits.max_lag_time.count())) {
      return std::nullopt;
    }
    if (cancelled_ || std::chrono::steady_clock::now() >= end) {
      return gate_result(known ? cat("the stream is ", *now.lag_bytes, " bytes and ",
                                     static_cast<std::int64_t>(*now.lag_seconds), " s behind")
                               : std::string("how far the stream is behind is not known yet"),
                         "wait until walign status shows it within gates.max_lag and gates.max_lag_time; no "
                         "write was stopped");
    }
    streams_.stop->sleep_for(Millis(20));
  }
}

// The start epoch of the stream to the target, which whoever starts after us has a higher one of. `recover` counts on
// from the rows; then the stream is made to take over again, above them.
std::uint64_t Turnover::claim_owner() {
  std::uint64_t highest = 0;
  for (const Side side : {Side::source, Side::target}) {
    pg::Connection server(fence_side(side).connection);
    const auto row = read_row(server, {streams_.config.fence_name(), side});
    if (row) highest = std::max(highest, row->owner);
  }
  const auto end = std::chrono::steady_clock::now() + kOwner;
  bool raised = false;
  while (std::chrono::steady_clock::now() < end) {
    const auto epoch = streams_.forward.status().epoch.value_or(0);
    if (epoch >= highest && epoch > 0 && streams_.forward.status().connected) return epoch;
    if (!std::exchange(raised, true)) {
      pg::Connection target(connection(streams_.config.target));
      apply::raise_epoch(target, streams_.config.stream_name(), highest);
    }
    streams_.stop->sleep_for(Millis(50));
  }
  throw Error(ErrorKind::transient, "the stream to the target did not start again in time",
              "walign status says why it is not connected; then ask again");
}

// ------------------------------------------------------------------------------------------ the driver

void Turnover::make_hands() {
  const auto& config = streams_.config;
  hands_ =
      std::make_unique<StepHands>(config.migration, config.fence_name(), fence_side(Side::source),
                                  fence_side(Side::target), config.cutover, claim_owner(), surroundings());
}

// What a cutover would find out on its way, and a dry run can.
void Turnover::look_beforehand(Side giver, Result& out) {
  auto began = Clock::system().unix_micros();
  const auto found = [&](const char* what, const std::string& text) {
    const auto now = Clock::system().unix_micros();
    out.steps.push_back({what, text.empty() ? "done" : text,
                         static_cast<double>(now - driver_began_us_) / 1000,
                         static_cast<double>(now - std::exchange(began, now)) / 1000});
    if (tell_) tell_(out.steps.back());
  };
  if (giver == Side::source) {
    const std::string lossy = prove_round_trips();
    found("way back", lossy.empty() ? lossy : cat("rollback would not be ready: ", lossy));
  }
  pg::Connection gives(fence_side(giver).connection);
  pg::Connection takes(fence_side(other(giver)).connection);
  const auto pairing = pair_sequences(giver == Side::source ? prepared_.routes : backward_,
                                      read_sequences(gives, fence_side(giver).tables),
                                      read_sequences(takes, fence_side(other(giver)).tables));
  found("sequences", join(pairing.notes, "; "));
}

Result Turnover::dry_run(Side giver) {
  Result out;
  driver_began_us_ = Clock::system().unix_micros();
  const auto began = std::chrono::steady_clock::now();
  const Answer answer = hands_->work(Step::gate, Attempt{giver, 0, {}, 1}, streams_.config.cutover.max_pause);
  const auto took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began);
  const bool holds = answer.kind == Answer::Kind::done;
  out.outcome = holds ? Result::Outcome::done : Result::Outcome::gate;
  out.message = answer.why;
  out.hint = holds ? "nothing was changed" : "nothing was changed; walign status has the gates";
  out.steps.push_back(
      {name(Step::gate), holds ? "done" : cat("refused: ", answer.why), took.count(), took.count()});
  if (tell_) tell_(out.steps.back());
  look_beforehand(giver, out);
  return out;
}

Timing Turnover::timing() const {
  Timing out;
  out.max_pause = streams_.config.cutover.max_pause;
  out.lease = streams_.config.cutover.lease;
  return out;
}

Result Turnover::drive(const Request& request) {
  const auto pause = [this](Millis time) { streams_.stop->sleep_for(time); };
  driver_began_us_ = Clock::system().unix_micros();
  const double before = static_cast<double>(driver_began_us_ - began_us_) / 1000;
  const auto tell = [this, before](Progress step) {
    step.at_ms += before;  // since the request
    if (tell_) tell_(step);
  };
  Driver driver(*hands_, timing(), Clock::system(), pause, tell, &cancelled_);
  return driver.run(request);
}

// What may take a while before the first step, so that nobody waits without a word.
void Turnover::telling(const char* what, const std::function<void()>& does) {
  const auto began = Clock::system().unix_micros();
  does();
  const auto now = Clock::system().unix_micros();
  if (tell_)
    tell_(
        {what, "done", static_cast<double>(now - began_us_) / 1000, static_cast<double>(now - began) / 1000});
}

Result Turnover::run(const Request& request) {
  began_us_ = Clock::system().unix_micros();
  const Side giver = request.verb == Verb::cutover ? Side::source : Side::target;
  if (auto done = nothing_to_do(giver)) return *done;
  try {
    telling("look", [&] { look_at_servers(request.verb == Verb::cutover); });
  } catch (const Error& error) {
    if (error.sqlstate() != kLockTimeout) throw;
    return gate_result(error.message(), cat(error.hint(), "; nothing was changed"));
  }
  if (auto refused = refuse_findings(request.verb)) return *refused;
  if (auto refused = refuse_loss(request)) return *refused;
  std::optional<Result> refused;
  telling("privileges", [&] { refused = try_all_privileges(); });
  if (refused) return *refused;
  make_hands();
  if (request.extent == Extent::dry_run) {
    // Only what has changed is compared here: a table that never was is for `walign verify`.
    const bool behind = refuse_lag(giver).has_value();  // the gates tell
    if (figures(giver).differences && !behind) prove_beforehand(giver);
    Result out = dry_run(giver);
    write_report(request, out);
    return out;
  }
  if (request.verb == Verb::cutover) close_target();
  telling("way back", [&] { refused = start_back(); });
  if (refused) return *refused;
  if (request.verb == Verb::cutover) telling("round trips", [&] { note_losses(); });
  if ((refused = refuse_lag(giver))) return *refused;
  prove_beforehand(giver);
  if ((refused = refuse_lag(giver))) return *refused;
  Result out = drive(request);
  if (request.verb == Verb::cutover && out.writes == name(Side::target)) note_losses_behind();
  if (request.extent == Extent::rehearse && out.outcome == Result::Outcome::done) {
    predicted_ms_ = hands_->figures().predicted_ms + measure_rest(giver);
  }
  if (out.outcome == Result::Outcome::backed_out) after_back_out(out);
  write_report(request, out);
  return out;
}

std::optional<Result> Turnover::settle() {
  began_us_ = Clock::system().unix_micros();
  const std::string fence = streams_.config.fence_name();
  {
    pg::Connection source(connection(streams_.config.source));
    pg::Connection target(connection(streams_.config.target));
    const auto s = read_row(source, {fence, Side::source});
    const auto t = read_row(target, {fence, Side::target});
    if (!s || !t) return std::nullopt;
    const bool hook_left = s->state == RowState::sealed && t->state == RowState::open;
    const bool back_left = t->state == RowState::sealed && s->state == RowState::open;
    const Rows rows{{s->epoch, s->state}, {t->epoch, t->state}};
    if (after_restart(rows, true).way == Way::stream) return std::nullopt;
    if (hook_left && switched(target, {fence, Side::target}, t->epoch)) return std::nullopt;
    if (back_left && switched(source, {fence, Side::source}, s->epoch)) return std::nullopt;
  }
  look_at_servers(false);
  make_hands();
  const auto pause = [this](Millis time) { streams_.stop->sleep_for(time); };
  Driver driver(*hands_, timing(), Clock::system(), pause, tell_, &cancelled_);
  Result out = driver.recover(std::nullopt);
  obs::info("a change of sides that was left half done is at rest", {{"writes", out.writes}});
  return out;
}

}  // namespace walign::cutover
