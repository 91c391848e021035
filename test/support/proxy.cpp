#include "support/proxy.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <vector>

namespace walign::test {

namespace {

constexpr std::size_t kMostWaiting = 256 << 10U;

using Steady = std::chrono::steady_clock;

sockaddr_in loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int tcp_socket() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

void make_quick(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void close_with_reset(int fd) {
  const linger now = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(fd);
}

}  // namespace

Proxy::Proxy(int server_port) : server_port_(server_port) {
  listener_ = tcp_socket();
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) != 0 || listen(listener_, 64) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("the proxy has no port");
  }
  port_ = ntohs(address.sin_port);
  fcntl(listener_, F_SETFL, O_NONBLOCK);
  wakeup_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  thread_ = std::thread([this] { run(); });
}

Proxy::~Proxy() {
  stopping_.store(true);
  wake();
  thread_.join();
  cut_all();
  close(listener_);
  close(wakeup_);
}

std::string Proxy::url(const Server& server, const std::string& database) const {
  std::string url = server.url(database);
  const std::string old = ":" + std::to_string(server.port()) + "/";
  return url.replace(url.find(old), old.size(), ":" + std::to_string(port_) + "/");
}

void Proxy::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = write(wakeup_, &one, sizeof one);
}

void Proxy::cut() {
  const std::lock_guard lock(mutex_);
  cut_all();
  wake();
}

void Proxy::cut_after(std::size_t bytes, Direction direction) {
  const std::lock_guard lock(mutex_);
  left_[direction] = bytes;
  cut_made_ = false;
}

bool Proxy::has_cut() const {
  const std::lock_guard lock(mutex_);
  return cut_made_;
}

void Proxy::freeze() {
  const std::lock_guard lock(mutex_);
  frozen_ = true;
  wake();
}

void Proxy::thaw() {
  const std::lock_guard lock(mutex_);
  frozen_ = false;
  wake();
}

void Proxy::delay(Millis time) {
  const std::lock_guard lock(mutex_);
  delay_ = time;
}

void Proxy::close_door() {
  const std::lock_guard lock(mutex_);
  door_open_ = false;
}

void Proxy::open_door() {
  const std::lock_guard lock(mutex_);
  door_open_ = true;
}

std::size_t Proxy::connections() const {
  const std::lock_guard lock(mutex_);
  return pairs_.size();
}

std::size_t Proxy::passed(Direction direction) const {
  const std::lock_guard lock(mutex_);
  return passed_[direction];
}

// ---- below, mutex_ is held

void Proxy::close_pair(Pair& pair) {
  if (pair.client < 0) return;
  close_with_reset(pair.client);
  close(pair.server);
  pair.client = pair.server = -1;
  pair.dead = true;
}

void Proxy::cut_all() {
  for (Pair& pair : pairs_) close_pair(pair);
}

void Proxy::accept_one() {
  const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return;
  const int server = tcp_socket();
  const sockaddr_in address = loopback(server_port_);
  if (!door_open_ || connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close_with_reset(client);
    close(server);
    return;
  }
  make_quick(client);
  make_quick(server);
  Pair& pair = pairs_.emplace_back();
  pair.client = client;
  pair.server = server;
  pair.halves[to_server].from = pair.halves[to_client].to = client;
  pair.halves[to_server].to = pair.halves[to_client].from = server;
}

void Proxy::read_some(Pair& pair, Direction direction) {
  Half& half = pair.halves[direction];
  std::array<char, 65536> buffer;
  const auto got = recv(half.from, buffer.data(), buffer.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    half.ended = true;
    return;
  }
  const auto size = static_cast<std::size_t>(got);
  half.pieces.push_back({Steady::now() + delay_, std::string(buffer.data(), size)});
  half.waiting += size;
}

void Proxy::write_some(Pair& pair, Direction direction) {
  Half& half = pair.halves[direction];
  while (!pair.dead && !half.pieces.empty() && half.pieces.front().due <= Steady::now()) {
    Piece& piece = half.pieces.front();
    auto size = piece.bytes.size() - piece.sent;
    if (left_[direction]) size = std::min(size, *left_[direction]);
    const auto sent = size == 0 ? 0 : send(half.to, piece.bytes.data() + piece.sent, size, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) close_pair(pair);
      return;
    }
    const auto count = static_cast<std::size_t>(sent);
    piece.sent += count;
    half.waiting -= count;
    passed_[direction] += count;
    if (piece.sent == piece.bytes.size()) half.pieces.pop_front();
    if (!left_[direction]) continue;
    *left_[direction] -= count;
    if (*left_[direction] != 0) continue;
    left_[direction].reset();
    cut_made_ = true;
    cut_all();
  }
  if (half.ended && half.pieces.empty() && !pair.dead) close_pair(pair);
}

void Proxy::run() {
  while (!stopping_.load()) {
    std::vector<pollfd> entries = {{wakeup_, POLLIN, 0}, {listener_, POLLIN, 0}};
    std::vector<std::pair<Pair*, Direction>> reads;
    int timeout = 1000;
    {
      const std::lock_guard lock(mutex_);
      pairs_.remove_if([](const Pair& pair) { return pair.dead; });
      for (Pair& pair : pairs_) {
        for (const Direction direction : {to_server, to_client}) {
          Half& half = pair.halves[direction];
          if (frozen_) continue;
          if (!half.ended && half.waiting < kMostWaiting) {
            entries.push_back({half.from, POLLIN, 0});
            reads.emplace_back(&pair, direction);
          }
          if (!half.pieces.empty()) timeout = 1;
        }
      }
    }
    poll(entries.data(), entries.size(), timeout);
    const std::lock_guard lock(mutex_);
    if (entries[0].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const auto n = read(wakeup_, &count, sizeof count);
    }
    if (entries[1].revents != 0) accept_one();
    for (std::size_t i = 0; i < reads.size() && !frozen_; ++i) {
      if (entries[i + 2].revents != 0 && !reads[i].first->dead) read_some(*reads[i].first, reads[i].second);
    }
    for (Pair& pair : pairs_) {
      if (frozen_ || pair.dead) continue;
      write_some(pair, to_server);
      if (!pair.dead) write_some(pair, to_client);
    }
  }
}

}  // namespace walign::test
