// A bad network: forwards connections to a port of 127.0.0.1 from a port of its own, and does to them what a
// test wants.
//
//   Proxy proxy(server.port());
//   ... connect to proxy.url(server, "app") ...
//   proxy.cut();                                      // every connection, now
//   proxy.cut_after(500, Proxy::to_server);           // every connection, once 500 more bytes have passed
//   proxy.freeze();                                   // connections stay and are accepted; nothing passes
//   proxy.thaw();
//   proxy.delay(20ms);                                // bytes arrive that much later
//   proxy.close_door();                               // new connections are cut at once
//
// A cut ends both sides: the client's with a reset, the server's with an end of file, as when a firewall forgets.
// Bytes read before a cut that is armed are passed up to exactly the count. One thread per proxy.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "support/process.hpp"
#include "support/server.hpp"

namespace walign::test {

class Proxy {
 public:
  enum Direction { to_server, to_client };

  explicit Proxy(int server_port);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  [[nodiscard]] int port() const { return port_; }
  // The server's URL with this port in place of its own.
  [[nodiscard]] std::string url(const Server& server, const std::string& database) const;

  void cut();
  void cut_after(std::size_t bytes, Direction direction);
  // Whether a cut that was armed has been made.
  [[nodiscard]] bool has_cut() const;
  void freeze();
  void thaw();
  void delay(Millis time);
  void close_door();
  void open_door();

  [[nodiscard]] std::size_t connections() const;
  [[nodiscard]] std::size_t passed(Direction direction) const;

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Piece {
    Time due;
    std::string bytes;
    std::size_t sent = 0;
  };
  // From one socket to the other; bounded, so that a slow reader slows the writer down.
  struct Half {
    int from = -1;
    int to = -1;
    std::deque<Piece> pieces;
    std::size_t waiting = 0;
    bool ended = false;  // nothing more comes from `from`
  };
  struct Pair {
    int client = -1;
    int server = -1;
    Half halves[2];  // by Direction
    bool dead = false;
  };

  void run();
  void accept_one();
  void read_some(Pair& pair, Direction direction);
  void write_some(Pair& pair, Direction direction);
  void close_pair(Pair& pair);
  void cut_all();
  void wake() const;

  const int server_port_;
  int port_ = 0;
  int listener_ = -1;
  int wakeup_ = -1;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::list<Pair> pairs_;
  std::size_t passed_[2] = {0, 0};
  std::optional<std::size_t> left_[2];  // until an armed cut
  bool cut_made_ = false;
  bool frozen_ = false;
  bool door_open_ = true;
  Millis delay_{0};

  std::atomic<bool> stopping_{false};
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace walign::test
