// Mappings on real servers: who writes where, kinds of columns and keys, lookups.
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

namespace {

void paused(Run& run) {
  run.sidecar().pause_apply();
  std::this_thread::sleep_for(300ms);
}

}  // namespace

// ---------------------------------------------------------------------------------- who writes where

TEST_CASE("one source feeds several targets") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, kind text, v text)");
  m.target.exec(
      "CREATE TABLE whole (id int PRIMARY KEY, kind text, v text);"
      "CREATE TABLE odd (id int PRIMARY KEY, v text); CREATE TABLE log (id int, kind text, v text)");
  m.tables = R"(  - public.t: public.whole
  - from: public.t
    to: public.odd
    where: kind = 'odd'
    columns: { kind: false }
)";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec(
      "INSERT INTO t SELECT i, CASE i % 2 WHEN 1 THEN 'odd' ELSE 'even' END, i FROM "
      "generate_series(1, 100) i");
  m.source.exec(
      "UPDATE t SET kind = 'odd' WHERE id % 10 = 0; UPDATE t SET kind = 'even' WHERE id % 5 = 1;"
      "DELETE FROM t WHERE id % 7 = 0; UPDATE t SET id = id + 1000 WHERE id % 4 = 3");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT * FROM t", "SELECT * FROM whole"));
  CHECK(m.equal("SELECT id, v FROM t WHERE kind = 'odd'", "SELECT * FROM odd"));
  m.source.exec("TRUNCATE t; INSERT INTO t VALUES (1, 'odd', 'x')");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT * FROM t", "SELECT * FROM whole"));
  CHECK(m.equal("SELECT id, v FROM t", "SELECT * FROM odd"));
  for (const auto& table : run.status().tables) CHECK(table.books.balance());
}

TEST_CASE("several sources share a target, each with rows of its own") {
  Migration m;
  m.source.exec(
      "CREATE TABLE cats (id int PRIMARY KEY, name text); CREATE TABLE dogs (id int PRIMARY KEY, name "
      "text)");
  m.target.exec(
      "CREATE TABLE animals (kind text, legacy_id int, name text, PRIMARY KEY (kind, legacy_id));"
      "INSERT INTO animals VALUES ('bird', 1, 'of the target''s own')");
  m.tables = R"(  - from: public.cats
    to: public.animals
    columns: { kind: { constant: cat }, legacy_id: id }
    target_where: kind = 'cat'
  - from: public.dogs
    to: public.animals
    columns: { kind: { constant: dog }, legacy_id: id }
    target_where: kind = 'dog'
)";
  Run run(m);
  run.wait_until_streaming();
  const auto same = [&] {
    return m.equal(
        "SELECT 'cat', id, name FROM cats UNION ALL SELECT 'dog', id, name FROM dogs UNION ALL "
        "SELECT 'bird', 1, 'of the target''s own'",
        "SELECT * FROM animals");
  };
  m.source.exec(
      "INSERT INTO cats SELECT i, 'c' || i FROM generate_series(1, 50) i;"
      "INSERT INTO dogs SELECT i, 'd' || i FROM generate_series(1, 50) i");
  m.source.exec(
      "UPDATE cats SET id = id + 100 WHERE id % 3 = 0; DELETE FROM dogs WHERE id % 5 = 0;"
      "UPDATE dogs SET name = 'x' WHERE id % 4 = 0");
  run.catch_up(m.source);
  CHECK(same());
  m.source.exec("TRUNCATE cats");
  run.catch_up(m.source);
  CHECK(same());
  m.source.exec("TRUNCATE cats, dogs; INSERT INTO dogs VALUES (1, 'y')");
  run.catch_up(m.source);
  CHECK(same());
}

TEST_CASE("source and target may be one database") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE t2 (id int PRIMARY KEY, v text)");
  m.target_url = m.source_url;
  m.tables = "  - public.t: public.t2\n";
  {
    Run run(m);
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 500) i");
    m.source.exec("UPDATE t SET v = 'w' WHERE id % 2 = 0; DELETE FROM t WHERE id % 3 = 0");
    run.catch_up(m.source);
    CHECK(compare_tables(m.source, "SELECT * FROM t", m.source, "SELECT * FROM t2").equal());
    run.stop();
  }
  m.tables = "  - public.t: public.t2\n  - public.t2: public.t\n";
  Run run(m);
  const auto error = run.wait();
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::precondition);
}

