// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "steps.hpp"

namespace walign::apply {

namespace {

using event::State;

// Open addressing from key bytes to an index; keys are borrowed.
class KeyIndex {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFU;

  // The place for `key`: kNone in it means that it was not there, and the caller stores its index.
  std::uint32_t& find(std::string_view key) {
    if ((used_ + 1) * 2 > slots_.size()) grow();
    const std::size_t hash = std::hash<std::string_view>{}(key);
    Slot& slot = probe(key, hash);
    if (slot.index == kNone && slot.key.data() == nullptr) {
      slot.key = key;
      slot.hash = hash;
      ++used_;
    }
    return slot.index;
  }

 private:
  struct Slot {
    std::string_view key;
    std::size_t hash = 0;
    std::uint32_t index = kNone;
  };

  Slot& probe(std::string_view key, std::size_t hash) {
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
      Slot& slot = slots_[at];
      if (slot.key.data() == nullptr || (slot.hash == hash && slot.key == key)) return slot;
    }
  }

  void grow() {
    std::vector<Slot> old(std::max<std::size_t>(64, slots_.size() * 2));
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key.data() != nullptr) probe(slot.key, slot.hash) = slot;
    }
  }

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

// The value of one column of a tuple; keys tend to stand at its beginning.
event::Value value_at(const v1::Tuple& row, int column) {
  std::size_t at = 0;
  for (int i = 0; i < column; ++i) {
    const std::uint32_t code = row.lengths(i);
    if (code >= event::kFirstLength) at += code - event::kFirstLength;
  }
  const std::uint32_t code = row.lengths(column);
  if (code < event::kFirstLength) return {static_cast<State>(code), {}, false};
  const std::string_view values = row.values();
  return {State::value, values.substr(at, code - event::kFirstLength), false};
}

void append_length(std::string& out, std::size_t length) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>((length >> shift) & 0xFFU);
}

}  // namespace

std::optional<std::string> key_bytes(const Binding& binding, const v1::Tuple& row) {
  const auto& inputs = binding.route->key_inputs;
  std::string out;
  for (const int input : inputs) {
    const auto value = value_at(row, binding.relation_of[static_cast<std::size_t>(input)]);
    if (value.state == State::unchanged_toast || value.state == State::not_sent) return std::nullopt;
    if (inputs.size() > 1) append_length(out, value.state == State::null ? 0xFFFFFFFFU : value.bytes.size());
    out += value.bytes;
  }
  return out;
}

bool has_unchanged(const v1::Tuple& row) {
  return std::find(row.lengths().begin(), row.lengths().end(), event::kUnchangedToast) != row.lengths().end();
}

const v1::Tuple* complete_from(const v1::Tuple& row, const v1::Tuple& other, google::protobuf::Arena& arena) {
  if (!has_unchanged(row)) return &row;
  std::vector<event::Value> values(static_cast<std::size_t>(other.lengths_size()));
  event::for_each_value(other,
                        [&](int i, const event::Value& v) { values[static_cast<std::size_t>(i)] = v; });
  auto* merged = google::protobuf::Arena::CreateMessage<v1::Tuple>(&arena);
  event::for_each_value(row, [&](int i, const event::Value& v) {
    const auto index = static_cast<std::size_t>(i);
    const bool take = v.state == State::unchanged_toast && index < values.size() &&
                      (values[index].state == State::value || values[index].state == State::null);
    event::append_value(*merged, take ? values[index] : v);
  });
  return merged;
}

mapping::ColumnSet unchanged_columns(const Binding& binding, const v1::Tuple& row) {
  mapping::ColumnSet unchanged(binding.route->source_columns.size(), false);
  event::for_each_value(row, [&](int i, const event::Value& value) {
    if (value.state == State::unchanged_toast) {
      unchanged[static_cast<std::size_t>(binding.source_of[static_cast<std::size_t>(i)])] = true;
    }
  });
  return unchanged;
}

SingleChange single_change(const Binding& binding, const v1::Change& change, google::protobuf::Arena& arena) {
  SingleChange out;
  out.binding = &binding;
  if (change.has_new_row()) out.row = &change.new_row();
  if (change.has_old_row()) out.old_row = &change.old_row();
  switch (change.kind()) {
    case v1::Change::INSERT: out.kind = SingleChange::Kind::insert; break;
    case v1::Change::DELETE: out.kind = SingleChange::Kind::remove; break;
    case v1::Change::UPDATE:
      out.kind = SingleChange::Kind::update;
      if (out.old_row != nullptr) {
        out.row = complete_from(*out.row, *out.old_row, arena);
        if (key_bytes(binding, *out.row) != key_bytes(binding, *out.old_row)) {
          out.kind = SingleChange::Kind::key_change;
        }
      }
      break;
    default: WALIGN_CHECK(false);
  }
  return out;
}

struct Compactor::Impl {
  struct Table {
    std::size_t place = 0;  // in rows_.routes
    KeyIndex index;
  };

  Impl(bool strict, const std::vector<mapping::Route>& all) : strict_order(strict) {
    for (const auto& route : all) {
      if (!route.reads.empty() || route.reads_unseen) readers.push_back(&route);
    }
  }

  // Rows of one table come in runs, so the latest is asked first.
  Table& table_of(const mapping::Route& route) {
    if (latest != nullptr && latest_id == route.id) return *latest;
    auto [entry, is_new] = tables.try_emplace(route.id);
    if (is_new) {
      entry->second.place = rows.routes.size();
      rows.routes.push_back({&route, {}});
    }
    latest = &entry->second;
    latest_id = route.id;
    return *latest;
  }
  RouteRows& rows_of(const Table& table) { return rows.routes[table.place]; }
  void forget_tables() {
    tables.clear();
    latest = nullptr;
  }

