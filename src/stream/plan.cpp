// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a run would create, and what `remove` takes away again.
#include "additions.hpp"

namespace walign::stream {

namespace {

std::string create_publication_sql(const std::string& name, const std::vector<config::TableName>& tables,
                                   bool inserts_only) {
  std::string list;
  for (const auto& t : tables) list += cat(list.empty() ? "" : ", ", pg::qualified(t.schema, t.name));
  return cat("CREATE PUBLICATION ", pg::quote_ident(name), " FOR TABLE ", list, " WITH (publish = '",
             inserts_only ? "insert, truncate" : "insert, update, delete, truncate",
             "', publish_via_partition_root = false)");
}

// What the copy of old rows will do, by what the catalogs tell before it.
void plan_copy(const config::Backfill& limits, const mapping::Route& route, const Prepared& prepared,
               Plan::Table& table) {
  const auto& source = prepared.source_catalog.at({route.source.schema, route.source.name});
  const auto& target = prepared.target_catalog.at({route.target.schema, route.target.name});
  if (source.estimated_rows >= 0) table.estimated_rows = source.estimated_rows;
  table.bytes = source.bytes;
  table.copy = mapping::copy_way(route, source, target);
  table.rows_per_chunk = mapping::rows_per_chunk(limits, source);
  if (table.copy.key.empty()) return;
  const auto rows = static_cast<std::int64_t>(table.estimated_rows.value_or(0));
  table.chunks = std::max<std::int64_t>(1, (rows + table.rows_per_chunk - 1) / table.rows_per_chunk);
}

// All workers at one table, as far as it has chunks for them, and not faster than the throttle.
std::optional<double> seconds_alone(const config::Backfill& limits, const Plan::Table& table) {
  if (!table.estimated_rows) return std::nullopt;
  const auto workers = static_cast<double>(std::min<std::int64_t>(limits.workers, table.chunks));
  const double work =
      mapping::copy_work_seconds(table.copy, *table.estimated_rows, static_cast<double>(table.bytes));
  const double throttled = limits.max_rows_per_second == 0
                               ? 0
                               : *table.estimated_rows / static_cast<double>(limits.max_rows_per_second);
  return std::max(work / workers, throttled);
}

// Workers go from one table to the next, so that all take what their work takes, or the longest if that is longer.
void estimate(const config::Backfill& limits, Plan& plan) {
  double work = 0, rows = 0, longest = 0;
  bool known = true;
  for (auto& table : plan.tables) {
    table.copy_seconds = seconds_alone(limits, table);
    known = known && table.copy_seconds;
    if (!table.copy_seconds) continue;
    work += mapping::copy_work_seconds(table.copy, *table.estimated_rows, static_cast<double>(table.bytes));
    rows += *table.estimated_rows;
    longest = std::max(longest, *table.copy_seconds);
  }
  const auto throttle = static_cast<double>(limits.max_rows_per_second);
  const double throttled = limits.max_rows_per_second == 0 ? 0 : rows / throttle;
  if (known) plan.copy_seconds = std::max({work / limits.workers, longest, throttled});
  const auto rate_text = [](bool piped) {
    mapping::CopyWay way;
    way.piped = piped;
    const auto rate = mapping::assumed_rate(way);
    return cat(static_cast<std::int64_t>(rate.rows_per_second), " rows or ",
               static_cast<std::int64_t>(rate.bytes_per_second) >> 20U, " MiB a second");
  };
  plan.assumed = cat("a worker is taken to copy ", rate_text(true), " as they are, ", rate_text(false),
                     " through the mapping's SQL, whichever is slower; workers: ", limits.workers,
                     limits.max_rows_per_second == 0
                         ? std::string(", no throttle")
                         : cat(", at most ", limits.max_rows_per_second, " rows a second in all"));
}

Plan::Table::Back plan_back(const mapping::WayBack& way) {
  Plan::Table::Back back;
  back.one_way = way.one_way;
  for (const auto& finding : way.findings) {
    if (finding.level == mapping::Finding::Level::fail) back.why_not.push_back(finding.what);
    if (finding.level == mapping::Finding::Level::warn) back.risks.push_back(finding.what);
  }
  if (!way.route) return back;
  const auto& route = *way.route;
  for (const auto& column : route.columns) back.columns.emplace_back(column.name, column.expression);
  back.by_default = route.other_columns;
  back.not_carried = way.not_carried;
  back.filter = route.filter.value_or("");
  if (route.drawn_key) {
    back.drawn_key = route.drawn_key->sql;
    back.drawn_into = route.drawn_key->target_column;
  }
  back.insert_sql = mapping::insert_statement(route).sql;
  if (route.key.empty()) return back;
  back.update_sql =
      mapping::update_statement(route, mapping::ColumnSet(route.source_columns.size(), false)).sql;
  back.delete_sql = mapping::delete_statement(route).sql;
  return back;
}

// What others can wait for, and what waits for others.
std::vector<std::string> locks_of(const Plan::Table& table, config::SchemaChange schema_change) {
  std::vector<std::string> locks = {
      "source: SHARE UPDATE EXCLUSIVE for a moment, when it is published (waits for VACUUM and for DDL)",
      "source: ACCESS SHARE while a chunk is read (holds up DDL only)",
      "source: SHARE ROW EXCLUSIVE for a moment at the cutover (waits for every writer; bounded by "
      "cutover: lock_timeout)"};
  if (table.copy.key.empty())
    locks.emplace_back("source: ACCESS SHARE for the whole copy, which is one chunk");
  locks.emplace_back("target: the rows that a batch writes, until it commits");
  if (schema_change == config::SchemaChange::add_columns) {
    locks.push_back(
        cat("target: ACCESS EXCLUSIVE for a moment, when its source has got a column that is added here "
            "(waits for every reader, ",
            kAlterPatience, " at a time)"));
  }
  return locks;
}

Plan::Table plan_table(const config::Config& config, const mapping::Route& route, const Prepared& prepared) {
  Plan::Table table;
  table.source = route.source.to_string();
  table.target = route.target.to_string();
  for (const auto& column : route.columns) table.columns.emplace_back(column.name, column.expression);
  for (const int c : route.key) table.key.push_back(route.columns[static_cast<std::size_t>(c)].name);
  table.filter = route.filter.value_or("");
  for (const auto& read : route.reads) table.reads.push_back(read.to_string());
  for (const auto& finding : prepared.findings) {
    if (finding.level == mapping::Finding::Level::warn && finding.subject == route.label()) {
      table.risks.push_back(finding.what);
    }
  }
  for (const auto& name : route.other_columns) {
    table.risks.push_back(cat("target column ", name, " is not mapped: it keeps its default"));
  }
  if (!route.reads.empty()) {
    table.risks.push_back("its expressions read other tables: a row is not computed again when those change");
  }
  table.insert_sql = mapping::insert_statement(route).sql;
  if (!route.key.empty()) {
    table.update_sql =
        mapping::update_statement(route, mapping::ColumnSet(route.source_columns.size(), false)).sql;
    table.delete_sql = mapping::delete_statement(route).sql;
  }
  plan_copy(config.backfill, route, prepared, table);
  table.locks = locks_of(table, config.schema_change);
  return table;
}

}  // namespace

Plan plan(const config::Config& config, const Prepared& prepared, const WaysBack& back) {
  Plan out;
  if (!prepared.published.empty()) {
    out.on_source.push_back(create_publication_sql(config.stream_name(), prepared.published, false));
  }
  if (!prepared.published_inserts.empty()) {
    out.on_source.push_back(
        create_publication_sql(inserts_publication(config), prepared.published_inserts, true));
  }
  if (!config.slot) {
    out.on_source.push_back(cat("SELECT pg_create_logical_replication_slot(",
                                pg::quote_literal(config.slot_name()), ", 'pgoutput')"));
  }
  out.on_target.emplace_back(
      "CREATE SCHEMA walign  -- tables stream, copy, chunk, dead_letter, schema_version; functions advance, "
      "expect, unmapped_value");
  for (const auto& route : prepared.routes) out.tables.push_back(plan_table(config, route, prepared));
  const auto order = mapping::copy_order(prepared.routes);
  for (std::size_t i = 0; i < out.tables.size(); ++i) {
    for (const auto first : order.after[i])
      out.tables[i].copied_after.push_back(prepared.routes[first].label());
  }
  for (std::size_t i = 0; i < back.tables.size(); ++i) out.tables[i].back = plan_back(back.tables[i]);
  estimate(config.backfill, out);
  return out;
}

std::string capture_slot(const config::Config& config) { return cat(config.stream_name(), "_capture"); }

namespace {

// One direction's things; of the way back, the server that is read is the migration's target.
class Removal {
 public:
  Removal(const config::Config& config, const Interrupt* interrupt)
      : config_(config),
        read_(connection_options(config, config.source, "remove", interrupt)),
        written_(connection_options(config, config.target, "remove", interrupt)) {}

