// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Triggers up, a short transaction for each table. One transaction over all tables starves under ordinary load, and
// deadlocks with whoever takes two of them in another order.
#include <thread>

#include "fence_transaction.hpp"

namespace walign::cutover {

namespace {

using SteadyClock = std::chrono::steady_clock;

double ms_since(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::milli>(SteadyClock::now() - start).count();
}

std::string row_check(const FenceId& id, const FenceRow& row) {
  return cat("SELECT walign.expect_fence(", pg::quote_literal(id.migration), ", ",
             pg::quote_literal(side_name(id.side)), ", ", row.epoch, ", ",
             pg::quote_literal(state_name(row.state)), ", ", row.owner, "); ");
}

std::string lock_words(const TableName& table) {
  return cat("LOCK TABLE ", pg::qualified(table.schema, table.name), " IN SHARE ROW EXCLUSIVE MODE");
}

std::string guard_words(const Guard& guard, std::uint64_t epoch, const TableName& table) {
  return cat("SELECT walign.guard_table(", pg::quote_literal(pg::qualified(table.schema, table.name)),
             "::pg_catalog.regclass, ", pg::quote_literal(guard.id.migration), ", ",
             pg::quote_literal(side_name(guard.id.side)), ", ", epoch, ", ",
             pg::quote_literal(guard.write_to), ")");
}

// Goes through the tables; what is done with each transaction at its end is the caller's.
class GuardUp {
 public:
  GuardUp(pg::Connection& server, const Guard& guard, const Limits& limits)
      : server_(server),
        guard_(guard),
        limits_(limits),
        waits_{limits.lock_timeout, limits.statement_timeout, limits.break_deadlocks},
        start_(SteadyClock::now()) {}

  using Finish = std::function<void(FenceTransaction&, const TableName&)>;

  // `row`: must be so, and is locked; null for a rehearsal.
  TableTimes one(const TableName& table, const FenceRow* row, std::uint64_t epoch, const Finish& finish) {
    TableTimes times;
    times.table = table;
    const auto asked = SteadyClock::now();
    for (;; ++times.attempts) {
      try {
        FenceTransaction transaction(
            server_, waits_, cat(row != nullptr ? row_check(guard_.id, *row) : "", lock_words(table)));
        times.lock_ms = ms_since(asked);
        times.waiting = server_.exec(guard_words(guard_, epoch, table)).integer(0, 0);
        finish(transaction, table);
        times.ddl_ms = ms_since(asked) - times.lock_ms;
        return times;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::transient || times.attempts >= limits_.attempts || over()) {
          throw error.in(cat("fencing ", table.to_string()));
        }
      }
      // Those who waited behind us shall come through.
      std::this_thread::sleep_for(Millis(10) * times.attempts);
    }
  }

  [[nodiscard]] bool over() const { return SteadyClock::now() - start_ > limits_.max_pause; }
  [[nodiscard]] double total_ms() const { return ms_since(start_); }

 private:
  pg::Connection& server_;
  const Guard& guard_;
  const Limits& limits_;
  const Waits waits_;
  const SteadyClock::time_point start_;
};

// The last table's transaction: its commit is the fence LSN.
Lsn set_fenced(pg::Connection& giver, const FenceId& id, const FenceRow& row) {
  const auto changed = giver.query(
      "UPDATE walign.fence f SET state = 'FENCED', changed_at = pg_catalog.clock_timestamp() WHERE "
      "f.migration = $1 "
      "AND f.side = $2 AND f.epoch = $3::pg_catalog.int8 AND f.state = 'FENCING' AND f.owner = "
      "$4::pg_catalog.int8",
      {id.migration, std::string(side_name(id.side)), cat(row.epoch), cat(row.owner)});
  WALIGN_CHECK(changed.affected() == 1);  // the row is locked and was found so
  const Marker marker{Marker::Kind::fence, id, row.epoch};
  return giver
      .query("SELECT pg_catalog.pg_logical_emit_message(true, $1, $2::text)",
             {kMarkerPrefix, marker_text(marker)})
      .lsn(0, 0);
}

}  // namespace

