// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// recover: a half-done change of sides brought to rest, without a sidecar.
#include "change_text.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/pg.hpp"
#include "walign/service.hpp"

namespace walign::cli {

namespace {

using cutover::Recovery;
using Outcome = cutover::Result::Outcome;

struct RecoverOptions {
  std::string source;
  std::string target;
  std::string migration;
  std::string gone;
  bool json = false;
  bool yes = false;
};

// walign.fence's name of it. Messages that list several have these; they are taken, too.
std::string fence_name(const std::string& migration) {
  if (migration.empty() || migration.starts_with("walign_")) return migration;
  config::Config config;
  config.migration = migration;
  return config.fence_name();
}

void refuse_beside_a_sidecar(const config::Config& config) {
  if (!service::ControlClient(config.state).sidecar_runs()) return;
  throw Error(ErrorKind::precondition,
              cat("the sidecar of migration ", config.migration, " is running, and does this by itself"),
              "walign status says where it stands; should it not get any further, stop it first (Ctrl-C or "
              "SIGTERM to "
              "`walign run`)");
}

Recovery recovery_of(const Context& context, const RecoverOptions& options) {
  Recovery out;
  out.migration = fence_name(options.migration);
  if (options.source.empty() != options.target.empty()) {
    throw Error(ErrorKind::usage, "--source and --target belong together",
                "give both, or neither: then the configuration has them");
  }
  if (options.source.empty()) {
    const auto config = context.load();
    refuse_beside_a_sidecar(config);
    out.source = config.source;
    out.target = config.target;
    if (out.migration.empty()) out.migration = config.fence_name();
  } else {
    out.source = options.source;
    out.target = options.target;
  }
  if (options.gone == "source") out.gone = Recovery::Gone::source;
  if (options.gone == "target") out.gone = Recovery::Gone::target;
  return out;
}

// What it means to say that a server is gone; true where that is meant.
bool gone_is_meant(const Context& context, const RecoverOptions& options, const Recovery& recovery) {
  if (recovery.gone == Recovery::Gone::neither || options.yes) return true;
  const bool source = recovery.gone == Recovery::Gone::source;
  const std::string gone = source ? "source" : "target";
  const std::string left = source ? "target" : "source";
  const auto server = pg::describe_conninfo(source ? recovery.source : recovery.target);
  const auto other = pg::describe_conninfo(source ? recovery.target : recovery.source);
  context.io.err << printable_lines(
      cat("You say that the ", gone, " (", server, ") will never come back.\nThe ", left, " (", other,
          ") is opened for writes with what it has: what was written on the ", gone,
          " and has not\narrived there is lost to it. Nothing asks the ", gone,
          " any more: should it come back and be open, both sides take writes,\nand neither has the other's. "
          "Keep the "
          "application away from it.\n"));
  return ask(context, cat("Open the ", left, " alone?"));
}

// A server that cannot be reached is what a human must decide about.
cutover::Result unreachable(const Error& error) {
  cutover::Result out;
  out.message = error.message();
  out.hint =
      "when both servers can be reached: walign recover again. Should one be gone for ever: walign recover "
      "--gone source, or --gone target, opens the other";
  return out;
}

cutover::Result bring_to_rest(const Context& context, const RecoverOptions& options, Recovery recovery) {
  const Signals signals;
  recovery.interrupt = &signals.interrupt();
  std::ostream& out = options.json ? context.io.err : context.io.out;
  bool first = true;
  try {
    return cutover::recover(recovery, [&](const cutover::Progress& step) {
      if (std::exchange(first, false)) out << step_head();
      out << step_line(step) << std::flush;
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::connection) throw;
    return unreachable(error);
  }
}

std::string text_of(const cutover::Result& result, bool alone) {
  std::string out = result.outcome == Outcome::done ? "at rest" : "IN DOUBT";
  if (!result.message.empty()) out += cat(": ", one_line(result.message));
  out += "\n";
  if (!result.hint.empty()) out += cat("hint: ", one_line(result.hint), "\n");
  if (result.outcome == Outcome::done && !alone) out += "  walign run goes on from here\n";
  return out;
}

int recover(Context& context, const RecoverOptions& options) {
  const Recovery recovery = recovery_of(context, options);
  if (!gone_is_meant(context, options, recovery)) {
    context.io.err << "nothing was done\n";
    return 1;
  }
  const auto result = bring_to_rest(context, options, recovery);
  (options.json ? context.io.err : context.io.out)
      << text_of(result, recovery.gone != Recovery::Gone::neither);
  if (options.json) context.io.out << service::result_json(result);
  return cutover::exit_status(result.outcome);
}

}  // namespace

void add_recover(CLI::App& parent, Context& context) {
  auto options = std::make_shared<RecoverOptions>();
  CLI::App* command = add_command(
      parent, context, "recover", "Bring a half-done cutover or rollback to rest, without a sidecar.",
      "walign recover                                        the servers of walign.yaml\n"
      "  walign recover --source \"$OLD\" --target \"$NEW\"        nothing but the two servers\n"
      "  walign recover --gone source                          the source will never come back: open the "
      "target\n"
      "What was not open yet is backed out; what is open stays open.\n"
      "Exit status: 0 at rest, the text says which side takes writes; 3 there is nothing to recover; 6 in "
      "doubt, the "
      "text\nsays what to do.",
      options, recover);
  command->add_option("--source", options->source, "the source's connection string; no configuration is read")
      ->type_name("URL");
  command->add_option("--target", options->target, "the target's")->type_name("URL");
  command
      ->add_option("--migration", options->migration,
                   "which one, where several are on these servers (or walign.fence's name of it)")
      ->type_name("NAME");
  command->add_option("--gone", options->gone, "this server will never come back: open the other one alone")
      ->check(CLI::IsMember({"source", "target"}))
      ->type_name("SIDE");
  command->add_flag("--json", options->json, "the result alone on stdout, as JSON; steps on stderr");
  command->add_flag("--yes", options->yes, "with --gone: do not ask first");
}

}  // namespace walign::cli
