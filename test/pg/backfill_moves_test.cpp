// Rows that move between chunks all the time, without the large values that are needed to write them where they come
// to. Nothing here stops the writers before the copy has ended.
#include <fstream>

#include "support/copying.hpp"
#include "support/load.hpp"
#include "support/temporary_directory.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// Each client of pgbench moves rows among keys of its own: a * 4 + client_id, every other one of which is taken.
constexpr const char* kMove =
    "\\set a random(0, 1999) * 4 + :client_id\n\\set b random(0, 1999) * 4 + :client_id\n"
    "UPDATE t SET id = :b WHERE id = :a AND NOT EXISTS (SELECT FROM t WHERE id = :b);\n";

struct Moving {
  explicit Moving(bool other_unique) {
    m.source = server.create_database("app");
    m.source_url = server.url("app");
    m.both(
        "CREATE TABLE t (id int PRIMARY KEY, u int NOT NULL, big text); ALTER TABLE t ALTER big SET STORAGE "
        "EXTERNAL");
    if (other_unique) m.both("CREATE UNIQUE INDEX ON t (u)");
    m.source.exec(
        "INSERT INTO t SELECT i % 4 + i / 4 * 8, i, repeat(md5(i::text), 80) FROM generate_series(0, 3999) "
        "i; "
        "ANALYZE t");
    m.tables = "  - public.t\n";
    std::ofstream(directory / "move.sql") << kMove;
  }
  // As many as it can, or so many a second.
  Process load(int rate = 0) {
    std::vector<std::string> args = {Server::program("pgbench"),
                                     "-n",
                                     "-M",
                                     "prepared",
                                     "-f",
                                     directory / "move.sql",
                                     "-c",
                                     "4",
                                     "-j",
                                     "1",
                                     "-T",
                                     "3000"};
    if (rate > 0) args.insert(args.end(), {"-R", std::to_string(rate)});
    args.push_back(server.conninfo("app"));
    return Process(args);
  }
  void end(Copying& run, Process& load) {
    load.kill();
    m.source.exec("SELECT pg_logical_emit_message(true, 'test', 'the end')");
    const auto end = Lsn::parse(m.source.scalar("SELECT pg_current_wal_insert_lsn()::text"));
    REQUIRE(
        eventually([&] { return run.done() || run.status().applied >= end->without_page_header(); }, 300s));
    CHECK(m.equal("t"));
    CHECK(run.status().dead_letters == 0);
    CHECK(m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk") == 0);
  }

  Server server{{.name = "source", .settings = {"max_wal_size = 8GB", "synchronous_commit = off"}}};
  TemporaryDirectory directory;
  Migration m;
};

}  // namespace

TEST_CASE(
    "a copy ends although its rows move between chunks all the time and their large values are not sent") {
  const bool other_unique = GENERATE(false, true);
  CAPTURE(other_unique);
  Moving moving(other_unique);
  moving.m.more = "backfill: { chunk_rows: 100, workers: 2 }\n";
  Copying run(moving.m, Copy::paused);
  run.wait_until_streaming();
  // With other unique indexes each chunk waits for the stream: it must not fall behind for ever.
  auto load = moving.load(other_unique ? 100 : 0);
  std::this_thread::sleep_for(1s);
  run.resume();
  const auto began = std::chrono::steady_clock::now();
  run.wait_until_copied(300s);
  INFO(load.err() + load.out());
  CHECK(load.running());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  const auto books = run.status().tables.at(0).books;
  WARN("copied in " << took.count() << " s; changes " << books.decoded << ", of which dropped "
                    << books.dropped);
  CHECK(books.decoded > (other_unique ? 20 : 1000));
  moving.end(run, load);
}

TEST_CASE("the same, killed in the middle and begun again") {
  Moving moving(false);
  moving.m.more = "backfill: { chunk_rows: 100, workers: 2 }\n";
  auto load = moving.load();
  for (int round = 0; round < 3; ++round) {
    Copying run(moving.m);
    eventually([&] { return run.done() || run.status().connected; }, 30s);
    std::this_thread::sleep_for(Millis(300 + 400 * round));
    run.stop();
  }
  Copying run(moving.m);
  run.wait_until_copied(300s);
  CHECK(load.running());
  moving.end(run, load);
}

TEST_CASE("a copy ends although rows are added behind its end faster than it may go") {
  Migration m;
  m.both("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)");
  m.source.exec("INSERT INTO t (v) SELECT 'v' FROM generate_series(1, 2000)");
  m.tables = "  - public.t\n";
  m.more = "backfill: { chunk_rows: 200, workers: 2, max_rows_per_second: 400 }\n";
  Copying run(m, Copy::paused);
  run.wait_until_streaming();
  Writer writer(
      m.source.conninfo(),
      [](Sql& sql) { sql.exec("INSERT INTO t (v) SELECT 'new' FROM generate_series(1, 100)"); }, 20ms);
  run.resume();
  run.wait_until_copied(100s);
  const auto steps = writer.steps();
  writer.stop();
  CHECK(steps > 50);  // 5,000 rows while 2,000 were copied
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}
