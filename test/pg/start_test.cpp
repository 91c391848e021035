// Starts that must not take place: each is refused with the right kind of error, says what to do, and leaves
// nothing behind on either server.
#include "pg/start_test.hpp"

#include "pg/standby.hpp"
#include "support/proxy.hpp"

using namespace walign;
using namespace walign::test;

namespace fs = std::filesystem;

TEST_CASE("a wrong password, an unknown role and an unknown database are refused, and no password is shown") {
  OneTable one;
  Own own({.name = "locked", .hba = {"host all app 127.0.0.1/32 scram-sha-256"}});
  own.sql.exec("CREATE ROLE app LOGIN REPLICATION PASSWORD 'right'; ALTER TABLE t OWNER TO app");
  auto& url = GENERATE(true, false) ? one.m.source_url : one.m.target_url;
  url = own.url("app:wr0ng");
  const auto error = refused(one.m, ErrorKind::precondition, "password authentication failed", "PGPASSFILE");
  CHECK_FALSE(has(error.describe(), "wr0ng"));
  url = own.url("nobody");
  refused(one.m, ErrorKind::precondition, "nobody", "role's name");
  url = own.server.url("nowhere");
  refused(one.m, ErrorKind::precondition, "nowhere", "create the database");
  CHECK(nothing_left(own.sql, own.sql));
  CHECK(nothing_left(one.m.source, one.m.target));
}

TEST_CASE("a source with wal_level replica is refused") {
  OneTable one;
  Own own({.name = "replica", .settings = {"wal_level = replica"}});
  one.m.source_url = own.url("postgres");
  refused(one.m, ErrorKind::precondition, "wal_level is replica", "ALTER SYSTEM SET wal_level = logical");
  CHECK(nothing_left(own.sql, one.m.target));
}

TEST_CASE("a source without a free slot or walsender is refused") {
  OneTable one;
  Own own({.name = "full", .settings = {"max_replication_slots = 1", "max_wal_senders = 1"}});
  one.m.source_url = own.url("postgres");
  SECTION("slot") {
    own.sql.exec("SELECT pg_create_physical_replication_slot('taken')");
    refused(one.m, ErrorKind::precondition, "replication slots are used", "max_replication_slots = ");
  }
  SECTION("walsender") {
    Sql walsender(own.server.conninfo("app") + " replication=database");
    refused(one.m, ErrorKind::precondition, "WAL senders are in use", "max_wal_senders = ");
  }
  CHECK(nothing_left(own.sql, one.m.target));
}

TEST_CASE("missing privileges are refused with the GRANT that helps, and that is enough") {
  OneTable one;
  auto& m = one.m;
  const std::string role = "r" + std::to_string(getpid());
  const auto as = [&](const std::string& url) {
    return std::string(url).replace(url.find("postgres@"), 8, role);
  };
  const std::string database = m.source.scalar("SELECT quote_ident(current_database())");
  Sql& side = GENERATE(true, false) ? m.source : m.target;
  side.exec("CREATE ROLE " + role + " LOGIN");
  if (&side == &m.source) {
    m.source_url = as(m.source_url);
    refused(m, ErrorKind::precondition, "may not replicate", "ALTER ROLE \"" + role + "\" REPLICATION");
    side.exec("ALTER ROLE " + role + " REPLICATION");
    refused(m, ErrorKind::precondition, "does not own public.t", "as its owner");
    CHECK(nothing_left(m.source, m.target));
    side.exec("ALTER TABLE t OWNER TO " + role);
    refused(m, ErrorKind::precondition, "may not make a publication", "GRANT CREATE ON DATABASE");
    CHECK(nothing_left(m.source, m.target));
    side.exec("GRANT CREATE ON DATABASE " + database + " TO " + role);
  } else {
    m.target_url = as(m.target_url);
    refused(m, ErrorKind::precondition, "may not make schema walign", "GRANT CREATE ON DATABASE");
    CHECK(nothing_left(m.source, m.target));
    side.exec("GRANT CREATE ON DATABASE " + database + " TO " + role);
    refused(m, ErrorKind::precondition, "public.t", "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE");
    CHECK(nothing_left(m.source, m.target));
    side.exec("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t TO " + role);
  }
  {
    Run run(m);
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'; INSERT INTO t VALUES (2, 'c')");
    run.catch_up(m.source);
    CHECK(m.equal("t"));
    run.stop();
  }
  m.source.exec("SELECT pg_drop_replication_slot('" + m.stream() + "'); DROP PUBLICATION " + m.stream());
  side.exec("DROP SCHEMA IF EXISTS walign CASCADE; DROP OWNED BY " + role + "; DROP ROLE " + role);
}

