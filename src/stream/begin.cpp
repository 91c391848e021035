// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "begin.hpp"

#include "additions.hpp"
#include "copy_checks.hpp"
#include "crossing.hpp"
#include "shapes.hpp"

namespace walign::stream {

namespace {

constexpr auto kSlotTimeout = std::chrono::minutes(10);

class Beginning {
 public:
  Beginning(const config::Config& config, OldRows old_rows, state::Store& store, pg::Connection& source,
            pg::Connection& target, Made& made, bool may_alter, std::optional<state::JournalFacts> journal)
      : config_(config),
        old_rows_(old_rows),
        store_(store),
        journal_(journal),
        source_(source),
        target_(target),
        made_(made),
        may_alter_(may_alter),
        stream_(config.stream_name()) {}

  Begun begin() {
    begin_alone();  // first: what another one has half made would look like a mistake
    const auto written = read_both();
    refuse_failures(begun_.prepared);
    // After the catalogs were read: whatever was altered later commits past this.
    const Lsn seen = source_.exec("SELECT pg_catalog.pg_current_wal_insert_lsn()").lsn(0, 0);
    begun_.shapes = shapes_of(begun_.prepared, seen);
    put_filenodes(written, read_filenodes(source_), begun_.shapes);
    begun_.past = apply::read_relations(target_, stream_);
    hash_ = mapping::mapping_hash(begun_.prepared.routes);
    auto seen_facts = facts();
    begun_.crossing = cross(config_, begun_.prepared.routes, seen_facts, target_);
    const auto& start = begun_.start = state::decide_start(seen_facts);
    if (!start.note.empty()) obs::warn(start.note);
    switch (start.action) {
      case state::Start::Action::create: create(false); break;
      case state::Start::Action::recreate: create(true); break;
      case state::Start::Action::adopt: adopt(start.from); break;
      case state::Start::Action::resume: resume(start); break;
    }
    note_shapes(target_, stream_, begun_.shapes, begun_.past);
    if (const auto row = apply::read_stream(target_, stream_)) {
      if (const auto birth = Snapshot::parse(row->birth_snapshot)) begun_.birth = *birth;
    }
    return std::move(begun_);
  }

 private:
  // Both catalogs; and once more after columns were added to the target, as often as the source gets others meanwhile.
  // The source's filenodes from before.
  std::map<pg::Oid, pg::Oid> read_both() {
    constexpr int kMostTries = 5;
    for (int tries = 1;; ++tries) {
      auto written = read_filenodes(source_);
      begun_.prepared = prepare_with(config_, source_, target_, old_rows_ == OldRows::copied);
      auto& findings = begun_.prepared.findings;
      const auto& additions = begun_.prepared.additions;
      const bool nothing_else = !mapping::any_failed(findings) || mapping::run_mends_all(findings);
      if (additions.empty() || !nothing_else || tries == kMostTries) return written;
      if (!may_alter_) {
        for (auto& f : findings) {
          if (f.run_mends) f.what += "; not while the target takes the application's writes";
        }
        return written;
      }
      if (!goes_on()) return written;
      apply::install_schema(target_);
      // What an earlier session writes without the column would get the default of now.
      apply::take_over(target_, stream_);
      for (const auto& addition : additions) add_column(target_, stream_, position_of_target(), addition);
    }
  }

  // Nothing is altered for a stream that would not go on. Throws what hinders it.
  bool goes_on() {
    hash_ = mapping::mapping_hash(begun_.prepared.routes);
    auto seen = facts();
    cross(config_, begun_.prepared.routes, seen, target_);
    return state::decide_start(seen).action == state::Start::Action::resume;
  }

  Lsn position_of_target() {
    const auto row = apply::read_stream(target_, stream_);
    return row ? row->position : Lsn();
  }

  [[nodiscard]] state::StartFacts facts() {
    state::StartFacts f;
    const auto& p = begun_.prepared;
    f.source_system_id = p.source.system_id;
    f.source_timeline = p.source.timeline;
    f.source_database = p.source.database;
    f.source_flushed = source_.exec("SELECT pg_catalog.pg_current_wal_flush_lsn()").lsn(0, 0);
    f.target_system_id = p.target.system_id;
    f.target_database = p.target.database;
    f.mapping_hash = hash_;
    f.slot_name = config_.slot_name();
    f.slot_is_brought = config_.slot_is_brought();
    f.slot = source::read_slot(source_, config_.slot_name());
    if (const auto row = apply::read_stream(target_, stream_)) {
      f.target =
          state::TargetFacts{row->position, row->source_system_id, row->source_timeline, row->source_database,
                             row->slot,     row->mapping_hash};
    }
    if (auto identity = store_.identity()) {
      const auto newest = store_.newest_checkpoint();
      f.store =
          state::StoreFacts{std::move(*identity), Lsn(newest ? newest->durable_lsn() : 0), store_.phase()};
    }
    f.journal = journal_;
    return f;
  }

