// Events as text that a person can check: a line per transaction, relation and change.
//
//   transaction 731 part 0 (last) commit 0/15A1 end 0/15D0 time 1700000000000000 origin "x" at 0/AB
//     relation 0 public.plain oid 16390 identity default: id* pg_catalog.int4, name pg_catalog.text
//     INSERT public.plain new (id '1', name NULL)
//
// Values: NULL, unchanged, not-sent, 'text' with \n, \\ and \' escaped, or \x00ff for a binary one.
#pragma once

#include <string>

#include "walign/event.hpp"

namespace event_text {

using namespace walign;

inline void append_hex(std::string& out, char byte) {
  const char* digits = "0123456789abcdef";
  const auto value = static_cast<unsigned char>(byte);
  out += digits[value >> 4U];
  out += digits[value & 15U];
}

inline std::string in_quotes(std::string_view text, char quote) {
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += "\\x";
      append_hex(out, c);
    } else {
      out += c;
    }
  }
  return out + quote;
}

inline std::string hex(std::string_view bytes) {
  std::string out = "\\x";
  for (const char c : bytes) append_hex(out, c);
  return out;
}

// A name as it is, or in double quotes where it has anything but letters, digits and underscores.
inline std::string name(const std::string& text) {
  for (const char c : text) {
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_') return in_quotes(text, '"');
  }
  return text.empty() ? "\"\"" : text;
}

inline std::string table(const v1::Relation& relation) {
  return name(relation.schema()) + "." + name(relation.name());
}

inline std::string value(const event::Value& one) {
  switch (one.state) {
    case event::State::null: return "NULL";
    case event::State::unchanged_toast: return "unchanged";
    case event::State::not_sent: return "not-sent";
    case event::State::value: return one.binary ? hex(one.bytes) : in_quotes(one.bytes, '\'');
  }
  return "?";
}

inline std::string row(const v1::Tuple& tuple, const v1::Relation& relation) {
  event::validate(tuple);
  std::string out = "(";
  event::for_each_value(tuple, [&](int i, const event::Value& one) {
    if (i > 0) out += ", ";
    out += name(relation.columns(i).name()) + " " + value(one);
  });
  return out + ")";
}

inline std::string relation(const v1::Relation& one) {
  static const char* const identities[] = {"unknown", "default", "nothing", "full", "index"};
  std::string out =
      cat(table(one), " oid ", one.oid(), " identity ", identities[one.replica_identity()], ":");
  for (int i = 0; i < one.columns_size(); ++i) {
    const v1::Column& column = one.columns(i);
    out += cat(i > 0 ? ", " : " ", name(column.name()), column.part_of_identity() ? "* " : " ",
               name(column.type_schema()), ".", name(column.type_name()));
    if (column.type_modifier() != -1) out += cat("(", column.type_modifier(), ")");
  }
  return out;
}

inline std::string truncate(const v1::Truncate& one, const v1::Transaction& tx) {
  std::string out = "TRUNCATE";
  for (const std::uint32_t index : one.relations()) {
    out += " " + table(tx.relations(static_cast<int>(index)));
  }
  return out + (one.cascade() ? " cascade" : "") + (one.restart_identity() ? " restart-identity" : "");
}

inline std::string change(const v1::Change& one, const v1::Transaction& tx) {
  if (one.kind() == v1::Change::TRUNCATE) return truncate(one.truncate(), tx);
  if (one.kind() == v1::Change::MESSAGE) {
    return cat("MESSAGE ", in_quotes(one.message().prefix(), '"'), " at ", Lsn(one.message().lsn()), " ",
               hex(one.message().content()));
  }
  const v1::Relation& relation = tx.relations(static_cast<int>(one.relation()));
  std::string out = v1::Change::Kind_Name(one.kind()) + " " + table(relation);
  if (one.has_old_row()) out += (one.old_row_is_key() ? " key " : " old ") + row(one.old_row(), relation);
  if (one.has_new_row()) out += " new " + row(one.new_row(), relation);
  return out;
}

// A self-contained transaction or part of one.
inline std::string transaction(const v1::Transaction& tx) {
  std::string out = cat("transaction ", tx.xid(), " part ", tx.part(), tx.last() ? " (last)" : "", " commit ",
                        Lsn(tx.commit_lsn()), " end ", Lsn(tx.end_lsn()), " time ", tx.commit_time_us());
  if (!tx.gid().empty()) out += cat(" gid ", in_quotes(tx.gid(), '"'));
  if (!tx.origin().empty()) out += cat(" origin ", in_quotes(tx.origin(), '"'), " at ", Lsn(tx.origin_lsn()));
  out += "\n";
  for (int i = 0; i < tx.relations_size(); ++i) {
    out += cat("  relation ", i, " ", relation(tx.relations(i)), "\n");
  }
  for (const v1::Change& one : tx.changes()) {
    out += "  " + (one.xid() != 0 ? cat("in ", one.xid(), " ") : "") + change(one, tx) + "\n";
  }
  return out;
}

}  // namespace event_text
