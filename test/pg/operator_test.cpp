// The program as an operator uses it: commands, what they print, and how they exit, from the first check to the last
// clean-up.
#include <csignal>
#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/compare.hpp"
#include "support/migration_files.hpp"
#include "support/server.hpp"

using namespace walign::test;
using Json = nlohmann::json;

namespace {

constexpr const char* kRules = R"(  - public.users: public.users_async
  - from: public.listings
    to: public.offers
    where: status <> 'DRAFT'
    columns:
      legacy_id: id
      status: { values: { ACTIVE: active, PAUSED: paused } }
      price: { sql: "src.price_cents / 100.0", reverse: "round(price * 100)::int" }
      price_cents: false
)";

struct Operator {
  Operator() : source({.name = "source"}), target({.name = "target"}) {
    from.exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text);"
        "CREATE TABLE listings (id int PRIMARY KEY, status text NOT NULL, price_cents int NOT NULL);"
        "INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 6000) i;"
        "INSERT INTO listings SELECT i, (ARRAY['DRAFT', 'ACTIVE', 'PAUSED'])[1 + i % 3], i "
        "FROM generate_series(1, 3000) i; ANALYZE");
    to.exec(
        "CREATE TABLE users_async (id int PRIMARY KEY, name text UNIQUE);"
        "CREATE TABLE offers (legacy_id int PRIMARY KEY, status text NOT NULL, price numeric(10, 2) NOT "
        "NULL)");
    // Who walign is on the source: everything that it needs but the right to read one table.
    from.exec(
        "CREATE ROLE mover LOGIN REPLICATION; GRANT CREATE ON DATABASE app TO mover; "
        "ALTER TABLE users OWNER TO mover; ALTER TABLE listings OWNER TO mover; "
        "REVOKE SELECT ON listings FROM mover");
  }

  Finished operator()(const std::vector<std::string>& args, const ProcessOptions& options = {}) const {
    return run(files.command(args), options, 60s);
  }
  Json status() const {
    const auto said = (*this)({"status", "--json"});
    REQUIRE(said.code == 0);
    return Json::parse(said.out);
  }
  std::int64_t copied() const {
    std::int64_t rows = 0;
    const Json said = status();
    for (const auto& table : said.at("tables")) {
      if (table.at("rows_copied").is_number()) rows += table.at("rows_copied").get<std::int64_t>();
    }
    return rows;
  }
  // HTTP without a client of walign's: the status line, and the page.
  Finished get(const std::string& path) const {
    return run({"python3", "-c",
                "import sys, urllib.request, urllib.error\n"
                "try: answer = urllib.request.urlopen(sys.argv[1])\n"
                "except urllib.error.HTTPError as error: answer = error\n"
                "print(answer.status, answer.read().decode())",
                "http://" + http() + path});
  }
  std::string http() const { return "127.0.0.1:" + std::to_string(port); }

  Server source;
  Server target;
  Sql from = source.create_database("app");
  Sql to = target.create_database("app");
  int port = std::stoi(run({"python3", "-c",
                            "import socket\nwith socket.socket() as s:\n  s.bind(('127.0.0.1', 0))\n"
                            "  print(s.getsockname()[1])"})
                           .out);
  MigrationFiles files{"shop", source.conninfo("app") + " user=mover", target.url("app"), kRules,
                       "http: " + http() +
                           "\napply: { workers: 2 }\n"
                           "backfill: { chunk_rows: 100, max_rows_per_second: 500 }\n"};
};

void check_before(Operator& walign) {
  const auto checked = walign({"config", "check"});
  CHECK(checked.code == 0);
  CHECK(has(checked.out, "ok: 2 table rules"));
  CHECK(has(checked.out, "apply.workers"));
  CHECK(has(checked.out, "is accepted but not acted on in this version"));

  const auto failing = walign({"preflight"});
  CHECK(failing.code == 3);
  CHECK(has(failing.out, "FAIL  public.listings"));
  CHECK(has(failing.out, "GRANT SELECT ON \"public\".\"listings\" TO \"mover\""));
  CHECK(has(failing.out, "1 FAIL: walign run would refuse"));
  const auto refused = walign({"run"});
  CHECK(refused.code == 3);
  CHECK(has(refused.err, "may not read it on the source"));
  CHECK(walign.from.scalar<int>("SELECT count(*)::int FROM pg_replication_slots") == 0);

  walign.from.exec("GRANT SELECT ON listings TO mover");
  const auto passing = walign({"preflight"});
  INFO(passing.out);
  CHECK(passing.code == 0);
  CHECK(has(passing.out, "about 9000 rows"));
  CHECK(has(passing.out, "ready for walign run"));
}