// ------------------------------------------------------------------------------------ keys and columns

TEST_CASE("the key may be another unique column, and what only the target has is kept") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target.exec(
      "CREATE TABLE t (pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, legacy int NOT NULL UNIQUE, v "
      "text, "
      "note text DEFAULT 'none', made timestamptz DEFAULT now(), twice text GENERATED ALWAYS AS (v || v) "
      "STORED);"
      "CREATE TABLE child (id int PRIMARY KEY, t bigint REFERENCES t)");
  m.tables = "  - from: public.t\n    key: [legacy]\n    columns: { legacy: id }\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20) i");
  run.catch_up(m.source);
  m.target.exec("UPDATE t SET note = 'mine' WHERE legacy <= 10; INSERT INTO child SELECT legacy, pk FROM t");
  const auto before = m.target.rows("SELECT pk, note, made FROM t ORDER BY pk");
  const bool one_batch = GENERATE(false, true);
  if (one_batch) paused(run);
  m.source.exec("UPDATE t SET v = 'new'");
  m.source.exec("UPDATE t SET id = id + 100 WHERE id % 2 = 0");
  m.source.exec(
      "UPDATE t SET id = -1 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 3; "
      "UPDATE t SET id = 3 WHERE id = -1");
  run.sidecar().resume_apply();
  run.catch_up(m.source);
  CHECK(m.equal("SELECT id, v, v || v FROM t", "SELECT legacy, v, twice FROM t"));
  CHECK(m.target.rows("SELECT pk, note, made FROM t ORDER BY pk") == before);
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM child c JOIN t ON t.pk = c.t") == 20);
}

TEST_CASE("a key that is GENERATED ALWAYS AS IDENTITY can change") {
  Migration m;
  const std::string where = GENERATE("", "    where: v <> 'hidden'\n");
  CAPTURE(where);
  m.source.exec(
      "CREATE TABLE t (id int PRIMARY KEY, v text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL");
  m.target.exec(
      "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, big text, "
      "mine text DEFAULT 'd')");
  m.tables = "  - from: public.t\n" + where;
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT i, 'v', repeat('x', 5000) FROM generate_series(1, 10) i");
  run.catch_up(m.source);
  m.target.exec("UPDATE t SET mine = 'kept' WHERE id = 1");
  m.source.exec("UPDATE t SET v = 'w' WHERE id < 4");
  m.source.exec("UPDATE t SET id = id + 100 WHERE id < 6");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT id, v, big FROM t", "SELECT id, v, big FROM t"));
  CHECK(m.target.scalar("SELECT mine FROM t WHERE id = 101") == "kept");
  if (!where.empty()) {
    m.source.exec("UPDATE t SET v = 'hidden', id = id + 1000 WHERE id IN (101, 7)");
    m.source.exec("UPDATE t SET v = 'seen', big = 'b', id = id + 1000 WHERE id = 1101");
    run.catch_up(m.source);
    CHECK(m.equal("SELECT id, v, big FROM t WHERE v <> 'hidden'", "SELECT id, v, big FROM t"));
  }
}

TEST_CASE("an identity column that is not the key can be updated") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text)");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t (id, v) SELECT i, 'v' FROM generate_series(1, 10) i");
  m.source.exec("UPDATE t SET v = 'w'; UPDATE t SET n = DEFAULT WHERE id % 2 = 0");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
}

TEST_CASE("value maps take booleans, numbers and NULL both ways") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, b boolean, n int, c char(4))");
  m.target.exec(
      "CREATE TYPE public.mood AS ENUM ('good', 'bad', 'unknown');"
      "CREATE TABLE t (id int PRIMARY KEY, b public.mood, n boolean, c varchar(10))");
  m.tables = R"yaml(  - from: public.t
    columns:
      b: { values: { "true": good, "false": bad, null: unknown } }
      n: { values: { "1": "true", "0": "false", "-1": null } }
      c: { values: { ab: long, abcd: null }, else: other }
)yaml";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec(
      "INSERT INTO t VALUES (1, true, 1, 'ab'), (2, false, 0, 'abcd'), (3, NULL, -1, NULL), "
      "(4, NULL, NULL, 'zz')");
  run.catch_up(m.source);
  CHECK(
      m.equal("SELECT * FROM (VALUES (1, 'good', 'true', 'long'), (2, 'bad', 'false', NULL), (3, 'unknown', "
              "NULL, NULL), (4, 'unknown', NULL, 'other')) v",
              "SELECT id, b::text, n::text, c FROM t"));
  m.source.exec("UPDATE t SET b = NOT b, n = 1 - n, c = 'ab' WHERE id <> 3");
  run.catch_up(m.source);
  CHECK(m.equal(
      "SELECT id, CASE b WHEN true THEN 'good' WHEN false THEN 'bad' ELSE 'unknown' END, (n = 1)::text "
      "FROM t WHERE id <> 3 UNION ALL SELECT 3, 'unknown', NULL",
      "SELECT id, b::text, n::text FROM t WHERE id <> 3 UNION ALL SELECT 3, 'unknown', NULL"));
}

