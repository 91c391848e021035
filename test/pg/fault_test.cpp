// Bad networks and servers that end: whatever is cut, frozen or restarted, every row of the source is on the
// target exactly once. The table has no key, so that a row applied twice would be seen twice.
#include <fstream>
#include <random>

#include "support/migration.hpp"
#include "support/proxy.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// A migration whose two connections go through proxies, with an insert-only table.
struct Bad {
  Bad() {
    m.both("CREATE TABLE ledger (id bigint NOT NULL, v text)");
    m.source_url = source.url(source_server(), m.source.scalar("SELECT current_database()"));
    m.target_url = target.url(target_server(), m.target.scalar("SELECT current_database()"));
    m.tables = "  - { from: public.ledger, inserts_only: true }\n";
  }
  // Servers may have been restarted meanwhile.
  bool all_there(Run& run) {
    m.source.reconnect();
    m.target.reconnect();
    run.catch_up(m.source);
    const auto doubled = m.target.scalar<int>("SELECT count(*) - count(DISTINCT id) FROM ledger");
    CHECK(doubled == 0);
    return m.equal("ledger");
  }

  Proxy source{source_server().port()};
  Proxy target{target_server().port()};
  Migration m;
};

// One row per transaction, as fast as one client can, on a connection of its own; goes on after a crash.
class Writer {
 public:
  explicit Writer(const Migration& m, Millis pause = 1ms)
      : sql_(m.source.conninfo()), pause_(pause), thread_([this] { write(); }) {}
  ~Writer() { stop(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  void stop() {
    stopping_.store(true);
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] int written() const { return next_.load(); }

 private:
  void write() {
    while (!stopping_.load()) {
      try {
        // Where a commit's answer was lost, the number is not used again: either is fine.
        sql_.affected("INSERT INTO ledger VALUES ($1, 'row')", {std::to_string(next_.fetch_add(1))});
        std::this_thread::sleep_for(pause_);
      } catch (const SqlError&) {
        try {
          sql_.reconnect();
        } catch (const SqlError&) {  // the server is down; once more
        }
      }
    }
  }

  Sql sql_;
  const Millis pause_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> next_{1};
  std::thread thread_;
};

// Mostly some time after it streams again; now and then while it still connects.
void wait_for_a_moment(Run& run, std::mt19937& random) {
  if (random() % 4 != 0) {
    CHECK(eventually([&] { return run.done() || run.status().connected; }, 60s));
  }
  std::this_thread::sleep_for(Millis(random() % 150));
}

std::int64_t resident_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
  }
  return 0;
}

}  // namespace

TEST_CASE("the connections to the source are cut at random, a hundred times") {
  Bad bad;
  Run run(bad.m);
  run.wait_until_streaming();
  Writer writer(bad.m);
  std::mt19937 random(1);
  for (int i = 0; i < 100; ++i) {
    wait_for_a_moment(run, random);
    if (i % 3 == 0) {
      bad.source.cut_after(random() % 20000, Proxy::to_client);
    } else {
      bad.source.cut();
    }
    if (run.done()) break;
  }
  writer.stop();
  CHECK(bad.all_there(run));
  CHECK(writer.written() > 500);
  CHECK(*run.status().epoch > 20);
}

TEST_CASE("the connections to the target are cut at random, a hundred times") {
  Bad bad;
  Run run(bad.m);
  run.wait_until_streaming();
  Writer writer(bad.m);
  std::mt19937 random(2);
  for (int i = 0; i < 100; ++i) {
    wait_for_a_moment(run, random);
    switch (i % 3) {
      case 0: bad.target.cut_after(random() % 20000, Proxy::to_server); break;
      case 1: bad.target.cut_after(random() % 5000, Proxy::to_client); break;
      default: bad.target.cut();
    }
    if (run.done()) break;
  }
  writer.stop();
  CHECK(bad.all_there(run));
  CHECK(writer.written() > 500);
  CHECK(*run.status().epoch > 20);
}

TEST_CASE("the target's connection is cut at every place of one batch, its COMMIT and the answer included") {
  Bad bad;
  Run run(bad.m);
  run.wait_until_streaming();
  int id = 0;
  const auto one_batch = [&] {
    bad.m.source.exec("INSERT INTO ledger VALUES (" + std::to_string(++id) + ", 'x')");
  };
  const auto arrived = [&] {
    return bad.m.target.scalar<int>("SELECT count(*) FROM ledger WHERE id = " + std::to_string(id)) == 1;
  };
  for (const auto direction : {Proxy::to_server, Proxy::to_client}) {
    one_batch();  // its statement is prepared from here on
    REQUIRE(eventually([&] { return arrived(); }));
    std::this_thread::sleep_for(1500ms);
    const auto before = bad.target.passed(direction);
    one_batch();
    REQUIRE(eventually([&] { return arrived(); }));
    const auto size = bad.target.passed(direction) - before;
    INFO("direction " << direction << ", " << size << " bytes in a batch");
    REQUIRE(size > 50);
    for (std::size_t bytes = 1; bytes <= size; bytes += 13) {
      bad.target.cut_after(bytes, direction);
      one_batch();
      REQUIRE(eventually([&] { return run.done() || arrived(); }));
      REQUIRE_FALSE(run.done());
      // Positions are asked for now and then, so the count is reached in any case.
      REQUIRE(eventually([&] { return bad.target.has_cut(); }));
      REQUIRE(eventually([&] { return run.status().connected; }));
    }
  }
  CHECK(bad.all_there(run));
}

