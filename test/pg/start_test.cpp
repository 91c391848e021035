// Starts that must not take place: each is refused with the right kind of error, says what to do, and leaves
// nothing behind on either server. And starts that must wait.
#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "support/migration.hpp"
#include "support/proxy.hpp"

using namespace walign;
using namespace walign::test;

namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A run that ends with this kind of error; its message has `words`, its hint `remedy`.
Error refused(const Migration& m, ErrorKind kind, const std::string& words, const std::string& remedy,
              bool no_backfill = false) {
  Run run(m, {}, no_backfill);
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == kind);
  CHECK(has(error->message(), words));
  CHECK(has(error->message() + error->hint(), remedy));
  CHECK_FALSE(error->hint().empty());
  return *error;
}

bool nothing_left(Sql& source, Sql& target) {
  const auto left = [](Sql& db, const std::string& sql) {
    return db.scalar<int>("SELECT count(*) FROM " + sql);
  };
  CHECK(left(source, "pg_publication") == 0);
  CHECK(left(source, "pg_replication_slots WHERE database = current_database()") == 0);
  CHECK(left(target, "pg_namespace WHERE nspname = 'walign'") == 0);
  return left(source, "pg_publication") + left(target, "pg_namespace WHERE nspname = 'walign'") == 0;
}

constexpr const char* kTable = "CREATE TABLE t (id int PRIMARY KEY, v text)";

struct OneTable {
  OneTable() {
    m.both(kTable);
    m.tables = "  - public.t\n";
  }
  Migration m;
};

// A database with the table on a server of its own, which takes the place of the migration's source or target.
struct Own {
  explicit Own(ServerOptions options) : server(std::move(options)), sql(server.create_database("app")) {
    sql.exec(kTable);
  }
  [[nodiscard]] std::string url(const std::string& role) const {
    std::string url = server.url("app");
    return url.replace(url.find("postgres@"), 8, role);
  }
  Server server;
  Sql sql;
};

// What is printed to stderr while it lives.
class Stderr {
 public:
  Stderr() : path_("/tmp/walign-test-stderr-" + std::to_string(getpid())), old_(dup(2)) {
    const int file = open(path_.c_str(), O_CREAT | O_TRUNC | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
    dup2(file, 2);
    close(file);
  }
  ~Stderr() {
    dup2(old_, 2);
    close(old_);
    fs::remove(path_);
  }
  [[nodiscard]] std::string text() const {
    std::ifstream file(path_);
    std::ostringstream out;
    out << file.rdbuf();
    return out.str();
  }

 private:
  std::string path_;
  int old_;
};

// A server made by pg_basebackup of another one, following it.
void make_standby(Server& standby, const Server& primary) {
  const auto data = standby.data_directory();
  std::ifstream file(data / "postgresql.conf");
  std::ostringstream settings;
  settings << file.rdbuf();
  fs::remove_all(data);
  const std::string user = geteuid() == 0 ? "postgres" : "";
  const auto done = test::run(
      {Server::program("pg_basebackup"), "-R", "-c", "fast", "-D", data.string(), "-d", primary.conninfo()},
      {.directory = standby.directory().string(), .user = user}, 60s);
  if (done.code != 0) throw std::runtime_error(done.err);
  std::ofstream(data / "postgresql.conf", std::ios::trunc) << settings.str();
  standby.start();
}

}  // namespace

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
  Server standby({.name = "standby", .start = false});
  make_standby(standby, own.server);
  SECTION("as the source") {
    one.m.source_url = standby.url("app");
    refused(one.m, ErrorKind::precondition, "the source is a standby", "primary's address");
    CHECK(nothing_left(own.sql, one.m.target));
  }
  SECTION("as the target") {
    one.m.target_url = standby.url("app");
    refused(one.m, ErrorKind::precondition, "the target is a standby", "primary's address");
    CHECK(nothing_left(one.m.source, own.sql));
  }
}

