// A change of sides with what production has in its way: transactions over three tables in random order, autovacuum on
// one of them, a pg_dump that is open, a REPEATABLE READ writer whose snapshot is older than the fence. And each server
// dies by immediate restart at the fence, the drain and the open, in both directions.
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "shop.hpp"

using namespace walign;
using namespace walign::test;
using cutover::Extent;
using cutover::Result;
using cutover::Verb;

namespace {

constexpr int kTables = 6;
constexpr int kRows = 3000;

std::string table(int number) { return "t" + std::to_string(number); }

// Three tables, in random order, in 20 ms; the first of them gets the id.
void write_three(Sql& sql, std::int64_t id) {
  static thread_local std::mt19937 random{std::random_device{}()};
  std::vector<int> order(kTables);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  const auto row = std::to_string(-1 - static_cast<int>(random() % kRows));
  sql.exec("BEGIN; INSERT INTO " + table(order[0]) + " VALUES (" + std::to_string(id) + ", 1)");
  for (const int i : {1, 2}) {
    std::this_thread::sleep_for(10ms);
    sql.exec("UPDATE " + table(order[static_cast<std::size_t>(i)]) + " SET n = n + 1 WHERE id = " + row);
  }
  sql.exec("COMMIT");
}

struct Several {
  explicit Several(Migration& migration) : m(migration) {
    for (int i = 0; i < kTables; ++i) {
      m.both("CREATE TABLE " + table(i) + " (id bigint PRIMARY KEY, n int NOT NULL)");
      m.source.exec("INSERT INTO " + table(i) + " SELECT -i, i FROM generate_series(1, " +
                    std::to_string(i == 0 ? 10 * kRows : kRows) + ") i");
      m.tables += "  - public." + table(i) + "\n";
    }
  }
  std::vector<Writers::SideOf> sides() { return {{m.source_url, write_three}, {m.target_url, write_three}}; }
  bool equal() {
    bool all = true;
    for (int i = 0; i < kTables; ++i) all = m.equal("public." + table(i)) && all;
    return all;
  }
  // Those of writers.
  std::set<std::int64_t> there(Sql& sql, std::vector<std::int64_t>& twice) {
    std::string query;
    for (int i = 0; i < kTables; ++i) {
      query += (i == 0 ? "" : " UNION ALL ") + ("SELECT id FROM " + table(i) + " WHERE id > 0");
    }
    return ids_of(sql, query, twice);
  }
  void check(const Writers& writers) {
    for (const auto& what : writers.unexpected()) UNSCOPED_INFO(what);
    CHECK(writers.unexpected().empty());
    CHECK(writers.overlaps().empty());
    const auto acknowledged = writers.ids();
    const auto in_doubt = writers.in_doubt();
    for (Sql* sql : {&m.source, &m.target}) {
      std::vector<std::int64_t> twice;
      auto found = there(*sql, twice);
      CHECK(twice.empty());
      for (const auto id : in_doubt) {
        if (!acknowledged.contains(id)) found.erase(id);
      }
      CHECK((found == acknowledged));
    }
    CHECK(equal());
  }
  Migration& m;
};

// On the side that gives, for one change.
class InTheWay {
 public:
  explicit InTheWay(const std::string& conninfo) : looks_(conninfo), old_(conninfo), dump_(conninfo) {
    old_.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t1 LIMIT 1");
    // What pg_dump does before it reads, and keeps until it has ended. (tools/bench cutover has a real one.)
    dump_.exec("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    for (int i = 0; i < kTables; ++i) dump_.exec("LOCK TABLE " + table(i) + " IN ACCESS SHARE MODE");
    REQUIRE(eventually([&] { return looks_.scalar<std::int64_t>(kVacuumed) == 1; }, 60s));
  }
  void dump() {
    for (int i = 0; i < kTables; ++i) dump_.exec("SELECT count(*) FROM " + table(i));
    dump_.exec("COMMIT");
  }
  std::string old_snapshot_writes() {
    try {
      old_.exec("UPDATE t1 SET n = n WHERE id = -1");
      return "ok";
    } catch (const SqlError& error) {
      return error.sqlstate();
    }
  }

 private:
  static constexpr const char* kVacuumed =
      "SELECT count(*) FROM pg_stat_progress_vacuum WHERE datname = current_database() AND relid = "
      "'t0'::regclass";
  Sql looks_, old_, dump_;
};

void adjust(config::Config& c) { c.verify.every = std::chrono::milliseconds(500); }

// Slow enough to be there when the fence comes.
void vacuum_slowly(Migration& m) {
  m.both(
      "ALTER TABLE t0 SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0, "
      "autovacuum_vacuum_insert_threshold = 0, autovacuum_vacuum_insert_scale_factor = 0, "
      "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)");
  for (Server* server : {&source_server(), &target_server()}) server->set("autovacuum_naptime", "1s");
}

void wait_for_more(const Writers& writers, std::size_t more) {
  const auto wanted = writers.acknowledged() + more;
  REQUIRE(eventually([&] { return writers.acknowledged() >= wanted; }, 60s));
}

}  // namespace

TEST_CASE(
    "autovacuum and pg_dump do not keep a change of sides, and an old snapshot does not write past it") {
  Migration m;
  Several tables(m);
  Sides sides(m, adjust);
  sides.wait_until_streaming();
  REQUIRE(sides.change(Verb::cutover, Extent::rehearse).outcome == Result::Outcome::done);
  vacuum_slowly(m);
  Writers writers(tables.sides(), 3);
  wait_for_more(writers, 30);
  for (const Verb verb : {Verb::cutover, Verb::rollback}) {
    const bool there = verb == Verb::cutover;
    InTheWay way(there ? m.source.conninfo() : m.target.conninfo());
    const auto result = sides.change_until_done(verb);
    way.dump();
    CHECK(way.old_snapshot_writes() == "25006");
    const auto report = nlohmann::json::parse(result.report);
    wait_for_more(writers, 30);
    WARN(result.writes << ": writes stopped for " << report.at("writes").at("pause_ms")
                       << " ms by the report, " << writers.pauses_ms().back()
                       << " ms between two acknowledged ones");
  }
  writers.stop();
  sides.wait_for([](const auto& s) { return s.phase == "streaming"; }, "streaming again");
  sides.catch_up(m.source);
  tables.check(writers);
}

// ---------------------------------------------------------------------------------------- servers die

namespace {

// Restarts a server right after a step, once. On a thread of its own: a server ends with the thread that started it.
class Restarts {
 public:
  ~Restarts() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }
  void at(const std::string& step, Server& server) {
    const std::lock_guard lock(mutex_);
    step_ = step;
    server_ = &server;
  }
  void told(const cutover::Progress& step) {
    std::unique_lock lock(mutex_);
    if (step.step != step_ || step.text != "done") return;
    dies_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !dies_; });
  }
  [[nodiscard]] bool done() {
    const std::lock_guard lock(mutex_);
    return step_.empty();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return dies_ || ended_; });
      if (ended_) return;
      lock.unlock();
      server_->restart_immediate();
      lock.lock();
      step_.clear();
      dies_ = false;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string step_;
  Server* server_ = nullptr;
  bool dies_ = false;
  bool ended_ = false;
  std::thread thread_{[this] { work(); }};
};

