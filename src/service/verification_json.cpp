// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Requests to verify and their reports, as JSON.
#include <nlohmann/json.hpp>

#include "exchange.hpp"

namespace walign::service {

namespace {

using Json = nlohmann::ordered_json;

const char* kind_text(v1::Difference::Kind kind) {
  switch (kind) {
    case v1::Difference::MISSING: return "missing";
    case v1::Difference::EXTRA: return "extra";
    case v1::Difference::LOOKUP: return "lookup";
    case v1::Difference::CONTENT: return "content";
    default: return "different";
  }
}

Json difference_json(const v1::Difference& difference) {
  Json key = Json::object();
  for (const auto& value : difference.key()) {
    key[value.column()] = value.has_source() ? value.source() : value.target();
  }
  Json columns = Json::array();
  for (const auto& value : difference.columns()) {
    columns.push_back({{"column", value.column()},
                       {"source", value.has_source() ? Json(value.source()) : Json()},
                       {"target", value.has_target() ? Json(value.target()) : Json()}});
  }
  return {{"kind", kind_text(difference.kind())},
          {"key", key},
          {"source_key",
           std::vector<std::string>(difference.source_key().begin(), difference.source_key().end())},
          {"columns", columns}};
}

Json table_json(const verify::TableReport& table) {
  Json differences = Json::array();
  for (const auto& difference : table.kept) differences.push_back(difference_json(difference));
  return {{"table", table.table},
          {"state", table.state},
          {"whole", table.whole},
          {"rows", table.rows},
          {"rows_estimated", table.rows_estimated},
          {"differences", table.differences},
          {"violations", table.violations},
          {"repaired", table.repaired},
          {"verified_at_lsn", table.verified_at.valid() ? Json(table.verified_at.to_string()) : Json()},
          {"notes", table.notes},
          {"error", table.error.empty() ? Json() : Json(table.error)},
          {"rows_that_differ", differences}};
}

[[noreturn]] void wrong_verification(const std::string& what) {
  throw Error(ErrorKind::usage, cat("a request to verify: ", what),
              R"(such as {"tables": ["public.users"], "all": true})");
}

std::vector<std::string> texts_of(const Json& list, const std::string& name) {
  std::vector<std::string> out;
  if (!list.is_array()) wrong_verification(cat(name, " is not a list"));
  for (const auto& item : list) {
    if (!item.is_string()) wrong_verification(cat(name, " has something that is not a text"));
    out.push_back(item.get<std::string>());
  }
  return out;
}

}  // namespace

std::string verification_json(const verify::Report& report) {
  Json tables = Json::array();
  for (const auto& table : report.tables) tables.push_back(table_json(table));
  const Json out = {{"id", report.id}, {"done", report.done}, {"clean", report.clean()}, {"tables", tables}};
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

verify::Request verification_request(const std::string& json) {
  const Json body = Json::parse(json, nullptr, false);
  if (!body.is_object()) wrong_verification("it is not a JSON object");
  verify::Request out;
  for (const auto& [name, value] : body.items()) {
    if (name == "tables") {
      out.tables = texts_of(value, name);
    } else if (name == "key") {
      out.key = texts_of(value, name);
    } else if ((name == "all" || name == "repair") && value.is_boolean()) {
      (name == "all" ? out.all : out.repair) = value.get<bool>();
    } else {
      wrong_verification(cat(name, " is not known, or of another type"));
    }
  }
  return out;
}

std::string verification_request_json(const verify::Request& request) {
  const Json out = {
      {"tables", request.tables}, {"all", request.all}, {"repair", request.repair}, {"key", request.key}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::uint64_t verification_number(const std::string& body) {
  const Json answer = Json::parse(body, nullptr, false);
  if (!answer.is_object() || !answer.contains("id") || !answer["id"].is_number_unsigned()) {
    throw Error(ErrorKind::malformed, "the sidecar did not say which verification it began",
                "is it of this version? Look at its log");
  }
  return answer["id"].get<std::uint64_t>();
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain) {
      out += c;
    } else {
      out += cat('%', kHex[byte / 16], kHex[byte % 16]);
    }
  }
  return out;
}

}  // namespace walign::service
