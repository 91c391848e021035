// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "hooks.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace walign::cutover {

namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kMaxOutput = std::size_t{64} << 10U;
// How long a hook that was asked to end may take to do so.
constexpr milliseconds kGrace{2'000};

Error cannot(const char* what) {
  return {ErrorKind::storage, cat("cannot run a hook: ", what, ": ", std::strerror(errno)),
          "the system is out of processes, memory or file descriptors"};
}

// Ours, with the hook's own in place of those of the same name.
std::vector<std::string> environment_of(const Hook& hook) {
  std::vector<std::string> out;
  for (char** e = ::environ; *e != nullptr; ++e) {
    const std::string_view entry(*e);
    const auto replaced = [&](const auto& own) { return entry.starts_with(own.first + "="); };
    if (std::none_of(hook.environment.begin(), hook.environment.end(), replaced)) out.emplace_back(entry);
  }
  for (const auto& [name, value] : hook.environment) out.push_back(cat(name, "=", value));
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (auto& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

// Between fork and exec nothing is called that could need a lock which another thread had.
[[noreturn]] void become_hook(int output, char* const* arguments, char* const* environment) {
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) ::signal(number, SIG_DFL);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  ::execve("/bin/sh", arguments, environment);
  ::_exit(127);
}

class Child {
 public:
  explicit Child(const Hook& hook) {
    auto environment = environment_of(hook);
    std::vector<std::string> arguments = {"sh", "-c", hook.command};
    const auto argv = pointers(arguments);
    const auto envp = pointers(environment);
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw cannot("pipe");
    pid_ = ::fork();
    if (pid_ == 0) become_hook(pipe[1], argv.data(), envp.data());
    ::close(pipe[1]);
    out_ = pipe[0];
    if (pid_ < 0) {
      ::close(out_);
      throw cannot("fork");
    }
    ::setpgid(pid_, pid_);  // whichever of the two comes first
    ::fcntl(out_, F_SETFL, O_NONBLOCK);
  }
  ~Child() {
    if (!status_) kill_all(milliseconds(0));
    ::close(out_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // True once the shell has ended.
  bool ended() {
    int status = 0;
    if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
    return status_.has_value();
  }
  // Waits for output, the interrupt or the time.
  void wait(const Interrupt* interrupt, milliseconds time) {
    std::array<pollfd, 2> entries = {
        {{open_ ? out_ : -1, POLLIN, 0}, {interrupt == nullptr ? -1 : interrupt->fd(), POLLIN, 0}}};
    ::poll(entries.data(), entries.size(), static_cast<int>(time.count()));
    read();
  }
  void read() {
    std::array<char, 4096> buffer{};
    for (;;) {
      const auto got = ::read(out_, buffer.data(), buffer.size());
      if (got > 0) {
        output_.append(buffer.data(), static_cast<std::size_t>(got));
        if (output_.size() > 2 * kMaxOutput) output_.erase(0, output_.size() - kMaxOutput);
        continue;
      }
      if (got == 0) open_ = false;
      if (got == 0 || errno != EINTR) return;
    }
  }
  // The whole group: asked first, then made to.
  void kill_all(milliseconds grace) {
    ::kill(-pid_, SIGTERM);
    const auto end = SteadyClock::now() + grace;
    while (!ended() && SteadyClock::now() < end) wait(nullptr, milliseconds(10));
    ::kill(-pid_, SIGKILL);
    int status = 0;
    if (!status_ && ::waitpid(pid_, &status, 0) == pid_) status_ = status;
    read();
  }
  [[nodiscard]] int exit_status() const {
    const int status = status_.value_or(0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  std::string take_output() {
    if (output_.size() > kMaxOutput) output_.erase(0, output_.size() - kMaxOutput);
    return std::move(output_);
  }

 private:
  pid_t pid_ = -1;
  int out_ = -1;
  bool open_ = true;
  std::optional<int> status_;
  std::string output_;
};

}  // namespace

HookResult run_hook(const Hook& hook, const Interrupt* interrupt) {
  HookResult result;
  if (hook.command.empty()) return result;
  const auto start = SteadyClock::now();
  Child child(hook);
  result.ran = true;
  while (!child.ended()) {
    if (interrupt != nullptr && interrupt->raised()) {
      child.kill_all(kGrace);
      interrupt->throw_if_raised();
    }
    if (SteadyClock::now() - start > hook.timeout) {
      result.timed_out = true;
      child.kill_all(kGrace);
      break;
    }
    child.wait(interrupt, milliseconds(10));
  }
  child.read();
  result.exit_status = child.exit_status();
  result.output = child.take_output();
  result.ms = std::chrono::duration<double, std::milli>(SteadyClock::now() - start).count();
  return result;
}

std::vector<std::pair<std::string, std::string>> hook_environment(const std::string& migration, bool forward,
                                                                  std::uint64_t epoch, Lsn fence, Lsn open) {
  return {{"WALIGN_MIGRATION", migration},
          {"WALIGN_DIRECTION", forward ? "forward" : "reverse"},
          {"WALIGN_EPOCH", cat(epoch)},
          {"WALIGN_FENCE_LSN", fence.valid() ? fence.to_string() : ""},
          {"WALIGN_OPEN_LSN", open.valid() ? open.to_string() : ""}};
}

}  // namespace walign::cutover
