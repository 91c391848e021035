#include "support/server.hpp"

#include <fcntl.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>

#include "support/cluster.hpp"

namespace walign::test {

namespace fs = std::filesystem;

namespace {

// Reads until the test program is gone (nothing is ever written), then stops what runs in the directory,
// if it is this directory's server and not another process that has got its number, and removes
// everything.
constexpr const char* kWatchdog = R"sh(
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
  kill -QUIT "$pid"
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
fi
for _ in $(seq 50); do rm -rf "$1" && exit; sleep 0.1; done
)sh";

constexpr const char* kSettings = R"(
listen_addresses = '127.0.0.1'
wal_level = logical
max_replication_slots = 20
max_wal_senders = 20
max_connections = 60
max_prepared_transactions = 10
shared_buffers = 32MB
max_wal_size = 512MB
log_line_prefix = '%m [%p] %a '
restart_after_crash = on
)";

constexpr const char* kSourceBin = "WALIGN_TEST_SOURCE_BIN";
constexpr const char* kTargetBin = "WALIGN_TEST_TARGET_BIN";

// Of programs that lie where Debian puts them: .../postgresql/17/bin.
int version_of(const fs::path& bin) {
  return static_cast<int>(std::strtol(bin.parent_path().filename().c_str(), nullptr, 10));
}

std::string server_user() { return geteuid() == 0 ? "postgres" : ""; }

std::string slurp(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A port of 127.0.0.1 that stays ours. Below the range that the kernel gives to outgoing connections
// (32768 and up): from that range, a client that connects again and again while the server is down would
// one day be given the server's own port. An abstract Unix socket of the same number keeps other tests
// away from it while the server is down; it vanishes with this process.
class Port {
 public:
  Port() {
    std::random_device random;
    for (int attempt = 0; attempt < 1000; ++attempt) {
      number_ = 20000 + static_cast<int>(random() % 10000);
      if (reserve() && is_free()) return;
      release();
    }
    throw std::runtime_error("no free TCP port between 20000 and 30000 on 127.0.0.1");
  }
  ~Port() { release(); }
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;
  [[nodiscard]] int number() const { return number_; }

 private:
  bool reserve() {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::string name = "walign-test-port-" + std::to_string(number_);
    std::copy(name.begin(), name.end(), address.sun_path + 1);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(fd_, reinterpret_cast<const sockaddr*>(&address), size) == 0;
  }
  [[nodiscard]] bool is_free() const {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(number_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool ok = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    close(fd);
    return ok;
  }
  void release() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  int number_ = 0;
  int fd_ = -1;
};

std::string percent_encoded(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.') {
      out += c;
      continue;
    }
    char buffer[4];
    std::snprintf(buffer, sizeof buffer, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += buffer;
  }
  return out;
}

std::string conninfo_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

void give_to_server_user(const fs::path& directory) {
  if (server_user().empty()) return;
  const passwd* entry = getpwnam(server_user().c_str());
  if (entry == nullptr)
    throw std::runtime_error("PostgreSQL refuses to run as root, and there is no user postgres");
  if (chown(directory.c_str(), entry->pw_uid, entry->pw_gid) != 0) throw std::runtime_error("chown failed");
}

}  // namespace

// ------------------------------------------------------------------------- what a restart keeps

class Server::Home {
 public:
  explicit Home(const std::string& name) {
    std::string path = "/tmp/walign-test-" + name + "-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot make a directory in /tmp");
    directory = path;
    fs::permissions(directory, fs::perms(0755));  // postgres must get in when we are root
    watch();
  }
  ~Home() {
    close(lifeline_);  // the watchdog removes everything
    eventually([&] { return !fs::exists(directory); }, 20s, 5ms);
  }
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;

  fs::path directory;
  Port port;
  std::optional<Cluster> cluster;

 private:
  // The watchdog holds the other end of a pipe, whose end of file is our death, however it comes. setsid
  // --fork takes it out of our process tree and terminal, where ctest's time-out and Ctrl-C would reach
  // it.
  void watch() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
    lifeline_ = ends[1];
    Process starter({"setsid", "--fork", "sh", "-c", kWatchdog, "sh", directory.string()},
                    {.input_fd = ends[0]});
    close(ends[0]);
    starter.wait();
  }

  int lifeline_ = -1;
};

// ----------------------------------------------------------------------------------------- server

Server::Server(ServerOptions options)
    : options_(std::move(options)), home_(std::make_unique<Home>(options_.name)) {
  give_to_server_user(directory());
  std::vector<std::string> initdb = {
      "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"};
  initdb.insert(initdb.end(), options_.initdb.begin(), options_.initdb.end());
  home_->cluster.emplace(data_directory(), program_directory() / "initdb", initdb, server_user());

  std::ofstream settings(data_directory() / "postgresql.conf", std::ios::app);
  settings << kSettings << "port = " << port() << "\nunix_socket_directories = '" << directory().string()
           << "'\nfsync = " << (options_.fsync ? "on" : "off") << '\n';
  for (const auto& line : options_.settings) settings << line << '\n';

  const fs::path hba = data_directory() / "pg_hba.conf";
  const std::string trusting = slurp(hba);
  std::ofstream rules(hba, std::ios::trunc);
  for (const auto& line : options_.hba) rules << line << '\n';
  rules << trusting;
  rules.close();
  settings.close();
  if (options_.start) start();
}

