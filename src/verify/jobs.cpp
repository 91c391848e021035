// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A session's beginning and end; what is known of each table; requests and reports.
#include "verification.hpp"

namespace walign::verify {

bool Table::needs_pass() const {
  if (dirty.whole()) return true;
  return record.differences() > record.kept_size() ||
         std::any_of(record.kept().begin(), record.kept().end(),
                     [](const auto& difference) { return difference.source_key_size() == 0; });
}

void Table::mark_whole() {
  dirty.mark_whole();
  record_changed = record_changed || !record.dirty() || record.has_pass();
  record.set_dirty(true);
  record.clear_pass();
}

void Table::known_equal(Lsn at) {
  dirty.known_equal();
  record.set_dirty(false);
  record.clear_pass();
  record.set_verified_lsn(at.value);
  record.set_verified_at_us(Clock::system().unix_micros());
  record.set_differences(0);
  record.clear_kept();
  record_changed = true;
}

// ------------------------------------------------------------------------------------------- a session

pg::ConnectionOptions options_for(const config::Config& config, const std::string& conninfo,
                                  const Interrupt& interrupt) {
  pg::ConnectionOptions options;
  options.conninfo = conninfo;
  options.application_name = cat(config.stream_name(), " verify");
  options.interrupt = &interrupt;
  for (const char* off : {"enable_seqscan", "enable_hashjoin", "enable_mergejoin"}) {
    options.settings.emplace_back(off, "off");
  }
  return options;
}

std::unique_ptr<Table> Verification::make_table(const Session& session, const mapping::Route& route,
                                                pg::Connection& source, pg::Connection& target) {
  const auto& prepared = *session.prepared;
  const auto& from = prepared.source_catalog.at({route.source.schema, route.source.name});
  const auto& into = prepared.target_catalog.at({route.target.schema, route.target.name});
  const auto key = mapping::copy_way(route, from, into).key;
  const bool any_text = std::any_of(key.begin(), key.end(), [&](const std::string& name) {
    const auto* column = from.column(name);
    return column != nullptr && column->category == 'S';
  });
  auto plan = make_plan(prepared, route, session.config->backfill,
                        any_text ? read_sorts_by_bytes(source, from) : SortsByBytes(),
                        any_text ? read_sorts_by_bytes(target, into) : SortsByBytes());
  std::vector<std::string> told;
  // Where the target's key cannot be told from what the stream says, any change makes the table dirty.
  if (plan.keys_map) {
    for (const auto& k : plan.key) told.push_back(k.source);
  }
  return std::make_unique<Table>(std::move(plan), std::move(told));
}

void Verification::restore(Table& table, const std::vector<v1::Verification>& records, bool complete) {
  const auto found = std::find_if(records.begin(), records.end(),
                                  [&](const auto& record) { return record.table() == table.label(); });
  const std::string mapping = mapping::comparison_hash(*table.plan.route);
  if (found != records.end() && found->mapping() == mapping) {
    table.record = *found;
  } else {
    table.record.set_table(table.label());
    table.record.set_mapping(mapping);
    complete = false;
  }
  table.dirty.restore(table.record.dirty(), !table.record.dirty() || table.record.has_pass());
  if (!complete) table.mark_whole();
  if (!table.dirty.tracking()) return;
  store_->for_each_dirty(table.label(), [&](std::string_view key, std::uint64_t generation) {
    table.dirty.restore_key(key, generation);
    generation_ = std::max(generation_, generation);
  });
  generation_ = std::max(generation_, table.record.pass().generation());
}

void Verification::start(const Session& session) {
  end_worker();
  const Interrupt never;
  pg::Connection source(options_for(*session.config, session.config->source, never));
  pg::Connection target(options_for(*session.config, session.config->target, never));
  Tables tables;
  for (const auto& route : session.prepared->routes)
    tables.push_back(make_table(session, route, source, target));
  {
    const std::lock_guard lock(mutex_);
    config_ = session.config;
    store_ = session.store;
    metrics_ = session.metrics;
    wal_segment_bytes_ = session.prepared->source.wal_segment_bytes;
    tables_ = std::move(tables);
    leads_.clear();
    written_ = store_->dirty_complete_to();
    const bool complete = written_ >= session.position;
    const auto records = store_->verifications();
    for (auto& table : tables_) restore(*table, records, complete);
    ++generation_;
    taken_ = reached_ = session.position;
    unseen_ = {};
    unseen_known_ = false;
    stopping_ = false;
    due_ = std::chrono::steady_clock::now() + config_->verify.every;
    write_dirty(session.position);
  }
  cancel_ = std::make_unique<Interrupt>();
  worker_ = std::thread([this] { work(); });
}

void Verification::end_worker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (cancel_) cancel_->raise();
  if (worker_.joinable()) worker_.join();
  disconnect();  // they wait with the interrupt that was raised
  active_ = false;
}

