// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "compare.hpp"

#include "shown.hpp"

namespace walign::verify {

namespace {

using Difference = v1::Difference;
using Text = std::optional<std::string>;

Text text_at(const pg::Result& r, int row, int column) {
  return r.is_null(row, column) ? Text() : Text(r.str(row, column));
}

Key key_at(const pg::Result& r, int row, int first, std::size_t columns) {
  Key key;
  for (std::size_t i = 0; i < columns; ++i) key.push_back(r.str(row, first + static_cast<int>(i)));
  return key;
}

// A key that cannot be kept is not: then only a comparison of all rows tells what became of it.
void set_source_key(Difference& difference, const Key& key) {
  if (!std::all_of(key.begin(), key.end(), [](const auto& value) { return is_utf8(value); })) return;
  for (const auto& value : key) difference.add_source_key(value);
}

// What a difference says, from a row of either side (null: it is not there).
class Describing {
 public:
  explicit Describing(const Plan& plan) : plan_(plan) {}

  Difference difference(const std::vector<Text>* source, const std::vector<Text>* target) const {
    Difference out;
    const auto& columns = plan_.route->columns;
    bool only_lookups = !plan_.lookups.empty();
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const auto& name = columns[i].name;
      const bool in_key = std::find(plan_.route->key.begin(), plan_.route->key.end(), static_cast<int>(i)) !=
                          plan_.route->key.end();
      if (in_key) set(*out.add_key(), name, source, target, i);
      if (source != nullptr && target != nullptr && (*source)[i] == (*target)[i]) continue;
      set(*out.add_columns(), name, source, target, i);
      only_lookups =
          only_lookups && std::find(plan_.lookups.begin(), plan_.lookups.end(), name) != plan_.lookups.end();
    }
    out.set_kind(source == nullptr   ? Difference::EXTRA
                 : target == nullptr ? Difference::MISSING
                 : only_lookups      ? Difference::LOOKUP
                                     : Difference::DIFFERENT);
    return out;
  }

 private:
  static void set(Difference::Value& value, const std::string& name, const std::vector<Text>* source,
                  const std::vector<Text>* target, std::size_t i) {
    value.set_column(shown(name));
    if (source != nullptr && (*source)[i]) value.set_source(shown(*(*source)[i]));
    if (target != nullptr && (*target)[i]) value.set_target(shown(*(*target)[i]));
  }
  const Plan& plan_;
};

}  // namespace

void Comparer::prepare() {
  if (plan_.way == Way::hashes) return;
  for (const auto& table : plan_.sql.tables) target_.exec(table);
}

void Comparer::begin_pass() {
  if (plan_.way != Way::mapped) return;
  for (const auto& sql : plan_.sql.forget_claimed) target_.exec(sql);
}

void Comparer::range(const Range& range, Found& found) {
  const auto on_source =
      plan_.key.empty() ? std::string("true") : range_condition(plan_, Side::source, range);
  switch (plan_.way) {
    case Way::hashes: return by_hashes(on_source, range_condition(plan_, Side::target, range), found);
    case Way::content: return content(found);
    case Way::mapped:
      bring(on_source);
      joined(found);
      if (plan_.tells_extras) target_.exec(plan_.sql.claim);
  }
}

void Comparer::keys(const std::vector<Key>& keys, Found& found) {
  if (plan_.way == Way::hashes) {
    return by_hashes(keys_condition(plan_, Side::source, keys), keys_condition(plan_, Side::target, keys),
                     found);
  }
  bring(keys_condition(plan_, Side::source, keys));
  joined(found);
  if (!plan_.tells_extras || !plan_.keys_map) return;
  ask(keys);
  take_extras(target_.exec(plan_.sql.extra_in_asked), found);
}

void Comparer::extras(const std::vector<Key>& changed, Found& found) {
  if (!extras_at_the_end()) return;
  ask(changed);
  // All rows of two tables: sorted or hashed, whatever suits.
  target_.exec(
      "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_seqscan = on");
  take_extras(target_.exec(plan_.sql.extra_in_all), found);
}

// ------------------------------------------------------------------------- each side hashes its own rows

