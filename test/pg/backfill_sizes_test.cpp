// Tables whose rows are not of one size: a chunk is bounded in bytes whatever the average says.
#include "support/copying.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// The last tenth of the rows has 100 kB each: ten times the average. By a key that is one number, chunks are read as
// rows lie in the table.
struct LargeEnd {
  LargeEnd(const std::string& copy_format, const std::string& key) {
    m.both("CREATE TABLE t (a text, id int, big text, u int, PRIMARY KEY (" + key +
           ")); ALTER TABLE t ALTER big SET STORAGE EXTERNAL");
    if (copy_format == "text") m.both("CREATE TYPE mood AS ENUM ('ok'); ALTER TABLE t ADD m mood");
    m.source.exec(
        "INSERT INTO t SELECT 'k', i, repeat('x', CASE WHEN i > 900 THEN 100000 ELSE 10 END), i FROM "
        "generate_series(1, 1000) i; ANALYZE t");
    m.tables = "  - public.t\n";
    m.more = "backfill: { chunk_rows: 500, chunk_bytes: 1MiB }\n";
  }
  Migration m;
};

}  // namespace

TEST_CASE("a range with much larger rows than the table's average becomes chunks of bounded size") {
  const auto key = GENERATE(as<std::string>(), "a, id", "id");
  LargeEnd large(GENERATE(as<std::string>(), "binary", "text"), key);
  Migration& m = large.m;
  const bool other_unique = GENERATE(false, true);
  if (other_unique) m.both("CREATE UNIQUE INDEX ON t (u)");
  CAPTURE(m.more, key, other_unique);
  Copying run(m);
  run.wait_until_copied();
  // What each target transaction wrote.
  const auto most = m.target.scalar<std::int64_t>(
      "SELECT max(b) FROM (SELECT sum(length(big)) AS b FROM t GROUP BY xmin) x");
  m.source.exec("UPDATE t SET u = -u WHERE id % 10 = 0; DELETE FROM t WHERE id = 950");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  CHECK(all_streaming(run.status()));
  CHECK(run.status().tables[0].rows_copied == 1000);
  // Twice chunk_bytes, and the row with which that was reached. Chunks that go through as they are share a transaction,
  // and none is begun in it after four times chunk_bytes.
  CHECK(most <= (other_unique ? 2 << 20 : 6 << 20) + 200'000);
  CHECK(most >= 100'000);
}

TEST_CASE("chunks of rows that go through as they are share a transaction on the target, others do not") {
  Migration m;
  m.both(
      "CREATE TABLE piped (id int PRIMARY KEY, v text); CREATE TABLE by_text (id text PRIMARY KEY, v text); "
      "CREATE TABLE other_unique (id int PRIMARY KEY, v text UNIQUE)");
  for (const char* table : {"piped", "by_text", "other_unique"}) {
    m.source.exec(std::string("INSERT INTO ") + table +
                  " SELECT i, 'v' || i FROM generate_series(1, 4000) i; ANALYZE " + table);
    m.tables += std::string("  - public.") + table + "\n";
  }
  m.more = "backfill: { chunk_rows: 100, workers: 1 }\n";
  Copying run(m);
  run.wait_until_copied();
  const auto transactions = [&](const std::string& table) {
    CHECK(m.equal(table));
    return m.target.scalar<int>("SELECT count(DISTINCT xmin::text)::int FROM " + table);
  };
  CHECK(transactions("piped") < 20);
  CHECK(transactions("by_text") < 20);
  CHECK(transactions("other_unique") >= 40);
}
