// Opening a side, and taking everything down again.
#include "fence_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// The database as a taker: closed at epoch 1, with a stream that writes to it.
class TakerBed : public FenceBed {
 public:
  TakerBed() {
    one_table();
    id.side = Side::target;
    guard.id = id;
    install_fence(*giver);
    insert_row(*giver, id, row);
    close_tables(*giver, guard, row, mapped, limits());
    giver->exec("CREATE TABLE walign.stream (name text PRIMARY KEY, position pg_lsn NOT NULL)");
    giver->exec("INSERT INTO walign.stream VALUES ('walign_m', '0/100')");
  }
  void stream_at(const std::string& position) {
    giver->query("UPDATE walign.stream SET position = $1", {position});
  }
  void marker_seen(Lsn end, std::uint64_t epoch = 1) {
    const auto note = note_fence_lsn(id, epoch, end);
    giver->query(note.sql, note.params);
  }
  FenceRow row{1, RowState::closed, 7, {}, {}};
};

}  // namespace

TEST_CASE("a taker opens only when the stream is at or past the fence, and then takes writes") {
  TakerBed bed;
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'early')") == "25006");
  const auto refusal = [&] {
    return Opening(*bed.giver, bed.id, bed.row, "walign_m", Millis(500)).refusal().value_or("none");
  };
  CHECK(has(refusal(), "has not passed the fence's marker"));
  bed.marker_seen(Lsn(0x300), 2);  // of another attempt
  CHECK(has(refusal(), "has not passed the fence's marker"));
  bed.marker_seen(Lsn(0x300));
  CHECK(has(refusal(), "at 0/100, before the fence at 0/300"));
  bed.stream_at("0/2FF");
  {
    // Whoever does not ask is not let through either.
    Opening careless(*bed.giver, bed.id, bed.row, "walign_m", Millis(500));
    CHECK_FALSE(careless.open().done);
  }
  CHECK(bed.state(Side::target) == RowState::closed);
  bed.stream_at("0/300");
  {
    Opening let_go(*bed.giver, bed.id, bed.row, "walign_m", Millis(500));
    CHECK_FALSE(let_go.refusal().has_value());
    CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'early')") == "25006");
  }
  CHECK(bed.state(Side::target) == RowState::closed);
  bed.admin.exec("SELECT pg_create_logical_replication_slot('openings', 'test_decoding')");
  {
    Opening opening(*bed.giver, bed.id, bed.row, "walign_m", Millis(500));
    const auto opened = opening.open();
    CHECK(opened.done);
    CHECK(opened.marker_lsn < opened.after_lsn);
  }
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'first')") == "ok");
  const auto seen = bed.admin.rows("SELECT data FROM pg_logical_slot_get_changes('openings', NULL, NULL)");
  bed.admin.exec("SELECT pg_drop_replication_slot('openings')");
  std::string all;
  for (const auto& line : seen) all += *line[0] + "\n";
  const auto marker = all.find("prefix: walign, sz: 22 content:open walign_m target 1");
  REQUIRE(marker != std::string::npos);
  CHECK(marker < all.find("table public.t: INSERT"));
}

TEST_CASE("an opening finds out when the taker's row is another's, or is held") {
  TakerBed bed;
  bed.marker_seen(Lsn(0x100));
  const auto refusal = [&](const FenceRow& row, const std::string& stream = "walign_m") {
    return Opening(*bed.giver, bed.id, row, stream, Millis(100)).refusal().value_or("none");
  };
  CHECK(refusal(bed.row) == "none");
  CHECK(has(refusal({2, RowState::closed, 7, {}, {}}), "epoch 1, CLOSED"));
  CHECK(has(refusal({1, RowState::closed, 6, {}, {}}), "epoch 1, CLOSED"));
  CHECK(has(refusal(bed.row, "walign_other"), "no stream walign_other"));
  pg::Connection other(bed.options());
  {
    Opening holding(*bed.giver, bed.id, bed.row, "walign_m", Millis(100));
    CHECK_THROWS_AS(Opening(other, bed.id, bed.row, "walign_m", Millis(50)), Error);
    CHECK_THROWS_AS(compare_and_set(other, bed.id, bed.row, {1, RowState::aborted, 7, {}}, Millis(50)),
                    Error);
  }
  CHECK(compare_and_set(other, bed.id, bed.row, {1, RowState::aborted, 7, {}}, Millis(50)).done);
  CHECK(has(refusal(bed.row), "ABORTED"));
  {
    // Whoever does not ask finds out all the same.
    Opening careless(*bed.giver, bed.id, bed.row, "walign_m", Millis(100));
    CHECK_FALSE(careless.open().done);
  }
  CHECK(bed.state(Side::target) == RowState::aborted);
  // The next attempt begins without the last one's fence LSN.
  const auto raised = compare_and_set(other, bed.id, {1, RowState::aborted, 7, {}, {}},
                                      {2, RowState::closed, 8, {}}, Millis(50));
  REQUIRE(raised.done);
  CHECK_FALSE(raised.row->fence_lsn.has_value());
}

