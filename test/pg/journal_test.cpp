// The journal on real servers: a target restored from an older backup is caught up from it alone, whatever dies; one
// that it does not reach is refused; what was kept can be replayed.
#include <csignal>

#include "pg/backup.hpp"
#include "support/catch.hpp"
#include "support/frames.hpp"
#include "support/load.hpp"
#include "support/migration_files.hpp"
#include "support/temporary_directory.hpp"
#include "walign/source.hpp"

using namespace walign::test;

namespace {

struct Operator {
  explicit Operator(const std::string& more = "")
      : files{"shop", source.url("app"), target.url("app"), kRules, "http: \"\"\n" + more} {
    for (Sql* db : {&from, &to}) {
      db->exec("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, n bigint)");
    }
    from.exec("INSERT INTO t SELECT i, 'old ' || i FROM generate_series(1, 500) i");
  }
  Finished operator()(const std::vector<std::string>& args) const {
    return run(files.command(args), {}, 60s);
  }
  void catch_up(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {"run", "--until-caught-up"};
    args.insert(args.end(), more.begin(), more.end());
    const auto done = (*this)(args);
    INFO(done.err);
    REQUIRE(done.code == 0);
  }
  // `count` transactions of all kinds; ids of u are consecutive.
  void write(int count) {
    for (int i = 0; i < count; ++i) {
      const std::string id = std::to_string(++last_);
      from.exec("BEGIN; INSERT INTO u VALUES (" + id + ", 0); UPDATE t SET v = v || '+' WHERE id = 1 + " +
                id + " % 500; UPDATE u SET n = n + 1 WHERE id = " + id +
                " / 2; DELETE FROM t WHERE id = " + id + " / 7; COMMIT");
    }
  }
  bool equal() {
    from.reconnect();
    to.reconnect();
    std::string differences;
    for (const char* table : {"t", "u"}) {
      const auto result = compare_same(from, to, table);
      if (!result.equal()) differences += result.report();
    }
    if (!differences.empty()) WARN(differences);
    return differences.empty();
  }
  std::string position() { return to.scalar<std::string>("SELECT position::text FROM walign.stream"); }
  bool slot_is_past(const std::string& lsn) {
    return from.scalar<bool>("SELECT confirmed_flush_lsn > '" + lsn + "' FROM pg_replication_slots");
  }
  // The ids of u that the journal's transactions insert, in order.
  [[nodiscard]] std::vector<int> journalled() const {
    std::vector<int> ids;
    const auto reach = walign::state::journal_reach(files.state());
    const auto kept = walign::source::open_journal(files.state(), reach.from);
    while (auto item = kept->next(0ms)) {
      const auto* part = std::get_if<walign::event::TransactionPart>(&*item);
      if (part == nullptr) continue;
      for (const auto& change : part->tx().changes()) {
        if (change.kind() != walign::v1::Change::INSERT) continue;
        if (part->relations().at(change.relation())->name() != "u") continue;
        walign::event::for_each_value(change.new_row(), [&](int i, const walign::event::Value& value) {
          if (i == 0) ids.push_back(std::stoi(std::string(value.bytes)));
        });
      }
    }
    return ids;
  }
  [[nodiscard]] std::vector<int> all() const {
    std::vector<int> ids;
    for (int i = 1; i <= last_; ++i) ids.push_back(i);
    return ids;
  }

  static constexpr const char* kRules = "  - public.t\n  - public.u\n";
  Server source{{.name = "source"}};
  Server target{{.name = "target"}};
  Sql from = source.create_database("app");
  Sql to = target.create_database("app");
  MigrationFiles files;

 private:
  int last_ = 0;
};

}  // namespace

