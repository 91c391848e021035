// What the triggers refuse, and what they let pass.
#include "fence_test.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("a fenced table refuses every kind of write with 25006 and says where to write") {
  FenceBed bed;
  bed.one_table();
  REQUIRE(bed.fence().done);
  for (const char* write :
       {"INSERT INTO t VALUES (100, 'y')", "UPDATE t SET v = 'y' WHERE id = 1",
        "UPDATE t SET v = 'y' WHERE false", "DELETE FROM t WHERE id = 2", "TRUNCATE t",
        "INSERT INTO t VALUES (1, 'y') ON CONFLICT (id) DO NOTHING",
        "MERGE INTO t USING (VALUES (1)) n(id) ON t.id = n.id WHEN MATCHED THEN UPDATE SET v = 'z'",
        "WITH w AS (DELETE FROM t RETURNING *) SELECT count(*) FROM w"}) {
    INFO(write);
    CHECK(outcome(bed.app, write) == "25006");
  }
  const auto said = message_of(bed.app, "DELETE FROM t");
  CHECK(said.find("new.example:5432/app") != std::string::npos);
  CHECK(said.find("walign_m") != std::string::npos);
  CHECK(bed.app.scalar<int>("SELECT count(*) FROM t WHERE v = 'x'") == 10);
}

TEST_CASE("reading, key share locks and sequences pass the fence") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE SEQUENCE s; CREATE TABLE child (t int REFERENCES t)");
  REQUIRE(bed.fence().done);
  CHECK(outcome(bed.app, "SELECT * FROM t WHERE id = 1 FOR KEY SHARE") == "ok");
  CHECK(outcome(bed.app, "SELECT * FROM t WHERE id = 1 FOR UPDATE") == "ok");
  CHECK(outcome(bed.app, "INSERT INTO child VALUES (3)") == "ok");
  CHECK(outcome(bed.app, "SELECT nextval('s')") == "ok");
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (50, 'y')") == "25006");
}

TEST_CASE("a REPEATABLE READ writer with a snapshot from before the fence is refused, in every state") {
  FenceBed bed;
  bed.one_table();
  bed.install();
  Sql old = bed.as("app");
  old.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t");
  REQUIRE(bed.fence().done);
  SECTION("fenced") {}
  SECTION("sealed") { REQUIRE(bed.become(RowState::sealed).done); }
  SECTION("open again in the same epoch: it still sees what was before") {
    REQUIRE(bed.become(RowState::open).done);
    CHECK(outcome(bed.app, "INSERT INTO t VALUES (99, 'new snapshot')") == "ok");
  }
  SECTION("after the lease") {
    const auto row = read_row(*bed.giver, bed.id);
    REQUIRE(
        compare_and_set(*bed.giver, bed.id, *row, {row->epoch, RowState::fenced, 7, Millis(0)}, Millis(500))
            .done);
  }
  CHECK(outcome(old, "INSERT INTO t VALUES (100, 'late')") == "25006");
  old.exec("ROLLBACK");
  CHECK(bed.app.scalar<int>("SELECT count(*) FROM t WHERE id = 100") == 0);
}

TEST_CASE("a snapshot that saw an earlier attempt open is refused by the triggers of the next") {
  FenceBed bed;
  bed.one_table();
  REQUIRE(bed.fence().done);
  REQUIRE(bed.become(RowState::open).done);
  Sql old = bed.as("app");
  old.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t");
  REQUIRE(bed.fence().done);
  CHECK(outcome(old, "INSERT INTO t VALUES (100, 'late')") == "25006");
}

