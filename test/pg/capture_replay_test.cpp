// What is recorded stands on its own: it is replayed without its source, prepared transactions at their commit, and
// read by a program that has nothing of walign's.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/catch.hpp"
#include "support/compare.hpp"
#include "support/migration_files.hpp"
#include "support/server.hpp"
#include "support/temporary_directory.hpp"

using namespace walign::test;

namespace {

// Domains, enums, partitions, keys that are not the primary one, whole old rows, a generated column.
constexpr const char* kTables = R"(
  CREATE TYPE mood AS ENUM ('sad', 'ok');
  CREATE DOMAIN positive AS int CHECK (VALUE > 0);
  CREATE TABLE t (id positive PRIMARY KEY, m mood, n numeric, twice int GENERATED ALWAYS AS (id * 2) STORED);
  CREATE TABLE by_index (id int, code text NOT NULL UNIQUE);
  ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
  CREATE TABLE whole (id int PRIMARY KEY, v text);
  ALTER TABLE whole REPLICA IDENTITY FULL;
  CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
  CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
  CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);)";
const std::vector<std::string> kNames = {"t", "by_index", "whole", "parted"};

struct Recorded {
  Recorded() {
    from.exec(kTables);
    from.exec("CREATE PUBLICATION walign_shop FOR TABLE t, by_index, whole, parted_1, parted_2");
    to.exec(kTables);
    to.exec("ALTER TABLE t ADD later text");  // the source's will have it as well
  }
  Finished operator()(const std::vector<std::string>& args) const {
    return run(files.command(args), {}, 60s);
  }
  void capture(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {"capture", where, "--until-caught-up"};
    args.insert(args.end(), more.begin(), more.end());
    const auto done = (*this)(args);
    INFO(done.err);
    REQUIRE(done.code == 0);
  }
  void equal(Sql& a) {
    to.reconnect();
    for (const auto& table : kNames) {
      const auto result = compare_same(a, to, table);
      INFO(table << ": " << result.report());
      CHECK(result.equal());
    }
  }

  Server source{{.name = "source", .settings = {"max_prepared_transactions = 5"}}};
  Server target{{.name = "target"}};
  Sql from = source.create_database("app");
  Sql to = target.create_database("app");
  TemporaryDirectory directory;
  const std::string where = directory / "capture";
  MigrationFiles files{
      "shop", source.url("app"), target.url("app"),
      "  - public.t\n  - { from: public.by_index, to: public.by_index, key: [code] }\n  - public.whole\n"
      "  - public.parted\n"};
};

// The reader that docs/capture.md shows.
std::string documented_reader() {
  std::ostringstream text;
  text << std::ifstream(std::string(WALIGN_TEST_DATA) + "/../../docs/capture.md").rdbuf();
  const auto begin = text.str().find("```python\n");
  REQUIRE(begin != std::string::npos);
  const auto end = text.str().find("```", begin + 10);
  return text.str().substr(begin + 10, end - begin - 10);
}

}  // namespace

