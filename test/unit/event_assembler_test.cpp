#include "support/catch.hpp"
#include "support/event_text.hpp"
#include "support/wire.hpp"

using namespace walign;

namespace {

// An Assembler fed with bytes.
struct Feed {
  event::Assembler assembler;
  explicit Feed(std::size_t part_bytes = std::size_t{1} << 20U) : assembler(part_bytes) {}

  std::optional<event::TransactionPart> take(const std::string& bytes) {
    auto taken = assembler.take(decode::decode(as_bytes(bytes)));
    if (auto* part = std::get_if<event::TransactionPart>(&taken)) return std::move(*part);
    CHECK(std::holds_alternative<std::monostate>(taken));
    return std::nullopt;
  }
  // The part that the last of these gives, none before it.
  event::TransactionPart last_of(const std::vector<std::string>& messages) {
    for (std::size_t i = 0; i + 1 < messages.size(); ++i) CHECK_FALSE(take(messages[i]).has_value());
    auto part = take(messages.back());
    REQUIRE(part.has_value());
    return std::move(*part);
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
};

std::string rows(event::TransactionPart& part) {
  part.make_self_contained();
  std::string out;
  for (const v1::Change& change : part.tx().changes()) {
    out += (out.empty() ? "" : "; ") + event_text::change(change, part.tx());
  }
  return out;
}

const std::string kBegin = wire::begin(0x100, 5, 77);
const std::string kCommit = wire::commit(0x100, 0x130, 5);
const std::string kUsers = wire::relation(16384, "public", "users", 'd', {{"id", 23, true}, {"name"}});
const std::string kPlants = wire::relation(16390, "public", "plants", 'f', {{"id", 23, true}});

std::string user(const std::string& id, const std::string& name) {
  return wire::insert(16384, {wire::text(id), wire::text(name)});
}

}  // namespace

TEST_CASE("a transaction has its header, its relations and its changes in order") {
  Feed feed;
  CHECK_FALSE(feed.assembler.in_transaction());
  feed.take(kBegin);
  CHECK(feed.assembler.in_transaction());
  auto part = feed.last_of(
      {kUsers, user("1", "Ann"), kPlants, wire::insert(16390, {wire::text("9")}), user("2", "Bob"), kCommit});
  CHECK_FALSE(feed.assembler.in_transaction());
  CHECK(part.first());
  CHECK(part.last());
  CHECK(part.commit_lsn() == Lsn(0x100));
  CHECK(part.end_lsn() == Lsn(0x130));
  CHECK(part.tx().xid() == 77);
  CHECK(part.tx().commit_time_us() == decode::kPostgresEpochMicros + 5);
  CHECK(part.tx().origin().empty());
  REQUIRE(part.relations().size() == 2);
  CHECK(part.relations()[0]->name() == "users");
  CHECK(part.relations()[1]->name() == "plants");
  CHECK(part.tx().relations_size() == 0);
  CHECK(rows(part) ==
        "INSERT public.users new (id '1', name 'Ann'); INSERT public.plants new (id '9'); "
        "INSERT public.users new (id '2', name 'Bob')");
}

TEST_CASE("a transaction without changes gives a part too") {
  Feed feed;
  const auto part = feed.last_of({kBegin, kCommit});
  CHECK(part.last());
  CHECK(part.tx().changes_size() == 0);
  CHECK(part.relations().empty());
}

TEST_CASE("made self-contained twice, a part has its relations once") {
  Feed feed;
  auto part = feed.last_of({kBegin, kUsers, user("1", "Ann"), kCommit});
  const std::size_t before = part.memory_bytes();
  part.make_self_contained();
  const std::size_t after = part.memory_bytes();
  part.make_self_contained();
  CHECK(part.tx().relations_size() == 1);
  CHECK(part.tx().relations(0).columns(1).name() == "name");
  CHECK(after > before);
  CHECK(part.memory_bytes() == after);
}

TEST_CASE("a null in an old row that holds the key only is not sent, but in the key or a whole row is NULL") {
  Feed feed;
  auto part = feed.last_of(
      {kBegin, kUsers, wire::remove(16384, 'K', {wire::null(), wire::null()}),
       wire::remove(16384, 'K', {wire::text("1"), wire::text("sent")}),
       wire::remove(16384, 'O', {wire::text("1"), wire::null()}),
       wire::update(16384, 'K', {wire::text("1"), wire::null()}, {wire::text("2"), wire::null()}), kCommit});
  CHECK(rows(part) ==
        "DELETE public.users key (id NULL, name not-sent); DELETE public.users key (id '1', name 'sent'); "
        "DELETE public.users old (id '1', name NULL); "
        "UPDATE public.users key (id '1', name not-sent) new (id '2', name NULL)");
  CHECK(part.tx().changes(0).old_row_is_key());
  CHECK_FALSE(part.tx().changes(2).old_row_is_key());
}

TEST_CASE("binary and text values stand side by side in one row") {
  using namespace std::string_literals;
  Feed feed;
  auto part = feed.last_of({kBegin, kUsers, wire::insert(16384, {wire::binary("\0\1"s), wire::text("x")}),
                            wire::insert(16384, {wire::text("1"), wire::binary("")}),
                            wire::update(16384, {wire::text("1"), wire::unchanged()}), kCommit});
  CHECK(rows(part) ==
        "INSERT public.users new (id \\x0001, name 'x'); INSERT public.users new (id '1', name \\x); "
        "UPDATE public.users new (id '1', name unchanged)");
  CHECK(part.tx().changes(2).new_row().binary().empty());
}

TEST_CASE("an origin goes into every part that follows") {
  Feed feed(1);
  feed.take(kBegin);
  feed.take(wire::origin(0xAB, "other"));
  feed.take(kUsers);
  for (const std::string& bytes : {user("1", "a"), user("2", "b"), kCommit}) {
    const auto part = feed.take(bytes);
    REQUIRE(part.has_value());
    CHECK(part->tx().origin() == "other");
    CHECK(part->tx().origin_lsn() == 0xAB);
  }
  CHECK(feed.last_of({kBegin, kCommit}).tx().origin().empty());
}

TEST_CASE("a truncate and a transactional message are changes, another message is nothing") {
  Feed feed;
  CHECK_FALSE(feed.take(wire::message(false, 0x90, "now", "x")).has_value());
  auto part = feed.last_of({kBegin, kUsers, kPlants, wire::truncate({16390, 16384}, 3),
                            wire::message(false, 0x95, "now", "x"), wire::message(true, 0x98, "walign", "a"),
                            wire::truncate({16384}), kCommit});
  CHECK(rows(part) ==
        "TRUNCATE public.plants public.users cascade restart-identity; MESSAGE \"walign\" at 0/98 \\x61; "
        "TRUNCATE public.users");
}

// ------------------------------------------------------------------------------------------- relations

TEST_CASE("a relation described again in the middle of a transaction has both descriptions") {
  Feed feed;
  const std::string renamed = wire::relation(16384, "public", "people", 'd', {{"id", 23, true}});
  auto part = feed.last_of({kBegin, kUsers, user("1", "a"), renamed, wire::insert(16384, {wire::text("2")}),
                            wire::insert(16384, {wire::text("3")}), kCommit});
  CHECK(part.relations().size() == 2);
  CHECK(rows(part) ==
        "INSERT public.users new (id '1', name 'a'); INSERT public.people new (id '2'); "
        "INSERT public.people new (id '3')");
}

TEST_CASE("a part keeps its descriptions when they are replaced, and is read after its Assembler is gone") {
  std::optional<event::TransactionPart> part;
  {
    Feed feed;
    part = feed.last_of({kBegin, kUsers, user("1", "a"), kCommit});
    feed.take(wire::relation(16384, "other", "name", 'n', {}));
  }
  CHECK(rows(*part) == "INSERT public.users new (id '1', name 'a')");
}

TEST_CASE("types are named by the TYPE before, by PostgreSQL's own list, or not at all") {
  Feed feed;
  feed.take(wire::type(16400, "app", "mood"));
  auto part = feed.last_of(
      {kBegin,
       wire::relation(5, "s", "t", 'i', {{"a", 16400}, {"b", 1700, true, 655366}, {"c", 16401}, {"d", 9999}}),
       wire::truncate({5}), kCommit});
  CHECK(event_text::relation(*part.relations()[0]) ==
        "s.t oid 5 identity index: a app.mood, b* pg_catalog.numeric(655366), c \"\".\"\", d "
        "pg_catalog.\"\"");
}

// ---------------------------------------------------------------------------------------- parts, memory

TEST_CASE("a large transaction comes in parts, numbered, each with the header and its own relations") {
  Feed feed(20000);
  feed.take(kBegin);
  feed.take(kUsers);
  std::vector<event::TransactionPart> parts;
  const std::string name(500, 'x');
  for (int i = 0; i < 200; ++i) {
    if (auto part = feed.take(user("1", name))) parts.push_back(std::move(*part));
  }
  auto last = feed.take(kCommit);
  REQUIRE(last.has_value());
  parts.push_back(std::move(*last));
  CHECK(parts.size() > 5);
  int changes = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const bool is_last = i + 1 == parts.size();
    CHECK(parts[i].tx().part() == i);
    CHECK(parts[i].last() == is_last);
    CHECK(parts[i].end_lsn() == (is_last ? Lsn(0x130) : Lsn()));
    CHECK(parts[i].commit_lsn() == Lsn(0x100));
    CHECK(parts[i].tx().xid() == 77);
    CHECK(parts[i].relations().size() == (parts[i].tx().changes_size() > 0 ? 1U : 0U));
    CHECK(parts[i].memory_bytes() < 22000);
    if (!is_last) CHECK(parts[i].memory_bytes() >= 20000);
    changes += parts[i].tx().changes_size();
  }
  CHECK(changes == 200);
  CHECK(feed.last_of({kBegin, kCommit}).tx().part() == 0);
}

