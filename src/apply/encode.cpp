// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "encode.hpp"

namespace walign::apply {

struct Encoder::Gathered {
  const mapping::Route* route = nullptr;
  mapping::ColumnSet unchanged;
  std::vector<NetRow> rows;
  std::multimap<std::string, std::size_t> at;  // rows by the key that they have now
};

Encoder::Encoder(Statements& statements) : gathered_(std::make_unique<Gathered>()), statements_(statements) {}
Encoder::~Encoder() = default;

namespace {

// Beyond these a statement gains nothing more from being larger (measured: arrays of about 1,000 rows are near
// the best), and its parameters need memory on both sides.
constexpr std::size_t kMaxRows = 1000;
constexpr std::size_t kMaxBytes = std::size_t{1} << 20U;

// Fills the arrays of one statement from rows, and closes an execution when it is large enough.
class Filling {
 public:
  // `whole`: all rows in one execution, however many.
  Filling(const mapping::Route& route, const mapping::Statement& statement, std::vector<Execution>& out,
          bool whole = false)
      : route_(route),
        statement_(statement),
        out_(out),
        whole_(whole),
        slots_(route.source_columns.size(), -1),
        old_slots_(route.source_columns.size(), -1) {
    int slot = 0;
    for (const int input : statement.inputs) slots_[static_cast<std::size_t>(input)] = slot++;
    for (const int input : statement.old_inputs) old_slots_[static_cast<std::size_t>(input)] = slot++;
    arrays_.resize(static_cast<std::size_t>(slot) + (statement.counts_weights ? 1 : 0));
  }

  void add(const NetRow& row, const v1::Tuple& values) {
    put(*row.binding, values, slots_);
    if (!statement_.old_inputs.empty()) {
      if (row.old_row == nullptr) missing_old_row(*row.binding);
      put(*row.binding, *row.old_row, old_slots_);
    }
    if (statement_.counts_weights) arrays_.back().add(cat(row.weight));
    weight_ += row.weight;
    ++rows_;
    if (!whole_ && (rows_ >= kMaxRows || bytes() >= kMaxBytes)) close();
  }

  void close() {
    if (rows_ == 0) return;
    Execution e;
    e.route = &route_;
    e.statement = &statement_;
    e.count = cat(rows_);
    e.weight = std::exchange(weight_, 0);
    const std::size_t arrays = arrays_.size();
    e.arrays = std::exchange(arrays_, std::vector<pg::TextArray>(arrays));
    rows_ = 0;
    out_.push_back(std::move(e));
  }

 private:
  [[nodiscard]] std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& array : arrays_) sum += array.bytes();
    return sum;
  }

  void put(const Binding& binding, const v1::Tuple& tuple, const std::vector<int>& slots) {
    event::for_each_value(tuple, [&](int i, const event::Value& value) {
      const int slot = slots[static_cast<std::size_t>(binding.source_of[static_cast<std::size_t>(i)])];
      if (slot < 0) return;
      auto& array = arrays_[static_cast<std::size_t>(slot)];
      switch (value.state) {
        case event::State::null: array.add_null(); return;
        case event::State::value:
          WALIGN_CHECK(!value.binary);  // never asked for
          array.add(value.bytes);
          return;
        case event::State::unchanged_toast:
        case event::State::not_sent: missing_value(binding, binding.source_of[static_cast<std::size_t>(i)]);
      }
    });
  }

  // A way back was made for whole old rows, and this table, a partition made since then, say, does not send them.
  [[noreturn]] void missing_old_row(const Binding& binding) const {
    throw Error(ErrorKind::conflict,
                cat(route_.label(), ": the old row is needed to tell what changed, and ",
                    relation_name(binding), " does not send it"),
                cat("ALTER TABLE ", pg::qualified(binding.relation->schema(), binding.relation->name()),
                    " REPLICA IDENTITY FULL, for later changes"));
  }

  const mapping::Route& route_;
  const mapping::Statement& statement_;
  std::vector<Execution>& out_;
  const bool whole_;
  std::vector<int> slots_;  // by source column; -1: not in this statement
  std::vector<int> old_slots_;
  std::vector<pg::TextArray> arrays_;
  std::size_t rows_ = 0;
  std::uint64_t weight_ = 0;
};

void encode_removes(const RouteRows& table, Statements& statements, std::vector<Execution>& out) {
  std::optional<Filling> filling;
  for (NetRow row : table.rows) {
    if (row.net != Net::remove && row.net != Net::replace) continue;
    if (!filling) filling.emplace(*table.route, statements.remove(*table.route), out);
    // A replaced row counts once: as the insert that follows.
    if (row.net == Net::replace) row.weight = 0;
    filling->add(row, *row.old_row);
  }
  if (filling) filling->close();
}