void Verification::stop() {
  end_worker();
  const std::lock_guard lock(mutex_);
  repairs_.clear();
  if (store_ != nullptr) write_dirty(Lsn());
  store_ = nullptr;
  // They look at the routes of the session, which ends now.
  leads_.clear();
  tables_.clear();
}

void Verification::save(Table& table) {
  table.record_changed = false;
  if (store_ != nullptr) store_->put_verification(table.record);
}

// -------------------------------------------------------------------------------- requests and reports

Job& Verification::find(std::uint64_t id) {
  for (auto& job : jobs_) {
    if (job.id == id) return job;
  }
  throw Error(ErrorKind::precondition, cat("there is no verification ", id, " any more"),
              "begin another: `walign verify`");
}

TableReport& Verification::of(Job& job, const Table& table) {
  for (auto& report : job.report.tables) {
    if (report.table == table.label()) return report;
  }
  // The mapping has changed since it was asked for.
  job.report.tables.emplace_back().table = table.label();
  return job.report.tables.back();
}

bool Verification::asks_for(const Request& request, const Table& table) const {
  const auto& route = *table.plan.route;
  return request.tables.empty() ||
         std::any_of(request.tables.begin(), request.tables.end(), [&](const std::string& name) {
           return name == route.label() || name == route.source.to_string() ||
                  name == route.target.to_string();
         });
}

void Verification::distrust() {
  const std::lock_guard lock(mutex_);
  if (store_ == nullptr) {
    throw Error(ErrorKind::transient, "the sidecar is not streaming, and could not remember it",
                "try again in a moment: `walign status`");
  }
  for (auto& table : tables_) {
    table->mark_whole();
    save(*table);
  }
}

void Verification::trim_jobs() {
  constexpr std::size_t kKept = 16;
  while (jobs_.size() >= kKept && jobs_.front().report.done) jobs_.pop_front();
}

std::uint64_t Verification::begin(const Request& request) {
  const std::lock_guard lock(mutex_);
  if (tables_.empty()) {
    throw Error(ErrorKind::transient, "the sidecar is not streaming yet",
                "try again in a moment: `walign status`");
  }
  if (request.repair && copier_ == nullptr) {
    throw Error(ErrorKind::precondition, "nothing here reads rows again",
                "run the sidecar with backfill: without --no-backfill");
  }
  Job job;
  job.request = request;
  for (const auto& table : tables_) {
    if (!asks_for(request, *table)) continue;
    job.report.tables.emplace_back().table = table->label();
    job.report.tables.back().rows_estimated = static_cast<std::int64_t>(table->plan.rows_estimated);
    if (!request.key.empty() && request.key.size() != table->plan.key.size()) {
      throw Error(ErrorKind::usage,
                  cat(table->label(), " has a key of ", table->plan.key.size(), " columns, ",
                      request.key.size(), " were given"),
                  "give a value of the source's key for each of its columns");
    }
  }
  for (const auto& name : request.tables) {
    const bool known = std::any_of(tables_.begin(), tables_.end(), [&](const auto& table) {
      return asks_for({{name}, false, false, {}}, *table);
    });
    if (!known)
      throw Error(ErrorKind::usage, cat("table ", name, " is not in the mapping"),
                  "`walign plan` lists them");
  }
  job.id = job.report.id = ++last_job_;
  trim_jobs();
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return last_job_;
}

Report Verification::result(std::uint64_t id) const {
  const std::lock_guard lock(mutex_);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): it only looks
  return const_cast<Verification*>(this)->find(id).report;
}

Report Verification::await(std::uint64_t id, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, timeout, [&] { return find(id).report.done; })) return find(id).report;
  throw Error(ErrorKind::transient, cat("verification ", id, " is not done yet"),
              "it goes on: wait for it again");
}

void Verification::report(stream::Status& status) const {
  const std::lock_guard lock(mutex_);
  for (const auto& table : tables_) {
    const auto& route = *table->plan.route;
    for (auto& entry : status.tables) {
      if (entry.source != route.source.to_string() || entry.target != route.target.to_string()) continue;
      if (table->record.verified_lsn() != 0) {
        entry.verified_at = Lsn(table->record.verified_lsn());
        entry.differences = table->record.differences() + table->record.violations();
      }
      entry.dirty_keys =
          table->dirty.whole() ? std::nullopt : std::optional(static_cast<std::int64_t>(table->dirty.size()));
    }
  }
}

std::unique_ptr<Verifier> make(stream::Companion* copier) { return std::make_unique<Verification>(copier); }

}  // namespace walign::verify