TEST_CASE("a target restored from a backup taken during the run is caught up from the journal alone") {
  Operator walign;
  auto running = std::make_unique<Process>(walign.files.command({"run"}));
  REQUIRE(eventually([&] {
    return running->wait_for_output("streaming", 20s) &&
           walign.to.scalar<bool>("SELECT count(*) = 2 AND bool_and(complete) FROM walign.copy");
  }));
  walign.write(50);
  Backup backup(walign.target);
  walign.write(50);
  const auto status = walign({"status", "--json"});
  CHECK(has(status.out, "\"to_lsn\": \"0/"));
  CHECK_FALSE(has(status.out, "\"age_seconds\": null"));
  CHECK(has(walign({"status"}).out, "journal       from 0/"));
  running->signal(SIGTERM);
  running->wait();
  walign.catch_up();
  REQUIRE(walign.equal());
  SECTION("a clean stop before it") {}
  SECTION("a kill before it, with more that nobody has") {
    running = std::make_unique<Process>(walign.files.command({"run"}));
    REQUIRE(running->wait_for_output("streaming"));
    walign.write(30);
    running->kill();
    walign.write(5);
  }
  backup.restore();
  walign.to.reconnect();
  const std::string then = walign.position();
  CHECK(walign.slot_is_past(then));
  CHECK_FALSE(walign.to.scalar<int>("SELECT count(*)::int FROM u") >= 100);
  const auto listed = walign({"checkpoints", "list"});
  CHECK(has(listed.out, "in journal"));
  CHECK(has(listed.out, "the journal goes from"));

  const auto done = walign({"run", "--until-caught-up"});
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(has(done.err, "the target went back in time: it is at " + then));
  CHECK(has(done.err, "catching the target up from the journal"));
  CHECK(walign.equal());
  CHECK(walign.journalled() == walign.all());
  walign.write(10);
  walign.catch_up();
  CHECK(walign.equal());
}

TEST_CASE("a catching up that is killed again and again goes on") {
  Operator walign;
  walign.catch_up();
  Backup backup(walign.target);
  walign.write(1500);
  walign.catch_up();
  backup.restore();
  for (int kill = 0; kill < 6; ++kill) {
    Process running(walign.files.command({"run"}));
    running.wait_for_output("catching the target up", 10s);
    std::this_thread::sleep_for(Millis(15 * kill));
    running.kill();
  }
  walign.catch_up();
  CHECK(walign.equal());
  CHECK(walign.journalled() == walign.all());
}

TEST_CASE("whatever kills walign, the journal has every transaction once, in order") {
  Operator walign;
  walign.catch_up();
  for (int kill = 0; kill < 8; ++kill) {
    Process running(walign.files.command({"run"}));
    walign.write(20);
    std::this_thread::sleep_for(Millis(60 * kill));
    walign.write(20);
    if (kill % 3 == 2) walign.target.restart_immediate();
    running.kill();
  }
  walign.catch_up();
  CHECK(walign.equal());
  CHECK(walign.journalled() == walign.all());
}

TEST_CASE("a journal that does not reach back to the backup is refused with how to go on") {
  Operator walign("journal: { keep: 1KiB }\n");
  walign.catch_up();
  Backup backup(walign.target);
  for (int i = 0; i < 3; ++i) {
    // What does not compress: more than a segment each time.
    walign.from.exec("INSERT INTO t SELECT " + std::to_string(10'000 + i * 10'000) +
                     " + i, md5(i::text) || md5((i + 1)::text) || random() FROM generate_series(1, 3000) i");
    walign.catch_up();
  }
  backup.restore();
  walign.to.reconnect();
  const auto refused = walign({"run", "--until-caught-up"});
  CHECK(refused.code == 3);
  CHECK(has(refused.err, "the target went back in time"));
  CHECK(has(refused.err, "the journal goes from"));
  CHECK(has(refused.err, "restore the target to a position that the journal has"));
  CHECK(walign.to.scalar<int>("SELECT count(*)::int FROM t") == 500);
  const auto listed = walign({"checkpoints", "list"});
  CHECK(has(listed.out, "  -\n"));
  CHECK(has(listed.out, "  yes\n"));
}

TEST_CASE("a target of which the tables alone were restored goes on where the operator says that they are") {
  Operator walign;
  walign.catch_up();
  walign.write(40);
  walign.catch_up();
  const std::string then = walign.position();
  walign.to.exec("CREATE TABLE t_then AS TABLE t; CREATE TABLE u_then AS TABLE u");
  walign.write(40);
  walign.catch_up();
  const auto ahead = walign({"rewind", "--to", then});
  CHECK(ahead.code == 3);
  CHECK(has(ahead.err, "would be written twice"));

  walign.to.exec(
      "TRUNCATE t, u; INSERT INTO t TABLE t_then; INSERT INTO u TABLE u_then; DROP TABLE t_then, u_then; "
      "DROP SCHEMA walign CASCADE");
  const auto refused = walign({"run", "--until-caught-up"});
  CHECK(refused.code == 3);
  const auto unanswered = walign({"rewind", "--to", then});
  CHECK(unanswered.code == 2);
  CHECK(has(unanswered.err, "does not say where it is"));
  CHECK(walign({"rewind", "--to", "0/1", "--yes"}).code == 3);
  CHECK(walign({"rewind", "--to-time", "2001-01-01T00:00:00Z", "--yes"}).code == 3);
  CHECK(walign({"rewind", "--yes"}).code == 2);
  const auto rewound = walign({"rewind", "--to", then, "--yes"});
  INFO(rewound.err);
  REQUIRE(rewound.code == 0);
  CHECK(has(rewound.out, "the next run goes on from " + then + "; start it with --no-backfill"));
  walign.catch_up({"--no-backfill"});
  CHECK(walign.equal());
  const std::string now = walign.position();
  CHECK(has(walign({"rewind", "--to", then}).err, "further than"));
  CHECK(walign({"rewind", "--to", now}).code == 0);
  walign.write(5);
  walign.catch_up({"--no-backfill"});
  CHECK(walign.equal());
}

