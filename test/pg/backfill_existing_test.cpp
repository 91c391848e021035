// Target tables that have rows before their copy begins: existing_rows.
#include <csignal>

#include "support/copying.hpp"
#include "support/migration_files.hpp"

using namespace walign;
using namespace walign::test;

namespace {

struct Filled {
  explicit Filled(const std::string& existing_rows) {
    m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    m.source.exec("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 3000) i");
    m.target.exec("INSERT INTO t SELECT i, 'mine' FROM generate_series(1000, 5000) i");
    m.tables = "  - public.t\n";
    m.more = "backfill: { chunk_rows: 100 }\nexisting_rows: " + existing_rows + "\n";
  }
  [[nodiscard]] std::string finding(const std::string& subject) const {
    for (const auto& f : stream::prepare(m.config(), nullptr).findings) {
      if (f.subject == subject) return f.what + "; " + f.remedy;
    }
    return "";
  }
  Migration m;
};

}  // namespace

TEST_CASE("existing_rows: empty deletes the target's rows, which is said before, and copies") {
  Filled filled("empty");
  Migration& m = filled.m;
  CHECK(has(filled.finding("public.t"), "will DELETE all of them"));
  {
    Copying run(m);
    run.wait_until_copied();
    run.catch_up(m.source);
    CHECK(m.equal("t"));
    run.stop();
  }
  // Never again for this table: it is streaming.
  m.target.exec("INSERT INTO t VALUES (-1, 'by hand')");
  CHECK(filled.finding("public.t").empty());
  Copying again(m);
  again.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (-2, 'later')");
  again.catch_up(m.source);
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t WHERE id < 0") == 2);
}

TEST_CASE("existing_rows: empty deletes only the rows that target_where selects") {
  Migration m;
  m.source.exec("CREATE TABLE s (id int PRIMARY KEY); INSERT INTO s SELECT generate_series(1, 100)");
  m.target.exec(
      "CREATE TABLE d (id int PRIMARY KEY, kind text DEFAULT 'a'); "
      "INSERT INTO d SELECT i, CASE WHEN i > 1000 THEN 'b' ELSE 'a' END FROM generate_series(50, 1100) i");
  m.more = "existing_rows: empty\n";
  m.tables = "  - { from: public.s, to: public.d, target_where: kind = 'a' }\n";
  Copying run(m);
  run.wait_until_copied();
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM d WHERE kind = 'b'") == 100);
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM d WHERE kind = 'a'") == 100);
}

TEST_CASE("existing_rows: empty is refused where rows are not told apart, or others refer to them") {
  Migration m;
  m.source.exec("CREATE TABLE s1 (id int PRIMARY KEY); CREATE TABLE s2 (id int PRIMARY KEY)");
  m.target.exec("CREATE TABLE d (id int PRIMARY KEY); INSERT INTO d VALUES (7)");
  m.more = "existing_rows: empty\n";
  std::string expected;
  SECTION("several sources") {
    m.tables = "  - { from: public.s1, to: public.d }\n  - { from: public.s2, to: public.d }\n";
    expected = "cannot be told";
  }
  SECTION("a foreign key from a table that the migration does not fill") {
    m.target.exec("CREATE TABLE note (id int REFERENCES d); INSERT INTO note VALUES (7)");
    m.tables = "  - { from: public.s1, to: public.d }\n";
    expected = "public.note";
  }
  Copying run(m);
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(has(error->message(), expected));
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM d") == 1);
  CHECK(m.source.scalar<int>("SELECT count(*)::int FROM pg_replication_slots WHERE database = "
                             "current_database()") == 0);
}

TEST_CASE("a start that an added table's rows refuse has changed nothing") {
  Filled filled("refuse");
  Migration& m = filled.m;
  m.both("CREATE TABLE first (id int PRIMARY KEY)");
  const auto added = m.tables;
  m.tables = "  - public.first\n";
  {
    Copying run(m);
    run.wait_until_copied();
    run.stop();
  }
  const auto published = [&] {
    return m.source.scalar(
        "SELECT string_agg(tablename, ',' ORDER BY 1) FROM pg_publication_tables WHERE "
        "pubname LIKE 'walign%'");
  };
  const auto before = published();
  m.tables += added;
  {
    Copying run(m);
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
  }
  CHECK(published() == before);
  m.target.exec("DELETE FROM t");
  Copying run(m);
  run.wait_until_copied();
  CHECK(m.equal("t"));
}

TEST_CASE("killed at any moment of its beginning, existing_rows: empty ends with the source's rows") {
  Filled filled("empty");
  Migration& m = filled.m;
  MigrationFiles files("emptied", m.source_url, m.target_url, m.tables, "http: \"\"\n" + m.more);
  for (int i = 0; i < 10; ++i) {
    Process walign(files.command({"run"}));
    std::this_thread::sleep_for(Millis(60 + i * 20));
    walign.kill();
  }
  CHECK(run(files.command({"run", "--until-caught-up"})).code == 0);
  CHECK(m.equal("t"));
}
