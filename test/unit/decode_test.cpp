#include "walign/decode.hpp"

#include <sys/mman.h>

#include "support/catch.hpp"
#include "support/wire.hpp"

using namespace walign;
using decode::ValueKind;
using walign::test::has;

namespace {

template <class M>
M decoded(const std::string& bytes) {
  return std::get<M>(decode::decode(as_bytes(bytes)));
}

// The message of the error that decoding must end in.
std::string refusal(const std::string& bytes) {
  try {
    decode::decode(as_bytes(bytes));
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::malformed);
    CHECK_FALSE(error.hint().empty());
    return error.message();
  }
  return "not refused";
}

// n, u, 'text', or b'bytes', separated by spaces.
std::string show(const decode::TupleView& tuple) {
  std::string out;
  tuple.for_each([&](const decode::Value& value) {
    if (!out.empty()) out += ' ';
    if (value.kind == ValueKind::null || value.kind == ValueKind::unchanged_toast) {
      CHECK(value.bytes.empty());
      out += static_cast<char>(value.kind);
    } else {
      out += cat(value.kind == ValueKind::binary ? "b'" : "'", value.bytes, "'");
    }
  });
  return out;
}

}  // namespace

TEST_CASE("BEGIN and COMMIT have their positions and times since 1970") {
  const auto begin = decoded<decode::Begin>(wire::begin(0x16B374D848, 1000000, 0xFFFFFFFE));
  CHECK(begin.commit_lsn == Lsn(0x16B374D848));
  CHECK(begin.commit_time_us == 946684801000000);
  CHECK(begin.xid == 0xFFFFFFFEU);
  const auto commit = decoded<decode::Commit>(wire::commit(0x16B374D848, 0x16B374D878, -1));
  CHECK(commit.commit_lsn == Lsn(0x16B374D848));
  CHECK(commit.end_lsn == Lsn(0x16B374D878));
  CHECK(commit.commit_time_us == 946684799999999);
}

TEST_CASE("a time that 64 bits cannot count from 1970 is refused") {
  constexpr std::int64_t kLast = INT64_MAX - decode::kPostgresEpochMicros;
  CHECK(decoded<decode::Begin>(wire::begin(1, kLast, 1)).commit_time_us == INT64_MAX);
  CHECK(refusal(wire::begin(1, kLast + 1, 1)) ==
        "pgoutput message Begin: field commit time at offset 9 is past the end of time");
  CHECK(decoded<decode::Begin>(wire::begin(1, INT64_MIN, 1)).commit_time_us ==
        INT64_MIN + decode::kPostgresEpochMicros);
}

TEST_CASE("ORIGIN has the origin's own position and its name") {
  const auto bytes = wire::origin(0xABCDEF, "other");
  const auto origin = decoded<decode::Origin>(bytes);
  CHECK(origin.lsn == Lsn(0xABCDEF));
  CHECK(origin.name == "other");
}

TEST_CASE("RELATION describes a table and its columns") {
  const auto bytes =
      wire::relation(16384, "public", "users", 'i', {{"id", 23, true}, {"näme", 1043, false, 24}});
  const auto relation = decoded<decode::Relation>(bytes);
  CHECK(relation.oid == 16384);
  CHECK(relation.schema == "public");
  CHECK(relation.name == "users");
  CHECK(relation.replica_identity == 'i');
  REQUIRE(relation.columns.size() == 2);
  CHECK(relation.columns[0].name == "id");
  CHECK(relation.columns[0].part_of_identity);
  CHECK(relation.columns[0].type_oid == 23);
  CHECK(relation.columns[0].type_modifier == -1);
  CHECK(relation.columns[1].name == "näme");
  CHECK_FALSE(relation.columns[1].part_of_identity);
  CHECK(relation.columns[1].type_modifier == 24);
}

TEST_CASE("an empty schema on the wire is pg_catalog") {
  const auto relation = wire::relation(1, "", "pg_class", 'n', {});
  CHECK(decoded<decode::Relation>(relation).schema == "pg_catalog");
  const auto type = wire::type(2, "", "oidvector");
  CHECK(decoded<decode::Type>(type).schema == "pg_catalog");
}

TEST_CASE("TYPE names a type") {
  const auto bytes = wire::type(16400, "app", "mood");
  const auto type = decoded<decode::Type>(bytes);
  CHECK(type.oid == 16400);
  CHECK(type.schema == "app");
  CHECK(type.name == "mood");
}

