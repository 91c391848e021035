// Mappings on real servers: shapes of tables, kinds of columns and keys, and mistakes that must be found.
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Nothing of walign's is on either server.
bool untouched(Migration& m) {
  return m.source.scalar<int>("SELECT count(*)::int FROM pg_publication") == 0 &&
         m.source.scalar<int>("SELECT count(*)::int FROM pg_replication_slots WHERE database = "
                              "current_database()") == 0 &&
         m.target.scalar<int>("SELECT count(*)::int FROM pg_namespace WHERE nspname = 'walign'") == 0;
}

void paused(Run& run) {
  run.sidecar().pause_apply();
  std::this_thread::sleep_for(300ms);
}

}  // namespace

// ---------------------------------------------------------------------------------- who writes where

TEST_CASE("one source feeds several targets") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, kind text, v text)");
  m.target.exec("CREATE TABLE whole (id int PRIMARY KEY, kind text, v text);"
                "CREATE TABLE odd (id int PRIMARY KEY, v text); CREATE TABLE log (id int, kind text, v text)");
  m.tables = R"(  - public.t: public.whole
  - from: public.t
    to: public.odd
    where: kind = 'odd'
    columns: { kind: false }
)";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT i, CASE i % 2 WHEN 1 THEN 'odd' ELSE 'even' END, i FROM "
                "generate_series(1, 100) i");
  m.source.exec("UPDATE t SET kind = 'odd' WHERE id % 10 = 0; UPDATE t SET kind = 'even' WHERE id % 5 = 1;"
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
  m.source.exec("CREATE TABLE cats (id int PRIMARY KEY, name text); CREATE TABLE dogs (id int PRIMARY KEY, name "
                "text)");
  m.target.exec("CREATE TABLE animals (kind text, legacy_id int, name text, PRIMARY KEY (kind, legacy_id));"
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
    return m.equal("SELECT 'cat', id, name FROM cats UNION ALL SELECT 'dog', id, name FROM dogs UNION ALL "
                   "SELECT 'bird', 1, 'of the target''s own'",
                   "SELECT * FROM animals");
  };
  m.source.exec("INSERT INTO cats SELECT i, 'c' || i FROM generate_series(1, 50) i;"
                "INSERT INTO dogs SELECT i, 'd' || i FROM generate_series(1, 50) i");
  m.source.exec("UPDATE cats SET id = id + 100 WHERE id % 3 = 0; DELETE FROM dogs WHERE id % 5 = 0;"
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

TEST_CASE("a TRUNCATE is refused where nobody can say whose rows they are") {
  Migration m;
  m.source.exec("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int NOT NULL, PRIMARY KEY (id)) "
                "PARTITION BY RANGE (id); CREATE TABLE b1 PARTITION OF b FOR VALUES FROM (0) TO (100);"
                "CREATE TABLE b2 PARTITION OF b FOR VALUES FROM (100) TO (200)");
  m.target.exec("CREATE TABLE t (which text, id int, PRIMARY KEY (which, id))");
  m.tables = "  - {from: public.a, to: public.t, columns: {which: {constant: a}}}\n"
             "  - {from: public.b, to: public.t, columns: {which: {constant: b}}}\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO a VALUES (1), (150); INSERT INTO b VALUES (1), (150)");
  run.catch_up(m.source);
  m.source.exec(GENERATE("TRUNCATE a", "TRUNCATE b", "TRUNCATE b1"));
  const auto error = run.wait();
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::conflict);
  CHECK(has(error->message(), "TRUNCATE"));
  CHECK(has(error->hint(), "target_where"));
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t") == 4);
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
      "CREATE TABLE t (pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, legacy int NOT NULL UNIQUE, v text, "
      "note text DEFAULT 'none', made timestamptz DEFAULT now(), twice text GENERATED ALWAYS AS (v || v) STORED);"
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
  m.source.exec("UPDATE t SET id = -1 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 3; "
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
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL");
  m.target.exec("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, big text, "
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
  m.target.exec("CREATE TYPE public.mood AS ENUM ('good', 'bad', 'unknown');"
                "CREATE TABLE t (id int PRIMARY KEY, b public.mood, n boolean, c varchar(10))");
  m.tables = R"yaml(  - from: public.t
    columns:
      b: { values: { "true": good, "false": bad, null: unknown } }
      n: { values: { "1": "true", "0": "false", "-1": null } }
      c: { values: { ab: long, abcd: null }, else: other }
)yaml";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, true, 1, 'ab'), (2, false, 0, 'abcd'), (3, NULL, -1, NULL), "
                "(4, NULL, NULL, 'zz')");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT * FROM (VALUES (1, 'good', 'true', 'long'), (2, 'bad', 'false', NULL), (3, 'unknown', "
                "NULL, NULL), (4, 'unknown', NULL, 'other')) v",
                "SELECT id, b::text, n::text, c FROM t"));
  m.source.exec("UPDATE t SET b = NOT b, n = 1 - n, c = 'ab'");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT id, CASE b WHEN true THEN 'good' WHEN false THEN 'bad' ELSE 'unknown' END, (n = 1)::text "
                "FROM t WHERE id <> 3 UNION ALL SELECT 3, 'unknown', NULL",
                "SELECT id, b::text, n::text FROM t WHERE id <> 3 UNION ALL SELECT 3, 'unknown', NULL"));
}

