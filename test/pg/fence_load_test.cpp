// The fence under load: how long it takes, what the application sees, and that nothing comes after it.
#include <mutex>
#include <random>

#include "fence_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

constexpr int kTables = 20;

std::string table(int i) { return "t" + std::to_string(i); }

void make_tables(FenceBed& bed) {
  std::string sql;
  for (int i = 0; i < kTables; ++i) {
    const bool partitioned = i % 7 == 3;
    sql +=
        "CREATE TABLE " + table(i) + " (id bigint, n int)" + (partitioned ? " PARTITION BY HASH (id);" : ";");
    for (int part = 0; partitioned && part < 2; ++part) {
      sql += "CREATE TABLE " + table(i) + "_" + std::to_string(part) + " PARTITION OF " + table(i) +
             " FOR VALUES WITH (MODULUS 2, REMAINDER " + std::to_string(part) + ");";
    }
    sql += "INSERT INTO " + table(i) + " SELECT i, 0 FROM generate_series(1, 4) i;";
    bed.mapped.push_back({"public", table(i)});
  }
  bed.tables(sql);
}

// Transactions over three tables in random order that last some milliseconds and collide on rows.
class Application {
 public:
  Application(FenceBed& bed, int writers, const std::string& isolation) {
    for (int w = 0; w < writers; ++w)
      threads_.emplace_back([this, &bed, w, isolation] { write(bed, w, isolation); });
  }
  ~Application() { stop(); }
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;
  void stop() {
    stop_ = true;
    for (auto& t : threads_) t.join();
    threads_.clear();
  }
  [[nodiscard]] int committed() const { return committed_; }
  [[nodiscard]] int refused() const { return refused_; }
  // SQLSTATEs that nobody should have seen.
  [[nodiscard]] std::string others() {
    const std::lock_guard lock(mutex_);
    return others_;
  }

 private:
  void write(FenceBed& bed, int writer, const std::string& isolation) {
    Sql db = bed.as("app");
    std::mt19937 random(static_cast<unsigned>(writer));
    for (int i = 0; !stop_; ++i) {
      const std::string id = std::to_string(1000 + writer * 1'000'000 + i);
      try {
        db.exec("BEGIN ISOLATION LEVEL " + isolation);
        // Rows in one order, so that the application's own transactions cannot deadlock; tables in any.
        for (int k = 0; k < 3; ++k) {
          const std::string name = table(static_cast<int>(random() % kTables));
          db.exec("INSERT INTO " + name + " VALUES (" + id + ", 1)");
          std::this_thread::sleep_for(Millis(3));
        }
        db.exec("UPDATE t0 SET n = n + 1 WHERE id = 1; COMMIT");
        committed_ += 3;
      } catch (const SqlError& error) {
        if (error.sqlstate() == "25006") {
          ++refused_;
        } else if (error.sqlstate() != "40001" || isolation == "READ COMMITTED") {
          const std::lock_guard lock(mutex_);
          others_ += error.what();
        }
        db.exec("ROLLBACK");
        std::this_thread::sleep_for(Millis(1));
      }
    }
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> committed_{0};
  std::atomic<int> refused_{0};
  std::mutex mutex_;
  std::string others_;
  std::vector<std::thread> threads_;
};

std::int64_t rows_inserted(FenceBed& bed) {
  std::string sql = "SELECT ";
  for (int i = 0; i < kTables; ++i) {
    sql += (i == 0 ? "" : " + ") + std::string("(SELECT count(*) FROM ") + table(i) + " WHERE id >= 1000)";
  }
  return bed.admin.scalar<std::int64_t>(sql);
}

}  // namespace

