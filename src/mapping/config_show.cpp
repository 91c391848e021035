// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A Config as YAML that parse() reads back: every key, in the order of the settings table.
#include "mapping/config_settings.hpp"

namespace walign::config {

namespace {

enum class Role { key, value };

// A text in double quotes, unless it is plainly one without. In a value ${ is written so that nothing
// replaces it; in a key nothing would.
std::string quote(std::string_view text, Role role = Role::value) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto plain = [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '/' || c == '-';
  };
  const bool word = text == "true" || text == "false" || text == "null" || text == "yes" || text == "no" ||
                    text == "on" || text == "off" || text == "only";
  const auto lower = [](char c) { return !(c >= 'A' && c <= 'Z'); };
  if (!text.empty() && (letter(text.front()) || text.front() == '/') && !word && text.size() > 1 &&
      std::all_of(text.begin(), text.end(), plain) && std::all_of(text.begin(), text.end(), lower)) {
    return std::string(text);
  }
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\x";
      out += kHex[byte >> 4U];
      out += kHex[byte & 0xFU];
    } else {
      if (role == Role::value && text.substr(i).starts_with("${")) out += '$';
      out += c;
    }
  }
  return out + '"';
}

std::string quote_or_null(const std::optional<std::string>& text) { return text ? quote(*text) : "null"; }

std::string show_key(const std::optional<std::string>& text) {
  constexpr std::size_t kLongestSimpleKey = 1024;  // of YAML; a longer one needs a '?'
  const auto key = text ? quote(*text, Role::key) : "null";
  return key.size() < kLongestSimpleKey ? key : cat("? ", key, " ");
}

std::string show_value(const Setting& setting, const Value& value) {
  switch (setting.type) {
    case Type::text:
      return quote(setting.form != nullptr && setting.form->check == check_connection_string
                       ? mask_secrets(std::get<std::string>(value))
                       : std::get<std::string>(value));
    case Type::integer: return cat(std::get<std::int64_t>(value));
    case Type::size: return format_quantity(std::get<std::int64_t>(value), size_units());
    case Type::duration: return format_quantity(std::get<std::int64_t>(value), duration_units());
    case Type::choice:
      return std::string(setting.choices[static_cast<std::size_t>(std::get<std::int64_t>(value))]);
    case Type::tables: break;
  }
  return {};
}

std::string show_values(const ColumnRule& column) {
  std::string out = "{ values: { ";
  for (std::size_t i = 0; i < column.values.size(); ++i) {
    const auto& [from, to] = column.values[i];
    if (i > 0) out += ", ";
    out += cat(show_key(from), ": ", quote_or_null(to));
  }
  out += " }";
  if (column.has_else) out += cat(", else: ", quote_or_null(column.value));
  if (column.source != column.target) out += cat(", from: ", quote(column.source));
  return out + " }";
}

std::string show_reverse(const ColumnRule& column) {
  if (column.reverse) return cat(", reverse: ", quote(*column.reverse));
  std::string out;
  for (const auto& [source, sql] : column.reverse_columns) {
    out += cat(out.empty() ? ", reverse: { " : ", ", show_key(source), ": ", quote(sql));
  }
  return out.empty() ? out : out + " }";
}

std::string show_column(const ColumnRule& column) {
  switch (column.kind) {
    case ColumnKind::rename: return quote(column.source);
    case ColumnKind::drop: return "false";
    case ColumnKind::constant: return cat("{ constant: ", quote_or_null(column.value), " }");
    case ColumnKind::values: return show_values(column);
    case ColumnKind::sql: break;
  }
  return cat("{ sql: ", quote(column.sql), show_reverse(column), " }");
}

void show_optional(std::string& out, std::string_view name, const std::optional<std::string>& text) {
  if (text) out += cat("    ", name, ": ", quote(*text), "\n");
}

std::string show_table(const TableRule& rule) {
  std::string out = cat("  - from: ", quote(rule.from.to_string()), "\n");
  out += cat("    to: ", quote(rule.to.to_string()), "\n");
  if (!rule.key.empty()) {
    out += "    key: [";
    for (std::size_t i = 0; i < rule.key.size(); ++i) out += cat(i > 0 ? ", " : "", quote(rule.key[i]));
    out += "]\n";
  }
  show_optional(out, "where", rule.where);
  if (rule.only || !rule.columns.empty()) out += "    columns:\n";
  if (rule.only) out += "      only: true\n";
  for (const auto& column : rule.columns)
    out += cat("      ", show_key(column.target), ": ", show_column(column), "\n");
  out += cat("    one_way: ", rule.one_way ? "true" : "false", "\n");
  out += cat("    inserts_only: ", rule.inserts_only ? "true" : "false", "\n");
  show_optional(out, "reverse_key", rule.reverse_key);
  show_optional(out, "target_where", rule.target_where);
  return out;
}

}  // namespace

std::string show(const Config& config) {
  std::string out;
  std::string_view section;
  for (const auto& setting : settings()) {
    if (setting.section != section && !setting.section.empty()) out += cat(setting.section, ":\n");
    section = setting.section;
    if (setting.type == Type::tables) {
      out += "tables:\n";
      for (const auto& rule : config.tables) out += show_table(rule);
      continue;
    }
    const Value value = setting.get(config);
    if (std::holds_alternative<std::monostate>(value)) continue;
    out += cat(section.empty() ? "" : "  ", setting.name, ": ", show_value(setting, value), "\n");
  }
  return out;
}

}  // namespace walign::config
