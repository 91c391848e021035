// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// cutover and rollback: the sidecar acts, these watch. Whatever becomes of the command, the sidecar goes on.
#include "change_text.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/service.hpp"

namespace walign::cli {

namespace {

using cutover::Extent;
using cutover::Request;
using cutover::Verb;
using Outcome = cutover::Result::Outcome;
using Watch = cutover::Controller::Watch;

struct ChangeOptions {
  Verb verb = Verb::cutover;
  bool dry_run = false;
  bool rehearse = false;
  bool cancel = false;
  bool accept_loss = false;
  bool json = false;
  bool yes = false;
};

const char* name_of(Verb verb) { return verb == Verb::cutover ? "cutover" : "rollback"; }

Request request_of(const ChangeOptions& options) {
  return {options.verb,
          options.dry_run    ? Extent::dry_run
          : options.rehearse ? Extent::rehearse
                             : Extent::real,
          options.accept_loss};
}

void need_sidecar(const service::ControlClient& sidecar, const Context& context, Verb verb) {
  if (sidecar.sidecar_runs()) return;
  const std::string typed = cat("walign", context.config_option(), " ");
  throw Error(ErrorKind::precondition,
              cat("no sidecar runs here, and it is the sidecar that does a ", name_of(verb)),
              cat("start it with `", typed,
                  "run`, which also ends what was left half done; where it cannot be "
                  "started: `",
                  typed, "recover`"));
}

// The sidecar has gone away, or answers no more: nobody here knows what became of it.
ErrorWithStatus lost(const Context& context, Verb verb, const std::string& last_step, const Error& error) {
  const std::string giver = verb == Verb::cutover ? "source" : "target";
  const std::string taker = verb == Verb::cutover ? "target" : "source";
  const std::string typed = cat("walign", context.config_option(), " ");
  return {cutover::exit_status(Outcome::in_doubt),
          cat("lost the sidecar in the middle of a ", name_of(verb),
              last_step.empty() ? " (before its first step was told)"
                                : cat(" (the last step told: ", last_step, ")"),
              ": ", error.message()),
          cat("if the ", giver,
              " was not sealed yet, writes return to it by themselves when the lease is over; if the ", taker,
              " was opened, it takes them; between the two nobody does. `", typed, "status` says which, `",
              typed, "run` ends it, or `", typed, "recover` where it cannot be started")};
}

// Shows steps as they end.
class Steps {
 public:
  explicit Steps(std::ostream& out) : out_(out) {}
  void show(const std::vector<cutover::Progress>& steps) {
    for (const auto& step : steps) {
      if (seen_++ == 0) out_ << step_head();
      out_ << step_line(step);
      last_ = step.step;
    }
    out_ << std::flush;
  }
  [[nodiscard]] std::size_t seen() const { return seen_; }
  [[nodiscard]] const std::string& last() const { return last_; }

 private:
  std::ostream& out_;
  std::size_t seen_ = 0;
  std::string last_;
};

[[noreturn]] void leave(const Context& context, Verb verb) {
  const std::string typed = cat("walign", context.config_option(), " ");
  throw Error(ErrorKind::interrupted,
              cat("the ", name_of(verb), " goes on in the sidecar; only this command has ended"),
              cat("`", typed, "status --watch` shows it, `", typed, name_of(verb),
                  " --cancel` backs it out before the open"));
}

// Until it has ended. `asked`: what was begun here; another request means that ours has ended unseen.
Watch follow(const Context& context, const service::ControlClient& sidecar, const Interrupt& interrupt,
             const Request& asked, Steps& steps) {
  constexpr std::chrono::milliseconds kLong(1000), kShort(200);
  for (;;) {
    const auto began = std::chrono::steady_clock::now();
    const Watch watch = sidecar.watch_change(steps.seen(), kLong);
    if (!watch.request || !(*watch.request == asked)) {
      throw Error(
          ErrorKind::transient, "another change of sides was begun meanwhile",
          "the sidecar's log and its reports have what came of this one; walign status shows the other");
    }
    steps.show(watch.steps);
    if (!watch.running) return watch;
    try {
      // Where many watch, the sidecar does not keep each of them waiting.
      const bool at_once = watch.steps.empty() && std::chrono::steady_clock::now() - began < kShort;
      interrupt.sleep_for(at_once ? kShort : std::chrono::milliseconds(0));
    } catch (const Error&) {
      leave(context, asked.verb);
    }
  }
}

// What is printed at the end; the exit status is the outcome's, unless it says otherwise.
int conclude(const Context& context, const ChangeOptions& options, const Watch& watch) {
  if (!watch.failed.empty() || !watch.result) {
    throw Error(
        ErrorKind::query,
        cat("the ", name_of(options.verb),
            " ended with an error: ", watch.failed.empty() ? "the sidecar does not say which" : watch.failed),
        cat("`walign", context.config_option(), " status` says who takes writes; the sidecar goes on"));
  }
  const auto text = printable_lines(outcome_text(*watch.request, *watch.result, context.config_option()));
  (options.json ? context.io.err : context.io.out) << text;
  if (options.json) context.io.out << report_text(*watch.result);
  return cutover::exit_status(watch.result->outcome);
}

int ask_and_follow(const Context& context, const ChangeOptions& options,
                   const service::ControlClient& sidecar, const Interrupt& interrupt) {
  const Request request = request_of(options);
  Steps steps(options.json ? context.io.err : context.io.out);
  try {
    sidecar.change_sides(request);
    context.io.err << "the sidecar is at it; Ctrl-C ends this command only\n";
    return conclude(context, options, follow(context, sidecar, interrupt, request, steps));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::connection) throw;
    throw lost(context, options.verb, steps.last(), error);
  }
}

// 0 where writes are where they were: that is what was asked for.
int status_of_cancelled(const Request& request, Outcome outcome) {
  if (outcome == Outcome::backed_out || outcome == Outcome::gate) return 0;
  const bool too_late = outcome == Outcome::done && request.extent == Extent::real;
  return too_late ? exit_status(ErrorKind::precondition) : cutover::exit_status(outcome);
}

int cancel(const Context& context, const ChangeOptions& options, const service::ControlClient& sidecar,
           const Interrupt& interrupt) {
  const auto before = sidecar.watch_change(0, std::chrono::milliseconds(0));
  if (before.running && before.request && before.request->verb != options.verb) {
    throw Error(ErrorKind::precondition,
                cat("a ", name_of(before.request->verb), " is under way, and no ", name_of(options.verb)),
                cat("walign", context.config_option(), " ", name_of(before.request->verb), " --cancel"));
  }
  sidecar.cancel_change();
  Steps steps(options.json ? context.io.err : context.io.out);
  try {
    const auto watch =
        follow(context, sidecar, interrupt, before.request.value_or(request_of(options)), steps);
    conclude(context, options, watch);
    const int status = status_of_cancelled(*watch.request, watch.result->outcome);
    if (status == exit_status(ErrorKind::precondition)) {
      context.io.err << "too late to cancel: it was done before it could be backed out\n";
    }
    return status;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::connection) throw;
    throw lost(context, options.verb, steps.last(), error);
  }
}