  [[nodiscard]] apply::StreamRow new_row() const {
    const auto& p = begun_.prepared;
    apply::StreamRow row;
    row.source_system_id = p.source.system_id;
    row.source_timeline = p.source.timeline;
    row.source_database = p.source.database;
    row.slot = config_.slot_name();
    row.mapping_hash = hash_;
    return row;
  }

  // No checkpoint: a position that is visible on the target need not be in its flushed WAL yet. The session
  // writes the first one when it knows that it is.
  void save_identity() {
    const auto& p = begun_.prepared;
    v1::Identity identity;
    identity.set_migration(config_.migration);
    identity.set_source_system_id(p.source.system_id);
    identity.set_source_timeline(p.source.timeline);
    identity.set_source_database(p.source.database);
    identity.set_slot(config_.slot_name());
    identity.set_target_system_id(p.target.system_id);
    identity.set_target_database(p.target.database);
    identity.set_mapping_hash(hash_);
    store_.put_identity(identity);
    store_.put_phase("streaming");
  }

  // Rows that the stream would not bring.
  void refuse_rows(pg::Connection& connection, bool on_source) {
    for (const auto& route : begun_.prepared.routes) {
      const auto& table = on_source ? route.source : route.target;
      std::string sql = cat("SELECT EXISTS (SELECT FROM ", pg::qualified(table.schema, table.name));
      if (!on_source && route.target_where) sql += cat(" WHERE ", *route.target_where);
      if (!connection.exec(sql + ")").boolean(0, 0)) continue;
      throw Error(
          ErrorKind::precondition,
          cat(table.to_string(), " on the ", on_source ? "source" : "target", " already has rows"),
          on_source ? "let a backfill copy them, or bring them yourself while nothing writes to the source "
                      "and start "
                      "with --no-backfill"
                    : "empty the table, or, if these are the source's rows that you brought yourself, start "
                      "with --no-backfill");
    }
  }

  void ensure_publication(const std::string& name, const std::vector<config::TableName>& tables,
                          bool inserts_only, bool& made) {
    if (tables.empty() || source::read_publication(source_, name)) return;
    source::create_publication(source_, name, tables, inserts_only);
    made = true;
    obs::info("publication made", {{"publication", name}, {"tables", tables.size()}});
  }

  // RULES 13: a change decoded from before the publication existed fails, for ever.
  void require_publication(const std::string& name, const std::vector<config::TableName>& tables) {
    if (tables.empty() || source::read_publication(source_, name)) return;
    throw Error(
        ErrorKind::precondition,
        cat("publication ", name, " does not exist, and slot ", config_.slot_name(),
            " is older than it would be"),
        "make the publication first and the slot after it: `walign plan --sql` prints both; drop this slot");
  }

  // RULES 12: the slot waits for every transaction that is writing; say for which.
  [[nodiscard]] std::function<void()> watch_slot() {
    const auto deadline = std::chrono::steady_clock::now() + kSlotTimeout;
    return [this, deadline] {
      const std::string waits_for = join(source::running_transactions(source_), "; ");
      if (std::chrono::steady_clock::now() > deadline) {
        throw Error(ErrorKind::precondition,
                    cat("making slot ", config_.slot_name(), " still waits after 10 minutes for ", waits_for),
                    "end these transactions (COMMIT, or pg_terminate_backend), then run again");
      }
      obs::info("making the slot waits for running transactions", {{"transactions", waits_for}});
    };
  }

  // Two that begin the same migration at once would take each other's first steps back. The lock goes with the
  // session that holds it.
  void begin_alone() {
    const auto lock = target_.query(
        "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext('walign start'), "
        "pg_catalog.hashtext($1))",
        {stream_});
    if (lock.boolean(0, 0)) return;
    throw Error(ErrorKind::transient, cat("another walign is starting migration ", config_.migration),
                cat("stop one of them; to see it, on the target: SELECT * FROM pg_stat_activity WHERE "
                    "application_name = ",
                    pg::quote_literal(cat(stream_, " control"))));
  }

  void create(bool again) {
    slot_is_ours_ = again;
    try {
      if (old_rows_ == OldRows::copied) refuse_existing_rows(config_, begun_.prepared.routes, target_);
      if (old_rows_ == OldRows::refused) {
        refuse_rows(target_, false);
        refuse_rows(source_, true);  // and again, for certain, under the slot's snapshot
      }
      make_all(again);
    } catch (const Error& error) {
      // What can be tried again goes on from here: the row without a position says that the slot is ours.
      if (remedy(error.kind()) != Remedy::retry) take_back();
      throw;
    }
    made_ = Made();
  }

  void make_all(bool again) {
    const auto& p = begun_.prepared;
    apply::install_schema(target_);
    if (!apply::read_stream(target_, stream_)) {
      made_.row = true;
      apply::insert_stream(target_, stream_, new_row());
    }
    // The publication must be older than the slot: decoding looks it up as of each change.
    ensure_publication(stream_, p.published, false, made_.publication);
    ensure_publication(inserts_publication(config_), p.published_inserts, true, made_.inserts_publication);
    if (again) source::drop_slot(source_, config_.slot_name());
    make_slot();
  }

