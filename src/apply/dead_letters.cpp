// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "dead_letters.hpp"

namespace walign::apply {

namespace {

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out = "\\x";
  for (const char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4U];
    out += kDigits[static_cast<unsigned char>(c) & 15U];
  }
  return out;
}

std::string from_hex(std::string_view text) {
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::string out;
  for (std::size_t i = 2; i + 1 < text.size(); i += 2) {
    out += static_cast<char>((digit(text[i]) << 4U) | digit(text[i + 1]));
  }
  return out;
}

const v1::Tuple& keyed_row(const SingleChange& change) {
  return change.old_row != nullptr && change.kind != SingleChange::Kind::insert ? *change.old_row
                                                                                : *change.row;
}

// The transaction's header with this one change and its relation: readable alone.
std::string event_alone(const v1::Transaction& tx, const v1::Relation& relation, const v1::Change& change) {
  v1::Transaction alone;
  alone.set_xid(tx.xid());
  alone.set_commit_lsn(tx.commit_lsn());
  alone.set_commit_time_us(tx.commit_time_us());
  alone.set_origin(tx.origin());
  alone.set_last(true);
  *alone.add_relations() = relation;
  *alone.add_changes() = change;
  alone.mutable_changes(0)->set_relation(0);
  return alone.SerializeAsString();
}

// At most so many bytes, and no character cut in two: the target would refuse to store it.
std::string_view shortened(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0U) == 0x80U) --most;
  return text.substr(0, most);
}

}  // namespace

std::string describe_key(const Binding& binding, const v1::Tuple& row) {
  constexpr std::size_t kMost = 60;  // of one value
  std::string out;
  const auto& inputs = binding.route->key_inputs;
  event::for_each_value(row, [&](int i, const event::Value& value) {
    const int source = binding.source_of[static_cast<std::size_t>(i)];
    if (std::find(inputs.begin(), inputs.end(), source) == inputs.end()) return;
    const std::string_view shown =
        value.state == event::State::value ? shortened(value.bytes, kMost) : "NULL";
    out += cat(out.empty() ? "" : ", ", binding.relation->columns(i).name(), "=", shown,
               value.bytes.size() > kMost ? "..." : "");
  });
  return out.empty() ? "(no key)" : out;
}

std::string_view operation_of(SingleChange::Kind kind) {
  switch (kind) {
    case SingleChange::Kind::insert: return "INSERT";
    case SingleChange::Kind::remove: return "DELETE";
    case SingleChange::Kind::update:
    case SingleChange::Kind::key_change: return "UPDATE";
  }
  return "";
}

std::vector<std::string> DeadKeys::keys_of(const SingleChange& change) {
  std::vector<std::string> keys;
  for (const v1::Tuple* row : {change.old_row, change.row}) {
    if (row == nullptr || change.binding->route->key.empty()) continue;
    if (auto key = key_bytes(*change.binding, *row)) keys.push_back(std::move(*key));
  }
  return keys;
}

std::int64_t DeadKeys::chain_of(const SingleChange& change) const {
  for (const auto& key : keys_of(change)) {
    const auto found = chains_.find({change.binding->route->id, key});
    if (found != chains_.end()) return found->second.chain;
  }
  return 0;
}

std::int64_t DeadKeys::add(const SingleChange& change, std::int64_t chain) {
  std::int64_t joined = 0;
  for (auto& key : keys_of(change)) {
    auto& standing = chains_[{change.binding->route->id, std::move(key)}];
    standing.relations.insert(relation_name(*change.binding));
    if (standing.chain != 0 && standing.chain != chain) joined = standing.chain;
    standing.chain = chain;
  }
  if (joined != 0) {
    for (auto& [key, standing] : chains_) {
      if (standing.chain == joined) standing.chain = chain;
    }
  }
  return joined;
}

void DeadKeys::forget(const Binding& binding) {
  const std::string relation = relation_name(binding);
  for (auto at = chains_.begin(); at != chains_.end();) {
    if (at->first.first == binding.route->id) at->second.relations.erase(relation);
    at = at->second.relations.empty() ? chains_.erase(at) : std::next(at);
  }
}

void DeadKeys::load(pg::Connection& target, const std::string& stream,
                    const std::vector<mapping::Route>& routes) {
  chains_.clear();
  const auto r = target.query(
      "SELECT route, key_bytes, new_key_bytes, coalesce(chain, id), relation FROM walign.dead_letter "
      "WHERE stream = $1 "
      "ORDER BY id",
      {stream});
  for (int i = 0; i < r.rows(); ++i) {
    const auto route = std::find_if(routes.begin(), routes.end(),
                                    [&](const auto& candidate) { return candidate.label() == r.text(i, 0); });
    if (route == routes.end() || route->key.empty()) continue;
    for (const int column : {1, 2}) {
      if (r.is_null(i, column)) continue;
      auto& standing = chains_[{route->id, from_hex(r.text(i, column))}];
      standing.chain = r.integer(i, 3);
      standing.relations.insert(r.str(i, 4));
    }
  }
}

