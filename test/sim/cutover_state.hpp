// One moment of the world that the cutover's protocol lives in, small enough to keep millions of: two rows, their
// triggers and locks, what each side's WAL has and how far the other side has got with it, and two instances.
#pragma once

#include <array>
#include <cstdint>

#include "cutover/protocol.hpp"

namespace sim {

using namespace walign::cutover;
using u8 = std::uint8_t;

inline constexpr int kTables = 2;
inline constexpr int kInstances = 2;

// Whose mark a row carries: a start that is over, or one of the two that run.
inline constexpr u8 kOld = 0;
constexpr u8 mark(int instance) { return static_cast<u8>(instance + 1); }

// What an open transaction will change at its COMMIT.
enum Kind : u8 {
  k_none,
  k_raise,
  k_fencing,
  k_table,  // and the next, for the second table
  k_table2,
  k_seal,
  k_open,
  k_abort,
  k_reopen,
  k_hold,   // nothing: the row is locked
  k_lower,  // takes the triggers down
  k_alone
};
// Trigger: none; closed until the row says OPEN; or the epoch that it carries.
inline constexpr u8 kNoTrigger = 0;
inline constexpr u8 kClosing = 1;
constexpr u8 trigger_of(int epoch) { return static_cast<u8>(2 + epoch); }

struct SimRow {
  u8 epoch = 0, state = 0, owner = kOld;
  u8 fence = 0;  // position of the marker that the applier has noted; 0: none
};
inline constexpr u8 kNobody = 0, kGhost = 3;  // 1 and 2: the instances
struct SimLock {
  u8 holder = kNobody;
  u8 kind = k_none;
  u8 epoch = 0, owner = kOld;
};
// What a side's WAL has of interest, in order: an application's write (0), or the marker of an epoch (1 to 3).
struct SimWal {
  u8 length = 0;
  std::uint16_t items = 0;
  [[nodiscard]] int at(int i) const { return items >> (2 * i) & 3; }
  void push(int item) {
    items = static_cast<std::uint16_t>(items | item << (2 * length));
    ++length;
  }
  [[nodiscard]] int writes_from(int from) const {
    int n = 0;
    for (int i = from; i < length; ++i) n += at(i) == 0;
    return n;
  }
};
enum Life : u8 { idle, taking_source, running };
struct SimInstance {
  u8 life = idle;
  u8 flow = static_cast<u8>(Flow::none);
  u8 hand = 0;  // a batch that would move the position to here; 0: none
  std::uint32_t phase = 0;
};

struct State {
  std::array<SimRow, 2> row;
  std::array<std::array<u8, kTables>, 2> trigger{};
  std::array<u8, 2> ever_open{};  // 1 + the highest epoch at which it was OPEN
  std::array<SimLock, 2> lock;
  std::array<SimWal, 2> wal;
  std::array<u8, 2> applied{}, durable{};  // of that side's WAL, on the other side
  u8 lease_over = 0;
  u8 newest = 0;     // mark of the instance that started last; it owns the stream's position on the target
  u8 on_source = 0;  // and on the source, once it has taken that too
  u8 gone = 0;       // 1 + the side whose server is gone for ever
  u8 accident = 0;   // a fault that happens once has happened
  std::array<SimInstance, kInstances> instance;
};

using Key = std::array<std::uint64_t, 3>;

// Every field with its width; the one place that knows the layout.
template <class S, class F>
void each_field(S& s, F field) {
  for (int d = 0; d < 2; ++d) {
    auto& r = s.row[d];
    field(r.epoch, 2), field(r.state, 3), field(r.owner, 2), field(r.fence, 3);
    for (auto& t : s.trigger[d]) field(t, 3);
    field(s.ever_open[d], 3);
    auto& l = s.lock[d];
    field(l.holder, 2), field(l.kind, 4), field(l.epoch, 2), field(l.owner, 2);
    field(s.wal[d].length, 3), field(s.wal[d].items, 10);
    field(s.applied[d], 3), field(s.durable[d], 3);
  }
  field(s.lease_over, 1), field(s.newest, 2), field(s.on_source, 2), field(s.gone, 2), field(s.accident, 1);
  for (auto& i : s.instance) field(i.life, 2), field(i.flow, 2), field(i.hand, 3), field(i.phase, 26);
}

inline Key pack(const State& s) {
  Key key{};
  unsigned at = 0;
  each_field(s, [&](const auto& value, unsigned bits) {
    const auto v = static_cast<std::uint64_t>(value);
    WALIGN_CHECK(v >> bits == 0);
    key[at / 64] |= v << (at % 64);
    if (at % 64 + bits > 64) key[at / 64 + 1] |= v >> (64 - at % 64);
    at += bits;
  });
  return key;
}

inline State unpack(const Key& key) {
  State s;
  unsigned at = 0;
  each_field(s, [&](auto& value, unsigned bits) {
    std::uint64_t v = key[at / 64] >> (at % 64);
    if (at % 64 + bits > 64) v |= key[at / 64 + 1] << (64 - at % 64);
    value = static_cast<std::remove_reference_t<decltype(value)>>(v & ((1ULL << bits) - 1));
    at += bits;
  });
  return s;
}

// The same moment with the instances' names exchanged.
inline State exchanged(State s) {
  const auto swap = [](u8& m) { m = m == 1 ? 2 : m == 2 ? 1 : m; };
  for (auto& r : s.row) swap(r.owner);
  for (auto& l : s.lock) swap(l.holder), swap(l.owner);
  swap(s.newest), swap(s.on_source);
  std::swap(s.instance[0], s.instance[1]);
  return s;
}

// ------------------------------------------------------------------------- the protocol's phases as bits

class Bits {
 public:
  explicit Bits(std::uint32_t bits = 0) : bits_(bits) {}
  void put(std::uint64_t value, unsigned width) {
    WALIGN_CHECK(value >> width == 0);
    bits_ |= static_cast<std::uint32_t>(value) << at_;
    at_ += width;
  }
  std::uint32_t take(unsigned width) {
    const auto value = bits_ >> at_ & ((1U << width) - 1U);
    at_ += width;
    return value;
  }
  void put(const RowKey& row) { put(row.epoch, 2), put(static_cast<std::uint64_t>(row.state), 3); }
  void put(const Rows& rows) { put(rows.source), put(rows.target); }
  void put(const std::optional<RowKey>& row) {
    put(row ? 1 : 0, 1);
    put(row.value_or(RowKey{0, RowState::open}));
  }
  void put(const Attempt& a) { put(static_cast<std::uint64_t>(a.giver), 1), put(a.epoch, 2), put(a.rows); }
  RowKey row() {
    const auto epoch = take(2);
    return {epoch, static_cast<RowState>(take(3))};
  }
  Rows rows() {
    const RowKey source = row();
    return {source, row()};
  }
  std::optional<RowKey> maybe_row() {
    const bool has = take(1) != 0;
    const RowKey r = row();
    return has ? std::optional(r) : std::nullopt;
  }
  Side side() { return static_cast<Side>(take(1)); }
  Attempt attempt() {
    Attempt a;
    a.giver = side();
    a.epoch = take(2);
    a.rows = rows();
    a.tables = kTables;
    return a;
  }
  [[nodiscard]] std::uint32_t value() const { return bits_; }

