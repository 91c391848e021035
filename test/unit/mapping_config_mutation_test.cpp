// Broken files: each is read or refused with a ConfigError, and no refusal has a piece of a password in
// it.
#include <fstream>
#include <random>
#include <sstream>

#include "support/catch.hpp"
#include "walign/config.hpp"

using namespace walign;
using namespace walign::config;

namespace {

const std::string kPassword = "Zq7xKv9Wm3Jt";

std::string example() {
  std::ifstream file(std::string(WALIGN_TEST_DATA) + "/config/interface-example.yaml", std::ios::binary);
  REQUIRE(file.good());
  std::ostringstream text;
  text << file.rdbuf();
  auto yaml = text.str();
  const std::string source = "postgresql://walign@old/app";
  const std::string target = "postgresql://walign@new/app ";
  yaml.replace(yaml.find(source), source.size(), "postgresql://walign:" + kPassword + "@old/app");
  yaml.replace(yaml.find(target), target.size(),
               "host=new user=walign password='" + kPassword + "' dbname=${DB} ");
  return yaml;
}

std::optional<std::string> unset_environment(const std::string& name) {
  return name == "DB" ? std::optional(kPassword) : std::nullopt;
}

bool shows_password(const std::string& message) {
  constexpr std::size_t piece = 5;
  for (std::size_t i = 0; i + piece <= kPassword.size(); ++i) {
    if (message.find(kPassword.substr(i, piece)) != std::string::npos) return true;
  }
  return false;
}

enum class Outcome { read, refused };

Outcome outcome(const std::string& yaml) {
  try {
    const auto config = parse(yaml, "t.yaml", unset_environment);
    CHECK_FALSE(config.tables.empty());
    parse(show(config), "t.yaml", unset_environment);
    return Outcome::read;
  } catch (const ConfigError& error) {
    CHECK_FALSE(error.problems().empty());
    if (shows_password(error.describe())) FAIL("a password in: " + error.describe() + "\n" + yaml);
    return Outcome::refused;
  }
}

using Random = std::mt19937_64;
std::size_t below(Random& random, std::size_t bound) {
  return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random);
}

std::string mutate(std::string yaml, Random& random) {
  static const std::vector<std::string> pieces = {":",
                                                  ": ",
                                                  "- ",
                                                  "\n",
                                                  "\n  ",
                                                  "\t",
                                                  "{",
                                                  "}",
                                                  "[",
                                                  "]",
                                                  ",",
                                                  "\"",
                                                  "'",
                                                  "#",
                                                  " #",
                                                  "&a ",
                                                  "*a",
                                                  "!x ",
                                                  "|\n",
                                                  ">",
                                                  "?",
                                                  "? ",
                                                  "%",
                                                  "---\n",
                                                  "...\n",
                                                  "${",
                                                  "${DB}",
                                                  "$${",
                                                  "~",
                                                  "null",
                                                  "true",
                                                  "*",
                                                  "@",
                                                  "\\",
                                                  "\xFF",
                                                  "\xC3\xA9",
                                                  std::string(1, '\0'),
                                                  "\x04",
                                                  "99999999999999999999",
                                                  "-1",
                                                  "<<: ",
                                                  "only",
                                                  "from: ",
                                                  "\r\n",
                                                  "\xEF\xBB\xBF"};
  for (auto count = 1 + below(random, 3); count > 0; --count) {
    const auto at = below(random, yaml.size());
    const auto length = std::min(below(random, 12), yaml.size() - at);
    switch (below(random, 5)) {
      case 0: yaml[at] = static_cast<char>(below(random, 256)); break;
      case 1: yaml.insert(at, pieces[below(random, pieces.size())]); break;
      case 2: yaml.erase(at, length); break;
      case 3:
        // Nobody could know a piece of a password again that has been copied into, say, a size.
        if (const auto copy = yaml.substr(at, length * 8); !shows_password(copy)) {
          yaml.insert(below(random, yaml.size()), copy);
        }
        break;
      default: yaml[at] = yaml[below(random, yaml.size())]; break;
    }
    if (yaml.empty()) yaml = " ";
  }
  return yaml;
}

}  // namespace

TEST_CASE("every prefix of the example is read or refused cleanly") {
  const auto yaml = example();
  int refused = 0;
  for (std::size_t length = 0; length < yaml.size(); ++length) {
    if (outcome(yaml.substr(0, length)) == Outcome::refused) ++refused;
  }
  CHECK(refused > 200);
  CHECK(outcome(yaml) == Outcome::read);
}

TEST_CASE("five thousand broken files are read or refused cleanly") {
  const auto yaml = example();
  int refused = 0;
  for (std::uint64_t seed = 1; seed <= 5'000; ++seed) {
    Random random(seed);
    const auto broken = mutate(yaml, random);
    CAPTURE(seed);
    if (outcome(broken) == Outcome::refused) ++refused;
  }
  CHECK(refused > 1'000);
  CHECK(refused < 5'000);
}

TEST_CASE("nesting without end is refused and does not overflow the stack") {
  for (const std::string open : {"[", "{", "{a: ", "- ", "? ", "- a: "}) {
    std::string yaml;
    for (int i = 0; i < 20'000; ++i) yaml += open;
    CHECK(outcome(yaml) == Outcome::refused);
  }
}
