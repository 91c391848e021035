// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "mapping/config_reader.hpp"

namespace walign::config {

namespace {

// `only: true` is the flag, in quotes or not (no column has the rule `true`); `only: false` is the flag,
// but
// `"only": false` drops a column of that name.
bool is_only_flag(const Entry& entry) {
  const auto flag = plain_boolean(*entry.value);
  return entry.key->text == "only" && flag && (*flag || !entry.key->quoted);
}

void read_values(Reader& reader, const Node& node, ColumnRule& rule) {
  if (node.kind != NodeKind::mapping || node.items.empty()) {
    const auto what = node.kind == NodeKind::mapping ? std::string("an empty one") : describe(node);
    reader.problem(node.place, cat("values must be a map, not ", what),
                   "like { SOURCE_VALUE: TARGET_VALUE }");
    return;
  }
  std::map<std::optional<std::string>, Place> seen;
  for (std::size_t i = 0; i + 1 < node.items.size(); i += 2) {
    const Node& key = *node.items[i];
    if (key.kind != NodeKind::scalar && key.kind != NodeKind::null) {
      reader.problem(key.place, cat("a source value is ", describe(key)), "it must be one value or null");
      continue;
    }
    ValuePair pair;
    if (key.kind == NodeKind::scalar) pair.from = key.text;
    const auto [first, fresh] = seen.emplace(pair.from, key.place);
    if (!fresh) {
      reader.problem(key.place, "a source value is given twice",
                     cat("it is already at ", first->second.line, ':', first->second.column));
    }
    auto to = reader.nullable(*node.items[i + 1], "a target value");
    if (!to) continue;
    pair.to = std::move(*to);
    rule.values.push_back(std::move(pair));
  }
}

// One expression, or a map from source columns to theirs.
void read_reverse(Reader& reader, const Node& node, ColumnRule& rule) {
  if (node.kind != NodeKind::mapping) {
    rule.reverse = reader.text_not_empty(node, "reverse");
    return;
  }
  if (node.items.empty()) {
    reader.problem(node.place, "reverse must be SQL or a map, not an empty one",
                   "like { SOURCE_COLUMN: SQL }");
  }
  for (const auto& entry : reader.entries(node)) {
    auto sql = reader.text_not_empty(*entry.value, "reverse");
    if (entry.key->text.empty()) reader.problem(entry.key->place, "a column's name is empty");
    if (sql) rule.reverse_columns.emplace_back(entry.key->text, std::move(*sql));
  }
}

// Keys that only one kind of rule has.
void refuse_beside(Reader& reader, const Fields& fields, std::string_view name, std::string_view owner) {
  if (fields.find(name) == nullptr || fields.find(owner) != nullptr) return;
  reader.problem(fields.place_of(name), cat(name, " means nothing without ", owner),
                 name == "from" ? "a rename is TARGET: SOURCE" : "");
}

// More than one kind is a problem already; all are read, for the problems inside them.
void read_kind(Reader& reader, const Fields& fields, ColumnRule& rule) {
  if (const Node* sql = fields.find("sql")) {
    rule.kind = ColumnKind::sql;
    rule.sql = reader.text_not_empty(*sql, "sql").value_or("");
  }
  if (const Node* values = fields.find("values")) {
    rule.kind = ColumnKind::values;
    rule.source = rule.target;
    read_values(reader, *values, rule);
  }
  if (const Node* constant = fields.find("constant")) {
    rule.kind = ColumnKind::constant;
    rule.value = reader.nullable(*constant, "constant").value_or(std::nullopt);
  }
  if (const Node* reverse = fields.find("reverse")) read_reverse(reader, *reverse, rule);
  if (const Node* from = fields.find("from")) {
    const auto source = reader.text_not_empty(*from, "from");
    if (source) rule.source = *source;
  }
  if (const Node* otherwise = fields.find("else")) {
    rule.has_else = true;
    rule.value = reader.nullable(*otherwise, "else").value_or(std::nullopt);
  }
}

void read_long(Reader& reader, const Node& node, ColumnRule& rule) {
  const auto fields = reader.fields(node, "a column", names_of(column_keys()));
  std::vector<std::string> kinds;
  bool missing = true;
  for (const std::string_view kind : {"sql", "values", "constant"}) {
    missing = missing && fields.missing(kind);
    if (fields.find(kind) == nullptr) continue;
    if (!kinds.empty()) {
      reader.problem(fields.place_of(kind), cat(kinds.front(), " and ", kind, " exclude each other"),
                     "keep one");
    }
    kinds.emplace_back(kind);
  }
  if (kinds.empty()) {
    if (missing) {
      reader.problem(node.place, "a column has neither sql, values nor constant",
                     "a rename is TARGET: SOURCE, without a map");
    }
    return;
  }
  read_kind(reader, fields, rule);
  refuse_beside(reader, fields, "reverse", "sql");
  refuse_beside(reader, fields, "else", "values");
  refuse_beside(reader, fields, "from", "values");
}

void read_column(Reader& reader, const Entry& entry, TableRule& rule) {
  ColumnRule column;
  column.place = entry.key->place;
  column.target = entry.key->text;
  const Node& value = *entry.value;
  const auto flag = plain_boolean(value);
  if (column.target.empty()) {
    reader.problem(entry.key->place, "a column's name is empty");
  } else if (flag && *flag) {
    reader.problem(value.place, "true is no rule for a column",
                   "leave the column out: it keeps its name; beside `only: true` write NAME: NAME");
  } else if (flag) {
    column.kind = ColumnKind::drop;
  } else if (value.kind == NodeKind::mapping) {
    read_long(reader, value, column);
  } else if (value.kind == NodeKind::null) {
    reader.problem(value.place, "a column has no rule", "for NULL in every row write { constant: null }");
  } else if (auto source = reader.text_not_empty(value, "a column")) {
    column.source = std::move(*source);
  }
  rule.columns.push_back(std::move(column));
}

}  // namespace

void read_columns(Reader& reader, const Node& node, TableRule& rule) {
  if (node.kind != NodeKind::mapping) {
    reader.problem(node.place, cat("columns must be a map, not ", describe(node)), "like { TARGET: SOURCE }");
    return;
  }
  // The flag and a column called only are two things.
  const auto identity = [](const Entry& entry) {
    return (is_only_flag(entry) ? "!" : ":") + entry.key->text;
  };
  for (const auto& entry : reader.entries(node, identity)) {
    if (is_only_flag(entry)) {
      rule.only = *plain_boolean(*entry.value);
    } else {
      read_column(reader, entry, rule);
    }
  }
}

}  // namespace walign::config
