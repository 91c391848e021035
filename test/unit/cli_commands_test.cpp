// Commands without servers: what they say when there is nothing to talk to, and what the state directory tells.
#include <nlohmann/json.hpp>

#include "cli/screen.hpp"
#include "cli/status_text.hpp"
#include "cli_test.hpp"
#include "walign/service.hpp"
#include "walign/state.hpp"

using namespace walign;
using namespace walign::cli;

namespace {

v1::Checkpoint checkpoint_at(std::uint64_t lsn) {
  v1::Checkpoint checkpoint;
  checkpoint.set_durable_lsn(lsn);
  checkpoint.set_saved_at_us(1'700'000'000'000'000);
  checkpoint.set_epoch(3);
  checkpoint.set_phase("streaming");
  checkpoint.set_transactions(lsn);
  auto* books = checkpoint.add_books();
  books->set_table("public.users -> public.users");
  books->set_decoded(7);
  books->set_applied(6);
  books->set_filtered(1);
  return checkpoint;
}

void leave_state(const Workplace& at) {
  const auto store = state::Store::open(at.state(), "users-async");
  v1::Identity identity;
  identity.set_migration("users-async");
  identity.set_source_system_id("7001");
  store->put_identity(identity);
  store->put_phase("streaming");
  store->put_checkpoint(checkpoint_at(0x10));
  store->put_checkpoint(checkpoint_at(0x20));
}

service::Handlers handlers_that_pause(int& pauses) {
  service::Handlers handlers;
  handlers.status = [] {
    stream::Status status;
    status.migration = "users-async";
    status.phase = "streaming";
    status.lag_bytes = 2048;
    status.tables.push_back({"public.\x1b[31mred", "public.users", "streaming", {}, {}, {}, {}, {}});
    return status;
  };
  handlers.pause_apply = [&pauses] { return ++pauses > 0; };
  handlers.resume_apply = [&pauses] { --pauses; };
  return handlers;
}

}  // namespace

TEST_CASE("status without a sidecar and without a state directory says that none has run") {
  const Workplace at;
  const auto outcome = at({"status"});
  CHECK(outcome.status == 0);
  CHECK(has(outcome.out, "phase         new"));
  CHECK(has(outcome.out, "no sidecar runs"));
  CHECK(!fs::exists(at.state()));
  const auto json = nlohmann::json::parse(at({"status", "--json"}).out);
  CHECK(json["running"] == false);
  CHECK(json["phase"] == "new");
  CHECK(json["durable_lsn"].is_null());
}

TEST_CASE("verify waits for a sidecar that begins again") {
  const Workplace at;
  fs::create_directories(at.state());
  int pauses = 0;
  int asked = 0;
  auto handlers = handlers_that_pause(pauses);
  handlers.verify = [&asked](const verify::Request&) -> std::uint64_t {
    if (++asked < 3) throw Error(ErrorKind::transient, "the sidecar is not streaming yet", "in a moment");
    return 7;
  };
  handlers.verification = [](std::uint64_t id) {
    verify::Report report;
    report.id = id;
    report.done = true;
    return report;
  };
  const service::ControlServer server(at.state(), std::move(handlers));
  CHECK(at({"verify"}).status == 0);
  CHECK(asked == 3);
}

TEST_CASE("status without a sidecar tells the newest checkpoint") {
  const Workplace at;
  leave_state(at);
  const auto outcome = at({"status"});
  CHECK(outcome.status == 0);
  CHECK(has(outcome.out, "durable       0/20\n"));
  CHECK(has(outcome.out, "no sidecar runs; this is as of 2023-11-14T22:13:20.000000Z"));
  const auto json = nlohmann::json::parse(at({"status", "--json"}).out);
  CHECK(json["running"] == false);
  CHECK(json["phase"] == "streaming");
  CHECK(json["durable_lsn"] == "0/20");
  CHECK(json["source"]["system_id"] == "7001");
  CHECK(json["tables"][0]["target"] == "public.users");
  CHECK(json["tables"][0]["books"]["filtered"] == 1);
}

TEST_CASE("status, pause and resume reach a sidecar, and no name steers the terminal") {
  const Workplace at;
  fs::create_directory(at.state());
  int pauses = 0;
  const service::ControlServer server(at.state(), handlers_that_pause(pauses));
  const auto outcome = at({"status"});
  CHECK(outcome.status == 0);
  CHECK(has(outcome.out, "lag           2.0 KiB\n"));
  CHECK(has(outcome.out, "public.\\x1b[31mred"));
  CHECK(!has(outcome.out, "\x1b"));
  CHECK(!has(outcome.out, "no sidecar runs"));
  CHECK(nlohmann::json::parse(at({"status", "--json"}).out)["running"] == true);
  CHECK(at({"pause", "apply"}).status == 0);
  CHECK(pauses == 1);
  CHECK(at({"resume", "apply"}).status == 0);
  CHECK(pauses == 0);
  const auto backfill = at({"pause", "backfill"});
  CHECK(backfill.status == 3);
  CHECK(has(backfill.err, "there is no backfill running"));
}

TEST_CASE(
    "status tells who takes writes, the way back, and while a change is asked for its gates and steps") {
  const Workplace at;
  fs::create_directory(at.state());
  stream::Status told;
  told.phase = "cut_over";
  told.direction = "reverse";
  told.connected = true;
  told.sides.source = "SEALED";
  told.sides.target = "OPEN";
  told.sides.epoch = 3;
  told.sides.rollback_ready = true;
  told.sides.rollback_lag_seconds = 0.25;
  told.sides.steps = {{"gate", "done", 1, 1}};
  service::Handlers handlers;
  handlers.status = [&told] { return told; };
  const service::ControlServer server(at.state(), handlers);
  const auto cut_over = at({"status"}).out;
  CHECK(has(cut_over, "phase           cut_over (reverse)\n"));
  CHECK(has(cut_over, "takes writes    the target (epoch 3)\n"));
  CHECK(has(cut_over, "rollback ready  yes, 0.2 s behind\n"));
  CHECK(has(cut_over, "target is at"));
  CHECK(has(cut_over, "gates           not asked yet (walign rollback --dry-run)\n"));
  CHECK(has(cut_over, "type            walign finish\n"));
  CHECK(!has(cut_over, "shut"));
  CHECK(!has(cut_over, "took  step"));

  told.phase = "rolling_back";
  told.sides.rollback_ready = false;
  told.sides.rollback_why = "a row was written\non the closed side";
  told.sides.gates = {{"lag_bytes", "9 bytes", "at most 8 bytes", false},
                      {"books", "balance", "balance", true}};
  told.sides.blockers = {{42, "VACUUM users"}};
  const auto rolling_back = at({"status"}).out;
  CHECK(has(rolling_back, "rollback ready  no: a row was written on the closed side\n"));
  CHECK(has(rolling_back, "gates           NO-GO: 1 of 2 shut\n"));
  CHECK(has(rolling_back,
            "shut, when the gates were last asked:\n"
            "  lag_bytes is 9 bytes, must be at most 8 bytes\n"
            "    wait until the stream has caught up; walign status says whether it is held or has an error\n"
            "  pid 42: VACUUM users\n"));
  CHECK(has(rolling_back, "         at        took  step\n     1.0 ms      1.0 ms  gate\n"));
}

TEST_CASE("status --watch has a line each second where stdout is no terminal, and says what to do next") {
  const Workplace at;
  leave_state(at);
  const auto store = nlohmann::json::parse(at({"status", "--json"}).out);
  CHECK(status_line(store, "no sidecar runs") ==
        "streaming (forward)  applied -  lag -  slot -  dead letters -  next: No sidecar runs: changes wait "
        "in the "
        "source's WAL until it does. (walign run)  no sidecar runs\n");
}

TEST_CASE(
    "a status fits a narrow terminal: values go on below, tables have their figures below their names") {
  stream::Status told;
  told.migration = "users-async";
  told.phase = "streaming";
  told.connected = true;
  told.slot_name = "walign_users_async";
  told.slot_wal_status = "extended";
  told.slot_retained_bytes = 4096;
  told.sides.gates = {{"oldest_transaction", "20.0 s, pid 4711", "at most 5.0 s", false}};
  told.tables.push_back(
      {"public.users", "public.users_async", "backfilling", {11, 7, 2, 1, 1}, 500, 600, 3, 4});
  told.tables[0].differences = 2;
  service::Outlook outlook;
  outlook.slot_is_limited = true;
  outlook.slot_safe_bytes = 1 << 20;
  const auto status = Json::parse(service::status_json(told, outlook));
  for (const std::size_t columns : {40U, 60U, 80U}) {
    const auto text = status_text(status, "", columns);
    INFO(text);
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
      CHECK(text.find('\n', at) - at <= columns);
    }
    CHECK(has(text, "public.users -> public.users_async"));
    CHECK(has(text, "WAL is lost"));
  }
  CHECK(has(status_text(status, "", 80), "WAL is lost   when 1.0 MiB more are written\n"));
  CHECK(has(status_text(status, "", 80), "  state backfilling, copied 500 of about 600, decoded 11,"));
  CHECK(has(status_text(status, ""), "source        target              state"));
}

