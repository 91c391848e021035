// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "protocol.hpp"
#include "running.hpp"
#include "walign/obs.hpp"
#include "walign/same_server.hpp"
#include "walign/source.hpp"

namespace walign::source {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kPartBytes = std::size_t{1} << 20U;

// An event descriptor that other threads ring and the receiver polls.
class Bell {
 public:
  Bell() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { WALIGN_CHECK(fd_ >= 0); }
  ~Bell() { ::close(fd_); }
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;
  void ring() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(fd_, &one, sizeof one);
  }
  void silence() const {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto n = ::read(fd_, &count, sizeof count);
  }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

pg::Connection& checked(pg::Connection& connection, const SlotOptions& options) {
  if (options.server) pg::require_same_server(connection, *options.server);
  return connection;
}

class SlotSource final : public Source {
 public:
  explicit SlotSource(const SlotOptions& options)
      : status_interval_(options.status_interval),
        silence_limit_(options.silence_limit),
        connection_(as_replication(options.connection)),
        protocol_(best_protocol(connection_.server_version(), !options.spill_directory.empty())),
        stream_(checked(connection_, options), options.slot, options.from,
                plugin_options(options.publications, protocol_)),
        assembler_(kPartBytes, protocol_),
        running_(protocol_.version > 1
                     ? std::make_unique<RunningTransactions>(state::Spill::open(options.spill_directory),
                                                             options.spill_above_bytes)
                     : nullptr),
        queue_(options.queue_bytes, [this] { bell_.ring(); }),
        received_(options.from.value),
        acknowledged_(options.from.value),
        receiver_([this] { receive_until_stopped(); }) {}

  ~SlotSource() override {
    stopping_.store(true);
    bell_.ring();
    receiver_.join();
  }

  std::optional<Item> next(std::chrono::milliseconds timeout) override {
    while (!committed_) {
      auto queued = queue_.pop(timeout);
      if (!queued) return std::nullopt;
      if (auto* part = std::get_if<event::TransactionPart>(&*queued)) return std::move(*part);
      if (auto* progress = std::get_if<Progress>(&*queued)) return *progress;
      committed_ = std::move(std::get<std::unique_ptr<Committed>>(*queued));
    }
    auto part = committed_->next();
    if (part.last()) committed_.reset();
    return part;
  }

  void acknowledge(Lsn durable) override {
    const Lsn before(acknowledged_.load());
    WALIGN_CHECK(durable <= received());
    if (durable <= before) return;
    acknowledged_.store(durable.value);
    bell_.ring();
  }

