// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// dead-letters list | show | retry | discard. Lists are read from the target; what changes something is the
// sidecar's to do, or, where none runs, is done here in its place.
#include "dead_letter_text.hpp"
#include "findings.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/service.hpp"
#include "walign/state.hpp"

namespace walign::cli {

namespace {

struct DeadLettersOptions {
  std::int64_t id = 0;
  bool json = false;
  bool yes = false;
};

pg::ConnectionOptions target_options(const config::Config& config, const Interrupt& interrupt) {
  pg::ConnectionOptions options;
  options.conninfo = config.target;
  options.application_name = cat("walign ", config.migration, " dead-letters");
  options.interrupt = &interrupt;
  return options;
}

std::vector<apply::DeadLetter> read(const config::Config& config, std::optional<std::int64_t> id) {
  const Signals signals;
  pg::Connection target(target_options(config, signals.interrupt()));
  return apply::read_dead_letters(target, config.stream_name(), id);
}

apply::DeadLetter read_one(const config::Config& config, std::int64_t id) {
  auto found = read(config, id);
  if (!found.empty()) return std::move(found.front());
  throw Error(ErrorKind::precondition,
              cat("there is no dead letter ", id, " of migration ", config.migration),
              "walign dead-letters list has them");
}

int list(Context& context, const DeadLettersOptions& options) {
  const auto letters = read(context.load(), std::nullopt);
  if (options.json) {
    Json out = Json::array();
    for (const auto& letter : letters) out.push_back(dead_letter_json(letter, false));
    print_json(context, out);
  } else {
    context.io.out << (letters.empty() ? "no dead letters\n" : dead_letters_table(letters));
  }
  return 0;
}

int show(Context& context, const DeadLettersOptions& options) {
  const auto letter = read_one(context.load(), options.id);
  if (options.json) {
    print_json(context, dead_letter_json(letter, true));
  } else {
    context.io.out << dead_letter_text(letter, context.config_option());
  }
  return 0;
}

// In the sidecar's place: with the state directory held, so that none can start meanwhile.
template <class Act>
void act_in_its_place(const config::Config& config, Act&& act) {
  const Signals signals;
  const auto store = state::Store::open(config.state, config.migration);
  auto prepared = prepare_or_refuse(config, signals.interrupt());
  apply::Options options;
  options.connection = target_options(config, signals.interrupt());
  options.stream = config.stream_name();
  options.max_batch_rows = config.apply.max_batch_rows;
  options.max_batch_bytes = config.apply.max_batch_bytes;
  options.on_conflict = config.apply.on_conflict;
  apply::Applier applier(std::move(options), std::move(prepared.routes));
  act(applier);
}

int retry(Context& context, const DeadLettersOptions& options) {
  const auto config = context.load();
  (void)read_one(config, options.id);
  const service::ControlClient sidecar(config.state);
  if (sidecar.sidecar_runs()) {
    sidecar.retry_dead_letter(options.id);
  } else {
    act_in_its_place(config, [&](apply::Applier& applier) { applier.retry_dead_letter(options.id); });
  }
  context.io.out << "dead letter " << options.id << " and what waited with it were applied\n";
  return 0;
}

int discard(Context& context, const DeadLettersOptions& options) {
  const auto config = context.load();
  const auto letter = read_one(config, options.id);
  if (!options.yes && !ask(context, printable(cat("Forget dead letter ", letter.id, " (", letter.operation,
                                                  " of ", letter.route, ", ", letter.key,
                                                  ") and all that waits for the same key?")))) {
    context.io.err << "nothing was discarded\n";
    return 1;
  }
  const service::ControlClient sidecar(config.state);
  if (sidecar.sidecar_runs()) {
    sidecar.discard_dead_letter(options.id);
  } else {
    act_in_its_place(config, [&](apply::Applier& applier) { applier.discard_dead_letter(options.id); });
  }
  context.io.out << "dead letter " << options.id << " and what waited with it were discarded\n";
  return 0;
}

CLI::App* add(CLI::App& group, Context& context, const char* name, const char* description,
              const char* example, int (*act)(Context&, const DeadLettersOptions&), bool takes_id,
              bool reports) {
  auto options = std::make_shared<DeadLettersOptions>();
  CLI::App* command = add_command(group, context, name, description, example, options, act);
  if (takes_id) {
    command->add_option("ID", options->id, "its number, as list has it")
        ->required()
        ->type_name("")
        ->check([](const std::string& id) {
          const bool good =
              !id.empty() && id.size() < 19 && id.find_first_not_of("0123456789") == std::string::npos;
          return good ? "" : cat("\"", id, "\" is not a dead letter's number");
        });
  }
  if (reports) command->add_flag("--json", options->json, "as JSON");
  if (act == discard) command->add_flag("--yes", options->yes, "do not ask");
  return command;
}

}  // namespace

void add_dead_letters(CLI::App& parent, Context& context) {
  CLI::App* group = add_group(parent, "dead-letters", "Changes that could not be applied and were set aside.",
                              "walign dead-letters list");
  add(*group, context, "list", "All of them, oldest first.", "walign dead-letters list --json", list, false,
      true);
  add(*group, context, "show", "One of them: its columns, its error, and what can be done.",
      "walign dead-letters show 17", show, true, true);
  add(*group, context, "retry", "Apply it, and what waits for the same key; all or nothing.",
      "walign dead-letters retry 17", retry, true, false);
  add(*group, context, "discard", "Forget it, and what waits for the same key.",
      "walign dead-letters discard 17 --yes", discard, true, false);
}

}  // namespace walign::cli
