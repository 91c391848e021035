// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/systemd.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "walign/obs.hpp"

namespace walign::obs {

namespace {

const char* of_process(const char* name) { return std::getenv(name); }

std::optional<std::uint64_t> number(const char* text) {
  if (text == nullptr || *text == '\0') return std::nullopt;
  std::uint64_t value = 0;
  const auto* end = text + std::strlen(text);
  const auto [at, error] = std::from_chars(text, end, value);
  return error == std::errc() && at == end ? std::optional(value) : std::nullopt;
}

sockaddr_un socket_address(std::string_view path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  std::memcpy(out.sun_path, path.data(), path.size());
  return out;
}

}  // namespace

ServiceManager::ServiceManager(const Environment& environment) {
  const Environment& get = environment ? environment : Environment(of_process);
  const char* named = get("NOTIFY_SOCKET");
  if (named == nullptr || *named == '\0') return;
  address_ = named;
  if ((address_.front() != '/' && address_.front() != '@') ||
      address_.size() >= sizeof(sockaddr_un::sun_path)) {
    warn("NOTIFY_SOCKET is no socket that walign can write to; the service manager is told nothing",
         {{"socket", address_}});
    return;
  }
  if (address_.front() == '@') address_.front() = '\0';
  fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) {
    warn("there is no socket to be had; the service manager is told nothing",
         {{"why", std::strerror(errno)}});
    return;
  }
  const auto pid = number(get("WATCHDOG_PID"));
  if (pid && *pid != static_cast<std::uint64_t>(::getpid())) return;
  const auto interval = number(get("WATCHDOG_USEC"));
  if (interval && *interval > 0) watchdog_ = std::chrono::microseconds(*interval);
}

ServiceManager::~ServiceManager() {
  if (fd_ >= 0) ::close(fd_);
}

bool ServiceManager::tell(std::string_view lines) const noexcept {
  if (fd_ < 0) return false;
  const auto to = socket_address(address_);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  const auto sent = ::sendto(fd_, lines.data(), lines.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                             reinterpret_cast<const sockaddr*>(&to), size);
  return sent == static_cast<ssize_t>(lines.size());
}

// The descriptor may have been led elsewhere since systemd said which one it is.
bool stderr_is_journal() {
  const char* said = std::getenv("JOURNAL_STREAM");
  if (said == nullptr) return false;
  struct stat its {};
  if (::fstat(STDERR_FILENO, &its) != 0) return false;
  return cat(its.st_dev, ":", its.st_ino) == said;
}

}  // namespace walign::obs
