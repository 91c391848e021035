// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// config: walign.yaml, read strictly. The front room of the mapping module: what the operator wrote,
// checked for form only; what it means against two servers is mapping.hpp's business.
//
//   tables:                    a list; each item is one of
//     - S.T                      the same name on both sides; T may have '*'
//     - S.T: S2.T2               another name; also as one quoted text, "S.T: S2.T2"
//     - from: S.T                the long form; `to` defaults to `from`
//       ...
//   columns:                   a map from target columns to
//     column                     rename
//     false                      a source column of this name is not copied
//     { sql: ..., reverse: ... } | { values: {...}, else: ..., from: ... } | { constant: ... }
//
// `only: true` among the columns: unnamed columns are not copied. A boolean under `only` is this flag.
// A column that is really called only takes any other rule as usual, and `"only": false`, the key in
// quotes, drops a source column of that name.
//
// Invariants
//  1. All problems are reported at once, each with its line and column: an unknown key, a wrong type,
//     a value out of range, a missing key, two keys that exclude each other, an undefined ${VAR}.
//  2. A Config that exists is complete: every default is filled in, every unit is in the member's name.
//  3. Passwords are never printed: show() and every message mask them (URLs and key=value strings),
//     and no message quotes what a ${VAR} stood for.
//
// ${VAR} is replaced in values, not in keys, after YAML has been read: what it stands for is never
// YAML. $${ is a literal ${. A text that YAML would read as a number or a boolean must be quoted.
// Sizes take B, kB, KiB, MB, MiB, GB, GiB (a bare number is bytes); times take ms, s, min or m, h, d
// (only 0 may be bare).
//
// Threads: plain values.
#pragma once

#include <map>

#include "walign/base.hpp"

