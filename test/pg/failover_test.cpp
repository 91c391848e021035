// A server that is lost, and its standby promoted in its place: the stream goes on exactly, or is refused with what
// was lost and how to begin again.
#include "pg/standby.hpp"
#include "pg/start_test.hpp"
#include "support/copying.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// Connects to whichever of the two takes writes, as an application's URL would have it.
std::string either(const Server& one, const Server& other) {
  return "postgresql://postgres@127.0.0.1:" + std::to_string(one.port()) +
         ",127.0.0.1:" + std::to_string(other.port()) +
         "/app?target_session_attrs=read-write&connect_timeout=10";
}

std::string insert(int id) { return "INSERT INTO t VALUES (" + std::to_string(id) + ", 'v')"; }

bool has_failover_slots(Server& server) {
  if (server.connect().scalar<int>("SELECT current_setting('server_version_num')::int") >= 170000)
    return true;
  WARN("the source is older than PostgreSQL 17: no slots are synchronised to a standby, skipped");
  return false;
}

// As docs/resume.md has it.
void set(Server& server, const std::vector<std::string>& statements) {
  Sql sql = server.connect();
  for (const auto& statement : statements) sql.exec(statement);
}

// A standby that synchronises the slots of the primary.
struct Synchronised {
  explicit Synchronised(Server& primary) : standby(primary) {
    set(standby.server,
        {"ALTER SYSTEM SET primary_slot_name = 'standby'", "ALTER SYSTEM SET hot_standby_feedback = on",
         "ALTER SYSTEM SET sync_replication_slots = on", "SELECT pg_reload_conf()"});
  }
  // The standby's copy of the slot is one that survives a promotion, and no older than this.
  bool has(Server& primary, const std::string& slot, const std::string& confirmed) {
    Sql sql = standby.server.connect();
    Sql log = primary.connect();
    return eventually(
        [&] {
          log.exec("SELECT pg_log_standby_snapshot()");
          return sql.scalar<bool>(
              "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND synced "
              "AND NOT temporary AND confirmed_flush_lsn >= $2::pg_lsn)",
              {slot, confirmed});
        },
        120s, 200ms);
  }
  Standby standby;
};

bool equal(Sql& a, Sql& b) {
  const auto result = compare_same(a, b, "t");
  if (!result.equal()) WARN(result.report());
  return result.equal();
}

}  // namespace

TEST_CASE(
    "a promoted standby without the slot is refused, and the target's rows are adopted by a new beginning") {
  OneTable one;
  auto& m = one.m;
  Own own({.name = "primary"});
  m.source_url = own.url("postgres");
  Standby standby(own.server);
  {
    Run run(m);
    run.wait_until_streaming();
    own.sql.exec(insert(1));
    run.catch_up(own.sql);
    run.stop();
  }
  bool lost = false;
  SECTION("nothing is lost") { REQUIRE(standby.catch_up(own.server)); }
  SECTION("a commit is lost that the target has") {
    REQUIRE(standby.catch_up(own.server));
    REQUIRE(standby.cut_off());
    Run run(m);
    run.wait_until_streaming();
    own.sql.exec(insert(2) + "; UPDATE t SET v = 'lost' WHERE id = 1");
    run.catch_up(own.sql);
    run.stop();
    lost = true;
  }
  own.server.kill();
  standby.promote();
  Sql promoted = standby.server.connect("app");
  m.source_url = standby.server.url("app");
  const std::string words = lost ? "has lost what lies between" : "is not on the new primary";
  refused(m, ErrorKind::precondition, words, "existing_rows: adopt");
  const auto error = refused(m, ErrorKind::precondition, "timeline 2", "walign remove");
  CHECK(error.position().valid());
  promoted.exec("SELECT pg_create_logical_replication_slot('" + m.stream() + "', 'pgoutput')");
  refused(m, ErrorKind::precondition, lost ? words : "has moved on", "walign remove");
  CHECK(m.target.scalar<int>("SELECT count(*) FROM t") == (lost ? 2 : 1));

  // As it says.
  stream::remove(m.config(), nullptr);
  std::filesystem::remove_all(m.state);
  m.more = "existing_rows: adopt\n";
  promoted.exec(insert(3));
  Copying run(m);
  run.wait_until_copied();
  promoted.exec(insert(4));
  run.catch_up(promoted);
  run.stop();
  CHECK(equal(promoted, m.target));
}

