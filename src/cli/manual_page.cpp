// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// walign(1), in the macros of man(7).
#include "command_tree.hpp"

namespace walign::cli {

namespace {

constexpr std::array<std::pair<const char*, const char*>, 9> kExitStatus = {{
    {"0", "done"},
    {"1", "failed"},
    {"2", "wrong usage or configuration"},
    {"3", "a precondition or a gate does not hold"},
    {"4", "verify found differences"},
    {"5", "backed out: writes are where they were"},
    {"6", "in doubt: a human must decide; the text says what is known, and what to run"},
    {"7", "cut over, but the switch hook failed"},
    {"130", "interrupted, after a clean stop"},
}};

constexpr std::array<std::pair<const char*, const char*>, 5> kEnvironment = {{
    {"WALIGN_CONFIG", "The configuration, where -c does not name it."},
    {"PGPASSFILE, PGSERVICEFILE, PGPASSWORD, PGSSLROOTCERT and the like",
     "As for every program that uses libpq. Whatever walign.yaml names as ${NAME} is read from the "
     "environment too."},
    {"NO_COLOR", "Where it is set, log lines have no colours."},
    {"NOTIFY_SOCKET, WATCHDOG_USEC",
     "Set by systemd: walign run tells it when it is ready, its phase and lag, that it is alive, and that it "
     "stops."},
    {"JOURNAL_STREAM",
     "Set by systemd: log lines go to the journal with their priority, and without a time."},
}};

constexpr std::array<std::pair<const char*, const char*>, 4> kFiles = {{
    {"walign.yaml",
     "The configuration; walign init writes one. /etc/walign/NAME.yaml for the service walign@NAME."},
    {"STATE/control.sock",
     "How the other commands ask a running walign run. Who may write the state directory steers."},
    {"STATE/journal", "The transactions received, for as long as journal: says."},
    {"STATE/reports", "A JSON document for each cutover and rollback."},
}};

// Text of a line: no request, no escape, and every hyphen one that can be copied.
std::string roff(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool begins = i == 0 || text[i - 1] == '\n';
    if (begins && (text[i] == '.' || text[i] == '\'')) out += "\\&";
    if (text[i] == '\\') {
      out += "\\e";
    } else if (text[i] == '-') {
      out += "\\-";
    } else if (text[i] == '\'') {
      out += "\\(aq";
    } else if (text[i] == '`') {
      out += "\\(ga";
    } else if (text[i] == '^') {
      out += "\\(ha";
    } else if (text[i] == '~') {
      out += "\\(ti";
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string bold(std::string_view text) { return cat("\\fB", roff(text), "\\fR"); }
std::string italic(std::string_view text) { return cat("\\fI", roff(text), "\\fR"); }

std::string sentence(std::string_view text) {
  std::string out(text);
  if (!out.empty()) out.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(out.front())));
  if (!out.empty() && !out.ends_with('.')) out += '.';
  return out;
}

std::string option_entry(const OptionText& option) {
  std::vector<std::string> names;
  for (const auto& name : option.names) names.push_back(bold(name));
  std::string out = cat(".TP\n", join(names, ", "));
  if (!option.value.empty() && option.value != option.names.front()) out += " " + italic(option.value);
  out += "\n" + roff(sentence(option.description));
  std::string more;
  if (!option.choices.empty()) more += cat(" One of ", join(option.choices, ", "), ".");
  if (!option.by_default.empty()) more += cat(" The default is ", option.by_default, ".");
  if (!option.environment.empty()) more += cat(" Also from the environment: ", option.environment, ".");
  if (!option.excludes.empty()) more += cat(" Not together with ", join(option.excludes, ", "), ".");
  if (!option.needs.empty()) more += cat(" Only with ", join(option.needs, ", "), ".");
  return out + roff(more) + "\n";
}

// CLI11 keeps "Example:" and the lines of it as --help shows them.
std::string example(const CommandText& command) {
  std::string_view text = command.footer;
  constexpr std::string_view kWord = "Example:\n";
  if (!text.starts_with(kWord)) return "";
  text.remove_prefix(kWord.size());
  while (text.ends_with('\n')) text.remove_suffix(1);
  return cat(".PP\nExample:\n.PP\n.nf\n", roff(text), "\n.fi\n");
}

std::string synopsis(const CommandText& command) {
  std::string out = cat("walign ", command.typed());
  if (!command.commands.empty()) out += " COMMAND";
  bool options = false;
  for (const auto& option : command.options) options = options || option.names.back() != "--help";
  if (options) out += " [OPTIONS]";
  for (const auto& argument : command.arguments) {
    const auto name = cat(argument.names.front(), argument.repeats ? "..." : "");
    out += argument.required ? cat(" ", name) : cat(" [", name, "]");
  }
  return out;
}

std::string command_section(const CommandText& command) {
  std::string out = cat(".SS \"", roff(synopsis(command)), "\"\n", roff(sentence(command.description)), "\n");
  for (const auto& argument : command.arguments) out += option_entry(argument);
  for (const auto& option : command.options) {
    if (option.names.back() != "--help") out += option_entry(option);
  }
  return out + example(command);
}

template <class List>
std::string entries(const List& list) {
  std::string out;
  for (const auto& [what, means] : list) out += cat(".TP\n", bold(what), "\n", roff(means), "\n");
  return out;
}

constexpr const char* kBeforeOptions = R"(.SH NAME
walign \- moves tables between PostgreSQL databases while they are in use
.SH SYNOPSIS
.B walign
[\fIOPTIONS\fR] \fICOMMAND\fR ...
.br
.B walign help
[\fICOMMAND\fR ...]
.SH DESCRIPTION
walign copies the rows that are there, follows the source by logical replication meanwhile and after, and maps both to
the target\(aqs tables. Both sides can be compared while they run. A cutover moves the application\(aqs writes to the
target within a moment, a rollback moves them back with all that was written there since.
.PP
Data goes to standard output, logs and progress to standard error. The options of the next section may stand before a
command or behind it.
.SH OPTIONS
)";

constexpr const char* kAtTheEnd = R"(.SH SIGNALS
.TP
.B SIGTERM, SIGINT
The batch in flight is finished, the slot told, exit status 130. A second one stops at once.
.SH SEE ALSO
.BR psql (1),
.BR pg_dump (1)
.PP
The pages in walign\(aqs documentation directory, one for each task.
)";

}  // namespace

std::string manual_page(const CommandText& walign, std::string_view version) {
  std::string out =
      cat(".\\\" Made from the command definitions: walign help --man\n.TH WALIGN 1 \"\" \"walign ",
          roff(version), "\" \"walign\"\n", kBeforeOptions);
  for (const auto& option : walign.options) out += option_entry(option);
  out += ".SH COMMANDS\n";
  for (const auto* command : all_commands(walign)) {
    if (!command->path.empty()) out += command_section(*command);
  }
  return cat(out, ".SH EXIT STATUS\n", entries(kExitStatus), ".SH ENVIRONMENT\n", entries(kEnvironment),
             ".SH FILES\n", entries(kFiles), kAtTheEnd);
}

}  // namespace walign::cli