namespace walign::config {

struct Place {
  int line = 0;    // from 1; 0 where the problem has no place (a missing file)
  int column = 0;  // from 1, in characters
  bool operator==(const Place&) const = default;
};

struct Problem {
  Place place;
  std::string what;  // "unknown key \"tabels\""
  std::string hint;  // "did you mean \"tables\"?"; may be empty
};

// kind usage; the message lists every problem, one per line, as FILE:LINE:COLUMN: what (hint).
class ConfigError : public Error {
 public:
  ConfigError(std::string file, std::vector<Problem> problems);
  [[nodiscard]] const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

// A table's name; `schema` and `name` are as the catalog has them (unquoted, case kept).
// Written schema.name. Names are taken as written, never folded to lower case. A part that has anything
// but letters, digits, _, - and $ must be "double quoted", with "" for a quote inside. No schema means
// public.
struct TableName {
  std::string schema;
  std::string name;
  auto operator<=>(const TableName&) const = default;
  [[nodiscard]] std::string to_string() const;  // as it is written: parts quoted where they must be
};

// One pair of a value map; nullopt is SQL NULL (YAML null).
struct ValuePair {
  std::optional<std::string> from;
  std::optional<std::string> to;
  bool operator==(const ValuePair&) const = default;
};

enum class ColumnKind {
  rename,    // `target: source_column`
  sql,       // `target: { sql: "...", reverse: "..." }`
  values,    // `target: { values: {A: a}, else: b, from: source_column }`; from: the target's name
  constant,  // `target: { constant: "text" }` (null for NULL)
  drop,      // `target: false`: a source column of this name is not copied
};

struct ColumnRule {
  Place place;
  std::string target;
  ColumnKind kind = ColumnKind::rename;
  std::string source;                  // rename, values
  std::string sql;                     // sql
  std::optional<std::string> reverse;  // sql: gives the one source column that sql reads
  std::vector<ValuePair> values;       // values, in the order written
  bool has_else = false;               // values
  std::optional<std::string> value;    // values: the else value; constant: the value. nullopt is NULL
  // sql: for several source columns, each with the SQL that gives it
  std::vector<std::pair<std::string, std::string>> reverse_columns = {};
  bool operator==(const ColumnRule&) const = default;
};

struct TableRule {
  Place place;
  TableName from;
  TableName to;                  // equal to `from` where the short form has no colon
  bool wildcard = false;         // from.name has '*'; to.name is then the same, or just '*': names are kept
  std::vector<std::string> key;  // target columns; empty: the target's primary key
  std::optional<std::string> where;
  std::vector<ColumnRule> columns;
  bool only = false;          // columns: {only: true}: unnamed columns are not copied
  bool inserts_only = false;  // no UPDATE or DELETE is published: needs no key or replica identity
  bool one_way = false;
  std::optional<std::string> reverse_key;
  std::optional<std::string> target_where;
  bool operator==(const TableRule&) const = default;
};

enum class OnConflict { stop, dead_letter };
enum class ExistingRows { refuse, empty, adopt };
enum class SchemaChange { stop, add_columns };

struct Backfill {
  int workers = 2;                                     // 1..64
  std::int64_t chunk_rows = 50'000;                    // >= 1
  std::int64_t chunk_bytes = std::int64_t{64} << 20U;  // >= 1 KiB
  std::int64_t max_rows_per_second = 0;                // 0: no limit
  std::int64_t pause_above_lag_bytes = std::int64_t{1} << 30U;
  bool operator==(const Backfill&) const = default;
};
struct Apply {
  int workers = 1;                                        // 1..64
  std::int64_t max_batch_rows = 20'000;                   // >= 1
  std::int64_t max_batch_bytes = std::int64_t{8} << 20U;  // >= 64 KiB
  std::int64_t spill_above_bytes = std::int64_t{64} << 20U;
  OnConflict on_conflict = OnConflict::stop;
  bool operator==(const Apply&) const = default;
};
struct Verify {
  std::chrono::milliseconds every{3'600'000};
  bool operator==(const Verify&) const = default;
};
struct Journal {
  std::int64_t keep_bytes = std::int64_t{1} << 30U;
  std::chrono::milliseconds keep_for{86'400'000};
  bool operator==(const Journal&) const = default;
};
struct Gates {
  std::int64_t max_lag_bytes = std::int64_t{1} << 20U;
  std::chrono::milliseconds max_lag_time{2'000};
  std::int64_t differences = 0;
  std::int64_t dead_letters = 0;
  std::chrono::milliseconds stable_for{600'000};
  std::chrono::milliseconds oldest_transaction{5'000};
  bool operator==(const Gates&) const = default;
};
struct Cutover {
  std::chrono::milliseconds max_pause{5'000};
  std::chrono::milliseconds lock_timeout{500};
  int attempts = 5;
  std::chrono::milliseconds lease{10'000};
  std::int64_t sequence_margin = 1'000;
  std::string before_fence, before_open, switch_hook, after_back_out;  // shell commands; empty: none
  std::chrono::milliseconds hook_timeout{60'000};
  bool operator==(const Cutover&) const = default;
};

struct Config {
  std::string file;       // where it was read from, for messages
  std::string migration;  // [a-z0-9][a-z0-9_-]{0,38}
  std::string source;     // libpq connection strings: URL or key=value
  std::string target;
  std::string state;                // directory
  std::optional<std::string> slot;  // a slot the operator brings
  std::vector<TableRule> tables;    // at least one
  ExistingRows existing_rows = ExistingRows::refuse;
  Backfill backfill;
  Apply apply;
  Verify verify;
  SchemaChange schema_change = SchemaChange::stop;
  Journal journal;
  Gates gates;
  Cutover cutover;
  std::string http = "127.0.0.1:8642";  // HOST:PORT; empty: no HTTP
  // Made by reversed(): source and target have changed places, `tables` is still written for the way there.
  bool reverse = false;

  // walign_ and the migration's name with '-' as '_', for both directions: names what is kept of who may write.
  [[nodiscard]] std::string fence_name() const;
  // The same for the way there, with _reverse for the way back: names the slot, the publication and the stream.
  [[nodiscard]] std::string stream_name() const;
  [[nodiscard]] bool slot_is_brought() const { return slot && !reverse; }
  [[nodiscard]] std::string slot_name() const { return slot_is_brought() ? *slot : stream_name(); }
  bool operator==(const Config&) const = default;
};

// The other direction of the same migration, with a state directory of its own inside the first; its own inverse.
Config reversed(const Config& config);

// A setting (of a session) by which walign's own sessions pass the fences of the migration that it names.
inline constexpr const char* kPassSetting = "walign.pass";

using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment process_environment();

// Throw ConfigError with every problem found. `file` is used in messages only.
Config parse(const std::string& yaml, const std::string& file, const Environment& environment);
// Also throws it for a file that cannot be read.
Config load(const std::string& path, const Environment& environment);

// The whole configuration as YAML that parse() reads back, defaults included, passwords as "***".
std::string show(const Config& config);
// The JSON Schema (draft 2020-12) of walign.yaml, for editors.
std::string json_schema();

// A connection string with its password, and password-like parameters, masked.
std::string mask_secrets(std::string_view connection_string);

}  // namespace walign::config