TEST_CASE("a writer that waited for the fence is refused, and one that held the table came before it") {
  FenceBed bed;
  bed.one_table();
  const auto row = bed.begin();
  Sql holder = bed.as("app");
  holder.exec("BEGIN; UPDATE t SET v = 'in time' WHERE id = 1");
  std::string waited;
  std::thread fencing(
      [&] { CHECK(fence_tables(*bed.giver, bed.guard, row, bed.mapped, bed.limits()).done); });
  REQUIRE(eventually_true([&] {
    return bed.admin.scalar<int>(
               "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass") == 1;
  }));
  std::thread waiter([&] {
    Sql late = bed.as("app");
    waited = outcome(late, "UPDATE t SET v = 'late' WHERE id = 2");
  });
  REQUIRE(eventually_true([&] {
    return bed.admin.scalar<int>(
               "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass") == 2;
  }));
  holder.exec("UPDATE t SET v = 'in time too' WHERE id = 3; COMMIT");
  fencing.join();
  waiter.join();
  CHECK(waited == "25006");
  CHECK(bed.app.scalar<int>("SELECT count(*) FROM t WHERE v LIKE 'in time%'") == 2);
}

TEST_CASE("writes through parents, to new partitions and TRUNCATE of any part of a tree are refused") {
  FenceBed bed;
  bed.tables(R"(
    CREATE TABLE p (id int, v text) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
    CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200) PARTITION BY LIST (v);
    CREATE TABLE p2a PARTITION OF p2 FOR VALUES IN ('a');
    CREATE TABLE loose (id int, v text);
    INSERT INTO p VALUES (1, 'x'), (101, 'a'); INSERT INTO loose VALUES (301, 'x'))");
  bed.mapped = {{"public", "p"}};
  REQUIRE(bed.fence().done);
  CHECK(unguarded(*bed.giver, bed.id, bed.mapped).empty());
  bed.tables(R"(
    CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (200) TO (300);
    CREATE TABLE p2b PARTITION OF p2 FOR VALUES IN ('b');
    ALTER TABLE p ATTACH PARTITION loose FOR VALUES FROM (300) TO (400))");
  for (const char* write : {"INSERT INTO p VALUES (2, 'x')", "INSERT INTO p1 VALUES (2, 'x')",
                            "INSERT INTO p2a VALUES (102, 'a')", "INSERT INTO p VALUES (201, 'x')",
                            "INSERT INTO p3 VALUES (201, 'x')", "INSERT INTO p2b VALUES (103, 'b')",
                            "UPDATE p SET id = 150 WHERE id = 101", "DELETE FROM loose", "TRUNCATE p",
                            "TRUNCATE p1", "TRUNCATE p2", "TRUNCATE p2a", "UPDATE loose SET v = 'y'"}) {
    INFO(write);
    CHECK(outcome(bed.app, write) == "25006");
  }
  // Neither does the role in which apply workers write.
  bed.admin.exec("SET session_replication_role = replica");
  CHECK(outcome(bed.admin, "INSERT INTO p3 VALUES (202, 'x')") == "25006");
  CHECK(outcome(bed.admin, "INSERT INTO p2a VALUES (104, 'a')") == "25006");
  CHECK(outcome(bed.admin, "TRUNCATE p1") == "25006");
  bed.admin.exec("RESET session_replication_role");
  CHECK(bed.app.scalar<int>("SELECT count(*) FROM p") == 3);
}

TEST_CASE("a write through an inheritance parent and a cascade from another table are refused") {
  FenceBed bed;
  bed.tables(R"(
    CREATE TABLE base (id int, v text); CREATE TABLE t () INHERITS (base); INSERT INTO t VALUES (1, 'x');
    CREATE TABLE owner_of (id int PRIMARY KEY); INSERT INTO owner_of VALUES (1);
    CREATE TABLE owned (id int REFERENCES owner_of ON DELETE CASCADE); INSERT INTO owned VALUES (1);
    CREATE VIEW seen AS SELECT * FROM t)");
  bed.mapped = {{"public", "t"}, {"public", "owned"}};
  REQUIRE(bed.fence().done);
  CHECK(outcome(bed.app, "UPDATE base SET v = 'y'") == "25006");
  CHECK(outcome(bed.app, "DELETE FROM base") == "25006");
  CHECK(outcome(bed.app, "DELETE FROM seen") == "25006");
  CHECK(outcome(bed.app, "DELETE FROM owner_of") == "25006");
  CHECK(outcome(bed.app, "TRUNCATE owner_of CASCADE") == "25006");
  CHECK(outcome(bed.app, "INSERT INTO owner_of VALUES (2)") == "ok");
  CHECK(bed.app.scalar<int>("SELECT count(*) FROM owned") == 1);
}

