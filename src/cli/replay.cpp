// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// replay: a capture, or the journal, into the target or into nothing.
#include "walign/replay.hpp"

#include "recording.hpp"
#include "signals.hpp"
#include "text.hpp"

namespace walign::cli {

namespace {

struct ReplayOptions {
  std::string what;
  std::string to;
  std::string from;
  std::string until_lsn;
  double pace = 0;
  std::string fault = "drop";
  std::uint64_t break_at = 0;
  bool json = false;
};

void belongs_to(const v1::CaptureHeader& origin, stream::Replay& replay) {
  replay.system_id = origin.source_system_id();
  replay.timeline = origin.source_timeline();
  replay.database = origin.source_database();
  replay.slot = origin.slot();
}

// Each time that they are otherwise than before.
void add_tables(const v1::CaptureHeader& header, stream::Replay& replay) {
  if (!header.has_catalog()) return;
  auto& recorded = replay.recorded;
  if (!recorded.empty() &&
      recorded.back().catalog.SerializeAsString() == header.catalog().SerializeAsString())
    return;
  recorded.push_back(
      {Lsn(header.from_lsn()), header.server_version(), header.source_encoding(), header.catalog()});
}

void read_capture(const ReplayOptions& options, const std::string& spill, stream::Replay& replay) {
  {
    const state::CaptureReader reader(options.what);
    const auto& first = reader.segments().front();
    replay.from = Lsn(first.from_lsn());
    belongs_to(first, replay);
    for (const auto& header : reader.segments()) add_tables(header, replay);
  }
  source::ReplayOptions reading;
  reading.directory = options.what;
  reading.spill_directory = spill;
  reading.pace = options.pace;
  replay.open = [reading](Lsn from) mutable {
    reading.from = from;
    return source::open_capture(reading);
  };
}

void read_journal(const config::Config& config, stream::Replay& replay) {
  replay.from = kept_journal(config).from;
  belongs_to(recorded_origin(config), replay);
  replay.open = [state = config.state](Lsn from) { return source::open_journal(state, from); };
}

double a_second(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

void print(const Context& context, const ReplayOptions& options, const stream::ReplayDone& done) {
  const auto rows = a_second(static_cast<double>(done.changes), done.seconds);
  const auto bytes = a_second(static_cast<double>(done.bytes), done.seconds);
  if (options.json) {
    print_json(context, {{"transactions", done.transactions},
                         {"changes", done.changes},
                         {"bytes", done.bytes},
                         {"seconds", done.seconds},
                         {"changes_per_second", rows},
                         {"position", done.position.to_string()}});
    return;
  }
  context.io.out << "replayed " << done.transactions << " transactions with " << done.changes
                 << " changes in " << seconds_text(done.seconds) << ": " << count_text(rows) << " changes/s, "
                 << bytes_text(static_cast<std::int64_t>(bytes)) << "/s; up to " << done.position.to_string()
                 << "\n";
}

std::optional<stream::Fault> fault_of(const ReplayOptions& options) {
  if (options.break_at == 0) return std::nullopt;
  using Kind = stream::Fault::Kind;
  const auto kind = options.fault == "drop"     ? Kind::drop
                    : options.fault == "repeat" ? Kind::repeat
                                                : Kind::truncate;
  return stream::Fault{kind, options.break_at};
}

int replay(Context& context, const ReplayOptions& options) {
  const Signals signals;
  const SpillDirectory spill;
  stream::Replay replay;
  if (options.what == "journal") {
    read_journal(context.load(), replay);
  } else {
    read_capture(options, spill.path(), replay);
  }
  if (!options.from.empty()) {
    const Lsn from = parse_lsn(options.from);
    if (from < replay.from) {
      throw Error(ErrorKind::precondition, cat(options.what, " begins at ", replay.from, ", after ", from),
                  "begin there, or take a capture that begins earlier");
    }
    replay.from = from;
  }
  if (!options.until_lsn.empty()) replay.until = parse_lsn(options.until_lsn);
  replay.fault = fault_of(options);
  replay.stop = &signals.interrupt();
  obs::Progress progress;
  replay.progress = [&](const stream::ReplayDone& done) {
    progress.show(cat("replayed up to ", done.position, "  ", count_text(static_cast<double>(done.changes)),
                      " changes  ", count_text(a_second(static_cast<double>(done.changes), done.seconds)),
                      "/s"));
  };
  print(context, options,
        options.to == "null" ? stream::replay_into_nothing(replay)
                             : stream::replay_into_target(replay, context.load()));
  return 0;
}

}  // namespace

void add_replay(CLI::App& parent, Context& context) {
  auto options = std::make_shared<ReplayOptions>();
  CLI::App* command = add_command(
      parent, context, "replay",
      "Feeds recorded transactions to the target, through the mapping, or to nothing. Again, it goes on.",
      "walign replay /var/lib/walign/capture --to target\n"
      "  walign replay journal --to null         how fast it can be read",
      options, replay);
  command
      ->add_option("CAPTURE", options->what, "a capture's directory, or the word journal: the sidecar's own")
      ->required()
      ->type_name("");
  command
      ->add_option(
          "--to", options->to,
          "target: that of the configuration, whose tables are as they were where this begins; null: "
          "decode and count")
      ->required()
      ->check(CLI::IsMember({"target", "null"}))
      ->type_name("WHERE");
  command->add_option("--from", options->from, "only transactions that end above it")->type_name("LSN");
  command->add_option("--until-lsn", options->until_lsn, "only transactions that commit below it")
      ->type_name("LSN");
  command
      ->add_option("--pace", options->pace,
                   "of a capture: 1 as fast as it was recorded, 2 twice as fast; 0 as fast as it can be")
      ->type_name("TIMES")
      ->check(CLI::NonNegativeNumber);
  auto* break_at =
      command->add_option("--break-at", options->break_at,
                          "to the target, for test harnesses: once, after N parts of transactions, break");
  break_at->type_name("N");
  command
      ->add_option("--break", options->fault,
                   "how: drop the connection; repeat all after it; truncate, also inside a transaction")
      ->check(CLI::IsMember({"drop", "repeat", "truncate"}))
      ->type_name("HOW")
      ->needs(break_at)
      ->capture_default_str();
  command->add_flag("--json", options->json, "as JSON");
}

}  // namespace walign::cli
