// Backfill's rules against every kind of bad luck: concurrent transactions whose commits are decoded before they
// are visible and become visible in another order, a slot born in the middle of that, chunks read in parallel,
// crashes at any moment. One seed is one run; a failing seed is printed. The decisions are those of walign/align.hpp,
// the same functions that the program calls.
//
// Taking one of the five rules away must make it fail: a test of the test.
#include "walign/align.hpp"

#include <map>
#include <random>
#include <set>

#include "support/catch.hpp"

using namespace walign;
using namespace walign::align;

namespace {

enum class Rule { gate, birth, announce, wait, inside };
using Without = std::set<Rule>;

struct Change {
  enum class Kind { insert, update, remove, move } kind;
  int key;
  int new_key;  // of a move
  std::uint64_t value;
};
using Table = std::map<int, std::uint64_t>;

// A row operation on a table; false where the row is not as the change expects it.
bool apply_change(Table& table, const Change& change) {
  switch (change.kind) {
    case Change::Kind::insert: return table.emplace(change.key, change.value).second;
    case Change::Kind::update: {
      const auto found = table.find(change.key);
      if (found == table.end()) return false;
      found->second = change.value;
      return true;
    }
    case Change::Kind::remove: return table.erase(change.key) == 1;
    case Change::Kind::move: {
      const bool was = table.erase(change.key) == 1;
      return table.emplace(change.new_key, change.value).second && was;
    }
  }
  return false;
}

struct Transaction {
  Xid xid;
  std::vector<Change> changes;
  bool committed = false;  // in the WAL; visible later
};

// The source: rows are locked by a transaction until it is visible, which is some time after its commit record can
// be decoded.
class Source {
 public:
  struct Record {
    Lsn lsn;
    Transaction transaction;
  };

  Source(std::mt19937& random, int keys) : random_(random), keys_(keys) {
    for (int k = 0; k < keys; ++k) {
      if (chance(0.7)) start_.emplace(k, static_cast<std::uint64_t>(k));
    }
  }

  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }
  int below(int n) { return std::uniform_int_distribution<>(0, n - 1)(random_); }

  void begin() {
    const Xid xid(next_xid_++);
    running_[xid] = {xid, {}, false};
  }

  void write() {
    Transaction* t = pick(false);
    if (t == nullptr) return;
    const int key = below(keys_);
    if (!lock(key, t->xid)) return;
    const Table now = seen_by(t);
    const std::uint64_t value = ++values_ + 1'000;
    if (!now.contains(key)) {
      t->changes.push_back({Change::Kind::insert, key, 0, value});
    } else if (chance(0.25)) {
      t->changes.push_back({Change::Kind::remove, key, 0, 0});
    } else if (chance(0.33)) {
      const int to = below(keys_);
      if (!now.contains(to) && lock(to, t->xid)) t->changes.push_back({Change::Kind::move, key, to, value});
    } else {
      t->changes.push_back({Change::Kind::update, key, 0, value});
    }
  }

  // A session that waits for its commit to become visible does nothing else: there are only so many.
  void commit() {
    constexpr std::ptrdiff_t kMostWaiting = 6;
    if (std::count_if(running_.begin(), running_.end(), [](const auto& r) { return r.second.committed; }) >=
        kMostWaiting) {
      return show();
    }
    Transaction* t = pick(false);
    if (t == nullptr) return;
    t->committed = true;
    wal.push_back({Lsn(++lsn_), *t});
  }

  void show() {
    Transaction* t = pick(true);
    if (t == nullptr) return;
    visible_.push_back(*t);
    std::erase_if(locks_, [&](const auto& l) { return l.second == t->xid; });
    running_.erase(t->xid);
  }

  void settle() {
    while (Transaction* t = pick(false)) {
      t->committed = true;
      wal.push_back({Lsn(++lsn_), *t});
    }
    while (pick(true) != nullptr) show();
  }

  [[nodiscard]] Snapshot snapshot() const {
    Snapshot s{Xid(next_xid_), Xid(next_xid_), {}};
    for (const auto& [xid, t] : running_) s.running.push_back(xid);
    if (!s.running.empty()) s.xmin = s.running.front();
    return s;
  }

