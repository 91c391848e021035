// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// How requests travel: the only files that know the HTTP library are web_server.cpp's.
#pragma once

#include "exchange.hpp"
#include "sockets.hpp"

namespace walign::service {

class WebServer {
 public:
  // Serves what comes to `listening` with `threads` threads, from now until destroyed.
  WebServer(Socket listening, Respond respond, int threads);
  ~WebServer();
  WebServer(const WebServer&) = delete;
  WebServer& operator=(const WebServer&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

inline constexpr int kAnswerSeconds = 60;  // a dead letter's retry waits for a batch to end

// One request over the unix socket at `path`. Throws Error(connection) where no answer came in time.
Answer request_over(const std::string& path, const std::string& method, const std::string& target,
                    int seconds = kAnswerSeconds);

}  // namespace walign::service
