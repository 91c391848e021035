// What the target writes comes back to the source, through the inverse of the mapping, by the same machinery.
#include "way_back_test.hpp"

#include <random>

using namespace walign;
using namespace walign::test;

namespace {

// Rows are made after streaming began: what is copied is not of interest here.
void stream_forward(Migration& m, const std::string& sql) {
  Run run(m);
  run.wait_until_streaming();
  m.source.exec(sql);
  run.catch_up(m.source);
  run.stop();
}

}  // namespace

TEST_CASE("renames, maps and pairs of expressions come back, and nothing else is touched") {
  Migration m;
  m.source.exec(
      "CREATE TABLE listings (id int PRIMARY KEY, status text NOT NULL, price_cents int NOT NULL, name text,"
      "  notes text DEFAULT 'none yet', g int GENERATED ALWAYS AS (price_cents * 2) STORED)");
  m.target.exec(
      "CREATE TABLE services (legacy_id int PRIMARY KEY, state varchar(10), price numeric(10,2), name text,"
      "  own text DEFAULT 'of the target')");
  m.tables = R"yaml(  - from: public.listings
    to: public.services
    columns:
      legacy_id: id
      state: { values: { ACTIVE: active, PAUSED: paused }, from: status }
      price: { sql: "price_cents / 100.0", reverse: "round(price * 100)::int" }
      notes: false
)yaml";
  stream_forward(m,
                 "INSERT INTO listings SELECT i, CASE i % 2 WHEN 0 THEN 'ACTIVE' ELSE 'PAUSED' END, i * 7, "
                 "'name ' || i, 'note ' || i FROM generate_series(1, 50) i");
  Back back(m);
  REQUIRE(back.routes.size() == 1);
  m.target.exec(
      "UPDATE services SET price = price + 1 WHERE legacy_id = 1; UPDATE services SET state = 'active' WHERE "
      "legacy_id = 3; UPDATE services SET own = 'changed' WHERE legacy_id = 5;"
      "INSERT INTO services VALUES (100, 'paused', 12.34, 'new'); DELETE FROM services WHERE legacy_id = 2;"
      "UPDATE services SET legacy_id = 200 WHERE legacy_id = 4; UPDATE services SET name = NULL WHERE "
      "legacy_id = 7");
  back.catch_up();
  CHECK(
      m.equal("SELECT id, CASE status WHEN 'ACTIVE' THEN 'active' ELSE 'paused' END, (price_cents / "
              "100.0)::numeric(10,2), name "
              "FROM listings",
              "SELECT legacy_id, state, price, name FROM services"));
  CHECK(m.source.scalar("SELECT notes FROM listings WHERE id = 100") == "none yet");
  CHECK(m.source.scalar("SELECT notes FROM listings WHERE id = 200") == "note 4");
  CHECK(m.source.scalar("SELECT notes FROM listings WHERE id = 1") == "note 1");
  CHECK(m.source.scalar<int>("SELECT g FROM listings WHERE id = 100") == 2468);
  m.target.exec("TRUNCATE services; INSERT INTO services VALUES (1, 'active', 1, 'again')");
  back.catch_up();
  CHECK(m.source.scalar("SELECT string_agg(id || name, ',') FROM listings") == "1again");
  for (const auto& books : back.applier().books()) CHECK(books.balance());
}

TEST_CASE("an update of one column on the target leaves the others on the source alone") {
  Migration m;
  // The pair loses what is behind the second decimal, and case; both are on the source.
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, price numeric, name text, seen timestamptz)");
  m.target.exec(
      "CREATE TABLE t (id int PRIMARY KEY, price numeric(10,2), name text, seen date, n int DEFAULT 0)");
  m.tables = R"yaml(  - from: public.t
    columns:
      name: { sql: "upper(src.name)", reverse: "lower(src.name)" }
)yaml";
  Run run(m);
  run.wait_until_streaming();
  run.stop();
  const bool whole_rows = GENERATE(false, true);
  if (whole_rows) m.target.exec("ALTER TABLE t REPLICA IDENTITY FULL");
  Back back(m);  // while there is nothing that would show that the pairs lose something
  // What comes back of the rows' INSERTs is taken away again: the source is to have what the target lost.
  m.target.exec(
      "INSERT INTO t SELECT i, i + 0.12345, upper('MiXed ' || i), '2024-01-01' FROM generate_series(1, 9) i");
  back.catch_up();
  m.source.exec(
      "DELETE FROM t; INSERT INTO t SELECT i, i + 0.12345, 'MiXed ' || i, '2024-01-01 12:00Z' FROM "
      "generate_series(1, 9) i");
  m.target.exec(
      "UPDATE t SET n = 1; UPDATE t SET price = 99.99 WHERE id = 1; UPDATE t SET name = 'NEW' WHERE id = 2;"
      "UPDATE t SET seen = '2025-05-05' WHERE id = 3; UPDATE t SET id = 40 WHERE id = 4;"
      "UPDATE t SET price = price, name = name WHERE id = 5");
  back.catch_up();
  m.source.exec("SET timezone = 'UTC'");
  const auto now = [&](int id) {
    return m.source.scalar("SELECT price || '|' || name || '|' || seen FROM t WHERE id = $1",
                           {std::to_string(id)});
  };
  CHECK(now(1) == "99.99|MiXed 1|2024-01-01 12:00:00+00");
  CHECK(now(2) == "2.12345|new|2024-01-01 12:00:00+00");
  CHECK(now(3) == "3.12345|MiXed 3|2025-05-05 00:00:00+00");
  CHECK(now(40) == "4.12345|MiXed 4|2024-01-01 12:00:00+00");
  for (const int id : {5, 6, 7, 8, 9}) {
    INFO(id);
    CHECK(now(id) == std::to_string(id) + ".12345|MiXed " + std::to_string(id) + "|2024-01-01 12:00:00+00");
  }
}

