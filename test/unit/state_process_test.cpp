// The Store between processes. A child is this program again, with a hidden test of its own: RocksDB's
// threads do not survive a bare fork.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "state_test.hpp"

using namespace walign;
using namespace walign::state;

namespace {

constexpr int kReportFd = 3;  // in the child: where it tells what is on disk

v1::Checkpoint filled_checkpoint(std::uint64_t lsn, std::size_t filling) {
  v1::Checkpoint checkpoint;
  checkpoint.set_durable_lsn(lsn);
  checkpoint.set_transactions(lsn * 7);
  checkpoint.add_books()->set_table(std::string(filling, 'x'));
  return checkpoint;
}

// A child that runs one hidden test on a directory, and the end of the pipe that it reports to.
class Child {
 public:
  Child(const char* test, const std::string& directory) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    REQUIRE(::setenv("WALIGN_TEST_DIRECTORY", directory.c_str(), 1) == 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], kReportFd);
    std::string self = "/proc/self/exe";
    std::string name = test;
    char* arguments[] = {self.data(), name.data(), nullptr};
    const int failed = ::posix_spawn(&pid_, self.c_str(), &actions, nullptr, arguments, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    reports_ = ends[0];
    REQUIRE(failed == 0);
  }
  ~Child() {
    kill();
    ::close(reports_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Nothing once the child is gone and all it said was read.
  std::optional<std::uint64_t> next_report() const {
    std::uint64_t value = 0;
    ssize_t got = 0;
    do {
      got = ::read(reports_, &value, sizeof value);
    } while (got < 0 && errno == EINTR);
    if (got != sizeof value) return std::nullopt;
    return value;
  }
  void kill() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  int reports_ = -1;
};

std::string given_directory() {
  const char* directory = std::getenv("WALIGN_TEST_DIRECTORY");
  REQUIRE(directory != nullptr);
  return directory;
}

void report(std::uint64_t value) { REQUIRE(::write(kReportFd, &value, sizeof value) == sizeof value); }

}  // namespace

TEST_CASE("child: puts checkpoints until it is killed", "[.]") {
  const auto store = Store::open(given_directory(), "m");
  const auto newest = store->newest_checkpoint();
  for (std::uint64_t lsn = newest ? newest->durable_lsn() + 1 : 1;; ++lsn) {
    store->put_checkpoint(filled_checkpoint(lsn, 20));
    report(lsn);
  }
}

TEST_CASE("child: fills its files as fast as it can until it is killed", "[.]") {
  const auto store = Store::open(given_directory(), "m");
  store->put_identity([] {
    v1::Identity identity;
    identity.set_migration("m");
    return identity;
  }());
  for (std::uint64_t lsn = 1;; ++lsn) {
    store->put_checkpoint(filled_checkpoint(lsn, 200'000));
    report(lsn);
  }
}

TEST_CASE("kill -9 at any moment loses nothing that was put") {
  const TemporaryDirectory base;
  std::mt19937 random(20260131);
  std::uint64_t on_disk = 0;
  for (int round = 0; round < 20; ++round) {
    INFO("round " << round);
    Child child("child: puts checkpoints until it is killed", base / "s");
    const auto first = child.next_report();
    REQUIRE(first.has_value());
    CHECK(*first == on_disk + 1);
    // The pipe holds what is said meanwhile: 64 kB, 8 bytes each.
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 30'000));
    child.kill();
    std::uint64_t told = *first;
    while (const auto next = child.next_report()) {
      CHECK(*next == told + 1);
      told = *next;
    }
    const auto store = Store::open(base / "s", "m");
    const auto newest = store->newest_checkpoint();
    REQUIRE(newest.has_value());
    on_disk = newest->durable_lsn();
    CHECK((on_disk == told || on_disk == told + 1));  // the last one may not have come to tell
    const auto all = store->checkpoints(1'000'000);
    REQUIRE(all.size() == std::min<std::size_t>(on_disk, 10'000 + 1));
    for (std::size_t i = 0; i < std::min<std::size_t>(all.size(), 10'000); ++i) {
      if (all[i].SerializeAsString() != filled_checkpoint(on_disk - i, 20).SerializeAsString()) {
        FAIL("checkpoint " << on_disk - i << " is not what was put");
      }
    }
  }
}

TEST_CASE("a directory that another process holds is refused, naming it") {
  const TemporaryDirectory base;
  Child child("child: puts checkpoints until it is killed", base / "s");
  REQUIRE(child.next_report().has_value());
  try {
    Store::open(base / "s", "m");
    FAIL("two processes hold one directory");
  } catch (const Error& error) {
    INFO(error.describe());
    CHECK(error.kind() == ErrorKind::precondition);
    CHECK(error.message().find(base / "s") != std::string::npos);
    CHECK(error.message().find(cat("process ", child.pid())) != std::string::npos);
    CHECK(error.hint().find("walign status") != std::string::npos);
  }
  CHECK(child.next_report().has_value());  // and it goes on
  child.kill();
  CHECK(Store::open(base / "s", "m")->newest_checkpoint().has_value());
}

TEST_CASE("a reader beside a writer that rolls its files always sees a whole store") {
  const TemporaryDirectory base;
  Child child("child: fills its files as fast as it can until it is killed", base / "s");
  auto told = child.next_report();
  REQUIRE(told.has_value());
  std::uint64_t seen = 0;
  for (int i = 0; i < 40; ++i) {
    for (int n = 0; n < 3; ++n) told = child.next_report();
    REQUIRE(told.has_value());
    const auto store = Store::open_read_only(base / "s");
    CHECK(store->identity()->migration() == "m");
    const auto newest = store->newest_checkpoint();
    REQUIRE(newest.has_value());
    CHECK(newest->durable_lsn() >= *told);
    CHECK(newest->durable_lsn() >= seen);
    seen = newest->durable_lsn();
  }
}
