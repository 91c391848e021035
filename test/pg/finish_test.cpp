// finish: what is left on both servers, what the old side refuses from then on, and what becomes of it when it is
// killed between any two steps.
#include "finish_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

constexpr const char* kClosed =
    "function walign_closed()\n"
    "trigger walign_closed on log\n"
    "trigger walign_closed on p\n"
    "trigger walign_closed on t\n"
    "trigger walign_closed_statement on log\n"
    "trigger walign_closed_statement on p\n"
    "trigger walign_closed_statement on p1\n"
    "trigger walign_closed_statement on t";

// Runs it again and again, and kills it whenever it has done one thing; how often that was.
int kill_after_each_step(FinishBed& bed, OldSide old_side, const std::function<void()>& between) {
  for (int kills = 0; kills < 100; ++kills) {
    try {
      bed.finish(old_side, 90, [] { throw Killed(); });
      return kills;
    } catch (const Killed&) {
      between();
    }
  }
  throw std::runtime_error("it does not get on");
}

Error refused(FinishBed& bed, OldSide old_side = OldSide::closed) {
  try {
    bed.finish(old_side);
  } catch (const Error& error) {
    return error;
  }
  return {ErrorKind::bug, "it was not refused"};
}

std::string date(FinishBed& bed, const std::string& format, int days = 0) {
  return bed.source.admin.scalar("SELECT to_char((now() AT TIME ZONE 'UTC')::date + " + std::to_string(days) +
                                 ", '" + format + "')");
}

}  // namespace

TEST_CASE("after finish the servers have nothing of walign's but what keeps the old side closed") {
  for (const bool one_database : {false, true}) {
    FinishBed bed(one_database);
    bed.cut_over();
    CHECK(bed.write(bed.source, "t") == "25006");
    CHECK(!bed.plan(OldSide::closed).nothing_left());
    for (const char* name : {"reverse/db", "reports", "journal"}) {
      std::filesystem::create_directories(bed.state() + "/" + name);
    }
    bed.finish(OldSide::closed);
    INFO(one_database);
    CHECK(text_of(things(bed.source.admin)) == kClosed);
    if (!one_database) CHECK(text_of(things(bed.target.admin)).empty());
    CHECK(bed.phase() == "finished");
    CHECK(!std::filesystem::exists(bed.state() + "/reverse"));
    CHECK(!std::filesystem::exists(bed.state() + "/journal"));
    CHECK(std::filesystem::exists(bed.state() + "/reports"));
    for (const char* table : {"t_new", "p_new", "log_new"}) CHECK(bed.write(bed.target, table) == "ok");
  }
}

TEST_CASE("the old side refuses every kind of write after finish, and says where to go") {
  FinishBed bed(false);
  bed.cut_over();
  bed.finish(OldSide::closed);
  auto& app = bed.source.app;
  for (const char* sql : {"INSERT INTO t VALUES (50, 'w')", "UPDATE t SET v = 'w'", "DELETE FROM t",
                          "TRUNCATE t", "TRUNCATE p", "TRUNCATE p1", "INSERT INTO p1 VALUES (5, 'w')",
                          "INSERT INTO p VALUES (5, 'w')", "INSERT INTO log VALUES ('w')",
                          "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO t VALUES (51, 'w')"}) {
    INFO(sql);
    CHECK(outcome(app, sql) == "25006");
    app.exec("ROLLBACK");
  }
  const auto message = message_of(app, "INSERT INTO t VALUES (50, 'w')");
  CHECK(has(message, "public.t was moved by migration walign_m"));
  CHECK(has(message,
            "write to " + pg::describe_conninfo(bed.target.options().conninfo) + ", table public.t_new"));
  Sql replica = bed.source.as("postgres");
  replica.exec("SET session_replication_role = replica");
  CHECK(outcome(replica, "INSERT INTO t VALUES (52, 'w')") == "25006");
  Sql owner = bed.source.as("owner");
  owner.exec("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1000) TO (2000); GRANT ALL ON p2 TO app");
  CHECK(outcome(app, "INSERT INTO p2 VALUES (1500, 'w')") == "25006");
  CHECK(outcome(app, "INSERT INTO p VALUES (1500, 'w')") == "25006");
  CHECK(app.scalar<int>("SELECT count(*)::int FROM t") == 0);
}

