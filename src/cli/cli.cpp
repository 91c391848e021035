// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The command line as a whole: global options, the table of commands, and what becomes of errors.
#include "walign/cli.hpp"

#include <unistd.h>

#include <iostream>
#include <sstream>

#include "base/version.hpp"
#include "command_tree.hpp"
#include "text.hpp"
#include "walign/systemd.hpp"

namespace walign::cli {

namespace {

constexpr AddCommand kCommands[] = {
    add_init,    add_preflight, add_plan,         add_run,     add_status,    add_verify,
    add_cutover, add_rollback,  add_recover,      add_pause,   add_resume,    add_checkpoints,
    add_schema,  add_rewind,    add_dead_letters, add_capture, add_replay,    add_events,
    add_config,  add_finish,    add_remove,       add_help,    add_completion};

constexpr const char* kExample =
    "Example:\n"
    "  walign preflight && walign run     check both servers, then stream until stopped\n"
    "  walign status --watch              in another terminal\n"
    "\n"
    "Exit status: 0 done; 1 failed; 2 wrong usage or configuration; 3 a precondition or gate does not hold; "
    "4 "
    "verify\nfound differences; 5 backed out, writes are where they were; 6 in doubt, a human must decide; 7 "
    "cut over, "
    "but the\nswitch hook failed; 130 interrupted.\n"
    "Each command has a --help of its own. The options above may stand behind the command too.";

void add_globals(CLI::App& app, Context& context) {
  app.add_option("-c,--config", context.config_path, "the configuration")
      ->envname("WALIGN_CONFIG")
      ->type_name("FILE")
      ->capture_default_str();
  app.add_option("--log-level", context.log_level, "trace, debug, info, warn, error or off")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->type_name("LEVEL")
      ->capture_default_str();
  app.add_option("--log-format", context.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT")
      ->capture_default_str();
  app.set_version_flag("--version", cat("walign ", kVersion), "print the version and exit");
}

// What is wrong with the command line, and whose help helps: the innermost command's that was recognised.
std::string explain(const CLI::App* app, const CLI::Error& error) {
  std::string command = "walign";
  for (auto inner = app->get_subcommands(); !inner.empty(); inner = inner.front()->get_subcommands()) {
    command += cat(" ", inner.front()->get_name());
  }
  std::string what = error.what();
  if (what == "A subcommand is required") {
    const auto left = app->remaining(true);
    what = left.empty() ? "a command is missing" : cat("there is no command \"", left.front(), "\"");
  }
  return cat("walign: ", what, "\n  hint: ", command, " --help\n");
}

// CLI11 keeps what an option excludes by address, and would name it in another order each time.
class HelpText final : public CLI::Formatter {
 public:
  HelpText() { column_width(36); }
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string text = Formatter::make_option_opts(option);
    const std::string excludes = cat(" ", get_label("Excludes"), ":");
    const auto at = text.find(excludes);
    if (at == std::string::npos) return text;
    std::vector<std::string> names;
    for (const auto* other : option->get_excludes()) names.push_back(other->get_name());
    std::sort(names.begin(), names.end());
    return cat(text.substr(0, at), excludes, " ", join(names, " "));
  }
};

void build(CLI::App& app, Context& context) {
  app.name("walign");
  app.fallthrough();
  app.require_subcommand(1);
  app.formatter(std::make_shared<HelpText>());
  app.footer(kExample);
  app.failure_message(explain);
  add_globals(app, context);
  for (const auto add : kCommands) add(app, context);
}

void start_logging(const Context& context) {
  obs::start_logging(obs::parse_level(context.log_level).value_or(obs::Level::info),
                     context.log_format == "json" ? obs::LogFormat::json : obs::LogFormat::text);
}

void print_error(const Io& io, const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    io.err << (io.err_is_journal ? "<3>" : "") << line << "\n";
}

int failed(const Context& context, const Error& error) {
  if (context.log_format == "json") {
    obs::log_error(obs::Level::error, "", error);
  } else {
    print_error(context.io, cat("walign: ", printable_lines(error.describe())));
  }
  const auto* own = dynamic_cast<const ErrorWithStatus*>(&error);
  return own != nullptr ? own->status() : exit_status(error.kind());
}

int act(const Context& context) {
  try {
    start_logging(context);
    const int status = context.action();
    context.io.out.flush();
    if (context.io.out) return status;
    return failed(context, Error(ErrorKind::storage, "stdout could not be written",
                                 "is the disk full, or has the reader gone?"));
  } catch (const config::ConfigError& error) {
    // FILE:LINE:COLUMN at the start of each line, as editors jump to it.
    print_error(context.io, printable_lines(error.describe()));
    return exit_status(error.kind());
  } catch (const Error& error) {
    context.io.out.flush();
    return failed(context, error);
  } catch (const std::exception& error) {
    return failed(context,
                  Error(ErrorKind::bug, cat("internal error: ", error.what()),
                        "nothing was acknowledged past the last durable position, so starting again is "
                        "safe; please report it with the log"));
  }
}

}  // namespace

config::Config Context::load() const { return config::load(config_path, config::process_environment()); }

std::string Context::config_option() const {
  return config_path == "walign.yaml" ? "" : cat(" -c ", config_path);
}

CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& description,
                    const std::string& example) {
  CLI::App* group = parent.add_subcommand(name, description);
  group->footer("Example:\n  " + example);
  group->require_subcommand(1);
  return group;
}

void print_json(const Context& context, const Json& json) {
  context.io.out << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
}

std::string ask_line(const Context& context, const std::string& question, const std::string& hint) {
  context.io.err << question << std::flush;
  std::string answer;
  if (std::getline(context.io.in, answer)) return answer;
  context.io.err << "\n";
  throw Error(ErrorKind::usage, "there was no answer, so nothing was done", hint);
}

bool ask(const Context& context, const std::string& question) {
  const auto answer = ask_line(context, cat(question, " [y/N] "), "answer y, or say --yes");
  return answer == "y" || answer == "Y" || answer == "yes";
}

int main(std::vector<std::string> arguments, const Io& io) {
  CLI::App app("Moves tables between PostgreSQL databases while they are in use.");
  Context context(io);
  build(app, context);
  try {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    std::ostringstream wrong;
    const int status = app.exit(error, io.out, wrong);
    print_error(io, wrong.str());
    return status == 0 ? 0 : exit_status(ErrorKind::usage);
  }
  return act(context);
}

int main(int argc, char** argv) {
  return main(std::vector<std::string>(argv + 1, argv + std::max(argc, 1)),
              Io{std::cin, std::cout, std::cerr, ::isatty(STDOUT_FILENO) == 1, obs::stderr_is_journal()});
}

}  // namespace walign::cli
