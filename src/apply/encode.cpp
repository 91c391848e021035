// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "encode.hpp"

namespace walign::apply {

namespace {

// Beyond these a statement gains nothing more from being larger (measured: arrays of about 1,000 rows are near
// the best), and its parameters need memory on both sides.
constexpr std::size_t kMaxRows = 1000;
constexpr std::size_t kMaxBytes = std::size_t{1} << 20U;

// Fills the arrays of one statement from rows, and closes an execution when it is large enough.
class Filling {
 public:
  Filling(const mapping::Route& route, const mapping::Statement& statement, std::vector<Execution>& out)
      : route_(route),
        statement_(statement),
        out_(out),
        slots_(route.source_columns.size(), -1),
        old_slots_(route.source_columns.size(), -1) {
    int slot = 0;
    for (const int input : statement.inputs) slots_[static_cast<std::size_t>(input)] = slot++;
    for (const int input : statement.old_inputs) old_slots_[static_cast<std::size_t>(input)] = slot++;
    arrays_.resize(static_cast<std::size_t>(slot) + (statement.counts_weights ? 1 : 0));
  }

  void add(const NetRow& row, const v1::Tuple& values) {
    put(*row.binding, values, slots_);
    if (!statement_.old_inputs.empty()) put(*row.binding, *row.old_row, old_slots_);
    if (statement_.counts_weights) arrays_.back().add(cat(row.weight));
    weight_ += row.weight;
    if (++rows_ >= kMaxRows || bytes() >= kMaxBytes) close();
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
        case event::State::not_sent: missing(binding, i);
      }
    });
  }

  [[noreturn]] void missing(const Binding& binding, int column) const {
    throw Error(ErrorKind::conflict,
                cat(route_.label(), ": the value of ", binding.relation->columns(column).name(),
                    " is needed and was not sent"),
                cat("ALTER TABLE ", pg::qualified(route_.source.schema, route_.source.name),
                    " REPLICA IDENTITY FULL"));
  }

  const mapping::Route& route_;
  const mapping::Statement& statement_;
  std::vector<Execution>& out_;
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
  for (const NetRow& row : table.rows) {
    if (row.net != Net::update) continue;
    auto unchanged = unchanged_columns(*row.binding, *row.row);
    auto found = by_columns.find(unchanged);
    if (found == by_columns.end()) {
      const auto& statement = how == Updates::reinserted && !table.route->filter
                                  ? statements.replace(*table.route, unchanged)
                                  : statements.update(*table.route, unchanged);
      found = by_columns.try_emplace(std::move(unchanged), *table.route, statement, out).first;
    }
    found->second.add(row, *row.row);
  }
  for (auto& [unchanged, filling] : by_columns) filling.close();
}

void encode_inserts(const RouteRows& table, Statements& statements, std::vector<Execution>& out) {
  std::optional<Filling> filling;
  for (const NetRow& row : table.rows) {
    if (row.net != Net::insert && row.net != Net::replace) continue;
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
                                              const mapping::ColumnSet& unchanged) {
  return get(Kind::replace, route, unchanged, [&] { return mapping::replace_statement(route, unchanged); });
}

void Encoder::rows(const RowsStep& step, Updates updates, std::vector<Execution>& out,
                   std::map<int, std::uint64_t>& cancelled) {
  for (const auto& table : step.routes) {
    for (const auto& row : table.rows) {
      if (row.net == Net::nothing) cancelled[table.route->id] += row.weight;
    }
    encode_removes(table, statements_, out);
    encode_updates(table, updates, statements_, out);
    encode_inserts(table, statements_, out);
  }
}

void Encoder::single(const SingleChange& change, std::vector<Execution>& out) {
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

void Encoder::truncate(const TruncateStep& step, std::vector<Execution>& out) {
  for (const Binding* binding : step.bindings) {
    const auto& route = *binding->route;
    const auto sql = binding->leaf == nullptr ? mapping::truncate_sql(route, step.restart_identity)
                                              : mapping::truncate_leaf_sql(route, binding->leaf->constraint);
    if (!sql) {
      throw Error(
          ErrorKind::conflict,
          cat(route.label(), ": TRUNCATE of ", binding->relation->schema(), ".", binding->relation->name(),
              " cannot be applied: which target rows came from it cannot be told"),
          "say which rows of the target are this table's with target_where: in its rule, then run again");
    }
    Execution e;
    e.route = &route;
    e.sql = *sql;
    e.weight = 1;
    out.push_back(std::move(e));
  }
}

}  // namespace walign::apply