AsideInsert aside_insert(const std::string& stream, const Aside& aside, std::int64_t chain,
                         const Error* error) {
  const auto& change = aside.change;
  const auto& route = *change.binding->route;
  const auto& row = keyed_row(change);
  AsideInsert insert;
  insert.sql =
      cat("INSERT INTO walign.dead_letter (stream, chain, route, key, key_bytes, new_key_bytes, commit_lsn, "
          "operation, error, sqlstate, event, relation) VALUES ($1, nullif($2::bigint, 0), $3, $4, $5, ",
          change.kind == SingleChange::Kind::key_change ? "$6" : "nullif($6::bytea, $6::bytea)",
          ", $7, $8, $9, $10, $11, $12) RETURNING id");
  const bool keyed = !route.key.empty();
  insert.params = {
      stream,
      cat(chain),
      route.label(),
      describe_key(*change.binding, row),
      to_hex(keyed ? key_bytes(*change.binding, row).value_or("") : ""),
      to_hex(keyed && change.row != nullptr ? key_bytes(*change.binding, *change.row).value_or("") : ""),
      aside.part->commit_lsn().to_string(),
      std::string(operation_of(change.kind)),
      error == nullptr ? std::string() : error->message(),
      error == nullptr ? std::string() : error->sqlstate(),
      to_hex(event_alone(aside.part->tx(), *change.binding->relation, *aside.event)),
      relation_name(*change.binding)};
  return insert;
}

Extra keep_as_dead_letter(const std::string& stream, const std::string& name,
                          const event::TransactionPart& part, const v1::Change& change,
                          const std::string& error) {
  const bool truncate = change.kind() == v1::Change::TRUNCATE;
  const auto& relation = *part.relations().at(truncate ? change.truncate().relations(0) : change.relation());
  return {
      "INSERT INTO walign.dead_letter (stream, chain, route, relation, key, key_bytes, commit_lsn, "
      "operation, "
      "error, sqlstate, event) VALUES ($1, NULL, $2, $3, '', '', $4::pg_catalog.pg_lsn, $5, $6, '', "
      "$7::pg_catalog.bytea)",
      {stream, name, cat(relation.schema(), ".", relation.name()), part.commit_lsn().to_string(),
       v1::Change::Kind_Name(change.kind()), error, to_hex(event_alone(part.tx(), relation, change))}};
}

std::int64_t count_transactions_kept(pg::Connection& target, const std::string& stream,
                                     const std::string& name) {
  if (!schema_installed(target)) return 0;
  return target
      .query("SELECT count(DISTINCT commit_lsn) FROM walign.dead_letter WHERE stream = $1 AND route = $2",
             {stream, name})
      .integer(0, 0);
}

std::vector<DeadLetter> read_dead_letters(pg::Connection& target, const std::string& stream,
                                          std::optional<std::int64_t> id) {
  std::vector<DeadLetter> out;
  if (!schema_installed(target)) return out;
  const auto r = target.query(
      "SELECT id, route, key, commit_lsn, operation, error, sqlstate, "
      "pg_catalog.to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), event, coalesce(chain, id) "
      "FROM walign.dead_letter WHERE stream = $1 AND ($2 = '' OR id::text = $2) ORDER BY id",
      {stream, id ? cat(*id) : ""});
  for (int i = 0; i < r.rows(); ++i) {
    DeadLetter letter;
    letter.id = r.integer(i, 0);
    letter.route = r.str(i, 1);
    letter.key = r.str(i, 2);
    letter.commit_lsn = r.lsn(i, 3);
    letter.operation = r.str(i, 4);
    letter.error = r.str(i, 5);
    letter.sqlstate = r.str(i, 6);
    letter.created_at = r.str(i, 7);
    letter.event = from_hex(r.text(i, 8));
    letter.chain = r.integer(i, 9);
    out.push_back(std::move(letter));
  }
  return out;
}

std::int64_t count_dead_letters(pg::Connection& target, const std::string& stream) {
  if (!schema_installed(target)) return 0;
  return target.query("SELECT count(*) FROM walign.dead_letter WHERE stream = $1", {stream}).integer(0, 0);
}

}  // namespace walign::apply
