// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// capture: a slot into a directory, until stopped; or what the journal has.
#include "recording.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/export.hpp"
#include "walign/stream.hpp"

namespace walign::cli {

namespace {

struct CaptureOptions {
  std::string directory;
  SlotChoice slot;
  std::string from;
  std::string until_lsn;
  bool from_journal = false;
  bool until_caught_up = false;
  bool drop_slot = false;
  bool two_phase = false;
};

void drop(const Context& context, const config::Config& config, const CaptureOptions& options,
          const Interrupt& interrupt) {
  if (!options.slot.slot.empty()) {
    throw Error(ErrorKind::usage, "a slot that was brought is not dropped",
                "drop it with pg_drop_replication_slot");
  }
  pg::Connection source(recording_connection(config, interrupt));
  source::drop_slot(source, stream::capture_slot(config));
  context.io.out << "dropped slot " << stream::capture_slot(config) << "\n";
}

void show(obs::Progress& progress, const source::CaptureProgress& done) {
  progress.show(cat("captured up to ", done.position, "  ",
                    count_text(static_cast<double>(done.transactions)), " transactions  ",
                    bytes_text(static_cast<std::int64_t>(done.bytes))));
}

// So that a replay needs no source; where that does not answer, it will.
void add_tables(const config::Config& config, const Interrupt& interrupt, v1::CaptureHeader& origin) {
  try {
    pg::Connection source(recording_connection(config, interrupt));
    const auto described = describe_source(source);
    if (described.source_system_id() != origin.source_system_id()) return;
    origin.set_source_encoding(described.source_encoding());
    origin.set_server_version(described.server_version());
    *origin.mutable_catalog() =
        describe_tables(source, {config.stream_name(), stream::inserts_publication(config)});
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted) throw;
    obs::warn(
        "the source does not say what its tables are like: a replay of this capture will have to ask it",
        {{"error", error.message()}});
  }
}

int export_journal(const config::Config& config, const CaptureOptions& options, const Interrupt& interrupt) {
  const auto reach = kept_journal(config);
  source::ExportOptions out;
  out.state_directory = config.state;
  out.directory = options.directory;
  out.from = options.from.empty() ? reach.from : parse_lsn(options.from);
  if (!options.until_lsn.empty()) out.until = parse_lsn(options.until_lsn);
  out.origin = recorded_origin(config);
  add_tables(config, interrupt, out.origin);
  out.stop = &interrupt;
  const auto done = source::export_journal(out);
  obs::info("captured from the journal", {{"from", out.from},
                                          {"lsn", done.position},
                                          {"transactions", done.transactions},
                                          {"bytes", done.bytes}});
  return 0;
}

int capture(Context& context, const CaptureOptions& options) {
  const auto config = context.load();
  const Signals signals;
  if (options.drop_slot) {
    drop(context, config, options, signals.interrupt());
    return 0;
  }
  if (options.directory.empty()) {
    throw Error(ErrorKind::usage, "where shall the capture go?", "walign capture DIRECTORY");
  }
  if (options.from_journal) return export_journal(config, options, signals.interrupt());
  source::CaptureOptions capture_options;
  capture_options.slot = choose_slot(config, options.slot, signals.interrupt(), options.two_phase);
  capture_options.two_phase = options.two_phase;
  capture_options.catalog = [&] {
    pg::Connection source(recording_connection(config, signals.interrupt()));
    return describe_tables(source, capture_options.slot.publications);
  };
  if (!options.until_lsn.empty()) capture_options.until = parse_lsn(options.until_lsn);
  {
    pg::Connection source(recording_connection(config, signals.interrupt()));
    capture_options.origin = describe_source(source);
    if (options.until_caught_up) {
      capture_options.until = source::current_lsn(source, pg::read_server(source).wal_segment_bytes);
      source::nudge(source);
    }
  }
  obs::Progress progress;
  capture_options.directory = options.directory;
  capture_options.stop = &signals.interrupt();
  capture_options.progress = [&](const auto& done) { show(progress, done); };
  const auto done = source::capture(capture_options);
  obs::info("captured", {{"lsn", done.position}, {"transactions", done.transactions}, {"bytes", done.bytes}});
  if (options.slot.slot.empty()) {
    obs::info("the slot keeps WAL for the next capture; when there will be none: walign capture --drop-slot",
              {{"slot", stream::capture_slot(config)}});
  }
  signals.interrupt().throw_if_raised();
  return 0;
}

}  // namespace

void add_capture(CLI::App& parent, Context& context) {
  auto options = std::make_shared<CaptureOptions>();
  CLI::App* command = add_command(
      parent, context, "capture",
      "Records the source's changes into a directory, from a slot of its own; run again, it goes on.",
      "walign capture /var/lib/walign/capture --until-caught-up\n"
      "  walign capture /var/lib/walign/stretch --from-journal --from 16/B374D848",
      options, capture);
  command->add_option("DIRECTORY", options->directory, "where the segments go")->type_name("");
  add_slot_choice(command, options->slot);
  command
      ->add_option("--until-lsn", options->until_lsn,
                   "end when everything that committed below it is on disk")
      ->type_name("LSN");
  auto* journal = command->add_flag("--from-journal", options->from_journal,
                                    "what the sidecar's journal has, instead of a slot");
  command->add_option("--from", options->from, "with --from-journal: transactions that commit at or above it")
      ->type_name("LSN")
      ->needs(journal);
  command
      ->add_flag("--two-phase", options->two_phase,
                 "with prepared transactions as they are prepared; the slot stays so for good")
      ->excludes(journal);
  command->add_flag("--until-caught-up", options->until_caught_up, "end where the source's WAL ends now");
  command->add_flag("--drop-slot", options->drop_slot,
                    "record nothing, and drop the slot of earlier captures");
}

}  // namespace walign::cli