TEST_CASE("several sources share a target, and each gets its own rows back") {
  Migration m;
  m.source.exec(
      "CREATE TABLE cats (id int PRIMARY KEY, name text); CREATE TABLE dogs (id int PRIMARY KEY, name text)");
  m.target.exec("CREATE TABLE animals (kind text, legacy_id int, name text, PRIMARY KEY (kind, legacy_id))");
  const bool by_constant = GENERATE(false, true);
  m.tables = by_constant ? R"(  - from: public.cats
    to: public.animals
    columns: { kind: { constant: cat }, legacy_id: id }
  - from: public.dogs
    to: public.animals
    columns: { kind: { constant: dog }, legacy_id: id }
)"
                         : R"(  - from: public.cats
    to: public.animals
    columns: { kind: { constant: cat }, legacy_id: id }
    target_where: kind = 'cat'
  - from: public.dogs
    to: public.animals
    columns: { kind: { constant: dog }, legacy_id: id }
    target_where: kind = 'dog'
)";
  stream_forward(m,
                 "INSERT INTO cats SELECT i, 'c' || i FROM generate_series(1, 20) i;"
                 "INSERT INTO dogs SELECT i, 'd' || i FROM generate_series(1, 20) i");
  m.target.exec("INSERT INTO animals VALUES ('bird', 1, 'of the target''s own')");
  Back back(m);
  const auto same = [&] {
    return m.equal("SELECT 'cat', id, name FROM cats UNION ALL SELECT 'dog', id, name FROM dogs",
                   "SELECT * FROM animals WHERE kind IN ('cat', 'dog')");
  };
  m.target.exec(
      "UPDATE animals SET name = 'x' WHERE legacy_id = 1; DELETE FROM animals WHERE kind = 'cat' AND "
      "legacy_id = 2;"
      "DELETE FROM animals WHERE kind = 'bird'; INSERT INTO animals VALUES ('bird', 5, 'b'), ('cat', 100, "
      "'new');"
      "DELETE FROM animals WHERE kind = 'cat' AND legacy_id = 5; UPDATE animals SET kind = 'cat' WHERE kind "
      "= 'bird';"
      "UPDATE animals SET kind = 'bird', legacy_id = 7 WHERE kind = 'dog' AND legacy_id = 8;"
      "UPDATE animals SET name = 'y' WHERE kind = 'bird';"
      "UPDATE animals SET kind = 'dog', legacy_id = 300 WHERE kind = 'bird'");
  back.catch_up();
  CHECK(same());
  // The two exchange a row each, in one statement.
  m.target.exec("UPDATE animals SET legacy_id = legacy_id + 1000 WHERE kind = 'dog'");
  m.target.exec(
      "UPDATE animals SET kind = CASE kind WHEN 'cat' THEN 'dog' ELSE 'cat' END WHERE legacy_id > 1010 OR "
      "(kind = 'cat' AND legacy_id < 10)");
  back.catch_up();
  CHECK(same());
  m.target.exec("TRUNCATE animals; INSERT INTO animals VALUES ('dog', 1, 'last')");
  back.catch_up();
  CHECK(same());
  for (const auto& books : back.applier().books()) CHECK(books.balance());
}

