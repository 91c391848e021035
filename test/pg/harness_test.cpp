// The harness itself: what every test with a real server relies on.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "support/catch.hpp"
#include "support/compare.hpp"
#include "support/process.hpp"
#include "support/server.hpp"
#include "support/sql.hpp"

using namespace walign::test;

namespace {

std::string sqlstate_of(Sql& db, const std::string& sql) {
  try {
    db.exec(sql);
  } catch (const SqlError& error) {
    return error.sqlstate();
  }
  return "no error";
}

// In a forked child: a server is up, then this process stops so that the parent may look, and kill.
[[noreturn]] void orphan_a_server() {
  try {
    Server server({.name = "orphan-" + std::to_string(getpid())});
    ::kill(getpid(), SIGSTOP);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  _exit(1);
}

}  // namespace

TEST_CASE("two servers live side by side and are two clusters") {
  Server one({.name = "one"});
  Server two({.name = "two", .settings = {"max_connections = 33"}});
  CHECK(one.port() != two.port());
  Sql a = one.connect();
  Sql b = two.create_database("Größe \"q\" o'k");
  CHECK(a.scalar("SHOW wal_level") == "logical");
  CHECK(b.scalar<int>("SHOW max_connections") == 33);
  CHECK(b.scalar("SELECT current_database()") == "Größe \"q\" o'k");
  CHECK(Sql(two.url("Größe \"q\" o'k")).scalar<bool>("SELECT true"));
  CHECK(Sql(two.socket_conninfo()).value("SELECT inet_server_addr()") == std::nullopt);
  const std::string id = "SELECT system_identifier FROM pg_control_system()";
  CHECK(a.scalar(id) != b.scalar(id));
  const std::string gone = a.scalar(id);
  { const Server dropped(std::move(one)); }
  CHECK(Server({.name = "later"}).connect().scalar(id) != gone);
}

TEST_CASE("a logical slot gives what was committed") {
  Server server;
  Sql db = server.create_database("app");
  db.exec("CREATE TABLE t (id int PRIMARY KEY)");
  db.exec("SELECT pg_create_logical_replication_slot('s', 'test_decoding')");
  db.exec("INSERT INTO t VALUES (42)");
  const auto rows = db.rows("SELECT data FROM pg_logical_slot_get_changes('s', NULL, NULL)");
  REQUIRE(rows.size() == 3);
  CHECK(rows[1][0] == "table public.t: INSERT: id[integer]:42");
}

TEST_CASE("a crash loses no commit, and the server comes back on its port") {
  Server server;
  Sql db = server.connect();
  db.exec("CREATE TABLE t (id int PRIMARY KEY)");
  const int port = server.port();
  int committed = 0;
  SECTION("immediate restart") {
    for (; committed < 50; ++committed) db.affected("INSERT INTO t VALUES ($1)", {std::to_string(committed)});
    server.restart_immediate();
  }
  SECTION("SIGKILL to the postmaster, with sessions open") {
    for (; committed < 50; ++committed) db.affected("INSERT INTO t VALUES ($1)", {std::to_string(committed)});
    server.kill();
    CHECK_FALSE(server.running());
    server.start();
  }
  CHECK(has(server.log(), "automatic recovery in progress"));
  CHECK_FALSE(db.alive());
  db.reconnect();
  CHECK(server.port() == port);
  CHECK(db.scalar<int>("SELECT count(*) FROM t") == committed);
}

TEST_CASE("a stopped server refuses connections and its port stays free for it") {
  Server server({.name = "stopping"});
  server.stop();
  CHECK_FALSE(server.running());
  CHECK_THROWS_AS(server.connect(), SqlError);
  server.start();
  CHECK(server.connect().scalar<int>("SELECT 1") == 1);
}

TEST_CASE("connections can be cut and settings changed while the server runs") {
  Server server;
  Sql db = server.connect();
  CHECK(server.cut_connections() >= 1);  // the one that asked whether the server is up may be there still
  CHECK(eventually([&] { return !db.alive(); }));
  server.set("max_slot_wal_keep_size", "77MB");
  CHECK(eventually([&] { return server.connect().scalar("SHOW max_slot_wal_keep_size") == "77MB"; }));
}

TEST_CASE("a role can be made to need its password") {
  Server server({.hba = {"host all locked 127.0.0.1/32 scram-sha-256"}});
  server.connect().exec("CREATE ROLE locked LOGIN PASSWORD 'right'");
  const std::string conninfo = server.conninfo() + " user=locked password=";
  CHECK(Sql(conninfo + "right").scalar("SELECT current_user") == "locked");
  CHECK_THROWS_AS(Sql(conninfo + "wrong"), SqlError);
}

TEST_CASE("nothing is left of a server that is destroyed, nor of one whose test program is killed") {
  std::filesystem::path directory;
  pid_t pid = -1;
  const auto pid_gone = [&] { return ::kill(pid, 0) != 0; };
  SECTION("destroyed") {
    Server server;
    directory = server.directory();
    pid = server.pid();
    CHECK(std::filesystem::exists(directory / "data"));
  }
  SECTION("killed") {
    const pid_t child = fork();
    if (child == 0) orphan_a_server();
    int status = 0;
    waitpid(child, &status, WUNTRACED);
    REQUIRE(WIFSTOPPED(status));
    const std::string prefix = "walign-test-orphan-" + std::to_string(child);
    for (const auto& entry : std::filesystem::directory_iterator("/tmp")) {
      if (entry.path().filename().string().starts_with(prefix)) directory = entry.path();
    }
    REQUIRE(std::filesystem::exists(directory / "data" / "postmaster.pid"));
    std::ifstream(directory / "data" / "postmaster.pid") >> pid;
    REQUIRE(pid > 0);
    CHECK_FALSE(pid_gone());
    ::kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  CHECK(eventually(pid_gone));
  CHECK(eventually([&] { return !std::filesystem::exists(directory); }));
}

TEST_CASE("values have one text, whatever database and role are set to") {
  Server server;
  Sql odd = server.create_database("odd");
  odd.exec(
      "ALTER DATABASE odd SET DateStyle = 'SQL, DMY'; ALTER DATABASE odd SET bytea_output = 'escape';"
      "ALTER ROLE postgres SET extra_float_digits = -10; ALTER ROLE postgres SET TimeZone = "
      "'Asia/Tokyo'");
  Sql db = server.connect("odd");
  CHECK(db.scalar("SELECT date '2024-02-03'") == "2024-02-03");
  CHECK(db.scalar("SELECT 0.1::float8 + 0.2::float8") == "0.30000000000000004");
  CHECK(db.scalar("SELECT '\\x00ff'::bytea") == "\\x00ff");
  CHECK(db.scalar("SELECT timestamptz '2024-02-03 04:05:06+00'") == "2024-02-03 04:05:06+00");
}

TEST_CASE("a query gives rows, NULLs, counts and errors with their SQLSTATE") {
  Server server;
  Sql db = server.connect();
  db.exec("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, NULL)");
  CHECK(db.rows("TABLE t ORDER BY id") == Rows{{"1", "a"}, {"2", std::nullopt}});
  CHECK(db.affected("UPDATE t SET v = $1", {std::nullopt}) == 2);
  CHECK(db.scalar<bool>("SELECT bool_and(v IS NULL) FROM t"));
  CHECK_FALSE(db.value("SELECT v FROM t WHERE id = $1", {"1"}).has_value());
  CHECK_THROWS_AS(db.scalar("SELECT v FROM t WHERE id = 1"), SqlError);
  CHECK_THROWS_AS(db.row("TABLE t"), SqlError);
  CHECK(sqlstate_of(db, "INSERT INTO t VALUES (1)") == "23505");
  CHECK(db.scalar("SELECT " + quote_literal("a'b\\c")) == "a'b\\c");
}

TEST_CASE("the comparison finds each difference that is planted") {
  Server server;
  Sql a = server.create_database("a");
  Sql b = server.create_database("b", "ENCODING 'LATIN1' TEMPLATE template0");
  for (Sql* db : {&a, &b}) {
    db->exec(
        "CREATE TABLE t (id int, v text);"
        "INSERT INTO t SELECT i, 'Größe ' || i FROM generate_series(1, 1000) i; INSERT INTO t VALUES "
        "(7, NULL)");
  }
  const auto same = compare_same(a, b, "t");
  INFO(same.report());
  CHECK(same.equal());
  CHECK(same.rows_a == 1001);
  CHECK(compare_tables(a, "SELECT v, id FROM t ORDER BY id", b, "SELECT v, id FROM t ORDER BY v").equal());

  SECTION("a changed value") {
    b.exec("UPDATE t SET v = 'Große 5' WHERE id = 5");
    const auto found = compare_same(a, b, "t");
    CHECK_FALSE(found.equal());
    REQUIRE(found.differences.size() == 2);
    CHECK(found.differences[0] == "only in a: (5,\"Größe 5\")");
    CHECK(found.differences[1] == "only in b: (5,\"Große 5\")");
  }
  SECTION("a row too many, once more than on the other side") {
    b.exec("INSERT INTO t SELECT * FROM t WHERE id = 9");
    const auto found = compare_same(a, b, "t");
    CHECK(found.only_a == 0);
    CHECK(found.only_b == 1);
    CHECK(has(found.report(), "only in b: (9,\"Größe 9\")"));
  }
  SECTION("NULL and an empty string") {
    b.exec("UPDATE t SET v = '' WHERE v IS NULL");
    CHECK_FALSE(compare_same(a, b, "t").equal());
  }
  SECTION("more differences than are shown") {
    b.exec("UPDATE t SET v = 'x'");
    const auto found = compare_same(a, b, "t");
    CHECK(found.only_a == 1001);
    CHECK(found.differences.size() == 10);
    CHECK(has(found.report(), "only in b: "));
  }
  SECTION("an empty table") {
    b.exec("TRUNCATE t");
    CHECK(compare_same(a, b, "t").only_a == 1001);
  }
}

TEST_CASE("a program's output and end are known") {
  const auto done = run({"sh", "-c", "cat; echo err >&2; echo $X; pwd; exit 7"},
                        {.env = {{"X", "from test"}}, .directory = "/", .input = "typed\n"});
  CHECK(done.code == 7);
  CHECK(done.out == "typed\nfrom test\n/\n");
  CHECK(done.err == "err\n");
  CHECK_THROWS_AS(Process({"/nowhere/at-all"}), std::runtime_error);

  Process waiting({"sh", "-c", "echo ready; exec sleep 100"});
  CHECK(waiting.wait_for_output("ready"));
  CHECK_FALSE(waiting.wait_for_output("never", 50ms));
  CHECK_THROWS_AS(waiting.wait(10ms), std::runtime_error);
  waiting.signal(SIGTERM);
  CHECK(waiting.wait() == 128 + SIGTERM);
  CHECK_FALSE(waiting.running());
  CHECK_FALSE(Process({"true"}).wait_for_output("anything"));
}

TEST_CASE("a program is ended with its object") {
  pid_t pid = -1;
  {
    Process waiting({"sleep", "100"});
    pid = waiting.pid();
    CHECK(::kill(pid, 0) == 0);
  }
  CHECK(::kill(pid, 0) != 0);
}

TEST_CASE("the load on the awkward tables touches all of them, with one ledger row per transaction") {
  Server server;
  Sql db = server.create_database("app");
  db.exec_file("awkward.sql");
  db.exec_file("awkward_load.sql");
  // Counted per call, the first error ends it: no step may fail when it is alone.
  for (int seed = 1; seed <= 400; ++seed) db.exec("CALL awkward.step(" + std::to_string(seed) + ")");
  CHECK(db.scalar<int>("SELECT count(*) FROM awkward.ledger") == 400);
  CHECK(db.scalar<int>("SELECT count(DISTINCT step) FROM awkward.ledger, unnest(steps) AS step") == 13);
  const auto done =
      run({Server::program("pgbench"), "-n", "-c", "4", "-j", "2", "-t", "50", "--max-tries=1000", "-f",
           std::string(WALIGN_TEST_DATA) + "/sql/awkward.pgbench", server.conninfo("app")});
  INFO(done.out + done.err);
  CHECK(done.code == 0);
  CHECK(db.scalar<int>("SELECT count(*) FROM awkward.ledger") == 600);
  // By the statistics of the tables: rows deleted or truncated away count too.
  CHECK(eventually([&] {
    return db
        .rows(
            "SELECT relname FROM pg_stat_user_tables WHERE n_tup_ins = 0 AND relid IN"
            " (SELECT relid FROM pg_partition_tree('awkward.parted') WHERE isleaf"
            "  UNION ALL SELECT oid FROM pg_class WHERE relkind = 'r' AND NOT relispartition)")
        .empty();
  }));
}
