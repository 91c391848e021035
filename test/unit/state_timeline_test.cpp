// Whether a stream may follow its source to another timeline.
#include "support/catch.hpp"
#include "walign/timeline.hpp"

using namespace walign;
using namespace walign::state;

namespace {

Lsn at(const char* text) { return *Lsn::parse(text); }

// Written from timeline 1 up to 0/500; the source is on timeline 2, which began at 0/600.
struct Promoted {
  Promoted() {
    facts.source_system_id = "7001";
    facts.source_timeline = 2;
    facts.slot_name = "walign_x";
    facts.slot = SlotFacts{};
    facts.target = TargetFacts{at("0/500"), "7001", 1, "app", "walign_x", "m"};
    facts.store = StoreFacts{};
    facts.store->durable = at("0/500");
    facts.store->identity.set_source_system_id("7001");
    facts.store->identity.set_source_timeline(1);
    facts.journal = JournalFacts{at("0/100"), at("0/580")};
  }
  Error refused() {
    const auto before = facts;
    try {
      cross_timeline(facts, history, copied);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::precondition);
      CHECK_FALSE(error.hint().empty());
      CHECK(facts.target->source_timeline == before.target->source_timeline);
      return error;
    }
    throw std::runtime_error("it crossed");
  }
  bool refused_for(const std::string& words) {
    const auto error = refused();
    INFO(error.describe());
    CHECK(error.message().find(words) != std::string::npos);
    return error.message().find(words) != std::string::npos;
  }
  StartFacts facts;
  TimelineHistory history = {{1, at("0/600")}};
  std::vector<CopiedTo> copied = {{"public.t", at("0/5F0")}};
};

}  // namespace

TEST_CASE("a timeline history is read line by line, comments and blank lines apart") {
  const auto history = parse_timeline_history(
      "1\t0/3000148\tno recovery target specified\n\n# a comment\n  2\t1/A0\tbefore 2026-11-30\n7\tFF/0\t");
  REQUIRE(history.size() == 3);
  CHECK(history[0].timeline == 1);
  CHECK(history[0].end == at("0/3000148"));
  CHECK(history[1].timeline == 2);
  CHECK(history[1].end == at("1/A0"));
  CHECK(history[2].timeline == 7);
  CHECK(history[2].end == at("FF/0"));
  CHECK(parse_timeline_history("").empty());
}

TEST_CASE("a timeline history that is not one is malformed") {
  for (const char* text : {"1", "x\t0/1\t", "0\t0/1\t", "1x\t0/1\t", "1\tnowhere\t", "-1\t0/1\t", "1\t\t"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_timeline_history(text), Error);
  }
}

TEST_CASE("what was taken before the old timeline's end is gone on with, and the journal begins again") {
  Promoted p;
  CHECK(is_other_timeline(p.facts));
  SECTION("well before it") {}
  SECTION("up to it") { p.facts.target->position = p.facts.store->durable = p.copied[0].fence = at("0/600"); }
  SECTION("while a table is being copied") { p.facts.store->phase = "backfilling"; }
  SECTION("two promotions later") {
    p.facts.source_timeline = 3;
    p.history = {{1, at("0/600")}, {2, at("0/700")}};
  }
  SECTION("the journal has what was lost: nothing of it was applied") { p.facts.journal->to = at("0/900"); }
  const auto crossing = cross_timeline(p.facts, p.history, p.copied);
  CHECK(crossing.from == 1);
  CHECK(crossing.to == p.facts.source_timeline);
  CHECK(crossing.end == at("0/600"));
  CHECK(p.facts.target->source_timeline == p.facts.source_timeline);
  CHECK(p.facts.store->identity.source_timeline() == p.facts.source_timeline);
  CHECK_FALSE(p.facts.journal);
  CHECK_FALSE(is_other_timeline(p.facts));
}

TEST_CASE("a crossing that was cut short after the target had it is made again") {
  Promoted p;
  p.facts.target->source_timeline = 2;
  CHECK(is_other_timeline(p.facts));
  CHECK(cross_timeline(p.facts, p.history, p.copied).from == 1);
  CHECK_FALSE(is_other_timeline(p.facts));
}

TEST_CASE("what was taken past the old timeline's end is refused") {
  Promoted p;
  SECTION("by the target") {
    p.facts.target->position = at("0/601");
    CHECK(p.refused_for("the target has it up to 0/601"));
  }
  SECTION("by the state directory") {
    p.facts.store->durable = at("0/601");
    CHECK(p.refused_for("the state directory has seen it up to 0/601"));
  }
  SECTION("by a copy") {
    p.copied.push_back({"public.u", at("0/601")});
    CHECK(p.refused_for("rows of public.u were copied as of 0/601"));
  }
}

TEST_CASE("a source that does not come from the timeline that was read is refused") {
  Promoted p;
  SECTION("another branch") {
    p.facts.target->source_timeline = 2;
    p.facts.store->identity.set_source_timeline(2);
    p.facts.source_timeline = 3;
  }
  SECTION("an older one: it was restored") {
    p.facts.target->source_timeline = 3;
    p.facts.store->identity.set_source_timeline(3);
  }
  CHECK(p.refused_for("does not come"));
}

TEST_CASE("without what says how far the source was read, or while the sides change, it is refused") {
  Promoted p;
  SECTION("no state directory") {
    p.facts.store.reset();
    CHECK(p.refused_for("state directory"));
  }
  SECTION("a cutover") {
    p.facts.store->phase = "cutting_over";
    CHECK(p.refused_for("phase cutting_over"));
  }
  SECTION("the way back") {
    p.facts.store->phase = "cut_over";
    CHECK(p.refused_for("phase cut_over"));
  }
}

TEST_CASE("a new primary without the slot is refused, and what would have kept it is said") {
  Promoted p;
  p.facts.slot.reset();
  const auto error = p.refused();
  CHECK(error.message().find("slot walign_x is not on the new primary") != std::string::npos);
  CHECK(error.hint().find("sync_replication_slots") != std::string::npos);
  CHECK(error.hint().find("existing_rows: adopt") != std::string::npos);
}

TEST_CASE("another server, or a stream without a position, is not asked for its timeline") {
  Promoted p;
  SECTION("another server") { p.facts.source_system_id = "7002"; }
  SECTION("no position yet") { p.facts.target->position = Lsn(); }
  SECTION("no stream") { p.facts.target.reset(); }
  SECTION("the same timeline") { p.facts.source_timeline = 1; }
  CHECK_FALSE(is_other_timeline(p.facts));
}
