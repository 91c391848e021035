// Which sequences belong together, and where the taker's goes.
#include "cutover/sequences.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::cutover;

namespace {

Sequence at(std::int64_t last, bool called = true, std::int64_t increment = 1) {
  Sequence s;
  s.last_value = last;
  s.is_called = called;
  s.increment = increment;
  s.min_value = increment > 0 ? 1 : -1'000'000;
  s.max_value = increment > 0 ? 1'000'000 : -1;
  return s;
}

mapping::Route route(const std::string& from, const std::string& to,
                     const std::vector<std::pair<std::string, std::string>>& columns) {
  mapping::Route r;
  r.source = {"public", from};
  r.target = {"public", to};
  for (const auto& [source, target] : columns) {
    const bool expression = source.find('+') != std::string::npos;
    const std::string name = source.substr(0, source.find('+'));
    const int input = static_cast<int>(r.source_columns.size());
    r.source_columns.emplace_back().name = name;
    mapping::TargetColumn c;
    c.name = target;
    c.expression = cat("src.", pg::quote_ident(name), expression ? " + 1" : "");
    c.inputs = {input};
    r.columns.push_back(c);
  }
  return r;
}

Sequences with(const std::vector<Served>& served) { return {{}, served}; }

}  // namespace

TEST_CASE("the taker's sequence goes to the further of both and a margin") {
  CHECK(next_start(at(500), at(100), 1000) == 1500);
  CHECK(next_start(at(100), at(500), 1000) == 1500);
  CHECK(next_start(at(100), at(500), 0) == std::nullopt);
  CHECK(next_start(at(500), at(500), 0) == std::nullopt);
  CHECK(next_start(at(500), at(499), 0) == 500);
  CHECK(next_start(at(1, false), at(1, false), 10) == 10);
  CHECK(next_start(at(1, true), at(1, false), 0) == 1);
  CHECK(next_start(at(1, false), at(1, false), 0) == std::nullopt);
}

TEST_CASE("a sequence never goes backwards, beyond its bounds, or up where it counts down") {
  CHECK(next_start(at(999'900), at(5), 1000) == 1'000'000);
  CHECK(next_start(at(5), at(1'000'000), 1000) == std::nullopt);
  CHECK(next_start(at(-500, true, -1), at(-100, true, -1), 1000) == -1500);
  CHECK(next_start(at(-100, true, -1), at(-500, true, -1), 1000) == -1500);
  CHECK(next_start(at(-1, true, -1), at(-1'000'000, true, -1), 10) == std::nullopt);
  CHECK(next_start(at(100, true, 10), at(50, true, 10), 5) == 150);
  auto near_end = at(std::numeric_limits<std::int64_t>::max() - 1);
  near_end.max_value = std::numeric_limits<std::int64_t>::max();
  CHECK(next_start(near_end, near_end, 1000) == std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("sequences are paired by the columns that they serve, whoever owns them") {
  const TableName t{"public", "t"};
  const TableName u{"public", "u"};
  const auto pairing = pair_sequences({route("t", "u", {{"id", "legacy"}, {"n", "n"}, {"m", "m"}})},
                                      with({{t, "id", "s1"}, {t, "n", "s2"}, {t, "m", "s2"}}),
                                      with({{u, "legacy", "z1"}, {u, "n", "z2"}, {u, "m", "z2"}}));
  REQUIRE(pairing.pairs.size() == 2);
  CHECK(pairing.pairs[0] == SequencePair{"s1", "z1", {"public.t.id -> public.u.legacy"}});
  CHECK(pairing.pairs[1] ==
        SequencePair{"s2", "z2", {"public.t.n -> public.u.n", "public.t.m -> public.u.m"}});
  CHECK(pairing.notes.empty());
}

TEST_CASE("a sequence whose column is computed, or not mapped, is left alone and named") {
  const TableName t{"public", "t"};
  const TableName u{"public", "u"};
  const auto pairing = pair_sequences({route("t", "u", {{"id+1", "id"}})}, with({{t, "id", "s1"}}),
                                      with({{u, "id", "z1"}, {u, "own", "z2"}}));
  CHECK(pairing.pairs.empty());
  REQUIRE(pairing.notes.size() == 2);
  CHECK(pairing.notes[0].find("public.u.id: z1") == 0);
  CHECK(pairing.notes[1].find("public.u.own: z2") == 0);
}

TEST_CASE("two tables into one count as two pairs of one sequence") {
  const TableName a{"public", "a"};
  const TableName b{"public", "b"};
  const TableName u{"public", "u"};
  const auto pairing = pair_sequences({route("a", "u", {{"id", "id"}}), route("b", "u", {{"id", "id"}})},
                                      with({{a, "id", "s1"}, {b, "id", "s2"}}), with({{u, "id", "z"}}));
  CHECK(pairing.pairs.size() == 2);
  CHECK(pairing.notes.empty());
}
