// What preflight says of keys that the source is to draw.
#include "way_back_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

struct Case {
  std::string name, on_source, on_target, key, what, remedy;
};

const std::string kSource = "CREATE SEQUENCE s; CREATE TABLE t (id int PRIMARY KEY, v text);";
const std::string kTarget =
    "CREATE TABLE t (pk int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, legacy int UNIQUE, v text);"
    "ALTER TABLE t REPLICA IDENTITY FULL;";
const std::string kTrigger =
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER stamps "
    "BEFORE UPDATE "
    "ON t FOR EACH ROW EXECUTE FUNCTION f();";

}  // namespace

TEST_CASE("preflight refuses keys that cannot be drawn or written back, each with its remedy") {
  const std::vector<Case> cases = {
      {"it can", kSource, kTarget, "nextval('public.s')", "", ""},
      {"a trigger that does not fire", kSource, kTarget + kTrigger, "nextval('public.s')", "", ""},
      {"no such sequence", kSource, kTarget, "nextval('public.missing')", "the source rejects it",
       "sequences"},
      {"the same key each time", kSource, kTarget, "42", "it gives the same key each time", "nextval("},
      {"another type", kSource, kTarget, "clock_timestamp()", "the source rejects it as the key",
       "id's type"},
      {"several statements", kSource, kTarget, "1); DROP TABLE public.t; SELECT (1", "the source rejects it",
       "sequences"},
      {"NOT NULL", kSource, kTarget + "ALTER TABLE t ALTER legacy SET NOT NULL", "nextval('public.s')",
       "legacy is NOT NULL", "DROP NOT NULL"},
      {"types that differ", kSource, kTarget + "ALTER TABLE t ALTER legacy TYPE bigint",
       "nextval('public.s')", "of the same type on both sides", "with a default"},
      {"a trigger that fires", kSource, kTarget + kTrigger + "ALTER TABLE t ENABLE ALWAYS TRIGGER stamps",
       "nextval('public.s')", "trigger stamps of public.t on the target would fire",
       "ENABLE TRIGGER \"stamps\""},
      {"no other primary key", kSource,
       "CREATE TABLE t (legacy int UNIQUE, v text); ALTER TABLE t REPLICA IDENTITY FULL",
       "nextval('public.s')", "no primary key beside it", "ADD PRIMARY KEY"},
      {"a key of two columns", "CREATE SEQUENCE s; CREATE TABLE t (id int, v text, PRIMARY KEY (id, v))",
       "CREATE TABLE t (pk int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, legacy int, v text, UNIQUE (legacy, "
       "v)); ALTER TABLE t REPLICA "
       "IDENTITY FULL",
       "nextval('public.s')", "needs a key of one column", "with a default"},
  };
  for (const auto& c : cases) {
    INFO(c.name);
    Migration m;
    m.source.exec(c.on_source);
    m.target.exec(c.on_target);
    const std::string key = c.name == "a key of two columns" ? "legacy, v" : "legacy";
    m.tables =
        "  - {from: public.t, key: [" + key + "], columns: {legacy: id}, reverse_key: \"" + c.key + "\"}\n";
    const auto ways = ways_back(m);
    const auto said = failed(ways.findings);
    INFO(said);
    if (c.what.empty()) {
      CHECK(said.empty());
      CHECK(m.source.scalar<bool>("SELECT NOT is_called FROM s"));  // nothing was drawn to find out
      continue;
    }
    CHECK(has(said, c.what));
    CHECK(has(said, c.remedy));
    CHECK(m.source.scalar<bool>("SELECT to_regclass('public.t') IS NOT NULL"));
  }
}

TEST_CASE("preflight refuses to draw keys for a table of whose rows only some are its own") {
  Migration m;
  m.source.exec(kSource);
  m.target.exec(
      "CREATE TABLE t (pk int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, legacy int UNIQUE, v text, kind "
      "text); ALTER TABLE t REPLICA "
      "IDENTITY "
      "FULL");
  m.tables =
      "  - {from: public.t, key: [legacy], columns: {legacy: id, kind: {constant: x}}, target_where: \"kind "
      "= 'x'\", "
      "reverse_key: \"nextval('public.s')\"}\n";
  CHECK(has(failed(ways_back(m).findings), "only some of them are this table's"));
}

TEST_CASE("preflight says that walign's role may not draw from the sequence, or not write the key") {
  Migration m;
  m.source.exec(kSource);
  m.target.exec(kTarget);
  for (Sql* sql : {&m.source, &m.target}) {
    sql->exec(
        "DO $$ BEGIN CREATE ROLE drawer LOGIN REPLICATION; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "GRANT SET ON PARAMETER session_replication_role TO drawer; GRANT CREATE ON DATABASE " +
        sql->scalar("SELECT current_database()") + " TO drawer; ALTER TABLE t OWNER TO drawer");
  }
  m.target.exec("REVOKE UPDATE ON t FROM drawer; GRANT UPDATE (v) ON t TO drawer");
  const auto as = [](std::string url, const std::string& role) {
    const auto slashes = url.find("://") + 3;
    const auto at = url.find('@');
    return url.substr(0, slashes) + role + url.substr(at == std::string::npos ? slashes - 1 : at);
  };
  m.source_url = as(m.source_url, "drawer");
  m.target_url = as(m.target_url, "drawer");
  m.tables =
      "  - {from: public.t, key: [legacy], columns: {legacy: id}, reverse_key: \"nextval('public.s')\"}\n";
  const auto prepared = stream::prepare(m.config(), nullptr);
  const auto said = failed(stream::ways_back(m.config(), prepared, nullptr).findings);
  INFO(said);
  CHECK(has(said, "role drawer may not draw from sequence public.s on the source"));
  CHECK(has(said, "GRANT USAGE ON SEQUENCE public.s"));
  CHECK(has(said, "role drawer may not write legacy of public.t on the target"));
}
