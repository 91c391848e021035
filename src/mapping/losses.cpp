// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "losses.hpp"

#include <cctype>

namespace walign::mapping {

namespace {

using config::ColumnKind;

// numeric(10,2) -> 2; nothing without a scale.
std::optional<int> scale_of(const std::string& declared) {
  const auto comma = declared.rfind(',');
  if (comma == std::string::npos) return std::nullopt;
  return std::atoi(declared.c_str() + comma + 1);
}
// varchar(5) -> 5, timestamp(3) without time zone -> 3; nothing without one.
std::optional<int> modifier_of(const std::string& declared) {
  const auto open = declared.find('(');
  if (open == std::string::npos) return std::nullopt;
  return std::atoi(declared.c_str() + open + 1);
}

bool is(const pg::Column& column, std::initializer_list<std::string_view> names) {
  return column.base_type.schema == "pg_catalog" &&
         std::find(names.begin(), names.end(), column.base_type.name) != names.end();
}

std::string numbers_lost(const pg::Column& s, const pg::Column& t) {
  const bool fractions = is(s, {"numeric", "float4", "float8"});
  if (fractions && is(t, {"int2", "int4", "int8"})) return "what is behind the decimal point is rounded away";
  if (is(s, {"float8"}) && is(t, {"float4"})) return "digits beyond the sixth are rounded away";
  if (is(s, {"numeric"}) && is(t, {"float4", "float8"}))
    return "digits beyond those of a float are rounded away";
  if (is(s, {"int8", "int4"}) && is(t, {"float4"})) return "digits beyond the sixth are rounded away";
  if (is(s, {"int8"}) && is(t, {"float8"})) return "digits beyond the fifteenth are rounded away";
  if (!fractions || !is(t, {"numeric"})) return "";
  const auto to = modifier_of(t.declared) ? std::optional(scale_of(t.declared).value_or(0)) : std::nullopt;
  if (!to) return "";
  const auto from = is(s, {"numeric"}) && modifier_of(s.declared)
                        ? std::optional(scale_of(s.declared).value_or(0))
                        : std::nullopt;
  if (from && *from <= *to) return "";
  return cat("digits beyond the ", *to, " behind the decimal point are rounded away");
}

std::string times_lost(const pg::Column& s, const pg::Column& t) {
  const bool stamp = is(s, {"timestamp", "timestamptz"});
  if (stamp && is(t, {"date"})) return "the time of day is cut off";
  if (stamp && is(t, {"time", "timetz"})) return "the date is cut off";
  if (is(s, {"timestamptz"}) && is(t, {"timestamp"}))
    return "it becomes the time of day in UTC, and says so no more";
  if (is(s, {"timetz"}) && is(t, {"time"})) return "the time zone is cut off";
  if (!is(t, {"timestamp", "timestamptz", "time", "timetz", "interval"})) return "";
  const auto to = modifier_of(t.declared);
  if (!to || modifier_of(s.declared).value_or(6) <= *to) return "";
  return cat("digits of a second beyond ", *to, " are rounded away");
}

std::string texts_lost(const pg::Column& s, const pg::Column& t) {
  if (!is(t, {"varchar", "bpchar"})) {
    return is(s, {"bpchar"}) && is(t, {"text"}) ? "blanks at the end are cut off" : "";
  }
  const auto to = modifier_of(t.declared);
  const bool text = is(s, {"text", "varchar"});
  if (is(s, {"bpchar"}) && is(t, {"varchar"})) return "blanks at the end are cut off";
  if (text && is(t, {"bpchar"})) return "blanks at the end no longer count";
  if (!text || !to || (is(s, {"varchar"}) && modifier_of(s.declared).value_or(*to + 1) <= *to)) return "";
  return cat("blanks at the end that make it longer than ", *to, " characters are cut off");
}

std::string lost(const pg::Column& s, const pg::Column& t) {
  if (auto what = numbers_lost(s, t); !what.empty()) return what;
  if (auto what = times_lost(s, t); !what.empty()) return what;
  return texts_lost(s, t);
}

// ------------------------------------------------------------------------------- 'now', 'today', ...

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : text + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, ""));
    }
  }
  return words;
}

// What the input of a date or time takes for this moment, alone or with a time of day or zone behind it.
bool is_moment(std::string_view literal) {
  static const std::set<std::string> kMoments = {"now", "today", "tomorrow", "yesterday"};
  const auto words = words_of(lower(literal));
  if (words.empty() || !kMoments.contains(words.front())) return false;
  return std::all_of(words.begin() + 1, words.end(), [](const std::string& word) {
    return std::isdigit(static_cast<unsigned char>(word.front())) != 0 || word == "utc" || word == "zulu" ||
           word == "z" || word == "allballs" || word == "am" || word == "pm";
  });
}

bool is_time_type(const std::string& word) {
  static const std::set<std::string> kTypes = {"date", "time", "timetz", "timestamp", "timestamptz", "zone"};
  return kTypes.contains(word);
}

// SQL in words and literals; comments and quoted names are passed over.
class Scanner {
 public:
  explicit Scanner(std::string_view sql) : sql_(sql) {}