TEST_CASE("constants, NULL constants, text keys, enums elsewhere, domains and arrays of enums") {
  Migration m;
  m.source.exec("CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'glad'); CREATE DOMAIN app.short AS text "
                "CHECK (length(VALUE) < 10);"
                "CREATE TABLE t (id int PRIMARY KEY, m app.mood, ms app.mood[], d app.short, n numeric(6,2))");
  m.target.exec("CREATE SCHEMA v2; CREATE TYPE v2.mood AS ENUM ('glad', 'sad'); CREATE DOMAIN v2.name AS varchar(8) "
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
  m.source.exec("INSERT INTO t VALUES (1, 'sad', '{sad,glad,NULL}', 'one', 1.5), (2, NULL, '{}', 'two', NULL), "
                "(3, 'glad', NULL, 'three', 3)");
  m.source.exec("UPDATE t SET m = 'glad', id = 11 WHERE id = 1; DELETE FROM t WHERE id = 2; "
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
  m.source.exec("CREATE TABLE t (a char(5), b varchar(9), c bit(3), d numeric, v int, PRIMARY KEY (a, b, c, d))");
  m.target.exec("CREATE TABLE t (a char(5), b text, c bit(3), d numeric(12,4), v int, PRIMARY KEY (a, b, c, d))");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT 'k' || i, 'b ' || i, '101', i / 4.0, i FROM generate_series(1, 50) i");
  run.catch_up(m.source);
  m.source.exec("UPDATE t SET v = v + 1 WHERE v % 2 = 0; UPDATE t SET a = 'z' || v, d = d + 1 WHERE v % 5 = 0; "
                "DELETE FROM t WHERE v % 3 = 0");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT a, b, c, d::numeric(12,4), v FROM t", "SELECT a, b, c, d, v FROM t"));
}

// ------------------------------------------------------------------------------------------ partitions

TEST_CASE("a partitioned source goes into a plain target, or one partitioned otherwise") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int, day date NOT NULL, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
                "CREATE TABLE t24 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');"
                "CREATE TABLE t25 (v text, day date NOT NULL, id int NOT NULL, PRIMARY KEY (id, day));"
                "ALTER TABLE t ATTACH PARTITION t25 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');"
                "CREATE TABLE trest PARTITION OF t DEFAULT");
  const bool plain = GENERATE(true, false);
  CAPTURE(plain);
  m.target.exec(plain ? "CREATE TABLE t (id int, day date, v text, PRIMARY KEY (id, day))"
                      : "CREATE TABLE t (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY HASH (id);"
                        "CREATE TABLE h0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
                        "CREATE TABLE h1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  const std::string all = "SELECT id, day, v FROM t";
  m.source.exec("INSERT INTO t SELECT i, date '2023-06-01' + i * 10, 'v' FROM generate_series(1, 100) i");
  m.source.exec("UPDATE t SET v = 'w' WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0");
  m.source.exec("UPDATE t SET day = day + 365, id = id + 500 WHERE id % 4 = 0");  // between partitions
  run.catch_up(m.source);
  CHECK(m.equal(all, all));
  m.source.exec("TRUNCATE t24");
  run.catch_up(m.source);
  CHECK(m.source.scalar<int>("SELECT count(*)::int FROM t") > 0);
  CHECK(m.equal(all, all));
  m.source.exec("TRUNCATE trest");
  run.catch_up(m.source);
  CHECK(m.equal(all, all));
  // A partition made while running.
  m.source.exec("CREATE TABLE t26 PARTITION OF t FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')");
  m.source.exec("INSERT INTO t VALUES (9001, '2030-05-05', 'new partition'), (9002, '2025-05-05', 'old one')");
  m.source.exec("UPDATE t SET v = 'again' WHERE id = 9001");
  run.catch_up(m.source);
  CHECK(m.equal(all, all));
  m.source.exec("TRUNCATE t26");
  run.catch_up(m.source);
  CHECK(m.equal(all, all));
  m.source.exec("TRUNCATE t; INSERT INTO t VALUES (1, '2024-05-05', 'end')");
  run.catch_up(m.source);
  CHECK(m.equal(all, all));
  CHECK(run.status().tables.at(0).books.balance());
}

TEST_CASE("a source partitioned by hash can be truncated as a whole, and not by one partition") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY HASH (id);"
                "CREATE TABLE h0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
                "CREATE TABLE h1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.tables = "  - public.t\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20) i; TRUNCATE t; INSERT INTO t VALUES (3, "
                "'x'), (4, 'y')");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  CHECK(run.status().tables.at(0).books.balance());
  m.source.exec("TRUNCATE h0");
  const auto error = run.wait();
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::conflict);
  CHECK(has(error->message(), "h0"));
}

