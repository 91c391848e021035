// Several companions as one: who is asked, and who is waited for.
#include "stream/companions.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::stream;

namespace {

class Fake final : public Companion {
 public:
  Fake(bool copies, bool is_active) : copies_(copies), active_(is_active) {}
  void start(const Session& /*session*/) override {}
  void stop() override { ++stopped; }
  [[nodiscard]] bool active() const override { return active_; }
  [[nodiscard]] bool copies_rows() const override { return copies_; }
  std::optional<Judgement> judge(const event::TransactionPart& /*part*/, Xid /*xid*/) override {
    ++asked;
    if (says_wait) return std::nullopt;
    Judgement out;
    if (copies_) out.exceptions.push_back({1, 2, align::MoveVerdict::drop});
    out.alone = copies_;
    return out;
  }
  void committed(Lsn /*position*/, Lsn /*reached*/, std::optional<Xid> /*next*/) override {}
  [[nodiscard]] Lsn awaited() const override { return awaits; }
  void wait(std::chrono::milliseconds /*timeout*/) override { ++waited; }
  void check() override {}
  void report(Status& /*status*/) const override {}
  void pause(bool /*paused*/) override {}
  void lag(std::int64_t /*bytes*/) override {}

  int asked = 0, waited = 0, stopped = 0;
  bool says_wait = false;
  Lsn awaits;

 private:
  const bool copies_;
  const bool active_;
};

}  // namespace

TEST_CASE("all active companions are asked in order until one says to wait, and that one is waited for") {
  Fake verifier(false, true);
  Fake copier(true, true);
  const std::vector<Companion*> all{&verifier, &copier};
  Companions companions(all);
  const event::TransactionPart part;
  auto judgement = companions.judge(part, Xid(1));
  REQUIRE(judgement);
  CHECK(judgement->exceptions.size() == 1);
  CHECK(judgement->alone);
  verifier.says_wait = true;
  CHECK_FALSE(companions.judge(part, Xid(1)));
  CHECK(copier.asked == 1);  // asking it could have changed something
  companions.wait(std::chrono::milliseconds(1));
  CHECK(verifier.waited == 1);
  CHECK(copier.waited == 0);
}

TEST_CASE("one that is not active is not asked") {
  Fake verifier(false, false);
  Fake copier(true, true);
  const std::vector<Companion*> all{&verifier, &copier};
  Companions companions(all);
  CHECK(companions.judge(event::TransactionPart(), Xid(1)).has_value());
  CHECK(verifier.asked == 0);
  CHECK(companions.active());
}

TEST_CASE("only one that copies rows makes a run wait for old rows") {
  Fake verifier(false, true);
  Fake copier(true, false);
  const std::vector<Companion*> all{&verifier, &copier};
  const Companions companions(all);
  CHECK(companions.active());
  CHECK_FALSE(companions.copying());
  CHECK(companions.copier() == &copier);
  const std::vector<Companion*> alone{&verifier};
  CHECK(Companions(alone).copier() == nullptr);
}

TEST_CASE("the furthest position that any of them awaits is awaited") {
  Fake verifier(false, true);
  Fake copier(true, true);
  const std::vector<Companion*> all{&verifier, &copier};
  Companions companions(all);
  CHECK_FALSE(companions.awaited().valid());
  verifier.awaits = Lsn(5);
  copier.awaits = Lsn(3);
  CHECK(companions.awaited() == Lsn(5));
  companions.stop();
  CHECK(verifier.stopped + copier.stopped == 2);
}