TEST_CASE("the apply worker of another subscription stops at the fence and goes on when it is open") {
  static Server publisher({.name = "publisher"});
  FenceBed bed;
  bed.one_table();
  Sql other = publisher.create_database(bed.database());
  other.exec("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE PUBLICATION p FOR TABLE t");
  bed.admin.exec("CREATE SUBSCRIPTION s CONNECTION '" + publisher.url(bed.database()) +
                 "' PUBLICATION p WITH (copy_data = false)");
  other.exec("INSERT INTO t VALUES (101, 'before')");
  const auto count = [&] { return bed.app.scalar<int>("SELECT count(*) FROM t WHERE id > 100"); };
  REQUIRE(eventually_true([&] { return count() == 1; }));
  REQUIRE(bed.fence().done);
  other.exec("INSERT INTO t VALUES (102, 'after')");
  CHECK(eventually_true(
      [&] { return bed.server().log().find("public.t does not take writes") != std::string::npos; }));
  CHECK(count() == 1);
  REQUIRE(bed.become(RowState::open).done);
  CHECK(eventually_true([&] { return count() == 2; }));
  bed.admin.exec("DROP SUBSCRIPTION s");
}

TEST_CASE("an application cannot open the fence by names, settings or calls of its own") {
  FenceBed bed;
  bed.one_table();
  REQUIRE(bed.fence(Millis(1'000'000)).done);
  bed.admin.exec("CREATE SCHEMA mine AUTHORIZATION app; GRANT CREATE, TEMPORARY ON DATABASE " +
                 bed.database() + " TO app");
  bed.app.exec(R"(
    SET search_path = mine, pg_catalog, public;
    GRANT USAGE ON SCHEMA mine TO PUBLIC;
    CREATE FUNCTION mine.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'infinity'::timestamptz $$;
    CREATE FUNCTION mine.later(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
    CREATE OPERATOR mine.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = mine.later);
    CREATE FUNCTION mine.same(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
    CREATE OPERATOR mine.= (LEFTARG = text, RIGHTARG = text, FUNCTION = mine.same);
    CREATE FUNCTION mine.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT 'walign_m' $$;
    CREATE TEMPORARY TABLE fence (migration text, side text, epoch bigint, state text);
    INSERT INTO fence VALUES ('walign_m', 'source', 99, 'OPEN');
    SET walign.pass = 'walign_m')");
  CHECK(outcome(bed.app, "INSERT INTO public.t VALUES (100, 'y')") == "25006");
  CHECK(outcome(bed.app, "UPDATE walign.fence SET state = 'OPEN'") == "42501");
  CHECK(outcome(bed.app, "SELECT walign.reopen('walign_m', true)") == "42501");
  // Not even where it may look into the schema.
  bed.admin.exec("GRANT USAGE ON SCHEMA walign TO app");
  CHECK(outcome(bed.app, "UPDATE walign.fence SET state = 'OPEN'") == "42501");
  CHECK(outcome(bed.app, "SELECT walign.reopen('walign_m', true)") == "42501");
  CHECK(outcome(bed.app, "SELECT walign.expect_fence('walign_m', 'source', 1, 'FENCED', 7)") == "42501");
  CHECK(outcome(bed.app,
                "CREATE TABLE mine.x (i int); CREATE TRIGGER x AFTER INSERT ON mine.x FOR EACH ROW EXECUTE "
                "FUNCTION walign.guard('walign_m', 'source', '1', 'x')") == "42501");
  CHECK(bed.state() == RowState::fenced);
}

TEST_CASE("walign's own sessions pass by setting and role together, and by neither alone") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT");
  bed.mapped.push_back({"public", "p"});
  REQUIRE(bed.fence().done);
  pg::Connection passing(bed.options(true));
  passing.exec(
      "INSERT INTO public.t VALUES (100, 'applied'); INSERT INTO public.p VALUES (1); TRUNCATE public.p1");
  CHECK_THROWS_AS(bed.giver->exec("INSERT INTO public.t VALUES (101, 'without')"), Error);
  Sql other = bed.as("owner");
  other.exec("SET walign.pass = 'walign_m'");
  CHECK(outcome(other, "INSERT INTO t VALUES (101, 'another role')") == "25006");
  CHECK(bed.app.scalar<int>("SELECT count(*) FROM t") == 11);
}

