// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The status page: no script, nothing from elsewhere, readable in a text browser.
#include <cstdio>

#include "exchange.hpp"

namespace walign::service {

namespace {

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>walign</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color-scheme: light dark }
table { border-collapse: collapse; margin: 1rem 0; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8885; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
code { font-size: .95em } .bad { font-weight: bold }
</style></head><body>
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string shown(const std::optional<Lsn>& lsn) { return lsn ? lsn->to_string() : "not known yet"; }

std::string shown_seconds(const std::optional<double>& seconds) {
  if (!seconds) return "";
  char buffer[48];
  std::snprintf(buffer, sizeof buffer, ", %.1f s", *seconds);
  return buffer;
}

std::string row(std::string_view name, std::string_view value) {
  return cat("<tr><th scope=\"row\">", escaped(name), "</th><td>", escaped(value), "</td></tr>\n");
}

std::string ms(double value) {
  char buffer[48];
  std::snprintf(buffer, sizeof buffer, "%.1f ms", value);
  return buffer;
}

// Who takes writes, and whether they could go back; nothing where nothing is known.
std::string sides(const stream::SidesStatus& s) {
  std::string out;
  const auto lease = s.lease_until_us ? std::optional(iso_time(*s.lease_until_us)) : std::nullopt;
  if (const auto who = who_takes_writes(s.source, s.target, lease); !who.empty()) {
    out += row("Takes writes", cat(who, s.epoch ? cat(" (epoch ", *s.epoch, ")") : ""));
  }
  if (s.rollback_ready) {
    out += row("Rollback ready", *s.rollback_ready ? cat("yes", shown_seconds(s.rollback_lag_seconds))
                                                   : cat("no: ", s.rollback_why));
  }
  if (s.refused_ms) out += row("Writes waited or were refused", ms(*s.refused_ms));
  return out;
}

std::string shut_gates(const stream::SidesStatus& s) {
  std::string out;
  for (const auto& g : s.gates) {
    if (g.ok) continue;
    out += cat("<tr><td>", escaped(g.name), "</td><td>", escaped(g.value), "</td><td>", escaped(g.limit),
               "</td><td>", escaped(gate_remedy(g.name, g.value)), "</td></tr>\n");
  }
  if (out.empty()) return "";
  std::string blockers;
  for (const auto& b : s.blockers) {
    blockers += cat("<li>pid ", b.pid, ": <code>", escaped(b.query), "</code></li>\n");
  }
  return cat(
      "<h2>Gates that were shut when they were last asked</h2>\n<table>\n<tr><th>Gate</th><th>Is</th>"
      "<th>Must be</th><th>What opens it</th></tr>\n",
      out, "</table>\n", blockers.empty() ? "" : cat("<ul>\n", blockers, "</ul>\n"));
}

std::string steps(const stream::SidesStatus& s) {
  if (s.steps.empty()) return "";
  std::string out =
      "<h2>The last change of sides</h2>\n<table>\n<tr><th class=\"n\">At</th><th class=\"n\">Took</th>"
      "<th>Step</th><th></th></tr>\n";
  for (const auto& step : s.steps) {
    out += cat("<tr><td class=\"n\">", ms(step.at_ms), "</td><td class=\"n\">", ms(step.took_ms), "</td><td>",
               escaped(step.name), "</td><td>", escaped(step.text), "</td></tr>\n");
  }
  return out + "</table>\n";
}

std::string positions(const stream::Status& s) {
  std::string out = "<table>\n";
  out += row("Phase", cat(s.phase, " (", s.direction, ")", s.paused ? ", paused" : ""));
  out += sides(s.sides);
  out += row(s.direction == "reverse" ? "Target is at" : "Source is at", shown(s.source_lsn));
  out += row("Received", shown(s.received));
  out += row("Applied", shown(s.applied));
  out += row("Durable", shown(s.durable));
  out += row("Acknowledged", shown(s.acknowledged));
  out +=
      row("Lag", s.lag_bytes ? cat(*s.lag_bytes, " bytes", shown_seconds(s.lag_seconds)) : "not known yet");
  out +=
      row("Slot", cat(s.slot_name, s.slot_wal_status ? cat(", ", *s.slot_wal_status) : "",
                      s.slot_retained_bytes ? cat(", keeps ", *s.slot_retained_bytes, " bytes of WAL") : ""));
  out += row("Transactions", cat(s.transactions));
  out += row("Dead letters", s.dead_letters ? cat(*s.dead_letters) : "not known yet");
  return out + "</table>\n";
}

std::string tables(const stream::Status& s) {
  std::string out =
      "<table>\n<tr><th>Source</th><th>Target</th><th>State</th><th class=\"n\">Decoded</th>"
      "<th class=\"n\">Applied</th><th class=\"n\">Filtered</th><th class=\"n\">Dead letters</th></tr>\n";
  for (const auto& t : s.tables) {
    out += cat("<tr><td>", escaped(t.source), "</td><td>", escaped(t.target), "</td><td>", escaped(t.state),
               "</td>");
    for (const auto n : {t.books.decoded, t.books.applied, t.books.filtered, t.books.dead_letters}) {
      out += cat("<td class=\"n\">", n, "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

}  // namespace

std::string status_page(const stream::Status& status, const std::optional<std::string>& not_ready) {
  std::string out(kHead);
  out += cat("<h1>", escaped(status.migration), "</h1>\n");
  out += not_ready ? cat("<p class=\"bad\">Not ready: ", escaped(*not_ready), "</p>\n") : "<p>Ready.</p>\n";
  out += positions(status);
  out += shut_gates(status.sides);
  out += steps(status.sides);
  out += tables(status);
  out +=
      "<p>This page only shows. On the sidecar's machine: <code>walign status --watch</code>, "
      "<code>walign pause apply</code>, <code>walign dead-letters list</code>, "
      "<code>walign cutover --rehearse</code>.</p>\n</body></html>\n";
  return out;
}

}  // namespace walign::service
