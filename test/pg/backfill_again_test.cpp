// Rows of a complete table that are read again, and target tables that have rows before their copy begins.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <future>
#include <random>

#include "support/copying.hpp"

using namespace walign;
using namespace walign::test;

namespace {

using Keys = std::vector<std::vector<std::string>>;

// The copy, which between two batches also does what a test asks for, once its tables are complete.
class Meddling final : public stream::Companion {
 public:
  using Deed = std::function<void(stream::Companion&)>;

  void start(const Session& session) override { inner_->start(session); }
  void stop() override { inner_->stop(); }
  bool active() const override { return inner_->active(); }
  std::optional<Judgement> judge(const event::TransactionPart& part, Xid xid) override {
    return inner_->judge(part, xid);
  }
  void committed(Lsn position, Lsn reached, std::optional<Xid> next) override {
    inner_->committed(position, reached, next);
    const std::lock_guard lock(mutex_);
    if (!deed_ || (!while_active_ && inner_->active())) return;
    std::exchange(deed_, nullptr)(*inner_);
    ++done_;
  }
  Lsn awaited() const override { return inner_->awaited(); }
  void wait(std::chrono::milliseconds timeout) override { inner_->wait(timeout); }
  void check() override { inner_->check(); }
  void report(stream::Status& status) const override { inner_->report(status); }
  void pause(bool paused) override { inner_->pause(paused); }
  void lag(std::int64_t bytes) override { inner_->lag(bytes); }
  void take_again(int route, const Keys& keys) override { inner_->take_again(route, keys); }

  void ask(Deed deed, bool while_active = false) {
    const std::lock_guard lock(mutex_);
    deed_ = std::move(deed);
    while_active_ = while_active;
  }
  [[nodiscard]] int done() const { return done_.load(); }

 private:
  const std::unique_ptr<stream::Companion> inner_ = backfill::make(false);
  std::mutex mutex_;
  Deed deed_;
  bool while_active_ = false;
  std::atomic<int> done_{0};
};

class MeddledRun : public Run {
 public:
  explicit MeddledRun(const Migration& m) : MeddledRun(m, new Meddling) {}
  void wait_until_copied() {
    REQUIRE(eventually([&] { return done() || (status().connected && status().phase == "streaming"); }, 60s));
    throw_if_failed();
  }
  void between_batches(Meddling::Deed deed, bool while_active = false) {
    const int before = meddling_->done();
    meddling_->ask(std::move(deed), while_active);
    Sql source(source_conninfo_);
    REQUIRE(eventually(
        [&] {
          source.exec("SELECT pg_logical_emit_message(true, 'test', 'so that there is a batch')");
          return done() || meddling_->done() > before;
        },
        60s, 2ms));
    throw_if_failed();
  }

