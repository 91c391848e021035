// A slot recorded to disk and read again is what the slot brought.
#include <fstream>
#include <thread>

#include "protocol_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// Records on a thread of its own, until destroyed.
class Recording {
 public:
  Recording(Both& both, const std::string& directory, std::int64_t segment_bytes, Lsn until = Lsn()) {
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
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] const source::CaptureProgress& done() const { return done_; }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
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
      both.db.exec(
          "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'running'");
      recording->join();
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