std::vector<TableTimes> close_tables(pg::Connection& taker, const Guard& guard, const FenceRow& row,
                                     const std::vector<TableName>& tables, const Limits& limits) {
  WALIGN_CHECK(row.state == RowState::closed || row.state == RowState::aborted);
  GuardUp up(taker, guard, limits);
  std::vector<TableTimes> times;
  for (const auto& table : tables) {
    times.push_back(up.one(table, &row, row.epoch, [](FenceTransaction& transaction, const TableName& t) {
      transaction.commit(cat("closing ", t.to_string()));
    }));
  }
  return times;
}

Fenced fence_table(pg::Connection& giver, const Guard& guard, const FenceRow& row, const TableName& table,
                   bool last, const Limits& limits) {
  WALIGN_CHECK(row.state == RowState::fencing);
  GuardUp up(giver, guard, limits);
  Fenced fenced;
  try {
    fenced.tables.push_back(
        up.one(table, &row, row.epoch, [&](FenceTransaction& transaction, const TableName& t) {
          if (last) fenced.message_lsn = set_fenced(giver, guard.id, row);
          transaction.commit(cat("fencing ", t.to_string()));
        }));
  } catch (const Error& error) {
    if (error.sqlstate() != kFenceMoved) throw;
    fenced.row = read_row(giver, guard.id);
    return fenced;
  }
  fenced.total_ms = up.total_ms();
  fenced.done = true;
  fenced.row = row;
  if (last) {
    fenced.row->state = RowState::fenced;
    fenced.after_lsn = end_of_wal(giver);
  }
  return fenced;
}

Fenced fence_tables(pg::Connection& giver, const Guard& guard, const FenceRow& row,
                    const std::vector<TableName>& tables, const Limits& limits) {
  WALIGN_CHECK(!tables.empty());
  const auto start = SteadyClock::now();
  Fenced all;
  for (const auto& table : tables) {
    Limits left = limits;
    left.max_pause -= std::chrono::duration_cast<Millis>(SteadyClock::now() - start);
    auto one = fence_table(giver, guard, row, table, &table == &tables.back(), left);
    one.tables.insert(one.tables.begin(), all.tables.begin(), all.tables.end());
    one.total_ms = ms_since(start);
    all = std::move(one);
    if (!all.done) break;
  }
  return all;
}

std::vector<TableTimes> rehearse_fence(pg::Connection& giver, const Guard& guard,
                                       const std::vector<TableName>& tables, const Limits& limits) {
  GuardUp up(giver, guard, limits);
  std::vector<TableTimes> times;
  for (const auto& table : tables) {
    times.push_back(up.one(table, nullptr, 0,
                           [](FenceTransaction& transaction, const TableName&) { transaction.rollback(); }));
  }
  return times;
}

std::vector<std::string> unguarded(pg::Connection& server, const FenceId& id,
                                   const std::vector<TableName>& tables) {
  pg::TextArray names;
  for (const auto& table : tables) names.add(pg::qualified(table.schema, table.name));
  pg::Param array = names.param();
  array.type = pg::kTextArrayOid;
  const auto r = server.query_params(
      R"(WITH mapped AS (SELECT n.name, pg_catalog.to_regclass(n.name) AS root FROM pg_catalog.unnest($1) AS n(name)),
         relations AS (
           SELECT root AS relid FROM mapped
           UNION SELECT t.relid FROM mapped, LATERAL pg_catalog.pg_partition_tree(mapped.root) t)
         SELECT coalesce(r.relid::text, 'a table that is gone') FROM relations r
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = r.relid AND t.tgenabled = 'A'
             AND t.tgname = $2 || '_row' AND t.tgfoid = pg_catalog.to_regprocedure('walign.guard()'))
           OR (r.relid IN (SELECT root FROM mapped)
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = r.relid AND t.tgenabled = 'A'
             AND t.tgname = $2 || '_statement' AND t.tgfoid = pg_catalog.to_regprocedure('walign.guard()')))
         ORDER BY 1)",
      {array, {id.migration, 0, false, false}});
  std::vector<std::string> out;
  for (int i = 0; i < r.rows(); ++i) out.push_back(r.str(i, 0));
  return out;
}

}  // namespace walign::cutover
