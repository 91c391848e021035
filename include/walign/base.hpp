// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// base: the words every other room uses. Positions, transaction ids, snapshots, errors, and the few
// tools that move bytes and stop threads. No I/O, no PostgreSQL client, no third-party library.
//
//   Lsn         a byte position in the write-ahead log (WAL) of one server
//   Xid         a 64-bit transaction id (epoch and the 32 bits that the wire carries)
//   Snapshot    which transactions a reader sees: pg_current_snapshot()
//   Error       what went wrong, where, and what to do next
//   WALIGN_CHECK  an invariant; stays on in release, never reachable from input
//   ByteReader  a bounds-checked cursor over borrowed bytes
//   Interrupt   "stop now", raised by a signal handler, awaited by poll(2)
//   BoundedQueue  hands items from one thread to another, bounded by their bytes
//
// Invariants
//  1. Lsn 0 is "no position"; every real position is greater.
//  2. A failed ByteReader read moves nothing and says which field at which offset.
//  3. Every Error that leaves the program carries a hint: what the operator does next.
//
// Threads: values are plain values. Interrupt and BoundedQueue are safe from any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <compare>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace walign {

// ---------------------------------------------------------------------------------------- positions

// A position in the WAL of one server, in bytes from its beginning. Printed as PostgreSQL prints
// pg_lsn: two hexadecimal halves, 16/B374D848. Positions of different servers are not comparable;
// nothing here can stop that, so names say whose position one is where it could be doubted.
struct Lsn {
  std::uint64_t value = 0;

  constexpr Lsn() = default;
  constexpr explicit Lsn(std::uint64_t v) : value(v) {}
  auto operator<=>(const Lsn&) const = default;
  [[nodiscard]] constexpr bool valid() const { return value != 0; }

  [[nodiscard]] std::string to_string() const;
  // nullopt unless the whole text is an LSN: one to eight hex digits, '/', one to eight hex digits.
  static std::optional<Lsn> parse(std::string_view text);

  // An insert position just past a page's header is where that page begins: an idle server reports
  // the first for pg_current_wal_insert_lsn() and the second in keepalives, for ever. Headers are 24
  // bytes, 40 at the start of a segment (XLogShortPHD, XLogLongPHD; pages of 8 kB). A short header
  // position is normalised at every page, a long one only at a multiple of `segment_bytes`.
  [[nodiscard]] Lsn without_page_header(std::uint64_t segment_bytes = 16U << 20U) const;
};

// A transaction id with its epoch, as pg_current_snapshot() prints it.
struct Xid {
  std::uint64_t value = 0;
  constexpr Xid() = default;
  constexpr explicit Xid(std::uint64_t v) : value(v) {}
  auto operator<=>(const Xid&) const = default;

  // The 64-bit id nearest to `reference` whose low half is `wire`: the replication protocol carries
  // 32 bits, and no two running transactions are further than 2^31 apart.
  static Xid widen(std::uint32_t wire, Xid reference);
};

// What a reader of the source sees. `inside` is DESIGN's word: visible in this snapshot.
struct Snapshot {
  Xid xmin;                  // everything below is finished
  Xid xmax;                  // nothing at or above has finished
  std::vector<Xid> running;  // in progress, sorted, between the two

  [[nodiscard]] bool inside(Xid xid) const;
  [[nodiscard]] std::string to_string() const;  // xmin:xmax:x1,x2
  static std::optional<Snapshot> parse(std::string_view text);
};

// ------------------------------------------------------------------------------------------- errors

enum class ErrorKind {
  usage,         // the command line or the configuration is wrong
  precondition,  // a server, a table or the state directory is not as it must be
  connection,    // a connection could not be made, or was lost before any COMMIT was sent
  transient,     // the server said "not now": deadlock, shutting down, too many connections
  in_doubt,      // a COMMIT was sent and its answer lost: the target's position tells
  query,         // the server refused a statement
  conflict,      // a row could not be applied
  malformed,     // bytes from the wire or from disk that mean nothing
  storage,       // the local disk or the store on it
  interrupted,   // somebody asked to stop
  bug,           // an invariant does not hold
};

// What is done about an error; the only reading of ErrorKind that decides anything.
enum class Remedy { retry, stop, stop_cleanly };

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message, std::string hint = {})
      : kind_(kind), message_(std::move(message)), hint_(std::move(hint)) {}

  [[nodiscard]] ErrorKind kind() const { return kind_; }
  [[nodiscard]] const std::string& message() const { return message_; }
  [[nodiscard]] const std::string& hint() const { return hint_; }
  [[nodiscard]] const std::string& sqlstate() const { return sqlstate_; }  // empty unless from a server
  [[nodiscard]] Lsn position() const { return position_; }                 // 0 where none applies
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

  Error&& with_sqlstate(std::string state) && {
    sqlstate_ = std::move(state);
    return std::move(*this);
  }
  Error&& at(Lsn position) && {
    position_ = position;
    return std::move(*this);
  }
  // The same error with words of the caller's before its message ("table public.users: ...").
  [[nodiscard]] Error in(std::string_view context) const;
  // The message, position, SQLSTATE and hint as an operator reads them, one per line.
  [[nodiscard]] std::string describe() const;

 private:
  ErrorKind kind_;
  std::string message_;
  std::string hint_;
  std::string sqlstate_;
  Lsn position_;
};

Remedy remedy(ErrorKind kind);
int exit_status(ErrorKind kind);  // INTERFACE.md's exit codes

[[noreturn]] void check_failed(const char* condition, const char* file, int line);
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): the condition's text and place are its message
#define WALIGN_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::walign::check_failed(#condition, __FILE__, __LINE__))

