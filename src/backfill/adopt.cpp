// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "adopt.hpp"

namespace walign::backfill {

namespace {

using mapping::Route;
using mapping::TargetColumn;

// ------------------------------------------------------------------------------ the target's own ranges

const TargetColumn* renamed(const Route& route, const std::string& source_column) {
  for (const int c : route.key) {
    const auto& column = route.columns[static_cast<std::size_t>(c)];
    if (column.expression == cat("src.", pg::quote_ident(source_column))) return &column;
  }
  return nullptr;
}

// A value can be stored as another that sorts elsewhere: numeric(8,2), timestamp(0), varchar(5) without its spaces.
bool may_be_rounded(Comparison comparison, const pg::Column& source, const pg::Column& target) {
  switch (comparison) {
    case Comparison::integer:
    case Comparison::uuid:
    case Comparison::boolean:
    case Comparison::bytes: return false;
    default: break;
  }
  const bool plain = source.type == source.base_type && target.type == target.base_type;
  const bool same = source.declared == target.declared;
  const bool unbounded = source.type == target.type && target.declared.find('(') == std::string::npos;
  return !plain || !(same || unbounded);
}

// ------------------------------------------------------------------------------------ its statements

class Adopting {
 public:
  explicit Adopting(const Route& route)
      : route_(route), target_(pg::qualified(route.target.schema, route.target.name)) {}

  [[nodiscard]] std::string want() const { return cat("pg_temp.", name()); }

  // The index finds two rows of one key before one of them is taken for the other's change.
  [[nodiscard]] std::string temporary() const {
    std::string columns;
    std::string key;
    for (std::size_t c = 0; c < route_.columns.size(); ++c)
      columns += cat(c == 0 ? "" : ", ", target_column(c), " AS ", wanted(c));
    for (const int c : route_.key) key += cat(key.empty() ? "" : ", ", wanted(static_cast<std::size_t>(c)));
    return cat("CREATE TEMPORARY TABLE IF NOT EXISTS ", name(), " ON COMMIT DELETE ROWS AS SELECT ", columns,
               " FROM ", target_, " WITH NO DATA; CREATE UNIQUE INDEX IF NOT EXISTS ", name(), "_key ON ",
               want(), " (", key, ")");
  }
  [[nodiscard]] std::string remove() const {
    return cat("DELETE FROM ", target_, " AS t WHERE NOT EXISTS (SELECT FROM ", want(), " AS w WHERE ",
               match(), ")", ours());
  }
  [[nodiscard]] std::string change(bool other_unique) const {
    std::string set;
    bool sets_identity = false;
    for (std::size_t c = 0; c < route_.columns.size(); ++c) {
      if (route_.columns[c].identity_always) {
        sets_identity = sets_identity || !is_key(c);
        continue;
      }
      set += cat(set.empty() ? "" : ", ", target_column(c), " = w.", wanted(c));
    }
    if (other_unique || sets_identity) return reinsert();
    if (set.empty()) return "";
    return cat("UPDATE ", target_, " AS t SET ", set, " FROM ", want(), " AS w WHERE ", match(), ours(),
               " AND ", differs());
  }
  [[nodiscard]] std::string add() const {
    return cat("INSERT INTO ", target_, " (", target_columns(), ") OVERRIDING SYSTEM VALUE SELECT ",
               wanted_of("w"), " FROM ", want(), " AS w WHERE NOT EXISTS (SELECT FROM ", target_,
               " AS t WHERE ", match(), ours(), ")");
  }

