// What PostgreSQL really does with tables: replica identities, publications, row-level security, keys.
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

namespace {

Error refused(const Migration& m, const std::string& words, bool no_backfill = false) {
  Run run(m, {}, no_backfill);
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(has(error->message(), words));
  CHECK_FALSE(error->hint().empty());
  return *error;
}

void make_slot(Migration& m) {
  m.source.exec("SELECT pg_create_logical_replication_slot('brought_" + m.stream() + "', 'pgoutput')");
  m.more = "slot: brought_" + m.stream() + "\n";
}

}  // namespace

TEST_CASE(
    "a table without a replica identity is never published by a wildcard: the application's UPDATE works") {
  Migration m;
  m.both(
      "CREATE TABLE keyed (id int PRIMARY KEY); CREATE TABLE bare (id int); "
      "CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING");
  m.tables = "  - public.*\n";
  Run run(m);
  run.wait_until_streaming();
  for (const char* table : {"keyed", "bare", "nothing"}) {
    m.source.exec(std::string("INSERT INTO ") + table + " VALUES (1); UPDATE " + table +
                  " SET id = 2; DELETE FROM " + table + " WHERE id = 1");
  }
  run.catch_up(m.source);
  CHECK(m.equal("keyed"));
  CHECK(m.target.scalar<int>("SELECT count(*) FROM bare") == 0);
  CHECK(m.source.scalar("SELECT string_agg(tablename, ' ') FROM pg_publication_tables") == "keyed");
}

TEST_CASE("a table that only takes inserts is published for inserts: the application's UPDATE works") {
  Migration m;
  m.both("CREATE TABLE bare (id int)");
  m.tables = "  - { from: public.bare, inserts_only: true }\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO bare VALUES (1), (2), (2)");
  run.catch_up(m.source);
  CHECK(m.equal("bare"));
  m.source.exec("UPDATE bare SET id = 3; DELETE FROM bare WHERE id = 3; INSERT INTO bare VALUES (4)");
  run.catch_up(m.source);
  CHECK(m.target.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM bare") == "1 2 2 4");
  m.source.exec("TRUNCATE bare");
  run.catch_up(m.source);
  CHECK(m.equal("bare"));
}

TEST_CASE("an unlogged table is refused on either side") {
  Migration m;
  const bool on_source = GENERATE(true, false);
  m.both("CREATE TABLE t (id int PRIMARY KEY)");
  (on_source ? m.source : m.target).exec("ALTER TABLE t SET UNLOGGED");
  m.tables = "  - public.t\n";
  refused(m, "is unlogged");
}

TEST_CASE("a deferrable key is refused; another deferrable constraint is not") {
  Migration m;
  m.tables = "  - public.t\n";
  SECTION("the key") {
    m.both("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v int)");
    m.source.exec("ALTER TABLE t REPLICA IDENTITY FULL");
    refused(m, "is deferrable");
  }
  SECTION("another one: values exchanged in one statement arrive") {
    m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE DEFERRABLE)");
    m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE)");
    Run run(m);
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3); UPDATE t SET v = 4 - v");
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
}

TEST_CASE("row-level security that could hide rows stops walign, and never makes it lose one") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  const std::string role = "rls" + std::to_string(getpid());
  m.target.exec("CREATE ROLE " + role + " LOGIN; GRANT CREATE ON DATABASE " +
                m.target.scalar("SELECT current_database()") + " TO " + role + "; ALTER TABLE t OWNER TO " +
                role +
                "; ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY odd ON t USING (id % 2 = 1)");
  m.target_url.replace(m.target_url.find("postgres@"), 8, role);
  m.tables = "  - public.t\n";
  SECTION("forced on the owner") {
    m.target.exec("ALTER TABLE t FORCE ROW LEVEL SECURITY");
    Run run(m);
    const auto started = eventually([&] { return run.done() || run.status().connected; });
    REQUIRE(started);
    m.source.exec("INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET v = 'c'");
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(has(error->describe(), "row-level security"));
    CHECK(m.target.scalar<int>("SELECT count(*) FROM t") == 0);
  }
  SECTION("not forced on the owner") {
    Run run(m);
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET v = 'c'");
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
  m.target.exec("DROP SCHEMA IF EXISTS walign CASCADE; DROP OWNED BY " + role + "; DROP ROLE " + role);
}

TEST_CASE("a brought slot needs a publication that is older than it") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)");
  m.tables = "  - public.t\n  - public.u\n";
  const std::string create = "CREATE PUBLICATION " + m.stream() + " FOR TABLE ";
  SECTION("it is") {
    m.source.exec(create + "t, u");
    make_slot(m);
    m.source.exec("INSERT INTO t VALUES (1)");
    Run run(m, {}, true);
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
  SECTION("there is none") {
    make_slot(m);
    refused(m, "does not exist, and slot", true);
  }
  SECTION("it is younger") {
    make_slot(m);
    m.source.exec("INSERT INTO t VALUES (1)");
    m.source.exec(create + "t, u");
    const auto error = refused(m, "does not exist", true);
    CHECK(has(error.hint(), "younger than the slot"));
    CHECK(m.target.scalar<int>("SELECT count(*) FROM t") == 0);
  }
  SECTION("a table joined it later") {
    m.source.exec(create + "t");
    make_slot(m);
    m.source.exec("INSERT INTO u VALUES (1)");
    m.source.exec("ALTER PUBLICATION " + m.stream() + " ADD TABLE u");
    refused(m, "may have got public.u after slot", true);
  }
  SECTION("and the rows brought") {
    m.source.exec(create + "t, u");
    make_slot(m);
    refused(m, "was made before this run");
  }
}

