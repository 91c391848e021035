// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// verify: the sidecar compares both sides; this asks it to, watches, and tells what it found.
#include "command.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/service.hpp"

namespace walign::cli {

namespace {

constexpr int kDifferencesFound = 4;  // exit status
constexpr std::size_t kShown = 20;    // differences of a table, as text

struct VerifyOptions {
  std::vector<std::string> tables;
  std::vector<std::string> show;
  bool all = false;
  bool repair = false;
  bool mask = false;
  bool json = false;
};

verify::Request request_of(const VerifyOptions& options) {
  verify::Request request;
  request.tables = options.tables;
  request.all = options.all;
  request.repair = options.repair;
  if (!options.show.empty()) {
    request.tables = {options.show.front()};
    request.key.assign(options.show.begin() + 1, options.show.end());
  }
  return request;
}

Json parse(const std::string& text) {
  Json report = Json::parse(text, nullptr, false);
  if (!report.is_object() || !report.contains("tables") || !report["tables"].is_array()) {
    throw Error(ErrorKind::malformed, "the sidecar's report is not what was expected",
                "is it of this version? Look at its log");
  }
  return report;
}

std::string text_of(const Json& object, const char* name) {
  return object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : "";
}

std::int64_t number_of(const Json& object, const char* name) {
  return object.contains(name) && object[name].is_number() ? object[name].get<std::int64_t>() : 0;
}

bool truth_of(const Json& object, const char* name) {
  return object.contains(name) && object[name].is_boolean() && object[name].get<bool>();
}

std::string progress_of(const Json& report) {
  std::string line = "verifying";
  std::size_t left = 0;
  for (const auto& table : report["tables"]) {
    const auto state = text_of(table, "state");
    if (state == "waiting") ++left;
    if (state != "comparing") continue;
    line += cat("  ", one_line(text_of(table, "table")), "  ",
                count_text(static_cast<double>(number_of(table, "rows"))));
    if (truth_of(table, "whole") && number_of(table, "rows_estimated") > 0) {
      line += cat(" of about ", count_text(static_cast<double>(number_of(table, "rows_estimated"))));
    }
    line += " rows";
    if (const auto found = number_of(table, "differences"); found > 0) line += cat(", ", found, " differ");
    if (const auto why = text_of(table, "error"); !why.empty()) line += cat(" (", one_line(why), ")");
  }
  return left == 0 ? line : cat(line, "  ", left, left == 1 ? " table left" : " tables left");
}

// A sidecar that starts, or begins again, knows its tables in a moment.
std::uint64_t begin(const service::ControlClient& sidecar, const verify::Request& request) {
  constexpr int kTries = 50;
  constexpr std::chrono::milliseconds kBetween{200};
  const Signals signals;
  for (int tries = 1;; ++tries) {
    try {
      return sidecar.verify(request);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::transient || tries == kTries) throw;
    }
    signals.interrupt().sleep_for(kBetween);
  }
}

Json watch(const service::ControlClient& sidecar, std::uint64_t id) {
  const Signals signals;
  obs::Progress progress;
  for (auto pause = std::chrono::milliseconds(5);;
       pause = std::min(pause * 2, std::chrono::milliseconds(500))) {
    auto report = parse(sidecar.verification_json(id));
    if (truth_of(report, "done")) return report;
    progress.show(progress_of(report));
    try {
      signals.interrupt().sleep_for(pause);
    } catch (const Error&) {
      throw Error(ErrorKind::interrupted, cat("verification ", id, " goes on in the sidecar"),
                  "`walign status` has what it found, `walign verify` asks again");
    }
  }
}

void mask(Json& report) {
  for (auto& table : report["tables"]) {
    for (auto& difference : table["rows_that_differ"]) {
      for (auto& column : difference["columns"]) {
        for (const char* side : {"source", "target"}) {
          if (column[side].is_string()) column[side] = cat("***", column[side].get<std::string>().size());
        }
      }
    }
  }
}

std::string value_text(const Json& value, bool whole) {
  constexpr std::size_t kWidth = 60;
  if (!value.is_string()) return "NULL";
  const auto text = one_line(value.get<std::string>());
  return whole || text.size() <= kWidth ? text : cat(text.substr(0, kWidth), "...");
}

void print_difference(const Context& context, const Json& difference, bool whole) {
  std::string key;
  for (const auto& [column, value] : difference["key"].items()) {
    key += cat(key.empty() ? "" : ", ", one_line(column), "=", value_text(value, whole));
  }
  const auto kind = text_of(difference, "kind");
  context.io.out << "  " << kind << (key.empty() ? "" : "  ") << key << "\n";
  if (!whole && (kind == "missing" || kind == "extra")) return;
  for (const auto& column : difference["columns"]) {
    context.io.out << "    " << one_line(text_of(column, "column"));
    if (kind != "extra") context.io.out << "  source " << value_text(column["source"], whole);
    if (kind != "missing") context.io.out << "  target " << value_text(column["target"], whole);
    context.io.out << "\n";
  }
}

std::string verdict(const Json& table) {
  const auto state = text_of(table, "state");
  if (state != "done" && state != "partial") return cat(state, ": ", one_line(text_of(table, "error")));
  const auto differences = number_of(table, "differences");
  const auto rows = number_of(table, "rows");
  std::string out = differences == 0 ? std::string(state == "partial" ? "equal so far" : "equal")
                                     : cat(differences, differences == 1 ? " row differs" : " rows differ");
  out += cat("; ", rows, rows == 1 ? " row" : " rows",
             truth_of(table, "whole") ? " compared" : " looked at again");
  if (const auto lsn = text_of(table, "verified_at_lsn"); !lsn.empty()) out += cat(", as of ", lsn);
  if (const auto repaired = number_of(table, "repaired"); repaired > 0)
    out += cat("; ", repaired, " read again");
  if (const auto why = text_of(table, "error"); !why.empty()) out += cat("; ", one_line(why));
  return out;
}

void print_text(const Context& context, const Json& report, bool whole) {
  for (const auto& table : report["tables"]) {
    context.io.out << one_line(text_of(table, "table")) << ": " << verdict(table) << "\n";
    std::size_t shown = 0;
    for (const auto& difference : table["rows_that_differ"]) {
      if (shown++ == kShown) break;
      print_difference(context, difference, whole);
    }
    const auto all = number_of(table, "differences");
    if (shown > 0 && all > static_cast<std::int64_t>(std::min(shown, kShown))) {
      context.io.out << "  ... and " << all - static_cast<std::int64_t>(std::min(shown, kShown))
                     << " more (--json has up to a thousand)\n";
    }
    for (const auto& note : table["notes"]) {
      if (note.is_string()) context.io.out << "  note: " << one_line(note.get<std::string>()) << "\n";
    }
  }
}

// Rows too many whose key leads back to no row of the source cannot be read again.
void print_what_is_left(const Context& context, const Json& report) {
  for (const auto& table : report["tables"]) {
    const auto label = text_of(table, "table");
    const auto arrow = label.find(" -> ");
    const auto name = arrow == std::string::npos ? label : label.substr(arrow + 4);
    for (const auto& difference : table["rows_that_differ"]) {
      if (text_of(difference, "kind") != "extra" || !difference["source_key"].empty()) continue;
      std::string where;
      for (const auto& [column, value] : difference["key"].items()) {
        where += cat(where.empty() ? "" : " AND ", pg::quote_ident(column), " = ",
                     pg::quote_literal(value.is_string() ? value.get<std::string>() : ""));
      }
      context.io.out << printable(cat("DELETE FROM ", name, " WHERE ", where, ";")) << "\n";
    }
  }
}

int exit_of(const Json& report) {
  bool failed = false;
  for (const auto& table : report["tables"]) {
    if (number_of(table, "differences") > 0 || number_of(table, "violations") > 0) return kDifferencesFound;
    failed = failed || text_of(table, "state") == "failed";
  }
  return failed ? exit_status(ErrorKind::query) : 0;
}

int verify(Context& context, const VerifyOptions& options) {
  if (options.show.size() == 1) {
    throw Error(ErrorKind::usage, "--show needs a table and a key", "walign verify --show public.users 17");
  }
  const auto config = context.load();
  const service::ControlClient sidecar(config.state);
  const auto id = begin(sidecar, request_of(options));
  auto report = watch(sidecar, id);
  if (options.mask) mask(report);
  if (options.json) {
    print_json(context, report);
  } else {
    print_text(context, report, !options.show.empty());
    if (options.repair) print_what_is_left(context, report);
  }
  return exit_of(report);
}

}  // namespace

void add_verify(CLI::App& parent, Context& context) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = add_command(
      parent, context, "verify", "Compare both sides at one position, while they run.",
      "walign verify                         what changed since the last time; all of it the first time\n"
      "  walign verify --all                   every row\n"
      "  walign verify --table public.users    one table (more than once: several)\n"
      "  walign verify --show public.users 17  one row, with both sides' values\n"
      "  walign verify --repair                read rows that differ again from the source\n"
      "Exit status: 4 where something differs.",
      options, verify);
  auto* tables = command->add_option("--table", options->tables, "only this table; may be given again");
  tables->type_name("TABLE")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  auto* all = command->add_flag("--all", options->all, "every row, not only what has changed");
  auto* repair =
      command->add_flag("--repair", options->repair, "read rows that differ again from the source");
  command
      ->add_option("--show", options->show, "one row: a table, and the source's key, a value for each column")
      ->type_name("TABLE KEY")
      ->expected(1, 64)
      ->excludes(tables)
      ->excludes(all)
      ->excludes(repair);
  command->add_flag("--mask", options->mask, "keys, but no values: *** and their length");
  command->add_flag("--json", options->json, "as JSON, with up to a thousand differences of each table");
}

}  // namespace walign::cli
