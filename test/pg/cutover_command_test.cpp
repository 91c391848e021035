// The change of sides as an operator types it: steps, reports, exit statuses, the pages; and recover.
#include <csignal>
#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/migration_files.hpp"
#include "support/server.hpp"

using namespace walign::test;
using Json = nlohmann::json;

namespace {

std::string outcome(Sql& sql, const std::string& statement) {
  try {
    sql.exec(statement);
    return "ok";
  } catch (const SqlError& error) {
    return error.sqlstate();
  }
}

int free_port() {
  return std::stoi(run({"python3", "-c",
                        "import socket\nwith socket.socket() as s:\n  s.bind(('127.0.0.1', 0))\n"
                        "  print(s.getsockname()[1])"})
                       .out);
}

struct Bed {
  Bed() {
    for (Sql* sql : {&from, &to}) sql->exec("CREATE TABLE users (id int PRIMARY KEY, name text)");
    from.exec("INSERT INTO users SELECT i, 'u' FROM generate_series(1, 100) i");
  }
  Finished operator()(std::vector<std::string> args) const { return run(files.command(std::move(args))); }
  Process sidecar() const { return Process(files.command({"run"})); }
  std::string get(const std::string& path) const {
    return run({"python3", "-c",
                "import sys, urllib.request\nprint(urllib.request.urlopen(sys.argv[1]).read().decode())",
                "http://127.0.0.1:" + std::to_string(port) + path})
        .out;
  }
  Json status() const {
    const auto said = (*this)({"status", "--json"});
    return said.code == 0 ? Json::parse(said.out) : Json::object();
  }
  bool becomes(const std::string& pointer, const Json& wanted) const {
    const Json::json_pointer at(pointer);
    return eventually(
        [&] {
          const Json now = status();
          return now.contains(at) && now.at(at) == wanted;
        },
        60s, 100ms);
  }

  Server source{{.name = "source"}};
  Server target{{.name = "target"}};
  Sql from = source.create_database("app");
  Sql to = target.create_database("app");
  int port = free_port();
  MigrationFiles files{
      "sides", source.conninfo("app"), target.conninfo("app"), "  - public.users\n",
      "http: 127.0.0.1:" + std::to_string(port) +
          "\ngates: { stable_for: 0s, oldest_transaction: 1h }\ncutover: { before_open: \"test ! "
          "-e $FLAG\" }\n"};
};

void check_before(Bed& walign) {
  const auto alone = walign({"cutover", "--dry-run"});
  CHECK(alone.code == 3);
  CHECK(has(alone.err, "no sidecar runs here"));
  CHECK(walign({"cutover", "--dry-run", "--rehearse"}).code == 2);
  CHECK(walign({"cutover", "--accept-loss"}).code == 2);
}

void check_tries(Bed& walign) {
  const auto shut = walign({"cutover", "--dry-run"});
  CHECK(shut.code == 3);
  CHECK(has(shut.out, "differences is unknown"));
  CHECK(walign({"verify"}).code == 0);
  const auto dry = walign({"cutover", "--dry-run", "--json"});
  INFO(dry.err);
  REQUIRE(dry.code == 0);
  const Json report = Json::parse(dry.out);
  CHECK(report.at("outcome") == "rehearsed");
  CHECK(report.at("gates").size() > 5);
  CHECK(has(dry.err, "nothing was changed"));
  CHECK(walign.from.scalar("SELECT count(*) FROM pg_trigger") == "0");
  CHECK(walign({"cutover", "--cancel"}).code == 3);

  const auto rehearsed = walign({"cutover", "--rehearse"});
  INFO(rehearsed.out);
  CHECK(rehearsed.code == 0);
  for (const char* part : {"verify", "gate", "rehearse", "writes would wait or be refused for about"}) {
    CHECK(has(rehearsed.out, part));
  }
  CHECK(outcome(walign.from, "INSERT INTO users VALUES (1000, 'still here')") == "ok");
}

void check_cutover(Bed& walign, const std::string& flag) {
  REQUIRE(run({"touch", flag}).code == 0);
  const auto backed_out = walign({"cutover", "--yes", "--json"});
  CHECK(backed_out.code == 5);
  CHECK(Json::parse(backed_out.out).at("outcome") == "backed_out");
  CHECK(has(backed_out.err, "before_open"));
  REQUIRE(run({"rm", flag}).code == 0);
  const auto done = walign({"cutover", "--yes"});
  INFO(done.out + done.err);
  CHECK(done.code == 0);
  for (const char* step :
       {"raise", "fencing", "table 1", "drain", "prove", "hold", "seal", "freeze", "open"}) {
    CHECK(has(done.out, step));
  }
  CHECK(has(done.out, "cut over: the target takes writes"));
  CHECK(has(done.out, "writes waited or were refused for"));
  CHECK(outcome(walign.from, "INSERT INTO users VALUES (2000, 'late')") == "25006");
  CHECK(outcome(walign.to, "INSERT INTO users VALUES (2000, 'there')") == "ok");
  const auto again = walign({"cutover", "--yes"});
  CHECK(again.code == 0);
  CHECK(has(again.out, "there was nothing to do"));
  CHECK(walign({"recover"}).code == 3);  // the sidecar does this
}

// The way back is on /metrics as well, and so is the phase.
void check_metrics(Bed& walign) {
  CHECK(walign.becomes("/rollback/ready", true));
  REQUIRE(eventually([&] {
    const auto page = walign.get("/metrics");
    return has(page, "walign_phase{phase=\"cut_over\"} 1\n") &&
           has(page, "walign_connected{direction=\"reverse\"} 1\n") &&
           has(page,
               "walign_rows_total{direction=\"reverse\",operation=\"applied\",table=\"public.users -> "
               "public.users\"} 1\n");
  }));
  const auto page = walign.get("/metrics");
  for (const char* phase :
       {"new", "backfilling", "streaming", "cutting_over", "rolling_back", "finished", "removed"}) {
    CHECK(has(page, std::string("walign_phase{phase=\"") + phase + "\"} 0\n"));
  }
  for (const char* name :
       {"lag_bytes", "applied_lsn_bytes", "slot_retained_bytes", "slot_safe", "dead_letters"}) {
    INFO(name);
    for (const char* direction : {"forward", "reverse"}) {
      CHECK(has(page, std::string("walign_") + name + "{direction=\"" + direction + "\"} "));
    }
  }
}

void check_rollback(Bed& walign) {
  CHECK(walign({"rollback", "--dry-run"}).code == 0);
  CHECK(walign({"rollback", "--rehearse"}).code == 0);
  CHECK(walign({"rollback", "--cancel"}).code == 3);
  const auto done = walign({"rollback", "--yes", "--json"});
  INFO(done.err);
  CHECK(done.code == 0);
  const Json report = Json::parse(done.out);
  CHECK(report.at("direction") == "reverse");
  CHECK(report.at("outcome") == "cut_over");
  CHECK(report.at("writes").at("fence_ms").is_number());
  CHECK(walign.from.scalar("SELECT name FROM users WHERE id = 2000") == "there");
  CHECK(walign.becomes("/phase", "streaming"));
}

}  // namespace

