#include "cli_test.hpp"

using namespace walign;
using namespace walign::cli;

namespace {

const std::vector<std::vector<std::string>> kCommands = {
    {"init"},
    {"run"},
    {"preflight"},
    {"plan"},
    {"status"},
    {"cutover"},
    {"rollback"},
    {"recover"},
    {"pause"},
    {"resume"},
    {"remove"},
    {"finish"},
    {"checkpoints"},
    {"checkpoints", "list"},
    {"checkpoints", "show"},
    {"dead-letters"},
    {"dead-letters", "list"},
    {"dead-letters", "show"},
    {"dead-letters", "retry"},
    {"dead-letters", "discard"},
    {"config"},
    {"config", "check"},
    {"config", "show"},
    {"config", "schema"},
    {"completion"},
    {"help"},
};

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("every command has a --help with an example, and it exits 0") {
  for (auto arguments : kCommands) {
    arguments.emplace_back("--help");
    const auto outcome = walign::cli::walign(arguments);
    INFO(join(arguments, " "));
    CHECK(outcome.status == 0);
    CHECK(has(outcome.out, "Example:\n  walign "));
    CHECK(outcome.err.empty());
  }
  CHECK(has(walign::cli::walign({"--help"}).out, "Example:"));
}

TEST_CASE("help says what --help says, of each command and of walign itself") {
  for (const auto& command : kCommands) {
    auto asked = command;
    asked.insert(asked.begin(), "help");
    auto option = command;
    option.emplace_back("--help");
    CHECK(walign::cli::walign(asked).out == walign::cli::walign(option).out);
  }
  CHECK(walign::cli::walign({"help"}).out == walign::cli::walign({"--help"}).out);
  const auto wrong = walign::cli::walign({"help", "config", "nothing"});
  CHECK(wrong.status == 2);
  CHECK(has(wrong.err, "there is no command \"config nothing\"\n  hint: walign config --help\n"));
}

TEST_CASE("the manual page and every shell's completion have every command") {
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"help", "--man"}, {"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}}) {
    const auto outcome = walign::cli::walign(arguments);
    CHECK(outcome.status == 0);
    for (const auto& command : kCommands) {
      const auto word = command.back();
      INFO(join(arguments, " ") << ": " << word);
      auto as_roff = word;
      if (const auto at = as_roff.find('-'); at != std::string::npos) as_roff.insert(at, "\\");
      CHECK(has(outcome.out, arguments.front() == "help" ? as_roff : word));
    }
  }
}

TEST_CASE("an error that goes to the journal has its priority before each line") {
  std::istringstream in;
  std::ostringstream out, err;
  const Io io{in, out, err, false, true};
  CHECK(walign::cli::main({"pause", "everything"}, io) == 2);
  CHECK(walign::cli::main({"-c", "/nowhere.yaml", "config", "check"}, io) == 2);
  std::istringstream lines(err.str());
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    CHECK(line.starts_with("<3>"));
  }
  CHECK(has(err.str(), "\n<3>  hint: "));
}

TEST_CASE("--version says which") {
  const auto outcome = walign::cli::walign({"--version"});
  CHECK(outcome.status == 0);
  CHECK(outcome.out.starts_with("walign "));
}

TEST_CASE("a wrong command line exits 2 and says on stderr what is wrong and whose help helps") {
  struct Case {
    std::vector<std::string> arguments;
    std::string says;
    std::string hint;
  };
  const std::vector<Case> cases = {
      {{}, "a command is missing", "walign --help"},
      {{"frobnicate"}, "there is no command \"frobnicate\"", "walign --help"},
      {{"run", "--nope"}, "--nope", "walign run --help"},
      {{"run", "--until-lsn"}, "--until-lsn", "walign run --help"},
      {{"run", "--until-lsn", "0/1", "--until-caught-up"}, "excludes", "walign run --help"},
      {{"run", "--until-lsn", "0/1", "--until-time", "2026-01-31T12:00Z"}, "excludes", "walign run --help"},
      {{"pause"}, "WHAT", "walign pause --help"},
      {{"pause", "everything"}, "everything", "walign pause --help"},
      {{"status", "extra"}, "extra", "walign status --help"},
      {{"status", "--log-level", "loud"}, "loud", "walign status --help"},
      {{"status", "--log-format", "xml"}, "xml", "walign status --help"},
      {{"cutover", "--rehearse", "--dry-run"}, "excludes", "walign cutover --help"},
      {{"rollback", "--cancel", "--dry-run"}, "excludes", "walign rollback --help"},
      {{"recover", "--gone", "neither"}, "neither", "walign recover --help"},
      {{"events", "somewhere", "--until-caught-up"},
       "a capture ends where it ends",
       "leave it out, or say --until-lsn"},
      {{"plan", "--sql", "--json"}, "excludes", "walign plan --help"},
      {{"checkpoints"}, "a command is missing", "walign checkpoints --help"},
      {{"checkpoints", "list", "--limit", "0"}, "--limit", "walign checkpoints list --help"},
      {{"dead-letters", "show"}, "ID", "walign dead-letters show --help"},
      {{"dead-letters", "retry", "x"}, "\"x\" is not", "walign dead-letters retry --help"},
      {{"dead-letters", "eat"}, "there is no command \"eat\"", "walign dead-letters --help"},
  };
  for (const auto& c : cases) {
    const auto outcome = walign::cli::walign(c.arguments);
    INFO(join(c.arguments, " ") << "\n" << outcome.err);
    CHECK(outcome.status == 2);
    CHECK(outcome.out.empty());
    CHECK(has(outcome.err, c.says));
    CHECK(has(outcome.err, cat("hint: ", c.hint, "\n")));
  }
}