std::map<Key, std::string> Comparer::hashes(Side side, const std::string& condition) {
  const auto& columns = side == Side::source ? plan_.source_columns : plan_.target_columns;
  std::string names;
  for (const auto& k : plan_.key)
    names += cat(pg::quote_ident(side == Side::source ? k.source : k.target), ", ");
  auto& connection = side == Side::source ? source_ : target_;
  const auto& where = plan_.route->target_where;
  const auto r = connection.exec(
      cat("SELECT ", names, mapping::row_hash(columns), " FROM ",
          side == Side::source ? plan_.source_table() : plan_.target_table(), " WHERE ", condition,
          side == Side::target && where ? cat(" AND (", *where, ")") : std::string()));
  std::map<Key, std::string> out;
  const auto width = plan_.key.size();
  for (int i = 0; i < r.rows(); ++i) out.emplace(key_at(r, i, 0, width), r.str(i, static_cast<int>(width)));
  return out;
}

Comparer::Rows Comparer::rows(Side side, const std::vector<Key>& keys) {
  const auto& columns = side == Side::source ? plan_.source_columns : plan_.target_columns;
  std::string names;
  for (const auto& k : plan_.key)
    names += cat(pg::quote_ident(side == Side::source ? k.source : k.target), ", ");
  auto& connection = side == Side::source ? source_ : target_;
  const auto& where = plan_.route->target_where;
  const auto r =
      connection.exec(cat("SELECT ", names, join(columns, ", "), " FROM ",
                          side == Side::source ? plan_.source_table() : plan_.target_table(), " WHERE ",
                          keys_condition(plan_, side, keys),
                          side == Side::target && where ? cat(" AND (", *where, ")") : std::string()));
  Rows out;
  for (int i = 0; i < r.rows(); ++i) {
    Row row;
    for (int c = static_cast<int>(plan_.key.size()); c < r.columns(); ++c)
      row.values.push_back(text_at(r, i, c));
    out.emplace(key_at(r, i, 0, plan_.key.size()), std::move(row));
  }
  return out;
}

void Comparer::look_at(const std::vector<Key>& differing, Found& found) {
  constexpr std::size_t kAtOnce = 200;
  const Describing describe(plan_);
  for (std::size_t from = 0; from < differing.size(); from += kAtOnce) {
    if (found.kept.size() >= static_cast<std::size_t>(kMostKept)) return;
    const auto first = differing.begin() + static_cast<std::ptrdiff_t>(from);
    const std::vector<Key> some(
        first, first + static_cast<std::ptrdiff_t>(std::min(kAtOnce, differing.size() - from)));
    const auto on_source = rows(Side::source, some);
    const auto on_target = rows(Side::target, some);
    for (const auto& key : some) {
      const auto s = on_source.find(key);
      const auto t = on_target.find(key);
      auto difference = describe.difference(s == on_source.end() ? nullptr : &s->second.values,
                                            t == on_target.end() ? nullptr : &t->second.values);
      set_source_key(difference, key);
      found.add(std::move(difference));
    }
  }
}

void Comparer::by_hashes(const std::string& on_source, const std::string& on_target, Found& found) {
  const auto sum = [&](Side side, const std::string& condition) {
    const auto& columns = side == Side::source ? plan_.source_columns : plan_.target_columns;
    const auto& where = plan_.route->target_where;
    return cat("SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(", mapping::row_hash(columns),
               "), 0) FROM ", side == Side::source ? plan_.source_table() : plan_.target_table(), " WHERE ",
               condition, side == Side::target && where ? cat(" AND (", *where, ")") : std::string());
  };
  const auto a = source_.exec(sum(Side::source, on_source));
  const auto b = target_.exec(sum(Side::target, on_target));
  found.rows += a.integer(0, 0);
  if (a.text(0, 0) == b.text(0, 0) && a.text(0, 1) == b.text(0, 1)) return;
  const auto of_source = hashes(Side::source, on_source);
  const auto of_target = hashes(Side::target, on_target);
  std::vector<Key> differing;
  for (const auto& [key, hash] : of_source) {
    const auto other = of_target.find(key);
    if (other == of_target.end() || other->second != hash) differing.push_back(key);
  }
  for (const auto& [key, hash] : of_target) {
    if (!of_source.contains(key)) differing.push_back(key);
  }
  found.differences += static_cast<std::int64_t>(differing.size());
  look_at(differing, found);
}

// ------------------------------------------------------------------------------- mapped on the target