TEST_CASE("with --archive the old tables have another name and a comment, and refuse writes there") {
  for (const bool one_database : {false, true}) {
    FinishBed bed(one_database);
    bed.cut_over();
    const std::string end = "_archived_" + date(bed, "YYYYMMDD");
    bed.source.tables("CREATE TABLE log" + end + " (id int)");  // somebody has that name
    bed.finish(OldSide::archived, 90);
    INFO(one_database);
    auto& db = bed.source.admin;
    CHECK(db.scalar("SELECT obj_description('t" + end + "'::regclass)") ==
          "archived by walign_m: was public.t, moved to " +
              pg::describe_conninfo(bed.target.options().conninfo) + ", table public.t_new, closed on " +
              date(bed, "YYYY-MM-DD") + ", kept until " + date(bed, "YYYY-MM-DD", 90) + "\nwhat people say");
    CHECK(bed.write(bed.source, "t" + end) == "25006");
    CHECK(bed.write(bed.source, "p" + end) == "25006");
    CHECK(bed.write(bed.source, "p1") == "25006");  // keeps its name
    CHECK(bed.write(bed.source, "log_2" + end) == "25006");
    CHECK(outcome(bed.source.app, "INSERT INTO log" + end + " VALUES (1)") == "ok");
    CHECK(bed.write(bed.source, "t") == "42P01");
    CHECK(bed.write(bed.target, "t_new") == "ok");
    CHECK(bed.plan(OldSide::archived).nothing_left());
    const auto left = text_of(things(db));
    for (const char* gone : {"schema", "publication", "slot", "relation", "walign_m"})
      CHECK(!has(left, gone));
    CHECK(has(left, "comment on p" + end));
    CHECK(refused(bed, OldSide::reopened).kind() == ErrorKind::precondition);
  }
}

TEST_CASE("an archive's name is cut at a character, and numbered where another has it") {
  FinishBed bed(false);
  const std::string wide(45, 'w');  // and from here on two characters of two bytes
  const std::string a = wide + "ä1", b = wide + "ä2", c = wide.substr(1) + "ä";
  bed.source.tables("CREATE TABLE \"" + a + "\" (id int, v text); CREATE TABLE \"" + b +
                    "\" (id int, v text); " + "CREATE TABLE \"" + c + "\" (id int, v text)");
  bed.source_tables = {{"public", a}, {"public", b}, {"public", c}};
  bed.rules = "";
  for (const auto& table : bed.source_tables)
    bed.rules += "  - public.\"" + table.name + "\": public.t_new\n";
  bed.stands(RowState::sealed, RowState::open);
  const std::string end = "_archived_" + date(bed, "YYYYMMDD");
  bed.finish(OldSide::archived);
  for (const auto& name : {wide + end, wide.substr(0, 43) + "_2" + end, wide.substr(1) + end}) {
    INFO(name);
    CHECK(bed.source.admin.scalar<bool>("SELECT to_regclass('\"" + name + "\"') IS NOT NULL"));
  }
}

TEST_CASE("with --reopen the old side takes writes again, and nothing stays") {
  for (const bool one_database : {false, true}) {
    FinishBed bed(one_database);
    bed.cut_over();
    bed.finish(OldSide::reopened);
    CHECK(text_of(things(bed.source.admin)).empty());
    CHECK(text_of(things(bed.target.admin)).empty());
    for (const char* table : {"t", "p", "log"}) CHECK(bed.write(bed.source, table) == "ok");
    CHECK(bed.write(bed.target, "t_new") == "ok");
    CHECK(bed.plan(OldSide::reopened).nothing_left());
  }
}

TEST_CASE("finish may be repeated, and what was closed can be archived or reopened later") {
  FinishBed bed(false);
  bed.cut_over();
  bed.finish(OldSide::closed);
  const auto again = bed.plan(OldSide::closed);
  CHECK(again.finished);
  CHECK(again.nothing_left());
  CHECK(bed.finish(OldSide::closed).empty());
  SECTION("archived") {
    CHECK(bed.plan(OldSide::archived).tables.size() == 3);
    CHECK(bed.finish(OldSide::archived).size() == 3);
    CHECK(bed.finish(OldSide::closed).empty());  // an archive stays one
  }
  SECTION("reopened") {
    CHECK(bed.finish(OldSide::reopened).size() == 3);
    CHECK(text_of(things(bed.source.admin)).empty());
  }
  SECTION("with the state directory lost") {
    std::filesystem::remove_all(bed.state());
    CHECK(bed.plan(OldSide::closed).nothing_left());
  }
}

TEST_CASE(
    "finish that is killed between any two steps leaves the old side closed, and comes to the same end") {
  for (const bool one_database : {false, true}) {
    for (const OldSide old_side : {OldSide::closed, OldSide::archived}) {
      FinishBed whole(one_database);
      whole.cut_over();
      const auto steps = whole.finish(old_side, 90);
      const auto want = text_of(things(whole.source.admin));
      FinishBed bed(one_database);
      bed.cut_over();
      CHECK(bed.phase() == "new");
      std::filesystem::create_directories(bed.state() + "/reverse/db");
      const std::string end = "_archived_" + date(bed, "YYYYMMDD");
      INFO(text_of(steps));
      const auto kills = kill_after_each_step(bed, old_side, [&] {
        for (const std::string table : {"t", "p", "log"}) {
          const auto was = bed.write(bed.source, table);
          CHECK((was == "25006" || (was == "42P01" && bed.write(bed.source, table + end) == "25006")));
        }
        CHECK(bed.write(bed.target, "t_new") == "ok");
        CHECK(bed.phase() == "finished");
      });
      CHECK(kills >= 9);
      CHECK(text_of(things(bed.source.admin)) == want);
      if (!one_database) CHECK(text_of(things(bed.target.admin)).empty());
      CHECK(!std::filesystem::exists(bed.state() + "/reverse"));
    }
  }
}