 private:
  MeddledRun(const Migration& m, Meddling* made)
      : Run(m, {}, false, std::unique_ptr<stream::Companion>(made)),
        meddling_(made),
        source_conninfo_(m.source.conninfo()) {}
  Meddling* meddling_;  // the base's
  const std::string source_conninfo_;
};

// Two tables under load: one whose key sorts as the source says and not as its bytes do, with another unique index on
// the target; one behind a filter and under another key.
struct Wrong {
  Wrong() {
    m.both("CREATE TABLE t (a text COLLATE \"en-x-icu\", b int, v int, u int, PRIMARY KEY (a, b))");
    m.target.exec("CREATE UNIQUE INDEX ON t (u)");
    m.source.exec("INSERT INTO t SELECT chr(97 + i % 26) || i, i, 0, i FROM generate_series(1, 600) i");
    m.source.exec(
        "CREATE TABLE s (id int PRIMARY KEY, v int); INSERT INTO s SELECT i, 0 FROM "
        "generate_series(1, 600) i");
    m.target.exec(
        "CREATE TABLE d (old_id bigint PRIMARY KEY, v int, kind text DEFAULT 'ours'); INSERT INTO d "
        "VALUES (-1, 0, 'another')");
    m.tables =
        "  - public.t\n"
        "  - { from: public.s, to: public.d, key: [old_id], where: v % 5 <> 4, target_where: kind = 'ours', "
        "columns: { old_id: id } }\n";
    m.more = "backfill: { chunk_rows: 100 }\n";
  }
  // Rows changed, removed and added by hand, and their keys.
  Keys spoil_t(std::mt19937& random) const {
    Sql target(m.target.conninfo());
    Keys keys;
    for (int i = 0; i < 12; ++i) {
      const int b = 1 + static_cast<int>(random() % 650);
      const std::string a(1, static_cast<char>('a' + b % 26));
      const auto key = a + std::to_string(b);
      const auto is = "a = '" + key + "' AND b = " + std::to_string(b);
      target.exec(i % 3 == 0 ? "DELETE FROM t WHERE " + is
                  : i % 3 == 1
                      ? "UPDATE t SET v = -77, u = -" + std::to_string(b) + " WHERE " + is
                      : "INSERT INTO t VALUES ('" + key + "', " + std::to_string(b) + ", -78, " +
                            std::to_string(-1000 - b) + ") ON CONFLICT (a, b) DO UPDATE SET v = -79");
      keys.push_back({key, std::to_string(b)});
    }
    keys.push_back(keys.front());  // twice is once
    return keys;
  }
  Keys spoil_d() const {
    Sql target(m.target.conninfo());
    target.exec(
        "UPDATE d SET v = -77 WHERE old_id IN (7, 8); DELETE FROM d WHERE old_id IN (600, 11);"
        "INSERT INTO d VALUES (5000, 1) ON CONFLICT DO NOTHING");
    return {{"7"}, {"8"}, {"600"}, {"11"}, {"5000"}, {"13"}};
  }
  void check_equal() {
    CHECK(m.equal("t"));
    CHECK(m.equal("SELECT id::bigint, v, 'ours' FROM s WHERE v % 5 <> 4 UNION ALL SELECT -1, 0, 'another'",
                  "SELECT old_id, v, kind FROM d"));
  }
  std::unique_ptr<Writer> writer() const {
    return std::make_unique<Writer>(
        m.source.conninfo(),
        [n = 0](Sql& sql) mutable {
          const int i = 1 + ++n * 7919 % 640;
          const auto id = std::to_string(i);
          const auto key = std::string(1, static_cast<char>('a' + i % 26)) + id;
          if (n % 4 == 0)
            return sql.exec("DELETE FROM t WHERE b = " + id + "; DELETE FROM s WHERE id = " + id);
          if (n % 4 == 1) {
            return sql.exec("INSERT INTO t VALUES ('" + key + "', " + id + ", 1, " + id +
                            ") ON CONFLICT DO NOTHING; INSERT INTO s VALUES (" + id +
                            ", 1) ON CONFLICT DO NOTHING");
          }
          sql.exec("UPDATE t SET v = v + 1 WHERE b = " + id + "; UPDATE s SET v = v + 1 WHERE id = " + id);
        },
        1ms);
  }
  Migration m;
};

}  // namespace

TEST_CASE("rows that were spoilt on the target are read again while the stream goes on") {
  Wrong wrong;
  std::mt19937 random(7);
  auto writer = wrong.writer();
  MeddledRun run(wrong.m);
  run.wait_until_copied();
  for (int round = 0; round < 6; ++round) {
    run.between_batches([&](stream::Companion& copy) {
      copy.take_again(0, wrong.spoil_t(random));
      copy.take_again(1, wrong.spoil_d());
      CHECK(copy.active());
    });
    if (round == 2) {  // while others are pending still
      run.between_batches([&](stream::Companion& copy) { copy.take_again(0, wrong.spoil_t(random)); }, true);
    }
    CHECK_NOTHROW(run.wait_until_copied());
  }
  writer.reset();
  run.catch_up(wrong.m.source);
  wrong.check_equal();
  CHECK(all_streaming(run.status()));
  CHECK(wrong.m.target.scalar<int>("SELECT count(*)::int FROM walign.chunk") == 0);
  CHECK(wrong.m.target.scalar<bool>("SELECT bool_and(complete) FROM walign.copy"));
  run.between_batches([&](stream::Companion& copy) {
    CHECK_THROWS_AS(copy.take_again(0, {{"too few"}}), Error);
    copy.take_again(0, {});
    CHECK_FALSE(copy.active());
  });
}

