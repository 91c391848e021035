// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// status: what the sidecar says of itself, or what it left in the state directory.
#include <filesystem>

#include "command.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/service.hpp"
#include "walign/state.hpp"

namespace walign::cli {

namespace {

struct Options {
  bool json = false;
  bool watch = false;
};

struct Report {
  Json status;
  std::string remark;  // empty while a sidecar runs
};

void take_checkpoint(stream::Status& status, const v1::Checkpoint& checkpoint) {
  status.durable = Lsn(checkpoint.durable_lsn());
  status.transactions = checkpoint.transactions();
  status.epoch = checkpoint.epoch();
  for (const auto& books : checkpoint.books()) {
    const std::string& label = books.table();
    constexpr std::string_view kArrow = " -> ";
    const auto arrow = label.find(kArrow);
    stream::TableStatus table;
    table.source = label.substr(0, arrow);
    table.target = arrow == std::string::npos ? "" : label.substr(arrow + kArrow.size());
    table.state = "streaming";
    table.books = {books.decoded(), books.applied(), books.filtered(), books.dropped(), books.dead_letters()};
    status.tables.push_back(std::move(table));
  }
}

// What the state directory has to say.
Report stopped(const config::Config& config) {
  stream::Status status;
  status.migration = config.migration;
  status.slot_name = config.slot_name();
  std::string remark = "no sidecar runs, and none has run here yet (walign run)";
  if (std::filesystem::exists(config.state)) {
    const auto store = state::Store::open_read_only(config.state);
    const auto identity = store->identity();
    if (identity) status.source_system_id = identity->source_system_id();
    status.phase = store->phase();
    remark = "no sidecar runs; nothing was made durable yet (walign run)";
    if (const auto newest = store->newest_checkpoint()) {
      take_checkpoint(status, *newest);
      remark = cat("no sidecar runs; this is as of ", service::iso_time(newest->saved_at_us()),
                   " (walign run goes on)");
    }
  }
  return {Json::parse(service::status_json(status)), remark};
}

Report look(const config::Config& config) {
  Report report;
  if (const auto text = service::ControlClient(config.state).status_json()) {
    report.status = Json::parse(*text, nullptr, false);
    if (!report.status.is_object()) {
      throw Error(ErrorKind::malformed, "the sidecar's status is not JSON", "is it of this version?");
    }
  } else {
    report = stopped(config);
  }
  report.status["running"] = report.remark.empty();
  return report;
}

// The value at a path, as text; empty where it is null or not there.
std::string value(const Json& status, const char* pointer) {
  const Json::json_pointer at(pointer);
  if (!status.contains(at) || status.at(at).is_null()) return "";
  const Json& found = status.at(at);
  return found.is_string() ? found.get<std::string>() : found.dump();
}

std::optional<double> number(const Json& status, const char* pointer) {
  const Json::json_pointer at(pointer);
  if (!status.contains(at) || !status.at(at).is_number()) return std::nullopt;
  return status.at(at).get<double>();
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

std::string lag(const Json& status) {
  const auto bytes = number(status, "/lag/bytes");
  const auto seconds = number(status, "/lag/seconds");
  if (!bytes) return "-";
  return cat(bytes_text(static_cast<std::int64_t>(*bytes)), seconds ? cat(", ", seconds_text(*seconds)) : "");
}

std::string slot(const Json& status) {
  std::string out = or_dash(value(status, "/slot/name"));
  if (const auto bytes = number(status, "/slot/retained_bytes")) {
    out += cat(", keeps ", bytes_text(static_cast<std::int64_t>(*bytes)), " of WAL");
  }
  const std::string wal = value(status, "/slot/wal_status");
  return wal.empty() ? out : cat(out, " (", wal, ")");
}

std::string phase(const Json& status) {
  std::string out = cat(value(status, "/phase"), " (", value(status, "/direction"), ")");
  if (value(status, "/paused") == "true") out += ", paused";
  if (value(status, "/running") == "true" && value(status, "/connected") != "true") out += ", not connected";
  return out;
}

// Old rows: all of them, or so many of about so many.
std::string copied(const Json& table) {
  const std::string rows = value(table, "/rows_copied");
  if (rows.empty()) return "-";
  if (value(table, "/state") == "streaming") return rows;
  return cat(rows, " of about ", value(table, "/rows_estimated"));
}

// What the last verification found; a dash where there was none.
std::string verified(const Json& table) {
  const std::string differences = value(table, "/differences");
  if (differences.empty()) return "-";
  return differences == "0" ? "equal" : cat(differences, " differ");
}

std::string tables(const Json& status) {
  Table out({"source", "target", "state", "copied", "decoded", "applied", "filtered", "dropped",
             "dead letters", "verified", "dirty keys"});
  out.right({3, 4, 5, 6, 7, 8, 10});
  for (const auto& table : status.at("tables")) {
    out.add({value(table, "/source"), value(table, "/target"), value(table, "/state"), copied(table),
             value(table, "/books/decoded"), value(table, "/books/applied"), value(table, "/books/filtered"),
             value(table, "/books/dropped"), value(table, "/books/dead_letters"), verified(table),
             or_dash(value(table, "/dirty_keys"))});
  }
  return status.at("tables").empty() ? "" : cat("\n", out.text());
}

std::string text(const Report& report) {
  const Json& s = report.status;
  Table facts;
  facts.add({"migration", value(s, "/migration")});
  facts.add({"phase", phase(s)});
  facts.add({"source is at", or_dash(value(s, "/source/lsn"))});
  facts.add({"received", or_dash(value(s, "/received_lsn"))});
  facts.add({"applied", or_dash(value(s, "/applied_lsn"))});
  facts.add({"durable", or_dash(value(s, "/durable_lsn"))});
  facts.add({"acknowledged", or_dash(value(s, "/acknowledged_lsn"))});
  facts.add({"lag", lag(s)});
  facts.add({"slot", slot(s)});
  facts.add({"transactions", value(s, "/transactions")});
  facts.add({"dead letters", or_dash(value(s, "/dead_letters"))});
  if (const auto error = value(s, "/last_error"); !error.empty())
    facts.add({"trying again after", one_line(error)});
  return cat(facts.text(), tables(s), report.remark.empty() ? "" : cat("\n", report.remark, "\n"));
}

void print(const Context& context, const Options& options, const Report& report) {
  if (!options.json) {
    context.io.out << text(report);
  } else if (options.watch) {
    context.io.out << report.status.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    print_json(context, report.status);
  }
  context.io.out << std::flush;
}

int watch(const Context& context, const Options& options, const config::Config& config) {
  const Signals signals;
  while (context.io.out) {
    const auto report = look(config);
    // Home and clear in one write with the text that follows, so that nothing flickers.
    if (context.io.out_is_terminal && !options.json) context.io.out << "\x1b[H\x1b[2J";
    print(context, options, report);
    if (!options.json && !context.io.out_is_terminal) context.io.out << "\n";
    try {
      signals.interrupt().sleep_for(std::chrono::seconds(1));
    } catch (const Error& error) {
      return exit_status(error.kind());
    }
  }
  return 0;
}

int status(Context& context, const Options& options) {
  const auto config = context.load();
  if (options.watch) return watch(context, options, config);
  print(context, options, look(config));
  return 0;
}

}  // namespace

void add_status(CLI::App& parent, Context& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(parent, context, "status", "Phase, lag, positions and tables.",
                                  "walign status --watch                         again each second\n"
                                  "  walign status --json | jq .lag.bytes          for programs",
                                  options, status);
  command->add_flag("--json", options->json, "as JSON (with --watch: a line each second)");
  command->add_flag("--watch", options->watch, "again each second, until interrupted");
}

}  // namespace walign::cli