  // On connections of its own, which the stop that may have brought us here does not interrupt.
  void take_back() noexcept {
    try {
      pg::Connection source(connection_options(config_, config_.source, "control", nullptr));
      if (slot_is_ours_) source::drop_slot(source, config_.slot_name());
      if (made_.publication) source::drop_publication(source, stream_);
      if (made_.inserts_publication) source::drop_publication(source, inserts_publication(config_));
      pg::Connection target(connection_options(config_, config_.target, "control", nullptr));
      if (made_.row) apply::remove_stream(target, stream_);
      made_ = Made();
    } catch (const Error& error) {
      obs::log_error(obs::Level::warn,
                     "what was made for the start could not all be taken back: walign remove", error);
    }
  }

  void make_slot() {
    auto options = connection_options(config_, config_.source, "slot", nullptr);
    const auto made = source::create_slot(
        options, config_.slot_name(),
        [this](pg::Connection& walsender) {
          if (old_rows_ == OldRows::refused) refuse_rows(walsender, true);
        },
        watch_slot());
    slot_is_ours_ = true;
    apply::begin_stream(target_, stream_, made.consistent_point, made.snapshot);
    save_identity();
    obs::info("slot made", {{"slot", config_.slot_name()}, {"lsn", made.consistent_point}});
  }

  void adopt(Lsn from) {
    if (old_rows_ == OldRows::refused) {
      throw Error(
          ErrorKind::precondition,
          cat("slot ", config_.slot_name(),
              " was made before this run, so rows older than it are not streamed"),
          "bring those rows yourself (a dump under the slot's snapshot), then start with --no-backfill");
    }
    require_publication(stream_, begun_.prepared.published);
    require_publication(inserts_publication(config_), begun_.prepared.published_inserts);
    apply::install_schema(target_);
    if (!apply::read_stream(target_, stream_)) apply::insert_stream(target_, stream_, new_row());
    apply::begin_stream(target_, stream_, from, "");
    save_identity();
    obs::info("streaming from a slot that was brought", {{"slot", config_.slot_name()}, {"lsn", from}});
  }

  void resume(const state::Start& start) {
    apply::install_schema(target_);
    begun_.mapping_changed = start.mapping_changed;
    if (begun_.crossing) {
      note_crossing(target_, stream_, *begun_.crossing);
      begun_.past = apply::read_relations(target_, stream_);
    }
    if (start.rewound) store_.forget_after(start.from);
    // Before the publications have the tables that were added.
    if (old_rows_ == OldRows::copied) refuse_existing_rows(config_, begun_.prepared.routes, target_);
    if (start.mapping_changed) {
      obs::warn("the mapping changed since the last run: rows applied before keep the old one");
      apply::set_mapping_hash(target_, stream_, hash_);
    }
    add_tables(stream_, begun_.prepared.published);
    add_tables(inserts_publication(config_), begun_.prepared.published_inserts);
    if (start.rebuild_store || start.mapping_changed || begun_.crossing) save_identity();
  }

  // Tables that were added to the configuration. Their rows are copied (or were brought) from now on.
  void add_tables(const std::string& name, const std::vector<config::TableName>& wanted) {
    if (wanted.empty()) return;
    const auto has = source::read_publication(source_, name);
    if (!has) return require_publication(name, wanted);
    for (const auto& table : wanted) {
      if (std::find(has->begin(), has->end(), table) != has->end()) continue;
      source::add_to_publication(source_, name, table);
      obs::info("table added to the publication", {{"publication", name}, {"table", table.to_string()}});
    }
  }

  const config::Config& config_;
  const OldRows old_rows_;
  state::Store& store_;
  const std::optional<state::JournalFacts> journal_;
  pg::Connection& source_;
  pg::Connection& target_;
  Made& made_;
  const bool may_alter_;
  bool slot_is_ours_ = false;
  const std::string stream_;
  std::string hash_;
  Begun begun_;
};

}  // namespace

void refuse_failures(const Prepared& prepared) {
  std::string list;
  for (const auto& f : prepared.findings) {
    if (f.level != mapping::Finding::Level::fail) continue;
    list += cat("\n  ", f.subject, ": ", f.what, "\n    remedy: ", f.remedy);
  }
  if (list.empty()) return;
  throw Error(ErrorKind::precondition, cat("the checks before a start failed:", list),
              "mend these and run again; `walign preflight` shows every check; nothing was changed");
}

Begun begin(const config::Config& config, OldRows old_rows, state::Store& store, pg::Connection& source,
            pg::Connection& target, Made& made, bool may_alter, std::optional<state::JournalFacts> journal) {
  return Beginning(config, old_rows, store, source, target, made, may_alter, journal).begin();
}

}  // namespace walign::stream