TEST_CASE("constants, NULL constants, text keys, enums elsewhere, domains and arrays of enums") {
  Migration m;
  m.source.exec(
      "CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'glad'); CREATE DOMAIN app.short AS text "
      "CHECK (length(VALUE) < 10);"
      "CREATE TABLE t (id int PRIMARY KEY, m app.mood, ms app.mood[], d app.short, n numeric(6,2))");
  m.target.exec(
      "CREATE SCHEMA v2; CREATE TYPE v2.mood AS ENUM ('glad', 'sad'); CREATE DOMAIN v2.name AS varchar(8) "
      "NOT NULL;"
      "CREATE TABLE t (id text PRIMARY KEY, m v2.mood, ms v2.mood[], d v2.name, n numeric, c text NOT NULL, "
      "z int, day date)");
  m.tables = R"yaml(  - from: public.t
    columns:
      id: { sql: "'L' || id" }
      c: { constant: "it's \\ odd" }
      z: { constant: null }
      day: { constant: "2024-02-29" }
)yaml";
  Run run(m);
  run.wait_until_streaming();
  const std::string expected =
      "SELECT 'L' || id, m::text, ms::text, d::text, n, E'it\\'s \\\\ odd', NULL, '2024-02-29' FROM t";
  const std::string actual = "SELECT id, m::text, ms::text, d::text, n, c, z, day FROM t";
  m.source.exec(
      "INSERT INTO t VALUES (1, 'sad', '{sad,glad,NULL}', 'one', 1.5), (2, NULL, '{}', 'two', NULL), "
      "(3, 'glad', NULL, 'three', 3)");
  m.source.exec(
      "UPDATE t SET m = 'glad', id = 11 WHERE id = 1; DELETE FROM t WHERE id = 2; "
      "UPDATE t SET d = 'drei', ms = '{{glad,sad},{sad,sad}}' WHERE id = 3");
  run.catch_up(m.source);
  CHECK(m.equal(expected, actual));
  m.source.exec("UPDATE t SET d = 'ninechars' WHERE id = 3");  // the target's domain takes eight
  const auto error = run.wait();
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::conflict);
  CHECK(error->sqlstate() == "22001");
}

TEST_CASE("what does not fit is refused and never cut") {
  struct Case {
    const char* source;
    const char* target;
    const char* fits;
    const char* does_not;
  };
  const std::vector<Case> cases = {
      {"varchar(20)", "varchar(3)", "'abc'", "'abcd'"}, {"char(10)", "char(3)", "'abc'", "'abcd'"},
      {"text", "char(3)", "'abc'", "'abcd'"},           {"bit(5)", "bit(3)", "", "B'10101'"},
      {"varbit", "varbit(3)", "B'101'", "B'10101'"},    {"bigint", "smallint", "12", "70000"},
      {"numeric", "numeric(4,1)", "123.4", "12345"},    {"text", "varchar(3)", "'äöü'", "'äöüß'"},
  };
  for (const auto& c : cases) {
    INFO(c.source << " to " << c.target);
    for (const bool by_update : {false, true}) {
      Migration m;
      m.source.exec(std::string("CREATE TABLE t (id int PRIMARY KEY, v ") + c.source + ")");
      m.target.exec(std::string("CREATE TABLE t (id int PRIMARY KEY, v ") + c.target + ")");
      m.tables = "  - public.t\n";
      Run run(m);
      run.wait_until_streaming();
      const std::string fits = *c.fits == 0 ? "NULL" : c.fits;
      m.source.exec("INSERT INTO t VALUES (1, " + fits + ")");
      run.catch_up(m.source);
      CHECK(m.equal("SELECT id, v::text FROM t", "SELECT id, v::text FROM t"));
      m.source.exec(by_update ? std::string("UPDATE t SET v = ") + c.does_not
                              : std::string("INSERT INTO t VALUES (2, ") + c.does_not + ")");
      const auto error = run.wait();
      REQUIRE(error);
      INFO(error->describe());
      CHECK(error->kind() == ErrorKind::conflict);
      CHECK(error->sqlstate().substr(0, 2) == "22");
      CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t") == 1);
    }
  }
}