TEST_CASE("a promoted standby with the synchronised slot is gone on with under load, and nothing is lost") {
  OneTable one;
  auto& m = one.m;
  Own own({.name = "primary", .settings = {"wal_level = logical"}});
  if (!has_failover_slots(own.server)) return;
  Synchronised sync(own.server);
  set(own.server, {"ALTER SYSTEM SET synchronized_standby_slots = 'standby'", "SELECT pg_reload_conf()"});
  own.server.set("synchronous_standby_names",
                 "*");  // so that a commit that was answered is on the standby too
  m.source_url = either(own.server, sync.standby.server);
  own.sql.exec("INSERT INTO t SELECT i, 'old' FROM generate_series(-3000, 0) i");
  m.more = "backfill: { chunk_rows: 200 }\n";
  auto run = std::make_unique<Copying>(m);
  std::atomic<int> next{1};
  Writer writer(own.server.conninfo("app"), [&](Sql& sql) {
    const int id = next.load();
    sql.exec(insert(id) + "; UPDATE t SET v = v || '+' WHERE id = " + std::to_string(-(id % 3000)) +
             " OR id = " + std::to_string(id / 2));
    ++next;
  });
  run->wait_until_copied();
  REQUIRE(eventually([&] { return run->status().acknowledged.has_value(); }));
  const auto position = m.target.scalar("SELECT position::text FROM walign.stream");
  REQUIRE(sync.has(own.server, m.stream(), position));
  own.server.kill();
  writer.stop();
  sync.standby.promote();
  Sql promoted = sync.standby.server.connect("app");
  promoted.exec("ALTER SYSTEM RESET synchronous_standby_names");
  promoted.exec("ALTER SYSTEM SET synchronized_standby_slots = ''");
  promoted.exec("SELECT pg_reload_conf()");
  promoted.exec(insert(1'000'000) + "; DELETE FROM t WHERE id = -1");
  REQUIRE(eventually([&] {
    return run->done() || m.target.scalar<bool>("SELECT EXISTS (SELECT FROM t WHERE id = 1000000)");
  }));
  run->catch_up(promoted);
  CHECK(equal(promoted, m.target));
  CHECK(m.target.scalar<int>("SELECT source_timeline FROM walign.stream") == 2);
  run->stop();
  run.reset();
  Run again(m);  // and once more from what is on record by now
  promoted.exec(insert(1'000'001));
  again.catch_up(promoted);
  again.stop();
  CHECK(equal(promoted, m.target));
}

TEST_CASE("a promoted standby with the synchronised slot that lacks a commit is refused") {
  OneTable one;
  auto& m = one.m;
  Own own({.name = "primary"});
  if (!has_failover_slots(own.server)) return;
  Synchronised sync(own.server);
  m.source_url = either(own.server, sync.standby.server);
  Run run(m);
  run.wait_until_streaming();
  own.sql.exec(insert(1));
  run.catch_up(own.sql);
  REQUIRE(sync.has(own.server, m.stream(), "0/0"));
  REQUIRE(sync.standby.cut_off());
  own.sql.exec(insert(2));
  run.catch_up(own.sql);
  own.server.kill();
  sync.standby.promote();
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(has(error->message(), "has lost what lies between"));
  CHECK(has(error->hint(), "existing_rows: adopt"));
  CHECK(m.target.scalar<int>("SELECT source_timeline FROM walign.stream") == 1);
}

TEST_CASE("a copy that was still being written when the failover was found counts as what the target has") {
  OneTable one;
  auto& m = one.m;
  Own own({.name = "primary"});
  if (!has_failover_slots(own.server)) return;
  Synchronised sync(own.server);
  m.source_url = either(own.server, sync.standby.server);
  {
    Run run(m);
    run.wait_until_streaming();
    own.sql.exec(insert(1));
    run.catch_up(own.sql);
    REQUIRE(sync.has(own.server, m.stream(), "0/0"));  // only while the slot moves
    run.stop();
  }
  REQUIRE(sync.standby.catch_up(own.server));
  own.server.kill();
  sync.standby.promote();
  Sql late(m.target.conninfo());
  late.exec("BEGIN; SELECT FROM walign.stream FOR KEY SHARE");
  late.exec(
      "INSERT INTO walign.chunk (stream, route, lower_after, upper_after, snapshot, fence, rows) "
      "SELECT name, 'public.t -> public.t', false, false, '', 'FF/0', 0 FROM walign.stream");
  Run run(m);
  REQUIRE(eventually([&] {
    return m.target.scalar<bool>(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = "
        "current_database())");
  }));
  late.exec("COMMIT");
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(has(error->message(), "rows of public.t -> public.t were copied as of FF/0"));
  CHECK(m.target.scalar<int>("SELECT source_timeline FROM walign.stream") == 1);
}

