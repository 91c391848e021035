// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "event_json.hpp"

#include <nlohmann/json.hpp>

#include "text.hpp"
#include "walign/service.hpp"

namespace walign::cli {

namespace {

using Json = nlohmann::ordered_json;

// Whether a JSON string can hold it.
bool is_text(std::string_view bytes) {
  try {
    (void)Json(bytes).dump();
    return true;
  } catch (const Json::type_error&) {
    return false;
  }
}

Json text_json(std::string_view bytes) { return is_text(bytes) ? Json(bytes) : Json{{"hex", hex(bytes)}}; }

Json value_json(const event::Value& value) {
  if (value.state == event::State::null) return nullptr;
  if (value.binary) return {{"hex", hex(value.bytes)}};
  return text_json(value.bytes);
}

std::string table_of(const v1::Relation& relation) { return cat(relation.schema(), ".", relation.name()); }

struct RowJson {
  Json values = Json::object();
  Json unchanged = Json::array();
};

RowJson row_json(const v1::Tuple& row, const v1::Relation& relation) {
  RowJson out;
  event::for_each_value(row, [&](int i, const event::Value& value) {
    const auto& name = relation.columns(i).name();
    if (value.state == event::State::unchanged_toast) {
      out.unchanged.push_back(name);
    } else if (value.state != event::State::not_sent) {
      out.values[name] = value_json(value);
    }
  });
  return out;
}

Json relation_json(const v1::Relation& relation) {
  static const char* const identities[] = {"unknown", "default", "nothing", "full", "index"};
  Json columns = Json::array();
  for (const auto& column : relation.columns()) {
    columns.push_back({{"name", column.name()},
                       {"type", cat(column.type_schema(), ".", column.type_name())},
                       {"key", column.part_of_identity()}});
  }
  return {{"op", "relation"},
          {"table", table_of(relation)},
          {"oid", relation.oid()},
          {"identity", identities[relation.replica_identity()]},
          {"columns", std::move(columns)}};
}

Json row_change_json(const v1::Change& change, const v1::Relation& relation) {
  static const std::map<v1::Change::Kind, const char*> names = {
      {v1::Change::INSERT, "insert"}, {v1::Change::UPDATE, "update"}, {v1::Change::DELETE, "delete"}};
  Json out = {{"op", names.at(change.kind())}, {"table", table_of(relation)}};
  if (change.has_old_row()) {
    out[change.old_row_is_key() ? "key" : "old"] = row_json(change.old_row(), relation).values;
  }
  if (change.has_new_row()) {
    auto row = row_json(change.new_row(), relation);
    out["new"] = std::move(row.values);
    if (!row.unchanged.empty()) out["unchanged"] = std::move(row.unchanged);
  }
  return out;
}

Json truncate_json(const v1::Truncate& truncate, const event::TransactionPart& part) {
  Json tables = Json::array();
  for (const auto index : truncate.relations()) tables.push_back(table_of(*part.relations().at(index)));
  return {{"op", "truncate"},
          {"tables", std::move(tables)},
          {"cascade", truncate.cascade()},
          {"restart_identity", truncate.restart_identity()}};
}

Json begin_json(const v1::Transaction& tx) {
  Json out = {{"op", "begin"},
              {"xid", tx.xid()},
              {"commit_lsn", Lsn(tx.commit_lsn()).to_string()},
              {"commit_time", service::iso_time(tx.commit_time_us())}};
  if (!tx.gid().empty()) out["gid"] = tx.gid();
  if (!tx.origin().empty()) {
    out["origin"] = tx.origin();
    out["origin_lsn"] = Lsn(tx.origin_lsn()).to_string();
  }
  return out;
}

std::string line(const Json& json) { return json.dump() + "\n"; }

}  // namespace

bool is_past(const source::Item& item, Lsn until) {
  if (!until.valid()) return false;
  if (const auto* progress = std::get_if<source::Progress>(&item)) return progress->lsn >= until;
  const auto& part = std::get<event::TransactionPart>(item);
  return part.first() && part.commit_lsn() >= until;
}

std::string EventLines::lines(const event::TransactionPart& part) {
  std::string out;
  if (part.first()) out += line(begin_json(part.tx()));
  const auto describe = [&](const v1::Relation& relation) {
    std::string text = line(relation_json(relation));
    auto& before = described_[table_of(relation)];
    if (before == text) return;
    out += text;
    before = std::move(text);
  };
  for (const auto& change : part.tx().changes()) {
    if (change.kind() == v1::Change::MESSAGE) {
      out += line({{"op", "message"},
                   {"prefix", change.message().prefix()},
                   {"content", text_json(change.message().content())}});
    } else if (change.kind() == v1::Change::TRUNCATE) {
      out += line(truncate_json(change.truncate(), part));
    } else {
      const auto& relation = *part.relations().at(change.relation());
      describe(relation);
      out += line(row_change_json(change, relation));
    }
  }
  if (part.last()) out += line({{"op", "commit"}, {"end_lsn", part.end_lsn().to_string()}});
  return out;
}

}  // namespace walign::cli