void encode_updates(const RouteRows& table, Updates how, Statements& statements,
                    std::vector<Execution>& out) {
  std::map<mapping::ColumnSet, Filling> by_columns;
  Filling* whole = nullptr;  // of rows that have every value, as most have
  for (const NetRow& row : table.rows) {
    if (row.net != Net::update) continue;
    const bool is_whole = !has_unchanged(*row.row);
    if (is_whole && whole != nullptr) {
      whole->add(row, *row.row);
      continue;
    }
    auto unchanged = unchanged_columns(*row.binding, *row.row);
    auto found = by_columns.find(unchanged);
    if (found == by_columns.end()) {
      const auto& statement = how == Updates::reinserted ? statements.replace(*table.route, unchanged, false)
                                                         : statements.update(*table.route, unchanged);
      found = by_columns
                  .try_emplace(std::move(unchanged), *table.route, statement, out, how == Updates::reinserted)
                  .first;
    }
    if (is_whole) whole = &found->second;
    found->second.add(row, *row.row);
  }
  for (auto& [unchanged, filling] : by_columns) filling.close();
}

bool is_inserted(const NetRow& row) { return row.net == Net::insert || row.net == Net::replace; }

void encode_inserts(const RouteRows& table, Statements& statements, std::vector<Execution>& out) {
  std::optional<Filling> filling;
  for (const NetRow& row : table.rows) {
    if (!is_inserted(row)) continue;
    if (!filling) filling.emplace(*table.route, statements.insert(*table.route), out);
    filling->add(row, *row.row);
  }
  if (filling) filling->close();
}

}  // namespace

template <class Make>
const mapping::Statement& Statements::get(Kind kind, const mapping::Route& route,
                                          const mapping::ColumnSet& unchanged, Make make) {
  const auto key = std::tuple(kind, route.id, unchanged);
  const auto found = made_.find(key);
  return found != made_.end() ? found->second : made_.emplace(key, make()).first->second;
}

const mapping::Statement& Statements::insert(const mapping::Route& route) {
  return get(Kind::insert, route, {}, [&] { return mapping::insert_statement(route); });
}
const mapping::Statement& Statements::remove(const mapping::Route& route) {
  return get(Kind::remove, route, {}, [&] { return mapping::delete_statement(route); });
}
const mapping::Statement& Statements::update(const mapping::Route& route,
                                             const mapping::ColumnSet& unchanged) {
  return get(Kind::update, route, unchanged, [&] { return mapping::update_statement(route, unchanged); });
}
const mapping::Statement& Statements::key_change(const mapping::Route& route,
                                                 const mapping::ColumnSet& unchanged) {
  return get(Kind::key_change, route, unchanged,
             [&] { return mapping::key_change_statement(route, unchanged); });
}
const mapping::Statement& Statements::replace(const mapping::Route& route,
                                              const mapping::ColumnSet& unchanged, bool keys) {
  return get(keys ? Kind::replace_keys : Kind::replace, route, unchanged,
             [&] { return mapping::replace_statement(route, unchanged, keys); });
}

const CopyInto* Statements::copy(const mapping::Route& route) {
  auto found = copies_.find(route.id);
  if (found == copies_.end()) found = copies_.emplace(route.id, copy_into(route)).first;
  return found->second ? &*found->second : nullptr;
}

bool Encoder::copy_inserts(const RouteRows& table, std::vector<Execution>& out) {
  const auto inserts = std::count_if(table.rows.begin(), table.rows.end(), is_inserted);
  if (static_cast<std::size_t>(inserts) < copy_from_) return false;
  const CopyInto* into = statements_.copy(*table.route);
  if (into == nullptr) return false;
  CopyRows rows(*table.route, *into);
  Execution e;
  e.route = table.route;
  e.sql = into->sql;
  e.count = cat(inserts);
  for (const NetRow& row : table.rows) {
    if (!is_inserted(row)) continue;
    rows.add(*row.binding, *row.row);
    e.weight += row.weight;
  }
  e.copy = rows.take();
  out.push_back(std::move(e));
  return true;
}

void Encoder::rows(const RowsStep& step, Updates updates, std::vector<Execution>& out,
                   std::map<int, std::uint64_t>& cancelled) {
  finish(out);
  for (const auto& table : step.routes) {
    for (const auto& row : table.rows) {
      if (row.net == Net::nothing) cancelled[table.route->id] += row.weight;
    }
    encode_removes(table, statements_, out);
    encode_updates(table, updates, statements_, out);
    if (!copy_inserts(table, out)) encode_inserts(table, statements_, out);
  }
}

// Whether the row that moves now is the one that an earlier change left under this key: the source may have had two
// of them for a moment (a DEFERRABLE key). Where every value is equal it does not matter which one it is.
bool Encoder::is_same_row(const v1::Tuple& old_row, const v1::Tuple& earlier) {
  std::vector<event::Value> values(static_cast<std::size_t>(earlier.lengths_size()));
  event::for_each_value(earlier,
                        [&](int i, const event::Value& v) { values[static_cast<std::size_t>(i)] = v; });
  bool same = true;
  event::for_each_value(old_row, [&](int i, const event::Value& v) {
    const auto& other = values.at(static_cast<std::size_t>(i));
    const bool known = v.state == event::State::value || v.state == event::State::null;
    if (known && other.state != event::State::unchanged_toast) {
      same = same && v.state == other.state && v.bytes == other.bytes;
    }
  });
  return same;
}

