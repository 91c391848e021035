// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// config check | show | schema.
#include "findings.hpp"

namespace walign::cli {

namespace {

struct ConfigOptions {};

struct CheckOptions {
  bool json = false;
};

Json problem_json(const config::Problem& problem) {
  return {{"line", problem.place.line},
          {"column", problem.place.column},
          {"problem", problem.what},
          {"hint", problem.hint}};
}

int check(Context& context, const CheckOptions& options) {
  if (!options.json) {
    const auto config = context.load();
    const auto rules = config.tables.size();
    context.io.out << "ok: " << rules << (rules == 1 ? " table rule\n" : " table rules\n")
                   << findings_text(stream::settings_without_effect(config));
    return 0;
  }
  Json problems = Json::array();
  Json warnings = Json::array();
  try {
    warnings = findings_json(stream::settings_without_effect(context.load()));
  } catch (const config::ConfigError& error) {
    for (const auto& problem : error.problems()) problems.push_back(problem_json(problem));
  }
  print_json(context, {{"file", context.config_path},
                       {"ok", problems.empty()},
                       {"problems", problems},
                       {"warnings", warnings}});
  return problems.empty() ? 0 : exit_status(ErrorKind::usage);
}

int show(Context& context, const ConfigOptions& /*options*/) {
  context.io.out << config::show(context.load());
  return 0;
}

int schema(Context& context, const ConfigOptions& /*options*/) {
  const std::string text = config::json_schema();
  context.io.out << text << (text.ends_with('\n') ? "" : "\n");
  return 0;
}

}  // namespace

void add_config(CLI::App& parent, Context& context) {
  CLI::App* group = add_group(parent, "config", "Check the configuration, show it, or print its schema.",
                              "walign -c users.yaml config check");
  auto check_options = std::make_shared<CheckOptions>();
  add_command(*group, context, "check",
              "Read the configuration and report every mistake with line and column.",
              "walign -c users.yaml config check", check_options, check)
      ->add_flag("--json", check_options->json, "as JSON");
  auto none = std::make_shared<ConfigOptions>();
  add_command(*group, context, "show", "Print the configuration with its defaults, passwords masked.",
              "walign config show", none, show);
  add_command(
      *group, context, "schema", "Print the JSON Schema of walign.yaml, for editors.",
      "walign config schema > walign.schema.json\n\nEditors with a YAML language server read it where "
      "walign.yaml begins with\n  # yaml-language-server: $schema=walign.schema.json",
      none, schema);
}

}  // namespace walign::cli
