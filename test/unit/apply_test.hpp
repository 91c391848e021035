// Routes, relations and changes made by hand, for tests of apply's pure half.
#pragma once

#include <list>

#include "apply/encode.hpp"
#include "support/catch.hpp"

namespace apply_test {

using namespace walign;
using apply::SingleChange;

inline const std::string kUnchanged = "\x01unchanged";
inline const std::string kNull = "\x01null";
inline const std::string kNotSent = "\x01not sent";

inline v1::Tuple tuple(const std::vector<std::string>& values) {
  v1::Tuple out;
  for (const auto& value : values) {
    event::Value v{event::State::value, value, false};
    if (value == kUnchanged) v = {event::State::unchanged_toast, {}, false};
    if (value == kNull) v = {event::State::null, {}, false};
    if (value == kNotSent) v = {event::State::not_sent, {}, false};
    event::append_value(out, v);
  }
  return out;
}

inline std::string text(const v1::Tuple* row) {
  if (row == nullptr) return "-";
  std::string out;
  event::for_each_value(*row, [&](int i, const event::Value& value) {
    if (i > 0) out += ",";
    switch (value.state) {
      case event::State::null: out += "NULL"; return;
      case event::State::unchanged_toast: out += "?"; return;
      case event::State::not_sent: out += "."; return;
      case event::State::value: out += value.bytes;
    }
  });
  return out;
}

// A route from S.name to S.name with text columns of the same names; the first `keys` of them are the key.
inline mapping::Route route(int id, const std::string& name, const std::vector<std::string>& columns,
                            int keys = 1) {
  mapping::Route out;
  out.id = id;
  out.source = out.target = {"public", name};
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const int index = static_cast<int>(i);
    mapping::SourceColumn source;
    source.name = columns[i];
    source.type_oid = 25;
    source.type_sql = R"("pg_catalog"."text")";
    source.part_of_identity = index < keys;
    source.toastable = true;
    out.source_columns.push_back(source);
    mapping::TargetColumn target;
    target.name = columns[i];
    target.expression = "src." + pg::quote_ident(columns[i]);
    target.base_type_sql = source.type_sql;
    target.inputs = {index};
    target.probed = true;
    out.columns.push_back(target);
    if (index < keys) {
      out.key.push_back(index);
      out.key_inputs.push_back(index);
    }
  }
  return out;
}

inline event::RelationPtr relation(const mapping::Route& of, std::uint32_t oid = 1) {
  auto out = std::make_shared<v1::Relation>();
  out->set_oid(oid);
  out->set_schema(of.source.schema);
  out->set_name(of.source.name);
  out->set_replica_identity(v1::REPLICA_IDENTITY_DEFAULT);
  for (const auto& column : of.source_columns) {
    auto* c = out->add_columns();
    c->set_name(column.name);
    c->set_type_oid(column.type_oid);
    c->set_part_of_identity(column.part_of_identity);
  }
  return out;
}

// Makes changes of one route; keeps what they point to.
class Table {
 public:
  explicit Table(const mapping::Route& of) : relation_(relation(of)) {
    binding_.route = &of;
    binding_.relation = relation_.get();
    for (int i = 0; i < static_cast<int>(of.source_columns.size()); ++i) {
      binding_.source_of.push_back(i);
      binding_.relation_of.push_back(i);
    }
  }
  const apply::Binding& binding() const { return binding_; }

  SingleChange insert(const std::vector<std::string>& row) {
    return change(v1::Change::INSERT, nullptr, &row);
  }
  SingleChange update(const std::vector<std::string>& row) {
    return change(v1::Change::UPDATE, nullptr, &row);
  }
  SingleChange update(const std::vector<std::string>& old_row, const std::vector<std::string>& row) {
    return change(v1::Change::UPDATE, &old_row, &row);
  }
  SingleChange remove(const std::vector<std::string>& old_row) {
    return change(v1::Change::DELETE, &old_row, nullptr);
  }

 private:
  SingleChange change(v1::Change::Kind kind, const std::vector<std::string>* old_row,
                      const std::vector<std::string>* row) {
    v1::Change& out = changes_.emplace_back();
    out.set_kind(kind);
    if (old_row != nullptr) *out.mutable_old_row() = tuple(*old_row);
    if (row != nullptr) *out.mutable_new_row() = tuple(*row);
    return apply::single_change(binding_, out, arena_);
  }

  event::RelationPtr relation_;
  apply::Binding binding_;
  std::list<v1::Change> changes_;
  google::protobuf::Arena arena_;
};

inline std::string name(apply::Net net) {
  static const char* const names[] = {"insert", "update", "replace", "remove", "nothing"};
  return names[static_cast<int>(net)];
}

// One line per step: "t: insert 1,a x2; u: ..." | "key_change t: 1 -> 2,b" | "truncate t".
inline std::vector<std::string> text(const std::vector<apply::Step>& steps) {
  std::vector<std::string> out;
  for (const auto& step : steps) {
    std::string line;
    if (const auto* rows = std::get_if<apply::RowsStep>(&step)) {
      for (const auto& table : rows->routes) {
        line += (line.empty() ? "" : "; ") + table.route->source.name + ":";
        for (const auto& row : table.rows) {
          const bool removed = row.net == apply::Net::remove;
          line += " " + name(row.net) + " " + text(removed ? row.old_row : row.row);
          if (row.net == apply::Net::replace) line += " for " + text(row.old_row);
          if (row.weight != 1) line += " x" + std::to_string(row.weight);
        }
      }
    } else if (const auto* one = std::get_if<SingleChange>(&step)) {
      line = "key_change " + one->binding->route->source.name + ": " + text(one->old_row) + " -> " +
             text(one->row);
    } else if (const auto* truncate = std::get_if<apply::TruncateStep>(&step)) {
      line = "truncate";
      for (const auto* binding : truncate->bindings) line += " " + binding->relation->name();
    } else {
      line = "queue";
    }
    out.push_back(line);
  }
  return out;
}

}  // namespace apply_test
