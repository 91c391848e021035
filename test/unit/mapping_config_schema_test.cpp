// The JSON Schema knows what parse() knows.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // inside <regex>, with the sanitizers
#endif

#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "mapping_config_test.hpp"

using namespace walign;
using namespace walign::config;
using namespace walign::config::test;

namespace {

std::set<std::string> names_of(const nlohmann::json& properties) {
  std::set<std::string> names;
  for (const auto& [name, value] : properties.items()) names.insert(name);
  return names;
}

nlohmann::json property(const nlohmann::json& schema, const std::string& name) {
  return schema.at("properties").at(name);
}
nlohmann::json table_schema(const nlohmann::json& schema) { return schema["$defs"]["table"]["anyOf"][2]; }
nlohmann::json column_schema(const nlohmann::json& schema) { return schema["$defs"]["column"]["anyOf"][2]; }

ConfigError refused(const std::string& yaml) {
  try {
    parse(yaml, "t.yaml", no_variables);
  } catch (const ConfigError& error) {
    return error;
  }
  FAIL("taken: " + yaml);
  return ConfigError("", {});
}

// The keys that parse() says it knows when it meets one that is like none of them.
std::set<std::string> known_keys(const std::string& before, const std::string& after) {
  const auto error = refused(before + "qqqqqqqqqqqq: 1" + after);
  for (const auto& problem : error.problems()) {
    if (problem.what.find("qqqqqqqqqqqq") == std::string::npos) continue;
    REQUIRE(problem.hint.rfind("known: ", 0) == 0);
    std::set<std::string> names;
    std::istringstream list(problem.hint.substr(7));
    for (std::string name; std::getline(list, name, ',');)
      names.insert(name.substr(name.find_first_not_of(' ')));
    return names;
  }
  FAIL("no unknown key");
  return {};
}

// A key is read, not only known: nonsense under it is a problem at the nonsense, on the line after the
// key.
bool reads(const std::string& before, const std::string& name, const std::string& after) {
  const auto error = refused(before + name + ":\n       [[]]" + after);
  for (const auto& problem : error.problems()) {
    if (problem.place.line == 2 && problem.place.column >= 8) return true;
  }
  WARN("nothing reads " + name);
  return false;
}

}  // namespace

TEST_CASE("the schema and parse know the same keys") {
  const auto schema = nlohmann::json::parse(json_schema());
  CHECK(known_keys("", "") == names_of(schema["properties"]));
  CHECK(known_keys("tables: [{from: a, ", "}]") == names_of(table_schema(schema)["properties"]));
  CHECK(known_keys("tables: [{from: a, columns: {b: {", "}}}]") ==
        names_of(column_schema(schema)["properties"]));
  for (const auto& [name, value] : schema["properties"].items()) {
    CHECK(reads("", name, ""));
    if (value.contains("properties")) {
      CHECK(known_keys(name + ": {", "}") == names_of(value["properties"]));
    }
  }
}

TEST_CASE("every key of the schema has a reader, a description and its default") {
  const auto schema = nlohmann::json::parse(json_schema());
  const auto shown =
      show(parse("{migration: m, source: host=a, target: host=b, state: s, tables: [t]}", "t", no_variables));
  for (const auto& [name, value] : schema["properties"].items()) {
    CHECK_FALSE(value["description"].get<std::string>().empty());
    if (!value.contains("properties")) continue;
    for (const auto& [inner, setting] : value["properties"].items()) {
      CHECK_FALSE(setting["description"].get<std::string>().empty());
      CHECK(refused(name + ": {" + inner + ": [[]]}").message().find(name + "." + inner + " must be") !=
            std::string::npos);
      REQUIRE(setting.contains("default"));
      const auto standard =
          setting["default"].is_string() ? setting["default"].get<std::string>() : setting["default"].dump();
      CHECK(shown.find("  " + inner + ": " + (standard.empty() ? "\"\"" : standard) + "\n") !=
            std::string::npos);
    }
  }
  for (const auto& name : names_of(table_schema(schema)["properties"])) {
    CHECK(reads("tables: [{", name, ", from: a}]"));
  }
  for (const auto& name : names_of(column_schema(schema)["properties"])) {
    CHECK(reads("tables: [{from: a, columns: {b: {", name, ", sql: x, values: {a: b}}}}]"));
  }
}

TEST_CASE("the schema refuses what parse refuses, where a pattern or a bound can") {
  const auto schema = nlohmann::json::parse(json_schema());
  CHECK(schema["$schema"] == "https://json-schema.org/draft/2020-12/schema");
  CHECK(schema["additionalProperties"] == false);
  CHECK(schema["required"] == nlohmann::json({"migration", "source", "target", "state", "tables"}));
  CHECK(property(schema, "migration")["anyOf"][0]["pattern"] == "^[a-z0-9][a-z0-9_-]{0,38}$");
  const auto backfill = property(schema, "backfill");
  CHECK(property(backfill, "workers")["anyOf"][0]["minimum"] == 1);
  CHECK(property(backfill, "workers")["anyOf"][0]["maximum"] == 64);
  CHECK(property(backfill, "chunk_bytes")["anyOf"][1]["pattern"] == "^[0-9]+ *(B|kB|KiB|MB|MiB|GB|GiB)$");
  CHECK(property(schema, "existing_rows")["anyOf"][0]["enum"] ==
        nlohmann::json({"refuse", "empty", "adopt"}));
}

TEST_CASE("a pattern of the schema says what parse says") {
  const auto schema = nlohmann::json::parse(json_schema());
  const std::vector<std::string> texts = {"",
                                          "a",
                                          "A",
                                          "a-b_c",
                                          "-a",
                                          "_a",
                                          "a b",
                                          "8642",
                                          "h:1",
                                          "h:123456",
                                          ":1",
                                          "[::1]:80",
                                          "::1:80",
                                          "[]:80",
                                          "h/x:1",
                                          std::string(39, 'x'),
                                          "h:",
                                          "h:1x",
                                          "0",
                                          "a.b",
                                          std::string(42, 'x'),
                                          std::string(63, 'x'),
                                          std::string(64, 'x')};
  for (const std::string key : {"migration", "slot", "http", "state"}) {
    const std::regex pattern(property(schema, key)["anyOf"][0]["pattern"].get<std::string>());
    for (const auto& text : texts) {
      CAPTURE(key, text);
      const auto message = refused(key + ": '" + text + "'").message();
      CHECK(std::regex_search(text, pattern) == (message.find(": " + key + " ") == std::string::npos));
    }
  }
}