TEST_CASE("a screen is drawn over without a moment in which it is blank, cut to the terminal") {
  const auto text = drawn("one\ntwo is longer\nthree\nfour\n", {8, 4});
  CHECK(text == "\x1b[Hone\x1b[K\r\ntwo is l\x1b[K\r\n... 2 mo\x1b[K\r\n\x1b[J");
  CHECK(!has(text, "\x1b[2J"));
  CHECK(drawn("\xC3\xA4\xC3\xB6\xC3\xBC\n", {2, 9}) == "\x1b[H\xC3\xA4\xC3\xB6\x1b[K\r\n\x1b[J");
}

TEST_CASE("status without a sidecar says which server could not be asked who takes writes") {
  const Workplace at;
  leave_state(at);
  const auto outcome = at({"status"});
  CHECK(outcome.status == 0);
  CHECK(has(outcome.out, "the source could not be asked who takes writes: "));
  CHECK(has(outcome.out, "the target could not be asked who takes writes: "));
  CHECK(!has(outcome.out, "hunter2"));
  CHECK(nlohmann::json::parse(at({"status", "--json"}).out)["writes"]["source"].is_null());
}

TEST_CASE("pause and resume without a sidecar exit 3 and say how to start one") {
  const Workplace at;
  for (const char* command : {"pause", "resume"}) {
    const auto outcome = at({command, "apply"});
    CHECK(outcome.status == 3);
    CHECK(has(outcome.err, "no sidecar runs"));
    CHECK(has(outcome.err, "walign run"));
  }
}