  // Everything that is committed in the WAL so far, visible or not: what the slot's stream will not bring.
  [[nodiscard]] Snapshot birth() const {
    Snapshot s{Xid(next_xid_), Xid(next_xid_), {}};
    for (const auto& [xid, t] : running_) {
      if (!t.committed) s.running.push_back(xid);
    }
    if (!s.running.empty()) s.xmin = s.running.front();
    return s;
  }

  [[nodiscard]] Table read(const Snapshot& snapshot) const {
    Table table = start_;
    for (const auto& t : visible_) {
      if (!snapshot.inside(t.xid)) continue;
      for (const auto& change : t.changes) apply_change(table, change);
    }
    return table;
  }

  [[nodiscard]] Table at(std::size_t position) const {
    Table table = start_;
    for (std::size_t i = 0; i < position; ++i) {
      for (const auto& change : wal[i].transaction.changes) apply_change(table, change);
    }
    return table;
  }

  [[nodiscard]] Lsn end() const { return Lsn(lsn_); }

  std::vector<Record> wal;

 private:
  Transaction* pick(bool committed) {
    std::vector<Transaction*> all;
    for (auto& [xid, t] : running_) {
      if (t.committed == committed) all.push_back(&t);
    }
    return all.empty() ? nullptr : all[static_cast<std::size_t>(below(static_cast<int>(all.size())))];
  }
  bool lock(int key, Xid xid) { return locks_.emplace(key, xid).first->second == xid; }
  [[nodiscard]] Table seen_by(const Transaction* t) const {
    Table table = start_;
    for (const auto& v : visible_) {
      for (const auto& change : v.changes) apply_change(table, change);
    }
    for (const auto& change : t->changes) apply_change(table, change);
    return table;
  }

  std::mt19937& random_;
  const int keys_;
  Table start_;
  std::map<Xid, Transaction> running_;
  std::vector<Transaction> visible_;
  std::map<int, Xid> locks_;
  std::uint64_t next_xid_ = 1;
  std::uint64_t lsn_ = 1;
  std::uint64_t values_ = 0;
};

enum class Mode { early, aligned };

// walign: what is durable (position, rows, loaded chunks with their snapshots) survives a crash; the rest does not.
class Copy {
 public:
  Copy(Source& source, int keys, int chunks, Mode mode, Without without)
      : source_(source),
        mode_(mode),
        without_(std::move(without)),
        birth_(source.birth()),
        position_(source.wal.size()) {
    std::set<int> cuts;
    while (static_cast<int>(cuts.size()) < chunks - 1) cuts.insert(1 + source.below(keys - 1));
    int from = 0;
    for (const int cut : cuts) chunks_.push_back({std::exchange(from, cut), cut, {}, {}, {}, {}});
    chunks_.push_back({from, keys, {}, {}, {}, {}});
  }

  void crash() {
    reading_.reset();
    for (auto& c : chunks_) {
      if (c.state == ChunkState::in_flight) c.state = ChunkState::pending;
    }
  }

  [[nodiscard]] bool reading() const { return reading_.has_value(); }
  [[nodiscard]] bool loaded() const {
    return std::all_of(chunks_.begin(), chunks_.end(),
                       [](const Chunk& c) { return c.state == ChunkState::loaded; });
  }
  [[nodiscard]] bool done() const { return loaded() && position_ == source_.wal.size(); }
  [[nodiscard]] const Table& rows() const { return rows_; }

  // The snapshot of a chunk; it becomes known at once, or (without rule 3) only when it is read.
  void take(int number) {
    auto& chunk = chunks_[static_cast<std::size_t>(number) % chunks_.size()];
    if (chunk.state != ChunkState::pending || reading_) return;
    const auto snapshot = source_.snapshot();
    if (!without_.contains(Rule::birth) && !may_serve(snapshot, birth_)) return;
    chunk.snapshot = snapshot;
    chunk.data.reset();
    reading_ = &chunk - chunks_.data();
    if (!without_.contains(Rule::announce)) chunk.state = ChunkState::in_flight;
  }

  void read() {
    const auto number = *std::exchange(reading_, std::nullopt);
    if (source_.chance(0.15)) give_back(number);
    auto& chunk = chunks_[static_cast<std::size_t>(number)];
    Table part;
    for (const auto& [key, value] : source_.read(*chunk.snapshot)) {
      if (key >= chunk.from && key < chunk.to) part.emplace(key, value);
    }
    chunk.state = ChunkState::in_flight;
    chunk.data = std::move(part);
    chunk.fence = source_.end();
    if (mode_ == Mode::early) load(chunk);
  }