TEST_CASE("--reopen that is killed between any two steps comes to the same end") {
  for (const bool one_database : {false, true}) {
    FinishBed bed(one_database);
    bed.cut_over();
    CHECK(kill_after_each_step(bed, OldSide::reopened, [] {}) >= 7 - 2 * (one_database ? 1 : 0));
    CHECK(text_of(things(bed.source.admin)).empty());
    CHECK(text_of(things(bed.target.admin)).empty());
    CHECK(bed.write(bed.source, "t") == "ok");
  }
}

TEST_CASE("whatever is gone already, the rest goes") {
  const std::vector<std::pair<bool, std::string>> gone = {
      {true, "SELECT pg_drop_replication_slot('walign_m')"},
      {false, "SELECT pg_drop_replication_slot('walign_m_reverse')"},
      {true, "DROP PUBLICATION walign_m"},
      {false, "DROP PUBLICATION walign_m_reverse"},
      {true, "DELETE FROM walign.stream"},
      {false, "DELETE FROM walign.stream"},
  };
  for (std::size_t last = 0; last < gone.size(); ++last) {
    FinishBed bed(false);
    bed.cut_over();
    for (std::size_t i = last % 2; i <= last; i += 2) {
      (gone[i].first ? bed.source : bed.target).admin.exec(gone[i].second);
    }
    bed.finish(OldSide::closed);
    CHECK(text_of(things(bed.source.admin)) == kClosed);
    CHECK(text_of(things(bed.target.admin)).empty());
  }
}

TEST_CASE("another migration in the same databases is left as it is") {
  for (const bool one_database : {false, true}) {
    for (const OldSide old_side : {OldSide::closed, OldSide::archived, OldSide::reopened}) {
      FinishBed bed(one_database);
      bed.cut_over();
      bed.another();
      REQUIRE(bed.others.size() > 20);
      bed.finish(old_side);
      bed.check_others_untouched();
      for (FenceBed* side : {&bed.source, &bed.target}) {
        for (const auto& thing : things(side->admin)) {
          INFO(thing);
          CHECK((!has(thing, "walign_m") || has(thing, "walign_m2")));
        }
      }
    }
  }
}

TEST_CASE("finish is refused where nothing was cut over or a change of sides is half done") {
  FinishBed bed(false);
  bed.stands(RowState::open, RowState::closed);
  const auto before = text_of(things(bed.source.admin)) + text_of(things(bed.target.admin));
  for (const auto& [source, target, hint] :
       {std::tuple(RowState::open, RowState::closed, "walign cutover"),
        std::tuple(RowState::open, RowState::sealed, "walign cutover"),
        std::tuple(RowState::fenced, RowState::closed, "walign recover"),
        std::tuple(RowState::sealed, RowState::closed, "walign recover"),
        std::tuple(RowState::closed, RowState::fencing, "walign recover"),
        std::tuple(RowState::closed, RowState::sealed, "walign recover"),
        std::tuple(RowState::open, RowState::open, "walign recover")}) {
    bed.stands_now(source, target);
    const auto error = refused(bed);
    INFO(error.describe());
    CHECK(error.kind() == ErrorKind::precondition);
    CHECK(has(error.hint(), hint));
    CHECK(text_of(things(bed.source.admin)) + text_of(things(bed.target.admin)) == before);
    CHECK(bed.phase() == "new");
  }
  FinishBed bare(false);
  CHECK(has(refused(bare).hint(), "walign cutover"));
}

