// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// How a batch is written: encoded, sent, and counted; by this thread, or handed over to one of its own.
#include "applier.hpp"
#include "sending.hpp"
#include "walign/pulse.hpp"

namespace walign::apply {

namespace {

using Steady = std::chrono::steady_clock;

double seconds_since(Steady::time_point began) {
  return std::chrono::duration<double>(Steady::now() - began).count();
}

}  // namespace

// ---------------------------------------------------------------------------------------- sending

void Applier::Impl::prepare(const std::vector<Execution>& executions) {
  for (const auto& e : executions) {
    if (e.statement == nullptr || prepared.contains(e.statement->name)) continue;
    pg::Pipeline pipeline(connection);
    pipeline.prepare(e.statement->name, e.statement->sql, {});
    pipeline.finish();
    prepared.insert(e.statement->name);
  }
}

Outgoing Applier::Impl::outgoing(const std::vector<Execution>& executions, Lsn commit_at) const {
  Outgoing out{&executions, {}, !open, position, commit_at};
  if (extra_sent) return out;
  for (std::size_t part = extra_from; part < std::min(extra_to, extra.size()); ++part) {
    out.extra.insert(out.extra.end(), extra[part].begin(), extra[part].end());
  }
  return out;
}

Answer Applier::Impl::send(const Outgoing& out) {
  const auto began = Steady::now();
  prepare(*out.executions);
  Answer answer;
  Sending sending(connection);
  bool commits = false;
  try {
    if (out.opens) sending.send("BEGIN");
    if (out.opens && !options.signature.empty()) {
      sending.send("SELECT pg_catalog.pg_logical_emit_message(true, 'walign', $1::text)",
                   {options.signature});
    }
    for (const auto& e : out.extra) sending.send(e.sql, e.params);
    answer.first = sending.sent();
    for (const auto& e : *out.executions) sending.send(e);
    commits = out.to.valid();
    if (commits) {
      sending.send("SELECT walign.advance($1, $2::bigint, $3::pg_lsn, $4::pg_lsn)",
                   {options.stream, cat(epoch), out.from.to_string(), out.to.to_string()});
      sending.send("COMMIT");
      sending.send("SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_wal_flush_lsn()");
    }
    answer.results = sending.finish();
  } catch (const Error& error) {
    failed_execution = sending.failed_index() - std::min(sending.failed_index(), answer.first);
    if (error.kind() == ErrorKind::connection && commits) {
      throw Error(ErrorKind::in_doubt, error.message(),
                  "walign reads the target's position to see whether the last commit took place");
    }
    throw;
  }
  answer.seconds = seconds_since(began);
  return answer;
}

void Applier::Impl::write(const std::vector<Execution>& executions, Lsn commit_at) {
  WALIGN_CHECK(!handed_over);
  const auto out = outgoing(executions, commit_at);
  open = true;
  written(out, send(out));
}

// ---------------------------------------------------------------------------------------- counting

void Applier::Impl::written(const Outgoing& out, const Answer& answer) {
  extra_sent = true;
  count(*out.executions, answer.results, answer.first);
  if (!out.to.valid()) return;
  extra_sent = false;
  const auto& wal = answer.results.back();
  last_commit_on_target = wal.lsn(0, 0).without_page_header();
  unflushed.push_back({out.to, last_commit_on_target});
  position = out.to;
  reached = out.to;
  committed();
  flushed_to(wal.lsn(0, 1));
}

void Applier::Impl::flushed_to(Lsn target_lsn) {
  while (!unflushed.empty() && unflushed.front().target_lsn <= target_lsn) {
    durable = unflushed.front().position;
    unflushed.pop_front();
  }
}

void Applier::Impl::count(const std::vector<Execution>& executions, const std::vector<pg::Result>& results,
                          std::size_t first) {
  for (std::size_t i = 0; i < executions.size(); ++i) {
    const auto& e = executions[i];
    auto& its = open_books[static_cast<std::size_t>(e.route->id)];
    if (e.forgets) {
      dead_letters -= results[first + i].affected();
      continue;
    }
    if (e.dead_letter) {
      its.dead_letters += e.weight;
      dead_letters += static_cast<std::int64_t>(e.weight);
      continue;
    }
    std::uint64_t kept = e.weight;
    if (e.statement != nullptr && e.statement->counts_weights) {
      kept = static_cast<std::uint64_t>(results[first + i].integer(0, 0));
      WALIGN_CHECK(kept <= e.weight);
    }
    its.applied += kept;
    its.filtered += e.weight - kept;
  }
  statements_sent += executions.size();
}

void Applier::Impl::nothing_to_write(Lsn at) {
  reached = at;
  committed();
}

void Applier::Impl::committed() {
  check_books();
  for (std::size_t i = 0; i < books.size(); ++i) books[i] += std::exchange(open_books[i], {});
  transactions += std::exchange(open_transactions, 0);
  if (open_commit_time_us != 0) commit_time_us = open_commit_time_us;
  open = false;
}

void Applier::Impl::check_books() {
  for (const auto& route : routes) {
    const auto& its = open_books[static_cast<std::size_t>(route.id)];
    if (its.balance()) continue;
    throw Error(ErrorKind::bug,
                cat("the books of ", route.label(), " do not balance: ", its.decoded, " decoded, ",
                    its.applied, " applied, ", its.filtered, " filtered, ", its.dropped, " dropped, ",
                    its.dead_letters, " dead letters"),
                "this is a defect in walign; compare the table on both sides before going on, and report it")
        .at(position);
  }
}

void Applier::Impl::forget_batch() {
  compactor->clear();
  parts.clear();
  exceptions.clear();
  extra.clear();
  extra_sent = false;
  extra_from = 0;
  extra_to = kAll;
  batch_bytes = 0;
  batch_changes = 0;
}

void Applier::Impl::rollback() {
  if (connection.broken()) return;
  connection.exec("ROLLBACK");
  open = false;
  extra_sent = false;
  dead_keys.load(connection, options.stream, routes);
  dead_letters = count_dead_letters(connection, options.stream);
}

// -------------------------------------------------------------------------------------- batch by batch

std::optional<std::vector<Execution>> Applier::Impl::encode_batch() {
  try {
    return encode(compactor->take(), Updates::in_place);
  } catch (const Error& error) {
    if (!is_data_error(error)) throw;
    return std::nullopt;
  }
}

void Applier::Impl::flush(bool wait) {
  if (parts.empty()) {
    if (wait) settle();
    return;
  }
  const auto began = Steady::now();
  const Lsn commit_at = parts.back().last() ? parts.back().end_lsn() : Lsn();
  const bool chosen = careful_at.valid() && parts.back().commit_lsn() == careful_at;
  std::optional<std::vector<Execution>> executions;
  // While what was handed over before is being written.
  if (!chosen) executions = encode_batch();
  if (!settle() && !chosen) executions = encode_batch();
  const auto before = statements_sent;
  const auto changes = batch_changes;
  // A transaction that leaves nothing to write moves the position with the next one that does.
  const bool nothing = executions && executions->empty() && !any_extra() && !open;
  if (nothing) {
    if (commit_at.valid()) nothing_to_write(commit_at);
  } else if (executions && !wait && commit_at.valid() && !open && dead_letters == 0) {
    return hand_over(std::move(*executions), commit_at);
  } else {
    try {
      if (executions) write(*executions, commit_at);
    } catch (const Error& error) {
      if (!is_data_error(error)) throw;
      executions.reset();
    }
    if (!executions) flush_carefully();
  }
  forget_batch();
  flushes.push_back({changes, statements_sent - before, seconds_since(began)});
}

void Applier::Impl::hand_over(std::vector<Execution> executions, Lsn commit_at) {
  auto job = std::make_unique<HandedOver>();
  job->executions = std::move(executions);
  job->out = outgoing(job->executions, commit_at);
  job->batch = put_aside();
  compactor->clear();
  job->answer = std::async(std::launch::async, [this, out = &job->out] {
    const Pulse pulse;
    return send(*out);
  });
  handed_over = std::move(job);
}

void Applier::Impl::HandedOver::wait() const {
  while (answer.valid() && answer.wait_for(Pulse::kSlice) != std::future_status::ready) Pulse::beat();
}

bool Applier::Impl::settle() {
  if (!handed_over) return true;
  const auto job = std::move(handed_over);
  std::optional<Answer> answer;
  try {
    job->wait();
    answer = job->answer.get();
  } catch (const Error& error) {
    if (!is_data_error(error)) throw;
  }
  auto gathered = put_aside();
  resume(std::move(job->batch));
  if (answer) {
    written(job->out, *answer);
    flushes.push_back({batch_changes, job->executions.size(), answer->seconds});
    resume(std::move(gathered));
    return true;
  }
  compactor->clear();
  flush_carefully();
  forget_batch();
  gather_again(std::move(gathered));
  return false;
}

Batch Applier::Impl::put_aside() {
  Batch out{std::move(parts), std::move(exceptions), std::move(extra),   batch_bytes, batch_changes,
            open_books,       open_transactions,     open_commit_time_us};
  parts.clear();
  exceptions.clear();
  extra.clear();
  batch_bytes = 0;
  batch_changes = 0;
  forget_counts();
  return out;
}

void Applier::Impl::resume(Batch batch) {
  parts = std::move(batch.parts);
  exceptions = std::move(batch.exceptions);
  extra = std::move(batch.extra);
  batch_bytes = batch.bytes;
  batch_changes = batch.changes;
  open_books = std::move(batch.books);
  open_transactions = batch.transactions;
  open_commit_time_us = batch.commit_time_us;
}

// What it means may have changed: a row of it may have a dead letter now.
void Applier::Impl::gather_again(Batch batch) {
  forget_counts();
  for (std::size_t i = 0; i < batch.parts.size(); ++i) {
    gather(std::move(batch.parts[i]), std::move(batch.exceptions[i]), std::move(batch.extra[i]));
  }
}

}  // namespace walign::apply