TEST_CASE("a REPEATABLE READ transaction on the taker from before the opening is refused") {
  TakerBed bed;
  bed.marker_seen(Lsn(0x100));
  Sql old = bed.as("app");
  old.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t");
  REQUIRE(Opening(*bed.giver, bed.id, bed.row, "walign_m", Millis(500)).open().done);
  CHECK(outcome(old, "INSERT INTO t VALUES (100, 'old')") == "25006");
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'new')") == "ok");
}

TEST_CASE("triggers come down without standing in the way of writes, when readers have gone") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE TABLE u (id int)");
  bed.mapped.push_back({"public", "u"});
  REQUIRE(bed.fence().done);
  CHECK_THROWS_AS(take_guards_down(*bed.giver, bed.id, 1, Millis(20)), Error);  // it is not open
  CHECK(unguarded(*bed.giver, bed.id, bed.mapped).empty());
  REQUIRE(bed.become(RowState::open).done);
  CHECK_THROWS_AS(take_guards_down(*bed.giver, bed.id, 2, Millis(20)), Error);  // in another epoch
  CHECK(unguarded(*bed.giver, bed.id, bed.mapped).empty());
  Sql reader = bed.as("app");
  reader.exec("BEGIN; SELECT count(*) FROM t");
  std::atomic<bool> stop{false};
  std::atomic<int> slowest_ms{0};
  std::atomic<int> writes{0};
  std::thread writer([&] {
    Sql db = bed.as("app");
    while (!stop) {
      const auto start = std::chrono::steady_clock::now();
      db.exec("UPDATE t SET v = v || '.' WHERE id = 1");
      const auto took = std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - start).count();
      slowest_ms = std::max(slowest_ms.load(), static_cast<int>(took));
      ++writes;
    }
  });
  for (int i = 0; i < 30; ++i) {
    const auto left = take_guards_down(*bed.giver, bed.id, 1, Millis(20));
    CHECK(left == std::vector<std::string>{"public.t"});
    std::this_thread::sleep_for(Millis(10));
  }
  reader.exec("COMMIT");
  CHECK(eventually_true([&] { return take_guards_down(*bed.giver, bed.id, 1, Millis(20)).empty(); },
                        Millis(5000)));
  stop = true;
  writer.join();
  CHECK(slowest_ms < 400);
  CHECK(writes > 30);
  CHECK(bed.admin.scalar<int>("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0);
}

TEST_CASE("somebody's DDL that takes a trigger down is noticed") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT");
  bed.mapped.push_back({"public", "p"});
  REQUIRE(bed.fence().done);
  CHECK(unguarded(*bed.giver, bed.id, bed.mapped).empty());
  using Names = std::vector<std::string>;
  SECTION("dropped") {
    bed.admin.exec("DROP TRIGGER walign_m_row ON t");
    CHECK(unguarded(*bed.giver, bed.id, bed.mapped) == Names{"public.t"});
  }
  SECTION("disabled on a partition alone") {
    bed.admin.exec("ALTER TABLE p1 DISABLE TRIGGER ALL");
    CHECK(unguarded(*bed.giver, bed.id, bed.mapped) == Names{"public.p1"});
  }
  SECTION("made ordinary") {
    bed.admin.exec("ALTER TABLE t ENABLE TRIGGER walign_m_statement");
    CHECK(unguarded(*bed.giver, bed.id, bed.mapped) == Names{"public.t"});
  }
  SECTION("another table in its place") {
    bed.admin.exec("DROP TABLE t; CREATE TABLE t (id int)");
    CHECK(unguarded(*bed.giver, bed.id, bed.mapped) == Names{"public.t"});
  }
  SECTION("the table is gone") {
    bed.admin.exec("DROP TABLE t");
    CHECK(unguarded(*bed.giver, bed.id, bed.mapped).size() == 1);
  }
}

namespace {

// Everything in the database that a forgotten object would show in.
test::Rows everything(Sql& db) {
  return db.rows(R"(
    SELECT 'class ' || relnamespace::regnamespace || '.' || relname AS what FROM pg_class
    WHERE relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT 'function ' || oid::regprocedure || coalesce(proacl::text, '') FROM pg_proc
    UNION ALL SELECT 'namespace ' || nspname || coalesce(nspacl::text, '') FROM pg_namespace
    UNION ALL SELECT 'type ' || typnamespace::regnamespace || '.' || typname FROM pg_type
    UNION ALL SELECT 'trigger ' || tgrelid::regclass || ' ' || tgname FROM pg_trigger
    UNION ALL SELECT 'described ' || count(*) FROM pg_description
    UNION ALL SELECT 'depends ' || count(*) FROM pg_depend
    UNION ALL SELECT 'depends on shared ' || count(*) FROM pg_shdepend ORDER BY 1)");
}

}  // namespace