TEST_CASE("INSERT has each state of a value") {
  using namespace std::string_literals;
  const auto bytes = wire::insert(
      7, {wire::null(), wire::unchanged(), wire::text("one"), wire::text(""), wire::binary("\0\xFF"s)});
  const auto insert = decoded<decode::Insert>(bytes);
  CHECK(insert.relation == 7);
  CHECK(insert.new_row.columns() == 5);
  CHECK(insert.new_row.value_bytes() == 5);
  CHECK(show(insert.new_row) == "n u 'one' '' b'\0\xFF'"s);
}

TEST_CASE("values are borrowed from the payload, not copied") {
  const auto bytes = wire::insert(7, {wire::text("here")});
  decoded<decode::Insert>(bytes).new_row.for_each(
      [&](const decode::Value& value) { CHECK(value.bytes.data() == bytes.data() + bytes.size() - 4); });
}

TEST_CASE("a row may have no columns, and as many as its count can say") {
  CHECK(decoded<decode::Insert>(wire::insert(7, {})).new_row.columns() == 0);
  const auto wide = wire::insert(7, wire::Row(65535, wire::null()));
  const auto insert = decoded<decode::Insert>(wide);
  int visited = 0;
  insert.new_row.for_each([&](const decode::Value&) { ++visited; });
  CHECK(visited == 65535);
}

TEST_CASE("UPDATE comes without an old row, with the old key, or with the whole old row") {
  const auto plain = decoded<decode::Update>(wire::update(7, {wire::null()}));
  CHECK(plain.old_kind == decode::OldRow::none);
  CHECK(plain.old_row.columns() == 0);
  CHECK(plain.new_row.columns() == 1);

  const auto key_bytes =
      wire::update(7, 'K', {wire::text("1"), wire::null()}, {wire::text("2"), wire::text("x")});
  const auto key = decoded<decode::Update>(key_bytes);
  CHECK(key.relation == 7);
  CHECK(key.old_kind == decode::OldRow::key);
  CHECK(show(key.old_row) == "'1' n");
  CHECK(show(key.new_row) == "'2' 'x'");

  const auto full_bytes = wire::update(7, 'O', {wire::text("1")}, {wire::unchanged()});
  const auto full = decoded<decode::Update>(full_bytes);
  CHECK(full.old_kind == decode::OldRow::full);
  CHECK(show(full.old_row) == "'1'");
  CHECK(show(full.new_row) == "u");
}

TEST_CASE("DELETE has the key or the whole old row") {
  const auto key_bytes = wire::remove(7, 'K', {wire::text("1"), wire::null()});
  const auto key = decoded<decode::Delete>(key_bytes);
  CHECK(key.relation == 7);
  CHECK(key.old_kind == decode::OldRow::key);
  CHECK(show(key.old_row) == "'1' n");
  CHECK(decoded<decode::Delete>(wire::remove(7, 'O', {wire::null()})).old_kind == decode::OldRow::full);
}

TEST_CASE("TRUNCATE has its tables in order and its options") {
  const auto plain = decoded<decode::Truncate>(wire::truncate({9, 7, 8}));
  CHECK(plain.relations == std::vector<std::uint32_t>{9, 7, 8});
  CHECK_FALSE(plain.cascade);
  CHECK_FALSE(plain.restart_identity);
  CHECK(decoded<decode::Truncate>(wire::truncate({1}, 1)).cascade);
  CHECK_FALSE(decoded<decode::Truncate>(wire::truncate({1}, 1)).restart_identity);
  CHECK(decoded<decode::Truncate>(wire::truncate({1}, 2)).restart_identity);
  CHECK_FALSE(decoded<decode::Truncate>(wire::truncate({1}, 2)).cascade);
}

TEST_CASE("a logical message has its prefix and any bytes") {
  using namespace std::string_literals;
  const auto bytes = wire::message(true, 0x15A0, "walign", "\0\1"s);
  const auto message = decoded<decode::LogicalMessage>(bytes);
  CHECK(message.transactional);
  CHECK(message.lsn == Lsn(0x15A0));
  CHECK(message.prefix == "walign");
  CHECK(message.content == "\0\1"s);
  CHECK_FALSE(decoded<decode::LogicalMessage>(wire::message(false, 1, "", "")).transactional);
}

// ------------------------------------------------------------------------------------ what is refused

