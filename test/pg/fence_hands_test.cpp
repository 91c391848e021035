// The protocol driven on two real servers: rows, triggers and locks are walign's; the stream is played by the test,
// which copies what the giver has when it drains.
#include "cutover/fence_hands.hpp"

#include <mutex>
#include <set>

#include "fence_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

Server& second_server() {
  static Server server({.name = "fence-target"});
  return server;
}

FenceSide side_of(const FenceBed& bed, const std::string& address) {
  FenceSide side;
  side.connection = bed.options();
  side.tables = bed.mapped;
  side.address = address;
  side.stream = "walign_m";
  return side;
}

config::Cutover quick() {
  config::Cutover settings;
  settings.max_pause = Millis(5000);
  settings.lease = Millis(15'000);
  return settings;
}

class TestHands : public FenceHands {
 public:
  TestHands(FenceBed& source, FenceBed& target, std::uint64_t owner, config::Cutover settings = quick())
      : FenceHands("walign_m", side_of(source, "old:1/app"), side_of(target, "new:2/app"),
                   std::move(settings), owner),
        source_(source),
        target_(target) {}

  Answer work(Step step, const Attempt& attempt, Millis) override {
    done.emplace_back(name(step));
    if (fails == name(step)) return {Answer::Kind::refused, "as the test wishes"};
    if (step == Step::drain) drain(attempt);
    return {};
  }
  void flow(Flow) override {}

  std::string fails;
  std::vector<std::string> done;
  std::function<void()> after_fence;

 private:
  void drain(const Attempt& attempt) {
    FenceBed& giver = attempt.giver == Side::source ? source_ : target_;
    FenceBed& taker = attempt.giver == Side::source ? target_ : source_;
    if (after_fence) after_fence();
    pg::Connection applies(taker.options(true));
    applies.exec("BEGIN; DELETE FROM public.t");
    const auto rows = giver.admin.value("SELECT string_agg(format('(%s, %L)', id, v), ', ') FROM t");
    if (rows) applies.exec("INSERT INTO public.t VALUES " + *rows);
    const auto note = note_fence_lsn(id(other(attempt.giver)), attempt.epoch, figures().after_fence_lsn);
    applies.query(note.sql, note.params);
    applies.query("UPDATE walign.stream SET position = $1", {figures().after_fence_lsn.to_string()});
    applies.exec("COMMIT");
  }

  FenceBed& source_;
  FenceBed& target_;
};

// Two databases on two servers, ready for a cutover.
class Pair {
 public:
  Pair() : source(fence_server()), target(second_server()) {
    source.one_table();
    target.tables("CREATE TABLE t (id int PRIMARY KEY, v text)");
    target.mapped = source.mapped;
    auto hands = this->hands();
    hands.prepare(Side::source, RowState::open);
    hands.prepare(Side::target, RowState::closed);
    for (auto* bed : {&source, &target}) {
      bed->giver->exec("CREATE TABLE walign.stream (name text, position pg_lsn)");
      bed->giver->exec("INSERT INTO walign.stream VALUES ('walign_m', '0/1')");
    }
  }
  [[nodiscard]] TestHands hands() { return {source, target, ++owner_}; }
  Result run(TestHands& hands, Verb verb, Extent extent = Extent::real) {
    Driver driver(hands, {quick().max_pause, Millis(2000), Millis(20), true}, Clock::system(),
                  [](Millis time) { std::this_thread::sleep_for(time); }, {});
    return driver.run({verb, extent});
  }
  // Which side takes writes: "source", "target", "none"; "both" is what must never be.
  std::string open_side() {
    const std::string at = std::to_string(1000 + next_++);
    const bool s = outcome(source.app, "INSERT INTO t VALUES (" + at + ", 'w')") == "ok";
    const bool t = outcome(target.app, "INSERT INTO t VALUES (" + at + ", 'w')") == "ok";
    return s && t ? "both" : s ? "source" : t ? "target" : "none";
  }
  FenceBed source;
  FenceBed target;

 private:
  std::uint64_t owner_ = 6;
  int next_ = 0;
};

}  // namespace

