// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// init: a walign.yaml to begin with.
#include "init.hpp"

#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "signals.hpp"

namespace walign::cli {

namespace {

namespace fs = std::filesystem;

struct InitOptions {
  std::string source, target, migration, state;
  std::vector<std::string> schemas;
  bool force = false;
};

// ${VAR} taken out: what is left of a secret is one that was typed.
std::string without_variables(std::string text) {
  for (auto begin = text.find("${"); begin != std::string::npos; begin = text.find("${", begin)) {
    text.erase(begin, std::min(text.find('}', begin), text.size() - 1) - begin + 1);
  }
  return text;
}

void refuse_password(const std::string& option, const std::string& conninfo) {
  const auto bare = without_variables(conninfo);
  if (config::mask_secrets(bare) == bare) return;
  throw Error(
      ErrorKind::usage, cat(option, " has a password in it, and walign.yaml is no place for one"),
      "leave it to ~/.pgpass or a service file; or name a variable, in single quotes so that the shell "
      "does not replace it: 'postgresql://walign:${SOURCE_PASSWORD}@old/app'");
}

void refuse_existing(const Context& context, const InitOptions& options) {
  if (options.force || !fs::exists(context.config_path)) return;
  throw Error(ErrorKind::usage, cat(context.config_path, " exists already, and was left alone"),
              "--force replaces it; `walign -c ANOTHER.yaml init ...` writes another");
}

// What a migration may be called, made of a database's name.
std::string migration_name(const std::string& database) {
  std::string out;
  for (const char c : database) {
    const auto u = static_cast<unsigned char>(c);
    const bool taken = u < 0x80 && std::isalnum(u) != 0;
    if (taken || !out.empty()) out += taken ? static_cast<char>(std::tolower(u)) : '-';
  }
  out.resize(std::min<std::size_t>(out.size(), 39));
  return out.empty() ? "migration" : out;
}

// Where the package keeps state, if we may write there; else beside the configuration.
std::string state_directory(const Context& context, const std::string& migration) {
  std::error_code ignored;
  const fs::path packaged = "/var/lib/walign";
  if (fs::is_directory(packaged, ignored) && ::access(packaged.c_str(), W_OK) == 0)
    return (packaged / migration).string();
  return (fs::absolute(context.config_path).parent_path() / (migration + "-state"))
      .lexically_normal()
      .string();
}

// The variables of both addresses replaced, and the form of everything checked, as a configuration's are.
config::Config parse_head(const Context& context, const init::Found& found) {
  return config::parse(cat(init::head_text(found), "  - t\n"), context.config_path,
                       config::process_environment());
}

pg::Connection connect(const std::string& conninfo, const Interrupt& interrupt) {
  pg::ConnectionOptions options;
  options.conninfo = conninfo;
  options.application_name = "walign init";
  options.interrupt = &interrupt;
  return pg::Connection(options);
}

bool same_database(pg::Connection& source, pg::Connection& target) {
  const auto a = pg::read_server(source);
  const auto b = pg::read_server(target);
  return a.system_id == b.system_id && a.database == b.database;
}

// Where no table has found another, there is nothing to write.
void refuse_nothing(const init::Found& found) {
  const bool any = std::any_of(found.drafts.begin(), found.drafts.end(),
                               [](const init::Draft& draft) { return draft.obstacles.empty(); });
  if (any) return;
  std::string list;
  for (const auto& draft : found.drafts) {
    list += cat("\n  ", init::name_of(*draft.pair.source).to_string(), " -> ",
                init::name_of(*draft.pair.target).to_string());
    for (const auto& obstacle : draft.obstacles) list += cat("\n    ", obstacle);
  }
  for (const auto& [source, candidates] : found.matching.alone) {
    list += cat("\n  ", init::name_of(*source).to_string());
    for (const auto& candidate : candidates)
      list += cat("\n    perhaps ", init::name_of(*candidate.target).to_string(), ": ", candidate.why);
  }
  throw Error(
      ErrorKind::precondition,
      list.empty() ? "there are no tables on the source that walign's role can see; nothing was written"
                   : cat("no table can be moved as it stands, so nothing was written:", list),
      "make the tables on the target first (pg_dump --section=pre-data brings them), or mend what is named");
}

void write(const Context& context, const InitOptions& options, const std::string& text) {
  const std::string& path = context.config_path;
  const std::string partial = options.force ? path + ".new" : path;
  // Whoever made it meanwhile keeps it.
  std::FILE* file = std::fopen(partial.c_str(), options.force ? "w" : "wx");
  if (file == nullptr)
    throw Error(ErrorKind::storage, cat(partial, " cannot be written: ", std::strerror(errno)),
                "name another file with -c FILE");
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = std::fclose(file) == 0;
  const bool renamed = !options.force || std::rename(partial.c_str(), path.c_str()) == 0;
  if (!written || !closed || !renamed)
    throw Error(ErrorKind::storage, cat(path, " could not be written: ", std::strerror(errno)),
                "is the disk full?");
}

std::string counted(std::size_t number, const char* one, const char* several) {
  return cat(number, number == 1 ? one : several);
}

void report(const Context& context, const init::Found& found) {
  const auto open = static_cast<std::size_t>(
      std::count_if(found.drafts.begin(), found.drafts.end(),
                    [](const init::Draft& draft) { return !draft.obstacles.empty(); }));
  context.io.out << context.config_path
                 << " is written: " << counted(found.drafts.size() - open, " table", " tables") << " mapped, "
                 << open << " to be decided, " << found.matching.alone.size()
                 << " on the source only.\nNext: read it; then walign" << context.config_option()
                 << " preflight\n";
}

int init_command(Context& context, const InitOptions& options) {
  refuse_existing(context, options);
  refuse_password("--source", options.source);
  refuse_password("--target", options.target);
  init::Found found;
  found.source = options.source;
  found.target = options.target;
  found.migration = options.migration.empty() ? "migration" : options.migration;
  found.state = options.state.empty() ? state_directory(context, found.migration) : options.state;
  auto config = parse_head(context, found);

  const Signals signals;
  auto source = connect(config.source, signals.interrupt());
  auto target = connect(config.target, signals.interrupt());
  if (options.migration.empty()) {
    found.migration = migration_name(pg::read_server(source).database);
    if (options.state.empty()) found.state = state_directory(context, found.migration);
    config = parse_head(context, found);
  }
  init::Servers servers{source, target, pg::read_tables(source), pg::read_tables(target)};
  context.io.err << "walign: " << servers.source_catalog.size() << " tables on the source, "
                 << servers.target_catalog.size() << " on the target\n";
  found.on_source = init::read_others(source);
  init::MatchOptions how;
  how.same_database = same_database(source, target);
  how.schemas = {options.schemas.begin(), options.schemas.end()};
  how.left_out = found.on_source.of_extensions;
  found.matching = init::match(servers.source_catalog, servers.target_catalog, how);
  for (const auto& pair : found.matching.pairs) found.drafts.push_back(init::draft(pair, found.on_source));
  init::judge(found.drafts, config, servers);
  refuse_nothing(found);
  const auto text = init::file_text(found);
  config::parse(text, context.config_path, config::process_environment());  // as whoever reads it will
  write(context, options, text);
  report(context, found);
  return 0;
}

}  // namespace

void add_init(CLI::App& parent, Context& context) {
  auto options = std::make_shared<InitOptions>();
  auto* command = add_command(
      parent, context, "init",
      "Look at both servers and write a walign.yaml to begin with; change nothing on them.",
      "walign -c users.yaml init --source postgresql://walign@old/app --target postgresql://walign@new/app",
      options, init_command);
  command->add_option("--source", options->source, "where the tables are: a URL or key=value; ${VAR} is kept")
      ->type_name("CONNECTION")
      ->required();
  command->add_option("--target", options->target, "where they shall be; may be the same database")
      ->type_name("CONNECTION")
      ->required();
  command->add_option("--migration", options->migration, "its name (the source database's)")
      ->type_name("NAME");
  command->add_option("--state", options->state, "the state directory")->type_name("DIRECTORY");
  command->add_option("--schema", options->schemas, "only this schema of the source; may be repeated")
      ->type_name("NAME");
  command->add_flag("--force", options->force, "replace the file if there is one");
}

}  // namespace walign::cli
