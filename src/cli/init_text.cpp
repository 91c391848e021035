// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The file that walign init writes. A rule in it that is not to be used yet has '#' before each of its lines: without
// that one character they are a rule. All other comments have a blank behind the '#'.
#include <cctype>

#include "init.hpp"
#include "text.hpp"

namespace walign::cli::init {

namespace {

constexpr std::size_t kLine = 116;

bool is_plain(std::string_view text, std::string_view allowed) {
  if (text.empty() || std::isalpha(static_cast<unsigned char>(text.front())) == 0) return false;
  static const std::set<std::string_view> kWords = {"true", "false", "null", "yes", "no",
                                                    "on",   "off",   "y",    "n",   "only"};
  std::string folded;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) == 0 && allowed.find(c) == std::string_view::npos) return false;
    folded += static_cast<char>(std::tolower(u));
  }
  return !kWords.contains(folded) && text.back() != ':';
}

std::string in_quotes(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string yaml_name(const TableName& name) {
  const auto text = name.to_string();
  return is_plain(text, "._") ? text : yaml(text);
}

// Words in lines of a comment; what goes on in further lines is set in, without the sign before it.
std::string comment(const std::string& before, std::string_view text) {
  std::string further = before;
  if (!further.ends_with('#')) further.back() = ' ';
  std::string out;
  std::string margin = before;
  for (std::size_t from = 0; from <= text.size();) {
    const auto end = std::min(text.find('\n', from), text.size());
    const std::string words = one_line(text.substr(from, end - from));
    std::string line = margin;
    for (std::size_t at = 0; at < words.size();) {
      const auto blank = std::min(words.find(' ', at), words.size());
      if (line.size() > margin.size() && line.size() + blank - at >= kLine) {
        out += line + "\n";
        line = margin = further + "  ";
      }
      line += cat(" ", std::string_view(words).substr(at, blank - at));
      at = blank + 1;
    }
    out += line + "\n";
    margin = further + "  ";
    from = end + 1;
  }
  return out;
}

std::string label(const Pair& pair) {
  const auto from = name_of(*pair.source).to_string();
  const auto to = name_of(*pair.target).to_string();
  return from == to ? from : cat(from, " -> ", to);
}

std::string commented_out(const std::string& lines) {
  std::string out;
  std::size_t from = 0;
  for (auto end = lines.find('\n'); end != std::string::npos; from = end + 1, end = lines.find('\n', from)) {
    out += cat("  #", lines.substr(from + 2, end - from - 1));
  }
  return out;
}

std::string draft_text(const Draft& draft) {
  const bool usable = draft.obstacles.empty();
  std::string out = comment("  #", cat(label(draft.pair), ":"));
  if (!draft.pair.why.empty())
    out += comment("  #   -", cat("paired for ", draft.pair.why, ": is it meant?"));
  for (const auto& obstacle : draft.obstacles) out += comment("  #   !", obstacle);
  for (const auto& remark : draft.remarks) out += comment("  #   -", remark);
  return out + (usable ? rule_text(draft) : commented_out(rule_text(draft))) + "\n";
}

std::string drafts_text(const std::vector<Draft>& drafts, bool usable) {
  std::string out;
  for (const auto& draft : drafts) {
    if (draft.obstacles.empty() == usable) out += draft_text(draft);
  }
  return out;
}

std::string alone_text(const Matching& matching) {
  if (matching.alone.empty()) return "";
  std::string out =
      "  # ---- On the source only. The target needs a table first; or it has one of another name.\n";
  for (const auto& [source, candidates] : matching.alone) {
    std::string line = name_of(*source).to_string();
    if (source->persistence == 'u') line += " (unlogged: its changes are not in the WAL)";
    out += comment("  #", line);
    for (const auto& candidate : candidates) {
      Draft as_rule;
      as_rule.pair = candidate;
      out += comment("  #   -", cat("perhaps ", name_of(*candidate.target).to_string(), ": ", candidate.why));
      out += commented_out(rule_text(as_rule));
    }
  }
  return out + "\n";
}

std::string target_only_text(const Matching& matching) {
  if (matching.target_only.empty()) return "";
  std::string out = "  # ---- On the target only, and left alone:\n";
  for (const auto* table : matching.target_only) out += comment("  #  ", name_of(*table).to_string());
  return out + "\n";
}

std::string others_text(const Others& others) {
  std::string list;
  for (const auto& object : others.objects)
    list += comment("  #  ", cat(object.kind, " ", object.name.to_string()));
  for (const auto& name : others.of_extensions)
    list += comment("  #  ", cat("table ", name.to_string(), ": belongs to an extension"));
  for (const auto& sequence : others.sequences) {
    if (!sequence.serves_column)
      list += comment(
          "  #  ", cat("sequence ", sequence.name.to_string(),
                       ": serves no column, so cutover does not set it (a hook can: cutover.before_open)"));
  }
  if (others.large_objects > 0)
    list += comment(
        "  #  ", cat(others.large_objects, " large objects: they are not in the stream; copy them by hand"));
  const std::string sequences =
      "  # Sequences that serve a column, on both sides, are set by walign at the cutover.\n";
  return list.empty() ? sequences
                      : cat("  # ---- On the source, and not moved by walign:\n", list, sequences);
}

// "  name: value" of what `config show` prints, as a comment with what the schema says of it.
std::string defaults_text() {
  const auto standard =
      config::show(config::parse("{migration: m, source: host=a, target: host=b, state: s, tables: [t]}",
                                 "walign.yaml", [](const std::string&) { return std::nullopt; }));
  const auto schema = Json::parse(config::json_schema());
  std::string out;
  std::string section;
  std::size_t from = standard.find("\nexisting_rows:") + 1;
  for (auto end = standard.find('\n', from); end != std::string::npos;
       from = end + 1, end = standard.find('\n', from)) {
    const auto line = standard.substr(from, end - from);
    const bool inside = line.starts_with("  ");
    const auto name = line.substr(inside ? 2 : 0, line.find(':') - (inside ? 2 : 0));
    if (!inside) section = name;
    const auto& properties = inside ? schema["properties"][section]["properties"] : schema["properties"];
    const std::string padding(std::max<std::size_t>(34, line.size() + 2) - line.size(), ' ');
    out += cat("#", line, padding, "# ", properties[name]["description"].get<std::string>(), "\n");
  }
  return out;
}

std::string entries_text(const Draft& draft) {
  std::string out;
  for (const auto& entry : draft.columns) {
    const auto line = cat("      ", yaml_key(entry.column), ": ", entry.value);
    out += cat(line, std::string(line.size() < 40 ? 40 - line.size() : 2, ' '), "# ", one_line(entry.remark),
               "\n");
  }
  return out;
}

}  // namespace

