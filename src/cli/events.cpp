// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// events: a capture, the journal, or a slot, as JSON lines or length-delimited protobuf.
#include "event_json.hpp"
#include "recording.hpp"
#include "signals.hpp"
#include "text.hpp"

namespace walign::cli {

namespace {

struct EventsOptions {
  std::string capture;
  SlotChoice slot;
  std::string from;
  std::string until_lsn;
  bool until_caught_up = false;
  std::string format = "json";
};

// As protobuf's own tools write them: a varint of the message's length, then the message.
std::string delimited(const v1::Transaction& transaction) {
  const std::string message = transaction.SerializeAsString();
  std::string out;
  for (std::size_t left = message.size();; left >>= 7U) {
    const auto low = static_cast<char>(left & 0x7FU);
    if (left < 0x80) {
      out += low;
      break;
    }
    out += static_cast<char>(static_cast<unsigned char>(low) | 0x80U);
  }
  return out + message;
}

std::unique_ptr<source::Source> open(const Context& context, const EventsOptions& options,
                                     const std::string& spill, const Interrupt& interrupt, Lsn& until) {
  if (options.capture == "journal") {
    const auto config = context.load();
    const auto reach = kept_journal(config);
    return source::open_journal(config.state, options.from.empty() ? reach.from : parse_lsn(options.from));
  }
  if (!options.capture.empty()) {
    source::ReplayOptions replay;
    replay.directory = options.capture;
    if (!options.from.empty()) replay.from = parse_lsn(options.from);
    replay.spill_directory = spill;
    return source::open_capture(replay);
  }
  const auto config = context.load();
  auto slot = choose_slot(config, options.slot, interrupt);
  if (!options.from.empty() && parse_lsn(options.from) < slot.from) {
    throw Error(ErrorKind::precondition,
                cat("slot ", slot.slot, " begins at ", slot.from, ", after ", options.from),
                "what is older is not there any more; a capture that begins earlier may have it");
  }
  if (!options.from.empty()) slot.from = parse_lsn(options.from);
  if (options.until_caught_up) {
    pg::Connection source(recording_connection(config, interrupt));
    const auto end = source::current_lsn(source, pg::read_server(source).wal_segment_bytes);
    until = until.valid() ? std::min(until, end) : end;
    source::nudge(source);
  }
  slot.spill_directory = spill;
  return source::open_slot(slot);
}

void print(const Context& context, const EventsOptions& options, EventLines& text,
           event::TransactionPart& part) {
  if (options.format == "json") {
    context.io.out << text.lines(part);
    return;
  }
  part.make_self_contained();
  context.io.out << delimited(part.tx());
}

void refuse_contradictions(const EventsOptions& options) {
  if (options.capture.empty() == options.slot.slot.empty()) {
    throw Error(ErrorKind::usage, "events wants a capture's directory, or --slot", "walign events --help");
  }
  if (!options.capture.empty() && options.until_caught_up) {
    throw Error(ErrorKind::usage, "--until-caught-up is for --slot: a capture ends where it ends",
                "leave it out, or say --until-lsn");
  }
}

int events(Context& context, const EventsOptions& options) {
  refuse_contradictions(options);
  const Signals signals;
  const SpillDirectory spill;
  Lsn until = options.until_lsn.empty() ? Lsn() : parse_lsn(options.until_lsn);
  const auto source = open(context, options, spill.path(), signals.interrupt(), until);
  EventLines text;
  while (!source->ended() && context.io.out) {
    signals.interrupt().throw_if_raised();
    auto item = source->next(std::chrono::milliseconds(100));
    if (!item) {
      context.io.out.flush();
      continue;
    }
    if (is_past(*item, until)) break;
    if (auto* part = std::get_if<event::TransactionPart>(&*item)) print(context, options, text, *part);
  }
  return 0;
}

}  // namespace

void add_events(CLI::App& parent, Context& context) {
  auto options = std::make_shared<EventsOptions>();
  CLI::App* command = add_command(
      parent, context, "events",
      "Prints what is in a capture, in the journal, or what a slot would bring, as events. Acknowledges "
      "nothing.",
      "walign events /var/lib/walign/capture | jq 'select(.op == \"insert\")'", options, events);
  command
      ->add_option("CAPTURE", options->capture,
                   "a capture's directory, or the word journal: the sidecar's own")
      ->type_name("");
  add_slot_choice(command, options->slot);
  command->add_option("--from", options->from, "only transactions that end above it")->type_name("LSN");
  command->add_option("--until-lsn", options->until_lsn, "only transactions that commit below it")
      ->type_name("LSN");
  command->add_flag("--until-caught-up", options->until_caught_up,
                    "with --slot: end where the source's WAL ends now");
  command
      ->add_option("--format", options->format,
                   "json: a line per event; protobuf: walign.v1.Transaction, each with its length before it")
      ->check(CLI::IsMember({"json", "protobuf"}))
      ->type_name("FORMAT")
      ->capture_default_str();
}

}  // namespace walign::cli