TEST_CASE("cut over, work on the target, come back, and cut over again") {
  Pair pair;
  CHECK(pair.open_side() == "source");
  for (int round = 1; round <= 2; ++round) {
    auto forth = pair.hands();
    forth.after_fence = [&] { CHECK(pair.open_side() == "none"); };
    CHECK(pair.run(forth, Verb::cutover).outcome == Result::Outcome::done);
    CHECK(pair.open_side() == "target");
    CHECK(message_of(pair.source.app, "DELETE FROM t").find("new:2/app") != std::string::npos);
    auto back = pair.hands();
    back.after_fence = [&] { CHECK(pair.open_side() == "none"); };
    CHECK(pair.run(back, Verb::rollback).outcome == Result::Outcome::done);
    CHECK(pair.open_side() == "source");
    CHECK(message_of(pair.target.app, "DELETE FROM t").find("old:1/app") != std::string::npos);
  }
  CHECK(pair.source.app.scalar<int>("SELECT count(*) FROM t") == 15);
}

namespace {

using Moment = std::chrono::steady_clock::time_point;

// Writers pinned to a side that never stop trying, and remember what was accepted and when.
class Pinned {
 public:
  struct Write {
    Side side;
    std::string id;
    Moment sent, answered;
  };
  Pinned(FenceBed& bed, Side side, int writers) {
    for (int w = 0; w < writers; ++w) threads_.emplace_back([this, &bed, side, w] { write(bed, side, w); });
  }
  ~Pinned() { stop(); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  std::vector<Write> stop() {
    stop_ = true;
    for (auto& t : threads_) t.join();
    threads_.clear();
    return accepted_;
  }
  [[nodiscard]] std::string others() const { return others_; }

 private:
  void write(FenceBed& bed, Side side, int writer) {
    Sql db = bed.as("app");
    if (writer == 1) db.exec("SET default_transaction_isolation = 'repeatable read'");
    for (int i = 0; !stop_; ++i) {
      const std::string id = std::to_string(10'000 + (side == Side::source ? 0 : 1) + 2 * (writer + 4 * i));
      const Moment sent = std::chrono::steady_clock::now();
      const auto got = outcome(db, "INSERT INTO t VALUES (" + id + ", 'w')");
      const Moment answered = std::chrono::steady_clock::now();
      {
        const std::lock_guard lock(mutex_);
        if (got == "ok") accepted_.push_back({side, id, sent, answered});
        if (got != "ok" && got != "25006") others_ += got + " ";
      }
      std::this_thread::sleep_for(Millis(1));
    }
  }
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<Write> accepted_;
  std::string others_;
  std::vector<std::thread> threads_;
};

}  // namespace

TEST_CASE("under writers on both sides no two sides take writes, and no accepted write is lost") {
  Pair pair;
  std::vector<Moment> changes;
  std::vector<Pinned::Write> writes;
  {
    Pinned on_source(pair.source, Side::source, 2);
    Pinned on_target(pair.target, Side::target, 2);
    for (int i = 0; i < 6; ++i) {
      std::this_thread::sleep_for(Millis(100));
      auto hands = pair.hands();
      changes.push_back(std::chrono::steady_clock::now());
      const auto result = pair.run(hands, i % 2 == 0 ? Verb::cutover : Verb::rollback);
      CAPTURE(i, result.message);
      CHECK(result.outcome == Result::Outcome::done);
    }
    std::this_thread::sleep_for(Millis(100));
    writes = on_source.stop();
    const auto more = on_target.stop();
    writes.insert(writes.end(), more.begin(), more.end());
    CHECK(on_source.others() == "");
    CHECK(on_target.others() == "");
    CHECK(writes.size() > more.size());
    CHECK(more.size() > 10);
  }
  changes.push_back(Moment::max());
  // From the beginning of a change to that of the next: nothing on the old side after something on the new one.
  int both = 0;
  for (std::size_t i = 0; i + 1 < changes.size(); ++i) {
    const Side fresh = i % 2 == 0 ? Side::target : Side::source;
    Moment first_fresh = Moment::max();
    for (const auto& w : writes) {
      if (w.side == fresh && w.sent > changes[i] && w.answered < changes[i + 1]) {
        first_fresh = std::min(first_fresh, w.answered);
      }
    }
    for (const auto& w : writes) {
      both += w.side != fresh && w.sent > first_fresh && w.answered < changes[i + 1] ? 1 : 0;
    }
  }
  CHECK(both == 0);
  std::set<std::string> there;
  for (const auto& row : pair.source.admin.rows("SELECT id FROM t")) there.insert(*row[0]);
  int lost = 0;
  for (const auto& w : writes) lost += there.contains(w.id) ? 0 : 1;
  CHECK(lost == 0);
}

TEST_CASE("whatever fails before the open leaves writes where they were, and the next attempt works") {
  Pair pair;
  for (const char* step : {"gate", "before_fence", "drain", "prove", "sequences", "before_open", "freeze"}) {
    INFO(step);
    auto hands = pair.hands();
    hands.fails = step;
    const auto result = pair.run(hands, Verb::cutover);
    const bool touched = hands.done.size() > 2;
    CHECK(result.outcome == (touched ? Result::Outcome::backed_out : Result::Outcome::gate));
    CHECK(result.message == "as the test wishes");
    CHECK(pair.open_side() == "source");
  }
  auto hands = pair.hands();
  CHECK(pair.run(hands, Verb::cutover).outcome == Result::Outcome::done);
  CHECK(pair.open_side() == "target");
}

TEST_CASE("an attempt that is slower than its lease loses to the first writer, and opens nothing") {
  Pair pair;
  auto settings = quick();
  settings.lease = Millis(50);
  TestHands hands(pair.source, pair.target, 50, settings);
  hands.after_fence = [&] {
    std::this_thread::sleep_for(Millis(100));
    CHECK(outcome(pair.source.app, "INSERT INTO t VALUES (700, 'after the lease')") == "ok");
  };
  CHECK(pair.run(hands, Verb::cutover).outcome == Result::Outcome::backed_out);
  CHECK(pair.open_side() == "source");
  CHECK(pair.target.state(Side::target) != RowState::open);
  CHECK(pair.source.app.scalar<int>("SELECT count(*) FROM t WHERE id = 700") == 1);
}

TEST_CASE("a table that cannot be fenced in time is backed out of") {
  Pair pair;
  Sql holder = pair.source.as("app");
  holder.exec("BEGIN; INSERT INTO t VALUES (500, 'held')");
  auto hands = pair.hands();
  CHECK(pair.run(hands, Verb::cutover).outcome == Result::Outcome::backed_out);
  CHECK(pair.open_side() == "source");
  holder.exec("COMMIT");
}

TEST_CASE("a fence that somebody has taken down is found before the seal") {
  Pair pair;
  auto hands = pair.hands();
  hands.after_fence = [&] { pair.source.admin.exec("ALTER TABLE t DISABLE TRIGGER ALL"); };
  const auto result = pair.run(hands, Verb::cutover);
  CHECK(result.outcome == Result::Outcome::backed_out);
  CHECK(pair.target.state(Side::target) != RowState::open);
}

TEST_CASE("an older instance that wakes up finds itself displaced and opens nothing") {
  Pair pair;
  auto old = pair.hands();
  auto young = pair.hands();
  bool took_over = false;
  old.after_fence = [&] {
    if (took_over) return;
    took_over = true;
    young.fails = "prove";
    // It finds the attempt half done, goes on with it, and backs out.
    CHECK(pair.run(young, Verb::cutover).outcome == Result::Outcome::backed_out);
    CHECK(pair.open_side() == "source");
  };
  const auto result = pair.run(old, Verb::cutover);
  CHECK(result.outcome == Result::Outcome::in_doubt);
  CHECK(pair.open_side() == "source");
}

TEST_CASE("a rehearsal predicts and changes nothing") {
  Pair pair;
  auto hands = pair.hands();
  const auto result = pair.run(hands, Verb::cutover, Extent::rehearse);
  CHECK(result.outcome == Result::Outcome::done);
  CHECK(hands.figures().tables.size() == 1);
  CHECK(hands.figures().predicted_ms > 0);
  CHECK(pair.source.state() == RowState::open);
  CHECK(read_row(*pair.target.giver, {"walign_m", Side::target})->epoch == 0);
  CHECK(pair.open_side() == "source");
}

TEST_CASE("a server of another timeline stops everything") {
  Pair pair;
  auto source = side_of(pair.source, "old:1/app");
  source.system_id = "1";
  source.timeline = 1;
  class Idle : public FenceHands {
   public:
    using FenceHands::FenceHands;
    Answer work(Step, const Attempt&, Millis) override { return {}; }
    void flow(Flow) override {}
  } hands("walign_m", source, side_of(pair.target, "new:2/app"), quick(), 99);
  CHECK(hands.read_row(Side::source).kind == RowRead::Kind::other_timeline);
  CHECK(hands.read_row(Side::target).kind == RowRead::Kind::row);
  CHECK_THROWS_AS(hands.prepare(Side::source, RowState::open), Error);
}