 private:
  [[nodiscard]] std::string name() const { return cat("walign_want_", route_.id); }
  // A name that no sensible column has: a target_where beside it means the target's.
  [[nodiscard]] static std::string wanted(std::size_t c) { return cat("\"walign.e", c, "\""); }
  [[nodiscard]] std::string target_column(std::size_t c) const {
    return pg::quote_ident(route_.columns[c].name);
  }
  [[nodiscard]] bool is_key(std::size_t c) const {
    return std::find(route_.key.begin(), route_.key.end(), static_cast<int>(c)) != route_.key.end();
  }
  [[nodiscard]] std::string ours() const {
    return route_.target_where ? cat(" AND (", *route_.target_where, ") IS TRUE") : std::string();
  }
  [[nodiscard]] std::string match() const {
    std::string out;
    for (const int c : route_.key) {
      const auto at = static_cast<std::size_t>(c);
      out += cat(out.empty() ? "" : " AND ", "t.", target_column(at), " ", route_.columns[at].equals, " w.",
                 wanted(at));
    }
    return out;
  }
  [[nodiscard]] std::string target_columns(std::string_view alias = "") const {
    std::string out;
    for (std::size_t c = 0; c < route_.columns.size(); ++c)
      out += cat(c == 0 ? "" : ", ", alias, target_column(c));
    return out;
  }
  [[nodiscard]] std::string wanted_of(std::string_view alias) const {
    std::string out;
    for (std::size_t c = 0; c < route_.columns.size(); ++c)
      out += cat(c == 0 ? "" : ", ", alias, ".", wanted(c));
    return out;
  }
  // As verification compares: by the text of the row, since not every type has an operator for it.
  [[nodiscard]] std::string differs() const {
    return cat("ROW(", wanted_of("w"), ")::pg_catalog.text COLLATE \"C\" <> ROW(", target_columns("t."),
               ")::pg_catalog.text");
  }
  // The sort makes the executor delete all before it inserts the first.
  [[nodiscard]] std::string reinsert() const {
    std::string names = target_columns();
    std::string values = wanted_of("old");
    std::string kept;
    for (const auto& other : route_.other_columns) {
      names += cat(", ", pg::quote_ident(other));
      values += cat(", old.", pg::quote_ident(other));
      kept += cat(", t.", pg::quote_ident(other));
    }
    return cat("WITH old AS (DELETE FROM ", target_, " AS t USING ", want(), " AS w WHERE ", match(), ours(),
               " AND ", differs(), " RETURNING ", wanted_of("w"), kept, ") INSERT INTO ", target_, " (",
               names, ") OVERRIDING SYSTEM VALUE SELECT ", values, " FROM old ORDER BY old.",
               wanted(static_cast<std::size_t>(route_.key.front())));
  }

  const Route& route_;
  const std::string target_;
};

}  // namespace

std::vector<KeyColumn> adopted_key(pg::Connection& target_server, const Route& route, const pg::Table& source,
                                   const pg::Table& target, const std::vector<KeyColumn>& key) {
  if (key.empty() || key.size() != route.key.size()) return {};
  std::vector<std::string> names;
  for (const auto& column : key) {
    const auto* renamed_to = renamed(route, column.name);
    if (renamed_to == nullptr || renamed_to->nullable) return {};
    names.push_back(renamed_to->name);
  }
  auto out = read_key_columns(target_server, target, names);
  for (std::size_t i = 0; i < key.size(); ++i) {
    const auto comparison = key[i].comparison;
    if (comparison == Comparison::ask || out[i].comparison != comparison) return {};
    if (may_be_rounded(comparison, *source.column(key[i].name), *target.column(out[i].name))) return {};
  }
  return out;
}

Adoption make_adoption(const Route& route, std::vector<KeyColumn> key, bool other_unique) {
  WALIGN_CHECK(!route.key.empty());
  if (other_unique) key.clear();
  const Adopting sql(route);
  return {std::move(key), sql.want(), sql.temporary(), sql.remove(), sql.change(other_unique), sql.add()};
}

std::string want_sql(const Route& route, const Adoption& adoption, const std::string& from) {
  std::string values;
  for (const auto& column : route.columns) values += cat(values.empty() ? "" : ", ", column.expression);
  return cat("INSERT INTO ", adoption.want, " SELECT ", values, " FROM ", from, " AS src",
             route.filter ? cat(" WHERE (", *route.filter, ") IS TRUE") : "");
}

Mended mend(pg::Connection& target, const Adoption& adoption, const Range* range) {
  Mended out;
  if (range != nullptr) {
    const bool all = range->everything();
    WALIGN_CHECK(all || !adoption.key.empty());
    const auto its = all ? std::string() : cat(" AND ", range_condition(adoption.key, *range));
    out.removed = target.exec(adoption.remove + its).affected();
  }
  if (!adoption.change.empty()) out.changed = target.exec(adoption.change).affected();
  out.added = target.exec(adoption.add).affected();
  return out;
}

}  // namespace walign::backfill
