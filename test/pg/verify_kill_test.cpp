// Verification through the program: its command, and kills of the sidecar at any moment.
#include <csignal>
#include <random>

#include "support/copying.hpp"
#include "support/migration_files.hpp"

using namespace walign::test;

namespace {

struct Program {
  Program(const std::string& rules, const std::string& more)
      : source({.name = "source"}),
        target({.name = "target"}),
        from(source.create_database("app")),
        to(target.create_database("app")),
        files("verified", source.url("app"), target.url("app"), rules, more) {}

  void start() {
    walign = std::make_unique<Process>(files.command({"run"}));
    REQUIRE(walign->wait_for_output("streaming slot"));
  }
  void wait_until_copied() {
    REQUIRE(eventually([&] {
      return to.scalar<bool>("SELECT to_regclass('walign.copy') IS NOT NULL") &&
             to.scalar<bool>("SELECT count(*) > 0 AND bool_and(complete) FROM walign.copy");
    }));
  }
  void catch_up() {
    from.exec("SELECT pg_logical_emit_message(true, 'test', 'catch up')");
    const auto end = from.scalar("SELECT pg_current_wal_insert_lsn()::text");
    REQUIRE(eventually([&] {
      const auto status = verified({"status", "--json"});
      const auto at = status.out.find("\"applied_lsn\": \"");
      return at != std::string::npos &&
             from.scalar<bool>("SELECT $1::pg_lsn >= $2::pg_lsn - 40",
                               {status.out.substr(at + 16, status.out.find('"', at + 16) - at - 16), end});
    }));
  }
  Finished verified(std::vector<std::string> args) { return run(files.command(std::move(args)), {}, 120s); }

  Server source, target;
  Sql from, to;
  MigrationFiles files;
  std::unique_ptr<Process> walign;
};

}  // namespace

TEST_CASE("walign verify tells what differs, and exits with 4") {
  Program p("  - public.t\n", "http: \"\"\n");
  for (Sql* db : {&p.from, &p.to}) db->exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  p.from.exec("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 1000) i");
  CHECK(p.verified({"verify"}).code == 3);  // no sidecar
  p.start();
  p.wait_until_copied();
  auto done = p.verified({"verify"});
  INFO(done.out << done.err);
  CHECK(done.code == 0);
  CHECK(has(done.out, "equal; 1000 rows compared"));
  p.to.exec(
      "UPDATE t SET v = 'secret' WHERE id = 5; DELETE FROM t WHERE id = 6; INSERT INTO t VALUES (-1, 'x')");
  done = p.verified({"verify", "--all", "--table", "public.t"});
  CHECK(done.code == 4);
  CHECK(has(done.out, "3 rows differ"));
  CHECK(has(done.out, "different  id=5\n    v  source v5  target secret"));
  CHECK(has(done.out, "missing  id=6"));
  CHECK(has(done.out, "extra  id=-1"));
  CHECK_FALSE(has(p.verified({"verify", "--mask", "--json"}).out, "secret"));
  done = p.verified({"verify", "--show", "public.t", "5"});
  CHECK(done.code == 4);
  CHECK(has(done.out, "target secret"));
  CHECK(p.verified({"verify", "--show", "public.t", "7"}).code == 0);
  CHECK(p.verified({"verify", "--table", "public.nothing"}).code == 2);
  CHECK(eventually([&] { return has(p.verified({"status", "--json"}).out, "\"differences\": 3"); }));
  CHECK(has(p.verified({"status"}).out, "3 differ"));
}

TEST_CASE("keys that changed are known after a kill, and verification goes on") {
  Program p("  - public.t\n", "http: \"\"\nbackfill: { chunk_rows: 500 }\n");
  for (Sql* db : {&p.from, &p.to}) db->exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  p.from.exec("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20000) i");
  p.start();
  p.wait_until_copied();
  REQUIRE(p.verified({"verify"}).code == 0);
  const auto seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (int kill = 1; kill <= 6; ++kill) {
    const int key = kill * 100;
    {
      Writer load(p.source.conninfo("app"), [n = 0](Sql& sql) mutable {
        sql.exec("UPDATE t SET v = 'w' WHERE id = " + std::to_string(10000 + ++n * 31 % 9000));
      });
      Process verify(p.files.command({"verify", "--all"}));
      std::this_thread::sleep_for(Millis(static_cast<int>(random() % 400)));
      p.walign->kill();  // in the middle of it
      p.start();
      p.from.exec("UPDATE t SET v = 'changed' WHERE id = " + std::to_string(key));
      p.catch_up();
      p.walign->kill();  // nothing but the state directory knows that the key has changed
    }
    // As if the change had gone wrong: no change of the stream's will touch this key again.
    p.to.exec("UPDATE t SET v = 'wrong' WHERE id = " + std::to_string(key));
    p.start();
    const auto done = p.verified({"verify"});
    INFO(done.out << done.err << p.walign->err());
    CHECK(done.code == 4);
    CHECK(has(done.out, "1 row differs"));
    CHECK(has(done.out, "different  id=" + std::to_string(key) + "\n    v  source changed  target wrong"));
    p.to.exec("UPDATE t SET v = 'changed' WHERE id = " + std::to_string(key));
    CHECK(p.verified({"verify"}).code == 0);
  }
}
