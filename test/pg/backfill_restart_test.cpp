// Ends in the middle of a copy, and what an operator meets: refusals, throttles, settings that change texts.
#include <array>
#include <csignal>

#include "support/copying.hpp"
#include "support/migration_files.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// One table in many chunks.
struct ManyChunks {
  explicit ManyChunks(const std::string& more = "") {
    m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    m.source.exec("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20000) i");
    m.tables = "  - public.t\n";
    m.more = "backfill: { chunk_rows: 100, workers: 2" + more + " }\n";
  }
  int chunks() { return m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk"); }
  void wait_for_chunks(Run& run, int at_least) {
    REQUIRE(
        eventually([&] { return run.done() || (run.status().connected && chunks() >= at_least); }, 30s, 2ms));
    REQUIRE_FALSE(run.done());
    CHECK(run.status().phase == "backfilling");
  }
  void end(Copying& run) {
    run.wait_until_copied();
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
  Migration m;
};

void change_something(Sql& sql, int n) {
  const auto id = std::to_string(n * 7919 % 25000);
  if (n % 5 == 0) sql.exec("DELETE FROM t WHERE id = " + id);
  if (n % 5 == 1) sql.exec("INSERT INTO t VALUES (" + id + ", 'new') ON CONFLICT DO NOTHING");
  if (n % 5 > 1) sql.exec("UPDATE t SET v = v || '!' WHERE id = " + id);
}

std::string phase_on_disk(const Migration& m) { return state::Store::open_read_only(m.state)->phase(); }

std::unique_ptr<Writer> writer_for(const Migration& m) {
  return std::make_unique<Writer>(
      m.source.conninfo(), [n = 0](Sql& sql) mutable { change_something(sql, ++n); }, 1ms);
}

}  // namespace

TEST_CASE("a copy that ended in the middle goes on from there") {
  ManyChunks many;
  const bool lose_state = GENERATE(false, true);
  CAPTURE(lose_state);
  auto writer = writer_for(many.m);
  for (int i = 1; i <= 2; ++i) {
    Copying run(many.m);
    many.wait_for_chunks(run, 30 * i);
    run.stop();
    CHECK(many.chunks() >= 30 * i);
    CHECK(phase_on_disk(many.m) == "backfilling");
    if (lose_state) std::filesystem::remove_all(many.m.state);
  }
  Copying run(many.m);
  run.wait_until_copied();
  writer.reset();
  many.end(run);
  CHECK(run.status().tables.at(0).rows_copied.value_or(0) > 15000);
  run.stop();
  CHECK(phase_on_disk(many.m) == "streaming");
}

TEST_CASE("each server crashes in the middle of a copy") {
  ManyChunks many;
  auto writer = writer_for(many.m);
  Copying run(many.m);
  many.wait_for_chunks(run, 20);
  target_server().restart_immediate();
  many.m.target.reconnect();
  many.wait_for_chunks(run, 60);
  source_server().restart_immediate();
  many.m.source.reconnect();
  run.wait_until_copied();
  writer.reset();
  many.end(run);
}

TEST_CASE("killed in the middle of a copy, ten times") {
  ManyChunks many;
  MigrationFiles files("killed", many.m.source_url, many.m.target_url, many.m.tables,
                       "http: \"\"\n" + many.m.more);
  auto writer = writer_for(many.m);
  for (int i = 0; i < 10; ++i) {
    Process walign(files.command({"run"}));
    REQUIRE(walign.wait_for_output("streaming"));
    std::this_thread::sleep_for(Millis(i * 17));
    walign.kill();
  }
  Process walign(files.command({"run"}));
  REQUIRE(walign.wait_for_output("streaming"));
  CHECK(eventually(
      [&] {
        return many.m.target.scalar<bool>("SELECT coalesce(bool_and(complete), false) FROM walign.copy");
      },
      60s));
  writer.reset();
  walign.signal(SIGTERM);
  CHECK(walign.wait() == 130);
  CHECK(run(files.command({"run", "--until-caught-up"})).code == 0);
  CHECK(many.m.equal("t"));
}

TEST_CASE("a target that has rows is refused, and nothing of it is touched") {
  ManyChunks many;
  many.m.target.exec("INSERT INTO t VALUES (1, 'mine')");
  {
    Copying run(many.m);
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(error->message().find("public.t") != std::string::npos);
  }
  CHECK(many.m.target.scalar("SELECT string_agg(v, ',') FROM t") == "mine");
  many.m.target.exec("TRUNCATE t");
  Copying run(many.m);
  many.end(run);
}

TEST_CASE(
    "rows that the target does not take end the copy with the table's name, and it goes on when mended") {
  ManyChunks many;
  const bool other_unique = GENERATE(true, false);
  CAPTURE(other_unique);
  many.m.target.exec(other_unique ? "ALTER TABLE t ADD UNIQUE (v)" : "ALTER TABLE t ADD CHECK (v <> 'odd')");
  many.m.source.exec(other_unique ? "UPDATE t SET v = 'v9000' WHERE id = 19000"
                                  : "UPDATE t SET v = 'odd' WHERE id = 19000");
  {
    Copying run(many.m);
    const auto error = run.wait();
    REQUIRE(error);
    INFO(error->describe());
    CHECK(error->message().find("public.t") != std::string::npos);
    CHECK(error->message().find(other_unique ? "v9000" : "t_v_check") != std::string::npos);
    CHECK(error->hint().find("run again") != std::string::npos);
  }
  const int before = many.chunks();
  CHECK(before > 10);
  many.m.source.exec("UPDATE t SET v = 'mended' WHERE id = 19000");
  Copying run(many.m);
  many.wait_for_chunks(run, before);
  many.end(run);
}

TEST_CASE("a copy is held and released, and its rate is bounded") {
  ManyChunks many(", max_rows_per_second: 8000");
  const auto began = std::chrono::steady_clock::now();
  Copying run(many.m);
  many.wait_for_chunks(run, 5);
  run.pause();
  std::this_thread::sleep_for(500ms);  // what was in flight
  const int held = many.chunks();
  std::this_thread::sleep_for(1500ms);
  CHECK(many.chunks() == held);
  many.m.source.exec("UPDATE t SET v = 'held' WHERE id % 100 = 0");
  run.catch_up(many.m.source);  // the stream goes on
  const auto resumed = std::chrono::steady_clock::now();
  run.resume();
  // What was not used while it was held is not made good for.
  std::this_thread::sleep_for(700ms);
  CHECK(many.chunks() < held + 170);
  many.end(run);
  const auto seconds = [](auto since) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
  };
  CHECK(seconds(began) - seconds(resumed) > 1.5);
  CHECK(seconds(resumed) > (20000 - held * 100) / 8000.0 * 0.4);
}