TEST_CASE("a small transaction is small, and a row counts with all its bytes") {
  Feed feed;
  const auto small = feed.last_of({kBegin, kUsers, user("1", "a"), kCommit});
  CHECK(small.memory_bytes() < 2000);
  const auto large = feed.last_of({kBegin, user("1", std::string(5000, 'x')), kCommit});
  CHECK(large.memory_bytes() == small.memory_bytes() + 4999);
}

TEST_CASE("what a part says it holds is near what protobuf says") {
  Feed feed;
  feed.take(kBegin);
  feed.take(kUsers);
  for (int i = 0; i < 1000; ++i) feed.take(user("12345", "a name of thirty characters ..."));
  const auto part = feed.take(kCommit);
  REQUIRE(part.has_value());
  const auto said = static_cast<double>(part->memory_bytes());
  const auto used = static_cast<double>(part->tx().SpaceUsedLong());
  CHECK(said > used * 0.7);
  CHECK(said < used * 1.4);
}

// -------------------------------------------------------------------------------------- what is refused

TEST_CASE("what can only stand inside a transaction is refused outside") {
  Feed feed;
  feed.take(kUsers);
  CHECK(feed.refusal(kCommit) == "COMMIT at 0/100 without a BEGIN");
  CHECK(feed.refusal(user("1", "a")) == "INSERT outside a transaction");
  CHECK(feed.refusal(wire::update(16384, {wire::null(), wire::null()})) == "UPDATE outside a transaction");
  CHECK(feed.refusal(wire::remove(16384, 'K', {wire::null(), wire::null()})) ==
        "DELETE outside a transaction");
  CHECK(feed.refusal(wire::truncate({16384})) == "TRUNCATE outside a transaction");
  CHECK(feed.refusal(wire::message(true, 1, "p", "")) == "a transactional message outside a transaction");
  CHECK(feed.refusal(wire::origin(1, "o")) == "ORIGIN outside a transaction");
}

