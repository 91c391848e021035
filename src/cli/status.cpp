// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// status: what the sidecar says of itself, or what it left in the state directory and on the servers.
#include <filesystem>

#include "command.hpp"
#include "fence_rows.hpp"
#include "screen.hpp"
#include "signals.hpp"
#include "status_text.hpp"
#include "text.hpp"
#include "walign/service.hpp"
#include "walign/state.hpp"

namespace walign::cli {

namespace {

struct StatusOptions {
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

// What the state directory and the servers have to say.
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
  const auto silent = read_fence_rows(config, status.sides);
  // Before the first run there is nothing to ask for.
  if (status.phase != "new" && !silent.empty()) remark = cat(join(silent, "\n"), "\n", remark);
  service::Outlook left;
  left.running = false;
  return {Json::parse(service::status_json(status, left)), remark};
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

void print(const Context& context, const StatusOptions& options, const Report& report) {
  if (!options.json) {
    const std::size_t columns = context.io.out_is_terminal ? terminal_size().columns : 0;
    context.io.out << status_text(report.status, report.remark, columns);
  } else {
    print_json(context, report.status);
  }
  context.io.out << std::flush;
}

// A sidecar that is busy, or has just gone, is looked for again.
std::optional<Report> look_again(const config::Config& config, std::string& why) {
  try {
    return look(config);
  } catch (const Error& error) {
    if (remedy(error.kind()) != Remedy::retry) throw;
    why = error.message();
    return std::nullopt;
  }
}

// One look, as --watch shows it.
std::string watched(const StatusOptions& options, const std::optional<Report>& report, const std::string& why,
                    std::size_t columns) {
  if (options.json) {
    if (!report) return "";
    return report->status.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  if (!report) return cat("not known at this moment: ", printable(why), "\n");
  if (columns == 0) return status_line(report->status, report->remark);
  return status_text(report->status, report->remark, columns);
}

int watch(const Context& context, const StatusOptions& options, const config::Config& config) {
  const Signals signals;
  const bool redraw = context.io.out_is_terminal && !options.json;
  std::optional<Screen> screen;
  if (redraw) screen.emplace(context.io.out);
  while (context.io.out) {
    std::string why;
    const auto report = look_again(config, why);
    const auto text = watched(options, report, why, redraw ? terminal_size().columns : 0);
    if (screen) {
      screen->show(text);
    } else {
      context.io.out << text << std::flush;
    }
    try {
      signals.interrupt().sleep_for(std::chrono::seconds(1));
    } catch (const Error& error) {
      return exit_status(error.kind());
    }
  }
  return 0;
}

int status(Context& context, const StatusOptions& options) {
  const auto config = context.load();
  if (options.watch) return watch(context, options, config);
  print(context, options, look(config));
  return 0;
}

}  // namespace

void add_status(CLI::App& parent, Context& context) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* command =
      add_command(parent, context, "status", "Phase, what to do next, lag, positions, gates and tables.",
                  "walign status --watch                         again each second\n"
                  "  walign status --json | jq .lag.bytes          for programs",
                  options, status);
  command->add_flag("--json", options->json, "as JSON (with --watch: a line each second)");
  command->add_flag("--watch", options->watch,
                    "again each second, until interrupted; a line each where stdout is no terminal");
}

}  // namespace walign::cli