TEST_CASE("a publication that would leave rows out is refused") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.tables = "  - public.t\n";
  const std::string create = "CREATE PUBLICATION " + m.stream() + " FOR TABLE ";
  SECTION("by its operations") {
    m.source.exec(create + "t WITH (publish = 'insert')");
    refused(m, "does not publish all of insert, update, delete, truncate");
  }
  SECTION("by a row filter") {
    m.source.exec(create + "t WHERE (id > 10)");
    refused(m, "has a row filter");
  }
  SECTION("by a column list") {
    m.source.exec(create + "t (id)");
    refused(m, "has a row filter or a column list for");
  }
  SECTION("by the partitions' root") {
    m.source.exec(create + "t WITH (publish_via_partition_root = true)");
    refused(m, "as their root");
  }
  CHECK(m.target.scalar<int>("SELECT count(*) FROM pg_namespace WHERE nspname = 'walign'") == 0);
}

TEST_CASE("a toasted key column is there in every change of its row") {
  Migration m;
  m.both(
      "CREATE TABLE t (k text PRIMARY KEY, v int, big text); ALTER TABLE t ALTER k SET STORAGE EXTERNAL, "
      "ALTER big SET STORAGE EXTERNAL");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  // Keys of 2.4 kB: small enough for the index, large enough to be stored outside.
  m.source.exec(
      "INSERT INTO t SELECT i || repeat(md5(i::text), 75), i, repeat(md5(i::text), 300) FROM "
      "generate_series(1, 30) i");
  m.source.exec("UPDATE t SET v = v + 1");
  m.source.exec("UPDATE t SET k = 'n' || k WHERE v % 3 = 0");
  m.source.exec("DELETE FROM t WHERE v % 5 = 0");
  run.catch_up(m.source);
  CHECK(m.source.scalar<bool>(
      "SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE oid = 't'::regclass"));
  CHECK(m.equal("t"));
}

TEST_CASE("REPLICA IDENTITY FULL brings unchanged TOAST with a change of key") {
  Migration m;
  m.both(
      "CREATE TABLE t (id int PRIMARY KEY, v int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL");
  m.source.exec("ALTER TABLE t REPLICA IDENTITY FULL");
  m.target.exec("ALTER TABLE t ADD own int DEFAULT 7");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT i, i, repeat(md5(i::text), 300) FROM generate_series(1, 20) i");
  m.source.exec(
      "UPDATE t SET v = 0 WHERE id % 2 = 0; UPDATE t SET id = id + 100 WHERE id % 3 = 0; "
      "DELETE FROM t WHERE id % 7 = 0");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT id, v, big FROM t", "SELECT id, v, big FROM t"));
}

TEST_CASE("a published table that is dropped and made again stops the stream: its rows would not come") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)");
  m.tables = "  - public.t\n  - public.u\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1)");
  run.catch_up(m.source);
  SECTION("dropped and made again") { m.source.exec("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY)"); }
  SECTION("names exchanged with a table that is not published") {
    m.source.exec(
        "CREATE TABLE v (id int PRIMARY KEY); ALTER TABLE t RENAME TO w; ALTER TABLE v RENAME TO t");
  }
  SECTION("taken out of the publication") {
    m.source.exec("ALTER PUBLICATION " + m.stream() + " DROP TABLE t");
  }
  m.source.exec("INSERT INTO t VALUES (2); INSERT INTO u VALUES (1)");
  const auto error = run.wait();
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(has(error->message(), "public.t"));
  CHECK_FALSE(error->hint().empty());
}

TEST_CASE("a replica identity that is taken away stops the stream rather than losing deletes") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, v int)");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT i, i FROM generate_series(1, 5) i");
  run.catch_up(m.source);
  SECTION("another column") {
    m.source.exec(
        "ALTER TABLE t ALTER v SET NOT NULL; CREATE UNIQUE INDEX i ON t (v); "
        "ALTER TABLE t REPLICA IDENTITY USING INDEX i");
    m.source.exec("DELETE FROM t WHERE id = 1");
    const auto error = run.wait();
    REQUIRE(error);
    CHECK_FALSE(error->hint().empty());
  }
  SECTION("all columns are as good") {
    m.source.exec("ALTER TABLE t REPLICA IDENTITY FULL");
    m.source.exec(
        "DELETE FROM t WHERE id = 1; UPDATE t SET v = 9 WHERE id = 2; UPDATE t SET id = 30 WHERE id = 3");
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
}
