// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Completion for fish: a `complete` line for each command, option and argument.
#include "command_tree.hpp"

namespace walign::cli {

namespace {

constexpr const char* kAt = R"(
# Whether the commands typed so far are these.
function __walign_at
    set -l path
    set -l skip 0
    set -l words (commandline -opc)
    for word in $words[2..]
        if test $skip = 1
            set skip 0
        else if contains -- $word $__walign_takes
            set skip 1
        else if not string match -q -- '-*' $word
            set -l longer (string join ' ' $path $word)
            contains -- $longer $__walign_commands; and set path $path $word
        end
    end
    test "$path" = "$argv[1]"
end

complete -c walign -f
)";

std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string offered_values(const OptionText& option) {
  if (!option.choices.empty()) return cat(" -x -a ", fish_quoted(join(option.choices, " ")));
  if (option.kind == ValueKind::file) return " -r -F";
  if (option.kind == ValueKind::directory) return " -x -a '(__fish_complete_directories)'";
  return option.value.empty() ? "" : " -x";
}

std::string complete_option(const std::string& at, const OptionText& option) {
  std::string out = "complete -c walign" + at;
  for (const auto& name : option.names) {
    out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  }
  return cat(out, offered_values(option), " -d ", fish_quoted(option.description), "\n");
}

std::string complete_argument(const std::string& at, const OptionText& argument) {
  const auto offered = offered_values(argument);
  return offered == " -x" ? "" : cat("complete -c walign", at, offered, "\n");
}

}  // namespace

std::string fish_completion(const CommandText& walign) {
  std::vector<std::string> commands;
  std::set<std::string> takes;
  for (const auto* command : all_commands(walign)) {
    if (!command->path.empty()) commands.push_back(fish_quoted(command->typed()));
    for (const auto& option : command->options) {
      if (!option.value.empty()) takes.insert(option.names.begin(), option.names.end());
    }
  }
  std::string out =
      "# fish completion for walign, made from its command definitions: walign completion fish\n\n";
  out += cat("set -g __walign_commands ", join(commands, " "), "\n");
  out += cat("set -g __walign_takes ", join({takes.begin(), takes.end()}, " "), "\n", kAt);
  for (const auto* command : all_commands(walign)) {
    const std::string at = cat(" -n ", fish_quoted(cat("__walign_at ", fish_quoted(command->typed()))));
    for (const auto& below : command->commands) {
      out +=
          cat("complete -c walign", at, " -a ", below.name(), " -d ", fish_quoted(below.description), "\n");
    }
    for (const auto& option : command->options) {
      const bool everywhere = command->path.empty() && option.names.back() != "--version";
      const bool said_already = !command->path.empty() && option.names.back() == "--help";
      if (!said_already) out += complete_option(everywhere ? "" : at, option);
    }
    for (const auto& argument : command->arguments) out += complete_argument(at, argument);
  }
  return out;
}

}  // namespace walign::cli
