// Logs and progress as an operator finds them: on standard error itself, a file, a pipe or a terminal.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "obs/escape.hpp"
#include "obs/terminal.hpp"
#include "support/catch.hpp"
#include "walign/obs.hpp"

using namespace walign;
using namespace walign::obs;

namespace {

// Standard error leads elsewhere while this lives.
class Redirected {
 public:
  explicit Redirected(int to) : saved_(::dup(STDERR_FILENO)) { REQUIRE(::dup2(to, STDERR_FILENO) >= 0); }
  ~Redirected() {
    ::dup2(saved_, STDERR_FILENO);
    ::close(saved_);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;

 private:
  int saved_;
};

struct Descriptor {
  explicit Descriptor(int fd_) : fd(fd_) { REQUIRE(fd >= 0); }
  ~Descriptor() { ::close(fd); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  const int fd;
};

// What `action` writes to standard error where that is a file.
template <class Action>
std::string captured(Action action) {
  const Descriptor file(::memfd_create("stderr", 0));
  {
    const Redirected redirected(file.fd);
    action();
  }
  std::string text(static_cast<std::size_t>(::lseek(file.fd, 0, SEEK_END)), '\0');
  REQUIRE(::pread(file.fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  return text;
}

// What `action` writes to standard error where that is a terminal of so many columns.
template <class Action>
std::string captured_on_terminal(unsigned short columns, Action action) {
  const Descriptor screen(::posix_openpt(O_RDWR | O_NOCTTY));
  REQUIRE(::grantpt(screen.fd) == 0);
  REQUIRE(::unlockpt(screen.fd) == 0);
  const Descriptor terminal(::open(::ptsname(screen.fd), O_RDWR | O_NOCTTY));
  termios mode{};
  REQUIRE(::tcgetattr(terminal.fd, &mode) == 0);
  mode.c_oflag &= ~static_cast<tcflag_t>(OPOST);  // a newline stays one byte
  REQUIRE(::tcsetattr(terminal.fd, TCSANOW, &mode) == 0);
  const winsize size{24, columns, 0, 0};
  REQUIRE(::ioctl(terminal.fd, TIOCSWINSZ, &size) == 0);
  {
    const Redirected redirected(terminal.fd);
    action();
  }
  std::string text;
  char buffer[4096];
  for (pollfd ready{screen.fd, POLLIN, 0}; ::poll(&ready, 1, 50) > 0;) {
    const auto got = ::read(screen.fd, buffer, sizeof buffer);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

// Sets an environment variable, or removes it, and puts back what was there.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~Environment() { set(before_ ? before_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const char* value) const {
    if (value == nullptr) {
      ::unsetenv(name_);
    } else {
      ::setenv(name_, value, 1);
    }
  }
  const char* name_;
  std::optional<std::string> before_;
};

// Terminals here can do what most can, whatever the one is that the tests run on.
const Environment usual_terminal("TERM", "xterm");

// Logging as it is before anybody starts it, again after each test.
struct Logging {
  Logging(Level level, LogFormat format) { start_logging(level, format); }
  ~Logging() { start_logging(Level::info, LogFormat::text); }
  Logging(const Logging&) = delete;
  Logging& operator=(const Logging&) = delete;
};

// A line without its time stamp, which must be one: 2026-01-31T12:00:00.123Z, `before` bytes in.
std::string without_time(const std::string& line, std::size_t before = 0) {
  REQUIRE(line.size() > before + 24);
  const std::string shape = "dddd-dd-ddTdd:dd:dd.dddZ";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const char c = line[before + i];
    INFO(line << " at " << i);
    if (shape[i] == 'd') {
      CHECK((c >= '0' && c <= '9'));
    } else {
      CHECK(c == shape[i]);
    }
  }
  return line.substr(0, before) + line.substr(before + 24);
}

std::string text_line(const std::function<void()>& action) { return without_time(captured(action)); }

std::string json_line(const std::function<void()>& action) {
  const Logging logging(Level::trace, LogFormat::json);
  return without_time(captured(action), std::string_view(R"({"time":")").size());
}

std::size_t count(const std::string& text, std::string_view what) {
  std::size_t found = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++found;
  return found;
}

}  // namespace

TEST_CASE("a text log line is time, level, message and fields") {
  CHECK(text_line([] { info("started"); }) == " info  started\n");
  CHECK(text_line([] {
          warn("slot lags", {{"slot", "walign_x"}, {"lag_bytes", 12}, {"lsn", Lsn(0x100)}, {"ok", false}});
        }) == " warn  slot lags slot=walign_x lag_bytes=12 lsn=0/100 ok=false\n");
  CHECK(text_line([] {
          error("x", {{"why", "two words"}, {"what", ""}, {"sql", "a=\"b\\c\""}});
        }) == " error x why=\"two words\" what=\"\" sql=\"a=\\\"b\\\\c\\\"\"\n");
}

TEST_CASE("a json log line is one object of strings") {
  CHECK(json_line([] { info("started"); }) == R"({"time":"","level":"info","message":"started"})"
                                              "\n");
  CHECK(json_line([] {
          debug("a \"b\" \\ {} %v", {{"lag", 1.5}, {"ok", true}});
        }) == R"({"time":"","level":"debug","message":"a \"b\" \\ {} %v","lag":"1.5","ok":"true"})"
              "\n");
  CHECK(json_line([] {
          info("m", {{"time", 1}, {"level", 2}, {"message", 3}});
        }) == R"({"time":"","level":"info","message":"m","time_":"1","level_":"2","message_":"3"})"
              "\n");
}

TEST_CASE("whatever a field holds, a log line stays one line and cannot steer a terminal") {
  const std::string nasty = "a\nb\r\tc\x1b[2J\x7f\xc2\x9b\xe2\x80\xa8z\xff";
  CHECK(text_line([&] {
          info(nasty, {{"v", nasty}});
        }) == R"( info  a\nb\r\tc\x1b[2J\x7f\x9b\u2028z\xff v="a\nb\r\tc\x1b[2J\x7f\x9b\u2028z\xff")"
              "\n");
  CHECK(json_line([&] { info(nasty); }) ==
        R"({"time":"","level":"info","message":"a\nb\r\tc\u001b[2J\u007f\u009b\u2028z)"
        "\xEF\xBF\xBD\"}\n");
  CHECK(text_line([] { info("zahlung für 日本 😀", {{"k", "für"}}); }) == " info  zahlung für 日本 😀 k=für\n");
  const std::string zero("a\0b", 3);
  CHECK(text_line([&] { info(zero); }) == " info  a\\x00b\n");
}

TEST_CASE("bytes that are not UTF-8 are told from those that are") {
  // Cut short, overlong, a surrogate, above U+10FFFF, a continuation alone.
  for (const char* bad : {"\xc3", "\xe2\x80", "\xf0\x9f\x98", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf",
                          "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\x80", "\xc3("}) {
    INFO(bad);
    CHECK(escape_text(bad).find("\\x") == 0);
    CHECK(quote_json(bad).find("\"\xEF\xBF\xBD") == 0);
  }
  for (const char* good : {"\xc2\xa0", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                           "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(escape_text(good) == good);
    CHECK(quote_json(good) == cat('"', good, '"'));
  }
}

TEST_CASE("what is below the level is not written") {
  const Logging logging(Level::warn, LogFormat::text);
  const auto text = captured([] {
    log(Level::trace, "no");
    debug("no");
    info("no");
    warn("yes");
    error("yes");
    log(Level::off, "no");
  });
  CHECK(count(text, "\n") == 2);
  CHECK(count(text, "no") == 0);
  start_logging(Level::off, LogFormat::json);
  CHECK(captured([] { error("no"); }).empty());
}

TEST_CASE("levels are read by their names") {
  for (const auto& [word, level] : {std::pair{"trace", Level::trace},
                                    {"debug", Level::debug},
                                    {"info", Level::info},
                                    {"warn", Level::warn},
                                    {"error", Level::error},
                                    {"off", Level::off}}) {
    CHECK(parse_level(word) == level);
  }
  for (const char* bad : {"", "INFO", "warning", "info ", "err"}) CHECK_FALSE(parse_level(bad).has_value());
}

TEST_CASE("an error is logged with its position, SQLSTATE and hint") {
  const auto whole =
      Error(ErrorKind::query, "no such table", "create it").with_sqlstate("42P01").at(Lsn(0x1F));
  CHECK(text_line([&] { log_error(Level::error, "applying", whole); }) ==
        " error applying: no such table lsn=0/1F sqlstate=42P01 hint=\"create it\"\n");
  CHECK(text_line([] { log_error(Level::warn, "x", Error(ErrorKind::bug, "a\nb")); }) == " warn  x: a\\nb\n");
  CHECK(text_line([] { log_error(Level::warn, "", Error(ErrorKind::bug, "b")); }) == " warn  b\n");
}

TEST_CASE("lines of many threads come out whole") {
  constexpr int kThreads = 8;
  constexpr int kLines = 200;
  const std::string filling(300, 'x');
  const auto text = captured([&] {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kLines; ++i) info("m", {{"thread", t}, {"filling", filling}});
      });
    }
    for (auto& thread : threads) thread.join();
  });
  CHECK(count(text, "\n") == kThreads * kLines);
  CHECK(count(text, " filling=" + filling + "\n") == kThreads * kLines);
}

