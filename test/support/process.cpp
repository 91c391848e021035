#include "support/process.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace walign::test {

namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

int memory_file(const char* name) {
  const int fd = memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) fail("memfd_create");
  return fd;
}

std::string read_all(int fd) {
  struct stat info = {};
  if (fd < 0 || fstat(fd, &info) != 0) return {};
  std::string text(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = pread(fd, text.data() + have, text.size() - have, static_cast<off_t>(have));
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

int input_file(const std::string& text) {
  const int fd = memory_file("stdin");
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t put = pwrite(fd, text.data() + written, text.size() - written, static_cast<off_t>(written));
    if (put <= 0) fail("writing a program's input");
    written += static_cast<std::size_t>(put);
  }
  return fd;
}

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& added) {
  std::map<std::string, std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string::npos) merged[text.substr(0, equals)] = text.substr(equals + 1);
  }
  for (const auto& [name, value] : added) merged[name] = value;
  std::vector<std::string> out;
  for (const auto& [name, value] : merged) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

struct Account {
  uid_t uid = 0;
  gid_t gid = 0;
};

std::optional<Account> account_of(const std::string& user) {
  if (user.empty()) return std::nullopt;
  const passwd* entry = getpwnam(user.c_str());
  if (entry == nullptr) throw std::runtime_error("there is no user " + user + " on this machine");
  return Account{entry->pw_uid, entry->pw_gid};
}

// All that the child needs, made before fork(): after it only system calls are allowed.
struct Plan {
  char* const* argv = nullptr;
  char* const* envp = nullptr;
  const char* directory = nullptr;
  std::optional<Account> account;
  bool dies_with_thread = true;
  pid_t parent = 0;
  int in = -1;
  int out = -1;
  int err = -1;
  int report = -1;  // errno goes here if the program cannot be started
};

[[noreturn]] void become(const Plan& plan) {
  bool ok = dup2(plan.in, 0) == 0 && dup2(plan.out, 1) == 1 && dup2(plan.err, 2) == 2;
  if (ok && plan.account) {
    ok = setgroups(0, nullptr) == 0 && setgid(plan.account->gid) == 0 && setuid(plan.account->uid) == 0;
  }
  // After the change of user, which would clear it.
  if (ok && plan.dies_with_thread) ok = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == plan.parent;
  if (ok && plan.directory != nullptr) ok = chdir(plan.directory) == 0;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (ok) execvpe(plan.argv[0], plan.argv, plan.envp);
  const int error = errno;
  const ssize_t ignored = write(plan.report, &error, sizeof error);
  static_cast<void>(ignored);
  _exit(127);
}

// Forks, and waits until the program runs or has failed to.
pid_t spawn(Plan& plan, const std::string& name) {
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) fail("pipe");
  plan.report = report[1];
  plan.parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become(plan);
  close(report[1]);
  int error = 0;
  const bool failed = pid < 0 || read(report[0], &error, sizeof error) == sizeof error;
  close(report[0]);
  if (!failed) return pid;
  if (pid > 0) waitpid(pid, nullptr, 0);
  throw std::runtime_error("cannot start " + name + ": " + std::strerror(error));
}

int code_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

}  // namespace

Process::Process(std::vector<std::string> args, const ProcessOptions& options) : name_(args.at(0)) {
  auto env = merged_environment(options.env);
  const auto argv = pointers(args);
  const auto envp = pointers(env);
  Plan plan;
  plan.argv = argv.data();
  plan.envp = envp.data();
  plan.directory = options.directory.empty() ? nullptr : options.directory.c_str();
  plan.account = account_of(options.user);
  plan.dies_with_thread = options.dies_with_thread;
  plan.in = options.input_fd >= 0 ? dup(options.input_fd) : input_file(options.input);
  if (options.log_file.empty()) {
    out_ = memory_file("stdout");
    err_ = memory_file("stderr");
  } else {
    out_ = open(options.log_file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    err_ = dup(out_);
    if (out_ < 0) fail(options.log_file);
  }
  plan.out = out_;
  plan.err = err_;
  try {
    pid_ = spawn(plan, name_);
  } catch (...) {
    close(plan.in);
    close_all();
    throw;
  }
  close(plan.in);
}

Process::~Process() {
  if (pid_ > 0) kill();
  close_all();
}

Process::Process(Process&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      out_(std::exchange(other.out_, -1)),
      err_(std::exchange(other.err_, -1)),
      code_(other.code_) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(pid_, other.pid_);
  std::swap(out_, other.out_);
  std::swap(err_, other.err_);
  std::swap(code_, other.code_);
  return *this;
}

void Process::close_all() noexcept {
  for (int* fd : {&out_, &err_}) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }
}

bool Process::running() { return !try_wait(Millis(0)); }

void Process::signal(int number) {
  if (running()) ::kill(pid_, number);
}

void Process::kill() {
  if (code_) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  code_ = code_of(status);
}

std::optional<int> Process::try_wait(Millis timeout) {
  const auto ended = [&] {
    if (code_) return true;
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
    code_ = code_of(status);
    return true;
  };
  eventually(ended, timeout, 2ms);
  return code_;
}

int Process::wait(Millis timeout) {
  if (const auto code = try_wait(timeout)) return *code;
  throw std::runtime_error(name_ + " still runs after " + std::to_string(timeout.count()) +
                           " ms; its output:\n" + out() + err());
}

std::string Process::out() const { return read_all(out_); }
std::string Process::err() const { return read_all(err_); }

bool Process::wait_for_output(const std::string& text, Millis timeout) {
  bool found = false;
  eventually(
      [&] {
        const bool ended = !running();  // before looking: what it printed last counts
        found = err().find(text) != std::string::npos || out().find(text) != std::string::npos;
        return found || ended;
      },
      timeout);
  return found;
}

Finished run(std::vector<std::string> args, const ProcessOptions& options, Millis timeout) {
  Process process(std::move(args), options);
  const int code = process.wait(timeout);
  return {code, process.out(), process.err()};
}

}  // namespace walign::test