TEST_CASE("a slot is not read from another server than the one that was looked at") {
  OneTable one;
  auto& m = one.m;
  Own own({.name = "looked-at"});
  m.source_url = own.url("postgres");
  {
    Run run(m);
    run.wait_until_streaming();
    run.stop();
  }
  Standby standby(own.server);
  source::SlotOptions options;
  options.connection.conninfo = own.server.conninfo("app");
  options.slot = m.stream();
  options.publications = {m.stream()};
  pg::Connection control(options.connection);
  const auto seen = pg::read_server(control);
  const auto refusal = [&](const pg::ServerFacts& looked_at) {
    options.server = looked_at;
    try {
      source::open_slot(options);
      return std::string();
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::transient);
      CHECK_FALSE(error.hint().empty());
      return error.message();
    }
  };
  CHECK(refusal(seen).empty());
  auto other = seen;
  other.timeline = 2;
  CHECK(has(refusal(other), "on timeline 1; what was looked at"));
  other = seen;
  other.system_id = "7";
  CHECK(has(refusal(other), "is the primary of system " + seen.system_id));
  options.connection.conninfo = standby.server.conninfo("app");
  CHECK(has(refusal(seen), "is a standby of system " + seen.system_id));
}

TEST_CASE("a source whose files were put back is refused: its WAL ends before what the target has") {
  OneTable one;
  auto& m = one.m;
  Own own({.name = "source"});
  m.source_url = own.url("postgres");
  const auto go_on = [&](int id) {
    Run run(m);
    run.wait_until_streaming();
    own.sql.reconnect();
    own.sql.exec(insert(id));
    run.catch_up(own.sql);
    run.stop();
  };
  go_on(1);
  own.server.stop();
  const auto copy = own.server.directory() / "copy";
  REQUIRE(test::run({"cp", "-a", own.server.data_directory().string(), copy.string()}).code == 0);
  own.server.start();
  go_on(2);
  own.server.stop();
  std::filesystem::remove_all(own.server.data_directory());
  std::filesystem::rename(copy, own.server.data_directory());
  own.server.start();
  refused(m, ErrorKind::precondition, "the source went back in time", "walign remove");
}

TEST_CASE(
    "a target promoted from a standby that lacks the last commits is caught up from the journal, or "
    "refused") {
  OneTable one;
  auto& m = one.m;
  Own own({.name = "own-target"});
  Standby standby(own.server, "standby-target");
  m.target_url = either(own.server, standby.server);
  auto run = std::make_unique<Run>(m);
  run->wait_until_streaming();
  m.source.exec(insert(1));
  run->catch_up(m.source);
  REQUIRE(standby.catch_up(own.server));
  REQUIRE(standby.cut_off());
  const auto then = standby.server.connect("app").scalar("SELECT position::text FROM walign.stream");
  for (int id = 2; id < 50; ++id) m.source.exec(insert(id) + "; UPDATE t SET v = v || '+'");
  run->catch_up(m.source);
  // Until the source has been told that it may forget them.
  REQUIRE(eventually([&] {
    return m.source.scalar<bool>(
        "SELECT confirmed_flush_lsn > $1::pg_lsn FROM pg_replication_slots WHERE slot_name = $2",
        {then, m.stream()});
  }));
  const bool kept = GENERATE(true, false);
  if (!kept) {
    run->stop();
    run.reset();
    std::filesystem::remove_all(m.state / "journal");
  }
  own.server.kill();
  standby.promote();
  if (!kept) {
    refused(m, ErrorKind::precondition, "went back in time", "walign remove");
    return;
  }
  m.source.exec("DELETE FROM t WHERE id = 7");
  run->catch_up(m.source);
  Sql promoted = standby.server.connect("app");
  CHECK(equal(m.source, promoted));
  run->stop();
}