TEST_CASE("rows that the forward filter would leave out are carried back, and hidden rows are left alone") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, status text, v text)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, status text, v text)");
  m.tables = "  - {from: public.t, where: \"src.status <> 'DRAFT'\"}\n";
  stream_forward(m,
                 "INSERT INTO t SELECT i, CASE WHEN i <= 5 THEN 'DRAFT' ELSE 'LIVE' END, i FROM "
                 "generate_series(1, 10) i");
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM t") == 5);
  Back back(m);
  m.target.exec(
      "INSERT INTO t VALUES (20, 'DRAFT', 'made there'); UPDATE t SET status = 'DRAFT' WHERE id = 6;"
      "UPDATE t SET v = 'again' WHERE id = 6; DELETE FROM t WHERE id = 7");
  back.catch_up();
  CHECK(m.source.scalar("SELECT string_agg(id || status || v, ' ' ORDER BY id) FROM t") ==
        "1DRAFT1 2DRAFT2 3DRAFT3 4DRAFT4 5DRAFT5 6DRAFTagain 8LIVE8 9LIVE9 10LIVE10 20DRAFTmade there");
  m.target.exec("TRUNCATE t");
  back.catch_up();
  CHECK(m.source.scalar("SELECT string_agg(DISTINCT status, ' ') FROM t") == "DRAFT");
  // A key that a hidden row of the source has is not taken from it.
  m.target.exec("INSERT INTO t VALUES (1, 'LIVE', 'collides')");
  CHECK_THROWS_AS(back.catch_up(), Error);
  CHECK(m.source.scalar("SELECT v FROM t WHERE id = 1") == "1");
}

TEST_CASE("identity columns, keys exchanged between rows, unique values that change places") {
  Migration m;
  m.source.exec(
      "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, u int UNIQUE, "
      "n bigint GENERATED BY DEFAULT AS IDENTITY, v text, left_out text DEFAULT 'd')");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, u text UNIQUE, n bigint, v text)");
  m.tables = "  - {from: public.t, columns: {left_out: false}}\n";
  stream_forward(m,
                 "INSERT INTO t (u, v, left_out) SELECT i, 'v' || i, 'l' || i FROM generate_series(1, 10) i");
  Back back(m);
  m.target.exec(
      "UPDATE t SET u = (11 - u::int + 100)::text; UPDATE t SET u = (u::int - 100)::text;"
      "UPDATE t SET id = id + 100; BEGIN; UPDATE t SET id = 0 WHERE id = 101;"
      "UPDATE t SET id = 101 WHERE id = 110; UPDATE t SET id = 110 WHERE id = 0; COMMIT");
  m.target.exec(
      "BEGIN; UPDATE t SET u = '-1' WHERE id = 105; UPDATE t SET u = (SELECT u FROM t WHERE id = 105) "
      "WHERE false; UPDATE t SET u = '99' WHERE id = 105; COMMIT");
  m.target.exec("INSERT INTO t VALUES (500, '500', 1, 'new')");
  back.catch_up();
  CHECK(m.equal("SELECT id, u::text, n, v FROM t", "SELECT * FROM t"));
  CHECK(m.source.scalar("SELECT left_out FROM t WHERE id = 500") == "d");
  CHECK(m.source.scalar<int>("SELECT count(*)::int FROM t WHERE left_out LIKE 'l%'") == 10);
}

TEST_CASE("the plan shows each inverse, why there is none, and how long copying takes") {
  Migration m;
  m.both(
      "CREATE TABLE t (id int PRIMARY KEY, v text, n int); CREATE TABLE u (id int PRIMARY KEY, v text);"
      "CREATE TABLE o (id int PRIMARY KEY, v text)");
  m.source.exec("INSERT INTO t SELECT i, 'v', i FROM generate_series(1, 5000) i; ANALYZE t, u, o");
  m.target.exec("ALTER TABLE t ADD own text DEFAULT 'd'");
  m.tables = R"yaml(  - {from: public.t, columns: {n: {sql: "n * 2", reverse: "n / 2"}}}
  - {from: public.u, columns: {v: {sql: "upper(v)"}}}
  - {from: public.o, columns: {v: {sql: "upper(v)"}}, one_way: true}
)yaml";
  const auto planned = [&] {
    const auto config = m.config();
    const auto prepared = stream::prepare(config, nullptr);
    return stream::plan(config, prepared, stream::ways_back(config, prepared, nullptr));
  };
  auto plan = planned();
  REQUIRE(plan.tables.size() == 3);
  const auto& back = plan.tables[0].back;
  CHECK(back.columns == std::vector<std::pair<std::string, std::string>>{
                            {"id", "src.\"id\""}, {"v", "src.\"v\""}, {"n", "(n / 2)"}});
  CHECK(back.why_not.empty());
  CHECK(back.not_carried == std::vector<std::string>{"own"});
  CHECK(has(back.update_sql, "IS DISTINCT FROM"));
  REQUIRE(plan.tables[1].back.why_not.size() == 1);
  CHECK(has(plan.tables[1].back.why_not[0], "has no reverse:"));
  CHECK(plan.tables[1].back.insert_sql.empty());
  CHECK(plan.tables[2].back.one_way);
  CHECK_FALSE(plan.tables[0].locks.empty());
  REQUIRE(plan.copy_seconds);
  CHECK(*plan.tables[0].copy_seconds > 0.09);  // 5,000 rows through SQL, at 50,000 a second
  CHECK(*plan.tables[0].copy_seconds < 0.2);
  CHECK(has(plan.assumed, "50000 rows or 10 MiB a second through the mapping's SQL"));
  m.more = "backfill: { max_rows_per_second: 100 }\n";
  plan = planned();
  CHECK(*plan.copy_seconds == 50.0);
  CHECK(has(plan.assumed, "at most 100 rows a second"));
}

