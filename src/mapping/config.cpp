// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/config.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <tuple>

#include "mapping/config_reader.hpp"

namespace walign::config {

namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{16} << 20U;  // a device or a dump given by mistake

std::string list_problems(const std::string& file, const std::vector<Problem>& problems) {
  std::string out;
  for (const auto& problem : problems) {
    if (!out.empty()) out += '\n';
    out += file;
    if (problem.place.line > 0) out += cat(':', problem.place.line, ':', problem.place.column);
    out += cat(": ", problem.what);
    if (!problem.hint.empty()) out += cat(" (", problem.hint, ')');
  }
  return out;
}

// In the order of the file; what an alias brings in twice is said once.
void sort_problems(std::vector<Problem>& problems) {
  const auto position = [](const Problem& p) { return std::tie(p.place.line, p.place.column); };
  std::stable_sort(problems.begin(), problems.end(),
                   [&](const Problem& a, const Problem& b) { return position(a) < position(b); });
  const auto same = [](const Problem& a, const Problem& b) { return a.place == b.place && a.what == b.what; };
  problems.erase(std::unique(problems.begin(), problems.end(), same), problems.end());
}

void read_section(Reader& reader, const Node& node, std::string_view section, Config& config) {
  const auto fields = reader.fields(node, section, key_names(section));
  for (const auto& setting : settings()) {
    if (setting.section != section) continue;
    if (const Node* value = fields.find(setting.name)) reader.setting(*value, setting, config);
  }
}

void read_top(Reader& reader, const Node& root, Config& config) {
  const auto fields = reader.fields(root, "", key_names(""));
  if (root.kind != NodeKind::mapping) return;
  for (const auto& setting : settings()) {
    if (!setting.section.empty()) continue;
    if (const Node* value = fields.find(setting.name)) {
      reader.setting(*value, setting, config);
    } else if (setting.required && fields.missing(setting.name)) {
      reader.problem(root.place, cat('"', setting.name, "\" is missing"), std::string(setting.description));
    }
  }
  for (const auto name : key_names("")) {
    if (find_section(name) == nullptr) continue;
    if (const Node* value = fields.find(name)) read_section(reader, *value, name, config);
  }
}

std::string read_file(const std::string& path) {
  const auto refuse = [&](const std::string& why) {
    return ConfigError(path,
                       {{{}, why, "name the file with -c FILE or WALIGN_CONFIG; walign init writes one"}});
  };
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw refuse(cat("cannot be opened: ", std::strerror(errno)));
  std::string text;
  char buffer[8192];
  while (file.read(buffer, sizeof buffer) || file.gcount() > 0) {
    text.append(buffer, static_cast<std::size_t>(file.gcount()));
    if (text.size() > kMaxFileBytes) throw refuse("is larger than 16 MiB");
  }
  if (file.bad()) throw refuse(cat("cannot be read: ", std::strerror(errno)));
  return text;
}

}  // namespace

ConfigError::ConfigError(std::string file, std::vector<Problem> problems)
    : Error(ErrorKind::usage, list_problems(file, problems),
            "correct the file, then look at it with: walign config check"),
      problems_(std::move(problems)) {}

std::string Config::fence_name() const {
  std::string name = "walign_" + migration;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::string Config::stream_name() const { return reverse ? fence_name() + "_reverse" : fence_name(); }

namespace {

constexpr std::string_view kReverseState = "/reverse";

}  // namespace

Config reversed(const Config& config) {
  Config out = config;
  std::swap(out.source, out.target);
  out.reverse = !config.reverse;
  if (config.reverse) {
    out.state.resize(out.state.size() - kReverseState.size());
  } else {
    out.state += kReverseState;
  }
  return out;
}

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

Config parse(const std::string& yaml, const std::string& file, const Environment& environment) {
  std::vector<Problem> problems;
  const Document document = read_yaml(yaml, problems);
  Config config;
  config.file = file;
  if (document.root != nullptr && document.root->kind != NodeKind::null) {
    Reader reader(environment, problems);
    read_top(reader, *document.root, config);
  } else if (problems.empty()) {
    problems.push_back({{1, 1}, "there is nothing in the file", "walign init writes one to begin with"});
  }
  if (problems.empty()) return config;
  sort_problems(problems);
  throw ConfigError(file, std::move(problems));
}

Config load(const std::string& path, const Environment& environment) {
  return parse(read_file(path), path, environment);
}

}  // namespace walign::config