TEST_CASE("row-level security is an error, not fewer rows") {
  ManyChunks many;
  const std::string role = "walign_rls_" + std::to_string(::getpid());
  auto& db = many.m.source;
  db.exec("CREATE ROLE " + role + " LOGIN REPLICATION; GRANT CREATE ON DATABASE " +
          db.scalar("SELECT current_database()") + " TO " + role + "; ALTER TABLE t OWNER TO " + role +
          "; GRANT USAGE ON SCHEMA public TO " + role);
  db.exec(
      "CREATE POLICY few ON t USING (id < 100); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL "
      "SECURITY");
  many.m.source_url.replace(many.m.source_url.find("postgres@"), 8, role);
  {
    Copying run(many.m);
    const auto error = run.wait();
    REQUIRE(error);
    INFO(error->describe());
    CHECK(error->message().find("row-level security") != std::string::npos);
  }
  CHECK(many.m.target.scalar<int>("SELECT count(*)::int FROM t") == 0);
  db.exec("ALTER TABLE t NO FORCE ROW LEVEL SECURITY");  // its owner sees all
  {
    Copying run(many.m);
    many.end(run);
  }
  db.exec("ALTER TABLE t OWNER TO postgres; DROP PUBLICATION " + many.m.stream() + "; DROP OWNED BY " + role +
          "; DROP ROLE " + role);
}

