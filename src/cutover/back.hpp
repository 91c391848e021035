// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The stream in the other direction: made for a change of sides, running on a thread of its own, gone again when the
// source has its writes back. Its slot and its publication are on the target, its position on the source.
#pragma once

#include <thread>

#include "lane.hpp"

namespace walign::cutover {

class Back {
 public:
  // `forward`: the configuration of the way there. `metrics`: outlives this; may be null. Nothing is touched yet.
  Back(const config::Config& forward, obs::Metrics* metrics);
  ~Back();  // stops it
  Back(const Back&) = delete;
  Back& operator=(const Back&) = delete;

  // Starts it where it does not run; makes slot and publication where they are missing. All from any thread.
  void start();
  void stop();
  // Streams, whether it listens or applies. Waits at most so long; false if it does not, and why() says why.
  bool await(std::chrono::milliseconds timeout, const std::atomic<bool>& cancelled);
  [[nodiscard]] bool running() const;
  // Why it does not stream; empty if it does.
  [[nodiscard]] std::string why() const;
  // Of a stream that runs.
  [[nodiscard]] std::optional<stream::Status> status() const;
  [[nodiscard]] Lane& lane() { return lane_; }
  [[nodiscard]] verify::Verifier& verifier() { return *verifier_; }
  // The stream; null where none runs. For as long as the guard lives.
  struct Held {
    std::unique_lock<std::mutex> lock;
    stream::Sidecar* sidecar = nullptr;
  };
  Held hold();

  // Stops it, and takes away what it has made on both servers and on disk. May be repeated.
  void drop(const Interrupt* interrupt);

 private:
  void run() noexcept;

  const config::Config config_;  // reversed
  obs::Metrics* const metrics_;
  Lane lane_;
  const std::unique_ptr<verify::Verifier> verifier_;
  mutable std::mutex mutex_;  // all below
  std::unique_ptr<Interrupt> stop_;
  std::unique_ptr<stream::Sidecar> sidecar_;
  std::string failed_;
  std::atomic<bool> ended_{true};
  std::thread thread_;
};

}  // namespace walign::cutover