TEST_CASE("checkpoints are listed newest first and shown with their books") {
  const Workplace at;
  leave_state(at);
  const auto json = nlohmann::json::parse(at({"checkpoints", "list", "--json"}).out);
  REQUIRE(json.size() == 2);
  CHECK(json[0]["durable_lsn"] == "0/20");
  CHECK(json[1]["durable_lsn"] == "0/10");
  CHECK(json[0]["saved_at"] == "2023-11-14T22:13:20.000000Z");
  CHECK(json[0]["commit_time"].is_null());
  CHECK(nlohmann::json::parse(at({"checkpoints", "list", "--json", "--limit", "1"}).out).size() == 1);
  CHECK(has(at({"checkpoints", "list"}).out, "0/20     2023-11-14T22:13:20.000000Z  -"));
  const auto shown = at({"checkpoints", "show", "0/10"});
  CHECK(has(shown.out, "durable       0/10\n"));
  CHECK(has(shown.out, "public.users -> public.users        7        6         1"));
  const auto missing = at({"checkpoints", "show", "0/15"});
  CHECK(missing.status == 3);
  CHECK(has(missing.err, "there is no checkpoint at 0/15"));
}

TEST_CASE("checkpoints without a state directory exit 3") {
  const Workplace at;
  CHECK(at({"checkpoints", "list"}).status == 3);
  CHECK(!fs::exists(at.state()));
}

TEST_CASE("preflight reports a server that cannot be reached as a failed check, and exits 3") {
  const Workplace at;
  const auto outcome = at({"preflight"});
  CHECK(outcome.status == 3);
  CHECK(has(outcome.out, "FAIL  connection"));
  CHECK(has(outcome.out, "0 ok, 0 warn, 1 FAIL"));
  const auto json = nlohmann::json::parse(at({"preflight", "--json"}).out);
  REQUIRE(json.size() == 1);
  CHECK(json[0]["level"] == "FAIL");
  CHECK(json[0]["remedy"] != "");
  CHECK(!has(outcome.out, "hunter2"));
}

