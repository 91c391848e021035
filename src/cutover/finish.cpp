// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// finish. Its first step is the phase: a `walign run` from here on would find slots and publications gone and, at the
// end, nothing of the migration at all, as if it had never begun.
#include "finish.hpp"

#include <filesystem>

namespace walign::cutover {

namespace {

MigrationPhase phase_of(state::Store& store) {
  const std::string text = store.phase();
  if (const auto phase = parse_phase(text)) return *phase;
  throw Error(ErrorKind::precondition,
              cat("the state directory is in a phase that is not known here: ", text),
              "use the walign that wrote it");
}

class Finisher {
 public:
  explicit Finisher(const Finish& finish)
      : finish_(finish), servers_(finish.config, "finish", finish.interrupt) {
    rows_ = read_rows(servers_);
    tables_ = old_tables(servers_);
    if (finish.store != nullptr) phase_ = phase_of(*finish.store);
    refuse_rows();
    refuse_company(servers_);
    refuse_archived();
    refuse_privileges();
    name_archives();
  }

  FinishPlan plan() {
    FinishPlan plan;
    plan.finished = !rows_.source && !rows_.target;
    for (std::size_t i = 0; i < tables_.size(); ++i) {
      const auto& t = tables_[i];
      plan.tables.push_back({t.table, t.moved_to, names_[i], t.partitioned, done(t)});
    }
    plan.goes = goes();
    plan.lost = lost();
    plan.stays = stays();
    return plan;
  }

  void run(const Tell& tell) {
    WALIGN_CHECK(finish_.store != nullptr);
    if (phase_ != MigrationPhase::finished) {
      displace(servers_, rows_);
      finish_.store->put_phase(cutover::name(*next_phase(MigrationPhase::cut_over, MigrationFact::finish)));
      tell("the phase is finished: there is no way back");
    }
    if (finish_.old_side != OldSide::reopened) close(tell);
    const Tell removed = [&tell](const std::string& line) { tell(cat("removed ", line)); };
    guards_down(servers_, removed);
    if (finish_.old_side == OldSide::archived) archive_all(tell);
    if (finish_.old_side == OldSide::reopened) reopen(tell);
    remove_streams(servers_, removed);
    remove_rows(servers_, removed);
    for (const auto& directory : useless_directories()) {
      if (state::remove_directory(directory)) removed(directory);
    }
  }

 private:
  // Of the state directory: what only a stream could use.
  [[nodiscard]] std::vector<std::string> useless_directories() const {
    const std::string& state = finish_.config.state;
    std::vector<std::string> out = {config::reversed(finish_.config).state, cat(state, "/journal"),
                                    cat(state, "/spill")};
    std::erase_if(out, [](const std::string& directory) { return !std::filesystem::exists(directory); });
    return out;
  }

  [[nodiscard]] bool was_closed() const {
    return std::any_of(tables_.begin(), tables_.end(), [](const OldTable& t) { return t.closed; });
  }

  // The rows are the truth; where one is gone already, the phase or a table that is closed says who took it.
  void refuse_rows() {
    const auto is = [](const std::optional<FenceRow>& row, RowState state) {
      return row && row->state == state;
    };
    const bool at_rest = is(rows_.source, RowState::sealed) && is(rows_.target, RowState::open);
    const bool begun = phase_ == MigrationPhase::finished || was_closed();
    const bool half_gone = begun && (!rows_.source || is(rows_.source, RowState::sealed)) &&
                           (!rows_.target || is(rows_.target, RowState::open));
    if (at_rest || half_gone) return;
    const std::string what =
        cat("migration ", finish_.config.migration, " cannot be finished (", rows_.describe(), ")");
    const bool none = !rows_.source && !rows_.target;
    const bool on_source = is(rows_.source, RowState::open) && !is(rows_.target, RowState::open);
    if (none || on_source) {
      throw Error(ErrorKind::precondition, cat(what, ": the target does not take the writes"),
                  phase_ == MigrationPhase::finished
                      ? cat("the state directory says finished, so it is not this migration's: move ",
                            finish_.config.state, " away")
                      : "cut over first: walign cutover; or take everything away: walign remove");
    }
    throw Error(ErrorKind::precondition, cat(what, ": a change of sides is half done"),
                "bring it to rest first: walign recover");
  }