TEST_CASE("a cutover and a rollback as they are typed: what is printed, and how they exit") {
  Bed walign;
  const std::string flag = walign.files.state() + ".flag";
  ProcessOptions with_flag;
  with_flag.env["FLAG"] = flag;
  check_before(walign);
  Process sidecar(walign.files.command({"run"}), with_flag);
  REQUIRE(walign.becomes("/tables/0/state", "streaming"));
  REQUIRE(walign.becomes("/connected", true));
  check_tries(walign);
  check_cutover(walign, flag);
  check_metrics(walign);
  check_rollback(walign);
  sidecar.signal(SIGTERM);
  CHECK(sidecar.wait() == 130);
}

TEST_CASE(
    "recover needs nothing but the two servers, and opens one alone only where a human says that the other "
    "is gone") {
  Bed walign;
  ProcessOptions with_flag;
  with_flag.env["FLAG"] = walign.files.state() + ".flag";
  const std::vector<std::string> both = {"--source", walign.source.conninfo("app"), "--target",
                                         walign.target.conninfo("app")};
  const auto recover = [&](std::vector<std::string> more, const std::string& answer) {
    std::vector<std::string> args = {WALIGN_BINARY, "recover"};
    args.insert(args.end(), both.begin(), both.end());
    args.insert(args.end(), more.begin(), more.end());
    ProcessOptions options;
    options.input = answer;
    return run(args, options);
  };
  CHECK(recover({}, "").code == 3);  // nothing was ever cut over
  {
    Process sidecar(walign.files.command({"run"}), with_flag);
    REQUIRE(walign.becomes("/connected", true));
    REQUIRE(walign.becomes("/tables/0/state", "streaming"));
    REQUIRE(walign({"verify"}).code == 0);
    const auto done = walign({"cutover", "--yes"});
    INFO(done.out + done.err);
    REQUIRE(done.code == 0);
    sidecar.kill();
  }
  const auto rests = recover({}, "");
  CHECK(rests.code == 0);
  CHECK(has(rests.out, "at rest: writes go to the target"));
  // As if sealed, and not open yet when everything died.
  walign.to.exec("UPDATE walign.fence SET state = 'CLOSED'");
  const auto back = recover({"--json"}, "");
  INFO(back.out + back.err);
  CHECK(back.code == 0);
  CHECK(Json::parse(back.out).at("writes") == "source");
  CHECK(outcome(walign.from, "INSERT INTO users VALUES (3000, 'home')") == "ok");

  walign.from.exec("UPDATE walign.fence SET state = 'SEALED', epoch = epoch + 1");
  walign.target.stop(StopMode::immediate);
  const auto doubt = recover({}, "");
  CHECK(doubt.code == 6);
  CHECK(has(doubt.out, "walign recover --gone"));
  const auto declined = recover({"--gone", "target"}, "n\n");
  CHECK(declined.code == 1);
  CHECK(has(declined.err, "will never come back"));
  CHECK(has(declined.err, "nothing was done"));
  const std::string before = walign.from.scalar("SELECT state || ' ' || epoch FROM walign.fence");
  CHECK(has(before, "SEALED"));
  const auto alone = recover({"--gone", "target"}, "y\n");
  INFO(alone.out + alone.err);
  CHECK(alone.code == 0);
  CHECK(has(alone.out, "writes go to the source"));
  CHECK(outcome(walign.from, "INSERT INTO users VALUES (3001, 'alone')") == "ok");
}