TEST_CASE("after a removal nothing is left in the catalogs") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT");
  bed.mapped.push_back({"public", "p"});
  const test::Rows before = everything(bed.admin);
  REQUIRE(bed.fence().done);
  CHECK_THROWS_AS(remove_fence(*bed.giver, bed.id.migration), Error);
  SECTION("removed while fenced") {}
  SECTION("the closed side stays closed") {
    REQUIRE(bed.become(RowState::sealed).done);
    close_for_good(*bed.giver, bed.id.migration, "new.example/app", bed.mapped, bed.limits());
    CHECK(take_all_guards_down(*bed.giver, bed.id.migration, Millis(500)).empty());
    remove_fence(*bed.giver, bed.id.migration);
    CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'y')") == "25006");
    CHECK(outcome(bed.app, "TRUNCATE p1") == "25006");
    CHECK(message_of(bed.app, "INSERT INTO p1 VALUES (1)").find("new.example/app") != std::string::npos);
    bed.tables("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)");
    bed.admin.exec("SET session_replication_role = replica");
    CHECK(outcome(bed.admin, "INSERT INTO p2 VALUES (11)") == "25006");
    bed.admin.exec("RESET session_replication_role; DROP TABLE p2");
    CHECK(bed.admin.scalar<int>("SELECT count(*) FROM pg_namespace WHERE nspname = 'walign'") == 0);
    CHECK(bed.admin.scalar<int>("SELECT count(*) FROM pg_proc WHERE proname LIKE '%walign%' AND proname <> "
                                "'walign_closed'") == 0);
    CHECK(reopen_for_good(*bed.giver, bed.mapped, Millis(500)).empty());
    CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'y')") == "ok");
  }
  CHECK(take_all_guards_down(*bed.giver, bed.id.migration, Millis(500)).empty());
  remove_fence(*bed.giver, bed.id.migration);
  CHECK(everything(bed.admin) == before);
}

TEST_CASE("a rehearsal makes everything and leaves nothing") {
  FenceBed bed;
  bed.one_table();
  bed.tables("CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT");
  bed.mapped.push_back({"public", "p"});
  bed.install();
  const test::Rows before = everything(bed.admin);
  Sql holder = bed.as("app");
  holder.exec("BEGIN; INSERT INTO t VALUES (100, 'held')");
  std::thread commits([&] {
    std::this_thread::sleep_for(Millis(100));
    holder.exec("COMMIT");
  });
  const auto times = rehearse_fence(*bed.giver, bed.guard, bed.mapped, bed.limits());
  commits.join();
  REQUIRE(times.size() == 2);
  CHECK(times[0].lock_ms > 50);
  CHECK(times[1].lock_ms < 50);
  CHECK(times[1].ddl_ms > 0);
  CHECK(bed.state() == RowState::open);
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (101, 'y')") == "ok");
  bed.app.exec("DELETE FROM t WHERE id > 10");
  CHECK(everything(bed.admin) == before);
}

TEST_CASE("where both sides are in one database, opening one takes the triggers of the other not down") {
  TakerBed bed;
  bed.admin.exec(
      "CREATE TABLE other (id int PRIMARY KEY); ALTER TABLE other OWNER TO owner; GRANT ALL ON other TO app");
  const FenceId source{bed.id.migration, Side::source};
  insert_row(*bed.giver, source, {1, RowState::closed, 7, {}, {}});
  close_tables(*bed.giver, {source, "elsewhere"}, {1, RowState::closed, 7, {}, {}}, {{"public", "other"}},
               {});
  bed.marker_seen(Lsn(0x100));
  CHECK(Opening(*bed.giver, bed.id, bed.row, "walign_m", Millis(500)).open().done);
  CHECK(take_guards_down(*bed.giver, bed.id, 1, Millis(500)).empty());
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (100, 'open')") == "ok");
  CHECK(outcome(bed.app, "INSERT INTO other VALUES (1)") == "25006");
  CHECK(unguarded(*bed.giver, source, {{"public", "other"}}).empty());
}

TEST_CASE("a marker is read back as it was written, and nothing else is one") {
  for (const Marker& m : {Marker{Marker::Kind::fence, {"walign_users", Side::source}, 3},
                          Marker{Marker::Kind::open, {"w", Side::target}, 18446744073709551615U}}) {
    CHECK(parse_marker(marker_text(m)) == m);
  }
  for (const char* text : {"", "fence", "fence ", "fence x", "fence x ", "fence x 1", "fence x source",
                           "fence x source ", "fence x source 1 ", "fence x source -1", "fence x both 1",
                           "open  target 1", "close x source 1", "fence x source 18446744073709551616"}) {
    INFO(text);
    CHECK_FALSE(parse_marker(text).has_value());
  }
}
