// Two sides with every step of a cutover real but the stream, which a thread of the test plays: it copies what the
// giver has once it is fenced, and notes the fence LSN as the applier would.
#pragma once

#include "cutover/step_hands.hpp"
#include "fence_test.hpp"

namespace walign::test {

inline constexpr const char* kFence = "walign_m";

class CutoverBench {
 public:
  CutoverBench() {
    for (auto* bed : {&source, &target}) {
      bed->tables("CREATE TABLE t (id serial PRIMARY KEY, v text) WITH (autovacuum_enabled = off)");
      bed->mapped = {{"public", "t"}};
    }
    source.app.exec("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 10)");
    for (auto* bed : {&source, &target}) {
      apply::install_schema(*bed->giver);
      apply::insert_stream(*bed->giver, kFence, {Lsn(1), 1, "1", 1, "app", kFence, "", ""});
    }
    auto first = hands();
    first.prepare(Side::source, RowState::open);
    first.prepare(Side::target, RowState::closed);
    settings.max_pause = Millis(20'000);
    settings.lease = Millis(60'000);
  }

  Surroundings surroundings() {
    Surroundings around;
    around.gates.oldest_transaction = Millis(60'000);
    around.figures = [this](Side) {
      cutover::Figures figures;
      figures.lag_bytes = lag_bytes;
      figures.lag_seconds = 0;
      figures.differences = 0;
      figures.dead_letters = 0;
      figures.books_balance = true;
      figures.stable_for = Millis(3'600'000);
      return figures;
    };
    around.prove = [](const Attempt&, Millis) { return Answer{}; };
    around.flow = [this](Flow flow) { flowing = flow; };
    around.still = [this](Millis) { return flowing == Flow::none; };
    return around;
  }
  StepHands hands() {
    return {"m",          kFence,        side(source, "old:1/app"), side(target, "new:2/app"), settings,
            next_owner(), surroundings()};
  }
  // Above everybody who has written a row.
  std::uint64_t next_owner() {
    for (const auto& [bed, which] : {std::pair(&source, Side::source), std::pair(&target, Side::target)}) {
      const auto row = read_row(*bed->giver, {kFence, which});
      if (row) owner_ = std::max(owner_, row->owner);
    }
    return ++owner_;
  }

  Result run(StepHands& hands, Verb verb) {
    const Side giver = verb == Verb::cutover ? Side::source : Side::target;
    std::atomic<bool> ended{false};
    std::thread stream([&] { play(giver, ended); });
    Timing timing;
    timing.max_pause = settings.max_pause;
    timing.lease = settings.lease;
    Driver driver(hands, timing, Clock::system(), [](Millis time) { std::this_thread::sleep_for(time); }, {});
    Result result;
    try {
      result = driver.run({verb, Extent::real});
    } catch (...) {
      ended = true;
      stream.join();
      throw;
    }
    ended = true;
    stream.join();
    return result;
  }

  FenceBed source, target;
  config::Cutover settings;
  std::int64_t lag_bytes = 0;
  std::atomic<Flow> flowing{Flow::none};
  // The epoch of which the opened side's row says that the switch hook has run.
  std::string switched(FenceBed& side) {
    return side.admin.scalar("SELECT coalesce(max(switched_epoch), 0)::text FROM walign.fence");
  }

  static FenceSide side(const FenceBed& bed, const std::string& address) {
    FenceSide out;
    out.connection = bed.options();
    out.tables = bed.mapped;
    out.address = address;
    out.stream = kFence;
    return out;
  }

 private:
  void play(Side giver, const std::atomic<bool>& ended) {
    FenceBed& from = giver == Side::source ? source : target;
    FenceBed& to = giver == Side::source ? target : source;
    pg::Connection gives(from.options());
    pg::Connection takes(to.options(true));
    while (!ended) {
      const auto row = read_row(gives, {kFence, giver});
      if (!row || row->state != RowState::fenced) {
        std::this_thread::sleep_for(Millis(5));
        continue;
      }
      const Lsn end = gives.exec("SELECT pg_current_wal_insert_lsn()").lsn(0, 0);
      const auto rows = gives.exec("SELECT id, v FROM public.t");
      takes.exec("BEGIN; DELETE FROM public.t");
      for (int i = 0; i < rows.rows(); ++i) {
        takes.query("INSERT INTO public.t VALUES ($1, $2)", {rows.str(i, 0), rows.str(i, 1)});
      }
      const auto note = note_fence_lsn({kFence, other(giver)}, row->epoch, end);
      takes.query(note.sql, note.params);
      takes.query("UPDATE walign.stream SET position = $1", {end.to_string()});
      takes.exec("COMMIT");
      return;
    }
  }
  std::uint64_t owner_ = 6;
};

}  // namespace walign::test
