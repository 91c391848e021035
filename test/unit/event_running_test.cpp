// Transactions that come before they have committed: blocks of several in turn, and prepared ones.
#include "support/catch.hpp"
#include "support/event_text.hpp"
#include "support/wire.hpp"

using namespace walign;
using walign::test::has;

namespace {

class Running {
 public:
  explicit Running(std::size_t part_bytes = std::size_t{1} << 20U)
      : assembler_(part_bytes, {4, false, false}) {}

  event::Taken take(const std::string& bytes) {
    return assembler_.take(decode::decode(as_bytes(bytes), assembler_.place()));
  }
  void nothing(const std::string& bytes) { CHECK(std::holds_alternative<std::monostate>(take(bytes))); }
  // The changes of the running part that this gives.
  std::string part(const std::string& bytes) {
    auto taken = take(bytes);
    auto* running = std::get_if<event::RunningPart>(&taken);
    REQUIRE(running != nullptr);
    return text(running->part);
  }
  std::string refusal(const std::string& bytes) {
    try {
      take(bytes);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::malformed);
      CHECK_FALSE(error.hint().empty());
      return error.message();
    }
    return "not refused";
  }
  [[nodiscard]] bool in_transaction() const { return assembler_.in_transaction(); }

  static std::string text(event::TransactionPart& part) {
    part.make_self_contained();
    std::string out = cat("xid ", part.tx().xid());
    if (!part.tx().gid().empty()) out += cat(" gid ", part.tx().gid());
    if (!part.tx().origin().empty()) out += cat(" origin ", part.tx().origin());
    CHECK(part.tx().commit_lsn() == 0);
    for (const v1::Change& change : part.tx().changes()) {
      out += cat("; ", change.xid(), " ", event_text::change(change, part.tx()));
    }
    return out;
  }

 private:
  event::Assembler assembler_;
};

std::string in(std::uint32_t xid, const std::string& message) { return wire::in_block(xid, message); }
std::string table(const std::string& name = "t") {
  return wire::relation(1, "public", name, 'd', {{"id", 23, true}});
}
std::string row(const std::string& id) { return wire::insert(1, {wire::text(id)}); }

}  // namespace

TEST_CASE("a block gives its changes with the xid of who made each, and the commit gives the header") {
  Running feed;
  feed.nothing(wire::stream_start(7, 1));
  CHECK(feed.in_transaction());
  feed.nothing(in(7, table()));
  feed.nothing(in(7, row("1")));
  feed.nothing(in(8, row("2")));
  CHECK(feed.part(wire::stream_stop()) ==
        "xid 7; 7 INSERT public.t new (id '1'); 8 INSERT public.t new (id '2')");
  CHECK_FALSE(feed.in_transaction());
  const auto taken = feed.take(wire::stream_commit(7, 0x100, 0x130, 5));
  const auto& header = std::get<event::RunningCommitted>(taken).header;
  CHECK(header.xid() == 7);
  CHECK(header.commit_lsn() == 0x100);
  CHECK(header.end_lsn() == 0x130);
  CHECK(header.commit_time_us() == decode::kPostgresEpochMicros + 5);
  CHECK(header.changes_size() == 0);
}

TEST_CASE("blocks of several transactions come in turn, whole ones between them") {
  Running feed;
  feed.nothing(wire::stream_start(7, 1));
  feed.nothing(in(7, table()));
  feed.nothing(in(7, row("1")));
  CHECK(feed.part(wire::stream_stop()) == "xid 7; 7 INSERT public.t new (id '1')");
  feed.nothing(wire::stream_start(9, 1));
  feed.nothing(in(9, table()));
  feed.nothing(in(9, row("2")));
  CHECK(feed.part(wire::stream_stop()) == "xid 9; 9 INSERT public.t new (id '2')");
  feed.nothing(wire::begin(0x50, 1, 10));
  feed.nothing(table());
  feed.nothing(row("3"));
  CHECK(std::holds_alternative<event::TransactionPart>(feed.take(wire::commit(0x50, 0x60, 1))));
  feed.nothing(wire::stream_start(7, 0));
  feed.nothing(in(7, row("4")));  // described in its first block
  CHECK(feed.part(wire::stream_stop()) == "xid 7; 7 INSERT public.t new (id '4')");
  (void)std::get<event::RunningCommitted>(feed.take(wire::stream_commit(9, 0x70, 0x80, 1)));
  (void)std::get<event::RunningCommitted>(feed.take(wire::stream_commit(7, 0x90, 0xA0, 1)));
}

