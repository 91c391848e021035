// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "mapping/config_settings.hpp"

#include <array>
#include <limits>

namespace walign::config {

namespace {

// ------------------------------------------------------------------------------------ forms of texts

bool lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

TextFault check_migration(std::string_view text) {
  const auto fits = [](char c) { return lower_or_digit(c) || c == '_' || c == '-'; };
  if (text.empty() || text.size() > 39 || !lower_or_digit(text.front()) ||
      !std::all_of(text.begin(), text.end(), fits)) {
    return {"is not a migration's name",
            "1 to 39 of a-z, 0-9, _ and -, beginning with a letter or a digit: it names the slot"};
  }
  for (const std::string_view ending : {"reverse", "inserts", "capture"}) {
    const bool ends = text.size() > ending.size() && text.ends_with(ending);
    const char before = ends ? text[text.size() - ending.size() - 1] : 'x';
    if (before != '-' && before != '_') continue;
    return {"would have the slot or the publication of another migration's other direction or capture",
            "another name, that does not end with reverse, inserts or capture"};
  }
  return {};
}

TextFault check_slot(std::string_view text) {
  const auto fits = [](char c) { return lower_or_digit(c) || c == '_'; };
  if (!text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), fits)) return {};
  return {"is not a replication slot's name", "1 to 63 of a-z, 0-9 and _"};
}

TextFault check_not_empty(std::string_view text) {
  if (!text.empty()) return {};
  return {"is empty", "name a directory; it is made where there is none"};
}

