// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// remove: all that walign made, on both servers and here.
#include <filesystem>

#include "command.hpp"
#include "signals.hpp"
#include "walign/service.hpp"
#include "walign/state.hpp"
#include "walign/stream.hpp"

namespace walign::cli {

namespace {

namespace fs = std::filesystem;

struct Options {
  std::string name;
  bool yes = false;
};

void confirm(const Context& context, const Options& options, const config::Config& config) {
  std::string typed = options.name;
  if (typed.empty()) {
    context.io.err << "This removes from " << pg::describe_conninfo(config.source) << "\n  and "
                   << pg::describe_conninfo(config.target) << "\n  and " << config.state
                   << "\nthe slot, the publications and all progress of migration " << config.migration
                   << ". The tables stay as they are.\n";
    typed = ask_line(context, "Type the migration's name to go on: ",
                     cat("--name ", config.migration, " says it beforehand; --yes does not"));
  }
  if (typed != config.migration) {
    throw Error(ErrorKind::usage, cat("\"", typed, "\" is not this migration's name; nothing was removed"),
                cat("it is ", config.migration, "; is this the right configuration?"));
  }
}

// So that no sidecar can start meanwhile; nothing where there is no directory.
std::unique_ptr<state::Store> hold(const config::Config& config) {
  if (service::ControlClient(config.state).sidecar_runs()) {
    throw Error(ErrorKind::precondition, cat("the sidecar of migration ", config.migration, " is running"),
                "stop it first (Ctrl-C or SIGTERM to `walign run`)");
  }
  return fs::exists(config.state) ? state::Store::open(config.state, config.migration) : nullptr;
}

// The files that walign makes there, and the directory where nothing else is in it.
void clear(const std::string& directory) {
  std::error_code error;
  for (const char* name : {"control.sock", "db", "format"}) {
    fs::remove_all(fs::path(directory) / name, error);
    if (error) {
      throw Error(ErrorKind::storage, cat("cannot remove ", directory, "/", name, ": ", error.message()),
                  "remove the directory by hand: both servers are clear already");
    }
  }
  fs::remove(directory, error);  // not where the operator keeps something in it
}

int remove(Context& context, const Options& options) {
  const auto config = context.load();
  confirm(context, options, config);
  const Signals signals;
  auto store = hold(config);
  auto removed = stream::remove(config, &signals.interrupt());
  if (store) {
    store.reset();
    clear(config.state);
    removed.push_back(cat("state directory ", config.state));
  }
  for (const auto& line : removed) context.io.out << "removed " << line << "\n";
  if (removed.empty()) context.io.out << "nothing is left of it\n";
  return 0;
}

}  // namespace

void add_remove(CLI::App& parent, Context& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(parent, context, "remove",
                                  "Remove everything that walign made on both servers, progress included.",
                                  "walign remove                      asks for the migration's name\n"
                                  "  walign remove --name users-async   asks nothing",
                                  options, remove);
  command->add_option("--name", options->name, "the migration's name, typed beforehand")->type_name("NAME");
  command->add_flag("--yes", options->yes, "does not stand for the name: that is asked for all the same");
}

}  // namespace walign::cli
