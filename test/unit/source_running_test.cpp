// Transactions that come in blocks while they run, kept until they commit: in memory, and out of it.
#include <random>

#include "source/running.hpp"
#include "support/catch.hpp"
#include "support/event_text.hpp"
#include "support/temporary_directory.hpp"
#include "support/wire.hpp"

using namespace walign;

namespace {

// An assembler and what keeps its parts.
class Kept {
 public:
  explicit Kept(std::size_t memory_bytes, std::size_t part_bytes = 500)
      : assembler_(part_bytes, {4, false, false}),
        running_(state::Spill::open(directory_.path()), memory_bytes) {}

  void take(const std::string& bytes) {
    auto taken = assembler_.take(decode::decode(as_bytes(bytes), assembler_.place()));
    if (auto* part = std::get_if<event::RunningPart>(&taken)) running_.add(std::move(*part));
    if (auto* aborted = std::get_if<event::RunningAborted>(&taken)) running_.abort(*aborted);
    if (auto* committed = std::get_if<event::RunningCommitted>(&taken)) {
      committed_.push_back(running_.commit(*committed));
    }
  }
  // The ids that the oldest committed transaction inserts, through all its parts.
  std::vector<std::string> ids() {
    auto whole = std::move(committed_.front());
    committed_.erase(committed_.begin());
    std::vector<std::string> out;
    for (std::uint32_t number = 0;; ++number) {
      auto part = whole->next();
      CHECK(part.tx().part() == number);
      CHECK(part.commit_lsn() == Lsn(0x100));
      CHECK(part.end_lsn().valid() == part.last());
      memory_bytes_ += part.memory_bytes();
      for (const auto& change : part.tx().changes()) {
        CHECK(change.xid() == 0);
        CHECK(part.relations().at(change.relation())->name() == "t");
        relations_.insert(part.relations().at(change.relation()));
        event::for_each_value(change.new_row(), [&](int i, const event::Value& v) {
          if (i == 0) out.emplace_back(v.bytes);
        });
      }
      if (part.last()) return out;
    }
  }
  [[nodiscard]] std::size_t memory_bytes() const { return running_.memory_bytes(); }
  // Of all parts that came out: a batch is cut by it.
  [[nodiscard]] std::size_t descriptions() const { return relations_.size(); }
  [[nodiscard]] std::size_t came_out_bytes() const { return memory_bytes_; }

 private:
  test::TemporaryDirectory directory_;
  event::Assembler assembler_;
  source::RunningTransactions running_;
  std::vector<std::unique_ptr<source::Committed>> committed_;
  std::size_t memory_bytes_ = 0;
  std::set<event::RelationPtr> relations_;
};

std::string table(std::uint32_t xid) {
  return wire::in_block(xid, wire::relation(1, "public", "t", 'd', {{"id", 23, true}, {"v"}}));
}
std::string row(std::uint32_t xid, const std::string& id) {
  return wire::in_block(xid, wire::insert(1, {wire::text(id), wire::text(std::string(100, 'v'))}));
}

}  // namespace

TEST_CASE("a transaction comes out whole at its commit, from memory or from the spill") {
  for (const std::size_t memory : {std::size_t{100}, std::size_t{3000}, std::size_t{1} << 30U}) {
    Kept kept(memory);
    std::vector<std::string> expected;
    int next = 0;
    for (int block = 0; block < 5; ++block) {
      kept.take(wire::stream_start(7, block == 0 ? 1 : 0));
      if (block == 0) kept.take(table(7));
      for (int i = 0; i < 20; ++i) {
        expected.push_back(std::to_string(next++));
        kept.take(row(7, expected.back()));
      }
      kept.take(wire::stream_stop());
      CHECK(kept.memory_bytes() <= memory);
    }
    kept.take(wire::stream_commit(7, 0x100, 0x130, 5));
    CHECK(kept.memory_bytes() == 0);
    CHECK(kept.ids() == expected);
    CHECK(kept.came_out_bytes() > expected.size() * 100);
    CHECK(kept.descriptions() == 1);  // the spill makes no new ones
  }
}

TEST_CASE("what was rolled back does not come out") {
  for (const std::size_t memory : {std::size_t{100}, std::size_t{1} << 30U}) {
    Kept kept(memory);
    kept.take(wire::stream_start(7, 1));
    kept.take(table(7));
    kept.take(row(7, "a"));
    for (int i = 0; i < 30; ++i) kept.take(row(8, "gone"));  // whole parts of it
    kept.take(row(9, "b"));
    kept.take(wire::stream_stop());
    kept.take(wire::stream_abort(7, 8));
    kept.take(wire::stream_start(7, 0));
    kept.take(row(10, "gone too"));
    kept.take(row(7, "c"));
    kept.take(wire::stream_stop());
    kept.take(wire::stream_abort(7, 10));
    kept.take(wire::stream_start(6, 1));
    kept.take(table(6));
    kept.take(row(6, "other"));
    kept.take(wire::stream_stop());
    kept.take(wire::stream_abort(6, 6));
    kept.take(wire::stream_commit(7, 0x100, 0x130, 5));
    CHECK(kept.ids() == std::vector<std::string>{"a", "b", "c"});
    CHECK(kept.memory_bytes() == 0);
  }
}

TEST_CASE("a transaction without a change of ours is its end alone") {
  Kept kept(100);
  kept.take(wire::stream_start(7, 1));
  kept.take(wire::stream_stop());
  kept.take(wire::stream_commit(7, 0x100, 0x130, 5));
  CHECK(kept.ids().empty());
}

TEST_CASE("random transactions in turn come out as they were made") {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto any = [&](unsigned n) { return random() % n; };
    Kept kept(std::size_t{200} << any(8), 100 + any(2000));
    struct Expected {
      bool begun = false;
      std::vector<std::pair<std::uint32_t, std::string>> rows;  // of which subtransaction
      std::set<std::uint32_t> aborted;
    };
    std::map<std::uint32_t, Expected> open;
    int next = 0;
    for (int step = 0; step < 60; ++step) {
      const std::uint32_t xid = 10 * (1 + any(3));
      auto& its = open[xid];
      if (const auto action = any(10); action < 7 || !its.begun) {
        kept.take(wire::stream_start(xid, its.begun ? 0 : 1));
        if (!its.begun) kept.take(table(xid));
        its.begun = true;
        for (unsigned i = any(15); i > 0; --i) {
          const std::uint32_t subxid = xid + any(4);
          if (its.aborted.contains(subxid)) continue;
          its.rows.emplace_back(subxid, std::to_string(next++));
          kept.take(row(subxid, its.rows.back().second));
        }
        kept.take(wire::stream_stop());
      } else if (action == 7) {
        const std::uint32_t subxid = xid + 1 + any(3);
        its.aborted.insert(subxid);
        kept.take(wire::stream_abort(xid, subxid));
      } else if (action == 8) {
        kept.take(wire::stream_abort(xid, xid));
        open.erase(xid);
      } else {
        kept.take(wire::stream_commit(xid, 0x100, 0x130, 5));
        std::vector<std::string> expected;
        for (const auto& [subxid, id] : its.rows) {
          if (!its.aborted.contains(subxid)) expected.push_back(id);
        }
        CHECK(kept.ids() == expected);
        open.erase(xid);
      }
    }
  }
}