TEST_CASE("one partition of a target with rows of its own is emptied of ours only") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, kind text) PARTITION BY RANGE (id);"
                "CREATE TABLE a PARTITION OF t FOR VALUES FROM (0) TO (100);"
                "CREATE TABLE b PARTITION OF t FOR VALUES FROM (100) TO (200)");
  m.target.exec("CREATE TABLE t (id int, kind text, ours text, PRIMARY KEY (id, ours)); INSERT INTO t VALUES (5, 'x', "
                "'no')");
  m.tables = "  - {from: public.t, columns: {ours: {constant: \"yes\"}}, target_where: ours = 'yes' OR kind = 'ours'}\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'a'), (150, 'b'); TRUNCATE a");
  run.catch_up(m.source);
  CHECK(m.equal("SELECT 150, 'b', 'yes' UNION ALL SELECT 5, 'x', 'no'", "SELECT * FROM t"));
}

TEST_CASE("TRUNCATE of several tables, with CASCADE and RESTART IDENTITY") {
  Migration m;
  m.both("CREATE TABLE p (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text);"
         "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p); CREATE TABLE other (id int PRIMARY KEY)");
  m.target.exec("CREATE TABLE outside (id int PRIMARY KEY, o int REFERENCES other)");
  m.tables = "  - public.p\n  - public.c\n  - public.other\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO p (v) VALUES ('a'), ('b'); INSERT INTO c VALUES (1, 1), (2, 2); INSERT INTO other "
                "VALUES (1)");
  m.source.exec("TRUNCATE c, p RESTART IDENTITY; INSERT INTO p (v) VALUES ('c'); INSERT INTO c VALUES (5, 1)");
  run.catch_up(m.source);
  CHECK(m.equal("p"));
  CHECK(m.equal("c"));
  m.source.exec("TRUNCATE p CASCADE; TRUNCATE other");
  run.catch_up(m.source);
  CHECK(m.target.scalar<int>("SELECT (SELECT count(*) FROM p) + (SELECT count(*) FROM c) + (SELECT count(*) FROM "
                             "other)") == 0);
  for (const auto& table : run.status().tables) CHECK(table.books.balance());
}

