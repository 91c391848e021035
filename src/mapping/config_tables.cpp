// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// tables: a list of short forms (a name, or a map of one pair) and long forms (from, to, ...).
#include <set>

#include "mapping/config_reader.hpp"

namespace walign::config {

namespace {

constexpr std::string_view kExample = "write \"- SCHEMA.TABLE\", \"- SOURCE: TARGET\", or from: and to:";

bool read_name(Reader& reader, const Node& node, std::string_view raw, TableName& name, bool& wildcard) {
  const auto text = reader.expand(node, raw);
  if (!text) return false;
  auto parsed = parse_table_name(*text);
  name = std::move(parsed.name);
  wildcard = parsed.wildcard;
  if (parsed.fault.empty()) return true;
  // Not the name itself where a variable is part of it.
  const auto shown = *text == node.text ? describe(node) : std::string("a table's name");
  reader.problem(node.place, cat(shown, ": ", parsed.fault), parsed.hint);
  return false;
}

// A value that must be the name of a table: read_name for a node.
bool read_name(Reader& reader, const Node& node, std::string_view path, TableRule& rule, bool target) {
  if (!reader.text(node, path)) return false;
  bool wildcard = false;
  if (!read_name(reader, node, node.text, target ? rule.to : rule.from, wildcard)) return false;
  if (!target) rule.wildcard = wildcard;
  return true;
}

// Both names are there: do they go together?
bool check_pair(Reader& reader, const TableRule& rule, Place to_place) {
  const bool target_pattern = rule.to.name.find('*') != std::string::npos;
  if (!rule.wildcard && target_pattern) {
    reader.problem(to_place, "the target is a pattern and the source is not", "name one target table");
    return false;
  }
  if (rule.wildcard && rule.to.name != "*" && rule.to.name != rule.from.name) {
    reader.problem(to_place, "a pattern keeps the tables' names, so the target's must be the same or '*'",
                   "give a table that changes its name a line of its own");
    return false;
  }
  return true;
}

bool read_short_text(Reader& reader, const Node& item, TableRule& rule) {
  const auto pair = split_pair(item.text);
  if (!pair) {
    if (!reader.text(item, "a table")) return false;
    const bool good = read_name(reader, item, "a table", rule, false);
    rule.to = rule.from;
    return good;
  }
  bool ignored = false;
  const bool from = read_name(reader, item, pair->first, rule.from, rule.wildcard);
  const bool to = read_name(reader, item, pair->second, rule.to, ignored);
  return from && to && check_pair(reader, rule, item.place);
}

bool read_short_map(Reader& reader, const Node& item, TableRule& rule) {
  const auto entries = reader.entries(item);
  if (entries.empty()) {
    if (item.items.empty()) reader.problem(item.place, "an empty map is no table", std::string(kExample));
    return false;
  }
  const Node& key = *entries.front().key;
  const Node& value = *entries.front().value;
  const bool from = read_name(reader, key, "a table", rule, false);
  if (value.kind == NodeKind::null) {
    reader.problem(value.place, "there is no target after the colon",
                   "leave the colon out where both sides have the same name");
    return false;
  }
  if (value.kind == NodeKind::mapping) {
    reader.problem(value.place, "the target of a short form must be a name, not a map",
                   "write from: and to:, with the other keys beside them");
    return false;
  }
  const bool to = read_name(reader, value, "the target", rule, true);
  return from && to && check_pair(reader, rule, value.place);
}

void read_key(Reader& reader, const Node& node, TableRule& rule) {
  if (node.kind != NodeKind::sequence || node.items.empty()) {
    const auto what = node.kind == NodeKind::sequence ? std::string("an empty list") : describe(node);
    reader.problem(node.place, cat("key must be a list of target columns, not ", what), "like key: [id]");
    return;
  }
  std::set<std::string> seen;
  for (const Node* item : node.items) {
    auto column = reader.text_not_empty(*item, "a column in key");
    if (!column) continue;
    if (!seen.insert(*column).second) reader.problem(item->place, "key names a column twice");
    rule.key.push_back(std::move(*column));
  }
}

void read_text(Reader& reader, const Fields& fields, std::string_view name,
               std::optional<std::string>& member) {
  if (const Node* node = fields.find(name)) member = reader.text_not_empty(*node, name);
}

void check_exclusive(Reader& reader, const Fields& fields, const TableRule& rule) {
  if (rule.one_way && fields.find("reverse_key") != nullptr) {
    reader.problem(fields.place_of("reverse_key"), "one_way and reverse_key exclude each other",
                   "keep one_way if there is no way back for this table");
  }
  if (!rule.wildcard) return;
  for (const std::string_view name : {"key", "where", "columns", "reverse_key", "target_where"}) {
    if (fields.find(name) == nullptr) continue;
    reader.problem(fields.place_of(name), cat(name, " cannot be given for a pattern of tables"),
                   "give the table that needs it a line of its own");
  }
}

bool read_long(Reader& reader, const Node& item, TableRule& rule) {
  const auto fields = reader.fields(item, "a table", names_of(table_keys()));
  bool good = true;
  if (const Node* from = fields.find("from")) {
    good = read_name(reader, *from, "from", rule, false);
  } else {
    good = false;
    if (fields.missing("from")) reader.problem(item.place, "a table has no \"from\"", std::string(kExample));
  }
  rule.to = rule.from;
  if (const Node* to = fields.find("to")) {
    good = read_name(reader, *to, "to", rule, true) && good && check_pair(reader, rule, to->place);
  }
  if (const Node* key = fields.find("key")) read_key(reader, *key, rule);
  read_text(reader, fields, "where", rule.where);
  if (const Node* columns = fields.find("columns")) read_columns(reader, *columns, rule);
  if (const Node* one_way = fields.find("one_way")) {
    rule.one_way = reader.boolean(*one_way, "one_way").value_or(false);
  }
  if (const Node* inserts_only = fields.find("inserts_only")) {
    rule.inserts_only = reader.boolean(*inserts_only, "inserts_only").value_or(false);
  }
  read_text(reader, fields, "reverse_key", rule.reverse_key);
  read_text(reader, fields, "target_where", rule.target_where);
  check_exclusive(reader, fields, rule);
  return good;
}

bool has_key(const Node& map, std::span<const std::string_view> names) {
  for (std::size_t i = 0; i < map.items.size(); i += 2) {
    const Node& key = *map.items[i];
    if (key.kind == NodeKind::scalar && std::find(names.begin(), names.end(), key.text) != names.end())
      return true;
  }
  return false;
}

bool read_map(Reader& reader, const Node& item, TableRule& rule) {
  constexpr std::string_view kNames[] = {"from", "to"};
  const auto keys = names_of(table_keys());
  const bool one = item.items.size() <= 2;
  if (has_key(item, kNames) || (one && has_key(item, keys))) return read_long(reader, item, rule);
  if (one) return read_short_map(reader, item, rule);
  if (has_key(item, keys)) {
    reader.problem(item.place, "a table is neither the short form nor the long one",
                   "write from: SOURCE and to: TARGET, with the other keys beside them");
  } else {
    reader.problem(item.place, "a table of the short form has more than one pair",
                   "begin each pair with \"- \" on a line of its own");
  }
  return false;
}

bool read_rule(Reader& reader, const Node& item, TableRule& rule) {
  rule.place = item.place;
  switch (item.kind) {
    case NodeKind::scalar: return read_short_text(reader, item, rule);
    case NodeKind::mapping: return read_map(reader, item, rule);
    case NodeKind::null:
    case NodeKind::sequence: break;
  }
  reader.problem(item.place, cat("a table must be a name or a map, not ", describe(item)),
                 std::string(kExample));
  return false;
}

}  // namespace

void read_tables(Reader& reader, const Node& node, Config& config) {
  if (node.kind != NodeKind::sequence || node.items.empty()) {
    const auto what = node.kind == NodeKind::sequence ? std::string("an empty list") : describe(node);
    reader.problem(node.place, cat("tables must be a list of tables, not ", what), std::string(kExample));
    return;
  }
  std::map<std::pair<TableName, TableName>, Place> seen;
  for (const Node* item : node.items) {
    TableRule rule;
    if (!read_rule(reader, *item, rule)) continue;
    const auto [first, fresh] = seen.emplace(std::pair{rule.from, rule.to}, rule.place);
    if (!fresh) {
      reader.problem(rule.place, "this pair of tables is given twice",
                     cat("it is already at ", first->second.line, ':', first->second.column));
    }
    config.tables.push_back(std::move(rule));
  }
}

}  // namespace walign::config