TEST_CASE("a capture is replayed while its source is stopped, over a change of a table") {
  Recorded walign;
  walign.capture();
  auto& from = walign.from;
  from.exec(
      "INSERT INTO t SELECT i, 'ok', i / 3.0 FROM generate_series(1, 50) i; INSERT INTO by_index SELECT i, "
      "'c' || i "
      "FROM generate_series(1, 20) i; INSERT INTO whole VALUES (1, 'a'), (2, NULL); INSERT INTO parted "
      "SELECT i, 'p' "
      "FROM generate_series(1, 19) i");
  from.exec(
      "UPDATE t SET m = 'sad' WHERE id < 9; UPDATE by_index SET id = id + 100; DELETE FROM whole WHERE id = "
      "2");
  const std::string middle = from.scalar("SELECT pg_current_wal_insert_lsn()::text");
  from.exec("ALTER TABLE t ADD later text; INSERT INTO t (id, m, later) VALUES (60, 'sad', 'new')");
  from.exec("UPDATE t SET later = 'too' WHERE id = 3; UPDATE parted SET v = 'q' WHERE id > 8");
  walign.capture();
  from.exec(
      "DELETE FROM by_index WHERE code > 'c3'; UPDATE t SET id = id + 1000 WHERE id = 4; TRUNCATE whole");
  walign.capture();
  Sql kept = walign.target.create_database("kept");
  const auto copied = run({"sh", "-c",
                           Server::program("pg_dump") + " '" + walign.source.conninfo("app") + "' | " +
                               Server::program("psql") + " -q -X '" + walign.target.conninfo("kept") + "'"},
                          {}, 60s);
  REQUIRE(copied.code == 0);
  walign.source.stop();
  const auto replay = [&](const char* says, const std::vector<std::string>& more) {
    std::vector<std::string> args = {"replay", walign.where, "--to", "target"};
    args.insert(args.end(), more.begin(), more.end());
    const auto done = walign(args);
    INFO(done.err);
    REQUIRE(done.code == 0);
    CHECK(has(done.out, says));
  };
  // Any stretch of it, and any of it again.
  for (const char* says : {"changes in", "with 0 changes"}) {
    replay(says, {"--until-lsn", middle});
    CHECK(walign.to.scalar("SELECT count(*) || ' ' || count(*) FILTER (WHERE m = 'sad') FROM t") == "50 8");
    CHECK(walign.to.scalar<int>("SELECT count(*)::int FROM whole") == 1);
  }
  for (const char* says : {"changes in", "with 0 changes"}) {
    replay(says, {});
    walign.equal(kept);
  }
  replay("with 0 changes", {"--until-lsn", middle});
  walign.equal(kept);
}

TEST_CASE("a capture that does not say what its tables are like needs its source, and says so") {
  Recorded walign;
  walign.source.stop();
  const auto refused =
      walign({"replay", std::string(WALIGN_TEST_DATA) + "/formats/1/capture", "--to", "target"});
  CHECK(refused.code == 1);
  CHECK(has(refused.err, "what was recorded does not say what the source's tables are like"));
  CHECK(has(refused.err, "let source: name a server"));
}

TEST_CASE("what is prepared is captured as it is prepared, and applied when it commits") {
  Recorded walign;
  walign.capture({"--two-phase"});
  auto& from = walign.from;
  CHECK(from.scalar<bool>("SELECT two_phase FROM pg_replication_slots"));
  from.exec("BEGIN; INSERT INTO whole VALUES (1, 'one'); PREPARE TRANSACTION 'one'");
  from.exec("BEGIN; INSERT INTO whole VALUES (2, 'two'); PREPARE TRANSACTION 'two'");
  from.exec("INSERT INTO whole VALUES (3, 'three')");
  walign.capture({"--two-phase"});
  const auto ids = [&] {
    const auto done = walign({"replay", walign.where, "--to", "target"});
    INFO(done.err);
    REQUIRE(done.code == 0);
    return walign.to.scalar("SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM whole");
  };
  CHECK(ids() == "3");
  from.exec("COMMIT PREPARED 'two'");
  from.exec("ROLLBACK PREPARED 'one'");
  walign.capture();  // the slot stays as it is
  CHECK(ids() == "2 3");
  const auto events = walign({"events", walign.where});
  CHECK(has(events.out, R"("gid":"two")"));
  CHECK_FALSE(has(events.out, R"("gid":"one")"));
}

TEST_CASE("the reader that is documented reads what events writes") {
  Recorded walign;
  walign.capture();
  walign.from.exec("INSERT INTO whole VALUES (1, 'Größe'), (2, NULL); UPDATE whole SET v = '' WHERE id = 2");
  walign.capture();
  const auto events = walign({"events", walign.where, "--format", "protobuf"});
  REQUIRE(events.code == 0);
  std::ofstream(walign.directory / "reader.py") << documented_reader();
  const auto read = run({"python3", walign.directory / "reader.py"}, {.input = events.out}, 60s);
  INFO(read.err);
  REQUIRE(read.code == 0);
  CHECK(has(read.out, "INSERT whole [b'1', b'Gr\\xc3\\xb6\\xc3\\x9fe']\n"));
  CHECK(has(read.out, "INSERT whole [b'2', None]\n"));
  CHECK(has(read.out, "UPDATE whole [b'2', b'']\n"));
}

TEST_CASE("an end that a capture cannot have is refused") {
  const Recorded walign;
  walign.capture();
  const auto refused = walign({"events", walign.where, "--until-caught-up"});
  CHECK(refused.code == 2);
  CHECK(has(refused.err, "a capture ends where it ends"));
}