// Which side takes writes, once nothing is half done. Asked of the servers, not of the sidecar.
std::string at_rest(Migration& m, Sides& sides) {
  sides.wait_for([](const auto& s) { return s.connected; }, "connected", 60s);
  std::string rests;
  const auto open = [](Sql& sql) {
    if (!sql.alive()) sql.reconnect();
    return sql.scalar("SELECT state FROM walign.fence");
  };
  REQUIRE(eventually(
      [&] {
        const auto source = open(m.source), target = open(m.target);
        const bool there = target == "OPEN" && source != "OPEN";
        const bool here = source == "OPEN" && target != "OPEN";
        rests = there ? "target" : "source";
        return here || (there && sides.status().sides.rollback_ready == true);
      },
      60s));
  return rests;
}

// Asks until that side takes writes. A change during which a server went away may end in any way.
void change_to(Migration& m, Sides& sides, Verb verb, Restarts& restarts) {
  const std::string wanted = verb == Verb::cutover ? "target" : "source";
  for (int tries = 0; tries < 30; ++tries) {
    try {
      (void)sides.change(verb);
    } catch (const std::runtime_error& error) {
      UNSCOPED_INFO(error.what());
    }
    if (at_rest(m, sides) == wanted && restarts.done()) return;
    std::this_thread::sleep_for(300ms);
  }
  FAIL("writes never came to the " << wanted);
}

}  // namespace

TEST_CASE("each server restarted at the fence, the drain and the open, there and back: nothing is lost") {
  Migration m;
  Several tables(m);
  static Restarts restarts;  // as long as the servers that it has started
  Sides sides(
      m,
      [](config::Config& c) {
        adjust(c);
        c.cutover.max_pause = Millis(1500);
        c.cutover.lease = Millis(2000);
      },
      [](const cutover::Progress& step) { restarts.told(step); });
  sides.wait_until_streaming();
  REQUIRE(sides.change(Verb::cutover, Extent::rehearse).outcome == Result::Outcome::done);
  Writers writers(tables.sides(), 2);
  wait_for_more(writers, 30);
  const std::vector<std::string> steps = {"table " + std::to_string(kTables), "drain", "open"};
  for (const auto& step : steps) {
    for (Server* first : {&source_server(), &target_server()}) {
      Server* second = first == &source_server() ? &target_server() : &source_server();
      for (const Verb verb : {Verb::cutover, Verb::rollback}) {
        // The one that gives, both ways; then the one that takes.
        Server* dies = verb == Verb::cutover ? first : second;
        INFO((verb == Verb::cutover ? "cutover, " : "rollback, ") << dies->name() << " at " << step);
        restarts.at(step, *dies);
        change_to(m, sides, verb, restarts);
        wait_for_more(writers, 30);
      }
    }
  }
  writers.stop();
  sides.wait_for([](const auto& s) { return s.connected && s.phase == "streaming"; }, "streaming again");
  sides.catch_up(m.source);
  tables.check(writers);
}