  void settle() override {
    // The receiver sends a changed acknowledgement at once; give it the moment that takes.
    const auto deadline = Clock::now() + std::chrono::seconds(1);
    while (sent_.load() < acknowledged_.load() && !finished_.load() && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  [[nodiscard]] Lsn received() const override { return Lsn(received_.load()); }
  [[nodiscard]] Lsn acknowledged() const override { return Lsn(acknowledged_.load()); }

 private:
  // ---- everything below runs on the receiver's thread

  void receive_until_stopped() {
    try {
      auto next_status = Clock::now();
      while (!stopping_.load()) {
        if (read_what_is_there()) next_status = Clock::now();
        check_silence();
        if (Clock::now() >= next_status || sent_.load() < acknowledged_.load()) {
          send_status();
          next_status = Clock::now() + status_interval_;
        }
        wait(next_status);
      }
      queue_.close(nullptr);
    } catch (const Error& error) {
      queue_.close(std::make_exception_ptr(explained(error)));
    } catch (...) {
      queue_.close(std::current_exception());
    }
    finished_.store(true);
  }

  // Takes frames until none is left or the queue is full, but comes up for air so that status updates go out.
  // Whether the server asked for one.
  bool read_what_is_there() {
    bool asked = false;
    for (int frames = 0; frames < 4096 && !queue_.full() && !stopping_.load(); ++frames) {
      const auto frame = stream_.receive();
      heard_ = heard_ || frame.has_value();
      if (!frame) {
        more_is_there_ = false;
        return asked;
      }
      take(*frame);
      asked = asked || frame->reply_requested;
    }
    more_is_there_ = true;
    return asked;
  }

  void take(const pg::ReplicationFrame& frame) {
    if (frame.kind == pg::ReplicationFrame::Kind::data) {
      std::visit([this](auto&& taken) { handle(std::move(taken)); },
                 assembler_.take(decode::decode(frame.payload, assembler_.place())));
      return;
    }
    // Inside a transaction a keepalive's position may be that of the commit to come.
    if (assembler_.in_transaction()) return;
    raise_received(frame.wal_end);
    if (frame.wal_end > progress_) {
      progress_ = frame.wal_end;
      queue_.push(Progress{frame.wal_end}, sizeof(Progress));
    }
  }

  void handle(std::monostate /*nothing complete*/) {}
  void handle(event::TransactionPart part) {
    if (part.last()) raise_received(part.end_lsn());
    const auto bytes = part.memory_bytes();
    queue_.push(std::move(part), bytes);
  }
  void handle(event::RunningPart part) { running_->add(std::move(part)); }
  void handle(const event::RunningAborted& aborted) { running_->abort(aborted); }
  void handle(const event::RunningCommitted& committed) {
    auto whole = running_->commit(committed);
    raise_received(Lsn(committed.header.end_lsn()));
    const auto bytes = whole->memory_bytes() + sizeof(Committed);
    queue_.push(std::move(whole), bytes);
  }

  // A connection can be dead without either end being told: something between the two keeps ours up. While the queue
  // is full it is we who do not listen.
  void check_silence() {
    const auto now = Clock::now();
    if (std::exchange(heard_, false) || queue_.full()) last_heard_ = now;
    if (now - last_heard_ < silence_limit_) return;
    throw Error(
        ErrorKind::connection, cat("the source has not answered for ", silence_limit_.count() / 1000, " s"),
        "walign connects again and goes on from the last durable position; if it comes again, look at the "
        "source's load and at what is between the two");
  }

  void raise_received(Lsn lsn) {
    if (lsn.value > received_.load()) received_.store(lsn.value);
  }

  void send_status() {
    const std::uint64_t acknowledged = acknowledged_.load();
    WALIGN_CHECK(acknowledged <= received_.load());
    const bool ask = Clock::now() - last_heard_ >= silence_limit_ / 2;
    stream_.send_status(Lsn(received_.load()), Lsn(acknowledged), Lsn(acknowledged), ask);
    sent_.store(acknowledged);
  }

  void wait(Clock::time_point until) {
    const bool full = queue_.full();
    if (more_is_there_ && !full) return;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    std::array<pollfd, 2> entries = {{{full ? -1 : stream_.socket(), POLLIN, 0}, {bell_.fd(), POLLIN, 0}}};
    ::poll(entries.data(), entries.size(), static_cast<int>(std::clamp<std::int64_t>(left, 0, 1000)));
    if (entries[1].revents != 0) bell_.silence();
  }

  const std::chrono::milliseconds status_interval_;
  const std::chrono::milliseconds silence_limit_;
  Bell bell_;
  pg::Connection connection_;
  const decode::Place protocol_;
  pg::ReplicationStream stream_;
  event::Assembler assembler_;
  std::unique_ptr<RunningTransactions> running_;  // null: only committed ones come
  Lsn progress_;
  bool more_is_there_ = false;
  bool heard_ = false;
  Clock::time_point last_heard_ = Clock::now();

  using Queued = std::variant<event::TransactionPart, Progress, std::unique_ptr<Committed>>;
  BoundedQueue<Queued> queue_;
  std::unique_ptr<Committed> committed_;  // the consumer's: being handed out
  std::atomic<std::uint64_t> received_;
  std::atomic<std::uint64_t> acknowledged_;
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> finished_{false};
  std::thread receiver_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<Source> open_slot(const SlotOptions& options) {
  return std::make_unique<SlotSource>(options);
}

}  // namespace walign::source