  std::vector<std::string> all() {
    const auto slot = ours(config_.slot_name());
    const auto capture = ours(capture_slot(config_));
    for (const auto& found : {slot, capture}) refuse_reader(found);
    if (slot && !config_.slot_is_brought()) drop(*slot);
    if (capture) drop(*capture);
    for (const auto& name : {config_.stream_name(), inserts_publication(config_)}) {
      if (!source::read_publication(read_, name)) continue;
      source::drop_publication(read_, name);
      done_.push_back(cat(read_side(), ": publication ", name));
    }
    remove_rows();
    return std::move(done_);
  }

 private:
  // Names of slots are the whole cluster's: one of this name in another database is another migration's.
  std::optional<state::SlotFacts> ours(const std::string& name) {
    auto slot = source::read_slot(read_, name);
    if (slot && slot->database != read_.exec("SELECT pg_catalog.current_database()").text(0, 0)) return {};
    return slot;
  }

  void refuse_reader(const std::optional<state::SlotFacts>& slot) const {
    if (!slot || slot->active_pid == 0) return;
    throw Error(ErrorKind::precondition,
                cat("slot ", slot->name, " is being read by pid ", slot->active_pid, " of the ", read_side()),
                "stop `walign run` first, and `walign capture`");
  }

  // Also where a start got no further than to the tables.
  void remove_rows() {
    if (!apply::schema_installed(written_)) return;
    const bool known = apply::read_stream(written_, config_.stream_name()).has_value();
    apply::remove_stream(written_, config_.stream_name());
    const bool last = !apply::schema_installed(written_);
    if (known) done_.push_back(cat(written_side(), ": stream ", config_.stream_name()));
    if (last) done_.push_back(cat(written_side(), ": the tables of schema walign"));
  }

  void drop(const state::SlotFacts& slot) {
    source::drop_slot(read_, slot.name);
    done_.push_back(cat(read_side(), ": slot ", slot.name));
  }

  [[nodiscard]] std::string_view read_side() const { return config_.reverse ? "target" : "source"; }
  [[nodiscard]] std::string_view written_side() const { return config_.reverse ? "source" : "target"; }

  const config::Config& config_;
  pg::Connection read_;
  pg::Connection written_;
  std::vector<std::string> done_;
};

}  // namespace

std::vector<std::string> remove(const config::Config& config, const Interrupt* interrupt) {
  return Removal(config, interrupt).all();
}

}  // namespace walign::stream
