// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <poll.h>

#include <array>
#include <thread>

#include "session.hpp"
#include "walign/pulse.hpp"

namespace walign::stream {

namespace {

constexpr auto kGrace = std::chrono::seconds(10);   // for a batch in flight when asked to stop
constexpr auto kLasted = std::chrono::seconds(30);  // after this a failure is not one of a row
constexpr auto kMonitorEvery = std::chrono::seconds(1);
constexpr double kNotKnown = std::numeric_limits<double>::quiet_NaN();
constexpr const char* kSafeHelp =
    "WAL that may still be written before the slot loses what it needs; +Inf without max_slot_wal_keep_size.";

// Once asked to stop, waits for the grace and then raises `hard`. A thread that waits for nothing else: whoever asks
// a server can be held up by it.
class Grace {
 public:
  Grace(const Interrupt& stop, Interrupt& hard) : stop_(stop), hard_(hard), thread_([this] { watch(); }) {}
  ~Grace() {
    done_.raise();
    thread_.join();
  }
  Grace(const Grace&) = delete;
  Grace& operator=(const Grace&) = delete;

 private:
  void watch() {
    std::array<pollfd, 2> entries = {{{stop_.fd(), POLLIN, 0}, {done_.fd(), POLLIN, 0}}};
    while (!stop_.raised() && !done_.raised()) ::poll(entries.data(), entries.size(), -1);
    try {
      done_.sleep_for(kGrace);
    } catch (const Error&) {  // it ended in time
      return;
    }
    hard_.raise();
  }

  const Interrupt& stop_;
  Interrupt& hard_;
  Interrupt done_;
  std::thread thread_;  // last: it uses all of the above
};

// Asks the source, on a connection of its own, where its WAL ends and what the slot keeps; computes the lag.
class Monitor {
 public:
  Monitor(const Options& options, Board& board)
      : options_(options), board_(board), thread_([this] { watch(); }) {}
  ~Monitor() {
    done_.raise();
    thread_.join();
    if (options_.metrics == nullptr) return;
    export_metrics(*options_.metrics, board_.status());  // not connected any more
    forget(*options_.metrics, board_.status());
  }
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

 private:
  void watch() {
    while (!done_.raised()) {
      try {
        look();
        done_.sleep_for(kMonitorEvery);
      } catch (
          const Error&) {  // the session says what is wrong with the source; here it only means "not known"
        connection_.reset();
        board_.update([](Status& s) { s.source_lsn.reset(); });
        if (!done_.raised()) std::this_thread::sleep_for(std::chrono::milliseconds(200));
      }
    }
  }

  void look() {
    const auto& config = options_.config;
    if (!connection_) {
      connection_ =
          std::make_unique<pg::Connection>(connection_options(config, config.source, "monitor", &done_));
      segment_bytes_ = pg::read_server(*connection_).wal_segment_bytes;
    }
    const Lsn lsn = source::current_lsn(*connection_, segment_bytes_);
    const auto r = connection_->query(
        "SELECT wal_status, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), "
        "restart_lsn)::bigint, "
        "safe_wal_size, pg_catalog.current_setting('max_slot_wal_keep_size') <> '-1' "
        "FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
        {config.slot_name()});
    const std::int64_t now = Clock::system().unix_micros();
    board_.update([&](Status& s) {
      s.source_lsn = lsn;
      s.slot_wal_status = r.rows() > 0 && !r.is_null(0, 0) ? std::optional(r.str(0, 0)) : std::nullopt;
      s.slot_retained_bytes =
          r.rows() > 0 && !r.is_null(0, 1) ? std::optional(r.integer(0, 1)) : std::nullopt;
      if (!s.applied) return;
      s.lag_bytes = lsn > *s.applied ? static_cast<std::int64_t>(lsn.value - s.applied->value) : 0;
      s.lag_seconds = lag_.look(lsn, *s.applied, now);
    });
    if (options_.metrics == nullptr) return;
    export_metrics(*options_.metrics, board_.status());
    set(*options_.metrics, "walign_slot_safe_bytes", kSafeHelp, safe_bytes(r));
  }

