// Resident memory at full speed, rows of 10 kB: many transactions, and one that is larger than the bound.
#include <csignal>

#include "support/catch.hpp"
#include "support/compare.hpp"
#include "support/migration_files.hpp"
#include "support/server.hpp"

using namespace walign::test;

namespace {

// The most that the process ever had resident, in MiB (VmHWM).
long peak_mib(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stol(line.substr(6)) / 1024;
  }
  return -1;
}

}  // namespace

TEST_CASE("memory stays under 256 MiB with rows of 10 kB at full speed") {
  Server source({.name = "source", .settings = {"max_wal_size = 4GB"}});
  Server target({.name = "target", .settings = {"max_wal_size = 4GB"}});
  Sql from = source.create_database("app");
  Sql to = target.create_database("app");
  for (Sql* db : {&from, &to}) {
    db->exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL");
  }
  MigrationFiles files("memory", source.url("app"), target.url("app"), "  - public.t\n");
  REQUIRE(run(files.command({"run", "--until-caught-up"})).code == 0);
  from.exec(
      "CREATE PROCEDURE fill(first int, transactions int, rows int) LANGUAGE plpgsql AS $$ BEGIN "
      "FOR i IN 0 .. transactions - 1 LOOP INSERT INTO t SELECT first + i * rows + g, 0, repeat(md5((i + "
      "g)::text), 320) "
      "FROM generate_series(0, rows - 1) g; COMMIT; END LOOP; END $$");
  from.exec("CALL fill(0, 2000, 10)");
  from.exec("CALL fill(1000000, 1, 20000)");  // one transaction of 200 MB
  from.exec("UPDATE t SET n = 1, v = reverse(v) WHERE id < 20000");

  Process walign(files.command({"run"}));
  REQUIRE(walign.wait_for_output("streaming"));
  const bool arrived = eventually(
      [&] { return !walign.running() || to.scalar<int>("SELECT count(*)::int FROM t WHERE n = 1") == 20000; },
      300s, 200ms);
  INFO(walign.err());
  REQUIRE(arrived);
  REQUIRE(walign.running());
  const long peak = peak_mib(walign.pid());
  WARN("peak of resident memory: " << peak << " MiB");
  CHECK(peak > 0);
  CHECK(peak < 256);
  walign.signal(SIGTERM);
  CHECK(walign.wait() == 130);
  const auto result = compare_same(from, to, "t");
  INFO(result.report());
  CHECK(result.equal());
}
