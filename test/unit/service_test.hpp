// What the tests of module service share: a directory that goes away, handlers that remember, and an HTTP client
// that has nothing of walign's.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"
#include "walign/service.hpp"

namespace walign::service {

using test::has;

namespace fs = std::filesystem;

using test::TemporaryDirectory;

inline stream::Status streaming_status() {
  stream::Status status;
  status.migration = "users-async";
  status.phase = "streaming";
  status.source_system_id = "7001";
  status.source_lsn = Lsn(0x1A0);
  status.received = Lsn(0x190);
  status.applied = Lsn(0x180);
  status.durable = Lsn(0x170);
  status.acknowledged = Lsn(0x16B3748);
  status.lag_bytes = 32;
  status.lag_seconds = 0.5;
  status.slot_name = "walign_users_async";
  status.slot_retained_bytes = 4096;
  status.slot_wal_status = "reserved";
  status.tables.push_back(
      {"public.users", "public.<b>users</b>", "streaming", {11, 7, 2, 1, 1}, 500, 600, 3, 4});
  status.tables[0].verified_at = Lsn(0x150);
  status.tables[0].differences = 2;
  status.tables[0].dirty_keys = 9;
  status.sides.epoch = 3;
  status.dead_letters = 1;
  status.journal = {Lsn(0x100), Lsn(0x190), 8192, 7200.5};
  status.transactions = 5;
  status.connected = true;
  status.started_at_us = 1'700'000'000'000'001;
  return status;
}

// What was called, in order.
class Calls {
 public:
  void add(std::string call) {
    const std::lock_guard lock(mutex_);
    calls_.push_back(std::move(call));
  }
  std::vector<std::string> all() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> calls_;
};

inline Handlers remembering(Calls& calls) {
  Handlers handlers;
  handlers.status = [] { return streaming_status(); };
  handlers.metrics = [] { return std::string("walign_lag_bytes 32\n"); };
  handlers.pause_apply = [&calls] {
    calls.add("pause");
    return true;
  };
  handlers.resume_apply = [&calls] { calls.add("resume"); };
  handlers.retry_dead_letter = [&calls](std::int64_t id) { calls.add(cat("retry ", id)); };
  handlers.discard_dead_letter = [&calls](std::int64_t id) { calls.add(cat("discard ", id)); };
  handlers.verify = [&calls](const verify::Request& request) {
    calls.add(cat("verify ", join(request.tables, "+"), request.all ? " all" : "",
                  request.repair ? " repair" : "", " ", join(request.key, "+")));
    return std::uint64_t{7};
  };
  handlers.verification = [](std::uint64_t id) {
    verify::Report report;
    report.id = id;
    auto& table = report.tables.emplace_back();
    table.table = "public.users -> public.users";
    table.state = "comparing";
    table.differences = 1;
    auto& difference = table.kept.emplace_back();
    difference.set_kind(v1::Difference::DIFFERENT);
    auto& key = *difference.add_key();
    key.set_column("id");
    key.set_source("5");
    auto& column = *difference.add_columns();
    column.set_column("v");
    column.set_target("x");
    return report;
  };
  handlers.max_lag_bytes = 100;
  return handlers;
}

inline int connect_tcp(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

inline int connect_unix(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

// Sends the bytes and reads until the other side closes. Closes `fd`. Checks nothing: threads may call it.
inline std::string converse(int fd, const std::string& bytes) {
  std::string out;
  const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(bytes.size())) out = "could not send: ";
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    out.append(buffer, static_cast<std::size_t>(n));
  ::close(fd);
  return out;
}

inline std::string request(const std::string& method, const std::string& target) {
  return cat(method, " ", target, " HTTP/1.1\r\nHost: x\r\n\r\n");
}

// The Error that `act` throws.
template <class Act>
Error refusal(Act&& act) {
  try {
    act();
  } catch (const Error& error) {
    return error;
  }
  FAIL("nothing was refused");
  return {ErrorKind::bug, ""};
}

}  // namespace walign::service
