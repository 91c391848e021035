// Verification's moments against every kind of bad luck: commits that are decoded before they are visible and become
// visible in another order, transactions taken before the gate was there. The target is what the stream has applied, so
// it is equal by definition, and every difference that counts is a false one. The decisions are the program's own.
//
// Taking away the gate, the rule to compare again, what was taken without a gate, or the wait for the fence must make
// it report falsely: a test of the test.
#include <map>
#include <random>
#include <set>

#include "support/catch.hpp"
#include "verify/meeting.hpp"

using namespace walign;
using namespace walign::verify;

namespace {

enum class Rule { gate, again, unseen, fence, hold };
using Without = std::set<Rule>;
using Table = std::map<int, std::uint64_t>;

struct Transaction {
  Xid xid;
  Table writes;  // key to value
  bool committed = false;
};

// Rows are locked by their transaction until it is visible.
class Source {
 public:
  explicit Source(std::mt19937& random) : random_(random) {}
  int below(int n) { return std::uniform_int_distribution<>(0, n - 1)(random_); }

  void begin() { running_[Xid(next_xid_)] = {Xid(next_xid_), {}, false}, ++next_xid_; }
  void write() {
    Transaction* t = pick(false);
    if (t == nullptr) return;
    const int key = below(6);
    if (locks_.emplace(key, t->xid).first->second == t->xid) t->writes[key] = ++value_;
  }
  void commit() {
    Transaction* t = pick(false);
    if (t == nullptr) return;
    t->committed = true;
    wal.push_back(*t);
  }
  void show() {
    Transaction* t = pick(true);
    if (t == nullptr) return;
    visible_.push_back(*t);
    std::erase_if(locks_, [&](const auto& l) { return l.second == t->xid; });
    running_.erase(t->xid);
  }
  [[nodiscard]] Snapshot snapshot() const {
    Snapshot s{Xid(next_xid_), Xid(next_xid_), {}};
    for (const auto& [xid, t] : running_) s.running.push_back(xid);
    if (!s.running.empty()) s.xmin = s.running.front();
    return s;
  }
  [[nodiscard]] Table rows(const Snapshot& snapshot) const {
    Table out;
    for (const auto& t : visible_) {
      if (!snapshot.inside(t.xid)) continue;
      for (const auto& [key, value] : t.writes) out[key] = value;
    }
    return out;
  }
  std::vector<Transaction> wal;  // the n-th ends at Lsn(n + 1)

 private:
  Transaction* pick(bool committed) {
    std::vector<Transaction*> all;
    for (auto& [xid, t] : running_) {
      if (t.committed == committed) all.push_back(&t);
    }
    return all.empty() ? nullptr : all[static_cast<std::size_t>(below(static_cast<int>(all.size())))];
  }
  std::mt19937& random_;
  std::map<Xid, Transaction> running_;
  std::vector<Transaction> visible_;
  std::map<int, Xid> locks_;
  std::uint64_t next_xid_ = 1;
  std::uint64_t value_ = 0;
};

class Verifying {
 public:
  Verifying(Source& source, Without without) : source_(source), without_(std::move(without)) {}

  void begin() { active_ = true; }
  void end() {
    if (!meeting_) active_ = false;
  }
  // The source's snapshot; what is compared is read under it.
  void announce() {
    if (!active_ || meeting_) return;
    const auto snapshot = source_.snapshot();
    if (!without_.contains(Rule::unseen) && !unseen_.all_inside(snapshot)) return;
    meeting_.emplace(snapshot, Lsn(source_.wal.size() + 1));
    on_source_ = source_.rows(snapshot);
  }
  // One transaction of the stream, if it may be taken.
  void step() {
    open_if_aligned(std::nullopt);
    if (taken_ == source_.wal.size()) return;
    const auto& next = source_.wal[taken_];
    if (active_) {
      const bool passes = source_.snapshot().inside(next.xid);
      open_if_aligned(next.xid);
      if (!passes && !without_.contains(Rule::gate)) return;
      if (meeting_ && !without_.contains(Rule::hold) && !meeting_->may_take(next.xid)) return;
    } else {
      unseen_.add(static_cast<std::uint32_t>(next.xid.value));
    }
    for (const auto& [key, value] : next.writes) target_[key] = value;
    if (meeting_ && !without_.contains(Rule::again)) meeting_->took(next.xid, !next.writes.empty());
    ++taken_;
  }
  // Whether something was reported, and whether it was wrong to.
  std::optional<bool> conclude() {
    if (!meeting_) return std::nullopt;
    const bool over = without_.contains(Rule::fence) ? meeting_->is_open() : meeting_->decided(reached());
    if (!over) return std::nullopt;
    const bool counts = without_.contains(Rule::fence) ? !meeting_->again() : meeting_->counts(reached());
    const bool equal = on_source_ == on_target_;
    meeting_.reset();
    return counts ? std::optional(!equal) : std::nullopt;
  }

 private:
  // Everything below this has been taken: a fence is one past what is in the WAL.
  [[nodiscard]] Lsn reached() const { return Lsn(taken_ + 1); }
  // Without the rule to hold the stream nobody looks at what comes next.
  void open_if_aligned(std::optional<Xid> next) {
    if (without_.contains(Rule::hold)) next.reset();
    if (!meeting_ || !meeting_->must_open(next, reached())) return;
    meeting_->opened();
    on_target_ = target_;
  }

  Source& source_;
  const Without without_;
  bool active_ = false;
  std::optional<Meeting> meeting_;
  Unseen unseen_;
  std::size_t taken_ = 0;
  Table target_;
  Table on_source_;
  Table on_target_;
};

struct Outcome {
  int counted = 0;
  int wrong = 0;
};

Outcome simulate(unsigned seed, const Without& without) {
  std::mt19937 random(seed);
  Source source(random);
  Verifying verifying(source, without);
  Outcome out;
  for (int t = 0; t < 600; ++t) {
    const int what = source.below(30);
    if (what < 4)
      source.begin();
    else if (what < 12)
      source.write();
    else if (what < 16)
      source.commit();
    else if (what < 19)
      source.show();
    else if (what < 20)
      verifying.begin();
    else if (what < 21)
      verifying.end();
    else if (what < 24)
      verifying.announce();
    else if (what < 28)
      verifying.step();
    else if (const auto wrong = verifying.conclude()) {
      ++out.counted;
      out.wrong += *wrong ? 1 : 0;
    }
  }
  return out;
}

constexpr unsigned kRuns = 3000;

}  // namespace

TEST_CASE("equal tables are never reported to differ, whatever becomes visible when") {
  int counted = 0;
  for (unsigned seed = 1; seed <= kRuns; ++seed) {
    const auto outcome = simulate(seed, {});
    INFO("seed " << seed);
    REQUIRE(outcome.wrong == 0);
    counted += outcome.counted;
  }
  CHECK(counted > 1000);
}

TEST_CASE("taking any one rule away makes it report falsely") {
  for (const Rule rule : {Rule::gate, Rule::again, Rule::unseen, Rule::fence, Rule::hold}) {
    int wrong = 0;
    for (unsigned seed = 1; seed <= kRuns; ++seed) wrong += simulate(seed, {rule}).wrong;
    INFO("rule " << static_cast<int>(rule) << ": " << wrong);
    CHECK(wrong > 0);
  }
}