  void refuse_archived() const {
    if (finish_.old_side != OldSide::reopened) return;
    std::string list;
    for (const auto& t : tables_) {
      if (t.archived) list += cat(list.empty() ? "" : ", ", t.table.to_string());
    }
    if (list.empty()) return;
    throw Error(ErrorKind::precondition, cat("tables have been archived already: ", list),
                "give them their names back first (ALTER TABLE ... RENAME TO ...; COMMENT ON TABLE ... IS "
                "NULL), then "
                "walign finish --reopen");
  }

  void refuse_privileges() {
    const std::string us = servers_.source.exec("SELECT current_user::pg_catalog.regrole::text").str(0, 0);
    std::string list;
    for (const auto& t : tables_) {
      const auto r = servers_.source.query(
          "SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE'), pg_catalog.has_schema_privilege(n.oid, "
          "'CREATE'), "
          "c.relowner::pg_catalog.regrole::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON "
          "n.oid = "
          "c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
          {t.table.schema, t.table.name});
      if (r.rows() == 0) continue;
      const std::string whose = cat("  -- ", t.table.to_string());
      if (!r.boolean(0, 0)) list += cat("\n  GRANT ", r.text(0, 2), " TO ", us, ";", whose);
      if (!r.boolean(0, 1) && finish_.old_side != OldSide::reopened) {
        list += cat("\n  GRANT CREATE ON SCHEMA ", pg::quote_ident(t.table.schema), " TO ", us, ";", whose);
      }
    }
    if (list.empty()) return;
    throw Error(ErrorKind::precondition,
                "the role that walign uses on the source may not do there what is to be done",
                cat("on the source:", list));
  }

  void name_archives() {
    names_.assign(tables_.size(), "");
    if (finish_.old_side != OldSide::archived) return;
    dates_ = archive_dates(servers_.source, finish_.keep_days);
    std::set<TableName> taken;
    for (std::size_t i = 0; i < tables_.size(); ++i) {
      if (tables_[i].archived) continue;
      names_[i] = archive_name(servers_.source, tables_[i].table, dates_, taken);
      taken.insert({tables_[i].table.schema, names_[i]});
    }
  }

  [[nodiscard]] bool done(const OldTable& table) const {
    if (table.guarded) return false;
    switch (finish_.old_side) {
      case OldSide::closed: return table.closed;
      case OldSide::archived: return table.archived;
      case OldSide::reopened: return !table.closed;
    }
    return false;
  }

  // -------------------------------------------------------------------------------------- what the plan says

  std::vector<std::string> goes() {
    auto out = things_of_streams(servers_);
    for (const Side side : {Side::source, Side::target}) {
      const auto& row = side == Side::source ? rows_.source : rows_.target;
      if (row) out.push_back(cat(side_name(side), ": the fence, its triggers and its functions"));
    }
    for (const auto& directory : useless_directories()) out.push_back(directory);
    return out;
  }

  void say_letters(pg::Connection& server, const char* what, const std::string& name,
                   std::vector<std::string>& out) {
    if (!apply::schema_installed(server)) return;
    const auto count = apply::count_dead_letters(server, name);
    if (count > 0) out.push_back(cat(what, ": ", count));
  }