TEST_CASE("keys of character types find their rows") {
  Migration m;
  m.source.exec(
      "CREATE TABLE t (a char(5), b varchar(9), c bit(3), d numeric, v int, PRIMARY KEY (a, b, c, d))");
  m.target.exec(
      "CREATE TABLE t (a char(5), b text, c bit(3), d numeric(12,4), v int, PRIMARY KEY (a, b, c, d))");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT 'k' || i, 'b ' || i, '101', i / 4.0, i FROM generate_series(1, 50) i");
  run.catch_up(m.source);
  m.source.exec(
      "UPDATE t SET v = v + 1 WHERE v % 2 = 0; UPDATE t SET a = 'z' || v, d = d + 1 WHERE v % 5 = 0; "
      "DELETE FROM t WHERE v % 3 = 0");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT a, b, c, d::numeric(12,4), v FROM t", "SELECT a, b, c, d, v FROM t"));
}

// -------------------------------------------------------------------------------------------- lookups

TEST_CASE("an expression sees what was written before it, through views and functions too") {
  Migration m;
  m.source.exec("CREATE TABLE p (id int PRIMARY KEY, name text); CREATE TABLE c (id int PRIMARY KEY, p int)");
  m.target.exec(
      "CREATE TABLE p (id int PRIMARY KEY, name text); CREATE VIEW pv AS SELECT * FROM p;"
      "CREATE VIEW pvv AS SELECT name, id FROM pv;"
      "CREATE FUNCTION find_p(int) RETURNS text STABLE LANGUAGE sql AS 'SELECT name FROM public.p WHERE id "
      "= $1';"
      "CREATE TABLE c (id int PRIMARY KEY, p_name text)");
  const std::string lookup =
      GENERATE("(SELECT name FROM public.p WHERE p.id = src.p)",
               "(SELECT name FROM public.pvv WHERE pvv.id = src.p)", "public.find_p(p)");
  CAPTURE(lookup);
  m.tables = "  - public.p\n  - {from: public.c, columns: {p_name: {sql: \"" + lookup + "\"}, p: false}}\n";
  Run run(m);
  run.wait_until_streaming();
  paused(run);  // one batch
  m.source.exec("INSERT INTO c VALUES (0, 1)");
  m.source.exec("INSERT INTO p VALUES (1, 'one'), (2, 'two')");
  m.source.exec("INSERT INTO c VALUES (1, 1), (2, 2)");
  m.source.exec("UPDATE p SET name = 'uno' WHERE id = 1");
  m.source.exec("INSERT INTO c VALUES (3, 1)");
  m.source.exec("DELETE FROM p WHERE id = 2");
  m.source.exec("INSERT INTO c VALUES (4, 2)");
  run.sidecar().resume_apply();
  run.catch_up(m.source);
  CHECK(m.equal("SELECT * FROM (VALUES (0, NULL), (1, 'one'), (2, 'two'), (3, 'uno'), (4, NULL)) v",
                "SELECT id, p_name FROM c"));
}

TEST_CASE("a key of an extension's type is compared by its own operator") {
  Migration m;
  for (Sql* db : {&m.source, &m.target}) {
    db->exec(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; "
        "CREATE TABLE t (k ext.citext PRIMARY KEY, v int)");
  }
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES ('Alpha', 1), ('beta', 2)");
  run.catch_up(m.source);
  // What a case-insensitive key means: this row is there already, whatever its case on the target.
  m.target.exec("UPDATE t SET k = 'ALPHA' WHERE v = 1");
  m.source.exec("UPDATE t SET v = 10 WHERE v = 1");
  run.catch_up(m.source);
  CHECK(m.target.scalar<int>("SELECT v FROM t WHERE k::text = 'ALPHA'") == 10);
}
