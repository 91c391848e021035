// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Listening sockets, made here and not by the HTTP library: it tells no reason for what fails, and lets two
// processes share one port (SO_REUSEPORT).
#pragma once

#include "walign/base.hpp"

namespace walign::service {

class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(other.release()) {}
  Socket& operator=(Socket&& other) noexcept;
  [[nodiscard]] int fd() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::string control_path(const std::string& state_directory);

// Whether a process listens on the socket at `path`: false where there is none, or one that a dead process left.
// Error(precondition) where that cannot be known: a path too long, no permission, not a socket.
bool somebody_listens(const std::string& path);
Socket listen_unix(const std::string& path);

struct Address {
  std::string host;  // without brackets
  std::string port;
};
// HOST:PORT, [HOST]:PORT; Error(usage).
Address parse_address(const std::string& address);
Socket listen_tcp(const std::string& address);
int port_of(const Socket& socket);

}  // namespace walign::service
