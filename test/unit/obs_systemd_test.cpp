// What a service manager hears, on sockets of the test's own.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <map>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"
#include "walign/systemd.hpp"

using namespace walign;
using namespace walign::obs;

namespace {

// `name` as NOTIFY_SOCKET has it.
class Manager {
 public:
  explicit Manager(std::string name) : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (name.front() == '@') name.front() = '\0';
    REQUIRE(name.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, name.data(), name.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), size) == 0);
  }
  ~Manager() { ::close(fd_); }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  std::string hears() const {
    std::string text(4096, '\0');
    const auto size = ::recv(fd_, text.data(), text.size(), MSG_DONTWAIT);
    text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return text;
  }

 private:
  const int fd_;
};

ServiceManager::Environment of(const std::map<std::string, std::string>& values) {
  return [values](const char* name) -> const char* {
    static thread_local std::string kept;
    const auto found = values.find(name);
    if (found == values.end()) return nullptr;
    kept = found->second;
    return kept.c_str();
  };
}

}  // namespace

TEST_CASE("a manager hears what it is told, on a socket with a name") {
  const test::TemporaryDirectory at;
  const std::string path = at / "notify";
  const Manager manager(path);
  const ServiceManager told(of({{"NOTIFY_SOCKET", path}}));
  CHECK(told.listens());
  CHECK_FALSE(told.watchdog());
  CHECK(told.tell("READY=1\nSTATUS=streaming"));
  CHECK(manager.hears() == "READY=1\nSTATUS=streaming");
}

TEST_CASE("a manager hears what it is told, on an abstract socket") {
  const std::string name = "@walign-test-" + std::to_string(::getpid());
  const Manager manager(name);
  const ServiceManager told(of({{"NOTIFY_SOCKET", name}, {"WATCHDOG_USEC", "2000000"}}));
  CHECK(told.tell("WATCHDOG=1"));
  CHECK(manager.hears() == "WATCHDOG=1");
  CHECK(told.watchdog() == std::chrono::seconds(2));
}

TEST_CASE("without a manager nothing is told, and nothing fails") {
  const ServiceManager none(of({}));
  CHECK_FALSE(none.listens());
  CHECK_FALSE(none.tell("READY=1"));
  const ServiceManager elsewhere(of({{"NOTIFY_SOCKET", "vsock:2:1234"}}));
  CHECK_FALSE(elsewhere.listens());
  const ServiceManager too_long(of({{"NOTIFY_SOCKET", "/" + std::string(200, 'x')}}));
  CHECK_FALSE(too_long.listens());
  const ServiceManager gone(of({{"NOTIFY_SOCKET", "/no/such/socket"}}));
  CHECK_FALSE(gone.tell("READY=1"));
}

TEST_CASE("a watchdog of another process, or one that is no number, is none") {
  CHECK_FALSE(ServiceManager(of({{"NOTIFY_SOCKET", "/s"}, {"WATCHDOG_USEC", "1000"}, {"WATCHDOG_PID", "1"}}))
                  .watchdog());
  CHECK_FALSE(ServiceManager(of({{"NOTIFY_SOCKET", "/s"}, {"WATCHDOG_USEC", "1000s"}})).watchdog());
  CHECK_FALSE(ServiceManager(of({{"NOTIFY_SOCKET", "/s"}, {"WATCHDOG_USEC", "0"}})).watchdog());
  CHECK(ServiceManager(of({{"NOTIFY_SOCKET", "/s"},
                           {"WATCHDOG_USEC", "1000"},
                           {"WATCHDOG_PID", std::to_string(::getpid())}}))
            .watchdog() == std::chrono::microseconds(1000));
}