TEST_CASE("a target table without the key is refused") {
  Migration m;
  m.source.exec(kTable);
  m.target.exec("CREATE TABLE t (id int, v text)");
  m.tables = "  - public.t\n";
  refused(m, ErrorKind::precondition, "no primary key", "ALTER TABLE");
  CHECK(nothing_left(m.source, m.target));
}

TEST_CASE("a standby is refused on either side") {
  OneTable one;
  Own own({.name = "primary"});
  Standby standby(own.server);
  SECTION("as the source") {
    one.m.source_url = standby.server.url("app");
    refused(one.m, ErrorKind::precondition, "the source is a standby", "primary's address");
    CHECK(nothing_left(own.sql, one.m.target));
  }
  SECTION("as the target") {
    one.m.target_url = standby.server.url("app");
    refused(one.m, ErrorKind::precondition, "the target is a standby", "primary's address");
    CHECK(nothing_left(one.m.source, own.sql));
  }
}

TEST_CASE("another cluster at the source's address is refused") {
  OneTable one;
  Own first({.name = "first"});
  Own second({.name = "second"});
  one.m.source_url = first.url("postgres");
  {
    Run run(one.m);
    run.wait_until_streaming();
    run.stop();
  }
  one.m.source_url = second.url("postgres");
  refused(one.m, ErrorKind::precondition, "system identifier", "set source:");
  CHECK(second.sql.scalar<int>("SELECT count(*) FROM pg_replication_slots") == 0);
  fs::remove_all(one.m.state);
  refused(one.m, ErrorKind::precondition, "system identifier", "set source:");
}

TEST_CASE("a target that was restored from an older copy is refused where no journal has what it lacks") {
  OneTable one;
  auto& m = one.m;
  Own own({.name = "restored"});
  m.target_url = own.url("postgres");
  const auto go_on = [&](const std::string& sql) {
    Run run(m);
    run.wait_until_streaming();
    m.source.exec(sql);
    run.catch_up(m.source);
    run.stop();
  };
  go_on("INSERT INTO t VALUES (1, 'a')");
  own.server.stop();
  const fs::path copy = own.server.directory() / "copy";
  REQUIRE(test::run({"cp", "-a", own.server.data_directory().string(), copy.string()}).code == 0);
  own.server.start();
  go_on("INSERT INTO t VALUES (2, 'b')");
  own.server.stop();
  fs::remove_all(own.server.data_directory());
  fs::rename(copy, own.server.data_directory());
  own.server.start();
  fs::remove_all(m.state / "journal");
  refused(m, ErrorKind::precondition, "went back in time", "walign remove");
  fs::remove_all(m.state);  // the slot knows as well
  refused(m, ErrorKind::precondition, "has moved on", "walign remove");
}

TEST_CASE("a slot of our name that we did not make is refused, and left alone") {
  OneTable one;
  auto& m = one.m;
  m.source.exec("SELECT pg_create_logical_replication_slot('" + m.stream() + "', 'pgoutput')");
  refused(m, ErrorKind::precondition, "exists on the source, but the target has no stream", "slot: ");
  CHECK(m.source.scalar<int>("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '" + m.stream() +
                             "'") == 1);
  CHECK(m.source.scalar<int>("SELECT count(*) FROM pg_publication") == 0);
  CHECK(m.target.scalar<int>("SELECT count(*) FROM pg_namespace WHERE nspname = 'walign'") == 0);
}