TEST_CASE("a second BEGIN before the COMMIT is refused") {
  Feed feed;
  feed.take(kBegin);
  CHECK(feed.refusal(wire::begin(0x200, 5, 78)) == "BEGIN of transaction 78 before the COMMIT of 77");
}

TEST_CASE("a COMMIT that does not fit its BEGIN is refused") {
  Feed feed;
  feed.take(kBegin);
  CHECK(feed.refusal(wire::commit(0x101, 0x130, 5)) ==
        "COMMIT at 0/101 of transaction 77, whose BEGIN said 0/100");
  CHECK(feed.refusal(wire::commit(0x100, 0x100, 5)) == "COMMIT at 0/100 ends at 0/100, not after it");
}

TEST_CASE("a change of a relation that was never described is refused") {
  Feed feed;
  feed.take(kBegin);
  feed.take(kPlants);
  CHECK(feed.refusal(user("1", "a")) == "a change of relation 16384, which was never described");
  CHECK(feed.refusal(wire::truncate({16390, 16384})) ==
        "a change of relation 16384, which was never described");
}

TEST_CASE("a row with another number of columns than its relation is refused") {
  const std::vector<std::string> wrong = {
      wire::insert(16384, {wire::text("1")}),
      wire::insert(16384, {wire::text("1"), wire::null(), wire::null()}),
      wire::update(16384, {wire::text("1")}),
      wire::update(16384, 'K', {wire::text("1")}, {wire::text("1"), wire::null()}),
      wire::update(16384, 'K', {wire::text("1"), wire::null()}, {wire::text("1")}),
      wire::remove(16384, 'K', {wire::text("1")})};
  for (const std::string& bytes : wrong) {
    Feed feed;
    feed.take(kBegin);
    feed.take(kUsers);
    const std::string message = feed.refusal(bytes);
    CHECK(message.find("columns for public.users, which has 2") != std::string::npos);
  }
}

TEST_CASE("a name that is not UTF-8 is refused, a value is not") {
  const std::vector<std::string> wrong = {wire::relation(1, "\xFF", "t", 'd', {}),
                                          wire::relation(1, "s", "\xFF", 'd', {}),
                                          wire::relation(1, "s", "t", 'd', {{"\xFF"}}),
                                          wire::type(1, "\xFF", "t"),
                                          wire::type(1, "s", "\xFF"),
                                          wire::origin(1, "\xFF"),
                                          wire::message(true, 1, "\xFF", "")};
  for (const std::string& bytes : wrong) {
    Feed feed;
    feed.take(kBegin);
    CHECK(feed.refusal(bytes).find("is not UTF-8") != std::string::npos);
  }
  Feed feed;
  const auto part = feed.last_of({kBegin, kUsers, user("1", "\xFF"), kCommit});
  CHECK(part.tx().changes(0).new_row().values() == "1\xFF");
}

TEST_CASE("an error says at which commit it came") {
  Feed feed;
  feed.take(kBegin);
  try {
    feed.take(user("1", "a"));
    FAIL("should have thrown");
  } catch (const Error& error) {
    CHECK(error.position() == Lsn(0x100));
  }
}
