// What the tests of walign.yaml share: small files around one thing, and what is said about them.
#pragma once

#include <fstream>
#include <sstream>

#include "support/catch.hpp"
#include "walign/config.hpp"

namespace walign::config::test {

inline std::string test_data(const std::string& name) {
  std::ifstream file(std::string(WALIGN_TEST_DATA) + "/config/" + name, std::ios::binary);
  REQUIRE(file.good());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::optional<std::string> no_variables(const std::string& /*name*/) { return std::nullopt; }

inline std::optional<std::string> some_variables(const std::string& name) {
  if (name == "HOST") return "db.example";
  if (name == "WORKERS") return "7";
  if (name == "YES") return "true";
  if (name == "SCHEMA") return "My Schema: [x]";
  if (name == "TRICK") return "a\nmigration: b";
  if (name == "PASSWORD") return "hunter2";
  if (name == "EMPTY") return "";
  if (name == "LATIN1") return "caf\xE9";
  return std::nullopt;
}

// The four keys that must be there, tables aside.
inline const std::string kHead = "migration: m\nsource: host=a\ntarget: host=b\nstate: s\n";

inline Config with_tables(const std::string& tables) {
  return parse(kHead + "tables:\n" + tables, "t.yaml", some_variables);
}
inline Config with_lines(const std::string& lines) {
  return parse(kHead + "tables: [t]\n" + lines, "t.yaml", some_variables);
}
inline TableRule rule(const std::string& tables) { return with_tables(tables).tables.at(0); }

inline std::string problems_of(const std::string& yaml) {
  try {
    parse(yaml, "t.yaml", some_variables);
  } catch (const ConfigError& error) {
    CHECK(error.kind() == ErrorKind::usage);
    CHECK_FALSE(error.hint().empty());
    return error.message();
  }
  return "none";
}
inline std::string without_file(const std::string& problem) {
  const std::string file = "t.yaml:";
  return problem.rfind(file, 0) == 0 ? problem.substr(file.size()) : problem;
}
inline std::string problem_in_tables(const std::string& tables) {
  return without_file(problems_of(kHead + "tables:\n" + tables));
}
inline std::string problem_in_lines(const std::string& lines) {
  return without_file(problems_of(kHead + "tables: [t]\n" + lines));
}
inline bool begins(const std::string& text, const std::string& with) {
  if (text.rfind(with, 0) == 0) return true;
  WARN("\"" + text + "\" does not begin with \"" + with + "\"");
  return false;
}

}  // namespace walign::config::test
