// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Completion for bash. Needs no package beside bash: words are walked here, with '=' as bash breaks words at it.
#include "command_tree.hpp"

namespace walign::cli {

namespace {

constexpr const char* kHead =
    "# bash completion for walign, made from its command definitions: walign completion bash\n"
    "\n";

constexpr const char* kWalk = R"(
_walign() {
  COMPREPLY=()
  local current=${COMP_WORDS[COMP_CWORD]} path='' option='' argument=0 i
  local commands options takes choices files
  [[ $current == '=' ]] && current=''
  _walign_of ''
  for ((i = 1; i < COMP_CWORD; ++i)); do
    local word=${COMP_WORDS[i]}
    [[ $word == '=' ]] && continue
    if [[ -n $option ]]; then
      option=''
    elif [[ " $takes " == *" $word "* ]]; then
      option=$word
    elif [[ $word == -* ]]; then
      :
    elif [[ " $commands " == *" $word "* ]]; then
      path="${path:+$path }$word"
      _walign_of "$path"
    else
      ((++argument))
    fi
  done
  if [[ -n $option ]]; then
    _walign_value "$path" "$option"
  elif [[ $current == -* ]]; then
    choices=$options files=''
  elif [[ -n $commands ]]; then
    choices=$commands files=''
  else
    _walign_value "$path" "$argument"
  fi
  case $files in
    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    directory) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current") ;;
  esac
}
complete -F _walign walign
)";

std::vector<std::string> names(const std::vector<OptionText>& options, bool that_take) {
  std::vector<std::string> out;
  for (const auto& option : options) {
    if (that_take && option.value.empty()) continue;
    out.insert(out.end(), option.names.begin(), option.names.end());
  }
  return out;
}

// The options of a command, and those of walign itself, which may stand behind it; --help is in both.
std::string offered(const CommandText& walign, const CommandText& command, bool that_take) {
  auto out = names(command.options, that_take);
  for (auto& name : names(walign.options, that_take)) {
    const bool only_there = name == "--version" && !command.path.empty();
    if (!only_there && std::find(out.begin(), out.end(), name) == out.end()) out.push_back(std::move(name));
  }
  return join(out, " ");
}

std::string kind_word(ValueKind kind) {
  if (kind == ValueKind::file) return "file";
  return kind == ValueKind::directory ? "directory" : "";
}

std::string value_line(const std::string& pattern, const OptionText& option) {
  if (option.choices.empty() && kind_word(option.kind).empty()) return "";
  return cat("    ", pattern, ") choices='", join(option.choices, " "),
             "' files=", option.choices.empty() ? kind_word(option.kind) : "", " ;;\n");
}

std::string value_lines(const CommandText& command) {
  std::string out;
  for (const auto& option : command.options) {
    for (const auto& name : option.names) {
      const std::string where = command.path.empty() ? "*' " : cat("'", command.typed(), " ");
      out += value_line(cat(where, name, "'"), option);
    }
  }
  for (std::size_t i = 0; i < command.arguments.size(); ++i) {
    out += value_line(cat("'", command.typed(), " ", i, "'"), command.arguments[i]);
  }
  return out;
}

}  // namespace

std::string bash_completion(const CommandText& walign) {
  std::string out = kHead;
  out += "# What may follow the commands typed so far: commands, options, and options that take a value.\n";
  out += "_walign_of() {\n  case $1 in\n";
  for (const auto* command : all_commands(walign)) {
    std::vector<std::string> below;
    for (const auto& its : command->commands) below.push_back(its.name());
    out += cat("    '", command->typed(), "')\n      commands='", join(below, " "), "'\n      options='",
               offered(walign, *command, false), "'\n      takes='", offered(walign, *command, true),
               "'\n      ;;\n");
  }
  out += "  esac\n}\n\n# The values of an option, or of an argument by its number.\n";
  out += "_walign_value() {\n  choices='' files=''\n  case \"$1 $2\" in\n";
  for (const auto* command : all_commands(walign)) {
    if (!command->path.empty()) out += value_lines(*command);
  }
  out += value_lines(walign);
  return out + "  esac\n}\n" + kWalk;
}

}  // namespace walign::cli
