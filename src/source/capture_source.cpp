// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A capture as a stream of transactions.
#include <thread>

#include "running.hpp"
#include "walign/source.hpp"

namespace walign::source {

namespace {

using Steady = std::chrono::steady_clock;
constexpr std::size_t kReplayedPartBytes = std::size_t{1} << 20U;

class CaptureSource final : public Source {
 public:
  explicit CaptureSource(const ReplayOptions& options)
      : options_(options), reader_(options.directory), delivered_(options.from) {
    begin();
  }

  std::optional<Item> next(std::chrono::milliseconds timeout) override {
    for (;;) {
      if (committed_) return next_of_committed();
      if (!ready_.empty()) {
        Item item = std::move(ready_.front());
        ready_.pop_front();
        return item;
      }
      if (ended_) return std::nullopt;
      if (!waiting_) waiting_ = reader_.next();
      if (!waiting_) {
        ended_ = true;
      } else if (!is_time(timeout)) {
        return std::nullopt;
      } else {
        take(*std::exchange(waiting_, nullptr));
      }
    }
  }

  void acknowledge(Lsn durable) override { acknowledged_ = std::max(acknowledged_, durable); }
  void settle() override {}
  [[nodiscard]] Lsn received() const override { return delivered_; }
  [[nodiscard]] Lsn acknowledged() const override { return acknowledged_; }
  [[nodiscard]] bool ended() const override { return ended_ && !committed_ && ready_.empty(); }

 private:
  // The newest segment that begins at or below `from`, or an earlier one, at whose beginning nothing was running.
  void begin() {
    const auto& segments = reader_.segments();
    const auto after = std::find_if(segments.begin(), segments.end(), [&](const auto& segment) {
      return Lsn(segment.from_lsn()) > options_.from;
    });
    if (after == segments.begin() && options_.from.valid()) {
      throw Error(ErrorKind::precondition,
                  cat("the capture in ", options_.directory, " begins at ", Lsn(segments.front().from_lsn()),
                      ", after ", options_.from),
                  "replay it from its beginning, or take a capture that begins earlier");
    }
    // What was running when a segment began is needed from its beginning, and what was running then, ...
    auto chosen = after == segments.begin() ? after : after - 1;
    while (chosen->needs_segment() != chosen->segment()) {
      if (chosen->needs_segment() < segments.front().segment()) {
        throw Error(ErrorKind::precondition,
                    cat("the capture in ", options_.directory, " lacks segment ", chosen->needs_segment(),
                        ", where transactions begin that are in segment ", chosen->segment()),
                    "put the earlier segments back, or replay from a position in a later one");
      }
      chosen = segments.begin() + (chosen->needs_segment() - segments.front().segment());
    }
    reader_.seek(chosen->segment());
    first_segment_ = chosen->segment();
  }

  // At the recorded pace a frame waits for its time.
  bool is_time(std::chrono::milliseconds timeout) {
    if (options_.pace <= 0 || waiting_->server_time_us() == 0) return true;
    if (first_time_us_ == 0) {
      first_time_us_ = waiting_->server_time_us();
      began_ = Steady::now();
    }
    const auto since = static_cast<double>(waiting_->server_time_us() - first_time_us_) / options_.pace;
    const auto due = began_ + std::chrono::microseconds(static_cast<std::int64_t>(std::max(0.0, since)));
    const auto until = std::min(due, Steady::now() + timeout);
    std::this_thread::sleep_until(until);
    return until == due;
  }

  void take(const v1::CaptureFrame& frame) {
    if (reader_.first_of_segment()) begin_segment();
    if (frame.repeated() && reader_.header().segment() != first_segment_) return;
    if (frame.keepalive()) {
      if (!assembler_->in_transaction() && Lsn(frame.wal_end()) > delivered_) {
        delivered_ = Lsn(frame.wal_end());
        ready_.emplace_back(Progress{delivered_});
      }
      return;
    }
    try {
      const auto message = decode::decode(as_bytes(frame.payload()), assembler_->place());
      if (is_there_already(message)) return;
      std::visit([this](auto&& taken) { handle(std::move(taken)); }, assembler_->take(message));
    } catch (const Error& error) {
      throw error.in(cat("the capture in ", options_.directory, ", segment ", reader_.header().segment()));
    }
  }

  // What was not acknowledged before a connection was lost comes again on the next, also of what is in two phases: its
  // content, which takes the place of what came before, or its end alone.
  bool is_there_already(const decode::Message& message) {
    const auto again = [this](std::uint32_t xid) {
      if (assembler_->has_running(xid)) running_->abort({xid, xid});
    };
    if (const auto* begin = std::get_if<decode::BeginPrepare>(&message)) again(begin->xid);
    if (const auto* start = std::get_if<decode::StreamStart>(&message); start != nullptr && start->first) {
      again(start->xid);
    }
    const auto* commit = std::get_if<decode::CommitPrepared>(&message);
    return commit != nullptr && commit->commit_lsn < delivered_ && !assembler_->has_running(commit->xid);
  }

  void begin_segment() {
    const auto& header = reader_.header();
    skipping_ = skipping_ && !header.new_connection();
    if (assembler_) {
      if (!header.new_connection()) return;
      for (const auto xid : assembler_->reconnected()) running_->abort({xid, xid});
      return;
    }
    const decode::Place protocol{static_cast<int>(header.protocol_version()), header.parallel(), false};
    assembler_.emplace(kReplayedPartBytes, protocol);
    running_ = std::make_unique<RunningTransactions>(state::Spill::open(options_.spill_directory),
                                                     options_.spill_above_bytes);
  }

  void handle(std::monostate /*nothing complete*/) {}
  // What was not acknowledged before a connection was lost came again on the next: once is enough.
  void handle(event::TransactionPart part) {
    if (part.first()) skipping_ = part.commit_lsn() < delivered_;
    if (skipping_) return;
    if (part.last()) delivered_ = part.end_lsn();
    ready_.emplace_back(std::move(part));
  }
  void handle(event::RunningPart part) { running_->add(std::move(part)); }
  void handle(const event::RunningAborted& aborted) { running_->abort(aborted); }
  void handle(const event::RunningCommitted& committed) {
    auto whole = running_->commit(committed);
    if (Lsn(committed.header.commit_lsn()) < delivered_) return;
    delivered_ = Lsn(committed.header.end_lsn());
    committed_ = std::move(whole);
  }

  Item next_of_committed() {
    auto part = committed_->next();
    if (part.last()) committed_.reset();
    return part;
  }

  const ReplayOptions options_;
  state::CaptureReader reader_;
  std::uint32_t first_segment_ = 0;
  std::optional<event::Assembler> assembler_;
  std::unique_ptr<RunningTransactions> running_;
  std::unique_ptr<Committed> committed_;  // being handed out; goes before running_
  std::deque<Item> ready_;
  const v1::CaptureFrame* waiting_ = nullptr;
  Lsn delivered_;
  Lsn acknowledged_;
  bool skipping_ = false;
  bool ended_ = false;
  std::int64_t first_time_us_ = 0;
  Steady::time_point began_;
};

}  // namespace

std::unique_ptr<Source> open_capture(const ReplayOptions& options) {
  WALIGN_CHECK(!options.spill_directory.empty());
  return std::make_unique<CaptureSource>(options);
}

}  // namespace walign::source
