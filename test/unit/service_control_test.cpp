#include <fcntl.h>

#include "service_test.hpp"

using namespace walign;
using namespace walign::service;

namespace {

// The mask as it was, whatever a test sets it to.
class Umask {
 public:
  explicit Umask(mode_t mask) : before_(::umask(mask)) {}
  ~Umask() { ::umask(before_); }
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;

 private:
  mode_t before_;
};

mode_t mode_of(const std::string& path) {
  struct stat found {};
  REQUIRE(::stat(path.c_str(), &found) == 0);
  return found.st_mode;
}

void leave_stale_socket(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(fd, 1) == 0);
  ::close(fd);
}

}  // namespace

TEST_CASE("a client asks and steers over the control socket") {
  const TemporaryDirectory directory;
  Calls calls;
  const ControlServer server(directory.path(), remembering(calls));
  const ControlClient client(directory.path());
  CHECK(client.sidecar_runs());
  CHECK(client.status_json() == status_json(streaming_status()));
  CHECK(client.pause("apply"));
  client.resume("apply");
  client.retry_dead_letter(17);
  client.discard_dead_letter(9'223'372'036'854'775'807);
  CHECK(calls.all() ==
        std::vector<std::string>{"pause", "resume", "retry 17", "discard 9223372036854775807"});
}

TEST_CASE("a pause says whether what was begun is still being written") {
  const TemporaryDirectory directory;
  Calls calls;
  auto handlers = remembering(calls);
  handlers.pause_apply = [] { return false; };
  const ControlServer server(directory.path(), std::move(handlers));
  CHECK(!ControlClient(directory.path()).pause("apply"));
}

TEST_CASE("the control socket is its owner's only, whatever the umask") {
  const TemporaryDirectory directory;
  Calls calls;
  const std::string path = directory.path() + "/control.sock";
  for (const mode_t mask : {mode_t{0}, mode_t{022}}) {
    const Umask set(mask);
    {
      const ControlServer server(directory.path(), remembering(calls));
      CHECK(mode_of(path) == (S_IFSOCK | 0600U));
      const mode_t after = ::umask(mask);
      CHECK(after == mask);
    }
    CHECK(!fs::exists(path));
  }
}

TEST_CASE("the socket of a dead process is replaced") {
  const TemporaryDirectory directory;
  Calls calls;
  leave_stale_socket(directory.path() + "/control.sock");
  CHECK(!ControlClient(directory.path()).sidecar_runs());
  const ControlServer server(directory.path(), remembering(calls));
  CHECK(ControlClient(directory.path()).sidecar_runs());
}

TEST_CASE("a socket that is listened on is not taken over") {
  const TemporaryDirectory directory;
  Calls calls;
  const ControlServer first(directory.path(), remembering(calls));
  const auto error = refusal([&] { const ControlServer second(directory.path(), remembering(calls)); });
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(ControlClient(directory.path()).sidecar_runs());
}

TEST_CASE("what is not a socket is not deleted") {
  const TemporaryDirectory directory;
  Calls calls;
  const std::string path = directory.path() + "/control.sock";
  std::ofstream(path) << "precious";
  const auto error = refusal([&] { const ControlServer server(directory.path(), remembering(calls)); });
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(has(error.message(), "not a socket"));
  CHECK(fs::file_size(path) == 8);
}

TEST_CASE("a path too long for a socket is refused with its length and the remedy") {
  const TemporaryDirectory directory;
  Calls calls;
  const std::string fits = cat(directory.path(), "/", std::string(107 - directory.path().size() - 14, 'x'));
  REQUIRE(cat(fits, "/control.sock").size() == 107);
  fs::create_directory(fits);
  fs::create_directory(fits + "x");
  { const ControlServer server(fits, remembering(calls)); }
  const auto error = refusal([&] { const ControlServer server(fits + "x", remembering(calls)); });
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(has(error.message(), "108"));
  CHECK(has(error.message(), "107"));
  CHECK(has(error.hint(), "state:"));
  CHECK(refusal([&] { (void)ControlClient(fits + "x").status_json(); }).kind() == ErrorKind::precondition);
}

TEST_CASE("without a sidecar a client says so, and a status is none") {
  const TemporaryDirectory directory;
  for (const std::string& state : {directory.path(), directory.path() + "/missing"}) {
    const ControlClient client(state);
    CHECK(!client.sidecar_runs());
    CHECK(!client.status_json());
    const auto error = refusal([&] { (void)client.pause("apply"); });
    CHECK(error.kind() == ErrorKind::precondition);
    CHECK(has(error.message(), "no sidecar runs"));
    CHECK(has(error.hint(), "walign run"));
  }
}

TEST_CASE("a backfill that does not run cannot be held") {
  const TemporaryDirectory directory;
  Calls calls;
  const ControlServer server(directory.path(), remembering(calls));
  const auto error = refusal([&] { (void)ControlClient(directory.path()).pause("backfill"); });
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(error.message() == "there is no backfill running");
  CHECK(refusal([&] { ControlClient(directory.path()).resume("everything"); }).kind() == ErrorKind::usage);
  CHECK(calls.all().empty());
}

TEST_CASE("an error comes over the socket with its kind, message, SQLSTATE, position and hint") {
  const TemporaryDirectory directory;
  Calls calls;
  for (const auto kind :
       {ErrorKind::usage, ErrorKind::precondition, ErrorKind::conflict, ErrorKind::transient,
        ErrorKind::connection, ErrorKind::in_doubt, ErrorKind::query}) {
    auto handlers = remembering(calls);
    handlers.retry_dead_letter = [kind](std::int64_t) {
      throw Error(kind, "it does not fit \"yet\"", "make room").with_sqlstate("23514").at(Lsn(0x10));
    };
    const ControlServer server(directory.path(), handlers);
    const auto error = refusal([&] { ControlClient(directory.path()).retry_dead_letter(1); });
    CHECK(error.kind() == kind);
    CHECK(error.message() == "it does not fit \"yet\" (SQLSTATE 23514) (at 0/10)");
    CHECK(error.hint() == "make room");
  }
}

TEST_CASE("what the control socket does not know, it refuses") {
  const TemporaryDirectory directory;
  Calls calls;
  const ControlServer server(directory.path(), remembering(calls));
  const std::string path = directory.path() + "/control.sock";
  const auto status_of = [&](const char* method, const char* target) {
    return converse(connect_unix(path), request(method, target)).substr(9, 3);
  };
  CHECK(status_of("GET", "/v1/status") == "200");
  CHECK(status_of("POST", "/v1/pause") == "400");
  CHECK(status_of("POST", "/v1/dead-letters/0/retry") == "400");
  CHECK(status_of("POST", "/v1/dead-letters/-1/retry") == "400");
  CHECK(status_of("POST", "/v1/dead-letters/99999999999999999999/retry") == "400");
  CHECK(status_of("POST", "/v1/dead-letters/1/eat") == "404");
  CHECK(status_of("POST", "/v1/dead-letters/") == "404");
  CHECK(status_of("GET", "/v1/pause?what=apply") == "404");
  CHECK(status_of("GET", "/v1/dead-letters/1/discard") == "404");
  CHECK(status_of("POST", "/v1/status") == "404");
  CHECK(calls.all().empty());
}