TEST_CASE("a slow network changes nothing") {
  Bad bad;
  bad.source.delay(30ms);
  bad.target.delay(30ms);
  Run run(bad.m);
  run.wait_until_streaming();
  Writer writer(bad.m);
  std::this_thread::sleep_for(3s);
  writer.stop();
  CHECK(bad.all_there(run));
}

TEST_CASE("while the target is frozen the slot's connection lives, and memory stays bounded") {
  Bad bad;
  source_server().set("wal_sender_timeout", "2s");
  const std::string senders =
      "SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots WHERE slot_name = '" + bad.m.stream() +
      "'";
  Run run(bad.m);
  run.wait_until_streaming();
  bad.m.source.exec("INSERT INTO ledger SELECT i, repeat('x', 10000) FROM generate_series(1, 500) i");
  run.catch_up(bad.m.source);
  const int walsender = bad.m.source.scalar<int>(senders);
  REQUIRE(walsender != 0);
  const auto before = resident_kb();
  bad.target.freeze();
  for (int i = 1; i <= 200; ++i) {  // 200 MB, more than queue and batch and buffers
    const auto first = std::to_string(i * 1000);
    bad.m.source.exec("INSERT INTO ledger SELECT i, repeat('x', 10000) FROM generate_series(" + first + ", " +
                      first + " + 99) i");
  }
  std::int64_t most = 0;
  for (int i = 0; i < 40; ++i) {
    std::this_thread::sleep_for(200ms);
    most = std::max(most, resident_kb());
  }
  INFO("grew by " << most - before << " kB");
  CHECK(most - before < 150 * 1024);
  CHECK(bad.m.source.scalar<int>(senders) == walsender);
  bad.target.thaw();
  CHECK(bad.all_there(run));
  source_server().set("wal_sender_timeout", "60s");
}

TEST_CASE("a source that was frozen is connected to again") {
  Bad bad;
  source_server().set("wal_sender_timeout", "2s");
  Run run(bad.m);
  run.wait_until_streaming();
  bad.m.source.exec("INSERT INTO ledger VALUES (1, 'before')");
  run.catch_up(bad.m.source);
  bad.source.freeze();
  bad.m.source.exec("INSERT INTO ledger SELECT i, 'meanwhile' FROM generate_series(2, 100) i");
  CHECK(eventually([&] {  // the server gives the walsender up
    return bad.m.source.scalar<int>(
               "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name = '" + bad.m.stream() +
               "'") == 0;
  }));
  bad.source.thaw();
  CHECK(bad.all_there(run));
  source_server().set("wal_sender_timeout", "60s");
}

TEST_CASE("asked to stop, it ends although nothing answers") {
  Bad bad;
  auto run = std::make_unique<Run>(bad.m);
  run->wait_until_streaming();
  bad.m.source.exec("INSERT INTO ledger VALUES (1, 'before')");
  run->catch_up(bad.m.source);
  SECTION("the target") { bad.target.freeze(); }
  SECTION("the source") { bad.source.freeze(); }
  SECTION("neither") {
    bad.target.freeze();
    bad.source.freeze();
  }
  bad.m.source.exec("INSERT INTO ledger VALUES (2, 'after')");
  std::this_thread::sleep_for(1500ms);
  std::atomic<bool> ended{false};
  std::thread stopper([&] {
    run.reset();
    ended.store(true);
  });
  // The grace for a batch in flight is 10 s; whatever comes after that must not wait for an answer either.
  CHECK(eventually([&] { return ended.load(); }, 25s));
  bad.target.thaw();
  bad.source.thaw();
  stopper.join();
  Run again(bad.m);
  CHECK(bad.all_there(again));
}

TEST_CASE("both servers crash and come back under load") {
  Bad bad;
  Run run(bad.m);
  run.wait_until_streaming();
  Writer writer(bad.m);
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(700ms);
    source_server().restart_immediate();
    std::this_thread::sleep_for(700ms);
    target_server().restart_immediate();
  }
  writer.stop();
  CHECK(bad.all_there(run));
  CHECK(writer.written() > 500);
}

TEST_CASE("both servers are shut down in order and come back") {
  Bad bad;
  Run run(bad.m);
  run.wait_until_streaming();
  Writer writer(bad.m);
  for (int i = 0; i < 2; ++i) {
    std::this_thread::sleep_for(500ms);
    source_server().restart(StopMode::fast);
    std::this_thread::sleep_for(500ms);
    target_server().restart(StopMode::fast);
  }
  writer.stop();
  CHECK(bad.all_there(run));
}

TEST_CASE("servers that are down for a while are waited for") {
  Bad bad;
  Run run(bad.m);
  run.wait_until_streaming();
  Writer writer(bad.m);
  bad.source.close_door();
  bad.source.cut();
  std::this_thread::sleep_for(2s);
  CHECK_FALSE(run.done());
  CHECK_FALSE(run.status().last_error.empty());
  bad.source.open_door();
  bad.target.close_door();
  bad.target.cut();
  std::this_thread::sleep_for(2s);
  bad.target.open_door();
  writer.stop();
  CHECK(bad.all_there(run));
}
