// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// rewind: the next run goes on from a saved position, from the journal.
//
// A target that says itself where it is (schema walign was restored with its tables) is believed: it must be at that
// position. Further on, its rows would be written twice; further back, rows would be left out. A target that does not
// say it (its tables alone were restored, or it is another one) is at that position because the operator says so.
#include "confirm.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/stream.hpp"

namespace walign::cli {

namespace {

struct RewindOptions {
  std::string to;
  std::string to_time;
  bool yes = false;
};

[[noreturn]] void refuse(std::string message, std::string hint, Lsn at = {}) {
  throw Error(ErrorKind::precondition, std::move(message), std::move(hint)).at(at);
}

Lsn choose(const RewindOptions& options, state::Store& store) {
  if (!options.to.empty()) return parse_lsn(options.to);
  const auto time = parse_time(options.to_time);
  for (const auto& checkpoint : store.checkpoints(std::numeric_limits<std::size_t>::max())) {
    if (checkpoint.saved_at_us() <= time) return Lsn(checkpoint.durable_lsn());
  }
  refuse(cat("no position was saved at or before ", options.to_time), "walign checkpoints list shows them");
}

// Whose state this is.
v1::Identity identity_of(state::Store& store, const config::Config& config) {
  auto identity = store.identity();
  if (!identity) {
    refuse(cat("state directory ", config.state, " has no saved position yet"),
           "is state: what the sidecar on this machine was started with?");
  }
  if (const auto phase = store.phase(); phase != "streaming") {
    refuse(cat("migration ", config.migration, " is in phase ", phase,
               ": it can be taken back while it streams"),
           phase == "backfilling" ? "`walign run` goes on by itself from where the target is"
                                  : "nothing leads back across a change of sides");
  }
  return std::move(*identity);
}

void check_journal(const config::Config& config, Lsn to) {
  const auto reach = state::journal_reach(config.state);
  if (reach.has(to)) return;
  const std::string has = reach.from.valid() ? cat("goes from ", reach.from, " to ", reach.to) : "is empty";
  refuse(cat("the journal ", has, ": it does not have what came after ", to),
         "restore the target to a position that it has (walign checkpoints list); journal: {keep, keep_for} "
         "says how "
         "much is kept",
         to);
}

// Whether the target says itself that it is at `to`. Refuses where it says something else.
bool target_agrees(const Context& context, const std::optional<apply::StreamRow>& row, Lsn to) {
  if (!row || !row->position.valid()) return false;
  if (row->position > to) {
    refuse(cat("the target is at ", row->position, ", further than ", to,
               ": what lies between would be written twice"),
           "restore it to how it was then, schema walign with its tables; then `walign run` goes on from "
           "there by "
           "itself",
           row->position);
  }
  if (row->position < to) {
    refuse(cat("the target is at ", row->position, ", before ", to, ": what lies between would be left out"),
           cat("walign", context.config_option(), " rewind --to ", row->position,
               ", or `walign run`, which goes on from there by itself"),
           row->position);
  }
  return true;
}

void confirm(const Context& context, const RewindOptions& options, const config::Config& config, Lsn to) {
  context.io.err << "The target, " << pg::describe_conninfo(config.target)
                 << ", does not say where it is. If its tables "
                 << "are not as they were at " << to.to_string()
                 << ",\nrows will be missing or there twice.\n";
  if (options.yes || ask(context, "Are they, and does nothing else write to them?")) return;
  throw Error(ErrorKind::usage, "nothing was changed", "restore the tables first");
}

void write_row(pg::Connection& target, const config::Config& config, const v1::Identity& identity,
               bool exists, Lsn to) {
  apply::install_schema(target);
  apply::StreamRow row;
  row.source_system_id = identity.source_system_id();
  row.source_timeline = identity.source_timeline();
  row.source_database = identity.source_database();
  row.slot = identity.slot();
  row.mapping_hash = identity.mapping_hash();
  if (!exists) apply::insert_stream(target, config.stream_name(), row);
  apply::begin_stream(target, config.stream_name(), to, "");
}

int rewind(Context& context, const RewindOptions& options) {
  if (options.to.empty() == options.to_time.empty()) {
    throw Error(ErrorKind::usage, "rewind wants --to or --to-time", "walign rewind --help");
  }
  const auto config = context.load();
  const Signals signals;
  refuse_sidecar(config);
  const auto store = state::Store::open(config.state, config.migration);
  auto identity = identity_of(*store, config);
  const Lsn to = choose(options, *store);
  check_journal(config, to);
  pg::ConnectionOptions connection;
  connection.conninfo = config.target;
  connection.application_name = cat(config.stream_name(), " rewind");
  connection.interrupt = &signals.interrupt();
  pg::Connection target(connection);
  const auto row = apply::read_stream(target, config.stream_name());
  const bool agrees = target_agrees(context, row, to);
  if (!agrees) {
    confirm(context, options, config, to);
    write_row(target, config, identity, row.has_value(), to);
  }
  // It may be another server than before.
  const auto facts = pg::read_server(target);
  identity.set_target_system_id(facts.system_id);
  identity.set_target_database(facts.database);
  store->put_identity(identity);
  store->forget_after(to);
  context.io.out << "the next run goes on from " << to.to_string()
                 << (agrees ? "" : "; start it with --no-backfill") << "\n";
  return 0;
}

}  // namespace

void add_rewind(CLI::App& parent, Context& context) {
  auto options = std::make_shared<RewindOptions>();
  CLI::App* command = add_command(
      parent, context, "rewind",
      "Makes the next run go on from a saved position, from the journal, for a target that was restored.",
      "walign rewind --to 16/B374D848                    what the restored target is at\n"
      "  walign rewind --to-time 2026-01-31T12:00:00Z      the last position saved by then",
      options, rewind);
  auto* to = command->add_option("--to", options->to, "the position that the target's tables are at");
  to->type_name("LSN");
  command->add_option("--to-time", options->to_time, "the newest position that was saved at or before TIME")
      ->type_name("TIME")
      ->excludes(to);
  command->add_flag("--yes", options->yes, "asks nothing: a target that does not say where it is, is there");
}

}  // namespace walign::cli