bool agreed(const Context& context, const ChangeOptions& options, const config::Config& config) {
  const Request request = request_of(options);
  if (options.yes || options.cancel || request.extent != Extent::real) return true;
  context.io.err << printable_lines(announcement(request, config));
  return ask(context, cat("Begin the ", name_of(options.verb), "?"));
}

int change(Context& context, const ChangeOptions& options) {
  const auto config = context.load();
  const service::ControlClient sidecar(config.state);
  need_sidecar(sidecar, context, options.verb);
  if (!agreed(context, options, config)) {
    context.io.err << "nothing was done\n";
    return 1;
  }
  const Signals signals;
  if (options.cancel) return cancel(context, options, sidecar, signals.interrupt());
  return ask_and_follow(context, options, sidecar, signals.interrupt());
}

constexpr const char* kExits =
    "\nExit status: 0 done (with --cancel: backed out); 3 a gate does not hold, nothing was touched; 5 "
    "backed out, "
    "writes\nare where they were; 6 in doubt, the text says what to do; 7 done, but the switch hook failed; "
    "130 the "
    "command was\ninterrupted, the sidecar goes on.";

void add_options(CLI::App* command, const std::shared_ptr<ChangeOptions>& options, const char* rehearse) {
  auto* dry_run =
      command->add_flag("--dry-run", options->dry_run, "look at the gates and at both servers, no more");
  auto* rehearsal = command->add_flag("--rehearse", options->rehearse, rehearse)->excludes(dry_run);
  command
      ->add_flag("--cancel", options->cancel, "back out what is under way, before the other side is opened")
      ->excludes(dry_run)
      ->excludes(rehearsal);
  command->add_flag("--json", options->json, "the report alone on stdout, as JSON; steps on stderr");
  command->add_flag("--yes", options->yes, "do not ask first");
}

}  // namespace

void add_cutover(CLI::App& parent, Context& context) {
  auto options = std::make_shared<ChangeOptions>();
  CLI::App* command = add_command(
      parent, context, "cutover", "Move the application's writes to the target.",
      cat("walign cutover --dry-run     do the gates hold?\n"
          "  walign cutover --rehearse    and could every table be fenced? For how long would writes wait?\n"
          "  walign cutover               asks, then does it; each step with its time\n"
          "  walign cutover --cancel      from another terminal: back out, as long as the target is not open",
          kExits),
      options, change);
  add_options(command, options,
              "the fence, too, table by table, let go again; predicts how long writes would wait");
}

void add_rollback(CLI::App& parent, Context& context) {
  auto options = std::make_shared<ChangeOptions>();
  options->verb = Verb::rollback;
  CLI::App* command = add_command(
      parent, context, "rollback",
      "Move the writes back to the source, with all that was written on the target.",
      cat("walign rollback --rehearse   could it be done now? For how long would writes wait?\n"
          "  walign rollback              asks, then does it; each step with its time\n"
          "  walign rollback --accept-loss    where some value would not come back as it was, too",
          kExits),
      options, change);
  add_options(command, options,
              "the fence, too, table by table, let go again; predicts how long writes would wait");
  command->add_flag("--accept-loss", options->accept_loss,
                    "also where walign status says that some value would not come back as it was");
}

}  // namespace walign::cli