TEST_CASE("a full pipe is waited for, also where it does not block") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_NONBLOCK) == 0);
  const Descriptor out(ends[0]);
  std::string text;
  constexpr std::size_t kBytes = 300'000;  // a pipe holds 64 kB
  std::thread reader([&] {
    char buffer[4096];
    while (text.size() < kBytes) {
      pollfd ready{out.fd, POLLIN, 0};
      if (::poll(&ready, 1, 5000) <= 0) return;
      const auto got = ::read(out.fd, buffer, sizeof buffer);
      if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
    }
  });
  {
    const Descriptor in(ends[1]);
    const Redirected redirected(in.fd);
    info(std::string(kBytes, 'y'));
    reader.join();
  }
  CHECK(count(text, "y") > kBytes - 100);
}

TEST_CASE("levels have colours on a terminal only") {
  const Environment wanted("NO_COLOR", nullptr);
  const auto coloured = captured_on_terminal(80, [] { warn("w"); });
  CHECK(without_time(coloured) == " \x1b[33mwarn \x1b[0m w\n");
  CHECK(captured([] { warn("w"); }).find('\x1b') == std::string::npos);
  const Environment unwanted("NO_COLOR", "1");
  CHECK(without_time(captured_on_terminal(80, [] { warn("w"); })) == " warn  w\n");
}

