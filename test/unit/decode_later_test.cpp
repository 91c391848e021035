// What protocol versions 2 to 4 add.
#include "support/catch.hpp"
#include "support/wire.hpp"
#include "walign/decode.hpp"

using namespace walign;
using decode::Place;
using walign::test::has;

namespace {

constexpr Place kStreaming{2, false, false};
constexpr Place kInBlock{2, false, true};
constexpr Place kTwoPhase{3, false, false};
constexpr Place kParallel{4, true, false};

template <class M>
M decoded(const std::string& bytes, Place place) {
  static std::deque<std::string> kept;  // what is decoded borrows from it
  kept.push_back(bytes);
  return std::get<M>(decode::decode(as_bytes(kept.back()), place));
}

std::string refusal(const std::string& bytes, Place place) {
  try {
    decode::decode(as_bytes(bytes), place);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::malformed);
    CHECK_FALSE(error.hint().empty());
    return error.message();
  }
  return "not refused";
}

}  // namespace

TEST_CASE("a stream block begins with its transaction and ends without") {
  const auto first = decoded<decode::StreamStart>(wire::stream_start(7, 1), kStreaming);
  CHECK(first.xid == 7);
  CHECK(first.first);
  CHECK_FALSE(decoded<decode::StreamStart>(wire::stream_start(7, 0), kStreaming).first);
  (void)decoded<decode::StreamStop>(wire::stream_stop(), kInBlock);
  CHECK(refusal(wire::stream_start(7, 2), kStreaming) ==
        "pgoutput message Stream Start: field first segment at offset 5 has unknown bits: 2");
}

TEST_CASE("inside a block, and only there, messages have the xid that made them") {
  const std::string insert = wire::insert(16384, {wire::text("a")});
  const auto inside = decoded<decode::Insert>(wire::in_block(99, insert), kInBlock);
  CHECK(inside.xid == 99);
  CHECK(inside.relation == 16384);
  CHECK(inside.new_row.columns() == 1);
  CHECK(decoded<decode::Insert>(insert, kStreaming).xid == 0);
  const std::string update = wire::update(1, 'K', {wire::text("a")}, {wire::text("b")});
  CHECK(decoded<decode::Update>(wire::in_block(3, update), kInBlock).xid == 3);
  const std::string gone = wire::remove(1, 'K', {wire::text("a")});
  CHECK(decoded<decode::Delete>(wire::in_block(4, gone), kInBlock).xid == 4);
  const auto truncate = decoded<decode::Truncate>(wire::in_block(5, wire::truncate({8, 9}, 1)), kInBlock);
  CHECK(truncate.xid == 5);
  CHECK(truncate.relations == std::vector<std::uint32_t>{8, 9});
  const auto relation = decoded<decode::Relation>(
      wire::in_block(6, wire::relation(16384, "s", "t", 'd', {{"id", 23, true}})), kInBlock);
  CHECK(relation.xid == 6);
  CHECK(relation.oid == 16384);
  CHECK(decoded<decode::Type>(wire::in_block(7, wire::type(1, "s", "t")), kInBlock).xid == 7);
  const auto message =
      decoded<decode::LogicalMessage>(wire::in_block(8, wire::message(true, 5, "p", "content")), kInBlock);
  CHECK(message.xid == 8);
  CHECK(message.content == "content");
}

TEST_CASE("a streamed transaction commits with its positions, or is undone in whole or in part") {
  const auto commit = decoded<decode::StreamCommit>(wire::stream_commit(7, 0x10, 0x20, 1000000), kStreaming);
  CHECK(commit.xid == 7);
  CHECK(commit.commit_lsn == Lsn(0x10));
  CHECK(commit.end_lsn == Lsn(0x20));
  CHECK(commit.commit_time_us == 946684801000000);
  CHECK(
      has(refusal(wire::stream_commit(7, 1, 2, 3, 1), kStreaming), "Stream Commit: field flags at offset 5"));
  const auto part = decoded<decode::StreamAbort>(wire::stream_abort(7, 8), kStreaming);
  CHECK(part.xid == 7);
  CHECK(part.subxid == 8);
  CHECK_FALSE(part.abort_lsn.valid());
}

TEST_CASE("an abort has its position where streaming is parallel, and only there") {
  const auto abort = decoded<decode::StreamAbort>(wire::stream_abort(7, 7, 0x30, 0), kParallel);
  CHECK(abort.abort_lsn == Lsn(0x30));
  CHECK(abort.abort_time_us == decode::kPostgresEpochMicros);
  CHECK(has(refusal(wire::stream_abort(7, 7), kParallel), "field abort LSN"));
  CHECK(has(refusal(wire::stream_abort(7, 7, 1, 2), kStreaming), "Stream Abort"));
}

TEST_CASE("a transaction in two phases has its gid and the positions of each phase") {
  const auto begin = decoded<decode::BeginPrepare>(wire::begin_prepare(1, 2, 1000000, 3, "g"), kTwoPhase);
  CHECK(begin.prepare_lsn == Lsn(1));
  CHECK(begin.end_lsn == Lsn(2));
  CHECK(begin.prepare_time_us == 946684801000000);
  CHECK(begin.xid == 3);
  CHECK(begin.gid == "g");
  const auto prepare = decoded<decode::Prepare>(wire::prepared('P', 4, 5, 0, 6, "gid of it"), kTwoPhase);
  CHECK(prepare.prepare_lsn == Lsn(4));
  CHECK(prepare.end_lsn == Lsn(5));
  CHECK(prepare.xid == 6);
  CHECK(prepare.gid == "gid of it");
  const auto commit = decoded<decode::CommitPrepared>(wire::prepared('K', 7, 8, 0, 9, "h"), kTwoPhase);
  CHECK(commit.commit_lsn == Lsn(7));
  CHECK(commit.end_lsn == Lsn(8));
  CHECK(commit.xid == 9);
  CHECK(commit.gid == "h");
  const auto rollback = decoded<decode::RollbackPrepared>(
      wire::rollback_prepared(10, 11, 1000000, 2000000, 12, "i"), kTwoPhase);
  CHECK(rollback.prepare_end_lsn == Lsn(10));
  CHECK(rollback.end_lsn == Lsn(11));
  CHECK(rollback.prepare_time_us == 946684801000000);
  CHECK(rollback.rollback_time_us == 946684802000000);
  CHECK(rollback.xid == 12);
  CHECK(rollback.gid == "i");
  const auto streamed = decoded<decode::StreamPrepare>(wire::prepared('p', 13, 14, 0, 15, "j"), kTwoPhase);
  CHECK(streamed.prepare_lsn == Lsn(13));
  CHECK(streamed.xid == 15);
  CHECK(streamed.gid == "j");
  for (const char tag : {'P', 'K', 'p'}) {
    CHECK(has(refusal(wire::prepared(tag, 1, 2, 3, 4, "g", 1), kTwoPhase), "field flags at offset 1"));
  }
  CHECK(has(refusal(wire::rollback_prepared(1, 2, 3, 4, 5, "g", 4), kTwoPhase), "field flags at offset 1"));
}

TEST_CASE("each version refuses what only a later one has") {
  CHECK(has(refusal(wire::prepared('P', 1, 2, 3, 4, "g"), kStreaming),
            "Prepare: belongs to a later protocol version than 2"));
  CHECK(
      has(refusal(wire::stream_start(1, 1), {}), "Stream Start: belongs to a later protocol version than 1"));
  CHECK(decoded<decode::Begin>(wire::begin(1, 2, 3), kParallel).xid == 3);
}
