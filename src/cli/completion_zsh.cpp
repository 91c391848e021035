// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Completion for zsh: a function for each command, with _arguments of its own.
#include "command_tree.hpp"

namespace walign::cli {

namespace {

// Inside '...' of the script and [...] of _arguments.
std::string escape(std::string_view text, std::string_view special) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (special.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string function_of(const CommandText& command) {
  std::string out = "_walign";
  for (const auto& word : command.path) out += "_" + word;
  std::replace(out.begin(), out.end(), '-', '_');
  return out;
}

std::string action(const OptionText& option) {
  if (!option.choices.empty()) return cat("(", join(option.choices, " "), ")");
  if (option.kind == ValueKind::file) return "_files";
  return option.kind == ValueKind::directory ? "_files -/" : " ";
}

std::string option_lines(const OptionText& option) {
  std::string out;
  std::vector<std::string> not_with = option.excludes;
  if (!option.repeats) not_with.insert(not_with.end(), option.names.begin(), option.names.end());
  for (const auto& name : option.names) {
    const bool is_long = name.starts_with("--");
    out += cat("    '", not_with.empty() ? "" : cat("(", join(not_with, " "), ")"), option.repeats ? "*" : "",
               name);
    if (!option.value.empty()) out += is_long ? "=" : "+";
    out += cat("[", escape(option.description, "[]:\\"), "]");
    if (!option.value.empty()) out += cat(":", escape(option.value, ":\\"), ":", action(option));
    out += "'\n";
  }
  return out;
}

std::string argument_line(const OptionText& argument) {
  return cat("    '", argument.repeats ? "*" : "", ":", argument.required ? "" : ":",
             escape(argument.names.front(), ":\\"), ":", action(argument), "'\n");
}

std::string list_of(const std::vector<CommandText>& commands) {
  std::string out;
  for (const auto& command : commands) {
    out += cat("    '", command.name(), ":", escape(command.description, ":\\"), "'\n");
  }
  return out;
}

std::string one_function(const CommandText& command, std::string_view globals) {
  std::string out = cat("\n", function_of(command), "() {\n");
  const bool group = !command.commands.empty();
  if (group) out += "  local curcontext=$curcontext state line\n  typeset -A opt_args\n";
  out += cat("  _arguments ", group ? "-C " : "", "-s -S \\\n");
  std::string lines;
  for (const auto& option : command.options) lines += option_lines(option);
  for (const auto& argument : command.arguments) lines += argument_line(argument);
  lines += globals;
  if (group) lines += "    '1: :->command'\n    '*:: :->rest'\n";
  for (std::size_t at = 0; (at = lines.find('\n', at)) != std::string::npos && at + 1 < lines.size();
       at += 3) {
    lines.replace(at, 1, " \\\n");
  }
  out += lines;
  if (!group) return out + "}\n";
  out += cat("  case $state in\n  command)\n    local -a commands=(\n", list_of(command.commands),
             "    )\n    _describe -t commands command commands ;;\n  rest)\n    case $line[1] in\n");
  for (const auto& below : command.commands)
    out += cat("    ", below.name(), ") ", function_of(below), " ;;\n");
  return out + "    esac ;;\n  esac\n}\n";
}

}  // namespace

std::string zsh_completion(const CommandText& walign) {
  std::string globals;
  for (const auto& option : walign.options) {
    const auto& name = option.names.back();
    if (name != "--help" && name != "--version") globals += option_lines(option);
  }
  std::string out =
      "#compdef walign\n# zsh completion for walign, made from its command definitions: walign completion "
      "zsh\n";
  for (const auto* command : all_commands(walign)) {
    out += one_function(*command, command->path.empty() ? "" : globals);
  }
  // Autoloaded, this file is the function's body; sourced, it defines it.
  return out +
         "\nif [ \"$funcstack[1]\" = _walign ]; then\n  _walign \"$@\"\nelse\n  compdef _walign walign\nfi\n";
}

}  // namespace walign::cli
