// The report as a document: what a program that reads it relies on.
#include <nlohmann/json.hpp>

#include "cutover/report.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::cutover;
using nlohmann::json;

TEST_CASE("an empty report has every field, null where nothing is known") {
  const auto doc = json::parse(to_json(Report{}));
  for (const char* name : {"outcome", "why", "ended_at", "proved", "predicted_pause_ms"}) {
    INFO(name);
    REQUIRE(doc.contains(name));
    CHECK(doc[name].is_null());
  }
  for (const char* name : {"steps", "tables", "gates", "blockers", "sequences", "sequence_notes", "hooks"}) {
    INFO(name);
    REQUIRE(doc.contains(name));
    CHECK(doc[name] == json::array());
  }
  CHECK(doc["lsn"]["fence"].is_null());
  CHECK(doc["writes"]["pause_ms"].is_null());
  CHECK(doc["direction"] == "forward");
}

TEST_CASE("a report says what happened, when, and for how long writes stood still") {
  Report r;
  r.migration = "walign_users";
  r.forward = false;
  r.epoch = 3;
  r.outcome = Outcome::cut_over;
  r.started_us = 1'763'645'230'123'456;
  r.ended_us = r.started_us + 2'000'000;
  r.fence_lsn = Lsn(0x16B374D848);
  r.steps = {{"fence", r.started_us, 12.345, true, ""},
             {"drain", r.started_us + 12'345, 7.5, false, "too slow"}};
  r.tables = {{{"public", "Odd"}, 1.25, 0.5, 2, 7}};
  r.gates = {{"lag_bytes", "5 bytes", "at most 10 bytes", true}};
  r.blockers = {{42, "VACUUM t"}};
  r.proved = Proved{2, 500, 0, 3.0};
  r.sequences = {{"public.a", "public.b", {"public.t.id -> public.u.id"}, 10, 1, 1010}};
  r.sequence_notes = {"left alone"};
  r.hooks = {{"switch_hook", {true, 3, false, "bad byte \xFF and \"quotes\"\n", 1.0}}};
  r.writes = {r.started_us, r.started_us + 300'000, r.started_us + 4'400, r.started_us + 350'000, 4, 17};
  const auto doc = json::parse(to_json(r));
  CHECK(doc["direction"] == "reverse");
  CHECK(doc["outcome"] == "cut_over");
  CHECK(doc["started_at"] == "2025-11-20T13:27:10.123456Z");
  CHECK(doc["ended_at"] == "2025-11-20T13:27:12.123456Z");
  CHECK(doc["lsn"]["fence"] == "16/B374D848");
  CHECK(doc["lsn"]["open"].is_null());
  CHECK(doc["steps"].size() == 2);
  CHECK(doc["steps"][0]["ms"].get<double>() == 12.3);
  CHECK(doc["steps"][0]["detail"].is_null());
  CHECK(doc["steps"][1]["ok"] == false);
  CHECK(doc["steps"][1]["detail"] == "too slow");
  CHECK(doc["tables"][0] ==
        json({{"table", "public.Odd"}, {"lock_ms", 1.3}, {"ddl_ms", 0.5}, {"attempts", 2}, {"waiting", 7}}));
  CHECK(doc["gates"][0]["ok"] == true);
  CHECK(doc["blockers"][0]["pid"] == 42);
  CHECK(doc["proved"]["keys"] == 500);
  CHECK(doc["sequences"][0]["after"] == 1010);
  CHECK(doc["sequence_notes"][0] == "left alone");
  CHECK(doc["hooks"][0]["exit_status"] == 3);
  CHECK(doc["hooks"][0]["output"].get<std::string>().find("\"quotes\"\n") != std::string::npos);
  CHECK(doc["writes"]["pause_ms"].get<double>() == 345.6);
  CHECK(doc["writes"]["fence_ms"].get<double>() == 300);
  CHECK(doc["writes"]["refused"] == 17);
}

TEST_CASE(
    "writes were held up from the first refused to the first accepted, as far as anybody met the fence") {
  Writes w;
  CHECK(!w.pause_ms().has_value());
  w.fenced_us = 1'000'000;
  w.opened_us = 1'200'000;
  CHECK(w.fence_ms() == 200);
  CHECK(w.pause_ms() == 200);  // nobody wrote
  w.stopped_us = 1'050'000;
  CHECK(w.pause_ms() == 150);  // and has not asked again yet
  w.accepted_us = 1'220'000;
  CHECK(w.pause_ms() == 170);
  CHECK(w.fence_ms() == 200);
  w.stopped_us = 1'250'000;  // somebody came to the closed side when the other was open: not held up before
  CHECK(w.pause_ms() == 200);
}

TEST_CASE("a time is printed in UTC with its microseconds") {
  CHECK(utc_text(0) == "1970-01-01T00:00:00.000000Z");
  CHECK(utc_text(-1) == "1969-12-31T23:59:59.999999Z");
  CHECK(utc_text(951'782'400'000'001) == "2000-02-29T00:00:00.000001Z");
}