Server::Server(Server&&) noexcept = default;

Server::~Server() {
  if (postmaster_ && postmaster_->running()) {
    postmaster_->signal(SIGQUIT);
    postmaster_->try_wait(20s);  // then Process kills it
  }
}

void Server::start(Millis timeout) {
  if (running()) return;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    launch(timeout);
    if (postmaster_->running()) return;
    postmaster_.reset();
    // After a SIGKILL the old backends need a moment to see that their postmaster is gone.
    const bool may_pass = log().find("pre-existing shared memory block") != std::string::npos;
    if (!may_pass || std::chrono::steady_clock::now() >= deadline) break;
    std::this_thread::sleep_for(100ms);
  }
  throw std::runtime_error("server " + name() + " does not start; its log:\n" + log());
}

// Returns when it takes connections, or has ended.
void Server::launch(Millis timeout) {
  postmaster_ = std::make_unique<Process>(
      std::vector<std::string>{program_directory() / "postgres", "-D", data_directory().string()},
      ProcessOptions{
          .directory = directory().string(),
          .user = server_user(),
          .log_file = (directory() / "log").string(),
          .dies_with_thread = false});  // a test may start it from a thread; the watchdog is enough
  const auto up = [&] { return PQping(socket_conninfo().c_str()) == PQPING_OK; };
  if (!eventually([&] { return !postmaster_->running() || up(); }, timeout, 10ms)) {
    throw std::runtime_error("server " + name() + " takes no connections after " +
                             std::to_string(timeout.count()) + " ms; its log:\n" + log());
  }
}

void Server::stop(StopMode mode, Millis timeout) {
  if (!running()) return;
  const int signals[] = {SIGTERM, SIGINT, SIGQUIT};
  postmaster_->signal(signals[static_cast<int>(mode)]);
  postmaster_->wait(timeout);
  postmaster_.reset();
}

void Server::restart(StopMode mode) {
  stop(mode);
  start();
}

void Server::kill() {
  if (!postmaster_) return;
  postmaster_->kill();
  postmaster_.reset();
}

bool Server::running() { return postmaster_ && postmaster_->running(); }

void Server::reload() {
  if (postmaster_) postmaster_->signal(SIGHUP);
}

void Server::set(const std::string& name, const std::string& value) {
  Sql sql = connect();
  sql.exec("ALTER SYSTEM SET " + name + " = " + quote_literal(value));
  sql.exec("SELECT pg_reload_conf()");
}

int Server::cut_connections() {
  return connect().scalar<int>(
      "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
      " WHERE pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')");
}

std::string Server::conninfo(const std::string& database) const {
  return "host=127.0.0.1 port=" + std::to_string(port()) +
         " user=postgres dbname=" + conninfo_quoted(database);
}

std::string Server::socket_conninfo(const std::string& database) const {
  return "host=" + directory().string() + " port=" + std::to_string(port()) +
         " user=postgres dbname=" + conninfo_quoted(database);
}

std::string Server::url(const std::string& database) const {
  return "postgresql://postgres@127.0.0.1:" + std::to_string(port()) + "/" + percent_encoded(database);
}

Sql Server::connect(const std::string& database) const { return Sql(conninfo(database)); }

Sql Server::create_database(const std::string& name, const std::string& options) {
  connect().exec("CREATE DATABASE " + quote_ident(name) + " " + options);
  return connect(name);
}

int Server::port() const { return home_->port.number(); }
pid_t Server::pid() const { return postmaster_ ? postmaster_->pid() : -1; }
fs::path Server::directory() const { return home_->directory; }
fs::path Server::data_directory() const { return home_->directory / "data"; }
std::string Server::log() const { return slurp(home_->directory / "log"); }

fs::path Server::program_directory() const {
  const char* of_side = std::getenv(options_.name.ends_with("target") ? kTargetBin : kSourceBin);
  return of_side != nullptr ? fs::path(of_side) : bin_directory();
}

fs::path Server::bin_directory() {
  static const fs::path found = [] {
    fs::path best;
    int best_version = 0;
    const auto consider = [&](const fs::path& bin) {
      const int version = version_of(bin);
      if (version <= best_version || !fs::exists(bin / "initdb")) return;
      best_version = version;
      best = bin;
    };
    for (const char* side : {kSourceBin, kTargetBin}) {
      if (const char* given = std::getenv(side)) consider(given);
    }
    if (!best.empty()) return best;
    if (const char* given = std::getenv("WALIGN_PG_BIN")) return fs::path(given);
    std::error_code none;
    for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", none)) {
      consider(entry.path() / "bin");
    }
    return best;  // empty: PATH
  }();
  return found;
}

}  // namespace walign::test