void Comparer::bring(const std::string& condition) {
  pg::CopyOut out(source_, cat("COPY (SELECT ", join(plan_.sql.source_columns, ", "), " FROM ",
                               plan_.source_table(), " WHERE ", condition, ") TO STDOUT"));
  pg::CopyIn in(target_, cat("COPY ", plan_.sql.rows, " FROM STDIN"));
  while (const auto piece = out.next()) in.write(*piece);
  in.finish();
  target_.exec(plan_.sql.map);
}

void Comparer::ask(const std::vector<Key>& keys) {
  if (plan_.sql.asked.empty() || !plan_.keys_map || keys.empty()) return;
  std::string names;
  std::string arrays;
  std::string values;
  std::vector<pg::TextArray> columns(plan_.key.size());
  for (std::size_t i = 0; i < plan_.key.size(); ++i) {
    const std::string_view comma = i == 0 ? "" : ", ";
    names += cat(comma, pg::quote_ident(plan_.key[i].source));
    arrays += cat(comma, "$", i + 1, "::pg_catalog.text[]");
    values += cat(comma, "u.c", i, "::", plan_.key[i].source_type);
    for (const auto& key : keys) columns[i].add(key[i]);
  }
  std::string aliases;
  for (std::size_t i = 0; i < plan_.key.size(); ++i) aliases += cat(i == 0 ? "" : ", ", "c", i);
  std::vector<pg::Param> params;
  for (auto& column : columns) params.push_back(column.param());
  target_.query_params(cat("INSERT INTO ", plan_.sql.asked, " (", names, ") SELECT ", values,
                           " FROM pg_catalog.unnest(", arrays, ") AS u(", aliases, ")"),
                       params);
  target_.exec(plan_.sql.ask);
}

void Comparer::joined(Found& found) {
  const auto count = target_.exec(cat("SELECT pg_catalog.count(*) FROM ", plan_.sql.rows));
  found.rows += count.integer(0, 0);
  const auto r = target_.exec(plan_.sql.differing);
  if (r.rows() == 0) return;
  const int keys = static_cast<int>(plan_.key.size());
  const int width = static_cast<int>(plan_.route->columns.size());
  found.differences += r.integer(0, 1 + keys + 2 * width);
  const Describing describe(plan_);
  for (int i = 0; i < r.rows(); ++i) {
    std::vector<Text> wanted;
    std::vector<Text> there;
    for (int c = 0; c < width; ++c) {
      wanted.push_back(text_at(r, i, 1 + keys + c));
      there.push_back(text_at(r, i, 1 + keys + width + c));
    }
    auto difference = describe.difference(&wanted, r.text(i, 0) == "m" ? nullptr : &there);
    set_source_key(difference, key_at(r, i, 1, plan_.key.size()));
    found.add(std::move(difference));
  }
}

void Comparer::take_extras(const pg::Result& r, Found& found) {
  if (r.rows() == 0) return;
  const int width = static_cast<int>(plan_.route->columns.size());
  found.differences += r.integer(0, width);
  const Describing describe(plan_);
  for (int i = 0; i < r.rows(); ++i) {
    std::vector<Text> there;
    for (int c = 0; c < width; ++c) there.push_back(text_at(r, i, c));
    auto difference = describe.difference(nullptr, &there);
    if (plan_.keys_are_copies) {
      Key key;
      for (const auto& k : plan_.key) {
        for (int c = 0; c < width; ++c) {
          if (plan_.route->columns[static_cast<std::size_t>(c)].name == k.target) key.push_back(r.str(i, c));
        }
      }
      set_source_key(difference, key);
    }
    found.add(std::move(difference));
  }
}

void Comparer::content(Found& found) {
  if (!plan_.tells_extras) return;
  bring("true");
  const auto wanted = target_.exec(plan_.sql.sum_wanted);
  target_.exec("SET LOCAL enable_seqscan = on");
  const auto there = target_.exec(plan_.sql.sum_there);
  found.rows += wanted.integer(0, 0);
  if (wanted.text(0, 0) == there.text(0, 0) && wanted.text(0, 1) == there.text(0, 1)) return;
  found.differences += 1;
  Difference difference;
  difference.set_kind(Difference::CONTENT);
  for (int c = 0; c < 2; ++c) {
    auto& value = *difference.add_columns();
    value.set_column(c == 0 ? "number of rows" : "sum of hashes");
    value.set_source(wanted.str(0, c));
    value.set_target(there.str(0, c));
  }
  found.add(std::move(difference));
}

}  // namespace walign::verify
