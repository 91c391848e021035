// What a change of sides measures, tries and does beside the rows, on real servers.
#include <csignal>

#include "cutover/actions.hpp"
#include "cutover/hooks.hpp"
#include "cutover/sequences.hpp"
#include "fence_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

Gate gate_of(const ServerFigures& giver, const std::string& name, bool gives_way = true) {
  Figures figures;
  figures.giver = giver;
  for (const auto& g : judge({}, figures, gives_way)) {
    if (g.name == name) return g;
  }
  return {};
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Looks with the rights of a superuser, as a role in pg_read_all_stats would.
pg::Connection superuser(const FenceBed& bed) {
  pg::ConnectionOptions options;
  options.conninfo = bed.server().conninfo(bed.database());
  options.application_name = "walign test";
  return pg::Connection(options);
}

}  // namespace

TEST_CASE("the gates see prepared and old transactions, and who holds a table") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT");
  bed.mapped.push_back({"public", "p"});
  auto looks = superuser(bed);
  const auto now = [&] { return measure(looks, bed.mapped); };
  for (const char* name : {"prepared_transactions", "oldest_transaction", "lock_holders", "standbys"}) {
    CHECK(gate_of(now(), name).ok);
  }
  Sql other = bed.as("app");
  SECTION("a prepared transaction") {
    other.exec("BEGIN; INSERT INTO t VALUES (100, 'y'); PREPARE TRANSACTION 'left over'");
    const auto gate = gate_of(now(), "prepared_transactions");
    CHECK_FALSE(gate.ok);
    CHECK(gate.value == "left over");
    other.exec("ROLLBACK PREPARED 'left over'");
  }
  SECTION("an old transaction") {
    other.exec("BEGIN; SELECT 'the old one'");
    std::this_thread::sleep_for(Millis(60));
    Figures figures;
    figures.giver = now();
    config::Gates limits;
    limits.oldest_transaction = Millis(50);
    CHECK_FALSE(all_hold(judge(limits, figures, true)));
    const auto found = blockers(limits, figures, true);
    REQUIRE(found.size() == 1);
    CHECK(found[0].pid == other.backend_pid());
    CHECK(has(found[0].query, "the old one"));
  }
  SECTION("a lock such as VACUUM's on a partition") {
    Sql owner = bed.as("owner");
    owner.exec("BEGIN; LOCK TABLE p1 IN SHARE UPDATE EXCLUSIVE MODE");
    const auto figures = now();
    CHECK_FALSE(gate_of(figures, "lock_holders").ok);
    REQUIRE(figures.holders.size() == 1);
    CHECK(figures.holders[0].pid == owner.backend_pid());
    CHECK(figures.holders[0].table == "public.p1");
    CHECK(figures.holders[0].mode == "ShareUpdateExclusiveLock");
    CHECK_FALSE(figures.holders[0].gives_way);
  }
  SECTION("ordinary writers and other databases' locks do not count") {
    other.exec("BEGIN; INSERT INTO t VALUES (100, 'y')");
    FenceBed elsewhere;
    elsewhere.one_table();
    Sql owner = elsewhere.as("owner");
    owner.exec("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    CHECK(now().holders.empty());
  }
  SECTION("a role that may not see others' sessions says so") {
    other.exec("BEGIN; SELECT 'hidden from mover'");
    const auto figures = measure(*bed.giver, bed.mapped);
    CHECK(figures.hidden_sessions >= 1);
    CHECK(has(gate_of(figures, "oldest_transaction").value, "pg_read_all_stats"));
  }
}

