// A test of cutover_test.cpp: each rule taken away must make it fail, with the rule that breaks and a shortest story
// of how.
//
// Some rules are second nets, and one of them alone may be missing: the epoch and the state that the fencing compares
// and the epoch that the seal compares (the taker's row is compared in full before either counts), the state that the
// reopening compares, the lock of a read (a compare-and-set on exactly what was read waits by itself), the hold. They
// cost nothing and are kept. That the open looks at the position and the drain flushes are two nets under one rope:
// taken away together, writes are lost.
#include <iostream>

#include "cutover_search.hpp"
#include "support/catch.hpp"

using namespace sim;

namespace {

constexpr std::size_t kMostStates = 30'000'000;

Rules without() {
  Rules rules;
  rules.owners = false;
  rules.strict = false;  // of interest is what breaks in the end
  return rules;
}

// `breaks`: how the broken rule begins (cutover_world.hpp). The shortest story is printed with WALIGN_STORIES set.
void fails(const char* what, const Rules& rules, const std::string& breaks, bool live = false) {
  const Found found = explore(rules, live, kMostStates);
  std::cout << what << ": " << (found.broken.empty() ? "holds" : found.broken) << ", " << found.states
            << " states, a story of " << found.story.size() << " steps\n";
  if (std::getenv("WALIGN_STORIES") != nullptr) {
    for (const auto& line : found.story) std::cout << "    " << line << '\n';
  }
  INFO(what);
  CHECK(found.broken.substr(0, 2) == breaks);
  CHECK(!found.story.empty());
}

void blind(const char* what, unsigned kinds, const std::string& breaks) {
  Rules rules = without();
  rules.blind = kinds;
  fails(what, rules, breaks);
}
void any_epoch(const char* what, unsigned kinds, const std::string& breaks) {
  Rules rules = without();
  rules.any_epoch = kinds;
  rules.strict = breaks == "P5";
  fails(what, rules, breaks);
}
void any_state(const char* what, unsigned kinds, const std::string& breaks) {
  Rules rules = without();
  rules.any_state = kinds;
  fails(what, rules, breaks);
}

constexpr unsigned kOpening = bit(k_hold) | bit(k_open);  // one transaction; each looks at the row

// Everything that led to the abort leads to the reopening; what comes after it is `reopened`.
StepTable giver_first(const Then& reopened) {
  StepTable table = kSteps;
  for (auto& row : table) {
    for (Then* then : {&row.refused, &row.no_answer, &row.given_up}) {
      if (then->kind == Then::Kind::go && then->step == Step::abort) then->step = Step::reopen;
    }
  }
  table[static_cast<std::size_t>(Step::reopen)].done = reopened;
  table[static_cast<std::size_t>(Step::abort)].done = kRest;
  return table;
}

}  // namespace

TEST_CASE("a blind write instead of a compare-and-set lets both sides take writes, or loses one") {
  blind("raise: blind", bit(k_raise), "P1");
  blind("fencing: blind", bit(k_fencing), "P1");
  blind("a table's triggers without a look at the row", bit(k_table), "P1");
  blind("the last table: blind", bit(k_table2), "P1");
  blind("seal: blind", bit(k_seal), "P2");
  blind("hold and open: blind", kOpening, "P1");
  blind("abort: blind", bit(k_abort), "P1");
  blind("reopen: blind", bit(k_reopen), "P1");
}

TEST_CASE("a compare-and-set that compares the state alone is not enough") {
  any_epoch("raise: any epoch", bit(k_raise), "P5");
  any_epoch("a table: any epoch", bit(k_table), "P1");
  any_epoch("hold and open: any epoch", kOpening, "P1");
  any_epoch("abort: any epoch", bit(k_abort), "P5");
  any_epoch("reopen: any epoch", bit(k_reopen), "P1");
}

TEST_CASE("a compare-and-set that compares the epoch alone is not enough") {
  any_state("raise: any state", bit(k_raise), "P1");
  any_state("the last table: any state", bit(k_table2), "P1");
  any_state("seal: any state", bit(k_seal), "P2");
  any_state("hold and open: any state", kOpening, "P1");
  any_state("abort: any state", bit(k_abort), "P1");
}

TEST_CASE("an attempt that keeps the epoch of the last is taken for it") {
  Rules rules = without();
  rules.keeps_epoch = true;
  fails("keeps the epoch", rules, "P1");
}

TEST_CASE("backing out in another order, or without the abort, opens both sides") {
  Rules rules = without();
  rules.table = giver_first(go(Step::abort));
  fails("the giver first, then the taker", rules, "P1");
  rules.table = giver_first(kRest);
  fails("the giver only", rules, "P1");
}

TEST_CASE("a drain that is not flushed leads to a seal that cannot be followed by an open") {
  Rules rules = without();
  rules.drain_unflushed = true;
  rules.strict = true;
  fails("drained means applied", rules, "P6");
  rules.strict = false;
  rules.open_unproved = true;
  fails("and the open does not look either", rules, "P2");
}

TEST_CASE("the marker's epoch is compared, and the raise forgets the fence LSN of the attempt before") {
  Rules rules = without();
  rules.marker_of_any_epoch = true;
  fails("a late marker of a dead attempt is noted", rules, "P2");
  rules = without();
  rules.raise_keeps_fence_lsn = true;
  fails("the fence LSN of the attempt before is kept", rules, "P2");
}

TEST_CASE("rows on two servers, read one after the other without a third look, are not to be trusted") {
  Rules rules = without();
  rules.one_look = true;
  rules.strict = true;
  fails("the source's row is not read again", rules, "P5");
}

TEST_CASE("the position has an owner") {
  Rules rules = without();
  rules.anyone_applies = true;
  fails("a stalled instance may still apply", rules, "P3");
}

TEST_CASE(
    "a writer after the lease changes the row, and triggers carry their epoch and come down under the row") {
  Rules rules = without();
  rules.lease_by_clock = true;
  fails("the lease by the clock alone", rules, "P2");
  rules = without();
  rules.trigger_without_epoch = true;
  fails("a snapshot from before the fence passes", rules, "P1");
  rules = without();
  rules.lower_unchecked = true;
  fails("triggers come down without a look at the row", rules, "P1");
}

TEST_CASE("the seal is flushed, here and where a failover would lead") {
  Rules rules = without();
  rules.seal_asynchronous = true;
  fails("the seal comes back as FENCED after a crash", rules, "P1");
  rules = without();
  rules.failover_without_fence = true;
  fails("a replica without the fence", rules, "P1");
}

TEST_CASE("the server ends the transaction of an instance that has stalled in it") {
  Rules rules = without();
  rules.epochs = 1;
  rules.idle_transactions_end = false;
  fails("a stalled instance keeps a row locked", rules, "P4", true);
}
