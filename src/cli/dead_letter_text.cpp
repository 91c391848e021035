// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "dead_letter_text.hpp"

#include "text.hpp"
#include "walign/event.hpp"
#include "walign/service.hpp"

namespace walign::cli {

namespace {

v1::Transaction parse_event(const apply::DeadLetter& letter) {
  v1::Transaction event;
  const bool readable = event.ParseFromString(letter.event) && event.relations_size() == 1 &&
                        event.changes_size() == 1 && event.changes(0).relation() == 0;
  if (!readable) {
    throw Error(ErrorKind::malformed, cat("the event of dead letter ", letter.id, " cannot be read"),
                "discard it, and mend the row on the target by hand");
  }
  for (const auto* row : {&event.changes(0).new_row(), &event.changes(0).old_row()}) event::validate(*row);
  return event;
}

std::string_view state_text(event::State state) {
  switch (state) {
    case event::State::null: return "null";
    case event::State::unchanged_toast: return "unchanged_toast";
    case event::State::not_sent: return "not_sent";
    case event::State::value: return "value";
  }
  return "";
}

std::string value_text(const event::Value& value) {
  switch (value.state) {
    case event::State::null: return "NULL";
    case event::State::unchanged_toast: return "(unchanged: too long for the event to repeat)";
    case event::State::not_sent: return "(not sent)";
    case event::State::value: break;
  }
  return value.binary ? cat("\\x", hex(value.bytes)) : cat("'", value.bytes, "'");
}

// visit(column, Value) for the columns that both the relation and the row have.
template <class Visit>
void for_each_column(const v1::Relation& relation, const v1::Tuple& row, Visit&& visit) {
  event::for_each_value(row, [&](int i, const event::Value& value) {
    if (i < relation.columns_size()) visit(relation.columns(i), value);
  });
}

std::string row_text(const char* title, const v1::Relation& relation, const v1::Tuple& row) {
  Table columns;
  for_each_column(relation, row, [&](const v1::Column& column, const event::Value& value) {
    columns.add({cat(column.name(), column.part_of_identity() ? " (identity)" : ""), column.type_name(),
                 value_text(value)});
  });
  return cat(title, "\n", columns.text(2));
}

Json row_json(const v1::Relation& relation, const v1::Tuple& row) {
  Json out = Json::array();
  for_each_column(relation, row, [&](const v1::Column& column, const event::Value& value) {
    const bool has_value = value.state == event::State::value;
    out.push_back(
        {{"column", column.name()},
         {"type", column.type_name()},
         {"state", state_text(value.state)},
         {"value", has_value ? Json(value.binary ? cat("\\x", hex(value.bytes)) : std::string(value.bytes))
                             : Json()}});
  });
  return out;
}

std::string what_to_do(const apply::DeadLetter& letter, const std::string& config_option) {
  const std::string walign = cat("  walign", config_option, " dead-letters ");
  std::string out = "\nWhat can be done\n  Mend the cause on the target or in the mapping, then\n";
  out += cat(walign, "retry ", letter.id, "    applies the changes of this key that wait, in their order\n");
  out += cat("  or, where the target's row is right as it is,\n", walign, "discard ", letter.id,
             "  forgets them\n");
  return out;
}

std::string why(const apply::DeadLetter& letter) {
  if (letter.error.empty())
    return cat("waits behind dead letter ", letter.chain, ", which is of the same key");
  return cat(letter.error, letter.sqlstate.empty() ? "" : cat(" (SQLSTATE ", letter.sqlstate, ")"));
}

// In a list the other columns say already which table, operation and key it is, and a line must do.
std::string short_why(const apply::DeadLetter& letter) {
  constexpr std::size_t kMost = 100;
  std::string reason = why(letter);
  const std::string known = cat(letter.route, ": ", letter.operation, " of ", letter.key, ": ");
  if (reason.starts_with(known)) reason.erase(0, known.size());
  reason.erase(std::min(reason.find('\n'), reason.size()));
  if (reason.size() <= kMost) return reason;
  std::size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(reason[end]) & 0xC0U) == 0x80U)
    --end;  // not inside a character
  return reason.substr(0, end) + "...";
}

}  // namespace

std::string dead_letters_table(const std::vector<apply::DeadLetter>& letters) {
  Table table({"id", "table", "key", "operation", "commit", "since", "why"});
  table.right({0});
  for (const auto& letter : letters) {
    table.add({cat(letter.id), letter.route, letter.key, letter.operation, letter.commit_lsn.to_string(),
               letter.created_at, short_why(letter)});
  }
  return table.text();
}

std::string dead_letter_text(const apply::DeadLetter& letter, const std::string& config_option) {
  const auto event = parse_event(letter);
  const auto& relation = event.relations(0);
  const auto& change = event.changes(0);
  Table facts;
  facts.add({"dead letter", cat(letter.id)});
  facts.add({"table", letter.route});
  facts.add({"relation", cat(relation.schema(), ".", relation.name())});
  facts.add({"operation", letter.operation});
  facts.add({"key", letter.key});
  facts.add({"commit", cat(letter.commit_lsn, " at ", service::iso_time(event.commit_time_us()), ", xid ",
                           event.xid())});
  facts.add({"set aside", letter.created_at});
  facts.add({"why", why(letter)});
  std::string out = facts.text();
  if (change.has_old_row()) {
    out += cat("\n", row_text(change.old_row_is_key() ? "Old row's identity" : "Old row", relation,
                              change.old_row()));
  }
  if (change.has_new_row()) out += cat("\n", row_text("New row", relation, change.new_row()));
  return out + what_to_do(letter, config_option);
}

Json dead_letter_json(const apply::DeadLetter& letter, bool with_event) {
  Json out = {{"id", letter.id},
              {"behind", letter.chain == letter.id ? Json() : Json(letter.chain)},
              {"table", letter.route},
              {"key", letter.key},
              {"operation", letter.operation},
              {"commit_lsn", letter.commit_lsn.to_string()},
              {"created_at", letter.created_at},
              {"error", letter.error.empty() ? Json() : Json(letter.error)},
              {"sqlstate", letter.sqlstate.empty() ? Json() : Json(letter.sqlstate)}};
  if (!with_event) return out;
  const auto event = parse_event(letter);
  const auto& change = event.changes(0);
  out["event"] = {
      {"relation", {{"schema", event.relations(0).schema()}, {"name", event.relations(0).name()}}},
      {"xid", event.xid()},
      {"commit_time", service::iso_time(event.commit_time_us())},
      {"old_row", change.has_old_row() ? row_json(event.relations(0), change.old_row()) : Json()},
      {"new_row", change.has_new_row() ? row_json(event.relations(0), change.new_row()) : Json()}};
  return out;
}

}  // namespace walign::cli