TEST_CASE("an autovacuum at work is seen, and known to give way") {
  FenceBed bed;
  bed.tables(R"(
    CREATE TABLE t (id int, v text) WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,
      autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, fillfactor = 10);
    INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i; DELETE FROM t WHERE id % 2 = 0)");
  bed.mapped = {{"public", "t"}};
  auto looks = superuser(bed);
  ServerFigures figures;
  REQUIRE(eventually_true(
      [&] {
        figures = measure(looks, bed.mapped);
        return !figures.holders.empty();
      },
      Millis(60'000)));
  CHECK(figures.holders[0].gives_way);
  CHECK(gate_of(figures, "lock_holders", true).ok);
  CHECK_FALSE(gate_of(figures, "lock_holders", false).ok);
}

TEST_CASE("sequences are read with the columns they serve, and set beyond both sides") {
  FenceBed giver;
  FenceBed taker;
  giver.tables(R"(
    CREATE TABLE t (id serial PRIMARY KEY, big bigint GENERATED ALWAYS AS IDENTITY, down int);
    CREATE SEQUENCE shared INCREMENT -1; ALTER TABLE t ALTER down SET DEFAULT nextval('shared');
    CREATE TABLE p (id bigint DEFAULT 0) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT;
    CREATE SEQUENCE leaf; ALTER TABLE p1 ALTER id SET DEFAULT nextval('leaf');
    SELECT setval('t_id_seq', 500), setval('t_big_seq', 7, false), setval('shared', -30), setval('leaf', 9))");
  taker.tables(R"(
    CREATE SEQUENCE "New Ids"; CREATE TABLE u (id int DEFAULT nextval('"New Ids"'), big bigint GENERATED BY DEFAULT AS
      IDENTITY, down int DEFAULT -1, own serial);
    CREATE SEQUENCE downs INCREMENT -1; ALTER TABLE u ALTER down SET DEFAULT nextval('downs');
    CREATE TABLE p (id bigserial);
    SELECT setval('"New Ids"', 100), setval('u_big_seq', 2000), setval('u_own_seq', 3))");
  // walign's role is not the owner of the taker's sequences, but acts for it.
  const auto column = [](mapping::Route& route, const std::string& from, const std::string& to) {
    route.source_columns.emplace_back().name = from;
    mapping::TargetColumn c;
    c.name = to;
    c.expression = "src." + pg::quote_ident(from);
    c.inputs = {static_cast<int>(route.source_columns.size()) - 1};
    route.columns.push_back(c);
  };
  std::vector<mapping::Route> routes(2);
  routes[0].source = {"public", "t"};
  routes[0].target = {"public", "u"};
  for (const char* name : {"id", "big", "down"}) column(routes[0], name, name);
  routes[1].source = routes[1].target = {"public", "p"};
  column(routes[1], "id", "id");
  const auto there = [&] { return read_sequences(*giver.giver, {{"public", "t"}, {"public", "p"}}); };
  const auto here = [&] { return read_sequences(*taker.giver, {{"public", "u"}, {"public", "p"}}); };
  const auto pairing = pair_sequences(routes, there(), here());
  REQUIRE(pairing.pairs.size() == 4);
  REQUIRE(pairing.notes.size() == 1);
  CHECK(has(pairing.notes[0], "public.u.own"));
  const auto set = set_sequences(*taker.giver, pairing, there(), here(), 1000);
  const auto after = [&](const std::string& name) {
    return taker.admin.scalar<std::int64_t>("SELECT nextval('" + name + "')");
  };
  REQUIRE(set.size() == 4);
  for (const auto& s : set) {
    if (s.taker == "public.\"New Ids\"") {
      CHECK(s.giver_value == 500);
      CHECK(s.before == 100);
      CHECK(s.after == 1500);
    }
  }
  CHECK(after("\"New Ids\"") == 1501);
  CHECK(after("u_big_seq") == 3001);
  CHECK(after("downs") == -1031);
  CHECK(after("p_id_seq") == 1010);
  CHECK(after("u_own_seq") == 4);
  // Again, as after a crash: never backwards.
  const auto again = set_sequences(*taker.giver, pairing, there(), here(), 0);
  for (const auto& s : again) CHECK(s.after == s.before);
  CHECK(after("\"New Ids\"") == 1502);
}

TEST_CASE("privileges are tried and named, and the trying leaves nothing") {
  FenceBed bed;
  bed.one_table();
  const auto findings = [&](pg::Connection& server) {
    return try_privileges(server, bed.id, bed.mapped, Millis(100));
  };
  const auto before = bed.admin.rows(
      "SELECT oid, proname FROM pg_proc UNION ALL SELECT oid, tgname FROM pg_trigger "
      "UNION ALL SELECT oid, nspname FROM pg_namespace ORDER BY 1, 2");
  SECTION("everything is granted") { CHECK(findings(*bed.giver).empty()); }
  SECTION("after the fence is installed too") {
    bed.install();
    CHECK(findings(*bed.giver).empty());
    remove_fence(*bed.giver, bed.id.migration);
  }
  SECTION("a role that has nothing") {
    pg::ConnectionOptions options = bed.options();
    options.conninfo += " user=app";
    pg::Connection app(options);
    const auto found = findings(app);
    REQUIRE(found.size() == 3);
    CHECK(has(found[0].remedy, "GRANT CREATE ON DATABASE"));
    CHECK(found[1].level == mapping::Finding::Level::warn);
    CHECK(has(found[1].remedy, "GRANT SET ON PARAMETER deadlock_timeout TO \"app\""));
    CHECK(has(found[2].what, "not its owner"));
    CHECK(has(found[2].remedy, "GRANT owner TO \"app\""));
  }
  SECTION("sequences that serve a column") {
    bed.admin.exec("CREATE SEQUENCE foreign_one; ALTER TABLE t ALTER id SET DEFAULT nextval('foreign_one')");
    const auto found = findings(*bed.giver);
    REQUIRE(found.size() == 1);
    CHECK(has(found[0].what, "may not read or set it"));
    CHECK(found[0].remedy == "GRANT SELECT, UPDATE ON SEQUENCE public.foreign_one TO \"mover\"");
    bed.admin.exec(found[0].remedy);
    CHECK(findings(*bed.giver).empty());
  }
  SECTION("a table that somebody holds") {
    Sql holder = bed.as("app");
    holder.exec("BEGIN; INSERT INTO t VALUES (100, 'y')");
    const auto found = findings(*bed.giver);
    REQUIRE(found.size() == 1);
    CHECK(found[0].level == mapping::Finding::Level::warn);
  }
  SECTION("a table that is not there") {
    bed.mapped = {{"public", "gone"}};
    REQUIRE(findings(*bed.giver).size() == 1);
  }
  CHECK(bed.admin.rows(
            "SELECT oid, proname FROM pg_proc UNION ALL SELECT oid, tgname FROM pg_trigger UNION ALL SELECT "
            "oid, nspname FROM pg_namespace ORDER BY 1, 2") == before);
}

TEST_CASE("a fingerprint changes with whatever decides what a row may be, and with nothing else") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT");
  bed.mapped.push_back({"public", "p"});
  const auto before = fingerprints(*bed.giver, bed.mapped);
  const TableName t{"public", "t"};
  const TableName p{"public", "p"};
  CHECK(before.size() == 2);
  const auto changed_by = [&](const std::string& sql) {
    bed.admin.exec(sql);
    return changed_tables(before, fingerprints(*bed.giver, bed.mapped));
  };
  using Names = std::vector<TableName>;
  SECTION("rows, statistics and triggers do not") {
    CHECK(changed_by("INSERT INTO t VALUES (100, 'y'); ANALYZE t").empty());
    REQUIRE(bed.fence().done);
    CHECK(changed_tables(before, fingerprints(*bed.giver, bed.mapped)).empty());
  }
  SECTION("a column") { CHECK(changed_by("ALTER TABLE t ADD c int") == Names{t}); }
  SECTION("a type") { CHECK(changed_by("ALTER TABLE t ALTER v TYPE varchar(9)") == Names{t}); }
  SECTION("a default") { CHECK(changed_by("ALTER TABLE t ALTER v SET DEFAULT 'z'") == Names{t}); }
  SECTION("a constraint") { CHECK(changed_by("ALTER TABLE t ADD CHECK (id > 0)") == Names{t}); }
  SECTION("an index") { CHECK(changed_by("CREATE UNIQUE INDEX ON t (v, id)") == Names{t}); }
  SECTION("the replica identity") { CHECK(changed_by("ALTER TABLE t REPLICA IDENTITY FULL") == Names{t}); }
  SECTION("row security") { CHECK(changed_by("ALTER TABLE t ENABLE ROW LEVEL SECURITY") == Names{t}); }
  SECTION("a partition") { CHECK(changed_by("ALTER TABLE p DETACH PARTITION p1") == Names{p}); }
  SECTION("a column of a partition") {
    CHECK(changed_by("ALTER TABLE p1 ALTER id SET DEFAULT 3") == Names{p});
  }
  SECTION("another table in its place") {
    CHECK(changed_by("ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old INCLUDING ALL)") == Names{t});
  }
  SECTION("none in its place") { CHECK(changed_by("DROP TABLE t") == Names{t}); }
}

TEST_CASE("a flush is awaited on this server and on the standbys that are connected") {
  static Server server({.name = "primary", .settings = {"wal_writer_delay = 10s"}});
  FenceBed bed(server);
  bed.one_table();
  bed.admin.exec("SET synchronous_commit = off; INSERT INTO t VALUES (100, 'y')");
  const auto lsn = [&] { return *Lsn::parse(bed.admin.scalar("SELECT pg_current_wal_insert_lsn()::text")); };
  auto looks = superuser(bed);
  CHECK_FALSE(wait_until_flushed(looks, lsn(), Millis(50), nullptr).done);
  bed.admin.exec("SET synchronous_commit = on; INSERT INTO t VALUES (101, 'y')");
  CHECK(wait_until_flushed(looks, lsn().without_page_header(), Millis(5000), nullptr).done);

  // Receives and flushes like a standby, and can be held up like one.
  const auto kept = std::filesystem::temp_directory_path() / ("walign-receive-" + std::to_string(::getpid()));
  std::filesystem::create_directories(kept);
  {
    Process standby({Server::program("pg_receivewal"), "-D", kept.string(), "--synchronous", "-d",
                     server.conninfo("postgres") + " application_name=stand_by"});
    REQUIRE(eventually_true([&] {
      return bed.admin.scalar<int>(
                 "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND flush_lsn > "
                 "'0/0'") == 1;
    }));
    bed.admin.exec("INSERT INTO t VALUES (102, 'y')");
    CHECK(wait_until_flushed(looks, lsn().without_page_header(), Millis(10'000), nullptr).done);
    standby.signal(SIGSTOP);
    bed.admin.exec("INSERT INTO t SELECT i, 'y' FROM generate_series(1000, 2000) i");
    const auto held = wait_until_flushed(looks, lsn().without_page_header(), Millis(100), nullptr);
    CHECK_FALSE(held.done);
    REQUIRE(held.behind.size() == 1);
    CHECK(held.behind[0].name == "stand_by");
    CHECK(held.behind[0].behind_bytes > 0);
    Figures figures;
    figures.giver = measure(looks, bed.mapped);
    config::Gates limits;
    limits.max_lag_bytes = 100;
    for (const auto& gate : judge(limits, figures, true)) {
      if (gate.name == "standbys") CHECK_FALSE(gate.ok);
    }
    // Who may not see it says so.
    CHECK(wait_until_flushed(*bed.giver, Lsn(1), Millis(100), nullptr).hidden_standbys == 1);
    standby.signal(SIGCONT);
    CHECK(wait_until_flushed(looks, lsn().without_page_header(), Millis(10'000), nullptr).done);
  }
  std::filesystem::remove_all(kept);
}

TEST_CASE("a hook gets its facts, and what it prints and how it ends are known") {
  Hook hook;
  hook.name = "switch_hook";
  hook.environment = hook_environment("walign_m", true, 3, Lsn(0x100), Lsn());
  CHECK_FALSE(run_hook(hook, nullptr).ran);
  hook.command =
      "echo $WALIGN_MIGRATION $WALIGN_DIRECTION $WALIGN_EPOCH $WALIGN_FENCE_LSN [$WALIGN_OPEN_LSN]; "
      "echo \"to stderr\" >&2; cat; exit 3";
  const auto result = run_hook(hook, nullptr);
  CHECK(result.ran);
  CHECK(result.exit_status == 3);
  CHECK_FALSE(result.ok());
  CHECK(result.output == "walign_m forward 3 0/100 []\nto stderr\n");
  hook.command = "kill -9 $$";
  CHECK(run_hook(hook, nullptr).exit_status == 137);
  hook.command = "true";
  CHECK(run_hook(hook, nullptr).ok());
  hook.command = "seq 1 200000";
  const auto much = run_hook(hook, nullptr);
  CHECK(much.ok());
  CHECK(much.output.size() == std::size_t{64} << 10U);
  CHECK(much.output.ends_with("199999\n200000\n"));
}

TEST_CASE("a hook that is out of time is killed with all that it started") {
  const auto mark = std::filesystem::temp_directory_path() / ("walign-hook-" + std::to_string(::getpid()));
  std::filesystem::remove(mark);
  Hook hook;
  hook.timeout = Millis(200);
  hook.command = "echo begun; (sleep 1; touch " + mark.string() + ") & trap '' TERM; sleep 30; sleep 30";
  const auto start = std::chrono::steady_clock::now();
  const auto result = run_hook(hook, nullptr);
  CHECK(result.timed_out);
  CHECK_FALSE(result.ok());
  CHECK(result.output == "begun\n");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  std::this_thread::sleep_for(Millis(1200));
  CHECK_FALSE(std::filesystem::exists(mark));
}

TEST_CASE("a hook is killed when walign is asked to stop") {
  Interrupt interrupt;
  Hook hook;
  hook.command = "sleep 30";
  std::thread stops([&] {
    std::this_thread::sleep_for(Millis(100));
    interrupt.raise();
  });
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(run_hook(hook, &interrupt), Error);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  stops.join();
}

TEST_CASE("a hook that leaves something running in the background does not hold the cutover up") {
  Hook hook;
  hook.timeout = Millis(20'000);
  hook.command = "sleep 3 & echo done";
  const auto result = run_hook(hook, nullptr);
  CHECK(result.ok());
  CHECK(result.output == "done\n");
  CHECK(result.ms < 2500);
}
