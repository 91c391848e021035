// Events as JSON lines.
#include "cli/event_json.hpp"
#include "support/catch.hpp"
#include "support/frames.hpp"
#include "support/wire.hpp"

using namespace walign;

namespace {

// The lines of one transaction made of these messages.
std::string lines(const std::vector<std::string>& messages, std::size_t part_bytes = std::size_t{1} << 20U) {
  event::Assembler assembler(part_bytes);
  cli::EventLines text;
  std::string out;
  for (const auto& bytes : messages) {
    auto taken = assembler.take(decode::decode(as_bytes(bytes)));
    if (auto* part = std::get_if<event::TransactionPart>(&taken)) out += text.lines(*part);
  }
  return out;
}

const std::string kBegin = wire::begin(0x100, 1'500'000, 77);
const std::string kCommit = wire::commit(0x100, 0x130, 1'500'000);
const std::string kTable = wire::relation(1, "public", "t", 'd', {{"id", 23, true}, {"v"}});
const std::string kBeginLine =
    "{\"op\":\"begin\",\"xid\":77,\"commit_lsn\":\"0/"
    "100\",\"commit_time\":\"2000-01-01T00:00:01.500000Z\"}\n";
const std::string kTableLine =
    "{\"op\":\"relation\",\"table\":\"public.t\",\"oid\":1,\"identity\":\"default\",\"columns\":["
    "{\"name\":\"id\",\"type\":\"pg_catalog.int4\",\"key\":true},"
    "{\"name\":\"v\",\"type\":\"pg_catalog.text\",\"key\":false}]}\n";
const std::string kCommitLine = "{\"op\":\"commit\",\"end_lsn\":\"0/130\"}\n";

}  // namespace

TEST_CASE("each change is a line, between its transaction's beginning and end") {
  CHECK(lines({kBegin, kTable, wire::insert(1, {wire::text("1"), wire::null()}),
               wire::update(1, {wire::text("1"), wire::unchanged()}),
               wire::update(1, 'K', {wire::text("1"), wire::null()}, {wire::text("2"), wire::text("a\"\n")}),
               wire::remove(1, 'K', {wire::text("2"), wire::null()}), wire::truncate({1}, 2),
               wire::message(true, 1, "p", "content"), kCommit}) ==
        kBeginLine + kTableLine +
            "{\"op\":\"insert\",\"table\":\"public.t\",\"new\":{\"id\":\"1\",\"v\":null}}\n"
            "{\"op\":\"update\",\"table\":\"public.t\",\"new\":{\"id\":\"1\"},\"unchanged\":[\"v\"]}\n"
            "{\"op\":\"update\",\"table\":\"public.t\",\"key\":{\"id\":\"1\"},\"new\":{\"id\":\"2\",\"v\":"
            "\"a\\\"\\n\"}}\n"
            "{\"op\":\"delete\",\"table\":\"public.t\",\"key\":{\"id\":\"2\"}}\n"
            "{\"op\":\"truncate\",\"tables\":[\"public.t\"],\"cascade\":false,\"restart_identity\":true}\n"
            "{\"op\":\"message\",\"prefix\":\"p\",\"content\":\"content\"}\n" +
            kCommitLine);
}

TEST_CASE("a transaction in several parts begins and ends once") {
  const std::vector<std::string> messages = {kBegin, kTable,
                                             wire::insert(1, {wire::text("1"), wire::text("a")}),
                                             wire::insert(1, {wire::text("2"), wire::text("b")}), kCommit};
  CHECK(lines(messages, 1) == lines(messages));
}

TEST_CASE("a table is described again only when it is another") {
  const std::string insert = wire::insert(1, {wire::text("1"), wire::text("a")});
  const std::string insert_line =
      "{\"op\":\"insert\",\"table\":\"public.t\",\"new\":{\"id\":\"1\",\"v\":\"a\"}}\n";
  CHECK(lines({kBegin, kTable, insert, kTable, insert, kCommit}) ==
        kBeginLine + kTableLine + insert_line + insert_line + kCommitLine);
  const std::string other = wire::relation(1, "public", "t", 'd', {{"id", 20, true}, {"v"}});
  const std::string out = lines({kBegin, kTable, insert, other, insert, kCommit});
  CHECK(out.find("pg_catalog.int8") != std::string::npos);
  CHECK(out.find("pg_catalog.int8") > out.find("pg_catalog.int4"));
}

TEST_CASE("what is no text is shown in hexadecimal") {
  CHECK(lines({kBegin, kTable, wire::insert(1, {wire::binary(std::string("\0\1", 2)), wire::text("\xFF")}),
               wire::message(true, 1, "p", "\x80"), kCommit}) ==
        kBeginLine + kTableLine +
            "{\"op\":\"insert\",\"table\":\"public.t\",\"new\":{\"id\":{\"hex\":\"0001\"},\"v\":{\"hex\":"
            "\"ff\"}}}\n"
            "{\"op\":\"message\",\"prefix\":\"p\",\"content\":{\"hex\":\"80\"}}\n" +
            kCommitLine);
}

TEST_CASE("everything that was recorded has its lines") {
  for (const auto& name : frames::recordings()) {
    std::vector<std::string> messages;
    for (const auto& frame : frames::read(name)) messages.push_back(frame.payload);
    const std::string out = lines(messages);
    CHECK(std::count(out.begin(), out.end(), '\n') > 100);
  }
}

TEST_CASE(
    "what commits below a position has come when a transaction at it begins, or progress has reached it") {
  event::Assembler assembler(1);  // a part for each change
  std::vector<source::Item> parts;
  for (const auto& bytes : {kBegin, kTable, wire::insert(1, {wire::text("1"), wire::text("a")}),
                            wire::insert(1, {wire::text("2"), wire::text("b")}), kCommit}) {
    auto taken = assembler.take(decode::decode(as_bytes(bytes)));
    if (auto* part = std::get_if<event::TransactionPart>(&taken)) parts.emplace_back(std::move(*part));
  }
  REQUIRE(parts.size() > 1);
  CHECK(cli::is_past(parts.front(), Lsn(0x100)));
  CHECK(!cli::is_past(parts.front(), Lsn(0x101)));
  CHECK(!cli::is_past(parts.back(), Lsn(0x100)));  // it has begun, so it ends
  CHECK(cli::is_past(source::Progress{Lsn(0x100)}, Lsn(0x100)));
  CHECK(!cli::is_past(source::Progress{Lsn(0xFF)}, Lsn(0x100)));
  CHECK(!cli::is_past(parts.front(), Lsn()));
  CHECK(!cli::is_past(source::Progress{Lsn(0x100)}, Lsn()));
}
