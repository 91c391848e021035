// Random rows go forward and come back: whatever the target does to them, the source ends with what the mapping's
// inverse makes of it, and keeps what the target knows nothing of.
#include <random>

#include "way_back_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

using Random = std::mt19937_64;

int below(Random& random, int end) { return static_cast<int>(random() % static_cast<unsigned>(end)); }

std::string literal(const std::string& text) { return quote_literal(text); }

// NULL, empty, mixed case, quotes, beyond ASCII, and large enough that it is stored out of line.
std::string some_text(Random& random) {
  switch (below(random, 9)) {
    case 0: return "NULL";
    case 1: return "''";
    case 2: return literal("it's \"q\" \\ {a,NULL}");
    case 3: return literal("Größe ẞß Ǆ");
    case 4: return literal("line\nbreak\ttab ");
    case 5: {
      std::string large;
      while (large.size() < 9'000) large += std::to_string(random());
      return literal(large);
    }
    default: {
      std::string word;
      for (int i = 0; i < 1 + below(random, 8); ++i)
        word += static_cast<char>((below(random, 2) == 0 ? 'a' : 'A') + below(random, 26));
      return literal(word);
    }
  }
}
std::string perhaps(Random& random, const std::string& value) {
  return below(random, 6) == 0 ? "NULL" : value;
}

// One column of the target and a random value for it.
std::string assignment(Random& random) {
  switch (below(random, 9)) {
    case 0: return "alpha = " + some_text(random);
    case 1: return "b = " + perhaps(random, literal(std::to_string(below(random, 1000) - 500)));
    case 2:
      return "c = " + perhaps(random, std::to_string(below(random, 100000)) + "." +
                                          std::to_string(below(random, 5000) * 2));
    case 3: return std::string("state = ") + (std::array{"'on'", "'off'", "'none'"})[random() % 3];
    case 4: return "mirrored = " + some_text(random);
    case 5:
      return "at = " + perhaps(random, "'2024-01-01 00:00:00+00'::timestamptz + interval '" +
                                           std::to_string(below(random, 1'000'000)) + "." +
                                           std::to_string(below(random, 1'000'000)) + " s'");
    case 6:
      return "pair = json_build_array(" + some_text(random) + "::text, " + some_text(random) +
             "::text)::text";
    case 7: return "alpha = alpha, c = c, pair = pair";
    default: return "own = own";
  }
}

std::string some_change(Random& random, int& next) {
  const std::string id = std::to_string(1 + below(random, next));
  switch (below(random, 10)) {
    case 0:
    case 1: {
      const std::string fresh = std::to_string(next++);
      return "INSERT INTO moved (key, alpha, b, c, state, mirrored, at, pair) VALUES (" + fresh + ", " +
             some_text(random) + ", " + perhaps(random, "'7'") + ", 2.5, 'on', " + some_text(random) +
             ", NULL, json_build_array(" + some_text(random) + "::text, NULL)::text)";
    }
    case 2: return "DELETE FROM moved WHERE key = " + id;
    case 3:
      return "UPDATE moved SET key = " + std::to_string(next++) + ", " + assignment(random) +
             " WHERE key = " + id;
    case 4:
      return "UPDATE moved SET " + assignment(random) +
             " WHERE key % 10 = " + std::to_string(below(random, 10));
    default: return "UPDATE moved SET " + assignment(random) + " WHERE key = " + id;
  }
}

constexpr const char* kRule = R"yaml(  - from: public.t
    to: public.moved
    columns:
      key: id
      alpha: a
      state: { values: { ON: "on", "OFF": "off", null: none }, from: d }
      c: { sql: "src.c * 2", reverse: "c / 2" }
      mirrored: { sql: "reverse(e)", reverse: "reverse(mirrored)" }
      at: { sql: "src.at::text", reverse: "src.at::timestamptz" }
      pair: { sql: "json_build_array(x, y)::text", reverse: { x: "pair::json ->> 0", y: "pair::json ->> 1" } }
      kept: false
)yaml";

// The source's rows as the target should have them; `kept` is what the target has in a column of its own.
constexpr const char* kForward =
    "SELECT id, a, b::text, (c * 2)::numeric(12,4), CASE d WHEN 'ON' THEN 'on' WHEN 'OFF' THEN 'off' ELSE "
    "'none' END, "
    "reverse(e), at::text, json_build_array(x, y)::text, kept FROM t";

}  // namespace

