// Programs started by a test: what they print is kept, and none of them outlives the test.
//
//   Process walign({WALIGN_BINARY, "-c", config, "run"});
//   REQUIRE(walign.wait_for_output("streaming"));
//   walign.signal(SIGTERM);
//   CHECK(walign.wait() == 0);
//
//   const auto plan = run({WALIGN_BINARY, "-c", config, "plan"});
//   CHECK(plan.code == 0);
//   CHECK(plan.out.find("users_async") != std::string::npos);
//
// Output goes to anonymous files in memory, not through pipes: a program never waits for its reader, and
// what it has printed can be read at any time, after its death too. A child is killed when its Process
// is destroyed, and by the kernel when the *thread* that started it ends: start a program from a thread
// that lives as long as it should.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace walign::test {

using namespace std::chrono_literals;
using Millis = std::chrono::milliseconds;

struct ProcessOptions {
  std::map<std::string, std::string> env = {};  // added to the test's own environment
  std::string directory = {};                   // to start in; empty: the test's own
  std::string input = {};                       // what it reads from stdin; then end of file
  int input_fd = -1;                            // its stdin, instead of `input`; stays the caller's to close
  std::string user = {};                        // run as this user (only as root); empty: as the test does
  std::string log_file = {};                    // stdout and stderr are appended here, and not kept
  bool dies_with_thread = true;                 // false: only the destructor ends it
};

class Process {
 public:
  // args[0] is the program, looked up in PATH. Throws std::runtime_error when it cannot be started.
  explicit Process(std::vector<std::string> args, const ProcessOptions& options = {});
  ~Process();  // SIGKILL if it still runs
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool running();
  void signal(int number);  // nothing happens if it has ended
  void kill();              // SIGKILL, and waits until it is gone

  // The exit code; 128 + the signal's number if a signal ended it, as in a shell. wait() throws, with
  // the program's output, when the time is over.
  int wait(Millis timeout = 60s);
  std::optional<int> try_wait(Millis timeout);

  // Everything printed so far.
  [[nodiscard]] std::string out() const;
  [[nodiscard]] std::string err() const;
  // Until stdout or stderr has the text. False: it ended, or the time is over, without.
  bool wait_for_output(const std::string& text, Millis timeout = 30s);

 private:
  void close_all() noexcept;

  std::string name_;
  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::optional<int> code_;
};

struct Finished {
  int code = 0;
  std::string out;
  std::string err;
};
// Starts a program and waits for its end; throws as wait() does.
Finished run(std::vector<std::string> args, const ProcessOptions& options = {}, Millis timeout = 60s);

// Asks again and again until it is so; false when the time is over.
template <class Predicate>
bool eventually(Predicate&& is_so, Millis timeout = 30s, Millis pause = 20ms) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    if (is_so()) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace walign::test