void check_row_security(Operator& walign) {
  walign.from.exec("ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY");
  const auto failing = walign({"preflight"});
  CHECK(failing.code == 3);
  CHECK(has(failing.out, "has row-level security on the source"));
  CHECK(has(failing.out, "ALTER ROLE \"mover\" BYPASSRLS"));
  walign.from.exec("ALTER ROLE mover BYPASSRLS");
  CHECK(walign({"preflight"}).code == 0);
}

void check_target_rows(Operator& walign) {
  walign.to.exec("INSERT INTO offers VALUES (-1, 'active', 1)");
  const auto warned = walign({"preflight"});
  CHECK(warned.code == 0);
  CHECK(has(warned.out, "warn  public.offers"));
  CHECK(has(warned.out, "already has rows on the target"));
  const auto refused = walign({"run"});
  CHECK(refused.code == 3);
  CHECK(has(refused.err, "already has rows"));
  walign.to.exec("TRUNCATE offers");
}

void check_plan(Operator& walign) {
  const auto said = walign({"plan"});
  CHECK(said.code == 0);
  CHECK(has(said.out, "about 60, of up to 100 rows, by id"));
  CHECK(has(said.out, "as they are, each chunk at its aligned moment"));
  CHECK(has(said.out, "through the mapping's SQL"));
  const auto plan = Json::parse(walign({"plan", "--json"}).out);
  const auto& users = plan.at("tables").at(0);
  CHECK(users.at("chunks") == 60);
  CHECK(users.at("rows_per_chunk") == 100);
  CHECK(users.at("chunk_key") == Json::array({"id"}));
  CHECK(users.at("piped") == true);
  CHECK(users.at("at_aligned_moment") == true);
  const auto& listings = plan.at("tables").at(1);
  CHECK(listings.at("chunks") == 30);
  CHECK(listings.at("piped") == false);
  CHECK(listings.at("at_aligned_moment") == false);
  CHECK(listings.at("estimated_rows") == 3000);
}

// A role that may not publish is shown what its owner has to run.
void check_plan_of_others_tables(Operator& walign) {
  walign.from.exec("ALTER TABLE users OWNER TO postgres; GRANT SELECT ON users TO mover");
  const auto said = walign({"plan", "--sql"});
  CHECK(said.code == 0);
  CHECK(has(said.out,
            "CREATE PUBLICATION \"walign_shop\" FOR TABLE \"public\".\"users\", \"public\".\"listings\""));
  CHECK(has(said.err, "role mover does not own public.users"));
  walign.from.exec("ALTER TABLE users OWNER TO mover");
}

void check_paused(Operator& walign) {
  const auto paused = walign({"pause", "backfill"});
  CHECK(paused.code == 0);
  CHECK(has(paused.out, "backfill is paused"));
  // Chunks in flight still end.
  std::int64_t before = -1;
  REQUIRE(eventually([&] { return std::exchange(before, walign.copied()) == walign.copied(); }, 10s, 700ms));
  CHECK(before < 8000);
  walign.from.exec(
      "INSERT INTO users VALUES (-1, 'while paused')");  // lies in the first chunk, which is loaded
  CHECK(eventually(
      [&] { return walign.to.scalar<bool>("SELECT EXISTS (SELECT FROM users_async WHERE id = -1)"); }));
  CHECK(walign.copied() == before);
  const auto resumed = walign({"resume", "backfill"});
  CHECK(resumed.code == 0);
  CHECK(has(resumed.out, "backfill goes on"));
  CHECK(eventually([&] { return walign.copied() > before; }));
}