TEST_CASE("a slot that was dropped, advanced, or is another one by now is refused") {
  OneTable one;
  auto& m = one.m;
  const std::string slot = quote_literal(m.stream());
  {
    Run run(m);
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t VALUES (1, 'a')");
    run.catch_up(m.source);
    run.stop();
  }
  m.source.exec("INSERT INTO t VALUES (2, 'b')");
  SECTION("dropped") {
    m.source.exec("SELECT pg_drop_replication_slot(" + slot + ")");
    refused(m, ErrorKind::precondition, "is gone from the source", "walign remove");
  }
  SECTION("dropped and made again") {
    m.source.exec("SELECT pg_drop_replication_slot(" + slot + ")");
    m.source.exec("SELECT pg_create_logical_replication_slot(" + slot + ", 'pgoutput')");
    refused(m, ErrorKind::precondition, "has moved on", "walign remove");
  }
  SECTION("advanced") {
    m.source.exec("SELECT pg_replication_slot_advance(" + slot + ", pg_current_wal_lsn())");
    refused(m, ErrorKind::precondition, "has moved on", "walign remove");
  }
  SECTION("another plugin's") {
    m.source.exec("SELECT pg_drop_replication_slot(" + slot + ")");
    m.source.exec("SELECT pg_create_logical_replication_slot(" + slot + ", 'test_decoding')");
    refused(m, ErrorKind::precondition, "test_decoding", "walign remove");
  }
  CHECK(m.target.scalar<int>("SELECT count(*) FROM t") == 1);
}

TEST_CASE("a slot that the source has invalidated is refused, also while it is being read") {
  OneTable one;
  auto& m = one.m;
  Own own({.name = "small",
           .settings = {"max_slot_wal_keep_size = 1MB", "min_wal_size = 32MB", "max_wal_size = 32MB"}});
  m.source_url = own.url("postgres");
  Proxy proxy(own.server.port());
  const auto invalidate = [&] {
    own.sql.exec("CREATE TABLE filler (v text)");
    for (int i = 0; i < 4; ++i) {
      own.sql.exec("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
      own.sql.exec("SELECT pg_switch_wal()");
      own.sql.exec("CHECKPOINT");
    }
    return own.sql.scalar("SELECT wal_status FROM pg_replication_slots") == "lost";
  };
  SECTION("while it is stopped") {
    {
      Run run(m);
      run.wait_until_streaming();
      run.stop();
    }
    REQUIRE(invalidate());
    refused(m, ErrorKind::precondition, "was invalidated", "max_slot_wal_keep_size");
  }
  SECTION("while the network holds it up") {
    m.source_url = proxy.url(own.server, "app");
    Run run(m);
    run.wait_until_streaming();
    proxy.freeze();
    REQUIRE(eventually([&] { return invalidate(); }, 30s));
    proxy.thaw();
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->describe(), "max_slot_wal_keep_size"));
  }
}

TEST_CASE("removing the last stream takes its own objects, and leaves what else is in the schema") {
  OneTable one;
  auto& m = one.m;
  {
    Run run(m);
    run.wait_until_streaming();
    run.stop();
  }
  const auto objects = [&] {
    return m.target.scalar<int>(
        "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'walign'::regnamespace AND relkind = "
        "'r') + "
        "(SELECT count(*) FROM pg_proc WHERE pronamespace = 'walign'::regnamespace)");
  };
  m.target.exec("CREATE TABLE walign.fence (of_another_migration int)");
  stream::remove(m.config(), nullptr);
  std::filesystem::remove_all(m.state);
  CHECK(objects() == 1);
  CHECK(m.target.scalar<bool>("SELECT to_regclass('walign.fence') IS NOT NULL"));
  m.target.exec("DROP TABLE walign.fence");
  {
    Run run(m);  // makes again what is missing
    run.wait_until_streaming();
    run.stop();
  }
  m.source.exec("SELECT pg_create_logical_replication_slot('" + stream::capture_slot(m.config()) +
                "', 'pgoutput')");
  stream::remove(m.config(), nullptr);
  CHECK(nothing_left(m.source, m.target));
}
