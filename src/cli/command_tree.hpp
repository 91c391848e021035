// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The command line as plain data, read from the definitions that parse it: what help, the manual page and the shells'
// completion are written from, so that none of them can say what walign does not take.
#pragma once

#include "command.hpp"

namespace walign::cli {

// What a shell offers for a value; choices come first where there are any.
enum class ValueKind : std::uint8_t { none, text, file, directory };

struct OptionText {
  std::vector<std::string> names;  // "-c", "--config"; of a positional argument its name alone
  std::string value;               // "FILE"; empty where it takes none
  ValueKind kind = ValueKind::none;
  std::vector<std::string> choices;
  std::string description, by_default, environment;
  bool required = false;
  bool repeats = false;
  std::vector<std::string> excludes, needs;  // "--until-lsn", in their order
};

struct CommandText {
  std::vector<std::string> path;  // "config", "check"; empty: walign itself
  std::string description;
  std::string footer;  // its examples
  std::vector<OptionText> options, arguments;
  std::vector<CommandText> commands;

  [[nodiscard]] std::string name() const { return path.empty() ? "walign" : path.back(); }
  [[nodiscard]] std::string typed() const { return join(path, " "); }  // as it stands behind "walign"
};

// Hidden commands and options are left out.
CommandText command_tree(const CLI::App& app);
// This command and all below it, in the order of --help.
std::vector<const CommandText*> all_commands(const CommandText& command);

std::string bash_completion(const CommandText& walign);
std::string zsh_completion(const CommandText& walign);
std::string fish_completion(const CommandText& walign);
// For man(1); `version` as --version has it.
std::string manual_page(const CommandText& walign, std::string_view version);

// The commands that print them: help and completion, of the whole command line that `parent` is.
void add_help(CLI::App& parent, Context& context);
void add_completion(CLI::App& parent, Context& context);

}  // namespace walign::cli
