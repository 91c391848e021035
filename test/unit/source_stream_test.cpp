// A slot's stream, against a server that says what the test wants: order, positions, acknowledgements.
#include "source_test.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("START_REPLICATION names slot, position and publications, quoted") {
  FakeServer server;
  const auto source = server.open();
  CHECK(server.query().find("START_REPLICATION SLOT \"s\" LOGICAL 0/64 (proto_version '1', messages 'true', "
                            "publication_names '\"p\"')") != std::string::npos);
}

TEST_CASE("transactions and the positions between them come in order") {
  FakeServer server;
  const auto source = server.open();
  server.send(keepalive(150) + transaction(200, 210) + keepalive(300) + transaction(300, 310) +
              transaction(310, 320));
  CHECK(next_of(*source) == "progress 150");
  CHECK(next_of(*source) == "tx 200-210");
  CHECK(next_of(*source) == "progress 300");
  CHECK(next_of(*source) == "tx 300-310");
  CHECK(next_of(*source) == "tx 310-320");
  CHECK(next_of(*source, 0ms) == "nothing");
  CHECK(source->received() == Lsn(320));
}

TEST_CASE("a keepalive inside a transaction says nothing, one that goes back neither") {
  FakeServer server;
  const auto source = server.open();
  server.send(wal(wire::begin(200, 0, 7)) + keepalive(200) + table() +
              wal(wire::insert(1, {wire::text("1"), wire::text("a")})) + keepalive(205) +
              wal(wire::commit(200, 210, 0)));
  server.send(keepalive(400) + keepalive(350) + keepalive(400) + keepalive(401));
  CHECK(next_of(*source) == "tx 200-210");
  CHECK(next_of(*source) == "progress 400");
  CHECK(next_of(*source) == "progress 401");
  CHECK(source->received() == Lsn(401));
}

TEST_CASE("a keepalive that asks is answered at once, inside a transaction too") {
  FakeServer server;
  source::SlotOptions options;
  options.status_interval = 60s;
  const auto source = server.open(options);
  REQUIRE(server.update());  // the first one
  server.send(keepalive(150, true));
  auto update = server.update();
  REQUIRE(update);
  CHECK(update->received == 150);
  CHECK(update->flushed == 100);
  CHECK(update->applied == 100);
  server.send(wal(wire::begin(200, 0, 7)) + keepalive(200, true));
  update = server.update();
  REQUIRE(update);
  CHECK(update->received == 150);
}

TEST_CASE("what is acknowledged is sent at once, never goes back and never exceeds what was received") {
  FakeServer server;
  source::SlotOptions options;
  options.status_interval = 60s;
  const auto source = server.open(options);
  server.send(transaction(200, 210) + keepalive(300));
  CHECK(next_of(*source) == "tx 200-210");
  CHECK(next_of(*source) == "progress 300");
  source->acknowledge(Lsn(210));
  CHECK(server.update_until([](const Update& u) { return u.flushed == 210 && u.received >= u.flushed; }));
  source->acknowledge(Lsn(150));
  CHECK(source->acknowledged() == Lsn(210));
  source->acknowledge(Lsn(300));
  source->settle();
  CHECK(server.update_until([](const Update& u) {
    CHECK(u.flushed >= 210);
    return u.flushed == 300;
  }));
}

TEST_CASE("a full queue stops the reading, not the status updates, and loses nothing") {
  FakeServer server;
  source::SlotOptions options;
  options.queue_bytes = 100'000;
  options.status_interval = 50ms;
  options.silence_limit = 300ms;  // it is we who do not listen
  const auto source = server.open(options);
  constexpr int kTransactions = 3000;
  std::thread sender([&] {
    const std::string value(10'000, 'x');
    for (std::uint64_t i = 1; i <= kTransactions; ++i)
      server.send(transaction(i * 1000, i * 1000 + 10, value));
    server.send(keepalive(kTransactions * 1000 + 500));
  });
  std::this_thread::sleep_for(1s);
  CHECK(source->received() < Lsn(1000 * 100));
  for (int i = 0; i < 20; ++i) CHECK(server.update(1s));
  for (int i = 1; i <= kTransactions; ++i) {
    REQUIRE(next_of(*source) == cat("tx ", i * 1000, "-", i * 1000 + 10));
  }
  CHECK(next_of(*source) == cat("progress ", kTransactions * 1000 + 500));
  sender.join();
}

TEST_CASE("a silent server is asked, and given up when it does not answer") {
  FakeServer server;
  source::SlotOptions options;
  options.status_interval = 50ms;
  options.silence_limit = 600ms;
  const auto source = server.open(options);
  SECTION("it answers") {
    for (int i = 0; i < 4; ++i) {
      CHECK(server.update_until([](const Update& u) { return u.ask; }));
      server.send(keepalive(100));
    }
    CHECK(next_of(*source, 0ms) == "progress 100");
    CHECK(next_of(*source, 0ms) == "nothing");
  }
  SECTION("it does not") {
    CHECK(server.update_until([](const Update& u) { return u.ask; }));
    CHECK(next_of(*source) == "error connection");
  }
}

TEST_CASE("a source that is let go ends at once, whatever it is in the middle of") {
  FakeServer server;
  source::SlotOptions options;
  options.queue_bytes = 100;
  options.status_interval = 60s;
  auto source = server.open(options);
  SECTION("idle") {}
  SECTION("half a frame") { server.send(transaction(200, 210).substr(0, 40)); }
  SECTION("a full queue") {
    server.send(transaction(200, 210) + transaction(300, 310) + transaction(400, 410));
  }
  SECTION("the other side is gone") { server.hang_up(); }
  std::this_thread::sleep_for(50ms);
  const auto before = std::chrono::steady_clock::now();
  source.reset();
  CHECK(std::chrono::steady_clock::now() - before < 1s);
}