// ------------------------------------------------------------------------------------------- progress

TEST_CASE("progress into a file is a line now and then, and the last one") {
  const auto text = captured([] {
    Progress progress(std::chrono::hours(1));
    for (int i = 0; i <= 1000; ++i) progress.show(cat("rows ", i));
  });
  CHECK(text == "rows 0\nrows 1000\n");
}

TEST_CASE("progress into a file writes again after its time") {
  const auto text = captured([] {
    Progress progress(std::chrono::milliseconds(20));
    progress.show("a");
    progress.show("b");
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    progress.show("c");
    progress.show("c");
  });
  CHECK(text == "a\nc\n");
}

TEST_CASE("no progress, no line") {
  CHECK(captured([] { const Progress progress; }).empty());
  CHECK(captured_on_terminal(80, [] { const Progress progress; }).empty());
}

TEST_CASE("progress among json logs is json") {
  const Logging logging(Level::info, LogFormat::json);
  const auto text = captured([] { Progress().show("rows 5"); });
  CHECK(without_time(text, 9) == R"({"time":"","level":"info","message":"rows 5"})"
                                 "\n");
}

TEST_CASE("progress on a terminal is redrawn in place and ends with a newline") {
  const auto text = captured_on_terminal(80, [] {
    Progress progress;
    progress.show("one");
    progress.show("two");  // at once: too soon to be drawn
    progress.show("three");
  });
  CHECK(text == "\r\x1b[Kone\r\x1b[Kthree\n");
}