TextFault check_address(std::string_view text) {
  if (text.empty()) return {};
  const TextFault fault = {"is not HOST:PORT", "like 127.0.0.1:8642 or [::1]:8642; \"\" for no HTTP at all"};
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return fault;
  const auto host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const auto inside = bracketed ? host.substr(1, host.size() - 2) : host;
  if (inside.find_first_of(bracketed ? "[]/ \t" : "[]/: \t") != std::string_view::npos) return fault;
  const auto digits = text.substr(colon + 1);
  const auto port = parse_integer(digits);
  if (!port || digits.size() > 5 || *port < 0 || *port > 65'535) return fault;
  return {};
}

constexpr TextForm kMigration = {"^[a-z0-9][a-z0-9_-]{0,38}$", check_migration};
constexpr TextForm kSlot = {"^[a-z0-9_]{1,63}$", check_slot};
constexpr TextForm kNotEmpty = {"^[\\s\\S]", check_not_empty};
constexpr TextForm kConnection = {"^(postgres(ql)?://|\\s*[A-Za-z0-9_]+\\s*=)", check_connection_string};
constexpr TextForm kAddress = {"^$|^([^\\[\\]/: \\t]+|\\[[^\\[\\]/ \\t]+\\]):[0-9]{1,5}$", check_address};

// --------------------------------------------------------------------------------- members of Config

template <auto Member, class C>
auto& at(C& config) {
  return config.*Member;
}
template <auto Section, auto Member, class C>
auto& at(C& config) {
  return config.*Section.*Member;
}

Value to_value(const std::string& text) { return text; }
Value to_value(const std::optional<std::string>& text) { return text ? Value(*text) : Value(); }
Value to_value(std::chrono::milliseconds time) { return std::int64_t{time.count()}; }
template <class N>
requires(std::is_integral_v<N> || std::is_enum_v<N>) Value to_value(N number) {
  return static_cast<std::int64_t>(number);
}

template <class T>
void from_value(T& member, const Value& value) {
  if constexpr (std::is_constructible_v<T, std::string>) {
    member = std::get<std::string>(value);
  } else {
    member = static_cast<T>(std::get<std::int64_t>(value));
  }
}

template <auto... Path>
Setting bound(Setting setting) {
  setting.get = [](const Config& config) { return to_value(at<Path...>(config)); };
  setting.set = [](Config& config, const Value& value) { from_value(at<Path...>(config), value); };
  return setting;
}

// -------------------------------------------------------------------------------------------- rows

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kSecond = 1'000;
constexpr std::int64_t kDay = 86'400 * kSecond;
constexpr std::int64_t kLong = 36'500 * kDay;  // far from where adding to a clock would overflow

Setting text(std::string_view section, std::string_view name, const TextForm* form,
             std::string_view description) {
  return {.section = section, .name = name, .type = Type::text, .form = form, .description = description};
}
Setting needed(std::string_view name, const TextForm* form, std::string_view description) {
  auto setting = text("", name, form, description);
  setting.required = true;
  return setting;
}
Setting choice(std::string_view section, std::string_view name, std::vector<std::string_view> choices,
               std::string_view description) {
  return {.section = section,
          .name = name,
          .type = Type::choice,
          .choices = std::move(choices),
          .description = description};
}
Setting number(Type type, std::string_view section, std::string_view name, std::int64_t min, std::int64_t max,
               std::string_view description) {
  return {.section = section, .name = name, .type = type, .min = min, .max = max, .description = description};
}
Setting integer(std::string_view section, std::string_view name, std::int64_t min, std::int64_t max,
                std::string_view description) {
  return number(Type::integer, section, name, min, max, description);
}
Setting size(std::string_view section, std::string_view name, std::int64_t min,
             std::string_view description) {
  return number(Type::size, section, name, min, kAny, description);
}
Setting duration(std::string_view section, std::string_view name, std::int64_t min, std::int64_t max,
                 std::string_view description) {
  return number(Type::duration, section, name, min, max, description);
}

std::vector<Setting> make_settings() {
  using C = Config;
  Setting tables{.name = "tables",
                 .type = Type::tables,
                 .required = true,
                 .description = "what is moved, and where to; patterns take every table that matches"};
  return {
      bound<&C::migration>(
          needed("migration", &kMigration, "names the slot, the publication and the stream")),
      bound<&C::source>(needed("source", &kConnection, "the source: a URL or key=value, without a password")),
      bound<&C::target>(needed("target", &kConnection, "the target; may be the same database as the source")),
      bound<&C::state>(
          needed("state", &kNotEmpty, "directory of the journal, checkpoints and control socket")),
      bound<&C::slot>(text("", "slot", &kSlot, "a replication slot that the operator has made")),
      std::move(tables),
      bound<&C::existing_rows>(
          choice("", "existing_rows", {"refuse", "empty", "adopt"},
                 "rows that a target table has at the start: refuse to begin, remove them, "
                 "or verify and repair them by key")),
      bound<&C::backfill, &Backfill::workers>(
          integer("backfill", "workers", 1, 64, "chunks that are copied at the same time")),
      bound<&C::backfill, &Backfill::chunk_rows>(
          integer("backfill", "chunk_rows", 1, kAny, "rows in a chunk, at most")),
      bound<&C::backfill, &Backfill::chunk_bytes>(
          size("backfill", "chunk_bytes", kKiB, "bytes in a chunk, about")),
      bound<&C::backfill, &Backfill::max_rows_per_second>(
          integer("backfill", "max_rows_per_second", 0, kAny, "of all workers together; 0 for no limit")),
      bound<&C::backfill, &Backfill::pause_above_lag_bytes>(
          size("backfill", "pause_above_lag", 1, "no new chunk begins while the stream is further behind")),
      bound<&C::apply, &Apply::workers>(integer("apply", "workers", 1, 64, "connections that apply changes")),
      bound<&C::apply, &Apply::max_batch_rows>(
          integer("apply", "max_batch_rows", 1, kAny, "changes in one target transaction, about")),
      bound<&C::apply, &Apply::max_batch_bytes>(
          size("apply", "max_batch_bytes", 64 * kKiB, "bytes of changes in one target transaction, about")),
      bound<&C::apply, &Apply::spill_above_bytes>(
          size("apply", "spill_above", kKiB, "in-progress transactions above this go to disk")),
      bound<&C::apply, &Apply::on_conflict>(
          choice("apply", "on_conflict", {"stop", "dead_letter"},
                 "a row that the target refuses: stop, or set it aside and go on")),
      bound<&C::verify, &Verify::every>(
          duration("verify", "every", kSecond, kLong, "between two rounds of background verification")),
      bound<&C::schema_change>(choice("", "schema_change", {"stop", "add_columns"},
                                      "a column that appears on the source: stop, or add it to the target")),
      bound<&C::journal, &Journal::keep_bytes>(
          size("journal", "keep", 0, "bytes of received transactions to keep")),
      bound<&C::journal, &Journal::keep_for>(
          duration("journal", "keep_for", 0, kLong, "how long received transactions are kept")),
      bound<&C::gates, &Gates::max_lag_bytes>(
          size("gates", "max_lag", 0, "bytes behind, at most, for a cutover")),
      bound<&C::gates, &Gates::max_lag_time>(
          duration("gates", "max_lag_time", 0, kLong, "time behind, at most, for a cutover")),
      bound<&C::gates, &Gates::differences>(
          integer("gates", "differences", 0, kAny, "verified differences, at most, for a cutover")),
      bound<&C::gates, &Gates::dead_letters>(
          integer("gates", "dead_letters", 0, kAny, "dead letters, at most, for a cutover")),
      bound<&C::gates, &Gates::stable_for>(
          duration("gates", "stable_for", 0, kLong, "how long the other gates must have held")),
      bound<&C::gates, &Gates::oldest_transaction>(duration(
          "gates", "oldest_transaction", 0, kLong, "age of the source's oldest transaction, at most")),
      bound<&C::cutover, &Cutover::max_pause>(
          duration("cutover", "max_pause", 1, kDay, "how long writes may be held before backing out")),
      bound<&C::cutover, &Cutover::lock_timeout>(
          duration("cutover", "lock_timeout", 1, kDay, "wait for one table's lock, per attempt")),
      bound<&C::cutover, &Cutover::attempts>(integer("cutover", "attempts", 1, 1'000, "tries at the fence")),
      bound<&C::cutover, &Cutover::lease>(duration(
          "cutover", "lease", kSecond, kDay, "writes come back by themselves if walign is gone this long")),
      bound<&C::cutover, &Cutover::sequence_margin>(integer(
          "cutover", "sequence_margin", 0, kAny, "how far past the source's value sequences are set")),
      bound<&C::cutover, &Cutover::before_fence>(
          text("cutover", "before_fence", nullptr, "shell command before writes are held")),
      bound<&C::cutover, &Cutover::before_open>(
          text("cutover", "before_open", nullptr,
               "shell command before the target takes writes; failing backs out")),
      bound<&C::cutover, &Cutover::switch_hook>(
          text("cutover", "switch_hook", nullptr, "shell command that points the application at the target")),
      bound<&C::cutover, &Cutover::after_back_out>(
          text("cutover", "after_back_out", nullptr, "shell command after a cutover has backed out")),
      bound<&C::cutover, &Cutover::hook_timeout>(
          duration("cutover", "hook_timeout", 1, kDay, "how long each of these commands may take")),
      bound<&C::http>(text("", "http", &kAddress, "HOST:PORT of the read-only pages; empty for none")),
  };
}

constexpr std::array kSections = {
    Section{"backfill", "copying the rows that were there before"},
    Section{"apply", "writing changes to the target"},
    Section{"verify", "comparing both sides while they run"},
    Section{"journal", "received transactions, kept on disk for replay"},
    Section{"gates", "what must hold before a cutover begins"},
    Section{"cutover", "the change of sides"},
};

constexpr std::array kTableKeys = {
    Key{"from", Shape::table, "the source table, SCHEMA.TABLE"},
    Key{"to", Shape::table, "the target table; the same name where it is not given"},
    Key{"key", Shape::names, "target columns that identify a row; the target's primary key where not given"},
    Key{"where", Shape::text, "SQL over the source's columns; other rows are not moved"},
    Key{"columns", Shape::columns, "target columns that are not simply the source's of the same name"},
    Key{"one_way", Shape::boolean, "there is no way back for this table"},
    Key{"inserts_only", Shape::boolean,
        "only inserts are published: no key and no replica identity are needed"},
    Key{"reverse_key", Shape::text, "SQL that gives a new target row its key on the source"},
    Key{"target_where", Shape::text, "SQL over the target's columns: which of its rows are ours"},
};

constexpr std::array kColumnKeys = {
    Key{"sql", Shape::text, "SQL over the source's columns"},
    Key{"reverse", Shape::reverse,
        "SQL over the target's columns that gives the source's value back; or a map, SQL for each source "
        "column"},
    Key{"values", Shape::values, "source values and the target values they become"},
    Key{"else", Shape::nullable, "the target value for source values that are not listed"},
    Key{"from", Shape::text, "the source column; the target column's name where it is not given"},
    Key{"constant", Shape::nullable, "the same value in every row"},
};

}  // namespace

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = make_settings();
  return all;
}

const Section* find_section(std::string_view name) {
  const auto found =
      std::find_if(kSections.begin(), kSections.end(), [&](const Section& s) { return s.name == name; });
  return found == kSections.end() ? nullptr : &*found;
}

std::vector<std::string_view> key_names(std::string_view section) {
  std::vector<std::string_view> names;
  for (const auto& setting : settings()) {
    if (setting.section == section) names.push_back(setting.name);
    const bool opens =
        section.empty() && !setting.section.empty() && (names.empty() || names.back() != setting.section);
    if (opens) names.push_back(setting.section);
  }
  return names;
}

std::span<const Key> table_keys() { return kTableKeys; }
std::span<const Key> column_keys() { return kColumnKeys; }

std::vector<std::string_view> names_of(std::span<const Key> keys) {
  std::vector<std::string_view> names;
  for (const auto& key : keys) names.push_back(key.name);
  return names;
}

}  // namespace walign::config
