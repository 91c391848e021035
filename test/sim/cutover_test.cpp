// Two instances of walign, driven by the program's own protocol (src/cutover/protocol.hpp) through every
// interleaving: either stalls for ever, wakes, crashes between any two transactions, loses the answer to any COMMIT,
// which is then executed later or never; applications write on both sides, also with snapshots from long ago; the
// lease runs out at any moment; servers crash and lose what was not flushed; tables are fenced one by one; attempts
// end in a cutover or are backed out, and a rollback follows.
//
// cutover_rules_test.cpp takes the rules away one by one: a test of this test.
#include <iostream>

#include "cutover_search.hpp"
#include "support/catch.hpp"

using namespace sim;

namespace {

constexpr std::size_t kMostStates = 30'000'000;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kAttempts = 1;  // the same code over fewer states: what sanitizers look for is there
#else
constexpr int kAttempts = 2;  // a cutover and a rollback, or one that failed and another
#endif

Found holds(const char* what, const Rules& rules) {
  const Found found = explore(rules, true, kMostStates);
  std::cout << what << ": " << found.states << " states, " << found.moves << " moves\n";
  for (const auto& line : found.story) std::cout << "    " << line << '\n';
  CHECK(found.broken == "");
  CHECK(found.complete);
  return found;
}

}  // namespace

TEST_CASE("never do both sides take writes, no write is lost, and there is always a way to rest") {
  Rules rules;
  rules.epochs = kAttempts;
  rules.owners = false;
  CHECK(holds("two instances", rules).states > 50'000);
}

TEST_CASE("it holds with rows that know their owner: whoever was displaced changes nothing") {
  Rules rules;
  rules.epochs = 1;
  CHECK(holds("rows with owners", rules).states > 50'000);
}

TEST_CASE("when a server is gone for ever, a human's word opens the one that is left") {
  Rules rules;
  rules.epochs = 1;
  rules.owners = false;
  rules.server_gone = true;
  CHECK(holds("a server gone", rules).states > 50'000);
}

TEST_CASE("a moment of the world survives being packed, and so does every phase that it can hold") {
  Rules rules;
  rules.epochs = 1;
  World world(rules, false);
  std::vector<State> some{world.start()};
  for (std::size_t n = 0; n < some.size() && some.size() < 20'000; ++n) {
    for (const auto& move : world.moves(some[n])) some.push_back(move.to);
  }
  std::size_t wrong = 0;
  for (const State& s : some) {
    const Key key = pack(s);
    wrong += pack(unpack(key)) != key;
    wrong += pack(exchanged(exchanged(s))) != key;
    for (const auto& i : s.instance) wrong += encode(decode(i.phase)) != i.phase;
  }
  CHECK(wrong == 0);
}
