// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The settings tables as JSON Schema. Wherever a value may come from a ${VAR}, a text with one is
// allowed: the schema then leaves it to parse().
#include <nlohmann/json.hpp>

#include "mapping/config_settings.hpp"

namespace walign::config {

namespace {

using Json = nlohmann::ordered_json;

Json reference(std::string_view name) { return {{"$ref", cat("#/$defs/", name)}}; }
Json or_variable(Json schema) { return {{"anyOf", Json::array({std::move(schema), reference("variable")})}}; }
Json as_texts(const std::vector<std::string_view>& names) {
  Json out = Json::array();
  for (const auto name : names) out.push_back(std::string(name));
  return out;
}

std::string unit_pattern(std::span<const Unit> units) {
  std::string names;
  for (const auto& unit : units) names += cat(names.empty() ? "" : "|", unit.name);
  return cat("^[0-9]+ *(", names, ")$");
}

// A bare number is bytes; of times only 0 may be bare.
Json quantity_schema(const Setting& setting) {
  const bool size = setting.type == Type::size;
  Json bare = {{"type", "integer"}};
  if (size) {
    bare["minimum"] = setting.min;
  } else {
    bare = {{"const", 0}};
  }
  Json with_unit = {{"type", "string"}, {"pattern", unit_pattern(size ? size_units() : duration_units())}};
  Json choices = Json::array({std::move(with_unit), reference("variable")});
  if (size || setting.min == 0) choices.insert(choices.begin(), std::move(bare));
  return {{"anyOf", std::move(choices)}};
}

Json value_schema(const Setting& setting) {
  switch (setting.type) {
    case Type::text:
      if (setting.form == nullptr) return {{"type", "string"}};
      return or_variable({{"type", "string"}, {"pattern", std::string(setting.form->pattern)}});
    case Type::integer:
      return or_variable({{"type", "integer"}, {"minimum", setting.min}, {"maximum", setting.max}});
    case Type::size:
    case Type::duration: return quantity_schema(setting);
    case Type::choice: return or_variable({{"enum", as_texts(setting.choices)}});
    case Type::tables: break;
  }
  return {{"type", "array"}, {"minItems", 1}, {"items", reference("table")}};
}

// Nothing where the key must be given, or where leaving it out is not the same as any value.
std::optional<Json> default_of(const Setting& setting) {
  if (setting.required) return std::nullopt;
  const Value value = setting.get(Config{});
  if (std::holds_alternative<std::monostate>(value)) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(&value)) return Json(*text);
  const auto number = std::get<std::int64_t>(value);
  switch (setting.type) {
    case Type::size: return Json(format_quantity(number, size_units()));
    case Type::duration: return Json(format_quantity(number, duration_units()));
    case Type::choice: return Json(std::string(setting.choices[static_cast<std::size_t>(number)]));
    default: return Json(number);
  }
}

Json setting_schema(const Setting& setting) {
  Json out = {{"description", std::string(setting.description)}};
  out.update(value_schema(setting));
  if (auto standard = default_of(setting)) out["default"] = std::move(*standard);
  return out;
}

Json closed_object(std::string_view description) {
  return {{"description", std::string(description)},
          {"type", "object"},
          {"additionalProperties", false},
          {"properties", Json::object()}};
}

Json shape_schema(Shape shape) {
  switch (shape) {
    case Shape::table: return reference("table_name");
    case Shape::text: return reference("text");
    case Shape::names:
      return {{"type", "array"}, {"minItems", 1}, {"uniqueItems", true}, {"items", reference("text")}};
    case Shape::columns: return reference("columns");
    case Shape::boolean: return or_variable({{"type", "boolean"}});
    case Shape::values:
      return {{"type", "object"}, {"minProperties", 1}, {"additionalProperties", reference("nullable")}};
    case Shape::nullable: return reference("nullable");
    case Shape::reverse: {
      Json map = {{"type", "object"}, {"minProperties", 1}, {"additionalProperties", reference("text")}};
      return {{"anyOf", Json::array({reference("text"), std::move(map)})}};
    }
  }
  return {};
}

Json keys_schema(std::string_view description, std::span<const Key> keys) {
  Json out = closed_object(description);
  for (const auto& key : keys) {
    Json property = {{"description", std::string(key.description)}};
    property.update(shape_schema(key.shape));
    out["properties"][std::string(key.name)] = std::move(property);
  }
  return out;
}

Json required(const char* name) { return {{"required", Json::array({name})}}; }
Json excluded(Json schema) { return {{"not", std::move(schema)}}; }

Json long_table_schema() {
  Json out = keys_schema("the long form", table_keys());
  out["required"] = Json::array({"from"});
  out["properties"]["one_way"]["default"] = false;
  out["properties"]["inserts_only"]["default"] = false;
  Json both = {{"properties", {{"one_way", {{"const", true}}}}},
               {"required", Json::array({"one_way", "reverse_key"})}};
  Json pattern = {{"properties", {{"from", {{"pattern", "\\*"}}}}}};
  Json beside = Json::array();
  for (const auto* name : {"key", "where", "columns", "reverse_key", "target_where"})
    beside.push_back(required(name));
  out["allOf"] =
      Json::array({excluded(std::move(both)),
                   Json{{"if", std::move(pattern)}, {"then", excluded({{"anyOf", std::move(beside)}})}}});
  return out;
}

Json table_schema() {
  Json pair = {{"description", "SOURCE: TARGET"},
               {"type", "object"},
               {"minProperties", 1},
               {"maxProperties", 1},
               {"propertyNames", {{"not", {{"enum", as_texts(names_of(table_keys()))}}}}},
               {"additionalProperties", reference("table_name")}};
  Json name = {{"description", "the same name on both sides, or a text SOURCE: TARGET"},
               {"type", "string"},
               {"minLength", 1}};
  return {{"anyOf", Json::array({std::move(name), std::move(pair), long_table_schema()})}};
}

Json column_schema() {
  Json map = keys_schema("SQL, a map of values, or a constant", column_keys());
  map["oneOf"] = Json::array({required("sql"), required("values"), required("constant")});
  map["dependentRequired"] = {{"reverse", Json::array({"sql"})},
                              {"else", Json::array({"values"})},
                              {"from", Json::array({"values"})}};
  Json rename = reference("text");
  rename["description"] = "the source column";
  Json drop = {{"const", false}, {"description", "the source column of this name is not copied"}};
  return {{"anyOf", Json::array({std::move(rename), std::move(drop), std::move(map)})}};
}

Json columns_schema() {
  Json only = {{"description", "true: columns that are not named are not copied"},
               {"anyOf", Json::array({Json{{"type", "boolean"}}, reference("column")})},
               {"default", false}};
  return {{"type", "object"},
          {"properties", {{"only", std::move(only)}}},
          {"additionalProperties", reference("column")}};
}

Json definitions() {
  return {
      {"variable",
       {{"description", "${NAME} reads the environment"}, {"type", "string"}, {"pattern", "\\$\\{"}}},
      {"text", {{"type", "string"}, {"pattern", "\\S"}}},
      {"nullable", {{"type", Json::array({"string", "number", "boolean", "null"})}}},
      {"table_name",
       {{"description", "SCHEMA.TABLE, or TABLE in public; parts in double quotes where they must be"},
        {"type", "string"},
        {"minLength", 1}}},
      {"table", table_schema()},
      {"columns", columns_schema()},
      {"column", column_schema()},
  };
}

}  // namespace

std::string json_schema() {
  Json out = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "walign.yaml"}};
  out.update(closed_object("How walign moves tables from one PostgreSQL database to another"));
  out["required"] = Json::array();
  for (const auto& setting : settings()) {
    auto* properties = &out["properties"];
    if (!setting.section.empty()) {
      const auto* section = find_section(setting.section);
      auto& object = (*properties)[std::string(section->name)];
      if (object.is_null()) object = closed_object(section->description);
      properties = &object["properties"];
    }
    (*properties)[std::string(setting.name)] = setting_schema(setting);
    if (setting.required) out["required"].push_back(std::string(setting.name));
  }
  out["$defs"] = definitions();
  return out.dump(2) + "\n";
}

}  // namespace walign::config
