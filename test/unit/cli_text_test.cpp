#include "cli/text.hpp"
#include "cli_test.hpp"

using namespace walign;
using namespace walign::cli;

namespace {

bool refused(const std::string& time) {
  try {
    parse_time(time);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::usage && !error.hint().empty();
  }
  return false;
}

}  // namespace

TEST_CASE("a time is read in UTC unless it names a zone") {
  constexpr std::int64_t kNoon = 1'769'860'800'000'000;  // date -u -d 2026-01-31T12:00:00Z +%s
  for (const char* text : {"2026-01-31T12:00:00Z", "2026-01-31T12:00:00", "2026-01-31 12:00",
                           "2026-01-31t12:00z", "2026-01-31T12:00:00.0Z", "2026-01-31T14:00:00+02:00",
                           "2026-01-31T14:00:00+0200", "2026-01-31T14:00+02", "2026-01-31T06:30:00-05:30",
                           "2026-02-01T02:00:00+14:00", "2026-01-31T11:59:60.000000-00:00"}) {
    INFO(text);
    if (std::string_view(text).find(":60") == std::string_view::npos) {
      CHECK(parse_time(text) == kNoon);
    } else {
      CHECK(refused(text));
    }
  }
  CHECK(parse_time("2026-01-31T12:00:00.25Z") == kNoon + 250'000);
  CHECK(parse_time("2026-01-31T12:00:00.123456789Z") == kNoon + 123'456);
  CHECK(parse_time("1970-01-01T00:00Z") == 0);
  CHECK(parse_time("1969-12-31T23:59:59.999999Z") == -1);
  CHECK(parse_time("2024-02-29T00:00Z") == 1'709'164'800'000'000);
}

TEST_CASE("what is not a date and time is refused with how to write one") {
  for (const char* text : {"",
                           "now",
                           "2026-01-31",
                           "2026-02-29T00:00Z",
                           "2026-13-01T00:00Z",
                           "2026-00-01T00:00Z",
                           "2026-01-00T00:00Z",
                           "2026-01-31T24:00Z",
                           "2026-01-31T12:60Z",
                           "2026-01-31T12:00:60Z",
                           "2026-01-31T12:00:00.Z",
                           "2026-01-31T12:00:0Z",
                           "2026-01-31T12:00:00ZZ",
                           "2026-01-31T12:00:00+",
                           "2026-01-31T12:00:00+1",
                           "2026-01-31T12:00:00+16:00",
                           "2026-01-31T12:00:00+02:60",
                           "2026-01-31T12:00:00 +02:00",
                           "26-01-31T12:00Z",
                           "+2026-01-31T12:00Z",
                           "2026-01-31T12:00:00Z "}) {
    INFO(text);
    CHECK(refused(text));
  }
}

TEST_CASE("a position is written as PostgreSQL writes it, and 0/0 is none") {
  CHECK(parse_lsn("16/B374D848") == Lsn(0x16B374D848));
  CHECK(parse_lsn("0/1") == Lsn(1));
  for (const char* text : {"", "0/0", "16", "16/", "/1", "16/B374D848x", "0x1/2", "123456789/0"}) {
    CHECK_THROWS_AS(parse_lsn(text), Error);
  }
}

TEST_CASE("sizes, times and counts are short and never round to a unit's own end") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(1023) == "1023 B");
  CHECK(bytes_text(1024) == "1.0 KiB");
  CHECK(bytes_text(1'048'575) == "1.0 MiB");
  CHECK(bytes_text(std::int64_t{5} << 30U) == "5.0 GiB");
  CHECK(bytes_text(INT64_MAX) == "8192.0 PiB");
  CHECK(bytes_text(-2048) == "-2.0 KiB");
  CHECK(seconds_text(0.44) == "0.4 s");
  CHECK(seconds_text(59.96) == "1 min 0 s");
  CHECK(seconds_text(200) == "3 min 20 s");
  CHECK(seconds_text(7'500) == "2 h 5 min");
  CHECK(count_text(9'999) == "9999");
  CHECK(count_text(56'700) == "56.7k");
  CHECK(count_text(1'200'000) == "1.2M");
}

TEST_CASE("control characters are shown, letters of every script stay") {
  CHECK(printable("a\x1b[31m\x07\x7f") == "a\\x1b[31m\\x07\\x7f");
  CHECK(printable("one\ntwo") == "one\\ntwo");
  CHECK(printable("\xC2\x9B"
                  "31m") == "\\x9b31m");
  CHECK(printable("gr\xC3\xBC\xC3\x9F") == "gr\xC3\xBC\xC3\x9F");
  CHECK(printable("\xC2") == "\xC2");
  CHECK(one_line("failed:\n\tis it running?\n") == "failed: is it running?");
  CHECK(printable_lines("a\x1b\n\tb\n") == "a\\x1b\n b\n");
  CHECK(one_line("\n\ta \n b") == "a  b");
}

TEST_CASE("a table is aligned by characters, numbers to the right, with nothing at line ends") {
  Table table({"name", "rows"});
  table.right({1});
  table.add({"\xC3\xA4\xC3\xB6", "7"});
  table.add({"plants", "1000"});
  table.add({"", ""});
  CHECK(table.text() ==
        "name    rows\n"
        "\xC3\xA4\xC3\xB6         7\n"
        "plants  1000\n"
        "\n");
  CHECK(Table().text().empty());
}