TEST_CASE("a description inside a block is the transaction's own until it has committed") {
  Running feed;
  feed.nothing(table("before"));
  feed.nothing(wire::stream_start(7, 1));
  feed.nothing(in(7, table("after")));
  feed.nothing(in(7, row("1")));
  CHECK(feed.part(wire::stream_stop()) == "xid 7; 7 INSERT public.after new (id '1')");
  feed.nothing(wire::stream_start(9, 1));
  feed.nothing(in(9, row("2")));
  CHECK(feed.part(wire::stream_stop()) == "xid 9; 9 INSERT public.before new (id '2')");
  SECTION("committed, it holds for all") {
    (void)feed.take(wire::stream_commit(7, 0x100, 0x130, 5));
    feed.nothing(wire::stream_start(9, 0));
    feed.nothing(in(9, row("3")));
    CHECK(feed.part(wire::stream_stop()) == "xid 9; 9 INSERT public.after new (id '3')");
  }
  SECTION("rolled back, it is forgotten") {
    (void)feed.take(wire::stream_abort(7, 7));
    feed.nothing(wire::stream_start(9, 0));
    feed.nothing(in(9, row("3")));
    CHECK(feed.part(wire::stream_stop()) == "xid 9; 9 INSERT public.before new (id '3')");
  }
}

TEST_CASE("a table that is described again as it was keeps its description") {
  event::Assembler assembler(std::size_t{1} << 20U, {4, false, false});
  const auto take = [&](const std::string& bytes) {
    return assembler.take(decode::decode(as_bytes(bytes), assembler.place()));
  };
  std::vector<event::RelationPtr> seen;
  for (const std::uint32_t xid : {7U, 9U, 11U}) {
    take(wire::stream_start(xid, 1));
    take(in(xid, xid == 11 ? table("another") : table()));
    take(in(xid, row("1")));
    auto taken = take(wire::stream_stop());
    seen.push_back(std::get<event::RunningPart>(taken).part.relations().at(0));
    take(wire::stream_commit(xid, 0x100, 0x130, 5));
  }
  CHECK(seen[0] == seen[1]);
  CHECK(seen[1] != seen[2]);
}

TEST_CASE("a large block comes in parts, none of them numbered") {
  Running feed(1);
  feed.nothing(wire::stream_start(7, 1));
  feed.nothing(in(7, table()));
  for (const char* id : {"1", "2"}) {
    auto taken = feed.take(in(7, row(id)));
    CHECK(std::get<event::RunningPart>(taken).part.tx().part() == 0);
  }
  feed.nothing(wire::stream_stop());  // nothing is left of it
}

TEST_CASE("an abort says whether it is of all or of a subtransaction") {
  Running feed;
  feed.nothing(wire::stream_start(7, 1));
  feed.nothing(in(7, table()));
  feed.nothing(in(8, row("1")));
  (void)feed.part(wire::stream_stop());
  const auto part = std::get<event::RunningAborted>(feed.take(wire::stream_abort(7, 8)));
  CHECK(part.xid == 7);
  CHECK(part.subxid == 8);
  const auto all = std::get<event::RunningAborted>(feed.take(wire::stream_abort(7, 7)));
  CHECK(all.subxid == 7);
  CHECK(has(feed.refusal(wire::stream_commit(7, 1, 2, 3)), "of which nothing came before"));
}