std::string yaml(const std::string& value) {
  if (is_plain(value, "_")) return value;
  std::string escaped;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] == '$' && value.substr(i, 2) == "${") escaped += '$';
    escaped += value[i];
  }
  return in_quotes(escaped);
}

std::string yaml_with_variables(const std::string& value) {
  return is_plain(value, "_./:@?=&%+$-") ? value : in_quotes(value);
}

std::string yaml_key(const std::string& name) { return is_plain(name, "_") ? name : in_quotes(name); }

std::string rule_text(const Draft& draft) {
  const auto from = name_of(*draft.pair.source);
  const auto to = name_of(*draft.pair.target);
  if (draft.key.empty() && draft.columns.empty() && !draft.one_way) {
    const auto first = from.to_string();
    if (from == to) return cat("  - ", yaml_name(from), "\n");
    return cat("  - ", is_plain(first, "._") ? first : in_quotes(first), ": ", yaml_name(to), "\n");
  }
  std::string out = cat("  - from: ", yaml_name(from), "\n    to: ", yaml_name(to), "\n");
  if (!draft.key.empty()) {
    std::vector<std::string> names;
    for (const auto& name : draft.key) names.push_back(yaml(name));
    out += cat("    key: [", join(names, ", "), "]\n");
  }
  if (!draft.columns.empty()) out += "    columns:\n" + entries_text(draft);
  if (draft.one_way) out += "    one_way: true                       # there is no way back: see above\n";
  return out;
}

std::string head_text(const Found& found) {
  return cat("migration: ", found.migration, "\nsource: ", yaml_with_variables(found.source),
             "\ntarget: ", yaml_with_variables(found.target), "\nstate: ", yaml(found.state),
             "   # what walign keeps: its journal, its positions\n\ntables:\n");
}

std::string file_text(const Found& found) {
  const auto open = drafts_text(found.drafts, false);
  return cat(
      "# yaml-language-server: $schema=walign.schema.json\n"
      "# The line above is for editors: `walign config schema > walign.schema.json` writes what it names.\n"
      "#\n"
      "# Written by `walign init` from what both servers have. Read it, correct it, then:\n"
      "#   walign preflight      checks both servers against it\n"
      "#   walign plan           says what would be done\n"
      "#   walign run            does it\n"
      "# Lines behind a '#' without a blank are settings, to be used by taking that '#' away.\n\n",
      head_text(found), drafts_text(found.drafts, true),
      open.empty() ? ""
                   : "  # ---- To be decided: these cannot be moved as they stand. What hinders each has a "
                     "'!'. When it is\n"
                     "  # mended, take the '#' before its lines away.\n" +
                         open,
      alone_text(found.matching), target_only_text(found.matching), others_text(found.on_source),
      "\n# ---- What follows are the defaults.\n", defaults_text());
}

}  // namespace walign::cli::init