  // What may still be written before WAL that the slot needs is thrown away.
  static double safe_bytes(const pg::Result& slot) {
    if (slot.rows() == 0) return kNotKnown;
    if (!slot.boolean(0, 3)) return std::numeric_limits<double>::infinity();
    return slot.is_null(0, 2) ? kNotKnown : static_cast<double>(slot.integer(0, 2));
  }

  static void set(obs::Metrics& m, const std::string& name, const std::string& help, double value,
                  const obs::Labels& labels = {}) {
    m.gauge(name, help, labels).set(value);
  }

  static void export_metrics(obs::Metrics& m, const Status& s) {
    const auto lsn = [&](const std::string& which, const std::optional<Lsn>& at) {
      if (at) {
        set(m, cat("walign_", which, "_lsn_bytes"), cat("Position in the source's WAL: ", which, "."),
            static_cast<double>(at->value));
      }
    };
    lsn("source", s.source_lsn);
    lsn("received", s.received);
    lsn("applied", s.applied);
    lsn("durable", s.durable);
    lsn("acknowledged", s.acknowledged);
    if (s.lag_bytes)
      set(m, "walign_lag_bytes", "WAL of the source not yet applied.", static_cast<double>(*s.lag_bytes));
    if (s.lag_seconds)
      set(m, "walign_lag_seconds", "Age of the oldest WAL that is not applied yet.", *s.lag_seconds);
    if (s.slot_retained_bytes) {
      set(m, "walign_slot_retained_bytes", "WAL that the source keeps for the slot.",
          static_cast<double>(*s.slot_retained_bytes));
    }
    set(m, "walign_slot_safe", "1 while the slot has all the WAL it needs.",
        s.slot_wal_status == "reserved" || s.slot_wal_status == "extended" ? 1 : 0);
    set(m, "walign_connected", "1 while streaming.", s.connected ? 1 : 0);
    set(m, "walign_paused", "1 while apply is held (walign pause apply).", s.paused ? 1 : 0);
    set(m, "walign_books_balanced", "1 while rows decoded = applied + filtered + dropped + dead letters.",
        books_balance(s) ? 1 : 0);
    if (s.dead_letters) {
      set(m, "walign_dead_letters", "Changes set aside, now.", static_cast<double>(*s.dead_letters));
    }
    raise(m.counter("walign_transactions_total", "Source transactions applied."),
          static_cast<double>(s.transactions));
    for (const auto& table : s.tables) {
      export_copy(m, table);
      const auto count = [&](const char* what, std::uint64_t value) {
        raise(m.counter("walign_rows_total", "Changes of rows, by what became of them.",
                        {{"table", cat(table.source, " -> ", table.target)}, {"operation", what}}),
              static_cast<double>(value));
      };
      count("decoded", table.books.decoded);
      count("applied", table.books.applied);
      count("filtered", table.books.filtered);
      count("dropped", table.books.dropped);
      count("dead_letter", table.books.dead_letters);
    }
  }

  static bool books_balance(const Status& s) {
    return std::all_of(s.tables.begin(), s.tables.end(),
                       [](const TableStatus& t) { return t.books.balance(); });
  }

  // Nobody looks any more: what is only true of a moment is not known. A number that stands still would be believed.
  static void forget(obs::Metrics& m, const Status& s) {
    if (s.lag_bytes) set(m, "walign_lag_bytes", "", kNotKnown);
    if (s.lag_seconds) set(m, "walign_lag_seconds", "", kNotKnown);
    if (s.slot_retained_bytes) set(m, "walign_slot_retained_bytes", "", kNotKnown);
    set(m, "walign_slot_safe_bytes", kSafeHelp, kNotKnown);
    set(m, "walign_slot_safe", "", kNotKnown);
  }