TEST_CASE("settings of database and role that change the text of values change nothing") {
  Migration m;
  constexpr const char* kColumns =
      "k float8, d date, ts timestamptz, i interval, f float8, r float4, b bytea, n numeric, a text[], m "
      "money, x xml";
  m.both(std::string("CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE typed (") + kColumns +
         ", PRIMARY KEY (k, d)); CREATE TABLE texts (" + kColumns + ", e mood, PRIMARY KEY (k, d))");
  const std::string values =
      "SELECT i / 3.0, date '2024-02-03' + i, timestamptz '2024-02-03 04:05:06.789+00' + i * interval '1 h', "
      "interval '1 day -2 hours' * i, 0.1 + 0.2 + i, 1.0 / i, decode(md5(i::text), 'hex'), i / 7.0, "
      "ARRAY['NULL', NULL, 'a\"b'], i::numeric::money, xmlparse(content 'a<b/>' || i)";
  m.source.exec("INSERT INTO typed " + values + " FROM generate_series(1, 1000) i");
  m.source.exec("INSERT INTO texts " + values + ", 'ok' FROM generate_series(1, 1000) i");
  const auto database = m.source.scalar("SELECT current_database()");
  const auto set = [&](Sql& db, const std::string& name, const std::string& value) {
    db.exec("ALTER DATABASE " + database + " SET " + name + " = " + value);
  };
  set(m.source, "datestyle", "'SQL, DMY'");
  set(m.target, "datestyle", "'Postgres, MDY'");
  set(m.source, "intervalstyle", "'sql_standard'");
  set(m.target, "intervalstyle", "'iso_8601'");
  for (Sql* db : {&m.source, &m.target}) {
    set(*db, "extra_float_digits", "-5");
    set(*db, "bytea_output", "escape");
    set(*db, "timezone", "'Asia/Kathmandu'");
    set(*db, "array_nulls", "off");
    set(*db, "xmloption", "document");
    set(*db, "search_path", "nowhere");
    set(*db, "statement_timeout", "1");
    set(*db, "idle_in_transaction_session_timeout", "1");
    set(*db, "default_transaction_isolation", "serializable");
    set(*db, "default_transaction_read_only", "on");
    set(*db, "quote_all_identifiers", "on");
  }
  m.tables = "  - public.typed\n  - public.texts\n";
  m.more = "backfill: { chunk_rows: 50 }\n";
  Copying run(m);
  run.wait_until_copied();
  m.source.exec(
      "UPDATE typed SET k = k + 0.1 WHERE k < 20; UPDATE texts SET k = k + 0.1, i = i * 2 WHERE k < 20");
  run.catch_up(m.source);
  CHECK(m.equal("typed"));
  CHECK(m.equal("texts"));
}

TEST_CASE(
    "no snapshot of walign's on the source is older than a few chunks, and none lives long on the target") {
  ManyChunks many;
  const std::string kind = GENERATE("plain", "other unique", "adopted");
  CAPTURE(kind);
  // These share transactions on the target, so that there are few.
  if (kind == "plain")
    many.m.source.exec("INSERT INTO t SELECT i, 'v' FROM generate_series(30001, 100000) i");
  if (kind == "other unique") many.m.both("ALTER TABLE t ADD u serial UNIQUE");
  if (kind == "adopted") {
    many.m.target.exec("INSERT INTO t SELECT i, 'v' || i % 15000 FROM generate_series(1, 22000) i");
    many.m.more += "existing_rows: adopt\n";
  }
  auto writer = writer_for(many.m);
  // On each side: the oldest snapshot of walign's, in transactions, against all that there were meanwhile.
  struct Side {
    explicit Side(Sql& db) : sql(db), begins(next_xid()) {}
    std::int64_t next_xid() {
      return sql.scalar<std::int64_t>("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint");
    }
    void sample(const std::string& stream) {
      const auto age = sql.value(
          "SELECT max(age(backend_xmin)) FROM pg_stat_activity WHERE datname = current_database() AND "
          "application_name LIKE $1 || '%'",
          {stream});
      if (!age) return;
      ++samples;
      oldest = std::max<std::int64_t>(oldest, std::stoll(*age));
    }
    Sql& sql;
    const std::int64_t begins;
    std::int64_t oldest = 0;
    int samples = 0;
  };
  std::array<Side, 2> sides = {Side(many.m.source), Side(many.m.target)};
  Copying run(many.m);
  REQUIRE(eventually(
      [&] {
        for (auto& side : sides) side.sample(many.m.stream());
        return run.done() || (run.status().connected && run.status().phase == "streaming");
      },
      60s, 2ms));
  for (auto& side : sides) {
    const auto all = side.next_xid() - side.begins;
    WARN((&side == sides.data() ? "source" : "target") << ": oldest snapshot " << side.oldest << " of " << all
                                                       << " transactions, " << side.samples << " samples");
    CHECK(side.samples > 10);
    CHECK(all > 100);
    CHECK(side.oldest * 4 < all);
  }
  writer.reset();
  many.end(run);
}

TEST_CASE("the age of the oldest snapshot on the source is a metric") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY)");
  m.source.exec("INSERT INTO t SELECT generate_series(1, 100)");
  m.tables = "  - public.t\n";
  Copying run(m, Copy::paused);
  run.wait_until_streaming();
  const auto age = [&] {
    return run.metrics
        .gauge("walign_backfill_snapshot_age_seconds",
               "Age of the oldest snapshot of the source that the copy of old rows holds; 0: none.")
        .value();
  };
  m.target.exec("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");  // a chunk is read, and cannot be written
  run.resume();
  CHECK(eventually([&] { return age() > 0.1; }));
  m.target.exec("COMMIT");
  run.wait_until_copied();
  CHECK(eventually([&] { return age() == 0; }));
}