TEST_CASE("random rows come back as the target left them") {
  const auto seed = GENERATE(range(1, 5));
  const bool whole_rows = seed % 2 == 0;
  INFO("seed " << seed);
  Random random(static_cast<unsigned>(seed));
  Migration m;
  m.source.exec(
      "CREATE TABLE t (id int PRIMARY KEY, a text, b int, c numeric(12,5), d text, e text, at timestamptz, x "
      "text, y text, "
      "kept text DEFAULT 'new', upper_kept text GENERATED ALWAYS AS (upper(kept)) STORED)");
  m.target.exec(
      "CREATE TABLE moved (key int PRIMARY KEY, alpha text, b text, c numeric(12,4), state text NOT NULL, "
      "mirrored text, "
      "at text, pair text, own text DEFAULT 'new'); ALTER TABLE moved ALTER alpha SET STORAGE EXTERNAL, "
      "ALTER mirrored "
      "SET STORAGE EXTERNAL, ALTER pair SET STORAGE EXTERNAL");
  if (whole_rows) m.target.exec("ALTER TABLE moved REPLICA IDENTITY FULL");
  m.tables = kRule;
  int next = 1;
  {
    Run run(m);
    run.wait_until_streaming();
    for (; next <= 60; ++next) {
      m.source.exec("INSERT INTO t (id, a, b, c, d, e, at, x, y, kept) VALUES (" + std::to_string(next) +
                    ", " + some_text(random) + ", " + perhaps(random, std::to_string(next)) + ", " +
                    perhaps(random, std::to_string(next) + ".125") + ", " +
                    perhaps(random, next % 2 == 0 ? "'ON'" : "'OFF'") + ", " + some_text(random) + ", " +
                    perhaps(random, "now()") + ", " + some_text(random) + ", " + some_text(random) + ", 'k" +
                    std::to_string(next) + "')");
    }
    run.catch_up(m.source);
    run.stop();
  }
  m.target.exec("UPDATE moved SET own = 'k' || key");
  REQUIRE(m.equal(kForward, "SELECT * FROM moved"));
  Back back(m);
  CHECK(back.ways.tables[0].not_carried == std::vector<std::string>{"own"});
  for (int round = 0; round < 8; ++round) {
    for (int transaction = 0; transaction < 6; ++transaction) {
      std::string sql = "BEGIN;";
      for (int i = 0; i < 1 + below(random, 6); ++i) sql += some_change(random, next) + ";";
      m.target.exec(sql + (below(random, 8) == 0 ? "ROLLBACK" : "COMMIT"));
    }
    back.catch_up();
    REQUIRE(m.equal(kForward, "SELECT * FROM moved"));
  }
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM moved WHERE own = 'new'") > 0);
  CHECK(m.source.scalar<int>("SELECT count(*)::int FROM t WHERE upper_kept IS DISTINCT FROM upper(kept)") ==
        0);
  for (const auto& books : back.applier().books()) CHECK(books.balance());

  // Every row there now goes there and back, as the statement says that verification uses.
  const auto forward = stream::prepare(m.config(), nullptr).routes.at(0);
  const auto proof = mapping::round_trip_sql(forward, back.ways.tables[0], "public.t");
  REQUIRE(proof);
  CHECK(m.source.rows(*proof).empty());
}

TEST_CASE("the statement that proves a pair names each row and column that does not come back") {
  Migration m;
  m.source.exec(
      "CREATE TABLE t (id int, part text, name text, price numeric, hidden bool DEFAULT false, "
      "PRIMARY KEY (part, id))");
  m.target.exec(
      "CREATE TABLE t (id int, part text, name text, price numeric(10,2), hidden bool, PRIMARY KEY (part, "
      "id))");
  m.tables = R"yaml(  - from: public.t
    where: NOT src.hidden
    columns: { name: { sql: "initcap(src.name)", reverse: "lower(src.name)" } }
)yaml";
  const auto back = ways_back(m);
  INFO(failed(back.findings));
  REQUIRE(back.tables[0].route);  // there is no row yet that says otherwise
  CHECK(back.tables[0].needs_proof);
  const auto proof =
      mapping::round_trip_sql(stream::prepare(m.config(), nullptr).routes.at(0), back.tables[0], "public.t");
  REQUIRE(proof);
  m.source.exec(
      "INSERT INTO t VALUES (1, 'a', 'fine', 1.25, false), (2, 'a', 'McDonald', 2.00, false), (3, 'b', NULL, "
      "1.005, false), (4, 'b', "
      "'HID', 9.999, true)");
  const auto rows = m.source.rows(*proof + " ORDER BY 1, 2");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0] == Row{"name", "part=a, id=2", "McDonald", "mcdonald"});
  CHECK(rows[1] == Row{"price", "part=b, id=3", "1.005", "1.01"});
  const auto chunk = mapping::round_trip_sql(stream::prepare(m.config(), nullptr).routes.at(0),
                                             back.tables[0], "(SELECT * FROM public.t WHERE part = 'a')");
  CHECK(m.source.rows(*chunk).size() == 1);
  CHECK(mapping::any_failed(ways_back(m).findings));
}
