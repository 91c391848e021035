// capture and events, as an operator uses them.
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/catch.hpp"
#include "support/migration_files.hpp"
#include "support/server.hpp"
#include "support/temporary_directory.hpp"

using namespace walign::test;
using Json = nlohmann::json;

namespace {

struct Operator {
  Operator() {
    db.exec(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (0, 'before');"
        "CREATE PUBLICATION walign_shop FOR TABLE t");
  }
  Finished operator()(const std::vector<std::string>& args) const {
    return run(files.command(args), {}, 60s);
  }
  // Reads the lines with the ids that are inserted.
  std::vector<std::string> inserted(const std::vector<std::string>& args) const {
    const auto said = (*this)(args);
    INFO(said.err);
    REQUIRE(said.code == 0);
    std::vector<std::string> out;
    std::istringstream lines(said.out);
    for (std::string line; std::getline(lines, line);) {
      const auto json = Json::parse(line);
      if (json.at("op") == "insert") out.push_back(json.at("new").at("id"));
    }
    return out;
  }
  int slots() { return db.scalar<int>("SELECT count(*)::int FROM pg_replication_slots"); }

  Server server{{.name = "source"}};
  Sql db = server.create_database("app");
  TemporaryDirectory directory;
  MigrationFiles files{"shop", server.url("app"), server.url("app"), "  - public.t: public.t2\n", ""};
  const std::string where = directory / "capture";
};

}  // namespace

TEST_CASE("a capture is recorded, gone on with, and read as events") {
  Operator walign;
  const auto first = walign({"capture", walign.where, "--until-caught-up"});
  INFO(first.err);
  REQUIRE(first.code == 0);
  CHECK(has(first.err, "slot made"));
  CHECK(has(first.err, "walign capture --drop-slot"));
  walign.db.exec("INSERT INTO t VALUES (1, 'one'), (2, 'two'); UPDATE t SET v = 'deux' WHERE id = 2");
  CHECK(walign({"capture", walign.where, "--until-caught-up"}).code == 0);
  walign.db.exec("INSERT INTO t VALUES (3, 'three'); DELETE FROM t WHERE id = 1");
  CHECK(walign({"capture", walign.where, "--until-caught-up"}).code == 0);

  CHECK(walign.inserted({"events", walign.where}) == std::vector<std::string>{"1", "2", "3"});
  const auto all = walign({"events", walign.where});
  CHECK(has(all.out, R"({"op":"update","table":"public.t","new":{"id":"2","v":"deux"}})"));
  CHECK(has(all.out, R"({"op":"delete","table":"public.t","key":{"id":"1"}})"));
  // From the end of the first transaction that inserts.
  std::istringstream lines(all.out);
  std::string end;
  bool seen = false;
  for (std::string line; end.empty() && std::getline(lines, line);) {
    const auto json = Json::parse(line);
    seen = seen || json.at("op") == "insert";
    if (seen && json.at("op") == "commit") end = json.at("end_lsn");
  }
  CHECK(walign.inserted({"events", walign.where, "--from", end}) == std::vector<std::string>{"3"});
  CHECK(walign.inserted({"events", walign.where, "--until-lsn", end}) == std::vector<std::string>{"1", "2"});
  const auto binary = walign({"events", walign.where, "--format", "protobuf"});
  CHECK(binary.code == 0);
  CHECK(has(binary.out, "three"));

  CHECK(walign.slots() == 1);
  CHECK(walign({"capture", "--drop-slot"}).code == 0);
  CHECK(walign.slots() == 0);
}

TEST_CASE("a capture that is interrupted has everything that it acknowledged") {
  Operator walign;
  REQUIRE(walign({"capture", walign.where, "--until-caught-up"}).code == 0);
  Process recording(walign.files.command({"capture", walign.where}));
  std::vector<std::string> expected;
  for (int i = 1; i <= 50; ++i) {
    walign.db.exec("INSERT INTO t VALUES (" + std::to_string(i) + ", 'v')");
    expected.push_back(std::to_string(i));
  }
  SECTION("by a signal: exit 130") {
    std::this_thread::sleep_for(300ms);
    recording.signal(SIGINT);
    CHECK(recording.wait(30s) == 130);
  }
  SECTION("by a kill") {
    std::this_thread::sleep_for(300ms);
    recording.kill();
  }
  REQUIRE(eventually([&] { return !walign.db.scalar<bool>("SELECT active FROM pg_replication_slots"); }));
  CHECK(walign({"capture", walign.where, "--until-caught-up"}).code == 0);
  CHECK(walign.inserted({"events", walign.where}) == expected);
}

TEST_CASE("events shows what a slot would bring, and takes nothing from it") {
  Operator walign;
  walign.db.exec("SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')");
  walign.db.exec("INSERT INTO t VALUES (1, 'one')");
  const std::vector<std::string> show = {"events", "--slot", "theirs", "--until-caught-up"};
  CHECK(walign.inserted(show) == std::vector<std::string>{"1"});
  CHECK(walign.inserted(show) == std::vector<std::string>{"1"});
}

TEST_CASE("what cannot be recorded is refused with what to do") {
  Operator walign;
  const auto refused = [&](const std::vector<std::string>& args, int code, const std::string& what) {
    const auto said = walign(args);
    INFO(said.err);
    CHECK(said.code == code);
    CHECK(has(said.err, what));
    CHECK(has(said.err, "hint:"));
  };
  refused({"capture"}, 2, "where shall the capture go?");
  refused({"capture", walign.where, "--slot", "none"}, 3, "has no slot none");
  refused({"capture", walign.where, "--publication", "none"}, 3, "has no publication none");
  refused({"events"}, 2, "a capture's directory, or --slot");
  refused({"events", walign.where}, 3, "there is no capture in");
  refused({"capture", "--drop-slot", "--slot", "theirs"}, 2, "is not dropped");
  walign.db.exec("DROP PUBLICATION walign_shop");
  refused({"capture", walign.where}, 3, "has no publication walign_shop yet");
  CHECK(walign.slots() == 0);
  std::filesystem::create_directory(walign.where);
  CHECK(std::filesystem::is_empty(walign.where));
}
