// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "mapping/config_reader.hpp"

namespace walign::config {

namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

bool has_variable(const Node& node) { return node.text.find("${") != std::string::npos; }

// What YAML 1.2 reads as a number: 12, -3, 0x1F, 1.5, 1e9, .inf.
bool looks_like_number(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  if (text == ".inf" || text == ".nan") return true;
  if (text.empty() || !(is_digit(text.front()) || (text.size() > 1 && text[0] == '.' && is_digit(text[1]))))
    return false;
  if (text.starts_with("0x") || text.starts_with("0o")) {
    return text.size() > 2 && text.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string_view::npos;
  }
  double value = 0;
  return std::from_chars(text.data(), text.data() + text.size(), value).ptr == text.data() + text.size();
}

// A key in a message; one that is not like a key at all might be anything, so it is not shown.
std::string quoted_key(std::string_view key) {
  const auto fits = [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '.'; };
  const bool shown = !key.empty() && key.size() <= 40 && std::all_of(key.begin(), key.end(), fits);
  return shown ? cat(" \"", key, '"') : std::string();
}

std::string in_map(std::string_view path) { return path.empty() ? std::string() : cat(" in ", path); }

}  // namespace

const Node* Fields::find(std::string_view name) const {
  WALIGN_CHECK(std::find(known_.begin(), known_.end(), name) != known_.end());
  const auto found = found_.find(name);
  return found == found_.end() ? nullptr : found->second.value;
}

Place Fields::place_of(std::string_view name) const {
  const auto found = found_.find(name);
  return found == found_.end() ? Place{} : found->second.key->place;
}

bool Fields::missing(std::string_view name) const {
  return find(name) == nullptr && std::find(misspelt_.begin(), misspelt_.end(), name) == misspelt_.end();
}

std::string describe(const Node& node) {
  constexpr std::size_t kShownBytes = 40;
  switch (node.kind) {
    case NodeKind::null: return "nothing";
    case NodeKind::sequence: return "a list";
    case NodeKind::mapping: return "a map";
    case NodeKind::scalar: break;
  }
  // It may be a piece of a URL in the wrong place, so that masking does not know it.
  if (node.text.find_first_of("@=") != std::string::npos) return "this text";
  auto text = mask_secrets(node.text);
  if (text.size() > kShownBytes) {
    auto cut = kShownBytes;
    while ((static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) --cut;  // not inside a character
    text = text.substr(0, cut) + "...";
  }
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c >= 0 && c < ' '; }, ' ');
  return cat('"', text, '"');
}

std::optional<bool> plain_boolean(const Node& node) {
  if (node.kind != NodeKind::scalar || node.quoted) return std::nullopt;
  if (node.text == "true" || node.text == "True" || node.text == "TRUE") return true;
  if (node.text == "false" || node.text == "False" || node.text == "FALSE") return false;
  return std::nullopt;
}

void Reader::problem(Place place, std::string what, std::string hint) {
  problems_.push_back({place, mask_secrets(what), mask_secrets(hint)});
}

// -------------------------------------------------------------------------------------------- maps

std::vector<Entry> Reader::entries(const Node& map, const KeyIdentity& identity) {
  std::vector<Entry> out;
  std::map<std::string, Place> seen;
  for (std::size_t i = 0; i + 1 < map.items.size(); i += 2) {
    const Entry entry{map.items[i], map.items[i + 1]};
    const Node& key = *entry.key;
    if (key.kind != NodeKind::scalar) {
      problem(key.place, cat("a key is ", describe(key)), "a key is a plain name");
    } else if (has_variable(key)) {
      problem(key.place, "a variable in a key is not replaced", "use it in a value");
    } else {
      const auto [first, fresh] = seen.emplace(identity ? identity(entry) : key.text, key.place);
      if (fresh) {
        out.push_back(entry);
      } else {
        problem(key.place, cat("duplicate key", quoted_key(key.text)),
                cat("it is already at ", first->second.line, ':', first->second.column));
      }
    }
  }
  return out;
}

