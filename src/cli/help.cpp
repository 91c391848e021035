// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// help: what --help says, and the manual page. completion: what the shells read.
#include "base/version.hpp"
#include "command_tree.hpp"

namespace walign::cli {

namespace {

struct HelpOptions {
  const CLI::App* walign = nullptr;
  std::vector<std::string> command;
  bool man = false;
};

struct CompletionOptions {
  const CLI::App* walign = nullptr;
  std::string shell;
};

int help(Context& context, const HelpOptions& options) {
  if (options.man) {
    context.io.out << manual_page(command_tree(*options.walign), kVersion);
    return 0;
  }
  const CLI::App* at = options.walign;
  std::string name = at->get_name();
  for (const auto& word : options.command) {
    const auto below = at->get_subcommands([&](const CLI::App* its) { return its->get_name() == word; });
    if (below.empty()) {
      throw Error(ErrorKind::usage, cat("there is no command \"", join(options.command, " "), "\""),
                  cat(name, " --help"));
    }
    at = below.front();
    name += " " + word;
  }
  // App::help() would tell of the command that was typed: this one.
  context.io.out << at->get_formatter()->make_help(at, name, CLI::AppFormatMode::Normal);
  return 0;
}

int completion(Context& context, const CompletionOptions& options) {
  const auto tree = command_tree(*options.walign);
  context.io.out << (options.shell == "bash"  ? bash_completion(tree)
                     : options.shell == "zsh" ? zsh_completion(tree)
                                              : fish_completion(tree));
  return 0;
}

}  // namespace

void add_help(CLI::App& parent, Context& context) {
  auto options = std::make_shared<HelpOptions>();
  options->walign = &parent;
  auto* command =
      add_command(parent, context, "help", "What a command's --help says, or the manual page.",
                  "walign help cutover\n"
                  "  walign help --man | man -l -       the manual page, where it is not installed",
                  options, help);
  auto* words = command->add_option("COMMAND", options->command, "as it is typed: cutover, or config check");
  words->type_name("");
  command->add_flag("--man", options->man, "the manual page, for man(1)")->excludes(words);
}

void add_completion(CLI::App& parent, Context& context) {
  auto options = std::make_shared<CompletionOptions>();
  options->walign = &parent;
  add_command(
      parent, context, "completion", "Print the completion of commands, options and values for a shell.",
      "walign completion fish > ~/.config/fish/completions/walign.fish\n"
      "  source <(walign completion bash)                                   in ~/.bashrc\n"
      "  source <(walign completion zsh)                                    in ~/.zshrc, behind compinit\n"
      "A package, and cmake --install, put them where the shells look.",
      options, completion)
      ->add_option("SHELL", options->shell, "bash, zsh or fish")
      ->required()
      ->type_name("")
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace walign::cli
