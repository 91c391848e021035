// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// remove: all that walign made, on both servers and here.
#include <filesystem>

#include "confirm.hpp"
#include "signals.hpp"
#include "walign/cutover.hpp"

namespace walign::cli {

namespace {

namespace fs = std::filesystem;

struct RemoveOptions {
  std::string name;
  bool yes = false;
};

void confirm(const Context& context, const RemoveOptions& options, const config::Config& config) {
  if (options.name.empty()) {
    context.io.err << "This removes from " << pg::describe_conninfo(config.source) << "\n  and "
                   << pg::describe_conninfo(config.target) << "\n  and " << config.state
                   << "\nthe slots, the publications, the fence and all progress of migration "
                   << config.migration
                   << ". The tables stay as they are; those of the target take writes from then on.\n";
  }
  confirm_name(context, config, options.name, "nothing was removed");
}

// The files that walign makes there, and the directory where nothing else is in it.
void clear(const std::string& directory) {
  std::error_code error;
  for (const char* name : {"control.sock", "reverse", "reports", "journal", "spill", "db", "format"}) {
    fs::remove_all(fs::path(directory) / name, error);
    if (error) {
      throw Error(ErrorKind::storage, cat("cannot remove ", directory, "/", name, ": ", error.message()),
                  "remove the directory by hand: both servers are clear already");
    }
  }
  fs::remove(directory, error);  // not where the operator keeps something in it
}

int remove(Context& context, const RemoveOptions& options) {
  const auto config = context.load();
  confirm(context, options, config);
  const Signals signals;
  refuse_sidecar(config);
  // Nothing where there is no directory.
  auto store = fs::exists(config.state) ? state::Store::open(config.state, config.migration) : nullptr;
  bool anything = store != nullptr;
  cutover::remove(config, store.get(), &signals.interrupt(), [&](const std::string& line) {
    anything = true;
    context.io.out << "removed " << line << std::endl;
  });
  if (store) {
    store.reset();
    clear(config.state);
    context.io.out << "removed state directory " << config.state << "\n";
  }
  if (!anything) context.io.out << "nothing is left of it\n";
  return 0;
}

}  // namespace

void add_remove(CLI::App& parent, Context& context) {
  auto options = std::make_shared<RemoveOptions>();
  CLI::App* command = add_command(parent, context, "remove",
                                  "Remove everything that walign made on both servers, progress included.",
                                  "walign remove                      asks for the migration's name\n"
                                  "  walign remove --name users-async   asks nothing",
                                  options, remove);
  command->add_option("--name", options->name, "the migration's name, typed beforehand")->type_name("NAME");
  command->add_flag("--yes", options->yes, "does not stand for the name: that is asked for all the same");
}

}  // namespace walign::cli