TEST_CASE("a promoted standby of the source is another timeline and refused") {
  OneTable one;
  Own own({.name = "primary"});
  one.m.source_url = own.url("postgres");
  {
    Run run(one.m);
    run.wait_until_streaming();
    own.sql.exec("INSERT INTO t VALUES (1, 'a')");
    run.catch_up(own.sql);
    run.stop();
  }
  Server standby({.name = "standby", .start = false});
  make_standby(standby, own.server);
  own.server.stop();
  Sql promoted = standby.connect("app");
  promoted.exec("SELECT pg_promote()");
  one.m.source_url = standby.url("app");
  refused(one.m, ErrorKind::precondition, "timeline", "walign remove");
  promoted.exec("SELECT pg_create_logical_replication_slot('" + one.m.stream() + "', 'pgoutput')");
  refused(one.m, ErrorKind::precondition, "timeline", "walign remove");
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

TEST_CASE("a target that was restored from an older copy is refused") {
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
  refused(m, ErrorKind::precondition, "went back in time", "walign remove");
  fs::remove_all(m.state);  // the slot knows as well
  refused(m, ErrorKind::precondition, "has moved on", "walign remove");
}

TEST_CASE("a slot that was dropped, advanced, or is not ours is refused") {
  OneTable one;
  auto& m = one.m;
  const std::string slot = quote_literal(m.stream());
  SECTION("not ours") {
    m.source.exec("SELECT pg_create_logical_replication_slot(" + slot + ", 'pgoutput')");
    refused(m, ErrorKind::precondition, "exists on the source, but the target has no stream", "slot: ");
    CHECK(m.source.scalar<int>("SELECT count(*) FROM pg_publication") == 0);
    CHECK(m.target.scalar<int>("SELECT count(*) FROM pg_namespace WHERE nspname = 'walign'") == 0);
    return;
  }
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

TEST_CASE("a state directory belongs to one migration and one process") {
  OneTable one;
  OneTable other;
  Run run(one.m);
  run.wait_until_streaming();
  other.m.state = one.m.state;
  const auto kind_of = [](const Migration& m) {
    try {
      const Run second(m);
      return ErrorKind::bug;
    } catch (const Error& error) {
      CHECK_FALSE(error.hint().empty());
      return error.kind();
    }
  };
  CHECK(kind_of(one.m) == ErrorKind::precondition);
  CHECK(kind_of(other.m) == ErrorKind::precondition);
  run.stop();
  CHECK(kind_of(other.m) == ErrorKind::precondition);
  CHECK(nothing_left(other.m.source, other.m.target));
  other.m.state += "-other";
}

TEST_CASE("a second sidecar of the same migration waits for the first to end, and doubles nothing") {
  OneTable one;
  auto& m = one.m;
  const auto first_state = m.state;
  auto first = std::make_unique<Run>(m);
  first->wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'a')");
  first->catch_up(m.source);
  m.state += "-second";
  {
    Run second(m);
    REQUIRE(eventually([&] { return has(second.status().last_error, "is being read"); }));
    m.source.exec("INSERT INTO t VALUES (2, 'b')");
    first->catch_up(m.source);
    CHECK_FALSE(second.done());
    CHECK(*first->status().epoch == 1);
    first->stop();
    m.source.exec("INSERT INTO t VALUES (3, 'c')");
    second.catch_up(m.source);
    CHECK(m.equal("t"));
    second.stop();
  }
  fs::remove_all(m.state);
  m.state = first_state;
  first.reset();
  Run again(m);  // its directory is behind the target by now
  m.source.exec("INSERT INTO t VALUES (4, 'd')");
  again.catch_up(m.source);
  CHECK(m.equal("t"));
}

TEST_CASE("several that start the same migration at once make it once") {
  OneTable one;
  auto& m = one.m;
  const auto state = m.state;
  std::vector<std::unique_ptr<Run>> runs;
  for (int i = 0; i < 3; ++i) {
    m.state = state.string() + "-" + std::to_string(i);
    fs::remove_all(m.state);
    runs.push_back(std::make_unique<Run>(m));
  }
  const auto streaming = [&] {
    return std::count_if(runs.begin(), runs.end(), [](const auto& r) { return r->status().connected; });
  };
  CHECK(eventually([&] { return streaming() == 1; }));
  m.source.exec("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i");
  CHECK(eventually([&] { return m.target.scalar<int>("SELECT count(*) FROM t") == 100; }));
  CHECK(m.equal("t"));
  for (const auto& run : runs) CHECK_FALSE(run->done());
  runs.clear();
  for (int i = 0; i < 3; ++i) fs::remove_all(state.string() + "-" + std::to_string(i));
  m.state = state;
}

TEST_CASE("an old instance that wakes up commits nothing after a new one has begun") {
  OneTable one;
  auto& m = one.m;
  Proxy source(source_server().port());
  Proxy target(target_server().port());
  source_server().set("wal_sender_timeout", "2s");
  const auto direct = std::pair(m.source_url, m.target_url);
  m.source_url = source.url(source_server(), m.source.scalar("SELECT current_database()"));
  m.target_url = target.url(target_server(), m.target.scalar("SELECT current_database()"));
  Run old_one(m);
  old_one.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'a')");
  old_one.catch_up(m.source);
  // The old one has row 2 in its hands and cannot write it.
  target.freeze();
  m.source.exec("INSERT INTO t VALUES (2, 'b')");
  std::this_thread::sleep_for(1s);
  source.freeze();
  std::tie(m.source_url, m.target_url) = direct;
  const auto first_state = m.state;
  m.state += "-new";
  {
    Run new_one(m);
    new_one.catch_up(m.source);
    CHECK(m.target.scalar<int>("SELECT count(*) FROM t") == 2);
    m.source.exec("UPDATE t SET v = v || '!'");
    new_one.catch_up(m.source);
    target.thaw();
    source.thaw();
    REQUIRE(eventually([&] { return old_one.done() || !old_one.status().last_error.empty(); }));
    std::this_thread::sleep_for(1s);
    m.source.exec("UPDATE t SET v = v || '?'");
    new_one.catch_up(m.source);
    CHECK(m.equal("t"));
    CHECK_FALSE(old_one.status().connected);
  }
  source_server().set("wal_sender_timeout", "60s");
  fs::remove_all(m.state);
  m.state = first_state;
}