  static void export_copy(obs::Metrics& m, const TableStatus& table) {
    const obs::Labels labels = {{"table", cat(table.source, " -> ", table.target)}};
    const auto gauge = [&](const char* name, const char* help, const std::optional<std::int64_t>& value) {
      if (value) set(m, name, help, static_cast<double>(*value), labels);
    };
    gauge("walign_backfill_rows", "Old rows copied.", table.rows_copied);
    gauge("walign_backfill_rows_estimated", "Old rows that there are, about.", table.rows_estimated);
    gauge("walign_chunks_done", "Chunks loaded, of a table that is being copied.", table.chunks_done);
    gauge("walign_chunks", "Chunks of a table that is being copied, about.", table.chunks);
    gauge("walign_differing_rows", "Differences found by the last verification.", table.differences);
    gauge("walign_dirty_keys", "Keys changed since they were last verified.", table.dirty_keys);
    if (table.verified_at) {
      set(m, "walign_verified_lsn_bytes",
          "Position in the source's WAL as of which both sides were compared.",
          static_cast<double>(table.verified_at->value), labels);
    }
  }

  static void raise(obs::Counter& counter, double to) {
    if (to > counter.value()) counter.add(to - counter.value());
  }

  const Options& options_;
  Board& board_;
  Interrupt done_;
  LagAge lag_;  // the thread's, as the next two
  std::unique_ptr<pg::Connection> connection_;
  std::uint64_t segment_bytes_ = 0;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

void Companion::take_again(int route, const std::vector<std::vector<std::string>>& keys) {
  throw Error(ErrorKind::precondition,
              cat("nothing here reads rows again (route ", route, ", ", keys.size(), " keys)"),
              "run the sidecar with backfill: without --no-backfill");
}

struct Sidecar::Impl {
  explicit Impl(Options o)
      : options(std::move(o)), store(state::Store::open(options.config.state, options.config.migration)) {
    WALIGN_CHECK(options.stop != nullptr);
    carried.until = options.until;
    board.update([&](Status& s) {
      s.migration = options.config.migration;
      s.slot_name = options.config.slot_name();
      s.phase = store->phase();
      s.started_at_us = s.stable_since_us = Clock::system().unix_micros();
      if (options.config.reverse) s.direction = "reverse";
    });
  }

  // What is done about what ended a session. Returns if another shall follow.
  void after(const Error& error) {
    const bool again = remedy(error.kind()) == Remedy::retry;
    board.update([&](Status& s) {
      s.connected = false;
      s.tries_again = again;
      s.last_error = error.message();
      s.stable_since_us = Clock::system().unix_micros();
    });
    if (!again) throw Error(error);
    if (options.metrics != nullptr) {
      options.metrics->counter("walign_retries_total", "Sessions started again after an error.").add();
    }
    const bool lasted = std::chrono::steady_clock::now() - session_began > kLasted;
    failures = std::exchange(carried.made_progress, false) || lasted ? 1 : failures + 1;
    const auto delay = retry_delay(failures);
    obs::log_error(obs::Level::warn, cat("starting again in ", delay.count(), " ms"), error);
    options.stop->sleep_for(delay);
  }

  void read_again(const apply::ReadAgain& again) {
    obs::warn("a large transaction failed for its data: it is read again and applied row by row",
              {{"lsn", again.careful_commit_lsn}});
    carried.careful_at = again.careful_commit_lsn;
  }

  // First the catalogs are read again: it may be a partition made since. If it is still none of the mapping's
  // tables, its rows are not ours; if it is one of them under another name, that is a change of the schema.
  void unknown(const apply::UnknownRelation& relation) {
    if (carried.asked_relations.insert(relation.oid).second) {
      obs::info("a table of the stream is not in the mapping: reading the catalogs again",
                {{"table", relation.name.to_string()}});
      return;
    }
    pg::Connection source(connection_options(options.config, options.config.source, "control", options.stop));
    const auto prepared = prepare(options.config, options.stop);
    for (const auto& route : prepared.routes) {
      const auto found = prepared.source_catalog.find({route.source.schema, route.source.name});
      if (found == prepared.source_catalog.end() || found->second.oid != relation.oid) continue;
      throw Error(
          ErrorKind::precondition,
          cat("table ", relation.name.to_string(), " of the stream is now called ", route.source.to_string()),
          "finish with the old name first: rename it back, let walign catch up, then rename it in both");
    }
    obs::warn(
        "rows of a table that the mapping does not name are passed over; take it out of the publication",
        {{"table", relation.name.to_string()}, {"publication", options.config.stream_name()}});
    carried.ignored_relations.insert(relation.oid);
  }