  void cut() {
    if (rows.routes.empty()) return;
    steps.emplace_back(std::move(rows));
    rows = RowsStep();
    forget_tables();
  }

  // Whether this route's rows and those gathered so far may not be written in another order.
  bool depends(const mapping::Route& route) const {
    for (const auto& gathered : rows.routes) {
      const bool unseen = route.reads_unseen || gathered.route->reads_unseen;
      if (unseen && gathered.route->target != route.target) return true;
      if (route.reads.contains(gathered.route->target) || gathered.route->reads.contains(route.target))
        return true;
    }
    return false;
  }

  static Net first(SingleChange::Kind kind) {
    switch (kind) {
      case SingleChange::Kind::insert: return Net::insert;
      case SingleChange::Kind::remove: return Net::remove;
      default: return Net::update;
    }
  }

  // The table at the top of steps.hpp; nullopt is "cut".
  static std::optional<Net> next(Net before, SingleChange::Kind change) {
    switch (change) {
      case SingleChange::Kind::insert:
        if (before == Net::remove) return Net::replace;
        if (before == Net::nothing) return Net::insert;
        return std::nullopt;
      case SingleChange::Kind::update:
        if (before == Net::remove || before == Net::nothing) return std::nullopt;
        return before;
      case SingleChange::Kind::remove:
        if (before == Net::insert) return Net::nothing;
        if (before == Net::update || before == Net::replace) return Net::remove;
        return std::nullopt;
      case SingleChange::Kind::key_change: return std::nullopt;
    }
    return std::nullopt;
  }

  // False where the change must begin a new step.
  bool merge(NetRow& row, const SingleChange& change) {
    if (row.binding != change.binding) return false;
    const auto net = next(row.net, change.kind);
    if (!net) return false;
    if (change.kind == SingleChange::Kind::remove) {
      if (row.net != Net::replace) row.old_row = change.old_row;
      row.row = nullptr;
    } else if (change.kind == SingleChange::Kind::update) {
      row.row = complete_from(*change.row, *row.row, *arena);
    } else {
      row.row = change.row;
    }
    row.net = *net;
    ++row.weight;
    return true;
  }

  bool must_cut_before(const SingleChange& change) const {
    const auto& route = *change.binding->route;
    if (strict_order && !rows.routes.empty()) {
      const auto& last = rows.routes.back();
      if (last.route != &route || last.rows.empty() || last.rows.back().net != first(change.kind))
        return true;
    }
    return !readers.empty() && depends(route);
  }

  void append(RouteRows& into, const SingleChange& change) {
    into.rows.push_back({first(change.kind), change.binding, change.row, change.old_row, 1});
  }

  void add(const SingleChange& change) {
    if (change.kind == SingleChange::Kind::key_change) {
      cut();
      steps.emplace_back(change);
      return;
    }
    const auto& route = *change.binding->route;
    if (must_cut_before(change)) cut();
    if (route.key.empty()) {
      append(rows_of(table_of(route)), change);
      return;
    }
    const v1::Tuple& keyed = change.row != nullptr ? *change.row : *change.old_row;
    auto key = key_bytes(*change.binding, keyed);
    if (!key) {
      throw Error(ErrorKind::conflict, cat(route.label(), ": a change does not carry the row's key"),
                  "check the source table's replica identity: `walign preflight`");
    }
    keys.push_back(std::move(*key));
    const std::string_view stored = keys.back();
    Table& table = table_of(route);
    RouteRows& into = rows_of(table);
    std::uint32_t* index = &table.index.find(stored);
    if (*index != KeyIndex::kNone) {
      keys.pop_back();
      if (!strict_order && merge(into.rows[*index], change)) return;
      cut();
      add(change);
      return;
    }
    *index = static_cast<std::uint32_t>(into.rows.size());
    append(into, change);
  }

  const bool strict_order;
  std::vector<const mapping::Route*> readers;
  std::vector<Step> steps;
  RowsStep rows;
  std::map<int, Table> tables;  // by route id, of `rows`
  Table* latest = nullptr;      // in tables
  int latest_id = 0;
  std::deque<std::string> keys;  // what the indexes borrow
  std::unique_ptr<google::protobuf::Arena> arena = std::make_unique<google::protobuf::Arena>();
};

Compactor::Compactor(bool strict_order, const std::vector<mapping::Route>& routes)
    : impl_(std::make_unique<Impl>(strict_order, routes)) {}
Compactor::~Compactor() = default;

void Compactor::add(const SingleChange& change) { impl_->add(change); }

void Compactor::add(TruncateStep truncate) {
  impl_->cut();
  impl_->steps.emplace_back(std::move(truncate));
}

void Compactor::add(QueueStep queued) { impl_->steps.emplace_back(queued); }

std::vector<Step> Compactor::take() {
  impl_->cut();
  impl_->keys.clear();
  return std::exchange(impl_->steps, {});
}

void Compactor::clear() {
  impl_->steps.clear();
  impl_->rows = RowsStep();
  impl_->forget_tables();
  impl_->keys.clear();
  impl_->arena = std::make_unique<google::protobuf::Arena>();
}

google::protobuf::Arena& Compactor::arena() { return *impl_->arena; }
bool Compactor::empty() const { return impl_->steps.empty() && impl_->rows.routes.empty(); }

}  // namespace walign::apply
