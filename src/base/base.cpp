// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/base.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "walign/pulse.hpp"

namespace walign {

namespace {

constexpr std::uint64_t kPageBytes = 8192;
constexpr std::uint64_t kShortHeaderBytes = 24;
constexpr std::uint64_t kLongHeaderBytes = 40;

std::optional<std::uint32_t> parse_hex32(std::string_view text) {
  if (text.empty() || text.size() > 8) return std::nullopt;
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> parse_decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

// -------------------------------------------------------------------------------------- positions

std::string Lsn::to_string() const {
  char buffer[24];
  std::snprintf(buffer, sizeof buffer, "%X/%X", static_cast<unsigned>(value >> 32U),
                static_cast<unsigned>(value & 0xFFFFFFFFU));
  return buffer;
}

std::optional<Lsn> Lsn::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto high = parse_hex32(text.substr(0, slash));
  const auto low = parse_hex32(text.substr(slash + 1));
  if (!high || !low) return std::nullopt;
  return Lsn((static_cast<std::uint64_t>(*high) << 32U) | *low);
}

Lsn Lsn::without_page_header(std::uint64_t segment_bytes) const {
  const std::uint64_t in_page = value % kPageBytes;
  if (in_page == kLongHeaderBytes && (value - in_page) % segment_bytes == 0) return Lsn(value - in_page);
  if (in_page == kShortHeaderBytes) return Lsn(value - in_page);
  return *this;
}

Xid Xid::widen(std::uint32_t wire, Xid reference) {
  const auto low = static_cast<std::uint32_t>(reference.value);
  const auto distance = static_cast<std::int32_t>(wire - low);  // modulo 2^32, signed
  return Xid(reference.value + static_cast<std::uint64_t>(static_cast<std::int64_t>(distance)));
}

bool Snapshot::inside(Xid xid) const {
  if (xid < xmin) return true;
  if (xid >= xmax) return false;
  return !std::binary_search(running.begin(), running.end(), xid);
}

std::string Snapshot::to_string() const {
  std::string out = cat(xmin.value, ':', xmax.value, ':');
  for (std::size_t i = 0; i < running.size(); ++i) {
    if (i > 0) out += ',';
    detail::append(out, running[i].value);
  }
  return out;
}

std::optional<Snapshot> Snapshot::parse(std::string_view text) {
  const auto first = text.find(':');
  if (first == std::string_view::npos) return std::nullopt;
  const auto second = text.find(':', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  const auto xmin = parse_decimal(text.substr(0, first));
  const auto xmax = parse_decimal(text.substr(first + 1, second - first - 1));
  if (!xmin || !xmax || *xmin > *xmax) return std::nullopt;
  Snapshot snapshot{Xid(*xmin), Xid(*xmax), {}};
  for (auto rest = text.substr(second + 1); !rest.empty();) {
    const auto comma = rest.find(',');
    const auto xid = parse_decimal(rest.substr(0, comma));
    if (!xid || *xid < *xmin || *xid >= *xmax) return std::nullopt;
    if (!snapshot.running.empty() && snapshot.running.back() >= Xid(*xid)) return std::nullopt;
    snapshot.running.emplace_back(*xid);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
    if (rest.empty()) return std::nullopt;
  }
  return snapshot;
}

// ------------------------------------------------------------------------------------------ errors

Error Error::in(std::string_view context) const {
  Error copy = *this;
  copy.message_ = cat(context, ": ", message_);
  return copy;
}

std::string Error::describe() const {
  std::string out = message_;
  if (position_.valid()) out += cat("\n  at: ", position_);
  if (!sqlstate_.empty()) out += cat("\n  SQLSTATE: ", sqlstate_);
  if (!hint_.empty()) out += cat("\n  hint: ", hint_);
  return out;
}

Remedy remedy(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::connection:
    case ErrorKind::transient:
    case ErrorKind::in_doubt: return Remedy::retry;
    case ErrorKind::interrupted: return Remedy::stop_cleanly;
    case ErrorKind::usage:
    case ErrorKind::precondition:
    case ErrorKind::query:
    case ErrorKind::conflict:
    case ErrorKind::malformed:
    case ErrorKind::storage:
    case ErrorKind::bug: return Remedy::stop;
  }
  return Remedy::stop;
}

int exit_status(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage: return 2;
    case ErrorKind::precondition: return 3;
    case ErrorKind::interrupted: return 130;
    default: return 1;
  }
}

void check_failed(const char* condition, const char* file, int line) {
  throw Error(ErrorKind::bug, cat("internal error: ", condition, " does not hold (", file, ":", line, ")"),
              "this is a defect in walign; nothing was acknowledged past the last durable position, "
              "so restarting is safe; please report it with the log");
}

std::string join(const std::vector<std::string>& items, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += separator;
    out += items[i];
  }
  return out;
}

// ------------------------------------------------------------------------------------------- bytes

std::string_view ByteReader::cstring(const char* field) {
  const void* end = size_ > offset_ ? std::memchr(data_ + offset_, 0, size_ - offset_) : nullptr;
  if (end == nullptr) {
    throw Error(ErrorKind::malformed,
                cat("field ", field, " at offset ", offset_, " has no terminating zero byte"));
  }
  const auto length = static_cast<std::size_t>(static_cast<const std::byte*>(end) - (data_ + offset_));
  const auto text = as_text({data_ + offset_, length});
  offset_ += length + 1;
  return text;
}

void ByteReader::expect_end(const char* message_name) const {
  if (remaining() == 0) return;
  throw Error(ErrorKind::malformed,
              cat(message_name, " has ", remaining(), " bytes left over at offset ", offset_));
}

void ByteReader::too_short(std::size_t count, const char* field) const {
  throw Error(ErrorKind::malformed, cat("field ", field, " at offset ", offset_, " needs ", count, " bytes, ",
                                        remaining(), " are left"));
}

// ---------------------------------------------------------------------------------------- stopping

Interrupt::Interrupt() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) {
    throw Error(ErrorKind::storage, cat("cannot create an event descriptor: ", std::strerror(errno)),
                "raise the limit of open files (ulimit -n)");
  }
}

Interrupt::~Interrupt() { ::close(fd_); }

void Interrupt::raise() noexcept {
  raised_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  // A full counter is as readable as one that was just raised.
  [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
}

void Interrupt::sleep_for(std::chrono::milliseconds time) const {
  using Steady = std::chrono::steady_clock;
  pollfd entry{fd_, POLLIN, 0};
  const auto end = Steady::now() + time;
  for (auto left = time; !raised() && left.count() > 0;) {
    const auto slice = Pulse::here() ? std::min(left, Pulse::kSlice) : left;
    ::poll(&entry, 1, static_cast<int>(slice.count()));
    Pulse::beat();
    left = std::chrono::ceil<std::chrono::milliseconds>(end - Steady::now());
  }
  throw_if_raised();
}

void Interrupt::throw_if_raised() const {
  if (raised()) throw Error(ErrorKind::interrupted, "interrupted", "start the command again to go on");
}

const Clock& Clock::system() {
  static const Clock clock;
  return clock;
}

}  // namespace walign
