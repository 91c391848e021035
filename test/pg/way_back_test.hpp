// A migration whose target takes the writes: forward by `Run`, back by the same machinery with source and target
// exchanged.
//
//   Migration m; ... m.tables = ...;
//   { Run run(m); run.catch_up(m.source); }
//   Back back(m);                       // from here on, changes of the target
//   m.target.exec("UPDATE ...");
//   back.catch_up();
#pragma once

#include "support/migration.hpp"

namespace walign::test {

inline pg::ConnectionOptions to(const std::string& conninfo) {
  pg::ConnectionOptions options;
  options.conninfo = conninfo;
  options.application_name = "way back";
  return options;
}

// What preflight says of the way back.
inline stream::WaysBack ways_back(const Migration& m) {
  const auto config = m.config();
  const auto prepared = stream::prepare(config, nullptr);
  for (const auto& f : prepared.findings) {
    if (f.level == mapping::Finding::Level::fail) throw std::runtime_error("forward: " + f.what);
  }
  return stream::ways_back(config, prepared, nullptr);
}

inline std::string failed(const mapping::Findings& findings) {
  std::string out;
  for (const auto& f : findings) {
    if (f.level == mapping::Finding::Level::fail) out += f.subject + ": " + f.what + " / " + f.remedy + "\n";
  }
  return out;
}
inline std::string all(const mapping::Findings& findings) {
  std::string out;
  for (const auto& f : findings) {
    if (f.level != mapping::Finding::Level::ok) out += f.subject + ": " + f.what + " / " + f.remedy + "\n";
  }
  return out;
}

class Back {
 public:
  explicit Back(Migration& m) : m_(m), source_(to(m.source_url)), target_(to(m.target_url)) {
    ways = ways_back(m);
    if (mapping::any_failed(ways.findings)) throw std::runtime_error(failed(ways.findings));
    std::vector<config::TableName> tables;
    for (const auto& way : ways.tables) {
      if (!way.route) continue;
      routes.push_back(*way.route);
      if (std::find(tables.begin(), tables.end(), way.route->source) == tables.end())
        tables.push_back(way.route->source);
    }
    source::create_publication(target_, name_, tables, false);
    apply::install_schema(source_);
    const auto slot = source::create_slot(
        to(m.target_url), name_, [](pg::Connection&) {}, [] {});
    const auto facts = pg::read_server(target_);
    apply::StreamRow row;
    row.source_system_id = facts.system_id;
    row.source_timeline = facts.timeline;
    row.source_database = facts.database;
    row.slot = name_;
    row.mapping_hash = mapping::mapping_hash(routes);
    apply::insert_stream(source_, name_, row);
    apply::begin_stream(source_, name_, slot.consistent_point, slot.snapshot);
    open();
  }
  ~Back() {
    stream_.reset();
    applier_.reset();
    try {
      m_.target.exec("SELECT pg_drop_replication_slot('" + name_ + "')");
    } catch (const std::exception&) {  // still being let go of
    }
  }
  Back(const Back&) = delete;
  Back& operator=(const Back&) = delete;

  // Until everything that was committed on the target when this is called is applied to the source.
  void catch_up() {
    m_.target.exec("SELECT pg_logical_emit_message(true, 'test', 'catch up')");
    const auto end =
        Lsn::parse(m_.target.scalar("SELECT pg_current_wal_insert_lsn()::text"))->without_page_header();
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (std::chrono::steady_clock::now() < deadline) {
      auto item = stream_->next(20ms);
      if (!item) {
        if (applier_->pending()) applier_->flush();
        continue;
      }
      if (const auto* progress = std::get_if<source::Progress>(&*item)) {
        if (progress->lsn < end) continue;
        if (applier_->pending()) applier_->flush();
        return;
      }
      applier_->add(std::move(std::get<event::TransactionPart>(*item)));
      if (applier_->full()) applier_->flush();
    }
    throw std::runtime_error("the way back did not catch up");
  }
  [[nodiscard]] const apply::Applier& applier() const { return *applier_; }

  stream::WaysBack ways;
  std::vector<mapping::Route> routes;

 private:
  void open() {
    apply::Options options;
    options.connection = to(m_.source_url);
    options.stream = name_;
    applier_ = std::make_unique<apply::Applier>(std::move(options), routes);
    source::SlotOptions slot;
    slot.connection = to(m_.target_url);
    slot.slot = name_;
    slot.publications = {name_};
    slot.from = applier_->position();
    slot.spill_directory = m_.state.string();
    stream_ = source::open_slot(slot);
  }

  Migration& m_;
  const std::string name_ = m_.stream() + "_back";
  pg::Connection source_;
  pg::Connection target_;
  std::unique_ptr<apply::Applier> applier_;
  std::unique_ptr<source::Source> stream_;
};

// Forward, until both sides agree.
inline void bring(Migration& m) {
  Run run(m);
  run.catch_up(m.source);
  run.stop();
}

}  // namespace walign::test