TEST_CASE("an origin is told in the first block and belongs to all") {
  Running feed;
  feed.nothing(wire::stream_start(7, 1));
  feed.nothing(wire::origin(0xAB, "other"));
  feed.nothing(in(7, table()));
  feed.nothing(in(7, row("1")));
  CHECK(feed.part(wire::stream_stop()) == "xid 7 origin other; 7 INSERT public.t new (id '1')");
  feed.nothing(wire::stream_start(7, 0));
  feed.nothing(in(7, row("2")));
  CHECK(feed.part(wire::stream_stop()) == "xid 7 origin other; 7 INSERT public.t new (id '2')");
  const auto taken = feed.take(wire::stream_commit(7, 0x100, 0x130, 5));
  CHECK(std::get<event::RunningCommitted>(taken).header.origin_lsn() == 0xAB);
}

TEST_CASE("a prepared transaction waits for its second phase like a running one for its commit") {
  Running feed;
  feed.nothing(wire::begin_prepare(0x10, 0x20, 1, 7, "g"));
  feed.nothing(table());
  feed.nothing(row("1"));  // without an xid: it is whole
  CHECK(feed.part(wire::prepared('P', 0x10, 0x20, 1, 7, "g")) ==
        "xid 7 gid g; 7 INSERT public.t new (id '1')");
  SECTION("it commits") {
    const auto taken = feed.take(wire::prepared('K', 0x100, 0x130, 5, 7, "g"));
    const auto& header = std::get<event::RunningCommitted>(taken).header;
    CHECK(header.gid() == "g");
    CHECK(header.commit_lsn() == 0x100);
    CHECK(header.end_lsn() == 0x130);
  }
  SECTION("it is rolled back") {
    const auto aborted =
        std::get<event::RunningAborted>(feed.take(wire::rollback_prepared(1, 2, 3, 4, 7, "g")));
    CHECK(aborted.xid == 7);
    CHECK(aborted.subxid == 7);
  }
}

TEST_CASE("a streamed transaction may be prepared") {
  Running feed;
  feed.nothing(wire::stream_start(7, 1));
  feed.nothing(in(7, table()));
  feed.nothing(in(7, row("1")));
  (void)feed.part(wire::stream_stop());
  feed.nothing(wire::prepared('p', 0x10, 0x20, 1, 7, "g"));
  const auto taken = feed.take(wire::prepared('K', 0x100, 0x130, 5, 7, "g"));
  CHECK(std::get<event::RunningCommitted>(taken).header.gid() == "g");
}

TEST_CASE("what cannot follow is refused") {
  Running feed;
  CHECK(has(feed.refusal(wire::stream_stop()), "outside one"));
  CHECK(has(feed.refusal(wire::stream_start(7, 0)), "of which nothing came before"));
  CHECK(has(feed.refusal(wire::stream_abort(7, 7)), "of which nothing came before"));
  CHECK(has(feed.refusal(wire::prepared('p', 1, 2, 3, 7, "g")), "of which nothing came before"));
  CHECK(has(feed.refusal(wire::prepared('P', 1, 2, 3, 7, "g")), "without its beginning"));
  CHECK(has(feed.refusal(wire::prepared('K', 1, 2, 3, 7, "g")), "of which nothing came before"));
  feed.nothing(wire::stream_start(7, 1));
  CHECK(has(feed.refusal(wire::stream_start(8, 1)), "inside transaction 7"));
  CHECK(has(feed.refusal(wire::stream_commit(7, 1, 2, 3)), "inside transaction 7"));
  CHECK(has(feed.refusal(wire::begin(1, 2, 3)), "before the COMMIT of 7"));
  CHECK(has(feed.refusal(wire::commit(1, 2, 3)), "without a BEGIN"));
  CHECK(has(feed.refusal(wire::prepared('P', 1, 2, 3, 7, "g")), "without its beginning"));
  feed.nothing(wire::stream_stop());
  CHECK(has(feed.refusal(wire::stream_commit(7, 5, 5, 3)), "not after it"));
}