TEST_CASE("making the slot waits for running transactions and says for which") {
  OneTable one;
  auto& m = one.m;
  Sql busy(m.source.conninfo());
  busy.exec("CREATE TABLE other (id int); BEGIN; INSERT INTO other VALUES (1)");
  const std::string pid = "pid " + std::to_string(busy.backend_pid()) + " ";
  const Stderr log;
  SECTION("an open one") {
    Run run(m);
    CHECK(eventually([&] { return has(log.text(), pid); }));
    CHECK(has(log.text(), "INSERT INTO other"));
    CHECK_FALSE(run.status().connected);
    busy.exec("COMMIT");
    run.wait_until_streaming();
  }
  SECTION("an open one, seen by a role that sees little") {
    const std::string role = "w" + std::to_string(getpid());
    m.source.exec("CREATE ROLE " + role + " LOGIN REPLICATION; ALTER TABLE t OWNER TO " + role +
                  "; GRANT CREATE ON DATABASE " + m.source.scalar("SELECT current_database()") + " TO " +
                  role);
    m.source_url.replace(m.source_url.find("postgres@"), 8, role);
    {
      Run run(m);
      CHECK(eventually([&] { return has(log.text(), pid); }));
      busy.exec("COMMIT");
      run.wait_until_streaming();
      run.stop();
    }
    m.source.exec("SELECT pg_drop_replication_slot('" + m.stream() + "'); DROP OWNED BY " + role +
                  "; DROP ROLE " + role);
  }
  SECTION("a prepared one") {
    busy.exec("PREPARE TRANSACTION 'in two phases'");
    Run run(m);
    CHECK(eventually([&] { return has(log.text(), "prepared transaction in two phases"); }));
    busy.exec("COMMIT PREPARED 'in two phases'");
    run.wait_until_streaming();
  }
  SECTION("stopped while it waits, it leaves nothing") {
    {
      Run run(m);
      CHECK(eventually([&] { return has(log.text(), pid); }));
      run.stop();
    }
    busy.exec("COMMIT");
    CHECK(nothing_left(m.source, m.target));
  }
  SECTION("the source's connection is cut while it waits: it begins again") {
    Run run(m);
    CHECK(eventually([&] { return has(log.text(), pid); }));
    m.source.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '" +
                  m.stream() + "%'");
    busy.exec("COMMIT");
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t VALUES (1, 'a')");
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
  SECTION("the target's connection is cut while it waits: it begins again") {
    Run run(m);
    CHECK(eventually([&] { return has(log.text(), pid); }));
    m.target.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '" +
                  m.stream() + "%'");
    busy.exec("COMMIT");
    run.wait_until_streaming();
    m.source.exec("INSERT INTO t VALUES (1, 'a')");
    run.catch_up(m.source);
    CHECK(m.equal("t"));
  }
}

TEST_CASE("a row that commits while the slot is made is refused like one that was there") {
  OneTable one;
  auto& m = one.m;
  Sql busy(m.source.conninfo());
  busy.exec("BEGIN; INSERT INTO t VALUES (1, 'old')");
  {
    Run run(m);
    REQUIRE(eventually([&] { return m.source.scalar<int>("SELECT count(*) FROM pg_publication") == 1; }));
    std::this_thread::sleep_for(300ms);
    busy.exec("COMMIT");
    const auto error = run.wait();
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK(has(error->message(), "public.t on the source already has rows"));
  }
  CHECK(nothing_left(m.source, m.target));
}