TEST_CASE("tables without any key take inserts") {
  Migration m;
  m.both("CREATE TABLE log (at timestamptz, what text)");
  m.tables = "  - from: public.log\n    inserts_only: true\n";
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO log SELECT now(), 'same' FROM generate_series(1, 10); INSERT INTO log VALUES (NULL, NULL)");
  m.source.exec("DELETE FROM log WHERE what = 'same'");  // neither published nor refused
  m.source.exec("INSERT INTO log VALUES (NULL, 'last')");
  run.catch_up(m.source);
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM log") == 12);
}

// -------------------------------------------------------------------------------------------- lookups

TEST_CASE("an expression sees what was written before it, through views and functions too") {
  Migration m;
  m.source.exec("CREATE TABLE p (id int PRIMARY KEY, name text); CREATE TABLE c (id int PRIMARY KEY, p int)");
  m.target.exec("CREATE TABLE p (id int PRIMARY KEY, name text); CREATE VIEW pv AS SELECT * FROM p;"
                "CREATE VIEW pvv AS SELECT name, id FROM pv;"
                "CREATE FUNCTION find_p(int) RETURNS text STABLE LANGUAGE sql AS 'SELECT name FROM public.p WHERE id "
                "= $1';"
                "CREATE TABLE c (id int PRIMARY KEY, p_name text)");
  const std::string lookup = GENERATE("(SELECT name FROM public.p WHERE p.id = src.p)",
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

// ------------------------------------------------------------------------------------------- mistakes

TEST_CASE("functions that do not depend on the row alone are refused by name") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.target.exec("CREATE SEQUENCE s; CREATE FUNCTION mine(int) RETURNS int LANGUAGE sql AS 'SELECT $1';"
                "CREATE VIEW dice AS SELECT random() AS r;"
                "CREATE TABLE t (id int PRIMARY KEY, v text)");
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"random()", "random"},
      {"now()", "now"},
      {"CURRENT_DATE", "CURRENT_DATE"},
      {"CURRENT_USER", "CURRENT_USER"},
      {"clock_timestamp()", "clock_timestamp"},
      {"nextval('public.s')", "nextval"},
      {"public.mine(id)", "mine"},
      {"gen_random_uuid()", "gen_random_uuid"},
      {"statement_timestamp()", "statement_timestamp"},
      {"(SELECT r FROM public.dice)", "random"},
      {"pg_catalog.set_config('a.b', v, false)", "set_config"},
  };
  for (const auto& [expression, function] : refused) {
    for (const bool in_filter : {false, true}) {
      INFO(expression);
      const std::string sql = "(" + expression + ")::text";
      m.tables = in_filter ? "  - {from: public.t, where: \"" + sql + " <> ''\"}\n"
                           : "  - {from: public.t, columns: {v: {sql: \"" + sql + "\"}}}\n";
      const auto prepared = stream::prepare(m.config(), nullptr);
      CHECK(mapping::any_failed(prepared.findings));
      bool named = false;
      for (const auto& finding : prepared.findings) {
        if (finding.level == mapping::Finding::Level::fail) named = named || has(finding.what, function);
      }
      CHECK(named);
    }
  }
  for (const std::string taken : {"upper(v)", "to_char(timestamptz '2024-01-01', 'YYYY')", "age(date '2024-01-01', "
                                  "date '2023-01-01')", "coalesce(nullif(v, ''), 'x')", "md5(src.v)"}) {
    INFO(taken);
    m.tables = "  - {from: public.t, columns: {v: {sql: \"(" + taken + ")::text\"}}}\n";
    CHECK_FALSE(mapping::any_failed(stream::prepare(m.config(), nullptr).findings));
  }
  CHECK(untouched(m));
}

