// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "status_text.hpp"

#include "change_text.hpp"
#include "screen.hpp"
#include "text.hpp"
#include "walign/service.hpp"

namespace walign::cli {

namespace {

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

// Values go on below the values.
constexpr std::size_t kIndent = 14;

std::string wrapped_lines(std::string_view text, std::size_t columns) {
  std::string out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    out += wrapped(text.substr(0, end), columns, kIndent) + "\n";
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
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

// How long the source keeps what the slot needs.
std::string wal_lost(const Json& status) {
  const auto limited = value(status, "/slot/limited");
  if (limited.empty()) return "-";
  const auto rate = number(status, "/slot/wal_bytes_per_second").value_or(0);
  const auto per_second = cat(bytes_text(static_cast<std::int64_t>(rate)), "/s");
  if (limited == "false") return "never (max_slot_wal_keep_size = -1): the disk fills instead";
  const auto safe = number(status, "/slot/safe_bytes");
  if (!safe) return "-";
  if (*safe <= 0) return "NOW";
  const auto room = cat("when ", bytes_text(static_cast<std::int64_t>(*safe)), " more are written");
  if (const auto left = number(status, "/slot/seconds_left")) {
    return cat(room, ": in ", seconds_text(*left), " at the present rate");
  }
  return rate > 0
             ? cat(room, ", which takes ", seconds_text(*safe / rate), " (", per_second, ") if walign stops")
             : room;
}

// What a target that went back in time could be caught up from.
std::string journal(const Json& status) {
  const auto from = value(status, "/journal/from_lsn");
  if (from.empty()) return "-";
  const auto bytes = number(status, "/journal/bytes").value_or(0);
  const auto age = number(status, "/journal/age_seconds").value_or(0);
  return cat("from ", from, " to ", value(status, "/journal/to_lsn"), ", ",
             bytes_text(static_cast<std::int64_t>(bytes)), ", begun ", seconds_text(age), " ago");
}

// The stream reads the target, and writes to the source.
bool is_reverse(const Json& status) { return value(status, "/direction") == "reverse"; }

std::string phase(const Json& status) {
  std::string out = cat(value(status, "/phase"), " (", value(status, "/direction"), ")");
  if (value(status, "/paused") == "true") out += ", paused";
  if (value(status, "/backfill_paused") == "true") out += ", copy held";
  if (value(status, "/listening") == "true") out += ", listening";
  if (value(status, "/running") == "true" && value(status, "/connected") != "true") out += ", not connected";
  return out;
}

// Old rows: all of them, or so many of about so many, how fast, and how long it will take.
std::string copied(const Json& table) {
  const std::string rows = value(table, "/rows_copied");
  if (rows.empty()) return "-";
  if (value(table, "/state") == "streaming") return rows;
  std::string out = cat(rows, " of about ", value(table, "/rows_estimated"));
  if (const auto rate = number(table, "/rows_per_second")) out += cat(", ", count_text(*rate), "/s");
  if (const auto left = number(table, "/seconds_left")) out += cat(", ", seconds_text(*left), " left");
  return out;
}

// What the last verification found; a dash where there was none.
std::string verified(const Json& table) {
  const std::string differences = value(table, "/differences");
  if (differences.empty()) return "-";
  return differences == "0" ? "equal" : cat(differences, " differ");
}

// Where the table is too wide: each one's name, and its figures below.
std::string stacked(const std::vector<std::string>& names, const std::vector<std::vector<std::string>>& rows,
                    std::size_t columns) {
  std::string out;
  for (const auto& row : rows) {
    out += wrapped(cat("\n", printable(row[0]), " -> ", printable(row[1])), columns, 4) + "\n";
    std::vector<std::string> figures;
    for (std::size_t i = 2; i < row.size(); ++i) {
      if (row[i] != "-" && row[i] != "0") figures.push_back(cat(names[i], " ", printable(row[i])));
    }
    out += wrapped(cat("  ", join(figures, ", ")), columns, 4) + "\n";
  }
  return out;
}

bool fits(std::string_view text, std::size_t columns) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (width(text.substr(0, end)) > columns) return false;
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return true;
}

std::string tables(const Json& status, std::size_t columns) {
  const bool back = is_reverse(status);
  const std::vector<std::string> names = {back ? "from the target's" : "source",
                                          back ? "to the source's" : "target",
                                          "state",
                                          "copied",
                                          "decoded",
                                          "applied",
                                          "filtered",
                                          "dropped",
                                          "dead letters",
                                          "verified",
                                          "dirty keys"};
  std::vector<std::vector<std::string>> rows;
  for (const auto& table : status.at("tables")) {
    rows.push_back({value(table, "/source"), value(table, "/target"), value(table, "/state"), copied(table),
                    value(table, "/books/decoded"), value(table, "/books/applied"),
                    value(table, "/books/filtered"), value(table, "/books/dropped"),
                    value(table, "/books/dead_letters"), verified(table),
                    or_dash(value(table, "/dirty_keys"))});
  }
  if (rows.empty()) return "";
  Table out(names);
  out.right({3, 4, 5, 6, 7, 8, 10});
  for (const auto& row : rows) out.add(row);
  const auto text = cat("\n", out.text());
  return columns == 0 || fits(text, columns) ? text : stacked(names, rows, columns);
}

std::optional<std::string> state(const Json& status, const char* pointer) {
  const auto found = value(status, pointer);
  return found.empty() ? std::nullopt : std::optional(found);
}

// Who takes writes, and whether they could go back; nothing where nothing is known.
void add_sides(const Json& s, Table& facts) {
  const auto who = service::who_takes_writes(state(s, "/writes/source"), state(s, "/writes/target"),
                                             state(s, "/writes/lease_until"));
  const auto epoch = value(s, "/epoch");
  if (!who.empty()) facts.add({"takes writes", cat(who, epoch.empty() ? "" : cat(" (epoch ", epoch, ")"))});
  const auto ready = value(s, "/rollback/ready");
  if (ready.empty()) return;
  const auto seconds = number(s, "/rollback/lag_seconds");
  const auto why = value(s, "/rollback/why");
  facts.add({"rollback ready", ready == "true"
                                   ? cat("yes", seconds ? cat(", ", seconds_text(*seconds), " behind") : "")
                                   : cat("no", why.empty() ? "" : cat(": ", one_line(why)))});
}

// Go or no-go, as of when they were last asked.
std::string gates_fact(const Json& status) {
  const Json::json_pointer at("/gates");
  if (!status.contains(at) || status.at(at).empty()) {
    return is_reverse(status) ? "not asked yet (walign rollback --dry-run)"
                              : "not asked yet (walign cutover --dry-run)";
  }
  std::size_t shut = 0;
  for (const Json& gate : status.at(at)) shut += value(gate, "/ok") == "true" ? 0 : 1;
  const auto when = value(status, "/gates_asked_at");
  const auto asked = when.empty() ? "" : cat(", asked at ", when.substr(0, 19), "Z");
  return shut == 0 ? cat("GO", asked) : cat("NO-GO: ", shut, " of ", status.at(at).size(), " shut", asked);
}

std::string gates(const Json& status) {
  const auto shut = shut_gates(status);
  return shut.empty() ? "" : cat("\nshut, when the gates were last asked:\n", shut);
}

// What came of the last change of sides; empty where there was none, or one is under way.
std::string last_change(const Json& status) {
  const auto outcome = value(status, "/cutover/outcome");
  const auto verb = value(status, "/cutover/verb");
  if (verb.empty() || value(status, "/cutover/running") == "true") return "";
  const auto extent = value(status, "/cutover/extent");
  std::string out = cat(verb,
                        extent == "dry_run"    ? " --dry-run"
                        : extent == "rehearse" ? " --rehearse"
                                               : "",
                        ": ", outcome.empty() ? "failed" : outcome);
  if (const auto message = value(status, "/cutover/message"); !message.empty())
    out += cat(": ", one_line(message));
  if (const auto pause = number(status, "/cutover/refused_ms")) {
    out += cat("; writes waited or were refused for ", ms_text(*pause));
  }
  return out;
}

// The change that is under way. What came of the last one is told by the command that asked for it, and its report.
std::string change(const Json& status) {
  const auto now = value(status, "/phase");
  if (now != "cutting_over" && now != "rolling_back") return "";
  const Json::json_pointer steps("/cutover/steps");
  if (!status.contains(steps) || status.at(steps).empty()) return "";
  std::string out = "\n" + step_head();
  for (const Json& step : status.at(steps)) {
    out += step_line({value(step, "/step"), value(step, "/text"), number(step, "/at_ms").value_or(0),
                      number(step, "/took_ms").value_or(0)});
  }
  return out;
}

}  // namespace

std::string status_text(const Json& s, const std::string& remark, std::size_t columns) {
  Table facts;
  facts.add({"migration", value(s, "/migration")});
  facts.add({"phase", phase(s)});
  if (const auto next = value(s, "/next/text"); !next.empty()) facts.add({"next", one_line(next)});
  if (const auto typed = value(s, "/next/command"); !typed.empty()) facts.add({"type", typed});
  add_sides(s, facts);
  facts.add({is_reverse(s) ? "target is at" : "source is at", or_dash(value(s, "/source/lsn"))});
  facts.add({"received", or_dash(value(s, "/received_lsn"))});
  facts.add({"applied", or_dash(value(s, "/applied_lsn"))});
  facts.add({"durable", or_dash(value(s, "/durable_lsn"))});
  facts.add({"acknowledged", or_dash(value(s, "/acknowledged_lsn"))});
  facts.add({"lag", lag(s)});
  facts.add({"slot", slot(s)});
  facts.add({"WAL is lost", wal_lost(s)});
  facts.add({"journal", journal(s)});
  facts.add({"transactions", value(s, "/transactions")});
  facts.add({"dead letters", or_dash(value(s, "/dead_letters"))});
  facts.add({"gates", gates_fact(s)});
  if (const auto change = last_change(s); !change.empty()) facts.add({"last change", change});
  if (const auto error = value(s, "/last_error"); !error.empty())
    facts.add({"trying again after", one_line(error)});
  const auto lines = cat(facts.text(), gates(s), change(s));
  return cat(columns == 0 ? lines : wrapped_lines(lines, columns), tables(s, columns),
             remark.empty() ? "" : cat("\n", printable_lines(remark), "\n"));
}

std::string status_line(const Json& s, const std::string& remark) {
  std::string out = phase(s);
  std::int64_t differences = 0;
  for (const auto& table : s.at("tables"))
    differences += static_cast<std::int64_t>(number(table, "/differences").value_or(0));
  out += cat("  applied ", or_dash(value(s, "/applied_lsn")), "  lag ", lag(s), "  slot ",
             or_dash(value(s, "/slot/wal_status")), "  dead letters ", or_dash(value(s, "/dead_letters")));
  if (differences > 0) out += cat("  differences ", differences);
  if (const auto next = value(s, "/next/text"); !next.empty()) out += cat("  next: ", one_line(next));
  if (const auto typed = value(s, "/next/command"); !typed.empty()) out += cat(" (", typed, ")");
  if (!remark.empty()) out += cat("  ", one_line(remark));
  return printable(out) + "\n";
}

}  // namespace walign::cli
