// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Reads values off the tree, and collects what is wrong with them. Nothing here throws: a value that
// cannot be had is nothing, its problem is noted, and reading goes on, so that all problems come at
// once.
#pragma once

#include "mapping/config_settings.hpp"
#include "mapping/config_yaml.hpp"

namespace walign::config {

struct Entry {
  const Node* key;
  const Node* value;
};

// The known keys of one map.
class Fields {
 public:
  [[nodiscard]] const Node* find(std::string_view name) const;  // the value, or null
  [[nodiscard]] Place place_of(std::string_view name) const;    // of the key
  // Not there, and no unknown key looks like a misspelling of it (that would be the same problem twice).
  [[nodiscard]] bool missing(std::string_view name) const;

 private:
  friend class Reader;
  std::vector<std::string_view> known_;
  std::map<std::string_view, Entry> found_;
  std::vector<std::string_view> misspelt_;
};

class Reader {
 public:
  Reader(const Environment& environment, std::vector<Problem>& problems)
      : environment_(environment), problems_(problems) {}

  void problem(Place place, std::string what, std::string hint = {});

  // All entries whose key is a scalar, is not there twice and has no ${VAR}. `same` tells two keys
  // apart.
  using KeyIdentity = std::function<std::string(const Entry&)>;
  std::vector<Entry> entries(const Node& map, const KeyIdentity& identity = {});
  // `path` is of the map itself, for messages: "" or "backfill".
  Fields fields(const Node& map, std::string_view path, std::vector<std::string_view> known);

  // Any scalar, with ${VAR} replaced; `expected` ("an integer") is for the message.
  std::optional<std::string> scalar(const Node& node, std::string_view path, std::string_view expected);
  // Also refuses what YAML takes for a number or a boolean.
  std::optional<std::string> text(const Node& node, std::string_view path);
  std::optional<std::string> text_not_empty(const Node& node, std::string_view path);
  std::optional<bool> boolean(const Node& node, std::string_view path);
  // nullopt inside: null. Numbers and booleans are taken as they are written.
  std::optional<std::optional<std::string>> nullable(const Node& node, std::string_view path);
  void setting(const Node& node, const Setting& setting, Config& config);

  std::optional<std::string> expand(const Node& node, std::string_view raw);

 private:
  void unknown_key(const Entry& entry, std::string_view path, Fields& fields);
  std::optional<std::int64_t> integer(const Node& node, const Setting& setting);
  std::optional<std::int64_t> quantity(const Node& node, const Setting& setting);
  std::optional<std::int64_t> choice(const Node& node, const Setting& setting);
  std::optional<std::string> formed_text(const Node& node, const Setting& setting);
  bool in_range(const Node& node, const Setting& setting, std::int64_t value);

  const Environment& environment_;
  std::vector<Problem>& problems_;
};

// A node as a message may show it: "a list", "nothing", or its text as written, short and masked.
std::string describe(const Node& node);
// true or false, not in quotes, as written.
std::optional<bool> plain_boolean(const Node& node);

void read_tables(Reader& reader, const Node& node, Config& config);    // config_tables.cpp
void read_columns(Reader& reader, const Node& node, TableRule& rule);  // config_columns.cpp

}  // namespace walign::config
