// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "applier.hpp"

namespace walign::apply {

namespace {

pg::ConnectionOptions connection_options(const Options& options) {
  pg::ConnectionOptions out = options.connection;
  out.application_name = cat(options.stream, " apply");
  // The planner must find every row through its key's index, also in a table that was empty when the statement
  // was first planned.
  for (const char* off : {"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"}) {
    out.settings.emplace_back(off, "off");
  }
  out.settings.emplace_back("synchronous_commit", "off");
  return out;
}

bool set_replica_role(pg::Connection& connection) {
  try {
    connection.exec("SET session_replication_role = replica");
    return true;
  } catch (const Error& error) {
    if (error.sqlstate() != "42501") throw;
    return false;
  }
}

// The shortest of a few.
std::chrono::microseconds round_trip(pg::Connection& connection) {
  auto shortest = std::chrono::microseconds::max();
  for (int i = 0; i < 3; ++i) {
    const auto began = std::chrono::steady_clock::now();
    connection.exec("");
    const auto took = std::chrono::steady_clock::now() - began;
    shortest = std::min(shortest, std::chrono::duration_cast<std::chrono::microseconds>(took));
  }
  return shortest;
}

std::uint64_t changes_of(const v1::Change& change) { return change.kind() == v1::Change::MESSAGE ? 0 : 1; }

}  // namespace

bool is_data_error(const Error& error) {
  if (error.kind() == ErrorKind::conflict) return true;
  const std::string_view state = error.sqlstate();
  const auto in_class = [&](std::string_view prefix) { return state.substr(0, 2) == prefix; };
  return in_class("22") || in_class("23") || in_class("44") || in_class("54") || in_class("P0") ||
         state == "21000" || state == mapping::kWrongRowCount || state == mapping::kUnmappedValue;
}

Books& Books::operator+=(const Books& other) {
  decoded += other.decoded;
  applied += other.applied;
  filtered += other.filtered;
  dropped += other.dropped;
  dead_letters += other.dead_letters;
  return *this;
}

Applier::Impl::Impl(Options o, std::vector<mapping::Route> r)
    : options(std::move(o)), routes(std::move(r)), connection(connection_options(options)) {
  epoch = take_over(connection, options.stream);
  const auto row = read_stream(connection, options.stream);
  WALIGN_CHECK(row.has_value());
  position = row->position;
  reached = position;
  durable = position;  // written with synchronous_commit = on by take_over, after everything before it
  replica_role = set_replica_role(connection);
  compactor = std::make_unique<Compactor>(!replica_role, routes);
  books.resize(routes.size());
  open_books.resize(routes.size());
  dead_keys.load(connection, options.stream, routes);
  dead_letters = count_dead_letters(connection, options.stream);
  encoder.copy_from(rows_worth_a_copy(round_trip(connection)));
}

// -------------------------------------------------------------------------------------- gathering

// Binds every table of a part before anything of it is taken. Where one is not what the mapping was made for, what
// came before is written first, so that the stream stops just before the changed table's first row.
void Applier::Impl::bind_all(const event::TransactionPart& part) {
  const auto flush_what_is_whole = [this] {
    if (parts.empty() || parts.back().last()) flush(true);
  };
  try {
    for (const auto& relation : part.relations()) router.bind(relation);
  } catch (const Error& error) {
    flush_what_is_whole();
    throw Error(error).at(part.commit_lsn());
  } catch (const UnknownRelation&) {
    flush_what_is_whole();
    throw;
  }
}

void Applier::Impl::add(event::TransactionPart part, std::vector<Exception> its_exceptions,
                        std::vector<Extra> its_extra) {
  bind_all(part);
  // A transaction that must go row by row has batches of its own.
  const bool alone = careful_at.valid() && (part.commit_lsn() == careful_at) !=
                                               (!parts.empty() && parts.back().commit_lsn() == careful_at);
  if (alone && !parts.empty()) flush(true);
  gather(std::move(part), std::move(its_exceptions), std::move(its_extra));
}

void Applier::Impl::gather(event::TransactionPart part, std::vector<Exception> its_exceptions,
                           std::vector<Extra> its_extra) {
  const std::size_t index = parts.size();
  batch_bytes += part.memory_bytes();
  parts.push_back(std::move(part));
  exceptions.push_back(std::move(its_exceptions));
  extra.push_back(std::move(its_extra));
  // parts may move when it grows; what they own does not.
  const auto& changes = parts[index].tx().changes();
  for (int i = 0; i < changes.size(); ++i) {
    batch_changes += changes_of(changes[i]);
    if (changes[i].kind() == v1::Change::TRUNCATE) {
      add_truncate(index, i);
    } else if (changes[i].kind() != v1::Change::MESSAGE) {
      add_change(index, i);
    }
  }
  if (parts[index].last()) {
    ++open_transactions;
    open_commit_time_us = parts[index].tx().commit_time_us();
  }
}

bool Applier::Impl::any_extra() const {
  const auto end = std::min(extra_to, extra.size());
  return std::any_of(extra.begin() + static_cast<std::ptrdiff_t>(std::min(extra_from, end)),
                     extra.begin() + static_cast<std::ptrdiff_t>(end),
                     [](const auto& its) { return !its.empty(); });
}

std::optional<SingleChange> Applier::Impl::meaning(std::size_t part, int index, const Binding& binding) {
  const auto& change = parts[part].tx().changes(index);
  auto single = single_change(binding, change, compactor->arena());
  const auto& all = exceptions[part];
  const auto found = std::find_if(all.begin(), all.end(), [&](const Exception& e) {
    return e.change == index && e.route == binding.route->id;
  });
  if (found == all.end()) return single;
  switch (found->verdict) {
    case align::MoveVerdict::update: break;
    case align::MoveVerdict::insert_new: single.kind = SingleChange::Kind::insert; break;
    case align::MoveVerdict::delete_old: single.kind = SingleChange::Kind::remove; break;
    case align::MoveVerdict::drop: return std::nullopt;
    case align::MoveVerdict::wait: WALIGN_CHECK(false);
  }
  if (single.kind == SingleChange::Kind::insert) single.old_row = nullptr;
  if (single.kind == SingleChange::Kind::remove) single.row = nullptr;
  return single;
}

void Applier::Impl::add_change(std::size_t part, int index) {
  const auto& change = parts[part].tx().changes(index);
  for (const auto& binding : router.bind(parts[part].relations().at(change.relation()))) {
    auto& its = open_books[static_cast<std::size_t>(binding.route->id)];
    ++its.decoded;
    const auto single = meaning(part, index, binding);
    if (!single) {
      ++its.dropped;
      continue;
    }
    if (careful_at.valid() && parts[part].commit_lsn() == careful_at)
      continue;  // flush() takes it change by change
    if (auto step = queued(*single, change, part)) {
      compactor->add(*step);
    } else {
      compactor->add(*single);
    }
  }
}

std::optional<QueueStep> Applier::Impl::queued(const SingleChange& change, const v1::Change& event,
                                               std::size_t part) {
  if (dead_keys.empty()) return std::nullopt;
  const auto chain = dead_keys.chain_of(change);
  if (chain == 0) return std::nullopt;
  return QueueStep{change, &event, part, chain, dead_keys.add(change, chain)};
}

// A TRUNCATE also ends every chain of dead letters of its tables: none of their rows is there any more.
TruncateStep Applier::Impl::truncate_step(std::size_t part, int index) {
  const auto& truncate = parts[part].tx().changes(index).truncate();
  TruncateStep step;
  step.restart_identity = truncate.restart_identity();
  for (const auto relation : truncate.relations()) {
    for (const auto& binding : router.bind(parts[part].relations().at(relation))) {
      (dropped(part, index, binding) ? step.emptied_before : step.bindings).push_back(&binding);
      dead_keys.forget(binding);
    }
  }
  return step;
}

bool Applier::Impl::dropped(std::size_t part, int index, const Binding& binding) const {
  const auto& all = exceptions[part];
  return std::any_of(all.begin(), all.end(), [&](const Exception& e) {
    return e.change == index && e.route == binding.route->id && e.verdict == align::MoveVerdict::drop;
  });
}

void Applier::Impl::add_truncate(std::size_t part, int index) {
  for (const auto relation : parts[part].tx().changes(index).truncate().relations()) {
    for (const auto& binding : router.bind(parts[part].relations().at(relation))) {
      auto& its = open_books[static_cast<std::size_t>(binding.route->id)];
      ++its.decoded;
      if (dropped(part, index, binding)) ++its.dropped;
    }
  }
  if (careful_at.valid() && parts[part].commit_lsn() == careful_at) return;
  auto step = truncate_step(part, index);
  if (!step.empty()) compactor->add(std::move(step));
}

// ---------------------------------------------------------------------------------------- writing

std::vector<Execution> Applier::Impl::encode(const std::vector<Step>& steps, Updates updates) {
  std::vector<Execution> executions;
  std::map<int, std::uint64_t> cancelled;
  for (const auto& step : steps) {
    if (const auto* rows = std::get_if<RowsStep>(&step)) encoder.rows(*rows, updates, executions, cancelled);
    if (const auto* single = std::get_if<SingleChange>(&step)) encoder.single(*single, updates, executions);
    if (const auto* queue = std::get_if<QueueStep>(&step)) append_aside(*queue, executions);
    if (const auto* truncate = std::get_if<TruncateStep>(&step)) {
      encoder.truncate(*truncate, executions);
      append_moot(*truncate, executions);
    }
  }
  encoder.finish(executions);
  for (const auto& [route, weight] : cancelled) open_books[static_cast<std::size_t>(route)].applied += weight;
  return executions;
}

void Applier::Impl::append_aside(const QueueStep& step, std::vector<Execution>& out) {
  const Aside aside{step.change, step.event, &parts.at(step.transaction)};
  const auto insert = aside_insert(options.stream, aside, step.chain, nullptr);
  Execution e;
  e.route = step.change.binding->route;
  e.sql = insert.sql;
  e.text_params = insert.params;
  e.weight = 1;
  e.dead_letter = true;
  out.push_back(std::move(e));
  if (step.joined != 0) {
    Execution join;
    join.route = step.change.binding->route;
    join.sql = "UPDATE walign.dead_letter SET chain = $1 WHERE stream = $2 AND coalesce(chain, id) = $3";
    join.text_params = {cat(step.chain), options.stream, cat(step.joined)};
    out.push_back(std::move(join));
  }
}

void Applier::Impl::append_moot(const TruncateStep& truncate, std::vector<Execution>& out) {
  const bool some = dead_letters > 0 ||
                    std::any_of(out.begin(), out.end(), [](const Execution& e) { return e.dead_letter; });
  if (!some) return;
  for (const auto* bindings : {&truncate.bindings, &truncate.emptied_before}) {
    for (const Binding* binding : *bindings) {
      Execution e;
      e.route = binding->route;
      e.sql = "DELETE FROM walign.dead_letter WHERE stream = $1 AND route = $2 AND relation = $3";
      e.text_params = {options.stream, binding->route->label(), relation_name(*binding)};
      e.forgets = true;
      out.push_back(std::move(e));
    }
  }
}

// ----------------------------------------------------------------------------------- the public face

Applier::Applier(Options options, std::vector<mapping::Route> routes)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(routes))) {}
Applier::~Applier() = default;