void check_while_copying(Operator& walign, const Process& sidecar) {
  const bool copying =
      eventually([&] { return walign.status().at("phase") == "backfilling" && walign.copied() > 0; });
  INFO(sidecar.err());
  REQUIRE(copying);
  const auto users = walign.status().at("tables").at(0);
  CHECK(users.at("state") == "backfilling");
  CHECK(users.at("rows_estimated") == 6000);
  CHECK(users.at("chunks_done") > 0);
  CHECK(users.at("chunks") >= users.at("chunks_done"));
  const auto ready = walign.get("/readyz");
  CHECK(has(ready.out, "503 not ready: the phase is backfilling"));
  CHECK(has(walign.get("/healthz").out, "200"));
  CHECK(eventually([&] {
    return has(walign.get("/metrics").out,
               "walign_backfill_rows{direction=\"forward\",table=\"public.users -> public.users_async\"}");
  }));
  CHECK(Json::parse(walign.get("/v1/status").out.substr(4)).at("phase") == "backfilling");
  check_paused(walign);
  const auto removed = walign({"remove", "--name", "shop"});
  CHECK(removed.code == 3);
  CHECK(has(removed.err, "is running"));
}

void check_copied(Operator& walign) {
  REQUIRE(eventually([&] { return walign.status().at("phase") == "streaming"; }, 60s, 100ms));
  REQUIRE(eventually([&] { return has(walign.get("/readyz").out, "200 ready"); }));
  const Json said = walign.status();
  for (const auto& table : said.at("tables")) CHECK(table.at("state") == "streaming");
  const auto paused = walign({"pause", "backfill"});
  CHECK(paused.code == 3);
  CHECK(has(paused.err, "there is no backfill running"));
  REQUIRE(eventually([&] {
    return walign({"checkpoints", "list"}).out.find("streaming") != std::string::npos;
  }));
}

}  // namespace

TEST_CASE("an operator checks, plans, runs, watches, pauses, stops, goes on and removes") {
  Operator walign;
  check_before(walign);
  check_row_security(walign);
  check_target_rows(walign);
  check_plan(walign);
  check_plan_of_others_tables(walign);

  {
    Process sidecar(walign.files.command({"run"}));
    check_while_copying(walign, sidecar);
    sidecar.kill();
    CHECK(has(walign({"status"}).out, "no sidecar runs"));
  }
  {
    Process sidecar(walign.files.command({"run"}));
    REQUIRE(sidecar.wait_for_output("streaming"));
    check_copied(walign);
    sidecar.signal(SIGTERM);
    CHECK(sidecar.wait() == 130);
    INFO(sidecar.err());
    CHECK(has(sidecar.err(), "table complete"));
  }

  walign.from.exec(
      "UPDATE users SET name = name || '!' WHERE id % 2 = 0; DELETE FROM listings WHERE id < 100");
  const auto last = walign({"run", "--until-caught-up"});
  INFO(last.err);
  CHECK(last.code == 0);
  const auto users =
      compare_tables(walign.from, "SELECT * FROM users", walign.to, "SELECT * FROM users_async");
  CHECK(users.rows_a == 6001);
  CHECK(users.equal());
  const auto offers =
      compare_tables(walign.from,
                     "SELECT id, lower(status), (price_cents / 100.0)::numeric(10, 2) FROM listings "
                     "WHERE status <> 'DRAFT'",
                     walign.to, "SELECT * FROM offers");
  CHECK(offers.equal());

  const auto unconfirmed = walign({"remove"}, {.input = "shops\n"});
  CHECK(unconfirmed.code == 2);
  const auto removed = walign({"remove"}, {.input = "shop\n"});
  CHECK(removed.code == 0);
  CHECK(has(removed.out, "removed source: slot walign_shop"));
  CHECK(walign.from.scalar<int>("SELECT count(*)::int FROM pg_replication_slots") == 0);
  CHECK(walign.from.scalar<int>("SELECT count(*)::int FROM pg_publication") == 0);
  CHECK(walign.to.scalar<bool>("SELECT to_regnamespace('walign') IS NULL"));
  CHECK(walign.to.scalar<int>("SELECT count(*)::int FROM users_async") == 6001);
}
