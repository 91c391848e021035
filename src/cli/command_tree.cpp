// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "command_tree.hpp"

namespace walign::cli {

namespace {

std::vector<std::string> split(std::string_view text, char by) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find(by, at), text.size());
    out.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

// CLI11 has a check's words only as text, behind the type: "LEVEL:{trace,debug}".
std::vector<std::string> choices_of(const std::string& type) {
  const auto open = type.find(":{");
  if (open == std::string::npos || !type.ends_with('}')) return {};
  return split(std::string_view(type).substr(open + 2, type.size() - open - 3), ',');
}

std::vector<std::string> names_of(const CLI::Option& option) {
  if (option.get_positional()) return {option.get_name(true, false)};
  std::vector<std::string> out;
  for (const auto& name : option.get_snames()) out.push_back("-" + name);
  for (const auto& name : option.get_lnames()) out.push_back("--" + name);
  return out;
}

std::vector<std::string> names_of(const std::set<CLI::Option*>& options) {
  std::vector<std::string> out;
  for (const auto* option : options) out.push_back(names_of(*option).back());
  std::sort(out.begin(), out.end());  // the set is ordered by address
  return out;
}

ValueKind kind_of(const std::string& value) {
  if (value.empty()) return ValueKind::none;
  if (value == "FILE") return ValueKind::file;
  return value == "DIRECTORY" || value == "CAPTURE" ? ValueKind::directory : ValueKind::text;
}

OptionText option_text(const CLI::Option& option) {
  OptionText out;
  out.names = names_of(option);
  const bool takes = option.get_positional() || option.get_items_expected_max() > 0;
  const std::string type = option.get_type_name();
  if (takes) out.value = option.get_positional() ? out.names.back() : type.substr(0, type.find(':'));
  out.kind = kind_of(out.value);
  if (takes) out.choices = choices_of(type);
  out.description = option.get_description();
  out.by_default = takes ? option.get_default_str() : "";
  out.environment = option.get_envname();
  out.required = option.get_required();
  out.repeats = takes && option.get_expected_max() > 1;
  out.excludes = names_of(option.get_excludes());
  out.needs = names_of(option.get_needs());
  return out;
}

CommandText command_text(const CLI::App& app, std::vector<std::string> path) {
  CommandText out;
  out.path = std::move(path);
  out.description = app.get_description();
  out.footer = app.get_footer();
  for (const auto* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    (option->get_positional() ? out.arguments : out.options).push_back(option_text(*option));
  }
  for (const auto* command : app.get_subcommands([](const CLI::App* c) { return !c->get_group().empty(); })) {
    auto its = out.path;
    its.push_back(command->get_name());
    out.commands.push_back(command_text(*command, std::move(its)));
  }
  return out;
}

}  // namespace

CommandText command_tree(const CLI::App& app) { return command_text(app, {}); }

std::vector<const CommandText*> all_commands(const CommandText& command) {
  std::vector<const CommandText*> out = {&command};
  for (const auto& below : command.commands) {
    const auto its = all_commands(below);
    out.insert(out.end(), its.begin(), its.end());
  }
  return out;
}

}  // namespace walign::cli
