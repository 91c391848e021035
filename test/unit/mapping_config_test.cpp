// What parse() makes of a file: the reference example field by field, then setting by setting.
#include "mapping_config_test.hpp"

using namespace walign;
using namespace walign::config;
using namespace walign::config::test;

using std::chrono::milliseconds;

TEST_CASE("the example of the reference is read, every field of it") {
  const auto config = parse(test_data("interface-example.yaml"), "walign.yaml", no_variables);
  CHECK(config.file == "walign.yaml");
  CHECK(config.migration == "users-async");
  CHECK(config.stream_name() == "walign_users_async");
  CHECK(config.slot_name() == "walign_users_async");
  CHECK(config.source == "postgresql://walign@old/app");
  CHECK(config.target == "postgresql://walign@new/app");
  CHECK(config.state == "/var/lib/walign/users-async");
  CHECK_FALSE(config.slot.has_value());
  CHECK(config.existing_rows == ExistingRows::refuse);
  CHECK(config.schema_change == SchemaChange::stop);
  CHECK(config.http == "127.0.0.1:8642");

  SECTION("short tables") {
    REQUIRE(config.tables.size() == 4);
    CHECK(config.tables[0].place == Place{7, 5});
    CHECK(config.tables[0].from == TableName{"public", "users"});
    CHECK(config.tables[0].to == TableName{"public", "users_async"});
    CHECK_FALSE(config.tables[0].one_way);
    CHECK(config.tables[1].from == TableName{"public", "plants"});
    CHECK(config.tables[1].to == config.tables[1].from);
    CHECK_FALSE(config.tables[1].wildcard);
    CHECK(config.tables[3].from == TableName{"audit", "*"});
    CHECK(config.tables[3].to == TableName{"audit", "*"});
    CHECK(config.tables[3].wildcard);
  }
  SECTION("the long table") {
    const auto& table = config.tables.at(2);
    CHECK(table.place == Place{9, 5});
    CHECK(table.from == TableName{"public", "marketplace_listings"});
    CHECK(table.to == TableName{"marketplace", "service_listings"});
    CHECK(table.key == std::vector<std::string>{"legacy_listing_id"});
    CHECK(table.where == "status <> 'DRAFT'");
    CHECK(table.target_where == "kind = 'listing'");
    CHECK(table.one_way);
    CHECK_FALSE(table.reverse_key.has_value());
    CHECK_FALSE(table.only);
    REQUIRE(table.columns.size() == 5);
    CHECK(table.columns[0] ==
          ColumnRule{{14, 7}, "legacy_listing_id", ColumnKind::rename, "id", "", {}, {}, false, {}});
    CHECK(table.columns[1] == ColumnRule{{15, 7},
                                         "status",
                                         ColumnKind::values,
                                         "status",
                                         "",
                                         {},
                                         {{"ACTIVE", "active"}, {"PAUSED", "paused"}},
                                         false,
                                         {}});
    CHECK(table.columns[2] == ColumnRule{{16, 7},
                                         "price",
                                         ColumnKind::sql,
                                         "",
                                         "price_cents / 100.0",
                                         "round(price * 100)::int",
                                         {},
                                         false,
                                         {}});
    CHECK(table.columns[3] ==
          ColumnRule{{17, 7},
                     "provider_id",
                     ColumnKind::sql,
                     "",
                     "(SELECT p.id FROM marketplace.providers p WHERE p.tenant_id = src.tenant_id)",
                     {},
                     {},
                     false,
                     {}});
    CHECK(table.columns[4] ==
          ColumnRule{{18, 7}, "internal_notes", ColumnKind::drop, "", "", {}, {}, false, {}});
  }
  SECTION("backfill, apply, verify, journal") {
    CHECK(config.backfill.workers == 2);
    CHECK(config.backfill.chunk_rows == 50'000);
    CHECK(config.backfill.chunk_bytes == 67'108'864);
    CHECK(config.backfill.max_rows_per_second == 0);
    CHECK(config.backfill.pause_above_lag_bytes == 1'073'741'824);
    CHECK(config.apply.workers == 1);
    CHECK(config.apply.max_batch_rows == 20'000);
    CHECK(config.apply.max_batch_bytes == 8'388'608);
    CHECK(config.apply.spill_above_bytes == 67'108'864);
    CHECK(config.apply.on_conflict == OnConflict::stop);
    CHECK(config.verify.every == milliseconds(3'600'000));
    CHECK(config.journal.keep_bytes == 1'073'741'824);
    CHECK(config.journal.keep_for == milliseconds(86'400'000));
  }
  SECTION("gates and cutover") {
    CHECK(config.gates.max_lag_bytes == 1'048'576);
    CHECK(config.gates.max_lag_time == milliseconds(2'000));
    CHECK(config.gates.differences == 0);
    CHECK(config.gates.dead_letters == 0);
    CHECK(config.gates.stable_for == milliseconds(600'000));
    CHECK(config.gates.oldest_transaction == milliseconds(5'000));
    CHECK(config.cutover.max_pause == milliseconds(5'000));
    CHECK(config.cutover.lock_timeout == milliseconds(500));
    CHECK(config.cutover.attempts == 5);
    CHECK(config.cutover.lease == milliseconds(10'000));
    CHECK(config.cutover.sequence_margin == 1'000);
    CHECK(config.cutover.before_fence.empty());
    CHECK(config.cutover.before_open.empty());
    CHECK(config.cutover.switch_hook.empty());
    CHECK(config.cutover.after_back_out.empty());
    CHECK(config.cutover.hook_timeout == milliseconds(60'000));
  }
}

TEST_CASE("the example gives nothing but defaults after its tables") {
  auto config = parse(test_data("interface-example.yaml"), "t.yaml", no_variables);
  auto defaults = with_lines("");
  CHECK(config.backfill == defaults.backfill);
  CHECK(config.apply == defaults.apply);
  CHECK(config.verify == defaults.verify);
  CHECK(config.journal == defaults.journal);
  CHECK(config.gates == defaults.gates);
  CHECK(config.cutover == defaults.cutover);
  CHECK(config.http == defaults.http);
}

TEST_CASE("every setting can be given a value that is not its default") {
  const auto config = with_lines(
      "slot: mine\nexisting_rows: adopt\nschema_change: add_columns\nhttp: '[::1]:0'\n"
      "backfill: {workers: 64, chunk_rows: 1, chunk_bytes: 1024, max_rows_per_second: 9, "
      "pause_above_lag: 3kB}\n"
      "apply: {workers: 3, max_batch_rows: 4, max_batch_bytes: 64KiB, spill_above: 5MB, on_conflict: "
      "dead_letter}\n"
      "verify: {every: 1s}\njournal: {keep: 2GB, keep_for: 3d}\n"
      "gates: {max_lag: 7B, max_lag_time: 0, differences: 1, dead_letters: 2, stable_for: 3min, "
      "oldest_transaction: 4m}\n"
      "cutover: {max_pause: 6s, lock_timeout: 7ms, attempts: 8, lease: 9s, sequence_margin: 0, "
      "before_fence: a, "
      "before_open: b, switch_hook: c d, after_back_out: e, hook_timeout: 1h}\n");
  CHECK(config.slot == "mine");
  CHECK(config.slot_name() == "mine");
  CHECK(config.existing_rows == ExistingRows::adopt);
  CHECK(config.schema_change == SchemaChange::add_columns);
  CHECK(config.http == "[::1]:0");
  CHECK(config.backfill == Backfill{64, 1, 1024, 9, 3'000});
  CHECK(config.apply == Apply{3, 4, 65'536, 5'000'000, OnConflict::dead_letter});
  CHECK(config.verify.every == milliseconds(1'000));
  CHECK(config.journal == Journal{2'000'000'000, milliseconds(259'200'000)});
  CHECK(config.gates == Gates{7, milliseconds(0), 1, 2, milliseconds(180'000), milliseconds(240'000)});
  CHECK(config.cutover == Cutover{milliseconds(6'000), milliseconds(7), 8, milliseconds(9'000), 0, "a", "b",
                                  "c d", "e", milliseconds(3'600'000)});
}

TEST_CASE("ten mistakes are ten problems in the order of the file") {
  const auto yaml = test_data("ten-mistakes.yaml");
  try {
    parse(yaml, "ten-mistakes.yaml", no_variables);
    FAIL("ten mistakes were taken");
  } catch (const ConfigError& error) {
    CHECK(error.problems().size() == 10);
    CHECK(error.message() + "\n" == test_data("ten-mistakes.txt"));
    CHECK(error.message().find("hunter2") == std::string::npos);
  }
}

TEST_CASE("keys that are missing, unknown or there twice are problems") {
  CHECK(problems_of("migration: m") ==
        "t.yaml:1:1: \"source\" is missing (the source: a URL or key=value, without a password)\n"
        "t.yaml:1:1: \"target\" is missing (the target; may be the same database as the source)\n"
        "t.yaml:1:1: \"state\" is missing (directory of the journal, checkpoints and control socket)\n"
        "t.yaml:1:1: \"tables\" is missing (what is moved, and where to; patterns take every table that "
        "matches)");
  CHECK(problem_in_lines("tabels: [x]") == "6:1: unknown key \"tabels\" (did you mean \"tables\"?)");
  CHECK(problem_in_lines("verify: {evry: 1h}") ==
        "6:10: unknown key \"evry\" in verify (did you mean \"every\"?)");
  CHECK(problem_in_lines("verify: {zebra: 1h}") == "6:10: unknown key \"zebra\" in verify (known: every)");
  CHECK(begins(problem_in_lines("<<: {http: x}"), "6:1: unknown key (merge keys are not supported"));
  CHECK(begins(problem_in_lines("? [a]\n: b"), "6:3: a key is a list"));
  CHECK(begins(problem_in_lines("state: x"), "6:1: duplicate key \"state\" (it is already at 4:1)"));
  CHECK(begins(problem_in_lines("gates: {max_lag: 1, max_lag: 2}"),
               "6:21: duplicate key \"max_lag\" (it is already at 6:9)"));
  CHECK(begins(problem_in_lines("gates:"), "6:1: gates must be a map, not nothing"));
  CHECK(begins(problem_in_lines("gates: []"), "6:8: gates must be a map, not a list"));
  CHECK(begins(problems_of("- a"), "t.yaml:1:1: the file must be a map, not a list"));
  CHECK(begins(problems_of("just words"), "t.yaml:1:1: the file must be a map, not \"just words\""));
}

TEST_CASE("values of the wrong type or out of range are problems") {
  CHECK(begins(problem_in_lines("backfill: {workers: 0}"),
               "6:21: backfill.workers must be at least 1, not \"0\""));
  CHECK(begins(problem_in_lines("backfill: {workers: 65}"), "6:21: backfill.workers must be at most 64"));
  CHECK(begins(problem_in_lines("backfill: {workers: 1.5}"),
               "6:21: backfill.workers must be an integer, not \"1.5\""));
  CHECK(begins(problem_in_lines("backfill: {workers: '2'}"),
               "6:21: backfill.workers must be an integer, not \"2\" (without"));
  CHECK(begins(problem_in_lines("backfill: {workers: }"),
               "6:21: backfill.workers must be an integer, not nothing"));
  CHECK(begins(problem_in_lines("backfill: {chunk_rows: 9223372036854775808}"),
               "6:24: backfill.chunk_rows is too large"));
  CHECK(begins(problem_in_lines("backfill: {chunk_bytes: 1}"),
               "6:25: backfill.chunk_bytes must be at least 1KiB"));
  CHECK(begins(problem_in_lines("backfill: {chunk_bytes: 1.5GiB}"),
               "6:25: backfill.chunk_bytes: \"1.5GiB\" is not a whole number"));
  CHECK(begins(problem_in_lines("backfill: {chunk_bytes: 64mib}"),
               "6:25: backfill.chunk_bytes: \"64mib\" is not"));
  CHECK(begins(problem_in_lines("backfill: {chunk_bytes: -1}"),
               "6:25: backfill.chunk_bytes must be a size, not \"-1\""));
  CHECK(begins(problem_in_lines("journal: {keep: 8589934592GiB}"), "6:17: journal.keep is too large"));
  CHECK(with_lines("journal: {keep: 8589934591GiB}").journal.keep_bytes == 9'223'372'035'781'033'984);
  CHECK(with_lines("journal: {keep: 9223372036854775807}").journal.keep_bytes == INT64_MAX);
  CHECK(begins(problem_in_lines("journal: {keep: 9223372036854775808}"), "6:17: journal.keep is too large"));
  CHECK(
      begins(problem_in_lines("journal: {keep_for: 106751991168d}"), "6:21: journal.keep_for is too large"));
  CHECK(begins(problem_in_lines("journal: {keep_for: 40000d}"),
               "6:21: journal.keep_for must be at most 36500d"));
  CHECK(begins(problem_in_lines("verify: {every: 60}"), "6:17: verify.every: \"60\" has no unit"));
  CHECK(begins(problem_in_lines("verify: {every: 0}"), "6:17: verify.every must be at least 1s"));
  CHECK(with_lines("verify: {every: 90 min}").verify.every == milliseconds(5'400'000));
  CHECK(begins(problem_in_lines("schema_change: add_column"),
               "6:16: schema_change must be one of stop, add_columns, not \"add_column\" (did you mean "
               "\"add_columns\"?)"));
  CHECK(begins(problem_in_lines("existing_rows: [adopt]"),
               "6:16: existing_rows must be one of refuse, empty, adopt, not a list"));
  CHECK(begins(problem_in_lines("cutover: {switch_hook: false}"),
               "6:24: cutover.switch_hook must be a text, not \"false\""));
  CHECK(begins(problem_in_lines("slot: Mine"), "6:7: slot is not a replication slot's name"));
  CHECK(begins(problem_in_lines("slot: 12"), "6:7: slot must be a text, not \"12\" (put it in quotes"));
  CHECK(begins(problem_in_tables("- from: a\n  one_way: yes"),
               "7:12: one_way must be true or false, not \"yes\""));
  for (const std::string bad :
       {"8642", "localhost", ":8642", "a:b", "a:65536", "::1:80", "[]:80", "a:-1", "a b:1"}) {
    CHECK(begins(problem_in_lines("http: '" + bad + "'"), "6:7: http is not HOST:PORT"));
  }
  CHECK(with_lines("http: ''").http.empty());
}

TEST_CASE("a migration's name is one that a slot can have") {
  const auto name = [](const std::string& text) {
    return problems_of("migration: '" + text + "'\nsource: host=a\ntarget: host=b\nstate: s\ntables: [t]");
  };
  for (const std::string good : {"a", "0", "users-async_2", "a234567890123456789012345678901234567_1"}) {
    CHECK(name(good) == "none");
  }
  for (const std::string bad :
       {"", "-a", "_a", "A", "a b", "a.b", "a2345678901234567890123456789012345678_2", "\xC3\xA9"}) {
    CHECK(begins(name(bad), "t.yaml:1:12: migration is not a migration's name"));
  }
  // What belongs to m itself is named so.
  for (const std::string taken : {"m-reverse", "m_reverse", "m_inserts", "m-capture"}) {
    CHECK(begins(name(taken), "t.yaml:1:12: migration would have the slot or the publication of another"));
  }
  for (const std::string good : {"reverse", "m-reversed", "mreverse"}) CHECK(name(good) == "none");
}

TEST_CASE("connection strings are checked for their form") {
  const auto source = [](const std::string& text) {
    return problems_of("migration: m\nsource: \"" + text + "\"\ntarget: host=b\nstate: s\ntables: [t]");
  };
  for (const std::string good :
       {"postgresql://", "postgres://u@h:5432,i/db?sslmode=require", "host=a", " host = a  port=5 ",
        "host='a b' password='x\\\\'y'", "service=prod", "dbname=postgresql://u@h/db"}) {
    CHECK(source(good) == "none");
  }
  CHECK(begins(source(""), "t.yaml:2:9: source is empty"));
  CHECK(begins(source("  "), "t.yaml:2:9: source is empty"));
  CHECK(begins(source("mysql://hunter2@h"), "t.yaml:2:9: source is a URL of something else"));
  CHECK(begins(source("myhost"), "t.yaml:2:9: source has no key=value at character 1"));
  CHECK(begins(source("host=a myhost"), "t.yaml:2:9: source has no key=value at character 8"));
  CHECK(begins(source("host='a"), "t.yaml:2:9: source has a quote at character 6 that is not closed"));
  CHECK(begins(source("host='a\\\\'"), "t.yaml:2:9: source has a quote at character 6 that is not closed"));
  CHECK(begins(source("postgres://u:a b@h"), "t.yaml:2:9: source has a space at character 15"));
  CHECK(begins(source("postgres://u%zz@h"), "t.yaml:2:9: source has a '%' at character 13"));
}

TEST_CASE("variables are replaced in values, once, and never read as YAML") {
  CHECK(parse("migration: m\nsource: postgres://u@${HOST}/a\ntarget: host=${HOST}\nstate: "
              "${HOST}/$${HOST}/$HOST/$$\ntables: [t]",
              "t.yaml", some_variables)
            .source == "postgres://u@db.example/a");
  CHECK(with_lines("cutover: {switch_hook: '${HOST}-$${HOST}-$HOST-$$$${X}'}").cutover.switch_hook ==
        "db.example-${HOST}-$HOST-$$${X}");
  CHECK(with_lines("cutover: {switch_hook: '${TRICK}'}").cutover.switch_hook == "a\nmigration: b");
  CHECK(with_lines("backfill: {workers: '${WORKERS}', chunk_rows: '1${WORKERS}'}").backfill.workers == 7);
  CHECK(rule("- {from: a, one_way: '${YES}'}").one_way);
  CHECK(rule("- '${HOST}: ${YES}'").to == TableName{"public", "true"});
  CHECK(begins(problem_in_tables("- '${SCHEMA}'"), "6:3: a table's name: a name with other characters"));
}

TEST_CASE("a variable that cannot be replaced is a problem where it stands") {
  CHECK(begins(problem_in_lines("slot: a${NOPE}"), "6:7: the environment variable NOPE is not set"));
  CHECK(begins(problem_in_lines("slot: ${a b}"), "6:7: a ${ does not begin a variable"));
  CHECK(begins(problem_in_lines("slot: '${'"), "6:7: a ${ does not begin a variable"));
  CHECK(begins(problem_in_lines("slot: '${}'"), "6:7: a ${ does not begin a variable"));
  CHECK(begins(problem_in_lines("slot: '${1A}'"), "6:7: a ${ does not begin a variable"));
  CHECK(begins(problem_in_lines("slot: '${LATIN1}'"), "6:7: the environment variable LATIN1 is not UTF-8"));
  CHECK(begins(problem_in_lines("${HOST}: x"), "6:1: a variable in a key is not replaced"));
  CHECK(begins(problem_in_tables("- '${EMPTY}'"), "6:3: a table's name: a part of the name is empty"));
  for (const std::string line : {"slot: ${PASSWORD}-", "http: ${PASSWORD}", "verify: {every: '${PASSWORD}'}",
                                 "backfill: {workers: '${PASSWORD}'}", "schema_change: ${PASSWORD}"}) {
    const auto message = problem_in_lines(line);
    CHECK(message.find("6:") == 0);
    CHECK(message.find("hunter2") == std::string::npos);
  }
}

TEST_CASE("the text itself must be one document of YAML in UTF-8") {
  CHECK(begins(problems_of(""), "t.yaml:1:1: there is nothing in the file"));
  CHECK(begins(problems_of("# only a comment\n"), "t.yaml:1:1: there is nothing in the file"));
  CHECK(begins(problems_of("---\n"), "t.yaml:1:1: there is nothing in the file"));
  CHECK(begins(problems_of("a: b\nb: \xE9\n"), "t.yaml:2:4: byte 8 is not UTF-8"));
  CHECK(begins(problems_of("a: \xED\xA0\x80"), "t.yaml:1:4: byte 3 is not UTF-8"));
  CHECK(begins(problems_of("a: \xC3"), "t.yaml:1:4: byte 3 is not UTF-8"));
  CHECK(begins(problems_of(std::string("a: b\0c", 6)), "t.yaml:1:5: byte 4 is a control character"));
  CHECK(begins(problems_of("a: [b\nc: d"), "t.yaml:"));
  CHECK(problems_of("a: [b\nc: d").find("not YAML") != std::string::npos);
  CHECK(problems_of("gates:\n\tmax_lag: 1").find("indent with spaces") != std::string::npos);
  CHECK(problems_of("a: *nowhere").find("not YAML: the referenced anchor is not defined") !=
        std::string::npos);
  CHECK(begins(problems_of(kHead + "tables: [t]\n---\nmigration: n"),
               "t.yaml:6:1: a second YAML document begins here"));
  CHECK(problems_of("---\n" + kHead + "tables: [t]\n...\n") == "none");
  CHECK(problems_of("\xEF\xBB\xBF" + kHead + "tables: [t]\n") == "none");
  CHECK(begins(problems_of("\xEF\xBB\xBFx: y"), "t.yaml:1:1: unknown key \"x\""));
  CHECK(begins(problem_in_lines("slot: !mine x"), "6:7: a YAML tag has no meaning here"));
  CHECK(with_lines("slot: !!str 12").slot == "12");
  CHECK(begins(problem_in_lines("gates: {\xC3\xA9: 1, max_lag: x}"), "6:9: unknown key"));
  CHECK(problem_in_lines("gates: {\xC3\xA9: 1, max_lag: x}").find("6:24: gates.max_lag must be a size") !=
        std::string::npos);
}

TEST_CASE("anchors and aliases are the same value again") {
  const auto config = with_tables("- {from: a, columns: &names {x: y}}\n- {from: b, columns: *names}\n");
  CHECK(config.tables[0].columns == config.tables[1].columns);
  CHECK(problem_in_tables("- {from: a, columns: &names {x: true}}\n- {from: b, columns: *names}\n") ==
        "6:33: true is no rule for a column (leave the column out: it keeps its name; beside `only: "
        "true` write NAME: NAME)");
  CHECK(problem_in_tables("- &loop [*loop]") != "none");
}

TEST_CASE("a file that cannot be read is a problem without a place") {
  try {
    load("/nonexistent/walign.yaml", no_variables);
    FAIL("read");
  } catch (const ConfigError& error) {
    CHECK(error.message() ==
          "/nonexistent/walign.yaml: cannot be opened: No such file or directory (name the file "
          "with -c FILE or WALIGN_CONFIG; walign init writes one)");
    CHECK(error.problems().at(0).place == Place{});
  }
  CHECK_THROWS_AS(load("/", no_variables), ConfigError);
  CHECK_THROWS_AS(load("/dev/zero", no_variables), ConfigError);
  const auto path = std::string(WALIGN_TEST_DATA) + "/config/interface-example.yaml";
  CHECK(load(path, no_variables).file == path);
}
