// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Every key of walign.yaml, once: its name, type, range, description, and the member it fills. Reading,
// show() and the JSON Schema all go by these tables; defaults are those of the members themselves.
#pragma once

#include <variant>

#include "mapping/config_text.hpp"

namespace walign::config {

enum class Type { text, integer, size, duration, choice, tables };

// What a text must look like: `check` decides; the pattern is for the schema, and refuses nothing that
// `check` takes.
struct TextForm {
  std::string_view pattern;  // ECMAScript; empty: anything
  TextFault (*check)(std::string_view text);
};

using Value = std::variant<std::monostate, std::int64_t, std::string>;

struct Setting {
  std::string_view section{};  // empty: the top level
  std::string_view name{};
  Type type = Type::text;
  bool required = false;
  std::int64_t min = 0;  // integers; bytes; milliseconds
  std::int64_t max = 0;
  std::vector<std::string_view> choices{};  // in the order of the enumeration
  const TextForm* form = nullptr;           // texts
  std::string_view description{};
  Value (*get)(const Config&) = nullptr;  // both null for `tables`
  void (*set)(Config&, const Value&) = nullptr;

  [[nodiscard]] std::string path() const {
    return section.empty() ? std::string(name) : cat(section, '.', name);
  }
};

struct Section {
  std::string_view name;
  std::string_view description;
};

// In the order in which show() writes them; the keys of a section stand together.
const std::vector<Setting>& settings();
const Section* find_section(std::string_view name);
// The keys that may stand in a section; of the top level (empty) also the sections.
std::vector<std::string_view> key_names(std::string_view section);

// Keys of a table's long form and of a column's, with the shape of their values.
enum class Shape { table, text, names, columns, boolean, values, nullable, reverse };
struct Key {
  std::string_view name;
  Shape shape;
  std::string_view description;
};
std::span<const Key> table_keys();
std::span<const Key> column_keys();
std::vector<std::string_view> names_of(std::span<const Key> keys);

}  // namespace walign::config