// -------------------------------------------------------------------------------------------- text

namespace detail {
inline void append(std::string& out, std::string_view s) { out += s; }
inline void append(std::string& out, char c) { out += c; }
inline void append(std::string& out, Lsn lsn) { out += lsn.to_string(); }
template <class N>
requires(std::is_arithmetic_v<N> && !std::is_same_v<N, char> &&
         !std::is_same_v<N, bool>) void append(std::string& out, N n) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, n).ptr;
  out.append(buffer, end);
}
}  // namespace detail

// Everything given, one after another: cat("slot ", name, " at ", lsn).
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

std::string join(const std::vector<std::string>& items, std::string_view separator);

// ------------------------------------------------------------------------------------------- bytes

using Bytes = std::span<const std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Reads big-endian integers and strings off borrowed bytes. Every read names its field; one that does
// not fit throws Error(malformed) with the field and the offset, and moves nothing.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : data_(bytes.data()), size_(bytes.size()) {}

  std::uint8_t u8(const char* field) { return static_cast<std::uint8_t>(*take(1, field)); }
  std::uint16_t u16(const char* field) { return big_endian<std::uint16_t>(take(2, field)); }
  std::uint32_t u32(const char* field) { return big_endian<std::uint32_t>(take(4, field)); }
  std::uint64_t u64(const char* field) { return big_endian<std::uint64_t>(take(8, field)); }
  std::int32_t i32(const char* field) { return static_cast<std::int32_t>(u32(field)); }
  std::int64_t i64(const char* field) { return static_cast<std::int64_t>(u64(field)); }
  Bytes bytes(std::size_t count, const char* field) { return {take(count, field), count}; }
  std::string_view cstring(const char* field);  // up to a zero byte, which is passed over
  Bytes rest() { return bytes(remaining(), "rest"); }
  void expect_end(const char* message_name) const;  // throws if bytes are left

  [[nodiscard]] std::size_t offset() const { return offset_; }
  [[nodiscard]] std::size_t remaining() const { return size_ - offset_; }

 private:
  const std::byte* take(std::size_t count, const char* field) {
    if (count > size_ - offset_) too_short(count, field);
    const std::byte* at = data_ + offset_;
    offset_ += count;
    return at;
  }
  template <class U>
  static U big_endian(const std::byte* at) {
    U value = 0;
    for (std::size_t i = 0; i < sizeof(U); ++i) {
      value = static_cast<U>((value << 8U) | static_cast<U>(at[i]));
    }
    return value;
  }
  [[noreturn]] void too_short(std::size_t count, const char* field) const;

  const std::byte* data_;
  std::size_t size_;
  std::size_t offset_ = 0;
};

// ----------------------------------------------------------------------------------------- stopping

// A flag that a signal handler may raise and that poll(2) can await. Never lowered.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  void raise() noexcept;  // async-signal-safe
  [[nodiscard]] bool raised() const noexcept { return raised_.load(std::memory_order_acquire); }
  [[nodiscard]] int fd() const noexcept { return fd_; }  // readable once raised
  // Sleeps, or throws Error(interrupted) as soon as raised.
  void sleep_for(std::chrono::milliseconds time) const;
  void throw_if_raised() const;

 private:
  std::atomic<bool> raised_{false};
  int fd_;
};

// One side pushes, the other pops; bounded by the sum of the bytes that items say they have. push
// never blocks: the producer asks full() first, so that it can do its other duties meanwhile, and is
// told by `on_room` when there is room again. The bound may be passed by one item.
template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t max_bytes, std::function<void()> on_room = {})
      : max_bytes_(max_bytes), on_room_(std::move(on_room)) {}

  [[nodiscard]] bool full() const {
    const std::lock_guard lock(mutex_);
    return bytes_ >= max_bytes_;
  }
  [[nodiscard]] std::size_t bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }
  void push(T item, std::size_t item_bytes) {
    {
      const std::lock_guard lock(mutex_);
      items_.emplace_back(std::move(item), item_bytes);
      bytes_ += item_bytes;
    }
    ready_.notify_one();
  }
  // No more items will come; pop gives what is left, then throws `reason` if it is set.
  void close(std::exception_ptr reason) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      closed_ = true;
      reason_ = std::move(reason);
    }
    ready_.notify_all();
  }
  // The next item, or nothing when none came in time or the queue was closed without a reason.
  std::optional<T> pop(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, timeout, [this] { return !items_.empty() || closed_; });
    if (items_.empty()) {
      if (closed_ && reason_) std::rethrow_exception(reason_);
      return std::nullopt;
    }
    auto [item, item_bytes] = std::move(items_.front());
    items_.pop_front();
    const bool was_full = bytes_ >= max_bytes_;
    bytes_ -= item_bytes;
    const bool room = was_full && bytes_ < max_bytes_;
    lock.unlock();
    if (room && on_room_) on_room_();
    return std::optional<T>(std::move(item));
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::pair<T, std::size_t>> items_;  // all below: guarded by mutex_
  std::size_t bytes_ = 0;
  bool closed_ = false;
  std::exception_ptr reason_;
  const std::size_t max_bytes_;
  const std::function<void()> on_room_;
};

// What time it is; a seam, so that policies can be tested without waiting.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual std::chrono::steady_clock::time_point now() const {
    return std::chrono::steady_clock::now();
  }
  // Microseconds since 1970-01-01 UTC.
  [[nodiscard]] virtual std::int64_t unix_micros() const {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  static const Clock& system();
};

}  // namespace walign