TEST_CASE(
    "a slot that is read, and a table that is held, are said with who does it, and the old side stays "
    "closed") {
  FinishBed bed(false);
  bed.cut_over();
  {
    source::SlotOptions options;
    options.connection = bed.target.options();
    options.slot = "walign_m_reverse";
    options.publications = {"walign_m_reverse"};
    const auto reader = source::open_slot(options);
    const auto error = refused(bed);
    CHECK(error.kind() == ErrorKind::precondition);
    CHECK(has(error.message(), "slot walign_m_reverse is being read by pid"));
    CHECK(bed.phase() == "new");
  }
  REQUIRE(eventually_true([&] {
    return bed.target.admin.scalar<int>("SELECT count(*)::int FROM pg_replication_slots WHERE active") == 0;
  }));
  Sql reader = bed.source.as("app");
  reader.exec("BEGIN; SELECT count(*) FROM t");
  for (const OldSide old_side : {OldSide::closed, OldSide::archived, OldSide::reopened}) {
    const auto error = refused(bed, old_side);
    INFO(error.describe());
    CHECK(error.kind() == ErrorKind::precondition);
    CHECK(has(error.message(), "public.t; held by pid " + std::to_string(reader.backend_pid())));
    CHECK(bed.write(bed.source, "t") == "25006");
  }
  reader.exec("COMMIT");
  bed.finish(OldSide::archived);
  CHECK(text_of(things(bed.target.admin)).empty());
}

TEST_CASE("what walign's role may not do is said as the GRANT that it takes, before anything is done") {
  FinishBed bed(false);
  bed.cut_over();
  bed.source.admin.exec("REVOKE CREATE ON SCHEMA public FROM owner; ALTER TABLE log OWNER TO app");
  const auto error = refused(bed, OldSide::archived);
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(has(error.hint(), "GRANT app TO mover;  -- public.log"));
  CHECK(has(error.hint(), "GRANT CREATE ON SCHEMA \"public\" TO mover;  -- public.t"));
  CHECK(bed.phase() == "new");
  bed.source.admin.exec("ALTER TABLE log OWNER TO owner; GRANT CREATE ON SCHEMA public TO mover");
  bed.finish(OldSide::archived);
}

TEST_CASE("finish that waits for a table is interrupted at once, and run again") {
  FinishBed bed(false);
  bed.cut_over();
  bed.attempts = 1000;
  Sql reader = bed.source.as("app");
  reader.exec("BEGIN; SELECT count(*) FROM p");
  Interrupt interrupt;
  std::thread later([&] {
    eventually_true([&] {
      return bed.source.admin.scalar<int>("SELECT count(*)::int FROM pg_locks WHERE NOT granted") > 0;
    });
    interrupt.raise();
  });
  try {
    bed.finish(OldSide::closed, {}, {}, &interrupt);
    CHECK(false);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::interrupted);
  }
  later.join();
  CHECK(bed.write(bed.source, "p") == "25006");
  reader.exec("COMMIT");
  bed.finish(OldSide::closed);
  CHECK(text_of(things(bed.source.admin)) == kClosed);
}

TEST_CASE("where a connection is lost in the middle, the same command goes on") {
  FinishBed bed(false);
  bed.cut_over();
  try {
    bed.finish(OldSide::closed, {}, [&] { bed.target.server().cut_connections(); });
    CHECK(false);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::connection);
    CHECK(has(error.hint(), "walign finish"));
  }
  bed.target.admin.reconnect();
  bed.finish(OldSide::closed);
  CHECK(text_of(things(bed.source.admin)) == kClosed);
  CHECK(text_of(things(bed.target.admin)).empty());
}

TEST_CASE("what goes for ever is said before anybody is asked") {
  FinishBed bed(false);
  bed.cut_over();
  for (const auto& [side, stream] :
       {std::pair(&bed.target, "walign_m"), std::pair(&bed.source, "walign_m_reverse")}) {
    side->admin.exec(
        std::string("INSERT INTO walign.dead_letter (stream, route, relation, key, key_bytes, commit_lsn, "
                    "operation, error, sqlstate, event) VALUES ('") +
        stream + "', 'r', 'r', 'k', '', '0/1', 'INSERT', 'e', '23505', '')");
  }
  bed.write(bed.source, "t");
  const auto plan = bed.plan(OldSide::archived);
  REQUIRE(plan.lost.size() == 3);
  CHECK(has(plan.lost[0], "the way back"));
  CHECK(has(plan.lost[1], "dead letters: changes of the source that could not be applied on the target: 1"));
  CHECK(
      has(plan.lost[2],
          "dead letters: changes that the way back could not apply, or that were written past the fence: 1"));
  CHECK(has(text_of(plan.stays), "Statements that it has refused: 1"));
  for (const char* thing : {"source: slot walign_m", "target: slot walign_m_reverse",
                            "source: publication walign_m", "source: publication walign_m_inserts",
                            "target: publication walign_m_reverse", "source: stream walign_m_reverse",
                            "target: stream walign_m", "source: the fence", "target: the fence"}) {
    INFO(thing);
    CHECK(has(text_of(plan.goes), thing));
  }
  REQUIRE(plan.tables.size() == 3);
  CHECK(plan.tables[1].table.name == "p");
  CHECK(plan.tables[1].partitioned);
  CHECK(plan.tables[1].archive_name == "p_archived_" + date(bed, "YYYYMMDD"));
}