  std::vector<std::string> lost() {
    std::vector<std::string> out;
    if (rows_.target) {
      const auto r = servers_.target.query(
          "SELECT pg_catalog.to_char(f.changed_at, 'YYYY-MM-DD HH24:MI:SS') FROM walign.fence f "
          "WHERE f.migration = $1 AND f.side = 'target'",
          {servers_.fence});
      out.push_back(cat("the way back: what the target has taken since ",
                        r.rows() > 0 ? r.text(0, 0) : "the cutover",
                        " UTC stays there, and `walign rollback` is no more"));
    }
    say_letters(servers_.target,
                "dead letters: changes of the source that could not be applied on the target", servers_.fence,
                out);
    say_letters(
        servers_.source,
        "dead letters: changes that the way back could not apply, or that were written past the fence",
        config::reversed(finish_.config).stream_name(), out);
    return out;
  }

  std::vector<std::string> stays() {
    std::vector<std::string> out;
    if (finish_.config.slot_is_brought() && source::read_slot(servers_.source, finish_.config.slot_name())) {
      out.push_back(cat("source: slot ", finish_.config.slot_name(),
                        ", which you have brought: drop it, or the source keeps its WAL for ever"));
    }
    if (rows_.source) {
      const auto seen = traffic(servers_.source, {servers_.fence, Side::source});
      if (seen.refused > 0) {
        out.push_back(
            cat("does somebody still write to the old side? Statements that it has refused: ", seen.refused));
      }
    }
    out.push_back(cat("the reports and checkpoints in ", finish_.config.state));
    return out;
  }

  // ------------------------------------------------------------------------------------------- what is done

  void close(const Tell& tell) {
    Limits limits;
    limits.lock_timeout = finish_.config.cutover.lock_timeout;
    limits.statement_timeout = finish_.config.cutover.max_pause;
    limits.break_deadlocks = may_set_deadlock_timeout(servers_.source);
    limits.attempts = 1;
    for (const auto& t : tables_) {
      if (t.archived || t.closed) continue;
      patiently(servers_, Side::source, "closing", [&]() -> std::vector<std::string> {
        try {
          close_for_good(servers_.source, servers_.fence, t.moved_to, {t.table}, limits);
        } catch (const Error& error) {
          if (error.kind() != ErrorKind::transient) throw;
          return {pg::qualified(t.table.schema, t.table.name)};
        }
        return {};
      });
      tell(cat("source: ", t.table.to_string(), " is closed for good"));
    }
  }

  void archive_all(const Tell& tell) {
    for (std::size_t i = 0; i < tables_.size(); ++i) {
      const auto& t = tables_[i];
      if (t.archived) continue;
      patiently(servers_, Side::source, "renaming", [&]() -> std::vector<std::string> {
        if (archive(servers_, t, names_[i], dates_)) return {};
        return {pg::qualified(t.table.schema, t.table.name)};
      });
      tell(
          cat("source: ", t.table.to_string(), " is now ", TableName{t.table.schema, names_[i]}.to_string()));
    }
  }

  void reopen(const Tell& tell) {
    for (const auto& t : tables_) {
      if (!t.closed) continue;
      patiently(servers_, Side::source, "reopening", [&]() -> std::vector<std::string> {
        if (reopen_for_good(servers_.source, {t.table}, finish_.config.cutover.lock_timeout).empty())
          return {};
        return {pg::qualified(t.table.schema, t.table.name)};
      });
      tell(cat("source: ", t.table.to_string(), " is not closed any more"));
    }
  }

  const Finish& finish_;
  TwoServers servers_;
  FenceRows rows_;
  std::vector<OldTable> tables_;
  std::vector<std::string> names_;  // of the archives, beside tables_
  ArchiveDates dates_;
  MigrationPhase phase_ = MigrationPhase::new_one;
};

}  // namespace

bool FinishPlan::nothing_left() const {
  return goes.empty() && std::all_of(tables.begin(), tables.end(), [](const Table& t) { return t.done; });
}

FinishPlan plan_finish(const Finish& finish) { return Finisher(finish).plan(); }

void finish(const Finish& finish, const Tell& tell) {
  Finisher finisher(finish);
  repeatable("finish", [&] { finisher.run(tell); });
}

}  // namespace walign::cutover
