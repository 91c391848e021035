// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "sockets.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace walign::service {

namespace {

constexpr int kBacklog = 128;  // a unix socket refuses whoever comes when it is full
constexpr const char* kHttpHint =
    "set http: to another HOST:PORT of this machine, or to \"\" for no pages (walign status needs none)";

[[noreturn]] void refuse(std::string message, std::string hint) {
  throw Error(ErrorKind::precondition, std::move(message), std::move(hint));
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    refuse(cat("the path of the control socket has ", path.size(), " bytes, and a socket's may have ",
               sizeof address.sun_path - 1, ": ", path),
           "choose a state: directory with a shorter path");
  }
  path.copy(address.sun_path, path.size());
  return address;
}

Socket unix_socket() {
  Socket made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (made.fd() < 0)
    refuse(cat("cannot make a socket: ", std::strerror(errno)), "raise the limit of open files (ulimit -n)");
  return made;
}

void bind_for_owner_only(const Socket& socket, const sockaddr_un& address, const std::string& path) {
  // The file appears with its mode: changed afterwards, it would be open to others for an instant.
  const mode_t before = ::umask(0177);
  const int failed = ::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int why = errno;
  ::umask(before);
  if (failed != 0) {
    refuse(cat("cannot make the control socket ", path, ": ", std::strerror(why)),
           "state: must name a directory on a local file system that this user may write");
  }
}

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Addresses resolve(const Address& parsed, const std::string& address) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int code = ::getaddrinfo(parsed.host.c_str(), parsed.port.c_str(), &wanted, &found); code != 0) {
    refuse(cat("http: ", address, " is no address: ", ::gai_strerror(code)), kHttpHint);
  }
  return {found, &::freeaddrinfo};
}

// errno tells why it is empty.
Socket try_to_listen(const addrinfo& at) {
  Socket made(::socket(at.ai_family, at.ai_socktype | SOCK_CLOEXEC, at.ai_protocol));
  if (made.fd() < 0) return made;
  const int on = 1;
  // A port whose last connections are still closing may be taken again; one that is listened on may not.
  ::setsockopt(made.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (at.ai_family == AF_INET6) ::setsockopt(made.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(made.fd(), at.ai_addr, at.ai_addrlen) != 0 || ::listen(made.fd(), kBacklog) != 0) {
    const int why = errno;
    made = Socket();
    errno = why;
  }
  return made;
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port <= 65'535;
}

}  // namespace

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}

std::string control_path(const std::string& state_directory) {
  return cat(state_directory, state_directory.ends_with('/') ? "" : "/", "control.sock");
}

bool somebody_listens(const std::string& path) {
  const sockaddr_un address = unix_address(path);
  struct stat found {};
  if (::stat(path.c_str(), &found) == 0 && !S_ISSOCK(found.st_mode)) {
    refuse(cat(path, " is not a socket"), "move it away; walign makes its control socket there");
  }
  const Socket socket = unix_socket();
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
  const int why = errno;
  if (why == ENOENT || why == ECONNREFUSED || why == ENOTDIR) return false;
  if (why == EAGAIN) return true;  // its backlog is full
  refuse(cat("cannot reach the control socket ", path, ": ", std::strerror(why)),
         "run this as the user whose sidecar it is");
}

Socket listen_unix(const std::string& path) {
  const sockaddr_un address = unix_address(path);
  if (somebody_listens(path)) {
    refuse(cat("another process listens on ", path),
           "one sidecar runs per state directory: stop the other one");
  }
  ::unlink(path.c_str());  // left by a process that is gone
  Socket socket = unix_socket();
  bind_for_owner_only(socket, address, path);
  if (::listen(socket.fd(), kBacklog) != 0) {
    refuse(cat("cannot listen on ", path, ": ", std::strerror(errno)), "see the operating system's log");
  }
  return socket;
}

Address parse_address(const std::string& address) {
  const auto colon = address.rfind(':');
  Address out;
  if (colon != std::string::npos) out = {address.substr(0, colon), address.substr(colon + 1)};
  const bool bracketed = out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']';
  if (bracketed) out.host = out.host.substr(1, out.host.size() - 2);
  const bool bare_ipv6 = !bracketed && out.host.find(':') != std::string::npos;
  if (out.host.empty() || bare_ipv6 || !is_port(out.port)) {
    throw Error(ErrorKind::usage, cat("http: \"", address, "\" is not HOST:PORT"),
                "write 127.0.0.1:8642, or [::1]:8642");
  }
  return out;
}

Socket listen_tcp(const std::string& address) {
  const Addresses found = resolve(parse_address(address), address);
  int why = 0;
  for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
    if (Socket made = try_to_listen(*at); made.fd() >= 0) return made;
    why = errno;
  }
  refuse(why == EADDRINUSE ? cat("http: ", address, " is in use by another process")
                           : cat("http: cannot listen on ", address, ": ", std::strerror(why)),
         kHttpHint);
}

int port_of(const Socket& socket) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  if (bound.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&bound)->sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&bound)->sin_port);
}

}  // namespace walign::service