TEST_CASE("flags that are not known are refused with their field and offset") {
  CHECK(refusal(wire::commit(1, 2, 0, 1)) ==
        "pgoutput message Commit: field flags at offset 1 has unknown bits: 1");
  CHECK(refusal(wire::truncate({1}, 4)) ==
        "pgoutput message Truncate: field flags at offset 5 has unknown bits: 4");
  std::string message = wire::message(true, 1, "p", "c");
  message[1] = 2;
  CHECK(refusal(message) == "pgoutput message Message: field flags at offset 1 has unknown bits: 2");
  std::string relation = wire::relation(1, "s", "t", 'd', {{"c"}});
  relation[relation.size() - 11] = 3;  // before the name, its zero, and two integers
  CHECK(refusal(relation) ==
        "pgoutput message Relation: field column flags at offset 12 has unknown bits: 3");
  CHECK(refusal(wire::relation(1, "s", "t", 'x', {})) ==
        "pgoutput message Relation: field replica identity at offset 9 is none of d, n, f, i");
  for (const char identity : {'d', 'n', 'f', 'i'}) {
    CHECK(decoded<decode::Relation>(wire::relation(1, "s", "t", identity, {})).replica_identity == identity);
  }
}

TEST_CASE("rows of a kind that is not known are refused with their field and offset") {
  std::string insert = wire::insert(1, {wire::null()});
  insert[5] = 'K';
  CHECK(refusal(insert) == "pgoutput message Insert: field new row at offset 5 does not begin with N");
  CHECK(refusal(wire::update(1, 'X', {}, {})) ==
        "pgoutput message Update: field new row at offset 5 does not begin with N");
  CHECK(refusal(wire::remove(1, 'N', {})) ==
        "pgoutput message Delete: field old row at offset 5 does not begin with K or O");
  CHECK(refusal(wire::insert(1, {wire::null(), "x"})) ==
        "pgoutput message Insert: field new row at offset 9 has an unknown kind of value in column 1: "
        "120");
  CHECK(refusal(wire::remove(1, 'K', {"N"})) ==
        "pgoutput message Delete: field old row at offset 8 has an unknown kind of value in column 0: 78");
}

TEST_CASE("a length beyond the message is refused before it is used") {
  CHECK(refusal(wire::insert(1, {"t" + wire::u32(0xFFFFFFFF) + "x"})) ==
        "pgoutput message Insert: field new row at offset 13 needs 4294967295 bytes, 1 are left");
  CHECK(has(refusal("T" + wire::u32(0xFFFFFFFF) + wire::u8(0) + wire::u32(1)), "field relation OID"));
  CHECK(has(refusal("R" + wire::u32(1) + wire::cstring("s") + wire::cstring("t") + "d" + wire::u16(65535)),
            "field column flags"));
  CHECK(has(refusal("M" + wire::u8(1) + wire::u64(1) + wire::cstring("p") + wire::u32(0x80000000)),
            "field content"));
  CHECK(has(refusal("I" + wire::u32(1) + "N" + wire::u16(65535) + "n"), "field new row"));
}

TEST_CASE("messages of later protocol versions are refused by name") {
  const std::pair<char, const char*> later[] = {
      {'S', "Stream Start"},    {'E', "Stream Stop"},       {'c', "Stream Commit"},
      {'A', "Stream Abort"},    {'b', "Begin Prepare"},     {'P', "Prepare"},
      {'K', "Commit Prepared"}, {'r', "Rollback Prepared"}, {'p', "Stream Prepare"}};
  for (const auto& [tag, name] : later) {
    CHECK(refusal(std::string(1, tag)) ==
          cat("pgoutput message ", name, ": belongs to a later protocol version than 1"));
  }
}

TEST_CASE("an unknown tag and an empty payload are refused") {
  CHECK(refusal("x") == "pgoutput message: field tag at offset 0 is unknown: 120");
  CHECK(refusal("\xFF") == "pgoutput message: field tag at offset 0 is unknown: 255");
  CHECK(refusal("") == "pgoutput message: field tag at offset 0 needs 1 bytes, 0 are left");
}

TEST_CASE("a payload longer than PostgreSQL's can be is refused") {
  const std::size_t size = (std::size_t{1} << 31U);
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(memory != MAP_FAILED);  // address space only: nothing of it is read
  CHECK_THROWS_AS(decode::decode(Bytes(static_cast<const std::byte*>(memory), size)), Error);
  ::munmap(memory, size);
}
