// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What happens when a batch fails for its data: the same transactions again, in ways that lose less and less
// speed for more and more certainty about which row it is.
#include "applier.hpp"

namespace walign::apply {

namespace {

using Parts = std::vector<const event::TransactionPart*>;

// The batch's complete transactions, each with its parts.
std::vector<Parts> complete_transactions(const std::vector<event::TransactionPart>& parts) {
  std::vector<Parts> out;
  Parts current;
  for (const auto& part : parts) {
    current.push_back(&part);
    if (part.last()) out.push_back(std::exchange(current, {}));
  }
  return out;
}

// The error of one change, with its table, operation and key.
Error about(const Error& error, const Step& step, const Aside& aside) {
  std::string what;
  if (std::holds_alternative<TruncateStep>(step)) {
    what = "TRUNCATE";
  } else {
    const auto& change = aside.change;
    const auto* row = change.old_row != nullptr ? change.old_row : change.row;
    what = cat(change.binding->route->label(), ": ", operation_of(change.kind), " of ",
               describe_key(*change.binding, *row));
  }
  std::string hint = error.hint();
  hint +=
      "; mend the target or the mapping and run again (the stream stopped before this transaction), or set "
      "such "
      "rows aside with apply: { on_conflict: dead_letter }";
  std::string message = error.message();
  if (const auto at = message.find(", in: a statement of a batch"); at != std::string::npos)
    message.resize(at);
  return Error(ErrorKind::conflict, cat(what, ": ", message), std::move(hint))
      .with_sqlstate(error.sqlstate())
      .at(aside.part->commit_lsn());
}

}  // namespace

void Applier::Impl::count_decoded(std::size_t part) {
  const auto& tx = parts[part].tx();
  const auto count = [&](std::uint32_t relation, int change) {
    for (const auto& binding : router.bind(parts[part].relations().at(relation))) {
      auto& its = open_books[static_cast<std::size_t>(binding.route->id)];
      ++its.decoded;
      const bool truncate = tx.changes(change).kind() == v1::Change::TRUNCATE;
      if (truncate ? dropped(part, change, binding) : !meaning(part, change, binding)) ++its.dropped;
    }
  };
  for (int i = 0; i < tx.changes_size(); ++i) {
    if (tx.changes(i).kind() == v1::Change::TRUNCATE) {
      for (const auto relation : tx.changes(i).truncate().relations()) count(relation, i);
    } else if (tx.changes(i).kind() != v1::Change::MESSAGE) {
      count(tx.changes(i).relation(), i);
    }
  }
  if (tx.last()) {
    ++open_transactions;
    open_commit_time_us = tx.commit_time_us();
  }
}

void Applier::Impl::forget_counts() {
  std::fill(open_books.begin(), open_books.end(), Books());
  open_transactions = 0;
}

void Applier::Impl::each_change(const event::TransactionPart& part,
                                const std::function<void(const Step&, const Aside&)>& visit) {
  const auto number = static_cast<std::size_t>(&part - parts.data());
  for (int i = 0; i < part.tx().changes_size(); ++i) {
    const auto& change = part.tx().changes(i);
    if (change.kind() == v1::Change::MESSAGE) continue;
    if (change.kind() == v1::Change::TRUNCATE) {
      const auto step = truncate_step(number, i);
      if (!step.empty()) visit(step, {{}, &change, &part});
      continue;
    }
    for (const auto& binding : router.bind(part.relations().at(change.relation()))) {
      const auto single = meaning(number, i, binding);
      if (!single) continue;
      const Aside aside{*single, &change, &part};
      if (auto step = queued(*single, change, number)) {
        visit(*step, aside);
      } else {
        visit(*single, aside);
      }
    }
  }
}

void Applier::Impl::flush_carefully() {
  const bool chosen = careful_at.valid() && parts.back().commit_lsn() == careful_at;
  if (chosen) {
    Parts all;
    for (const auto& part : parts) all.push_back(&part);
    const Lsn commit_at = parts.back().last() ? parts.back().end_lsn() : Lsn();
    if (options.on_conflict == config::OnConflict::stop) {
      row_by_row(all, commit_at);
    } else {
      setting_aside(all, commit_at);
    }
    if (commit_at.valid()) careful_at = Lsn();
    return;
  }
  rollback();
  forget_counts();
  // The beginning of this transaction is not in memory any more.
  if (!parts.front().first()) throw ReadAgain{parts.front().commit_lsn()};
  const auto complete = complete_transactions(parts);
  if (complete.empty()) throw ReadAgain{parts.front().commit_lsn()};
  for (const auto& transaction : complete) apply_transaction(transaction);
  if (!parts.back().last()) throw ReadAgain{Lsn()};
}

void Applier::Impl::apply_transaction(const Parts& transaction) {
  const Lsn commit_at = transaction.back()->end_lsn();
  extra_from = static_cast<std::size_t>(transaction.front() - parts.data());
  extra_to = static_cast<std::size_t>(transaction.back() - parts.data()) + 1;
  const auto start = [&] {
    forget_counts();
    for (const auto* part : transaction) count_decoded(static_cast<std::size_t>(part - parts.data()));
  };
  std::optional<Error> first;
  try {
    start();
    row_by_row(transaction, commit_at);
    return;
  } catch (const Error& error) {
    if (!is_data_error(error)) throw;
    first = error;
    rollback();
  }
  start();
  if (exchange(transaction, commit_at)) return;
  if (options.on_conflict == config::OnConflict::stop) throw Error(*first);
  start();
  setting_aside(transaction, commit_at);
}

void Applier::Impl::row_by_row(const Parts& transaction, Lsn commit_at) {
  std::vector<Execution> executions;
  std::vector<std::pair<Step, Aside>> meanings;  // of each execution
  for (const auto* part : transaction) {
    each_change(*part, [&](const Step& step, const Aside& aside) {
      try {
        auto some = encode({step}, Updates::in_place);
        for (auto& e : some) {
          executions.push_back(std::move(e));
          meanings.emplace_back(step, aside);
        }
      } catch (const Error& error) {
        if (!is_data_error(error)) throw;
        throw about(error, step, aside);
      }
    });
  }
  try {
    if (executions.empty() && !open && !any_extra()) {
      if (commit_at.valid()) nothing_to_write(commit_at);
    } else {
      write(executions, commit_at);
    }
  } catch (const Error& error) {
    if (!is_data_error(error) || failed_execution >= meanings.size()) throw;
    const auto& [step, aside] = meanings[failed_execution];
    throw about(error, step, aside);
  }
}

namespace {

// The row as an old one that has its key only.
const v1::Tuple* key_alone(const SingleChange& change, google::protobuf::Arena& arena) {
  auto* out = google::protobuf::Arena::CreateMessage<v1::Tuple>(&arena);
  const auto& inputs = change.binding->route->key_inputs;
  event::for_each_value(*change.row, [&](int i, const event::Value& value) {
    const int source = change.binding->source_of[static_cast<std::size_t>(i)];
    const bool is_key = std::find(inputs.begin(), inputs.end(), source) != inputs.end();
    event::append_value(*out, is_key ? value : event::Value{event::State::not_sent, {}, false});
  });
  return out;
}

}  // namespace

// The transaction's net effect, with updated rows deleted first and inserted again.
bool Applier::Impl::exchange(const Parts& transaction, Lsn commit_at) {
  // Where foreign keys are enforced, deleting a row for a moment would take along what refers to it (CASCADE).
  const bool enforced = !replica_role && std::any_of(routes.begin(), routes.end(), [](const auto& route) {
    return route.target_referenced;
  });
  if (enforced) return false;
  std::set<int> moving;  // routes in which keys change: their updates are written together with those
  std::vector<std::pair<Step, Aside>> changes;
  for (const auto* part : transaction) {
    each_change(*part, [&](const Step& step, const Aside& aside) {
      changes.emplace_back(step, aside);
      const auto* single = std::get_if<SingleChange>(&step);
      if (single != nullptr && single->kind == SingleChange::Kind::key_change) {
        moving.insert(single->binding->route->id);
      }
    });
  }
  Compactor net(!replica_role, routes);
  for (auto& [step, aside] : changes) {
    if (auto* single = std::get_if<SingleChange>(&step)) {
      if (single->kind == SingleChange::Kind::update && moving.contains(single->binding->route->id)) {
        single->kind = SingleChange::Kind::key_change;
        if (single->old_row == nullptr) single->old_row = key_alone(*single, compactor->arena());
      }
      net.add(*single);
    }
    if (auto* truncate = std::get_if<TruncateStep>(&step)) net.add(std::move(*truncate));
    if (const auto* queue = std::get_if<QueueStep>(&step)) net.add(*queue);
  }
  try {
    write(encode(net.take(), Updates::reinserted), commit_at);
    return true;
  } catch (const Error& error) {
    if (!is_data_error(error)) throw;
    rollback();
    return false;
  }
}

void Applier::Impl::begin(const std::string& settings) {
  connection.exec(cat("BEGIN; ", settings));
  if (options.signature.empty()) return;
  connection.query("SELECT pg_catalog.pg_logical_emit_message(true, 'walign', $1::text)",
                   {options.signature});
}

void Applier::Impl::setting_aside(const Parts& transaction, Lsn commit_at) {
  if (!open) {
    begin("");
    open = true;
  }
  for (const auto* part : transaction) {
    each_change(*part, [&](const Step& step, const Aside& aside) { one_or_aside(step, aside); });
  }
  if (commit_at.valid()) write({}, commit_at);
}

void Applier::Impl::one_or_aside(const Step& step, const Aside& aside) {
  connection.exec("SAVEPOINT walign_row");
  try {
    write(encode({step}, Updates::in_place), Lsn());
    connection.exec("RELEASE SAVEPOINT walign_row");
  } catch (const Error& error) {
    if (!is_data_error(error)) throw;
    const Error whole = about(error, step, aside);
    if (std::holds_alternative<TruncateStep>(step)) throw Error(whole);
    connection.exec("ROLLBACK TO SAVEPOINT walign_row");
    set_aside(aside, 0, &whole);
  }
}

std::int64_t Applier::Impl::set_aside(const Aside& aside, std::int64_t chain, const Error* error) {
  const auto insert = aside_insert(options.stream, aside, chain, error);
  const auto id = connection.query(insert.sql, insert.params).integer(0, 0);
  dead_keys.add(aside.change, chain == 0 ? id : chain);
  ++dead_letters;
  ++open_books[static_cast<std::size_t>(aside.change.binding->route->id)].dead_letters;
  return id;
}

// ---------------------------------------------------------------------------------- one more chance

namespace {

struct Stored {
  std::int64_t id;
  event::RelationPtr relation;
  v1::Transaction transaction;
};

std::vector<Stored> chain_of(pg::Connection& connection, const std::string& stream, std::int64_t id) {
  const auto letters = read_dead_letters(connection, stream);
  const auto found = std::find_if(letters.begin(), letters.end(), [&](const auto& l) { return l.id == id; });
  if (found == letters.end()) {
    throw Error(ErrorKind::usage, cat("there is no dead letter ", id),
                "`walign dead-letters list` shows them");
  }
  std::vector<Stored> out;
  for (const auto& letter : letters) {
    if (letter.chain != found->chain) continue;
    Stored stored{letter.id, nullptr, {}};
    if (!stored.transaction.ParseFromString(letter.event) || stored.transaction.relations_size() != 1 ||
        stored.transaction.changes_size() != 1) {
      throw Error(ErrorKind::malformed, cat("the event of dead letter ", letter.id, " cannot be read"),
                  "discard it, and mend the row on the target by hand");
    }
    stored.relation = std::make_shared<v1::Relation>(stored.transaction.relations(0));
    out.push_back(std::move(stored));
  }
  return out;
}

// Where a stored event went; it must not go elsewhere, nor nowhere.
const Binding& binding_of(Router& router, const event::RelationPtr& relation, const std::string& route) {
  try {
    for (const auto& binding : router.bind(relation)) {
      if (binding.route->label() == route) return binding;
    }
  } catch (const UnknownRelation&) {  // said below
  }
  throw Error(ErrorKind::precondition, cat("the mapping has no rule ", route, " any more"),
              "put the rule back into walign.yaml and start again, or discard the dead letter");
}

}  // namespace

void Applier::discard_dead_letter(std::int64_t id) {
  auto& i = *impl_;
  WALIGN_CHECK(!pending() && !in_transaction());
  const auto chain = chain_of(i.connection, i.options.stream, id);
  i.connection.exec("BEGIN; SET LOCAL synchronous_commit = on");
  for (const auto& letter : chain) {
    i.connection.query("DELETE FROM walign.dead_letter WHERE id = $1", {cat(letter.id)});
  }
  i.connection.exec("COMMIT");
  i.dead_keys.load(i.connection, i.options.stream, i.routes);
  i.dead_letters = count_dead_letters(i.connection, i.options.stream);
}

void Applier::retry_dead_letter(std::int64_t id) {
  auto& i = *impl_;
  WALIGN_CHECK(!pending() && !in_transaction());
  const auto letters = read_dead_letters(i.connection, i.options.stream);
  const auto chain = chain_of(i.connection, i.options.stream, id);
  i.begin("SET LOCAL synchronous_commit = on");
  i.open = true;
  try {
    for (const auto& stored : chain) {
      const auto letter =
          std::find_if(letters.begin(), letters.end(), [&](const auto& l) { return l.id == stored.id; });
      const Binding& binding = binding_of(i.router, stored.relation, letter->route);
      const auto single = single_change(binding, stored.transaction.changes(0), i.compactor->arena());
      i.write(i.encode({single}, Updates::in_place), Lsn());
      i.connection.query("DELETE FROM walign.dead_letter WHERE id = $1", {cat(stored.id)});
    }
    i.connection.exec("COMMIT");
    i.open = false;
  } catch (const Error& error) {
    if (!i.connection.broken()) i.rollback();
    i.forget_counts();
    throw error.in(cat("dead letter ", id, " still cannot be applied"));
  }
  i.forget_counts();
  i.forget_batch();
  i.dead_keys.load(i.connection, i.options.stream, i.routes);
  i.dead_letters = count_dead_letters(i.connection, i.options.stream);
}

}  // namespace walign::apply