  // One transaction of the stream, if the rules let it be taken now. An empty text, or what is wrong.
  std::string step() {
    for (auto& c : chunks_) {
      if (in_flight_with_data(c) && aligned(*c.snapshot, c.fence, std::nullopt, delivered())) load(c);
    }
    if (position_ == source_.wal.size()) return "";
    const auto& next = source_.wal[position_].transaction;
    if (!without_.contains(Rule::gate) && !source_.snapshot().inside(next.xid)) return "";
    for (auto& c : chunks_) {
      if (in_flight_with_data(c) && aligned(*c.snapshot, c.fence, next.xid, Lsn())) load(c);
    }
    if (must_wait(next)) return "";
    for (const auto& change : next.changes) {
      if (!take_change(change, next.xid)) return "a row is not as a change expects it";
    }
    ++position_;
    forget_snapshots();
    return check();
  }

 private:
  struct Chunk {
    int from;
    int to;
    ChunkState state = ChunkState::pending;
    std::optional<Snapshot> snapshot;
    std::optional<Table> data;
    Lsn fence;
  };

  static bool in_flight_with_data(const Chunk& c) {
    return c.state == ChunkState::in_flight && c.data.has_value();
  }

  // Everything that ends at or below this has been applied.
  [[nodiscard]] Lsn delivered() const {
    return position_ == source_.wal.size() ? source_.end() : Lsn(source_.wal[position_].lsn.value - 1);
  }

  // The reader has met too much: the rest of its range is pending again.
  void give_back(std::ptrdiff_t number) {
    auto& chunk = chunks_[static_cast<std::size_t>(number)];
    if (chunk.to - chunk.from < 2) return;
    const int cut = chunk.from + 1 + source_.below(chunk.to - chunk.from - 1);
    const Chunk rest{cut, std::exchange(chunk.to, cut), {}, {}, {}, {}};
    chunks_.insert(chunks_.begin() + number + 1, rest);
  }

  void load(Chunk& chunk) {
    rows_.insert(chunk.data->begin(), chunk.data->end());
    chunk.data.reset();
    chunk.state = ChunkState::loaded;
  }

  ChunkView view(int key) const {
    const auto& c = *std::find_if(chunks_.begin(), chunks_.end(), [&](const Chunk& x) { return key < x.to; });
    const bool forget = c.state == ChunkState::loaded && without_.contains(Rule::inside);
    return {c.state, c.snapshot && !forget ? &*c.snapshot : nullptr};
  }

  bool must_wait(const Transaction& t) const {
    if (without_.contains(Rule::wait)) return false;
    // In aligned mode a chunk in flight holds up everything outside its snapshot: it is loaded between two.
    if (mode_ == Mode::aligned) {
      return std::any_of(chunks_.begin(), chunks_.end(), [&](const Chunk& c) {
        return c.state == ChunkState::in_flight && !c.snapshot->inside(t.xid);
      });
    }
    return std::any_of(t.changes.begin(), t.changes.end(), [&](const Change& change) {
      return change.kind == Change::Kind::move
                 ? judge_move(view(change.key), view(change.new_key), t.xid) == MoveVerdict::wait
                 : judge(view(change.key), t.xid) == Verdict::wait;
    });
  }

  bool take_change(const Change& change, Xid xid) {
    if (change.kind == Change::Kind::move) {
      switch (judge_move(view(change.key), view(change.new_key), xid)) {
        case MoveVerdict::update: return apply_change(rows_, change);
        case MoveVerdict::insert_new:
          return apply_change(rows_, {Change::Kind::insert, change.new_key, 0, change.value});
        case MoveVerdict::delete_old: return apply_change(rows_, {Change::Kind::remove, change.key, 0, 0});
        case MoveVerdict::drop:
        case MoveVerdict::wait: return true;  // wait: only without rule 4
      }
    }
    return judge(view(change.key), xid) != Verdict::apply || apply_change(rows_, change);
  }

  void forget_snapshots() {
    for (auto& c : chunks_) {
      if (c.state == ChunkState::loaded && delivered() >= c.fence) c.snapshot.reset();
    }
  }