void Encoder::gather(const SingleChange& change, std::vector<Execution>& out) {
  auto unchanged = unchanged_columns(*change.binding, *change.row);
  if (gathered_->route != change.binding->route || gathered_->unchanged != unchanged) finish(out);
  gathered_->route = change.binding->route;
  gathered_->unchanged = std::move(unchanged);
  const auto old_key = key_bytes(*change.binding, *change.old_row);
  const auto new_key = key_bytes(*change.binding, *change.row);
  const auto [first, last] = gathered_->at.equal_range(old_key.value_or(""));
  for (auto entry = first; entry != last; ++entry) {
    const std::size_t index = entry->second;
    auto& row = gathered_->rows[index];
    if (row.binding != change.binding || !is_same_row(*change.old_row, *row.row)) continue;
    row.row = change.row;
    ++row.weight;
    gathered_->at.erase(entry);
    gathered_->at.emplace(new_key.value_or(""), index);
    return;
  }
  gathered_->at.emplace(new_key.value_or(""), gathered_->rows.size());
  gathered_->rows.push_back({Net::update, change.binding, change.row, change.old_row, 1});
}

void Encoder::finish(std::vector<Execution>& out) {
  const auto rows = std::exchange(gathered_->rows, {});
  gathered_->at.clear();
  if (rows.empty()) return;
  Filling filling(*gathered_->route, statements_.replace(*gathered_->route, gathered_->unchanged, true), out,
                  true);
  for (const auto& row : rows) filling.add(row, *row.row);
  filling.close();
}

void Encoder::single(const SingleChange& change, Updates how, std::vector<Execution>& out) {
  if (change.kind == SingleChange::Kind::key_change && how == Updates::reinserted) return gather(change, out);
  finish(out);
  const auto& route = *change.binding->route;
  const NetRow row{Net::update, change.binding, change.row, change.old_row, 1};
  const auto fill = [&](const mapping::Statement& statement, const v1::Tuple& values) {
    Filling filling(route, statement, out);
    filling.add(row, values);
    filling.close();
  };
  switch (change.kind) {
    case SingleChange::Kind::insert: fill(statements_.insert(route), *change.row); return;
    case SingleChange::Kind::remove: fill(statements_.remove(route), *change.old_row); return;
    case SingleChange::Kind::update:
      fill(statements_.update(route, unchanged_columns(*change.binding, *change.row)), *change.row);
      return;
    case SingleChange::Kind::key_change:
      fill(statements_.key_change(route, unchanged_columns(*change.binding, *change.row)), *change.row);
      return;
  }
}

namespace {

Execution truncation(const Binding& binding, const std::optional<std::string>& sql, std::uint64_t weight) {
  if (!sql) {
    throw Error(
        ErrorKind::conflict,
        cat(binding.route->label(), ": TRUNCATE of ", relation_name(binding),
            " cannot be applied: which target rows came from it cannot be told"),
        binding.route->sole_writer
            ? "delete its rows on the source with DELETE, or TRUNCATE the whole table; this one can be "
              "passed "
              "by hand: delete the rows on the target, and start again past it"
            : "say which rows of the target are this table's with target_where: in its rule, then run again");
  }
  Execution e;
  e.route = binding.route;
  e.sql = *sql;
  e.weight = weight;
  return e;
}

}  // namespace

void Encoder::truncate(const TruncateStep& step, std::vector<Execution>& out) {
  finish(out);
  std::vector<std::pair<const mapping::Route*, std::vector<const Binding*>>> routes;
  for (const Binding* binding : step.bindings) {
    auto found = std::find_if(routes.begin(), routes.end(),
                              [&](const auto& entry) { return entry.first == binding->route; });
    if (found == routes.end()) found = routes.insert(routes.end(), {binding->route, {}});
    found->second.push_back(binding);
  }
  // Where foreign keys are enforced, rows that refer must go before those that are referred to.
  std::stable_partition(routes.begin(), routes.end(),
                        [](const auto& entry) { return !entry.first->target_referenced; });
  for (const auto& [route, bindings] : routes) {
    const bool whole = bindings.front()->leaf == nullptr || bindings.size() == route->leaves.size();
    if (whole) {
      out.push_back(truncation(*bindings.front(), mapping::truncate_sql(*route, step.restart_identity),
                               bindings.size()));
      continue;
    }
    for (const Binding* binding : bindings) {
      out.push_back(truncation(*binding, mapping::truncate_leaf_sql(*route, binding->leaf->constraint), 1));
    }
  }
}

}  // namespace walign::apply