TEST_CASE("two migrations in one database do not stand in each other's way") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE TABLE u (id int)");
  REQUIRE(bed.fence().done);
  const FenceId second{"walign_n", Side::source};
  REQUIRE(insert_row(*bed.giver, second, {0, RowState::open, 1, {}, {}}));
  const auto row = compare_and_set(*bed.giver, second, {0, RowState::open, 1, {}, {}},
                                   {1, RowState::fencing, 1, Millis(60'000)}, Millis(500));
  // The same table too: it is open only when both say so.
  REQUIRE(fence_tables(*bed.giver, {second, "b"}, *row.row, {{"public", "u"}, {"public", "t"}}, bed.limits())
              .done);
  REQUIRE(bed.become(RowState::open).done);
  CHECK(take_guards_down(*bed.giver, bed.id, 1, Millis(200)).empty());
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'y')") == "25006");
  CHECK(outcome(bed.app, "INSERT INTO u VALUES (1)") == "25006");
  remove_fence(*bed.giver, bed.id.migration);
  CHECK_FALSE(read_row(*bed.giver, bed.id).has_value());
  CHECK(outcome(bed.app, "INSERT INTO u VALUES (1)") == "25006");
  CHECK_THROWS_AS(remove_fence(*bed.giver, second.migration), Error);
  CHECK(outcome(bed.app, "INSERT INTO u VALUES (1)") == "25006");
}

TEST_CASE("what was refused is counted, although every such transaction is rolled back") {
  FenceBed bed;
  bed.one_table();
  const auto seen = [&] { return traffic(*bed.giver, bed.id); };
  bed.install();
  CHECK(seen().refused == 0);
  REQUIRE(bed.fence().done);
  CHECK_FALSE(seen().first_refused_us.has_value());
  const auto clock = [&] {
    return bed.admin.scalar<std::int64_t>("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
  };
  const auto before = clock();
  for (int i = 0; i < 5; ++i) CHECK(outcome(bed.app, "UPDATE t SET v = 'y'") == "25006");
  const auto first = seen().first_refused_us;
  REQUIRE(first.has_value());
  CHECK(*first >= before);
  CHECK(*first <= clock());
  CHECK(seen().refused == 5);
  CHECK_FALSE(seen().first_passed_us.has_value());
  REQUIRE(bed.become(RowState::open).done);
  const auto opened = clock();
  CHECK(outcome(bed.app, "UPDATE t SET v = 'y'") == "ok");
  CHECK(outcome(bed.app, "UPDATE t SET v = 'z'") == "ok");
  CHECK(seen().refused == 5);
  CHECK(*seen().first_passed_us >= opened);
  CHECK(*seen().first_passed_us <= clock());
  CHECK(seen().first_refused_us == first);
  reset_traffic(*bed.giver, bed.id);
  CHECK(seen().refused == 0);
  CHECK_FALSE(seen().first_refused_us.has_value());
}