TEST_CASE("remove wants the migration's name, and nothing else will do") {
  const Workplace at;
  leave_state(at);
  const auto silent = at({"remove", "--yes"});
  CHECK(silent.status == 2);
  CHECK(has(silent.err, "there was no answer"));
  for (const char* typed : {"y\n", "yes\n", "users\n", "users-async2\n", "\n"}) {
    const auto outcome = at({"remove", "--yes"}, typed);
    CHECK(outcome.status == 2);
    CHECK(has(outcome.err, "nothing was removed"));
  }
  CHECK(at({"remove", "--name", "users"}).status == 2);
  // With the right name it goes on, as far as the servers: what is here stays until they are clear.
  const auto named = at({"remove"}, "users-async\n");
  CHECK(named.status == 1);
  CHECK(has(named.err, "cannot connect"));
  CHECK(fs::exists(at.state() + "/db"));
}

TEST_CASE("remove is refused while the sidecar runs") {
  const Workplace at;
  fs::create_directory(at.state());
  int pauses = 0;
  const service::ControlServer server(at.state(), handlers_that_pause(pauses));
  const auto outcome = at({"remove", "--name", "users-async"});
  CHECK(outcome.status == 3);
  CHECK(has(outcome.err, "is running"));
}

TEST_CASE(
    "run refuses a state directory whose control socket would have too long a path, and makes nothing") {
  const Workplace at;
  const std::string state = cat(at.state(), std::string(100, 'x'));
  std::ofstream(at.config(), std::ios::app) << "http: \"\"\n";
  std::ifstream file(at.config());
  std::stringstream text;
  text << file.rdbuf();
  std::string yaml = text.str();
  yaml.replace(yaml.find(at.state()), at.state().size(), state);
  std::ofstream(at.config()) << yaml;
  const auto outcome = at({"run"});
  CHECK(outcome.status == 3);
  CHECK(has(outcome.err, "a socket's may have 107"));
  CHECK(!fs::exists(state));
}

TEST_CASE("config check warns of settings that nothing acts on, and of no other") {
  const Workplace at;
  CHECK(!has(at({"config", "check"}).out, "warn"));
  std::ofstream(at.config(), std::ios::app)
      << "existing_rows: adopt\nschema_change: add_columns\napply: { workers: 2 }\n";
  const auto outcome = at({"config", "check"});
  CHECK(outcome.status == 0);
  CHECK(has(outcome.out, "ok: 1 table rule\n"));
  CHECK(has(outcome.out, "warn  apply.workers"));
  for (const char* setting : {"schema_change", "existing_rows"}) CHECK(!has(outcome.out, setting));
  const auto json = nlohmann::json::parse(at({"config", "check", "--json"}).out);
  CHECK(json["ok"] == true);
  REQUIRE(json["warnings"].size() == 1);
  CHECK(json["warnings"][0]["level"] == "warn");
  CHECK(has(json["warnings"][0]["what"], "is accepted but not acted on in this version"));
}

TEST_CASE("pausing the backfill says that the stream goes on") {
  const Workplace at;
  fs::create_directory(at.state());
  int pauses = 0;
  auto handlers = handlers_that_pause(pauses);
  bool paused = false;
  handlers.pause_backfill = [&paused](bool hold) {
    paused = hold;
    return true;
  };
  const service::ControlServer server(at.state(), handlers);
  CHECK(has(at({"pause", "backfill"}).out,
            "backfill is paused: no further chunk is begun, the stream goes on"));
  CHECK(paused);
  CHECK(has(at({"resume", "backfill"}).out, "backfill goes on"));
  CHECK_FALSE(paused);
  CHECK(pauses == 0);
}

TEST_CASE("a failed write to stdout is a failure") {
  const Workplace at;
  std::istringstream in;
  std::ostringstream out, err;
  out.setstate(std::ios::badbit);
  CHECK(main({"-c", at.config(), "config", "check"}, Io{in, out, err, false}) == 1);
  CHECK(has(err.str(), "stdout could not be written"));
}