Lsn Applier::position() const { return impl_->position; }
Lsn Applier::reached() const { return impl_->reached; }
std::uint64_t Applier::epoch() const { return impl_->epoch; }
bool Applier::replica_role() const { return impl_->replica_role; }
void Applier::be_careful_at(Lsn commit_lsn) { impl_->careful_at = commit_lsn; }
void Applier::add(event::TransactionPart part, std::vector<Exception> exceptions, std::vector<Extra> extra) {
  impl_->add(std::move(part), std::move(exceptions), std::move(extra));
}
bool Applier::pending() const { return gathering() || impl_->handed_over != nullptr; }
bool Applier::gathering() const { return !impl_->parts.empty(); }
bool Applier::full() const {
  // The end of a transaction that came in several batches: what follows shall not fail together with it.
  if (!impl_->parts.empty() && !impl_->parts.front().first() && impl_->parts.back().last()) return true;
  return impl_->batch_changes >= static_cast<std::uint64_t>(impl_->options.max_batch_rows) ||
         impl_->batch_bytes >= static_cast<std::size_t>(impl_->options.max_batch_bytes);
}
bool Applier::in_transaction() const {
  return impl_->parts.empty() ? impl_->open : !impl_->parts.back().last();
}
void Applier::flush() { impl_->flush(true); }
void Applier::hand_over() { impl_->flush(false); }
void Applier::settle() { impl_->settle(); }
Lsn Applier::durable() const { return impl_->durable; }
Lsn Applier::last_commit_on_target() const { return impl_->last_commit_on_target; }
const std::vector<Books>& Applier::books() const { return impl_->books; }
std::uint64_t Applier::transactions() const { return impl_->transactions; }
std::int64_t Applier::last_commit_time_us() const { return impl_->commit_time_us; }
std::int64_t Applier::dead_letters() const { return impl_->dead_letters; }
std::vector<Applier::FlushStats> Applier::take_flush_stats() { return std::exchange(impl_->flushes, {}); }

void Applier::store_progress(Lsn position) {
  WALIGN_CHECK(!in_transaction() && !pending());
  const Lsn to = std::max(position, impl_->reached);
  if (to > impl_->position) impl_->write({}, to);
}

void Applier::poll_durable(bool force) {
  auto& i = *impl_;
  // The answer to what was handed over says it too.
  if (i.handed_over && !force) return;
  i.settle();
  if (i.unflushed.empty() || i.open) return;
  // Anything that must reach the disk takes all WAL before it along.
  if (force) {
    i.connection.exec(
        "BEGIN; SET LOCAL synchronous_commit = local; "
        "SELECT pg_catalog.pg_logical_emit_message(true, 'walign', ''); COMMIT");
  }
  i.flushed_to(i.connection.exec("SELECT pg_catalog.pg_current_wal_flush_lsn()").lsn(0, 0));
}

}  // namespace walign::apply