TEST_CASE(
    "twenty tables are fenced under writes: nothing lost, nothing after the marker, nobody in a deadlock") {
  FenceBed bed;
  make_tables(bed);
  bed.install();
  bed.admin.exec("SELECT pg_create_logical_replication_slot('fence_" + bed.database() +
                 "', 'test_decoding')");
  Sql dump = bed.as("app");
  dump.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
  for (const auto& t : bed.mapped) dump.exec("SELECT count(*) FROM " + t.name);
  Application read_committed(bed, 6, "READ COMMITTED");
  Application repeatable_read(bed, 2, "REPEATABLE READ");
  std::vector<double> times;
  for (int attempt = 1; attempt <= 5; ++attempt) {
    std::this_thread::sleep_for(Millis(200));
    const auto fenced = bed.fence();
    REQUIRE(fenced.done);
    times.push_back(fenced.total_ms);
    CHECK(unguarded(*bed.giver, bed.id, bed.mapped).empty());
    const auto at_fence = rows_inserted(bed);
    std::this_thread::sleep_for(Millis(50));
    CHECK(rows_inserted(bed) == at_fence);
    const auto after = bed.admin.scalar<int>(
        "WITH c AS (SELECT row_number() OVER () AS n, data FROM pg_logical_slot_get_changes('fence_" +
        bed.database() +
        "', NULL, NULL)) SELECT count(*) FROM c WHERE data LIKE 'table public.%' AND n > (SELECT n FROM c "
        "WHERE data "
        "LIKE '%content:fence walign_m " +
        std::to_string(attempt) + "')");
    CHECK(after == 0);
    CHECK(dump.scalar<int>("SELECT count(*) FROM t0 WHERE id < 1000") == 4);
    REQUIRE(bed.become(RowState::open).done);
  }
  std::this_thread::sleep_for(Millis(100));
  read_committed.stop();
  repeatable_read.stop();
  CHECK(rows_inserted(bed) == read_committed.committed() + repeatable_read.committed());
  CHECK(read_committed.committed() > 100);
  CHECK(read_committed.refused() > 5);
  CHECK(read_committed.others() == "");
  CHECK(repeatable_read.others() == "");
  // Under load it is the application's longest transaction that counts; without any, twenty times two round trips.
  std::sort(times.begin(), times.end());
  std::vector<double> alone;
  for (int attempt = 0; attempt < 5; ++attempt) {
    alone.push_back(bed.fence().total_ms);
    REQUIRE(bed.become(RowState::open).done);
  }
  std::sort(alone.begin(), alone.end());
  CAPTURE(times, alone);
  CHECK(times[2] < 2000);
  CHECK(alone[0] < 250);
  bed.admin.exec("SELECT pg_drop_replication_slot('fence_" + bed.database() + "')");
}

TEST_CASE("a deadlock with the application ends with the fence, not with the application") {
  FenceBed bed;
  bed.one_table();
  bed.tables(
      "CREATE TABLE p (id int, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT;"
      "INSERT INTO p VALUES (1, 'x')");
  bed.mapped = {{"public", "p"}};
  const auto row = bed.begin();
  // It has the partition and then wants the root, which the fence has by then.
  Sql first = bed.as("app");
  first.exec("BEGIN; UPDATE p1 SET v = 'y' WHERE id = 1");
  std::string got;
  std::thread crosses([&] {
    std::this_thread::sleep_for(Millis(20));
    got = outcome(first, "UPDATE p SET v = 'z' WHERE id = 1; COMMIT");
  });
  const auto fenced = fence_tables(*bed.giver, bed.guard, row, bed.mapped, bed.limits());
  crosses.join();
  CHECK(got == "ok");
  CHECK(fenced.done);
  CHECK(fenced.tables[0].attempts > 1);
  CHECK(fenced.total_ms < 450);  // by the deadlock's time-out, not by the lock's
}

TEST_CASE("a table that cannot be had in time is an error that says so, and changes nothing") {
  FenceBed bed;
  bed.one_table();
  const auto row = bed.begin();
  Sql holder = bed.as("app");
  holder.exec("BEGIN; INSERT INTO t VALUES (100, 'held')");
  auto limits = bed.limits();
  limits.lock_timeout = Millis(50);
  limits.attempts = 2;
  try {
    fence_tables(*bed.giver, bed.guard, row, bed.mapped, limits);
    FAIL("it was fenced");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::transient);
    CHECK(error.message().find("public.t") != std::string::npos);
  }
  CHECK(bed.state() == RowState::fencing);
  holder.exec("INSERT INTO t VALUES (101, 'held'); COMMIT");
  CHECK(outcome(bed.app, "INSERT INTO t VALUES (102, 'y')") == "ok");
}

TEST_CASE("autovacuum gives way to the fence") {
  FenceBed bed;
  bed.tables(R"(
    CREATE TABLE t (id int, v text) WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,
      autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, fillfactor = 10);
    INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i; DELETE FROM t WHERE id % 2 = 0)");
  bed.mapped = {{"public", "t"}};
  bed.install();
  REQUIRE(eventually_true(
      [&] {
        return bed.admin.scalar<int>(
                   "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = "
                   "'t'::regclass "
                   "AND l.granted AND a.backend_type = 'autovacuum worker'") > 0;
      },
      Millis(60'000)));
  const auto fenced = bed.fence();
  CHECK(fenced.done);
  CHECK(fenced.tables[0].lock_ms > 40);
  CHECK(fenced.tables[0].lock_ms < 450);
  CHECK(fenced.tables[0].attempts == 1);
}
