// Starts that must wait: for another walign of the same migration, and for the source's running transactions.
#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "pg/start_test.hpp"
#include "support/proxy.hpp"

using namespace walign;
using namespace walign::test;

namespace fs = std::filesystem;

namespace {

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

}  // namespace

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

TEST_CASE("what another one has half made at its start is waited for, not judged") {
  OneTable one;
  auto& m = one.m;
  Sql other(m.target.conninfo());
  other.exec("SELECT pg_advisory_lock(hashtext('walign start'), hashtext('" + m.stream() + "'))");
  m.source.exec("CREATE PUBLICATION " + m.stream());  // its table comes next
  Run run(m);
  REQUIRE(
      eventually([&] { return run.done() || has(run.status().last_error, "another walign is starting"); }));
  CHECK_FALSE(run.done());
  m.source.exec("DROP PUBLICATION " + m.stream());
  other.exec("SELECT pg_advisory_unlock_all()");
  run.wait_until_streaming();
  m.source.exec("INSERT INTO t VALUES (1, 'a')");
  run.catch_up(m.source);
  CHECK(m.equal("t"));
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
  SECTION("a connection is cut while it waits: it begins again") {
    Sql& side = GENERATE(true, false) ? m.source : m.target;
    Run run(m);
    CHECK(eventually([&] { return has(log.text(), pid); }));
    side.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '" +
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