TEST_CASE("values that are not positions or times exit 2 before anything is made") {
  const Workplace at;
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"run", "--until-lsn", "zz"},
                                             {"run", "--until-lsn", "0/0"},
                                             {"run", "--until-time", "tomorrow"},
                                             {"run", "--until-time", "2026-02-30T00:00Z"},
                                             {"checkpoints", "show", "1"}}) {
    const auto outcome = at(arguments);
    CHECK(outcome.status == 2);
    CHECK(has(outcome.err, "hint: write it as"));
  }
  CHECK(!fs::exists(at.state()));
}

TEST_CASE("global options may stand before and behind the command") {
  const Workplace at;
  CHECK(walign::cli::walign({"-c", at.config(), "config", "check"}).out == "ok: 1 table rule\n");
  CHECK(walign::cli::walign({"config", "check", "-c", at.config()}).out == "ok: 1 table rule\n");
  CHECK(walign::cli::walign({"config", "--config", at.config(), "check", "--log-level", "debug"}).status ==
        0);
}

TEST_CASE("WALIGN_CONFIG names the configuration, and -c is stronger") {
  const Workplace at;
  REQUIRE(::setenv("WALIGN_CONFIG", at.config().c_str(), 1) == 0);
  CHECK(walign::cli::walign({"config", "check"}).status == 0);
  CHECK(walign::cli::walign({"-c", at.config() + ".other", "config", "check"}).status == 2);
  ::unsetenv("WALIGN_CONFIG");
}

TEST_CASE("a configuration that is not there exits 2 with its name, whatever the command") {
  for (auto arguments : kCommands) {
    const auto& last = arguments.back();
    if (last == "checkpoints" || last == "dead-letters" || last == "config" || last == "schema") continue;
    if (last == "init") continue;                          // writes one
    if (last == "help" || last == "completion") continue;  // of the program itself
    if (last == "pause" || last == "resume") arguments.emplace_back("apply");
    if (arguments.front() == "dead-letters" && last != "list") arguments.emplace_back("1");
    if (arguments.front() == "checkpoints" && last == "show") arguments.emplace_back("0/1");
    arguments.insert(arguments.end(), {"-c", "/no/such/walign.yaml"});
    const auto outcome = walign::cli::walign(arguments);
    INFO(join(arguments, " "));
    CHECK(outcome.status == 2);
    CHECK(has(outcome.err, "/no/such/walign.yaml"));
    CHECK(has(outcome.err, "hint: "));
  }
}

TEST_CASE("a configuration with ten mistakes lists ten, each where it is, and no password") {
  const std::string file = WALIGN_TEST_DATA "/config/ten-mistakes.yaml";
  const auto outcome = walign::cli::walign({"run", "-c", file});
  CHECK(outcome.status == 2);
  const auto expected = lines_of(WALIGN_TEST_DATA "/config/ten-mistakes.txt");
  REQUIRE(expected.size() == 10);
  for (const auto& line : expected) CHECK(has(outcome.err, line));
  CHECK(!has(outcome.err, "hunter2"));
  const auto json = walign::cli::walign({"config", "check", "--json", "-c", file});
  CHECK(json.status == 2);
  CHECK(has(json.out, "\"ok\": false"));
  CHECK(has(json.out, "did you mean \\\"source\\\"?"));
}

TEST_CASE("config show has the defaults and no password") {
  const Workplace at;
  const auto outcome = at({"config", "show"});
  CHECK(outcome.status == 0);
  CHECK(has(outcome.out, "chunk_rows: 50000"));
  CHECK(has(outcome.out, "***"));
  CHECK(!has(outcome.out, "hunter2"));
}