TEST_CASE("the journal and a capture are replayed: to nothing, and once to a target however often") {
  Operator walign;
  TemporaryDirectory directory;
  const std::string capture = directory / "capture";
  walign.from.exec("TRUNCATE t");  // what is recorded begins with empty tables
  walign.catch_up();
  REQUIRE(walign({"capture", capture, "--until-caught-up"}).code == 0);
  walign.write(60);
  walign.catch_up();
  REQUIRE(walign({"capture", capture, "--until-caught-up"}).code == 0);

  const auto nothing = walign({"replay", "journal", "--to", "null"});
  INFO(nothing.err);
  CHECK(nothing.code == 0);
  CHECK(has(nothing.out, "changes/s"));
  CHECK(has(walign({"replay", capture, "--to", "null", "--json"}).out, "\"transactions\""));
  const auto steps = run({WALIGN_EXAMPLE, capture});
  INFO(steps.err);
  CHECK(has(steps.out, ", 2 rows of u\n"));
  const auto events = walign({"events", "journal"});
  CHECK(has(events.out, R"({"op":"insert","table":"public.u","new":{"id":"60","n":"0"}})"));
  const std::string exported = directory / "exported";
  CHECK(walign({"capture", exported, "--from-journal"}).code == 0);
  CHECK(walign({"events", exported}).out == events.out);
  CHECK(walign({"capture", exported, "--from-journal"}).code == 3);  // it is not empty

  Sql replica = walign.target.create_database("replica");
  replica.exec("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, n bigint)");
  const MigrationFiles into("shop", walign.source.url("app"), walign.target.url("replica"), Operator::kRules);
  const auto check_equal = [&] {
    for (const char* table : {"t", "u"}) {
      const auto result = compare_same(walign.to, replica, table);
      INFO(result.report());
      CHECK(result.equal());
    }
  };
  const auto replay = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = {"replay", capture, "--to", "target"};
    args.insert(args.end(), more.begin(), more.end());
    const auto done = run(into.command(args), {}, 60s);
    INFO(done.err);
    CHECK(done.code == 0);
    return done.out;
  };
  for (const char* fault : {"drop", "repeat", "truncate"}) {
    replica.exec("TRUNCATE t, u; DROP SCHEMA IF EXISTS walign CASCADE");
    replay({"--break-at", "17", "--break", fault});
    if (std::string(fault) != "truncate") check_equal();
  }
  CHECK(replica.scalar<int>("SELECT count(*)::int FROM u") < 20);
  replay({});
  check_equal();
  CHECK(has(replay({}), "with 0 changes"));
  check_equal();
  const auto from_journal = run(into.command({"replay", "journal", "--to", "target"}), {}, 60s);
  CHECK(from_journal.code == 3);  // that migration has none
  CHECK(walign({"replay", directory / "none", "--to", "null"}).code == 3);
}

TEST_CASE("values in binary form, which only another program records, are printed and not applied") {
  Operator walign;
  TemporaryDirectory directory;
  const std::string capture = directory / "capture";
  {
    walign::v1::CaptureHeader origin;
    origin.set_protocol_version(1);
    const auto writer = walign::state::CaptureWriter::open(
        capture, origin, walign::Lsn(1), walign::state::kCaptureSegmentBytes, [](const std::string&) {});
    for (auto& recorded : frames::read("pg15-v1-binary")) {
      walign::v1::CaptureFrame frame;
      frame.set_payload(std::move(recorded.payload));
      writer->add(std::move(frame));
    }
    writer->sync();
  }
  CHECK(has(walign({"events", capture}).out, R"("new":{"id":{"hex":"00000001"})"));
  const auto refused = walign({"replay", capture, "--to", "target"});
  CHECK(refused.code == 3);
  CHECK(has(refused.err, "binary form"));
  CHECK(has(refused.err, "capture again with `walign capture`"));
}