  std::optional<Moment> find() {
    std::optional<Moment> alone;
    while (at_ < sql_.size()) {
      const char c = sql_[at_];
      if (c == '\'') {
        const std::string literal = take_literal();
        if (!is_moment(literal)) continue;
        if (is_time_type(before_) || is_time_type(type_behind())) return Moment{literal, true};
        if (!is_text_type(type_behind())) alone = Moment{literal, false};
      } else if (c == '"') {
        at_ = std::min(sql_.find('"', at_ + 1), sql_.size() - 1) + 1;
        before_.clear();
      } else if (sql_.substr(at_, 2) == "--") {
        at_ = std::min(sql_.find('\n', at_), sql_.size());
      } else if (sql_.substr(at_, 2) == "/*") {
        at_ = std::min(sql_.find("*/", at_), sql_.size() - 2) + 2;
      } else if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_') {
        before_ = lower(take_word(at_));
      } else {
        if (std::isspace(static_cast<unsigned char>(c)) == 0) before_.clear();
        ++at_;
      }
    }
    return alone;
  }

 private:
  static bool is_text_type(const std::string& word) {
    return word == "text" || word == "varchar" || word == "character" || word == "bpchar" || word == "name";
  }

  std::string_view take_word(std::size_t& at) const {
    const std::size_t from = at;
    while (at < sql_.size() && (std::isalnum(static_cast<unsigned char>(sql_[at])) != 0 || sql_[at] == '_'))
      ++at;
    return sql_.substr(from, at - from);
  }

  std::string take_literal() {
    const bool escapes = at_ > 0 && before_ == "e" && std::tolower(sql_[at_ - 1]) == 'e';
    std::string out;
    for (++at_; at_ < sql_.size(); ++at_) {
      if (escapes && sql_[at_] == '\\' && at_ + 1 < sql_.size()) {
        out += sql_[++at_];
      } else if (sql_[at_] != '\'') {
        out += sql_[at_];
      } else if (at_ + 1 < sql_.size() && sql_[at_ + 1] == '\'') {
        out += sql_[at_++];
      } else {
        break;
      }
    }
    at_ = std::min(at_ + 1, sql_.size());
    return out;
  }

  // The type in ::TYPE, ::schema.TYPE or AS TYPE right behind, in lower case.
  [[nodiscard]] std::string type_behind() const {
    std::size_t at = at_;
    const auto blanks = [&] {
      while (at < sql_.size() && (std::isspace(static_cast<unsigned char>(sql_[at])) != 0 || sql_[at] == ')'))
        ++at;
    };
    blanks();
    if (sql_.substr(at, 2) == "::") {
      at += 2;
    } else if (lower(take_word(at)) != "as") {
      return "";
    }
    blanks();
    std::string type = name(at);
    if (at < sql_.size() && sql_[at] == '.') type = name(++at);
    return type;
  }
  std::string name(std::size_t& at) const {
    const bool quoted = at < sql_.size() && sql_[at] == '"';
    if (quoted) ++at;
    std::string word = lower(take_word(at));
    if (quoted) ++at;
    return word;
  }

  std::string_view sql_;
  std::size_t at_ = 0;
  std::string before_;  // the word before, where only blanks are between
};

}  // namespace

std::optional<Moment> find_moment(std::string_view sql) { return Scanner(sql).find(); }

void warn_of_losses(const Route& route, const pg::Table& source, const pg::Table& target,
                    Findings& findings) {
  for (const auto& column : route.columns) {
    const bool plain = !column.rule || column.rule->kind == ColumnKind::rename;
    if (!plain || column.inputs.size() != 1) continue;
    const auto& s =
        *source.column(route.source_columns[static_cast<std::size_t>(column.inputs.front())].name);
    const auto& t = *target.column(column.name);
    const auto what = lost(s, t);
    if (what.empty()) continue;
    findings.push_back(warn(
        route.label(),
        cat("column ", t.name, ", ", t.declared.empty() ? t.type.sql() : t.declared, ", is given ", s.name,
            ", ", s.declared.empty() ? s.type.sql() : s.declared, ": ", what, ", without an error"),
        cat("ALTER TABLE ", pg::qualified(target.schema, target.name), " ALTER COLUMN ",
            pg::quote_ident(t.name), " TYPE ", s.declared.empty() ? s.type.sql() : s.declared,
            "; or say that it is meant: ", t.name, ": { sql: \"...\" }")));
  }
}

void check_moments(const config::TableRule& rule, const std::string& label, Findings& findings) {
  const auto check = [&](const std::string& what, const std::optional<std::string>& sql) {
    const auto moment = sql ? find_moment(*sql) : std::nullopt;
    if (!moment) return;
    const std::string means = cat(what, " has '", moment->literal, "', which ");
    if (moment->certain) {
      findings.push_back(fail(label,
                              cat(means, "is the moment in which a statement is prepared, not that of a row"),
                              "write the date itself, or let a default of the target fill it in"));
    } else {
      findings.push_back(
          warn(label,
               cat(means,
                   "would be the moment in which a statement is prepared if it stands for a "
                   "date or time"),
               cat("write '", moment->literal, "'::text if it is a text; if not, the date itself")));
    }
  };
  check("where", rule.where);
  check("target_where", rule.target_where);
  check("reverse_key", rule.reverse_key);
  for (const auto& column : rule.columns) {
    if (column.kind != ColumnKind::sql) continue;
    check(cat("column ", column.target), column.sql);
    check(cat("reverse: of column ", column.target), column.reverse);
    for (const auto& [source, sql] : column.reverse_columns)
      check(cat("reverse: of column ", column.target), sql);
  }
}

}  // namespace walign::mapping