Fields Reader::fields(const Node& map, std::string_view path, std::vector<std::string_view> known) {
  Fields fields;
  fields.known_ = std::move(known);
  if (map.kind != NodeKind::mapping) {
    problem(map.place, cat(path.empty() ? "the file" : path, " must be a map, not ", describe(map)),
            "write KEY: VALUE lines");
    return fields;
  }
  for (const auto& entry : entries(map)) {
    const auto name = std::find(fields.known_.begin(), fields.known_.end(), entry.key->text);
    if (name == fields.known_.end()) {
      unknown_key(entry, path, fields);
    } else {
      fields.found_.emplace(*name, entry);
    }
  }
  return fields;
}

void Reader::unknown_key(const Entry& entry, std::string_view path, Fields& fields) {
  const std::string& key = entry.key->text;
  std::string hint;
  if (key == "<<") {
    hint = "merge keys are not supported; write the keys out, or use an alias for a whole value";
  } else if (const auto meant = nearest(key, fields.known_)) {
    hint = cat("did you mean \"", *meant, "\"?");
    fields.misspelt_.push_back(*meant);
  } else {
    for (const auto name : fields.known_) hint += cat(hint.empty() ? "known: " : ", ", name);
  }
  problem(entry.key->place, cat("unknown key", quoted_key(key), in_map(path)), hint);
}

// ------------------------------------------------------------------------------------------ scalars

std::optional<std::string> Reader::expand(const Node& node, std::string_view raw) {
  std::string out;
  for (std::size_t i = 0; i < raw.size();) {
    if (raw.substr(i).starts_with("$${")) {
      out += "${";
      i += 3;
      continue;
    }
    if (!raw.substr(i).starts_with("${")) {
      out += raw[i++];
      continue;
    }
    const auto end = raw.find('}', i);
    const auto name = raw.substr(i + 2, end == std::string_view::npos ? 0 : end - i - 2);
    const auto fits = [](char c) { return is_letter(c) || is_digit(c); };
    if (name.empty() || is_digit(name.front()) || !std::all_of(name.begin(), name.end(), fits)) {
      problem(node.place, "a ${ does not begin a variable", "write ${NAME}, or $${ for a literal ${");
      return std::nullopt;
    }
    const auto value = environment_(std::string(name));
    if (!value) {
      problem(node.place, cat("the environment variable ", name, " is not set"),
              "export it before walign starts, or write $${ for a literal ${");
      return std::nullopt;
    }
    if (first_invalid_utf8(*value)) {
      problem(node.place, cat("the environment variable ", name, " is not UTF-8"));
      return std::nullopt;
    }
    out += *value;
    i = end + 1;
  }
  if (out.find('\0') == std::string::npos) return out;
  problem(node.place, "a zero byte cannot be part of a value");
  return std::nullopt;
}

std::optional<std::string> Reader::scalar(const Node& node, std::string_view path,
                                          std::string_view expected) {
  if (node.kind == NodeKind::scalar) return expand(node, node.text);
  problem(node.place, cat(path, " must be ", expected, ", not ", describe(node)));
  return std::nullopt;
}

std::optional<std::string> Reader::text(const Node& node, std::string_view path) {
  const bool other = node.kind == NodeKind::scalar && !node.quoted && !has_variable(node) &&
                     (plain_boolean(node) || looks_like_number(node.text));
  if (!other) return scalar(node, path, "a text");
  problem(node.place, cat(path, " must be a text, not ", describe(node)), "put it in quotes if it is meant");
  return std::nullopt;
}

std::optional<std::string> Reader::text_not_empty(const Node& node, std::string_view path) {
  auto value = text(node, path);
  if (!value || value->find_first_not_of(" \t\r\n") != std::string::npos) return value;
  problem(node.place, cat(path, " is empty"), "leave the key out if there is nothing to say");
  return std::nullopt;
}

std::optional<bool> Reader::boolean(const Node& node, std::string_view path) {
  if (const auto plain = plain_boolean(node)) return plain;
  const auto value = scalar(node, path, "true or false");
  if (!value) return std::nullopt;
  if (has_variable(node) && (*value == "true" || *value == "false")) return *value == "true";
  problem(node.place, cat(path, " must be true or false, not ", describe(node)));
  return std::nullopt;
}

std::optional<std::optional<std::string>> Reader::nullable(const Node& node, std::string_view path) {
  if (node.kind == NodeKind::null) return std::optional<std::string>();
  auto value = scalar(node, path, "one value or null");
  if (!value) return std::nullopt;
  return std::optional<std::optional<std::string>>(std::move(value));
}

