// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "status_text.hpp"

#include "change_text.hpp"
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

// The stream reads the target, and writes to the source.
bool is_reverse(const Json& status) { return value(status, "/direction") == "reverse"; }

std::string phase(const Json& status) {
  std::string out = cat(value(status, "/phase"), " (", value(status, "/direction"), ")");
  if (value(status, "/paused") == "true") out += ", paused";
  if (value(status, "/listening") == "true") out += ", listening";
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
  const bool back = is_reverse(status);
  Table out({back ? "from the target's" : "source", back ? "to the source's" : "target", "state", "copied",
             "decoded", "applied", "filtered", "dropped", "dead letters", "verified", "dirty keys"});
  out.right({3, 4, 5, 6, 7, 8, 10});
  for (const auto& table : status.at("tables")) {
    out.add({value(table, "/source"), value(table, "/target"), value(table, "/state"), copied(table),
             value(table, "/books/decoded"), value(table, "/books/applied"), value(table, "/books/filtered"),
             value(table, "/books/dropped"), value(table, "/books/dead_letters"), verified(table),
             or_dash(value(table, "/dirty_keys"))});
  }
  return status.at("tables").empty() ? "" : cat("\n", out.text());
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

std::string gates(const Json& status) {
  const auto shut = shut_gates(status);
  return shut.empty() ? "" : cat("\nshut, when the gates were last asked:\n", shut);
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

std::string status_text(const Json& s, const std::string& remark) {
  Table facts;
  facts.add({"migration", value(s, "/migration")});
  facts.add({"phase", phase(s)});
  add_sides(s, facts);
  facts.add({is_reverse(s) ? "target is at" : "source is at", or_dash(value(s, "/source/lsn"))});
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
  return cat(facts.text(), gates(s), change(s), tables(s),
             remark.empty() ? "" : cat("\n", printable_lines(remark), "\n"));
}

}  // namespace walign::cli
