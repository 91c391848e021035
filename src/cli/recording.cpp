// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "recording.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "walign/stream.hpp"

namespace walign::cli {

void add_slot_choice(CLI::App* command, SlotChoice& choice) {
  command->add_option("--slot", choice.slot, "a logical slot with plugin pgoutput")->type_name("NAME");
  command->add_option("--publication", choice.publications, "what it shall bring; may be given several times")
      ->type_name("NAME");
}

pg::ConnectionOptions recording_connection(const config::Config& config, const Interrupt& interrupt) {
  pg::ConnectionOptions options;
  options.conninfo = config.source;
  options.application_name = cat(config.stream_name(), " recording");
  options.interrupt = &interrupt;
  return options;
}

v1::CaptureHeader describe_source(pg::Connection& source) {
  const auto facts = pg::read_server(source);
  v1::CaptureHeader header;
  header.set_source_system_id(facts.system_id);
  header.set_source_timeline(facts.timeline);
  header.set_source_database(facts.database);
  header.set_source_encoding(facts.encoding);
  header.set_server_version(static_cast<std::uint32_t>(facts.version));
  return header;
}

v1::SourceCatalog describe_tables(pg::Connection& source, const std::vector<std::string>& publications) {
  return source::record_catalog(pg::read_tables(source), source::published_tables(source, publications));
}

namespace {

std::vector<std::string> choose_publications(const config::Config& config, pg::Connection& source,
                                             const std::vector<std::string>& chosen) {
  std::vector<std::string> out;
  for (const auto& name : chosen) {
    if (!source::read_publication(source, name)) {
      throw Error(ErrorKind::precondition, cat("the source has no publication ", name),
                  "SELECT pubname FROM pg_publication, in the source's database, shows what there is");
    }
    out.push_back(name);
  }
  if (!chosen.empty()) return out;
  for (const auto& name : {config.stream_name(), stream::inserts_publication(config)}) {
    if (source::read_publication(source, name)) out.push_back(name);
  }
  if (!out.empty()) return out;
  throw Error(ErrorKind::precondition, cat("the source has no publication ", config.stream_name(), " yet"),
              "make it (`walign plan --sql` prints it), or name another one with --publication");
}

}  // namespace

source::SlotOptions choose_slot(const config::Config& config, const SlotChoice& choice,
                                const Interrupt& interrupt, bool two_phase) {
  pg::Connection source(recording_connection(config, interrupt));
  source::SlotOptions out;
  out.connection = recording_connection(config, interrupt);
  out.publications = choose_publications(config, source, choice.publications);
  out.slot = choice.slot.empty() ? stream::capture_slot(config) : choice.slot;
  auto slot = source::read_slot(source, out.slot);
  if (!slot && !choice.slot.empty()) {
    throw Error(ErrorKind::precondition, cat("the source has no slot ", out.slot),
                cat("make it: SELECT pg_create_logical_replication_slot(", pg::quote_literal(out.slot),
                    ", 'pgoutput')"));
  }
  if (!slot) {
    const auto made = source::create_slot(
        out.connection, out.slot, [](pg::Connection& /*under the snapshot*/) {},
        [&] {
          obs::info("making the slot waits for running transactions",
                    {{"transactions", join(source::running_transactions(source), "; ")}});
        },
        two_phase);
    obs::info("slot made", {{"slot", out.slot}, {"lsn", made.consistent_point}});
    out.from = made.consistent_point;
    return out;
  }
  if (slot->plugin != "pgoutput") {
    throw Error(ErrorKind::precondition, cat("slot ", out.slot, " has plugin ", slot->plugin),
                "name one that was made with pgoutput");
  }
  out.from = slot->confirmed_flush;
  return out;
}

state::JournalReach kept_journal(const config::Config& config) {
  const auto reach = state::journal_reach(config.state);
  if (reach.from.valid()) return reach;
  throw Error(ErrorKind::precondition, cat("the journal in ", config.state, " is empty"),
              "`walign run` fills it; is state: what the sidecar on this machine was started with?");
}

v1::CaptureHeader recorded_origin(const config::Config& config) {
  const auto identity = state::Store::open_read_only(config.state)->identity().value_or(v1::Identity());
  v1::CaptureHeader origin;
  origin.set_source_system_id(identity.source_system_id());
  origin.set_source_timeline(identity.source_timeline());
  origin.set_source_database(identity.source_database());
  origin.set_slot(identity.slot());
  return origin;
}

SpillDirectory::SpillDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "walign-spill-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw Error(ErrorKind::storage, cat("cannot make a directory like ", name, ": ", std::strerror(errno)),
                "set TMPDIR to a directory with room");
  }
  path_ = name;
}

SpillDirectory::~SpillDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace walign::cli
