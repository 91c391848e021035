// Databases whose encodings and locales differ.
#include "verify_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

// The migration's databases, made again with these options.
struct Databases {
  Databases(const std::string& of_source, const std::string& of_target) {
    m.source_url = made(source_server(), of_source, "s");
    m.target_url = made(target_server(), of_target, "t");
    source.emplace(m.source_url);
    target.emplace(m.target_url);
    for (Sql* side : {&*source, &*target}) side->exec("SET client_encoding = 'UTF8'");
    m.tables = "  - public.t\n";
    m.more = "backfill: { chunk_rows: 50 }\n";
  }
  ~Databases() {
    source->exec(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active AND database "
        "= "
        "current_database()");
  }
  Databases(const Databases&) = delete;
  Databases& operator=(const Databases&) = delete;

  static std::string made(Server& server, const std::string& options, const std::string& side) {
    static int number = 0;
    const std::string name = "enc" + side + std::to_string(++number);
    server.connect().exec("CREATE DATABASE " + name + " TEMPLATE template0 " + options);
    return server.url(name);
  }
  void both(const std::string& sql) {
    source->exec(sql);
    target->exec(sql);
  }
  bool equal() {
    const auto result = compare_same(*source, *target, "t");
    if (!result.equal()) WARN(result.report());
    return result.equal();
  }

  Migration m;
  std::optional<Sql> source;
  std::optional<Sql> target;
};

constexpr const char* kLatin1 = "ENCODING 'LATIN1' LOCALE 'C'";
constexpr const char* kUtf8 = "ENCODING 'UTF8' LOCALE 'C'";
constexpr const char* kGerman = "ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'de'";
constexpr const char* kSwedish = "ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'sv'";

void write_old_rows(Sql& source) {
  source.exec(
      "INSERT INTO t SELECT chr(97 + i % 26) || (ARRAY['ä', 'z', 'Z', 'ö', 'é', 'ß'])[1 + i % 6] || i, "
      "repeat('ÄÖÜß£', i % 5) FROM generate_series(1, 600) i");
}

}  // namespace

TEST_CASE("rows go from one encoding and collation to another, keyed by text, and are verified as equal") {
  const auto [source, target] = GENERATE(std::pair(kLatin1, kUtf8), std::pair(kUtf8, kLatin1),
                                         std::pair(kGerman, kUtf8), std::pair(kGerman, kSwedish));
  INFO(source << " -> " << target);
  Databases d(source, target);
  d.both("CREATE TABLE t (id text PRIMARY KEY, v text)");
  write_old_rows(*d.source);
  Verifying run(d.m);
  d.source->exec("UPDATE t SET v = v || 'ÿ' WHERE id LIKE '_ä%'; DELETE FROM t WHERE id LIKE 'b%'");
  run.wait_until_copied();
  d.source->exec(
      "INSERT INTO t VALUES ('Ärger', 'Üb'), ('ärger', NULL); UPDATE t SET id = 'ö' || id WHERE id LIKE "
      "'c%'");
  d.source->exec("DELETE FROM t WHERE id = 'ärger'; UPDATE t SET v = 'ñ' WHERE id = 'Ärger'");
  run.catch_up(*d.source);
  CHECK(d.equal());
  const auto report = run.all();
  INFO(Verifying::describe(report));
  CHECK(report.clean());
  d.target->exec("UPDATE t SET v = 'falsch' WHERE id = 'Ärger'");
  const auto found = run.all();
  REQUIRE(found.tables.size() == 1);
  CHECK(found.tables[0].differences == 1);
  REQUIRE(texts(found.tables[0]).size() == 1);
  CHECK(texts(found.tables[0])[0] == "DIFFERENT id=Ärger v:ñ>falsch");
  run.stop();
}

TEST_CASE("a character that the target's encoding lacks stops the stream at its row, which is not lost") {
  Databases d(kUtf8, kLatin1);
  d.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  std::optional<Error> error;
  {
    Run run(d.m);
    run.wait_until_streaming();
    d.source->exec("INSERT INTO t VALUES (1, 'é')");
    run.catch_up(*d.source);
    d.source->exec("INSERT INTO t VALUES (2, 'é'), (3, '10 €'), (4, 'x')");
    error = run.wait();
  }
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::conflict);
  CHECK(error->position().valid());
  CHECK(error->message().find("public.t") != std::string::npos);
  CHECK(error->message().find("INSERT of id=3") != std::string::npos);
  CHECK(error->message().find("has no equivalent in encoding \"LATIN1\"") != std::string::npos);
  CHECK(error->hint().find("ENCODING 'UTF8'") != std::string::npos);
  CHECK(d.target->scalar<int>("SELECT count(*) FROM t") == 1);
  SECTION("mapped to one that it has") {
    d.m.tables =
        "  - { from: public.t, to: public.t, columns: { v: { sql: \"replace(src.v, '€', 'EUR')\" } } }\n";
    Run run(d.m);
    const auto still = run.wait();  // the mapping's SQL runs on the target, which cannot take its argument
    REQUIRE(still);
    CHECK(still->message().find("LATIN1") != std::string::npos);
  }
  SECTION("set aside") {
    d.m.more += "apply: { on_conflict: dead_letter }\n";
    Run run(d.m);
    run.catch_up(*d.source);
    run.stop();
    CHECK(d.target->scalar<int>("SELECT count(*) FROM t") == 3);
    CHECK(d.target->scalar<int>("SELECT count(*) FROM walign.dead_letter") == 1);
  }
}

TEST_CASE(
    "an old row with a character that the target's encoding lacks stops the copy, with its table and keys") {
  Databases d(kUtf8, kLatin1);
  d.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
  d.source->exec(
      "INSERT INTO t SELECT i, 'é' FROM generate_series(1, 500) i; UPDATE t SET v = '€' WHERE id = 333");
  std::optional<Error> error;
  {
    Copying run(d.m);
    error = run.wait();
  }
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == ErrorKind::conflict);
  CHECK(error->message().find("public.t") != std::string::npos);
  CHECK(error->message().find("old rows cannot be copied") != std::string::npos);
  CHECK(error->message().find("LATIN1") != std::string::npos);
  d.source->exec("UPDATE t SET v = 'EUR' WHERE id = 333");
  Copying run(d.m);
  run.wait_until_copied();
  run.catch_up(*d.source);
  run.stop();
  CHECK(d.equal());
}
