// The same WAL by several slots, read to text.
#pragma once

#include <random>

#include "support/event_text.hpp"
#include "support/server.hpp"
#include "support/temporary_directory.hpp"
#include "walign/source.hpp"

namespace walign::test {

// Everything that a slot has up to `end`, a line for each transaction and change, whatever the parts; and how many
// parts they came in.
struct Read {
  std::vector<std::string> lines;
  int parts = 0;
};

// Up to the transaction that has the message `end`, without that.
inline Read read_until(const std::string& end, source::Source& source) {
  Read out;
  std::size_t began = 0;
  for (;;) {
    auto item = source.next(10s);
    REQUIRE_FALSE(source.ended());
    REQUIRE(item.has_value());
    if (!std::holds_alternative<event::TransactionPart>(*item)) continue;
    auto& part = std::get<event::TransactionPart>(*item);
    part.make_self_contained();
    ++out.parts;
    CHECK(part.first() == (part.tx().part() == 0));
    if (part.first()) {
      began = out.lines.size();
      out.lines.push_back(cat("transaction ", part.tx().xid(), " at ", part.commit_lsn(), " time ",
                              part.tx().commit_time_us(), " origin ", part.tx().origin()));
    }
    for (const auto& change : part.tx().changes()) {
      if (change.kind() == v1::Change::MESSAGE && change.message().prefix() == end) {
        out.lines.resize(began);
        return out;
      }
      out.lines.push_back(event_text::change(change, part.tx()));
    }
    if (!part.last()) continue;
    // Whole ones that changed nothing, or took everything back, are not sent.
    if (out.lines.size() == began + 1) {
      out.lines.pop_back();
    } else {
      out.lines.push_back(cat("end ", part.end_lsn()));
    }
  }
}

inline Read read_until(const std::string& end, const source::SlotOptions& options) {
  return read_until(end, *source::open_slot(options));
}

// Streams what takes more than 64 kB.
struct Both {
  Both() {
    db.exec("CREATE PUBLICATION p FOR ALL TABLES");
    for (const char* slot : {"whole", "running"}) {
      db.exec("SELECT pg_create_logical_replication_slot('" + std::string(slot) + "', 'pgoutput')");
    }
  }
  // A message that comes after everything up to now.
  std::string end() {
    const std::string prefix = "end " + std::to_string(++ends_);
    db.exec("SELECT pg_logical_emit_message(true, '" + prefix + "', '')");
    return prefix;
  }
  Lsn now() { return *Lsn::parse(db.scalar("SELECT pg_current_wal_insert_lsn()::text")); }
  source::SlotOptions slot(const std::string& name) {
    source::SlotOptions options;
    options.connection.conninfo = server.conninfo("app");
    options.publications = {"p"};
    options.slot = name;
    return options;
  }
  // What either slot brings, up to now.
  std::pair<Read, Read> read(std::size_t spill_above = 100'000) {
    const std::string last = end();
    auto whole = read_until(last, slot("whole"));
    auto options = slot("running");
    options.spill_directory = directory.path();
    options.spill_above_bytes = spill_above;
    return {std::move(whole), read_until(last, options)};
  }
  std::int64_t streamed() {
    return db.scalar<std::int64_t>(
        "SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = 'running'");
  }

  Server server{
      {.name = "source", .settings = {"logical_decoding_work_mem = 64kB", "max_prepared_transactions = 10"}}};
  Sql db = server.create_database("app");
  TemporaryDirectory directory;
  int ends_ = 0;
};

inline void same(const Read& whole, const Read& other) {
  const auto [a, b] =
      std::mismatch(whole.lines.begin(), whole.lines.end(), other.lines.begin(), other.lines.end());
  const auto at = [](const Read& read, auto place) {
    return place == read.lines.end() ? std::string("the end") : place->substr(0, 300);
  };
  REQUIRE(at(whole, a) == at(other, b));
  REQUIRE((a == whole.lines.end() && b == other.lines.end()));
}

// Three writers with savepoints, some of them rolled back, in turn; all have ended when it returns.
inline void write_at_random(Both& both, std::mt19937& random, int first_id,
                            const std::function<void(int step)>& meanwhile) {
  const auto any = [&](unsigned n) { return static_cast<int>(random() % n); };
  std::vector<std::unique_ptr<Sql>> writers;
  std::vector<int> depth(3, -1);  // savepoints of each writer's transaction; -1: none is open
  for (int i = 0; i < 3; ++i) writers.push_back(std::make_unique<Sql>(both.db.conninfo()));
  int next = first_id;
  for (int step = 0; step < 300; ++step) {
    meanwhile(step);
    const auto who = static_cast<std::size_t>(any(3));
    auto& sql = *writers[who];
    if (depth[who] < 0) {
      sql.exec("BEGIN");
      depth[who] = 0;
    }
    switch (any(8)) {
      case 0: sql.exec("SAVEPOINT s" + std::to_string(depth[who]++)); break;
      case 1:
        if (depth[who] > 0) sql.exec("ROLLBACK TO s" + std::to_string(--depth[who]));
        break;
      case 2:
        if (depth[who] > 0) sql.exec("RELEASE s" + std::to_string(--depth[who]));
        break;
      case 3:
        sql.exec(any(4) == 0 ? "ROLLBACK" : "COMMIT");
        depth[who] = -1;
        break;
      default: {
        const int rows = 1 + any(600);
        sql.exec("INSERT INTO t SELECT i, repeat('v', 100) FROM generate_series(" + std::to_string(next) +
                 ", " + std::to_string(next + rows - 1) + ") i");
        next += rows;
      }
    }
  }
  for (std::size_t who = 0; who < 3; ++who) {
    if (depth[who] >= 0) writers[who]->exec("COMMIT");
  }
}

}  // namespace walign::test