// ----------------------------------------------------------------------------------------- settings

bool Reader::in_range(const Node& node, const Setting& setting, std::int64_t value) {
  if (value >= setting.min && value <= setting.max) return true;
  const auto shown = [&](std::int64_t bound) {
    if (setting.type == Type::integer) return cat(bound);
    return format_quantity(bound, setting.type == Type::size ? size_units() : duration_units());
  };
  const bool below = value < setting.min;
  problem(node.place, cat(setting.path(), " must be ", below ? "at least " : "at most ",
                          shown(below ? setting.min : setting.max), ", not ", describe(node)));
  return false;
}

std::optional<std::int64_t> Reader::integer(const Node& node, const Setting& setting) {
  const auto text = scalar(node, setting.path(), "an integer");
  if (!text) return std::nullopt;
  const auto value = node.quoted && !has_variable(node) ? std::nullopt : parse_integer(*text);
  if (value) return in_range(node, setting, *value) ? value : std::nullopt;
  const bool all_digits = !text->empty() && std::all_of(text->begin(), text->end(), is_digit);
  problem(node.place,
          cat(setting.path(), all_digits && !node.quoted ? " is too large: " : " must be an integer, not ",
              describe(node)),
          node.quoted ? "without quotes" : "");
  return std::nullopt;
}

std::optional<std::int64_t> Reader::quantity(const Node& node, const Setting& setting) {
  const bool size = setting.type == Type::size;
  const std::string_view example = size ? "64MiB" : "10s";
  const auto text = scalar(node, setting.path(), cat(size ? "a size" : "a time", " like ", example));
  if (!text) return std::nullopt;
  const auto quantity = parse_quantity(*text, size ? size_units() : duration_units(), size);
  const std::string units = size ? "units: B, kB, KiB, MB, MiB, GB, GiB" : "units: ms, s, min or m, h, d";
  switch (quantity.fault) {
    case QuantityFault::none:
      return in_range(node, setting, quantity.value) ? std::optional(quantity.value) : std::nullopt;
    case QuantityFault::no_number:
      problem(node.place,
              cat(setting.path(), " must be ", size ? "a size" : "a time", ", not ", describe(node)),
              cat("a whole number and a unit, like ", example));
      break;
    case QuantityFault::unknown_unit:
      problem(node.place, cat(setting.path(), ": ", describe(node), " is not a whole number and a unit"),
              units);
      break;
    case QuantityFault::no_unit:
      problem(node.place, cat(setting.path(), ": ", describe(node), " has no unit"), units);
      break;
    case QuantityFault::too_large:
      problem(node.place, cat(setting.path(), " is too large: ", describe(node)));
      break;
  }
  return std::nullopt;
}

std::optional<std::int64_t> Reader::choice(const Node& node, const Setting& setting) {
  std::string list;
  for (const auto name : setting.choices) list += cat(list.empty() ? "" : ", ", name);
  const auto text = scalar(node, setting.path(), cat("one of ", list));
  if (!text) return std::nullopt;
  const auto found = std::find(setting.choices.begin(), setting.choices.end(), *text);
  if (found != setting.choices.end()) return found - setting.choices.begin();
  const auto meant = nearest(*text, setting.choices);
  problem(node.place, cat(setting.path(), " must be one of ", list, ", not ", describe(node)),
          meant ? cat("did you mean \"", *meant, "\"?") : "");
  return std::nullopt;
}

std::optional<std::string> Reader::formed_text(const Node& node, const Setting& setting) {
  auto value = text(node, setting.path());
  if (!value || setting.form == nullptr) return value;
  const auto fault = setting.form->check(*value);
  if (fault.what.empty()) return value;
  problem(node.place, cat(setting.path(), ' ', fault.what), fault.hint);
  return std::nullopt;
}

void Reader::setting(const Node& node, const Setting& setting, Config& config) {
  const auto store = [&](const auto& value) {
    if (value) setting.set(config, Value(*value));
  };
  switch (setting.type) {
    case Type::text: return store(formed_text(node, setting));
    case Type::integer: return store(integer(node, setting));
    case Type::size:
    case Type::duration: return store(quantity(node, setting));
    case Type::choice: return store(choice(node, setting));
    case Type::tables: return read_tables(*this, node, config);
  }
}

}  // namespace walign::config