TEST_CASE("a transaction that was applied and is not visible yet is not lost when its row is read again") {
  Server server({.name = "stalled",
                 .settings = {"synchronous_standby_names = 'nobody'", "synchronous_commit = local"}});
  Migration m;
  m.source = server.create_database("app");
  m.source_url = server.url("app");
  m.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  m.source.exec("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 10) i");
  m.tables = "  - public.t\n";
  MeddledRun run(m);
  run.wait_until_copied();
  Sql late(server.conninfo("app"));
  const auto hanging = std::async(std::launch::async, [&] {
    late.exec("SET synchronous_commit = on; UPDATE t SET v = 'late' WHERE id = 5");
  });
  CHECK(eventually([&] { return m.target.scalar("SELECT v FROM t WHERE id = 5") == "late"; }));
  CHECK(m.source.scalar("SELECT v FROM t WHERE id = 5") == "old");
  run.between_batches([&](stream::Companion& copy) { copy.take_again(0, {{"5"}, {"6"}}); });
  std::this_thread::sleep_for(500ms);
  server.set("synchronous_standby_names", "");
  hanging.wait();
  run.wait_until_copied();
  run.catch_up(m.source);
  CHECK(m.equal("t"));
  CHECK(m.target.scalar("SELECT v FROM t WHERE id = 5") == "late");
}

TEST_CASE("walign is killed while rows are read again") {
  Wrong wrong;
  std::mt19937 random(11);
  {
    MeddledRun run(wrong.m);
    run.wait_until_copied();
    run.stop();
  }
  int unfinished = 0;
  for (int round = 0; round < 8; ++round) {
    int told[2];
    REQUIRE(::pipe(told) == 0);
    const pid_t child = ::fork();  // with one thread: a lock that another one has stays locked in the child
    if (child == 0) {
      try {
        MeddledRun run(wrong.m);
        run.wait_until_copied();
        run.between_batches([&](stream::Companion& copy) {
          copy.take_again(round % 2, round % 2 == 0 ? wrong.spoil_t(random) : wrong.spoil_d());
        });
        if (::write(told[1], "", 1) != 1) ::_exit(1);
        std::this_thread::sleep_for(60s);
      } catch (const std::exception&) {  // it is seen outside
      }
      ::_exit(1);
    }
    auto writer = wrong.writer();
    const auto pending = [&] {
      return wrong.m.target.scalar<bool>("SELECT EXISTS (SELECT FROM walign.copy WHERE NOT complete)");
    };
    // What is to be read again may be read before anybody looks.
    const auto asked = [&] {
      pollfd ready{told[0], POLLIN, 0};
      return ::poll(&ready, 1, 0) == 1;
    };
    CHECK(eventually([&] { return pending() || asked(); }, 30s, 1ms));
    std::this_thread::sleep_for(Millis(round * 3));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    ::close(told[0]);
    ::close(told[1]);
    if (pending()) ++unfinished;
    writer.reset();
    for (int i = 0; i < 600; ++i) random();  // as the child went on with them
    MeddledRun run(wrong.m);
    run.wait_until_copied();
    run.catch_up(wrong.m.source);
    wrong.check_equal();
    run.stop();
  }
  CHECK(unfinished > 0);  // or the test shows nothing
}
