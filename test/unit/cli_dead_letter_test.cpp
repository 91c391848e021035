#include "cli/dead_letter_text.hpp"
#include "cli_test.hpp"
#include "walign/event.hpp"

using namespace walign;
using namespace walign::cli;

namespace {

v1::Transaction update_event() {
  v1::Transaction event;
  event.set_xid(727);
  event.set_commit_lsn(0x10);
  event.set_commit_time_us(1'700'000'000'000'000);
  event.set_last(true);
  auto* relation = event.add_relations();
  relation->set_schema("public");
  relation->set_name("users");
  for (const char* name : {"id", "note", "body", "gone", "raw"}) {
    auto* column = relation->add_columns();
    column->set_name(name);
    column->set_type_name(std::string_view(name) == "id" ? "int4" : "text");
    column->set_part_of_identity(std::string_view(name) == "id");
  }
  auto* change = event.add_changes();
  change->set_kind(v1::Change::UPDATE);
  change->set_old_row_is_key(true);
  event::append_value(*change->mutable_old_row(), {event::State::value, "1", false});
  for (int i = 0; i < 4; ++i)
    event::append_value(*change->mutable_old_row(), {event::State::not_sent, {}, false});
  auto& row = *change->mutable_new_row();
  event::append_value(row, {event::State::value, "2", false});
  event::append_value(row, {event::State::null, {}, false});
  event::append_value(row, {event::State::unchanged_toast, {}, false});
  event::append_value(row, {event::State::value, "", false});
  event::append_value(row, {event::State::value, std::string_view("\x00\xff", 2), true});
  return event;
}

apply::DeadLetter letter_of(const v1::Transaction& event) {
  apply::DeadLetter letter;
  letter.id = letter.chain = 17;
  letter.route = "public.users -> public.people";
  letter.key = "id=1";
  letter.commit_lsn = Lsn(0x10);
  letter.operation = "UPDATE";
  letter.error = "public.users -> public.people: UPDATE of id=1: violates check \"c\"";
  letter.sqlstate = "23514";
  letter.created_at = "2026-01-31T12:00:00Z";
  letter.event = event.SerializeAsString();
  return letter;
}

}  // namespace

TEST_CASE("a dead letter is shown column by column, each state as what it is") {
  CHECK(dead_letter_text(letter_of(update_event()), " -c x.yaml") ==
        "dead letter  17\n"
        "table        public.users -> public.people\n"
        "relation     public.users\n"
        "operation    UPDATE\n"
        "key          id=1\n"
        "commit       0/10 at 2023-11-14T22:13:20.000000Z, xid 727\n"
        "set aside    2026-01-31T12:00:00Z\n"
        "why          public.users -> public.people: UPDATE of id=1: violates check \"c\" (SQLSTATE 23514)\n"
        "\n"
        "Old row's identity\n"
        "  id (identity)  int4  '1'\n"
        "  note           text  (not sent)\n"
        "  body           text  (not sent)\n"
        "  gone           text  (not sent)\n"
        "  raw            text  (not sent)\n"
        "\n"
        "New row\n"
        "  id (identity)  int4  '2'\n"
        "  note           text  NULL\n"
        "  body           text  (unchanged: too long for the event to repeat)\n"
        "  gone           text  ''\n"
        "  raw            text  \\x00ff\n"
        "\n"
        "What can be done\n"
        "  Mend the cause on the target or in the mapping, then\n"
        "  walign -c x.yaml dead-letters retry 17    applies the changes of this key that wait, in their "
        "order\n"
        "  or, where the target's row is right as it is,\n"
        "  walign -c x.yaml dead-letters discard 17  forgets them\n");
}

TEST_CASE("a dead letter as JSON keeps NULL, empty, unchanged and not sent apart") {
  const auto json = dead_letter_json(letter_of(update_event()), true);
  const auto& row = json["event"]["new_row"];
  REQUIRE(row.size() == 5);
  CHECK(row[0]["value"] == "2");
  CHECK(row[1]["state"] == "null");
  CHECK(row[1]["value"].is_null());
  CHECK(row[2]["state"] == "unchanged_toast");
  CHECK(row[3]["state"] == "value");
  CHECK(row[3]["value"] == "");
  CHECK(row[4]["value"] == "\\x00ff");
  CHECK(json["event"]["old_row"][1]["state"] == "not_sent");
  CHECK(json["behind"].is_null());
  CHECK(!dead_letter_json(letter_of(update_event()), false).contains("event"));
}

TEST_CASE("the list leaves out what its columns say, and cuts what is long between characters") {
  auto letter = letter_of(update_event());
  CHECK(has(dead_letters_table({letter}), "2026-01-31T12:00:00Z  violates check \"c\" (SQLSTATE 23514)\n"));
  letter.error = cat(std::string(99, 'x'), "\xC3\xBC\xC3\xBC");
  CHECK(has(dead_letters_table({letter}), cat(std::string(99, 'x'), "...\n")));
  letter.error.clear();
  letter.chain = 16;
  CHECK(has(dead_letters_table({letter}), "waits behind dead letter 16"));
}

TEST_CASE("an event that is damaged is an error that says what to do, never a crash") {
  const auto good = letter_of(update_event());
  for (std::size_t size = 0; size < good.event.size(); ++size) {
    if (size == good.event.size() - 2)
      continue;  // only Transaction.last is missing, which nothing here needs
    auto cut = good;
    cut.event.resize(size);
    CHECK_THROWS_AS(dead_letter_text(cut, ""), Error);
  }
  for (std::size_t bit = 0; bit < good.event.size() * 8; ++bit) {
    auto flipped = good;
    flipped.event[bit / 8] = static_cast<char>(flipped.event[bit / 8] ^ (1 << (bit % 8)));
    try {
      (void)dead_letter_text(flipped, "");
      (void)dead_letter_json(flipped, true).dump(-1, ' ', false, Json::error_handler_t::replace);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::malformed);
    }
  }
}