TEST_CASE("a table that stops sending whole old rows stops the way back, rather than being guessed at") {
  Migration m;
  m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text, name text)");
  m.target.exec(
      "CREATE TABLE t (id int PRIMARY KEY, v text, name text); ALTER TABLE t REPLICA IDENTITY FULL");
  m.tables = "  - {from: public.t, columns: {name: {sql: upper(name), reverse: lower(name)}}}\n";
  stream_forward(m, "INSERT INTO t VALUES (1, 'a', 'x')");
  Back back(m);
  m.target.exec("UPDATE t SET v = 'b'");
  back.catch_up();
  CHECK(m.source.scalar("SELECT v || name FROM t") == "bx");
  m.target.exec("ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET v = 'c'");
  std::string said;
  try {
    back.catch_up();
  } catch (const Error& error) {
    said = error.describe();
  }
  INFO(said);
  CHECK(has(said, "the old row is needed to tell what changed"));
  CHECK(has(said, "REPLICA IDENTITY FULL"));
  CHECK(m.source.scalar("SELECT v || name FROM t") == "bx");
}

TEST_CASE("partitions on either side, and types that only one side has") {
  Migration m;
  m.source.exec(
      "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN cents AS int CHECK (VALUE >= 0);"
      "CREATE TABLE t (id int, day date, m mood, state text, price cents, PRIMARY KEY (id, day)) PARTITION "
      "BY RANGE (day);"
      "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');"
      "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');"
      "CREATE TABLE u (id bigint PRIMARY KEY, v varchar(20))");
  m.target.exec(
      "CREATE TYPE state AS ENUM ('active', 'paused');"
      "CREATE TABLE t (id int, day date, m text, state state, price numeric(10,2), PRIMARY KEY (id, day));"
      "CREATE TABLE u (id bigint PRIMARY KEY, v text) PARTITION BY HASH (id);"
      "CREATE TABLE u1 PARTITION OF u FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
      "CREATE TABLE u2 PARTITION OF u FOR VALUES WITH (MODULUS 2, REMAINDER 1)");
  m.tables = R"yaml(  - from: public.t
    columns:
      state: { values: { A: active, P: paused } }
      price: { sql: "price / 100.0", reverse: "round(src.price * 100)::int" }
  - public.u
)yaml";
  stream_forward(
      m,
      "INSERT INTO t SELECT i, '2024-01-20'::date + i, 'ok', CASE i % 2 WHEN 0 THEN 'A' ELSE 'P' END, i FROM "
      "generate_series(1, 30) i; INSERT INTO u SELECT i, 'v' || i FROM generate_series(1, 20) i");
  Back back(m);
  m.target.exec(
      "UPDATE t SET day = day - 15 WHERE id IN (20, 25); UPDATE t SET m = 'sad', state = 'active' WHERE id % "
      "5 = 0;"
      "INSERT INTO t VALUES (100, '2024-02-20', NULL, NULL, 9.99); DELETE FROM t WHERE id = 7;"
      "UPDATE u SET id = id + 100 WHERE id % 3 = 0; UPDATE u SET v = upper(v) WHERE id % 2 = 0; DELETE FROM "
      "u WHERE id = 5;"
      "INSERT INTO u VALUES (6, 'new')");
  back.catch_up();
  CHECK(
      m.equal("SELECT id, day, m::text, CASE state WHEN 'A' THEN 'active' WHEN 'P' THEN 'paused' END, "
              "(price / 100.0)::numeric(10,2) FROM t",
              "SELECT id, day, m, state::text, price FROM t"));
  CHECK(m.equal("SELECT id, v::text FROM u", "SELECT id, v FROM u"));
  m.target.exec("TRUNCATE u; INSERT INTO u VALUES (1, 'again')");
  back.catch_up();
  CHECK(m.equal("SELECT id, v::text FROM u", "SELECT id, v FROM u"));
  for (const auto& books : back.applier().books()) CHECK(books.balance());
}
