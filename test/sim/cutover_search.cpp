#include "cutover_search.hpp"

namespace sim {

namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFF;

// States in the order in which they were found, and where each was found from. Open addressing over indices.
class Seen {
 public:
  Seen() : slots_(1U << 16U, kNone) {}

  // Its number, and whether it is new.
  std::pair<std::uint32_t, bool> add(const Key& key, std::uint32_t parent) {
    if (keys_.size() * 2 > slots_.size()) grow();
    std::size_t at = hash(key) & (slots_.size() - 1);
    while (slots_[at] != kNone) {
      if (keys_[slots_[at]] == key) return {slots_[at], false};
      at = (at + 1) & (slots_.size() - 1);
    }
    slots_[at] = static_cast<std::uint32_t>(keys_.size());
    keys_.push_back(key);
    parents_.push_back(parent);
    return {slots_[at], true};
  }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }
  [[nodiscard]] State state(std::uint32_t n) const { return unpack(keys_[n]); }
  [[nodiscard]] const Key& key(std::uint32_t n) const { return keys_[n]; }
  [[nodiscard]] std::uint32_t parent(std::uint32_t n) const { return parents_[n]; }

 private:
  static std::size_t hash(const Key& key) {
    std::uint64_t h = 0x9E3779B97F4A7C15ULL;
    for (const auto word : key) {
      h = (h ^ word) * 0xFF51AFD7ED558CCDULL;
      h ^= h >> 32U;
    }
    return h;
  }
  void grow() {
    std::vector<std::uint32_t> wider(slots_.size() * 2, kNone);
    for (std::uint32_t n = 0; n < keys_.size(); ++n) {
      std::size_t at = hash(keys_[n]) & (wider.size() - 1);
      while (wider[at] != kNone) at = (at + 1) & (wider.size() - 1);
      wider[at] = n;
    }
    slots_ = std::move(wider);
  }
  std::vector<Key> keys_;
  std::vector<std::uint32_t> parents_, slots_;
};

// The two instances are alike: of two moments that differ in their names only, one is kept.
struct Canonical {
  explicit Canonical(const State& s) : key(pack(s)) {
    const Key other = pack(sim::exchanged(s));
    if (other < key) key = other, exchanged = true;
  }
  Key key;
  bool exchanged = false;
};

// The moves from every state: the number of the state, whether the names are exchanged on the way, and who brings
// it about.
struct Moves {
  static constexpr std::uint32_t kNumber = (1U << 29U) - 1;
  std::vector<std::uint32_t> to;
  std::vector<std::size_t> begin;  // per state

  void add(std::uint32_t number, bool exchanged, Who who) {
    to.push_back(number | (exchanged ? 1U << 29U : 0) | who << 30U);
  }
};

std::vector<std::string> story(const Rules& rules, const Seen& seen, std::uint32_t last, bool one_more) {
  std::vector<std::uint32_t> way;
  for (auto n = last; n != kNone; n = seen.parent(n)) way.push_back(n);
  World world(rules, true);
  std::vector<std::string> lines;
  bool exchanged = false;
  for (std::size_t i = way.size() - 1; i > 0; --i) {
    world.exchange_names(exchanged);
    for (const auto& move : world.moves(seen.state(way[i]))) {
      const Canonical next(move.to);
      if (next.key != seen.key(way[i - 1])) continue;
      lines.push_back(move.label);
      exchanged = exchanged != next.exchanged;
      break;
    }
  }
  world.exchange_names(exchanged);
  for (const auto& move : world.moves(seen.state(last))) {
    if (!one_more || move.broken == nullptr) continue;
    lines.push_back(move.label);
    break;
  }
  return lines;
}

// From which states this one of the two can come to rest by itself: backwards from rest, over the moves that it,
// the servers, the applications or time bring about.
std::uint32_t first_stuck(const World& world, const Seen& seen, const Moves& moves) {
  const auto count = static_cast<std::uint32_t>(seen.size());
  std::vector<u8> good(count);  // bit i: instance i can
  for (std::uint32_t n = 0; n < count; ++n) {
    const State s = seen.state(n);
    good[n] = static_cast<u8>((world.rests(s, 1) ? 1 : 0) | (world.rests(s, 2) ? 2 : 0));
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (std::uint32_t n = count; n-- > 0;) {
      const u8 before = good[n];
      for (std::size_t m = moves.begin[n]; m < moves.begin[n + 1] && good[n] != 3; ++m) {
        const unsigned then = good[moves.to[m] & Moves::kNumber];
        const bool exchanged = (moves.to[m] >> 29U & 1U) != 0;
        const unsigned here = exchanged ? (then >> 1U | then << 1U) & 3U : then;
        good[n] = static_cast<u8>(good[n] | (here & moves.to[m] >> 30U));
      }
      changed = changed || good[n] != before;
    }
  }
  const auto stuck = std::find_if(good.begin(), good.end(), [](u8 g) { return g != 3; });
  return stuck == good.end() ? kNone : static_cast<std::uint32_t>(stuck - good.begin());
}

}  // namespace

Found explore(const Rules& rules, bool live, std::size_t most_states) {
  Found found;
  World world(rules, false);
  Seen seen;
  Moves moves;
  const auto wrong = [&](const char* what, std::uint32_t at, bool one_more) {
    found.broken = what;
    found.states = seen.size();
    found.story = story(rules, seen, at, one_more);
    return found;
  };
  seen.add(Canonical(world.start()).key, kNone);
  for (std::uint32_t n = 0; n < seen.size(); ++n) {
    if (live) moves.begin.push_back(moves.to.size());
    for (const auto& move : world.moves(seen.state(n))) {
      ++found.moves;
      if (move.broken != nullptr) return wrong(move.broken, n, true);
      const Canonical next(move.to);
      const auto [number, fresh] = seen.add(next.key, n);
      if (fresh) {
        if (const char* bad = world.broken(move.to)) return wrong(bad, number, false);
      }
      if (live) moves.add(number, next.exchanged, move.who);
    }
    if (seen.size() > most_states) {
      found.complete = false;
      break;
    }
  }
  found.states = seen.size();
  if (!live || !found.complete) return found;
  moves.begin.push_back(moves.to.size());
  const auto stuck = first_stuck(world, seen, moves);
  if (stuck != kNone) return wrong("P4 no way to rest", stuck, false);
  return found;
}

}  // namespace sim