TEST_CASE("mistakes in a mapping are found before anything is made") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text, n int); CREATE TABLE nokey (v text); "
                "CREATE UNLOGGED TABLE fast (id int PRIMARY KEY);"
                "CREATE TABLE def (id int PRIMARY KEY DEFERRABLE, v text)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v text, n int); CREATE TABLE nokey (v text); "
                "CREATE TABLE fast (id int PRIMARY KEY); CREATE TABLE def (id int PRIMARY KEY, v text);"
                "CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, v text, n int);"
                "CREATE TABLE strict (id int PRIMARY KEY, v text, n int, must int NOT NULL);"
                "CREATE TABLE gen (id int PRIMARY KEY, v text, n int, g int GENERATED ALWAYS AS (n) STORED);"
                "CREATE TABLE dates (id int PRIMARY KEY, v date, n int); CREATE TABLE small (id int PRIMARY KEY)");
  const std::vector<std::pair<std::string, std::string>> mistakes = {
      {"  - public.nosuch\n", "does not exist on the source"},
      {"  - public.t: public.nosuch\n", "does not exist on the target"},
      {"  - {from: public.t, columns: {v: nosuch}}\n", "no column nosuch"},
      {"  - {from: public.t, columns: {nosuch: v}}\n", "no column nosuch"},
      {"  - {from: public.t, columns: {v: {sql: \"upper(\"}}}\n", "syntax error"},
      {"  - {from: public.t, columns: {v: {sql: \"nosuch(v)\"}}}\n", "nosuch"},
      {"  - {from: public.t, columns: {v: {sql: \"''); DROP TABLE public.t; SELECT (''\"}}}\n", "DROP"},
      {"  - {from: public.t, where: \"n\"}\n", "boolean"},
      {"  - {from: public.t, key: [v]}\n", "no unique index"},
      {"  - public.t: public.late\n", "deferrable"},
      {"  - public.t: public.strict\n", "NOT NULL"},
      {"  - {from: public.t, to: public.gen, columns: {g: n}}\n", "generated"},
      {"  - public.t: public.dates\n", "type date"},
      {"  - public.t: public.small\n", "goes nowhere"},
      {"  - public.nokey\n", "primary key"},
      {"  - public.fast\n", "unlogged"},
      {"  - public.def\n", "replica identity"},
      {"  - public.t\n  - public.t\n", "twice"},
      {"  - {from: public.t, columns: {id: {constant: \"1\"}}}\n", "constants only"},
      {"  - {from: public.t, columns: {id: n}}\n", "replica identity"},
      {"  - \"public.zz*\"\n", "matches no table"},
      {"  - {from: public.t, columns: {nosuch: false}}\n", "no such column"},
  };
  for (const auto& [tables, says] : mistakes) {
    INFO(tables);
    m.tables = tables;
    Run run(m);
    const auto error = run.wait();
    REQUIRE(error);
    INFO(error->describe());
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->message(), says));
    CHECK(has(error->message(), "remedy: "));
    CHECK(untouched(m));
  }
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM pg_tables WHERE tablename = 't' AND schemaname = 'public'") == 1);
}

TEST_CASE("a replica identity that changes while running stops before the first row it spoils") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, u int NOT NULL, v text); CREATE UNIQUE INDEX by_u ON t (u)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, u int, v text)");
  m.tables = GENERATE("  - public.t\n", "  - {from: public.t, where: v <> 'hidden'}\n");
  Run run(m);
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 1, 'a')");
  m.source.exec("ALTER TABLE t REPLICA IDENTITY USING INDEX by_u");
  m.source.exec("UPDATE t SET id = 2");  // says nothing of row 1
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::precondition);
  CHECK(has(error->message(), "replica identity"));
  CHECK(m.target.scalar("SELECT string_agg(id::text, ',') FROM t") == "1");
}