  // First the catalogs are read again: the table may have been altered since, in a way that the mapping covers.
  void shape_unknown(const ShapeUnknown& shape) {
    auto& asked_at = carried.asked_shapes[{shape.oid, shape.what}];
    if (std::exchange(asked_at, shape.commit_lsn) != shape.commit_lsn) {
      obs::info("a table of the stream was altered: reading the catalogs again",
                {{"table", shape.name.to_string()}, {"lsn", shape.commit_lsn}, {"what", shape.what}});
      carried.shape_asked = shape;
      return;
    }
    throw Error(
        ErrorKind::precondition,
        cat("table ", shape.name.to_string(), " was altered in a way that cannot be followed: ", shape.what),
        "the stream has stopped before this row; docs/schema.md, \"The table must be copied again\": take "
        "the table out of walign.yaml, run, and put it back with existing_rows: adopt")
        .at(shape.commit_lsn);
  }

  // What begins now may be refused because of it.
  Error altered(const Error& error) {
    if (!carried.shape_asked || remedy(error.kind()) == Remedy::retry) return error;
    const auto shape = *std::exchange(carried.shape_asked, std::nullopt);
    return Error(error.kind(),
                 cat("table ", shape.name.to_string(), " was altered before the row at ", shape.commit_lsn,
                     ": ", shape.what, "; the mapping does not cover that: ", error.message()),
                 cat(error.hint(), "; the stream has stopped before that row and goes on from there"))
        .at(shape.commit_lsn);
  }

  // False: another session shall follow.
  bool one_session() {
    session_began = std::chrono::steady_clock::now();
    try {
      Session(options, *store, board, carried, hard).run();
      return true;
    } catch (const BeginAgain&) {
      obs::info("beginning again: there are tables to copy, or partitions have come or gone");
    } catch (const ShapeUnknown& shape) {
      shape_unknown(shape);
    } catch (const apply::ReadAgain& again) {
      read_again(again);
    } catch (const apply::UnknownRelation& relation) {
      unknown(relation);
    }
    return false;
  }

  void run() {
    const Pulse pulse;
    const Grace grace(*options.stop, hard);
    const Monitor monitor(options, board);
    for (bool ended = false; !ended;) {
      try {
        ended = one_session();
      } catch (const Error& error) {
        after(altered(error));
      }
    }
    options.stop->throw_if_raised();
  }

  Options options;
  std::unique_ptr<state::Store> store;
  Board board;
  Carried carried;
  Interrupt hard;
  int failures = 0;  // in a row
  std::chrono::steady_clock::time_point session_began;
};

Sidecar::Sidecar(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Sidecar::~Sidecar() = default;
void Sidecar::run() { impl_->run(); }
Status Sidecar::status() const { return impl_->board.status(); }
bool Sidecar::pause_backfill(bool paused) {
  const Companions companions(impl_->options.companions);
  auto* copier = companions.copier();
  if (copier == nullptr || !copier->active()) return false;
  copier->pause(paused);
  return true;
}
bool Sidecar::pause_apply(std::chrono::milliseconds patience) {
  impl_->board.pause(true);
  return !status().connected || impl_->board.comes_to_it(patience);
}
void Sidecar::resume_apply() { impl_->board.pause(false); }
void Sidecar::put_phase(const std::string& phase) { impl_->store->put_phase(phase); }
void Sidecar::retry_dead_letter(std::int64_t id, std::chrono::milliseconds timeout) {
  impl_->board.ask([id](apply::Applier& applier) { applier.retry_dead_letter(id); }, timeout);
}
void Sidecar::discard_dead_letter(std::int64_t id, std::chrono::milliseconds timeout) {
  impl_->board.ask([id](apply::Applier& applier) { applier.discard_dead_letter(id); }, timeout);
}

}  // namespace walign::stream
