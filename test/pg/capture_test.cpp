// A slot recorded to disk and read again is what the slot brought.
#include <fstream>
#include <map>
#include <thread>

#include "protocol_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// Records on a thread of its own, until destroyed.
class Recording {
 public:
  Recording(Both& both, const std::string& directory, std::int64_t segment_bytes, Lsn until = Lsn(),
            bool two_phase = false)
      : both_(both) {
    while (both.db.scalar<bool>("SELECT active FROM pg_replication_slots WHERE slot_name = 'running'")) {
      std::this_thread::sleep_for(5ms);
    }
    options_.slot = both.slot("running");
    options_.slot.from = *Lsn::parse(both.db.scalar(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'running'"));
    options_.origin.set_source_system_id("1");
    options_.directory = directory;
    options_.segment_bytes = segment_bytes;
    options_.until = until;
    options_.two_phase = two_phase;
    options_.stop = &stop_;
    thread_ = std::thread([this] {
      try {
        done_ = source::capture(options_);
      } catch (const Error& error) {
        error_ = error.message();
      }
    });
  }
  ~Recording() { end(); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  void end() {
    stop_.raise();
    join();
  }
  // Its connection ends from the server's side, and it with that. There is one only once the slot is in use.
  void lose_connection() {
    while (
        both_.db.scalar<int>("SELECT count(pg_terminate_backend(active_pid))::int FROM pg_replication_slots "
                             "WHERE slot_name = 'running' AND active") == 0) {
      std::this_thread::sleep_for(5ms);
    }
    join();
  }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] const source::CaptureProgress& done() const { return done_; }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  Both& both_;
  source::CaptureOptions options_;
  Interrupt stop_;
  source::CaptureProgress done_;
  std::string error_;
  std::thread thread_;
};

Read replay(const std::string& directory, const std::string& spill, const std::string& end,
            Lsn from = Lsn()) {
  source::ReplayOptions options;
  options.directory = directory;
  options.from = from;
  options.spill_directory = spill;
  options.spill_above_bytes = 10'000;
  const auto source = source::open_capture(options);
  return read_until(end, *source);
}

}  // namespace

TEST_CASE("a capture replays what the slot brought, over segments, lost connections and torn ends") {
  Both both;
  both.db.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  const TemporaryDirectory directory;
  const std::string where = directory / "capture";
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  auto recording = std::make_unique<Recording>(both, where, 20'000);
  write_at_random(both, random, 0, [&](int step) {
    if (step % 50 != 49) return;
    // The connection is lost, or a kill leaves half a block at the end.
    const bool kill = step % 100 == 99;
    if (kill) {
      recording->end();
    } else {
      recording->lose_connection();
      CHECK_FALSE(recording->error().empty());
    }
    recording.reset();
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(where)) files.push_back(entry.path());
    const auto newest = *std::max_element(files.begin(), files.end());
    if (kill) std::ofstream(newest, std::ios::app) << "half a block that a kill left here";
    recording = std::make_unique<Recording>(both, where, 20'000);
  });
  const std::string end = both.end();
  recording->end();
  recording.reset();
  const Lsn now = both.now();
  Recording last(both, where, 20'000, now);
  both.end();  // so that the position is passed
  last.join();
  CHECK(last.error() == "");
  CHECK(last.done().position >= now);

  const auto whole = read_until(end, both.slot("whole"));
  const auto replayed = replay(where, directory.path(), end);
  same(whole, replayed);
  CHECK(both.streamed() > 0);

  // From any position: what ends above it, whichever segment that begins in.
  std::vector<Lsn> ends;
  for (const auto& line : whole.lines) {
    if (line.rfind("end ", 0) == 0) ends.push_back(*Lsn::parse(line.substr(4)));
  }
  REQUIRE(ends.size() > 5);
  for (std::size_t i = 0; i < ends.size(); i += 1 + ends.size() / 10) {
    const auto some = replay(where, directory.path(), end, ends[i]);
    const auto at = std::find(whole.lines.begin(), whole.lines.end(), cat("end ", ends[i]));
    const std::vector<std::string> expected(at + 1, whole.lines.end());
    same({expected, 0}, some);
  }
  const state::CaptureReader reader(where);
  CHECK(reader.segments().size() > 8);
}

namespace {

// Transactions of all sizes, some in two phases; up to six of these are prepared at a time, and end in any order.
void write_in_two_phases(Both& both, std::mt19937& random, const std::function<void(int step)>& meanwhile) {
  const auto any = [&](unsigned n) { return static_cast<int>(random() % n); };
  std::vector<std::string> prepared;
  int next = 0;
  for (int step = 0; step < 120; ++step) {
    meanwhile(step);
    const int rows = any(3) == 0 ? 1500 : 1 + any(3);
    const auto table = cat("t", any(3));
    const auto ids = cat(next, ", ", next + rows - 1);
    next += rows;
    both.db.exec(cat("BEGIN; INSERT INTO ", table, " SELECT i, repeat('v', 80) FROM generate_series(", ids,
                     ") i; SAVEPOINT s; UPDATE ", table, " SET v = 'gone' WHERE id >= ", next - rows,
                     any(2) == 0 ? "; ROLLBACK TO s" : ""));
    if (any(2) == 0 || prepared.size() > 5) {
      both.db.exec("COMMIT");
    } else {
      prepared.push_back(cat("g", step));
      both.db.exec(cat("PREPARE TRANSACTION '", prepared.back(), "'"));
    }
    if (prepared.empty() || any(3) != 0) continue;
    const auto which = prepared.begin() + any(static_cast<unsigned>(prepared.size()));
    both.db.exec(cat(any(3) == 0 ? "ROLLBACK PREPARED '" : "COMMIT PREPARED '", *which, "'"));
    prepared.erase(which);
  }
  for (const auto& gid : prepared) both.db.exec(cat("COMMIT PREPARED '", gid, "'"));
}

// How many messages of each kind are in it.
std::map<char, int> messages(const std::string& directory) {
  std::map<char, int> out;
  state::CaptureReader reader(directory);
  while (const auto* frame = reader.next()) {
    if (!frame->keepalive()) ++out[frame->payload().at(0)];
  }
  return out;
}

}  // namespace

TEST_CASE(
    "a capture in two phases replays what was prepared at its commit, over lost connections and kills") {
  Both both;
  both.db.exec(
      "CREATE TABLE t0 (id int PRIMARY KEY, v text); CREATE TABLE t1 (LIKE t0 INCLUDING ALL);"
      "CREATE TABLE t2 (LIKE t0 INCLUDING ALL)");
  const TemporaryDirectory directory;
  const std::string where = directory / "capture";
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  auto recording = std::make_unique<Recording>(both, where, 20'000, Lsn(), true);
  write_in_two_phases(both, random, [&](int step) {
    if (step % 15 != 14) return;
    if (step % 30 == 29) {
      std::this_thread::sleep_for(1500ms);  // acknowledged: what is prepared does not come again
      recording->end();
    } else {
      recording->lose_connection();
    }
    recording.reset();
    recording = std::make_unique<Recording>(both, where, 20'000, Lsn(), true);
  });
  const std::string end = both.end();
  recording.reset();
  const Lsn now = both.now();
  Recording last(both, where, 20'000, now, true);
  both.end();
  last.join();
  CHECK(last.error() == "");

  const auto found = messages(where);
  for (const char kind : {'b', 'P', 'K', 'r'}) {
    INFO(kind);
    CHECK(found.contains(kind));
  }
  const auto whole = read_until(end, both.slot("whole"));
  same(whole, replay(where, directory.path(), end));
  std::vector<Lsn> ends;
  for (const auto& line : whole.lines) {
    if (line.rfind("end ", 0) == 0) ends.push_back(*Lsn::parse(line.substr(4)));
  }
  REQUIRE(ends.size() > 20);
  for (std::size_t i = 0; i < ends.size(); i += ends.size() / 8) {
    const auto at = std::find(whole.lines.begin(), whole.lines.end(), cat("end ", ends[i]));
    same({std::vector<std::string>(at + 1, whole.lines.end()), 0},
         replay(where, directory.path(), end, ends[i]));
  }
}

TEST_CASE("a table described inside a prepared transaction is known to those that commit before it") {
  Both both;
  both.db.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
  const TemporaryDirectory directory;
  const std::string where = directory / "capture";
  Recording recording(both, where, 1'000'000, Lsn(), true);
  both.db.exec("BEGIN; INSERT INTO t VALUES (1, 'prepared'); PREPARE TRANSACTION 'g'");
  both.db.exec("INSERT INTO t VALUES (2, 'at once')");
  both.db.exec("ROLLBACK PREPARED 'g'");
  both.db.exec("INSERT INTO t VALUES (3, 'later')");
  const std::string end = both.end();
  const auto whole = read_until(end, both.slot("whole"));
  std::this_thread::sleep_for(2s);
  recording.end();
  CHECK(recording.error() == "");
  same(whole, replay(where, directory.path(), end));
}

TEST_CASE("a capture that begins after the position asked for is refused") {
  Both both;
  both.db.exec("CREATE TABLE t (id int PRIMARY KEY)");
  const TemporaryDirectory directory;
  const std::string end = both.end();
  {
    Recording recording(both, directory / "c", 1'000'000, both.now());
    both.end();
    recording.join();
    CHECK(recording.error().empty());
  }
  CHECK_THROWS_AS(replay(directory / "c", directory.path(), end, Lsn(1)), Error);
}
