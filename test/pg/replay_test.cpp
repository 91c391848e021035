// Under pgbench and the awkward tables: what was captured, replayed into an empty target, is what the live run made;
// and a target put back to a backup taken in the middle of it is caught up from the journal, exactly.
#include <csignal>
#include <nlohmann/json.hpp>

#include "pg/backup.hpp"
#include "support/catch.hpp"
#include "support/load.hpp"
#include "support/migration_files.hpp"
#include "support/temporary_directory.hpp"

using namespace walign::test;

namespace {

const std::vector<std::string> kBench = {"pgbench_accounts", "pgbench_tellers", "pgbench_branches",
                                         "pgbench_history"};

std::string differences(Sql& a, Sql& b) {
  std::string out = compare_awkward(a, b);
  for (const auto& table : kBench) {
    const auto result = compare_same(a, b, table);
    if (!result.equal()) out += table + ": " + result.report() + "\n";
  }
  return out;
}

void make_tables(const Server& server, const std::string& database) {
  const auto made = run({Server::program("pgbench"), "-i", "-I", "dtp", server.conninfo(database)}, {}, 60s);
  INFO(made.err);
  REQUIRE(made.code == 0);
  Sql db(server.conninfo(database));
  db.exec("ALTER TABLE pgbench_history ADD hid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY");
  db.exec_file("awkward.sql");
}

}  // namespace

TEST_CASE("a run under load is replayed from its capture, and caught up from its journal, to the same rows") {
  Server source({.name = "source"});
  Server target({.name = "target"});
  Sql from = source.create_database("app");
  Sql to = target.create_database("app");
  Sql replica = source.create_database("replica");
  make_tables(source, "app");
  make_tables(target, "app");
  make_tables(source, "replica");
  from.exec_file("awkward_load.sql");
  const std::string rules = "  - \"public.pgbench_*\"\n" + awkward_rules();
  const MigrationFiles files("replay", source.url("app"), target.url("app"), rules);
  const MigrationFiles into("replay", source.url("app"), source.url("replica"), rules);
  const TemporaryDirectory directory;
  const std::string capture = directory / "capture";
  const auto walign = [&](const MigrationFiles& which, const std::vector<std::string>& args) {
    const auto done = run(which.command(args), {}, 240s);
    INFO(done.err);
    REQUIRE(done.code == 0);
    return done;
  };

  walign(files, {"run", "--until-caught-up"});
  walign(files, {"capture", capture, "--until-caught-up"});
  pgbench(source, {"-i", "-I", "g"});
  Process running(files.command({"run"}));
  REQUIRE(running.wait_for_output("streaming"));
  Load load(source);
  std::this_thread::sleep_for(4s);
  Backup backup(target);
  std::this_thread::sleep_for(6s);
  load.stop();
  running.signal(SIGTERM);
  running.wait();
  walign(files, {"run", "--until-caught-up"});
  walign(files, {"capture", capture, "--until-caught-up"});
  CHECK(differences(from, to).empty());

  const auto nothing =
      nlohmann::json::parse(walign(files, {"replay", capture, "--to", "null", "--json"}).out);
  CHECK(nothing.at("transactions").get<int>() > 500);
  WARN("replayed to nothing: " << nothing.dump());
  for (int again = 0; again < 2; ++again) {
    const auto done = walign(into, {"replay", capture, "--to", "target"});
    WARN(done.out);
    if (again == 1) CHECK(done.out.find("with 0 changes") != std::string::npos);
    const std::string found = differences(from, replica);
    INFO(found);
    CHECK(found.empty());
  }

  backup.restore();
  to.reconnect();
  CHECK_FALSE(differences(from, to).empty());
  const auto caught_up = walign(files, {"run", "--until-caught-up"});
  CHECK(caught_up.err.find("catching the target up from the journal") != std::string::npos);
  to.reconnect();
  const std::string found = differences(from, to);
  INFO(found);
  CHECK(found.empty());
}