 private:
  std::uint32_t bits_;
  unsigned at_ = 0;
};

inline std::uint32_t encode(const Phase& phase) {
  Bits b;
  b.put(phase.index(), 3);
  if (const auto* p = std::get_if<phase::Looking>(&phase)) b.put(p->source), b.put(p->target);
  if (const auto* p = std::get_if<phase::Streaming>(&phase)) {
    b.put(static_cast<std::uint64_t>(p->giver), 1), b.put(p->rows);
  }
  if (const auto* p = std::get_if<phase::Trying>(&phase)) {
    b.put(static_cast<std::uint64_t>(p->step), 4), b.put(p->attempt);
  }
  if (const auto* p = std::get_if<phase::FencingTable>(&phase)) b.put(p->table, 1), b.put(p->attempt);
  if (const auto* p = std::get_if<phase::Alone>(&phase)) {
    b.put(static_cast<std::uint64_t>(p->left), 1), b.put(p->row);
  }
  if (const auto* p = std::get_if<phase::AloneOpen>(&phase)) {
    b.put(static_cast<std::uint64_t>(p->left), 1), b.put(p->row);
  }
  if (const auto* p = std::get_if<phase::Stopped>(&phase)) b.put(static_cast<std::uint64_t>(p->why), 3);
  return b.value();
}

inline Phase decode(std::uint32_t bits) {
  Bits b(bits);
  switch (b.take(3)) {
    case 0: {
      const auto source = b.maybe_row();
      return phase::Looking{source, b.maybe_row()};
    }
    case 1: {
      const Side giver = b.side();
      return phase::Streaming{giver, b.rows()};
    }
    case 2: {
      const auto step = static_cast<Step>(b.take(4));
      return phase::Trying{step, b.attempt()};
    }
    case 3: {
      const auto table = b.take(1);
      return phase::FencingTable{b.attempt(), table};
    }
    case 4: {
      const Side left = b.side();
      return phase::Alone{left, b.maybe_row()};
    }
    case 5: {
      const Side left = b.side();
      return phase::AloneOpen{left, b.row()};
    }
    default: return phase::Stopped{static_cast<Why>(b.take(3))};
  }
}

}  // namespace sim