  // Every chunk that is loaded and past its fence equals the source at the position.
  [[nodiscard]] std::string check() const {
    const Table expected = source_.at(position_);
    for (const auto& c : chunks_) {
      if (c.state != ChunkState::loaded || c.snapshot) continue;
      const auto in_chunk = [&](const Table& t) { return Table(t.lower_bound(c.from), t.lower_bound(c.to)); };
      if (in_chunk(rows_) != in_chunk(expected)) return "a loaded chunk is not the source at the position";
    }
    return "";
  }

  Source& source_;
  const Mode mode_;
  const Without without_;
  const Snapshot birth_;
  std::size_t position_;
  std::vector<Chunk> chunks_;
  Table rows_;
  std::optional<std::ptrdiff_t> reading_;
};

// Brings the source to rest, and the copy to its end.
std::string finish(Source& source, Copy& copy) {
  source.settle();
  for (int i = 0; i < 5000 && !copy.done(); ++i) {
    if (copy.reading()) {
      copy.read();
    } else {
      copy.take(i);
    }
    if (auto wrong = copy.step(); !wrong.empty()) return wrong;
  }
  if (!copy.done()) return "it does not end";
  return copy.rows() == source.at(source.wal.size()) ? "" : "the target is not the source at the end";
}

struct Outcome {
  std::string wrong;  // empty: exact
  bool done_under_load = false;
};

Outcome simulate(unsigned seed, Mode mode, const Without& without, int steps) {
  std::mt19937 random(seed);
  const int keys = 4 + static_cast<int>(random() % 11);
  Source source(random, keys);
  std::optional<Copy> copy;
  Outcome outcome;
  for (int t = 0; t < steps && !outcome.done_under_load; ++t) {
    switch (source.below(50)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5: source.begin(); break;
      case 28:
      case 29:
      case 30:
      case 31:
      case 32: source.commit(); break;
      case 33:
      case 34:
      case 35:
      case 36: source.show(); break;
      case 37:
      case 38:
      case 39:
      case 40:
        if (copy) copy->take(source.below(8));
        break;
      case 41:
      case 42:
      case 43:
      case 44:
      case 45:
        if (copy && copy->reading()) copy->read();
        break;
      case 46:
      case 47:
      case 48:
        for (int i = 0; copy && i < 3; ++i) {
          if (outcome.wrong = copy->step(); !outcome.wrong.empty()) return outcome;
        }
        break;
      case 49:
        if (copy && source.chance(0.3)) copy->crash();
        break;
      default: source.write(); break;
    }
    if (!copy && t > 40 && source.chance(0.05)) {
      copy.emplace(source, keys, 2 + source.below(std::min(3, keys - 2)), mode, without);
    }
    outcome.done_under_load = copy && copy->loaded() && steps > 1000;
  }
  if (copy) outcome.wrong = finish(source, *copy);
  return outcome;
}

constexpr unsigned kRuns = 2000;

int count_wrong(Mode mode, const Without& without) {
  int wrong = 0;
  for (unsigned seed = 1; seed <= kRuns; ++seed)
    wrong += simulate(seed, mode, without, 500).wrong.empty() ? 0 : 1;
  return wrong;
}

}  // namespace

TEST_CASE("with all five rules a copy is exact, whatever happens") {
  for (const Mode mode : {Mode::early, Mode::aligned}) {
    for (unsigned seed = 1; seed <= kRuns; ++seed) {
      const auto outcome = simulate(seed, mode, {}, 500);
      INFO("seed " << seed << (mode == Mode::early ? ", early" : ", aligned"));
      REQUIRE(outcome.wrong == "");
    }
  }
}

TEST_CASE("taking any one rule away makes copies wrong") {
  for (const Mode mode : {Mode::early, Mode::aligned}) {
    for (const Rule rule : {Rule::gate, Rule::birth, Rule::announce, Rule::wait, Rule::inside}) {
      const int wrong = count_wrong(mode, {rule});
      INFO("rule " << static_cast<int>(rule) + 1 << (mode == Mode::early ? ", early" : ", aligned") << ": "
                   << wrong << " of " << kRuns);
      CHECK(wrong > 0);
    }
  }
}

TEST_CASE("a copy ends under load that never ends") {
  for (const Mode mode : {Mode::early, Mode::aligned}) {
    for (unsigned seed = 1; seed <= 200; ++seed) {
      const auto outcome = simulate(seed, mode, {}, 12000);
      INFO("seed " << seed << (mode == Mode::early ? ", early" : ", aligned"));
      REQUIRE(outcome.wrong == "");
      REQUIRE(outcome.done_under_load);
    }
  }
}
