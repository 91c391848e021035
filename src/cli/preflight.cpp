// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// preflight: everything that can be known before anything is touched.
#include "findings.hpp"
#include "signals.hpp"
#include "text.hpp"

namespace walign::cli {

namespace {

using Level = mapping::Finding::Level;

struct PreflightOptions {
  bool json = false;
};

const char* level_text(Level level) {
  switch (level) {
    case Level::ok: return "ok";
    case Level::warn: return "warn";
    case Level::fail: return "FAIL";
  }
  return "";
}

std::int64_t count(const mapping::Findings& findings, Level level) {
  return std::count_if(findings.begin(), findings.end(), [&](const auto& f) { return f.level == level; });
}

// Remedies have several lines where they are a script.
std::string indented(std::string_view text, const std::string& before) {
  std::string out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    out += cat(before, printable(text.substr(0, end)), "\n");
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

struct Seen {
  mapping::Findings findings;
  bool forward = false;  // all that `run` needs holds; what fails is of the way back
};

// What `run` sees to itself hinders nobody.
mapping::Findings mended_by_run(mapping::Findings findings) {
  for (auto& f : findings) {
    if (f.run_mends) f.level = Level::warn;
  }
  return findings;
}

// The way back is looked at where the way there is clear. A server that cannot be reached, or does not let us in, is a
// check that failed.
Seen look(const config::Config& config, const Interrupt& interrupt) {
  try {
    const auto prepared = stream::prepare(config, &interrupt);
    if (mapping::run_mends_all(prepared.findings)) return {mended_by_run(prepared.findings), true};
    if (mapping::any_failed(prepared.findings)) return {prepared.findings, false};
    Seen seen{prepared.findings, true};
    const auto back = stream::ways_back(config, prepared, &interrupt).findings;
    seen.findings.insert(seen.findings.end(), back.begin(), back.end());
    return seen;
  } catch (const Error& error) {
    const bool of_a_server = error.kind() == ErrorKind::connection ||
                             error.kind() == ErrorKind::precondition ||
                             error.kind() == ErrorKind::transient || error.kind() == ErrorKind::query;
    if (!of_a_server) throw;
    return {{{Level::fail, "connection", error.message(), error.hint()}}, false};
  }
}

const char* verdict(const Seen& seen) {
  if (!mapping::any_failed(seen.findings)) return "ready for walign run";
  return seen.forward ? "walign run would work, and no cutover: there is no way back; nothing was changed"
                      : "walign run would refuse; nothing was changed";
}

int preflight(Context& context, const PreflightOptions& options) {
  const auto config = context.load();
  const Signals signals;
  const auto seen = look(config, signals.interrupt());
  const auto& findings = seen.findings;
  const bool failed = mapping::any_failed(findings);
  if (options.json) {
    print_json(context, findings_json(findings));
  } else {
    context.io.out << findings_text(findings) << "\n"
                   << count(findings, Level::ok) << " ok, " << count(findings, Level::warn) << " warn, "
                   << count(findings, Level::fail) << " FAIL: " << verdict(seen) << "\n";
  }
  return failed ? exit_status(ErrorKind::precondition) : 0;
}

}  // namespace

std::string findings_text(const mapping::Findings& findings) {
  std::size_t subject_width = 0;
  for (const auto& f : findings) subject_width = std::max(subject_width, width(printable(f.subject)));
  subject_width = std::min<std::size_t>(subject_width, 40);
  std::string out;
  for (const auto& f : findings) {
    const std::string subject = printable(f.subject);
    const std::size_t taken = std::min(width(subject), subject_width);
    out += cat(f.level == Level::ok     ? "ok    "
               : f.level == Level::warn ? "warn  "
                                        : "FAIL  ",
               subject, std::string(subject_width - taken + 2, ' '), one_line(f.what), "\n");
    out += indented(f.remedy, "        ");
  }
  return out;
}

Json findings_json(const mapping::Findings& findings) {
  Json out = Json::array();
  for (const auto& f : findings) {
    out.push_back(
        {{"level", level_text(f.level)}, {"subject", f.subject}, {"what", f.what}, {"remedy", f.remedy}});
  }
  return out;
}

void refuse(const mapping::Findings& failed) {
  std::string list = findings_text(failed);
  list.pop_back();  // the last line's end
  throw Error(ErrorKind::precondition,
              cat(failed.size(), failed.size() == 1 ? " check" : " checks", " failed:\n", list),
              "see all of them with `walign preflight`");
}

stream::Prepared prepare_or_refuse(const config::Config& config, const Interrupt& interrupt) {
  auto prepared = stream::prepare(config, &interrupt);
  mapping::Findings failed;
  for (const auto& f : prepared.findings) {
    if (f.level == Level::fail) failed.push_back(f);
  }
  if (!failed.empty()) refuse(failed);
  return prepared;
}

void add_preflight(CLI::App& parent, Context& context) {
  auto options = std::make_shared<PreflightOptions>();
  add_command(
      parent, context, "preflight", "Check both servers against the mapping; change nothing.",
      "walign preflight        a line per check: ok, warn or FAIL, with what to do; exit 3 if one failed",
      options, preflight)
      ->add_flag("--json", options->json, "as a JSON array");
}

}  // namespace walign::cli