TEST_CASE("progress never wraps and never steers the terminal") {
  CHECK(captured_on_terminal(10, [] { Progress().show("0123456789abc"); }) == "\r\x1b[K012345678\n");
  CHECK(captured_on_terminal(5, [] { Progress().show("äöüßé"); }) == "\r\x1b[Käöüß\n");
  CHECK(captured_on_terminal(80, [] { Progress().show("a\nb\x1b[2J"); }) == "\r\x1b[Ka\\nb\\x1b[2J\n");
  CHECK(captured_on_terminal(0, [] { Progress().show(std::string(200, 'x')); }) ==
        cat("\r\x1b[K", std::string(79, 'x'), "\n"));
  CHECK(cut("äö", 0).empty());
  CHECK(cut("äö", 1) == "ä");
  CHECK(cut("äö", 2) == "äö");
  CHECK(cut("", 5).empty());
}

TEST_CASE("a dumb terminal gets lines and no control sequences") {
  const Environment kind("TERM", "dumb");
  CHECK(captured_on_terminal(80, [] {
          Progress progress(std::chrono::hours(1));
          progress.show("one");
          progress.show("two");
          progress.show("three");
        }) == "one\nthree\n");
  CHECK(without_time(captured_on_terminal(80, [] { warn("w"); })) == " warn  w\n");
}

TEST_CASE("a log line goes above the progress line, which stays") {
  const Environment plain("NO_COLOR", "1");
  const auto text = captured_on_terminal(80, [] {
    Progress progress;
    progress.show("rows 5");
    info("hello");
  });
  const auto time = text.find("20");
  REQUIRE(time != std::string::npos);
  CHECK(without_time(text, time) == "\r\x1b[Krows 5\r\x1b[K info  hello\nrows 5\n");
}

TEST_CASE("log lines and progress of many threads never share a line") {
  const Environment plain("NO_COLOR", "1");
  // Every log line is followed by the progress line, drawn again.
  std::string text;
  std::thread reader;
  const Descriptor screen(::posix_openpt(O_RDWR | O_NOCTTY));
  REQUIRE(::grantpt(screen.fd) == 0);
  REQUIRE(::unlockpt(screen.fd) == 0);
  {
    const Descriptor terminal(::open(::ptsname(screen.fd), O_RDWR | O_NOCTTY));
    reader = std::thread([&] {
      char buffer[4096];
      for (ssize_t got = 0; (got = ::read(screen.fd, buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<std::size_t>(got));
      }
    });
    const Redirected redirected(terminal.fd);
    Progress progress;
    progress.show("PROGRESS");
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 100; ++i) info("LOG");
      });
    }
    for (int i = 0; i < 100; ++i) progress.show("PROGRESS");
    for (auto& thread : threads) thread.join();
  }
  reader.join();  // its read fails once the last one has closed the terminal
  CHECK(count(text, "info  LOG") == 400);
  CHECK(count(text, "LOG\r\nPROGRESS") == 400);
}

TEST_CASE("a log line that goes to the journal has its priority before it, and no time") {
  const Descriptor file(::memfd_create("journal", 0));
  struct stat its {};
  REQUIRE(::fstat(file.fd, &its) == 0);
  const Environment stream("JOURNAL_STREAM", cat(its.st_dev, ":", its.st_ino).c_str());
  const auto written = [&](auto action) {
    REQUIRE(::ftruncate(file.fd, 0) == 0);
    REQUIRE(::lseek(file.fd, 0, SEEK_SET) == 0);
    {
      const Redirected redirected(file.fd);
      action();
    }
    std::string text(static_cast<std::size_t>(::lseek(file.fd, 0, SEEK_END)), '\0');
    REQUIRE(::pread(file.fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    return text;
  };
  start_logging(Level::debug, LogFormat::text);
  CHECK(written([] { info("streaming", {{"lsn", "0/1"}}); }) == "<6>info  streaming lsn=0/1\n");
  CHECK(written([] { debug("d"); }) == "<7>debug d\n");
  CHECK(written([] { warn("w"); }) == "<4>warn  w\n");
  CHECK(written([] { error("e"); }) == "<3>error e\n");
  CHECK(written([] {
          Progress progress;
          progress.show("half way");
        }) == "<6>info  half way\n");
  start_logging(Level::info, LogFormat::json);
  CHECK(written([] { info("streaming"); }).starts_with("<6>{\"time\":\""));
  start_logging(Level::info, LogFormat::text);
  // Somebody has led standard error elsewhere since.
  CHECK_FALSE(captured([] { info("streaming"); }).starts_with("<"));
}
