// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "back.hpp"

namespace walign::cutover {

namespace {

// The server notices a little later than we that nobody reads the slot any more.
void drop_slot(pg::Connection& server, const std::string& slot, const Interrupt* interrupt) {
  for (int tries = 0;; ++tries) {
    try {
      return source::drop_slot(server, slot);
    } catch (const Error& error) {
      if (error.sqlstate() != "55006" || tries >= 50) throw;  // object_in_use
    }
    if (interrupt != nullptr) {
      interrupt->sleep_for(std::chrono::milliseconds(100));
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
}

}  // namespace

Back::Back(const config::Config& forward, obs::Metrics* metrics)
    : config_(config::reversed(forward)),
      metrics_(metrics),
      lane_({forward.fence_name(), Side::source}, config_.stream_name(), forward.stream_name()),
      verifier_(verify::make(nullptr)) {}

Back::~Back() { stop(); }

void Back::start() {
  if (running()) return;
  stop();  // what is left of the last one
  const std::lock_guard lock(mutex_);
  if (sidecar_) return;
  stop_ = std::make_unique<Interrupt>();
  stream::Options options;
  options.config = config_;
  options.no_backfill = true;
  options.companions = {verifier_.get()};
  options.turn = &lane_;
  options.stop = stop_.get();
  options.metrics = metrics_;
  lane_.halt(false);
  failed_.clear();
  sidecar_ = std::make_unique<stream::Sidecar>(std::move(options));
  ended_ = false;
  thread_ = std::thread([this] { run(); });
}

void Back::run() noexcept {
  std::string failed;
  try {
    sidecar_->run();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::interrupted) {
      failed = error.message();
      obs::log_error(obs::Level::error, "the reverse stream has stopped", error);
    }
  } catch (const std::exception& error) {
    failed = error.what();
  }
  ended_ = true;
  const std::lock_guard lock(mutex_);
  failed_ = std::move(failed);
}

void Back::stop() {
  std::thread ends;
  {
    const std::lock_guard lock(mutex_);
    if (stop_) stop_->raise();
    ends = std::move(thread_);
  }
  if (ends.joinable()) ends.join();
  const std::lock_guard lock(mutex_);
  sidecar_.reset();
  ended_ = true;
}

bool Back::running() const {
  const std::lock_guard lock(mutex_);
  return sidecar_ && !ended_;
}

std::string Back::why() const {
  const std::lock_guard lock(mutex_);
  if (!failed_.empty()) return failed_;
  if (!sidecar_ || ended_) return "the reverse stream does not run";
  const auto status = sidecar_->status();
  if (status.connected) return "";
  return status.last_error.empty() ? "the reverse stream is connecting" : status.last_error;
}

std::optional<stream::Status> Back::status() const {
  const std::lock_guard lock(mutex_);
  if (!sidecar_) return std::nullopt;
  return sidecar_->status();
}

Back::Held Back::hold() {
  std::unique_lock lock(mutex_);
  auto* sidecar = ended_ ? nullptr : sidecar_.get();
  return {std::move(lock), sidecar};
}

bool Back::await(std::chrono::milliseconds timeout, const std::atomic<bool>& cancelled) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (!why().empty()) {
    if (!running() || cancelled || std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

void Back::drop(const Interrupt* interrupt) {
  stop();
  const auto options = [&](const std::string& conninfo) {
    pg::ConnectionOptions out;
    out.conninfo = conninfo;
    out.application_name = cat(config_.stream_name(), " drop");
    out.interrupt = interrupt;
    return out;
  };
  {
    pg::Connection reads(options(config_.source));
    drop_slot(reads, config_.slot_name(), interrupt);
    source::drop_publication(reads, config_.stream_name());
    source::drop_publication(reads, stream::inserts_publication(config_));
  }
  pg::Connection writes(options(config_.target));
  apply::remove_stream(writes, config_.stream_name());
  try {
    state::remove_directory(config_.state);
  } catch (const Error& error) {  // what is left there is of no stream any more, and refused as such
    obs::log_error(obs::Level::warn, "the way back's directory could not be removed", error);
  }
}

}  // namespace walign::cutover
