#include "service_test.hpp"

using namespace walign;
using namespace walign::service;

namespace {

// Copied, followed, compared, and without a complaint.
stream::Status well() {
  auto status = streaming_status();
  status.dead_letters = 0;
  status.tables[0].differences = 0;
  return status;
}

std::string typed(const stream::Status& status, const Outlook& outlook = {}) {
  const auto step = next_step(status, outlook);
  CHECK(!step.text.empty());
  return step.command;
}

}  // namespace

TEST_CASE("the next step leads from the copy to the cutover and its end") {
  auto status = well();
  Outlook outlook;
  status.phase = "backfilling";
  CHECK(typed(status).empty());
  outlook.backfill_paused = true;
  CHECK(typed(status, outlook) == "walign resume backfill");
  status.phase = "streaming";
  status.tables[0].verified_at.reset();
  CHECK(typed(status) == "walign verify --all");
  status.tables[0].verified_at = Lsn(1);
  CHECK(typed(status) == "walign cutover --dry-run");
  status.sides.gates = {{"stable_for", "3 s", "at least 600 s", false}};
  CHECK(typed(status) == "walign cutover --dry-run");
  CHECK(has(next_step(status, {}).text, "without an error and without a pause"));
  status.sides.gates[0].ok = true;
  CHECK(typed(status) == "walign cutover --rehearse");
  outlook.change.request = cutover::Request{cutover::Verb::cutover, cutover::Extent::rehearse};
  outlook.change.result.emplace();
  outlook.change.result->outcome = cutover::Result::Outcome::backed_out;
  CHECK(typed(status, outlook) == "walign cutover --rehearse");
  outlook.change.result->outcome = cutover::Result::Outcome::done;
  CHECK(typed(status, outlook) == "walign cutover");
  status.phase = "cut_over";
  status.sides.rollback_ready = true;
  CHECK(typed(status, outlook) == "walign finish");
  status.phase = "finished";
  CHECK(typed(status, outlook).empty());
}

TEST_CASE("what hinders comes before what leads on") {
  auto status = well();
  Outlook outlook;
  status.tables[0].differences = 1;
  CHECK(typed(status) == "walign verify");
  status.dead_letters = 2;
  CHECK(typed(status) == "walign dead-letters list");
  status.connected = false;
  CHECK(typed(status).empty());
  status.last_error = "connection refused";
  CHECK(typed(status) == "walign preflight");
  status.paused = true;
  CHECK(typed(status) == "walign resume apply");
  outlook.change.running = true;
  CHECK(typed(status, outlook) == "walign cutover --cancel");
  status.slot_wal_status = "unreserved";
  CHECK(has(next_step(status, outlook).text, "max_slot_wal_keep_size"));
  status.slot_wal_status = "lost";
  CHECK(typed(status, outlook) == "walign remove");
  outlook.running = false;
  CHECK(typed(status, outlook) == "walign run");
  status.sides.source = status.sides.target = "OPEN";
  CHECK(has(next_step(status, outlook).text, "Both sides take writes"));
}

TEST_CASE("after a cutover a way back that is not ready is said with its reason") {
  auto status = well();
  status.phase = "cut_over";
  status.sides.rollback_ready = false;
  status.sides.rollback_why = "the reverse stream does not run";
  CHECK(has(next_step(status, {}).text, "the reverse stream does not run"));
  CHECK(typed(status) == "walign rollback --dry-run");
  status.sides.rollback_why = "1 transactions were written on the closed source: walign dead-letters";
  CHECK(has(next_step(status, {}).text, "written on the closed source"));
  CHECK(typed(status) == "walign dead-letters list");
}
