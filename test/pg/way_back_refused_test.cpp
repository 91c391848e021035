// Mappings without a way back are refused by name, each with what to do; nothing is left behind on either server.
#include "way_back_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

struct Case {
  std::string what;    // of the test
  std::string source;  // SQL
  std::string target;
  std::string tables;
  std::string says;    // part of the finding; empty: there is a way back
  std::string remedy;  // part of its remedy
};

int walign_schemas(Sql& db) {
  return db.scalar<int>("SELECT count(*)::int FROM pg_namespace WHERE nspname = 'walign'");
}

// The findings that fail, of a migration made for this case.
void check_refused(const Case& c) {
  INFO(c.what);
  Migration m;
  m.source.exec(c.source);
  m.target.exec(c.target);
  m.tables = c.tables;
  const auto back = ways_back(m);
  INFO(all(back.findings));
  CHECK(walign_schemas(m.source) == 0);
  CHECK(walign_schemas(m.target) == 0);
  CHECK(mapping::any_failed(back.findings) == !c.says.empty());
  const bool any_route = std::any_of(back.tables.begin(), back.tables.end(),
                                     [](const auto& way) { return way.route.has_value(); });
  CHECK(any_route == c.says.empty());
  if (c.says.empty()) return;
  CHECK(has(failed(back.findings), c.says));
  CHECK(has(failed(back.findings), c.remedy));
}

}  // namespace

TEST_CASE("each mapping that has no way back is refused by name") {
  const std::string t = "CREATE TABLE t (id int PRIMARY KEY, v text, n int)";
  const std::string rows = t + "; INSERT INTO t VALUES (1, 'Anna', 5), (2, 'McDonald', 7), (3, NULL, NULL)";
  const std::vector<Case> cases = {
      {"initcap is not undone by lower", rows, t,
       "  - {from: public.t, columns: {v: {sql: \"initcap(v)\", reverse: \"lower(v)\"}}}\n",
       "source column v does not come back as it was: 'Anna' becomes 'Anna' in v and comes back as 'anna' "
       "(id='1')",
       "correct sql: and reverse: of column v"},
      {"upper is not undone", rows, t,
       "  - {from: public.t, columns: {v: {sql: \"upper(v)\", reverse: \"initcap(v)\"}}}\n",
       "'McDonald' becomes 'MCDONALD' in v and comes back as 'Mcdonald' (id='2')", "one_way"},
      {"rounding loses", "CREATE TABLE t (id int PRIMARY KEY, v numeric); INSERT INTO t VALUES (1, 1.005)",
       "CREATE TABLE t (id int PRIMARY KEY, v numeric(10,2))", "  - public.t\n",
       "'1.005' becomes '1.01' in v and comes back as '1.01'", "have the source's type"},
      {"a pair that is one", rows, t,
       "  - {from: public.t, columns: {n: {sql: \"n * 2\", reverse: \"n / 2\"}}}\n", "", ""},
      {"no reverse", rows, t, "  - {from: public.t, columns: {v: {sql: \"upper(v)\"}}}\n",
       "source column v is given by nothing: target column v is computed from it and has no reverse:",
       "one_way"},
      {"which one of two", t, "CREATE TABLE t (id int PRIMARY KEY, w text)",
       "  - {from: public.t, columns: {v: false, n: false, w: {sql: \"v || n\", reverse: \"w\"}}}\n",
       "which source column reverse: of column w gives cannot be told: its sql reads v, n", "reverse: { v:"},
      {"both of two", t + "; INSERT INTO t VALUES (1, 'a', 1), (2, '', -5)",
       "CREATE TABLE t (id int PRIMARY KEY, w text)",
       "  - {from: public.t, columns: {v: false, n: false, w: {sql: \"v || '/' || n\", reverse: {"
       "v: \"split_part(w, '/', 1)\", n: \"split_part(w, '/', 2)::int\"}}}}\n",
       "", ""},
      {"an else", t, t, "  - {from: public.t, columns: {v: {values: {A: a}, else: b}}}\n",
       "source column v is given by nothing: target column v is made of it, and its value map has an else:",
       "reverse:"},
      {"two values to one", t, t, "  - {from: public.t, columns: {v: {values: {A: a, B: a}}}}\n",
       "makes a of both A and B", "one-to-one"},
      {"NULL and a value to NULL", t, t, "  - {from: public.t, columns: {v: {values: {A: null}}}}\n",
       "makes NULL of both NULL and A", "one-to-one"},
      {"a value that the map lacks", rows, t, "  - {from: public.t, columns: {v: {values: {Anna: a}}}}\n",
       "a row of the source cannot be mapped: public.t -> public.t: the value map of column v has no "
       "entry for "
       "'McDonald'",
       "else"},
      {"two columns give one", t, "CREATE TABLE t (id int PRIMARY KEY, v text, n int, w text)",
       "  - {from: public.t, columns: {v: v, w: v}}\n", "source column v is given back by both v and w",
       "w: { sql: \"src.\"v\"\" }"},
      {"and only one of them", t, "CREATE TABLE t (id int PRIMARY KEY, v text, n int, w text)",
       "  - {from: public.t, columns: {v: v, w: {sql: \"src.v\"}}}\n", "", ""},
      {"a column without a default", "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)",
       "CREATE TABLE t (id int PRIMARY KEY)", "  - {from: public.t, columns: {v: false}}\n",
       "source column v is NOT NULL, has no default, and nothing gives it back", "SET DEFAULT"},
      {"and with one", "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL DEFAULT '')",
       "CREATE TABLE t (id int PRIMARY KEY)", "  - {from: public.t, columns: {v: false}}\n", "", ""},
      {"a reverse that reads what only the target has", t, t + "; CREATE TABLE only_here (v text)",
       "  - {from: public.t, columns: {v: {sql: \"v || 'x'\", reverse: \"(SELECT max(v) FROM "
       "public.only_here)\"}}}\n",
       "reverse: that gives v: the source rejects it: relation \"public.only_here\" does not exist",
       "runs on the source"},
      {"a volatile reverse", t, t,
       "  - {from: public.t, columns: {v: {sql: \"v || 'x'\", reverse: \"v || random()\"}}}\n",
       "reverse: that gives v calls random", "functions of the row's values"},
      {"a reverse of the wrong type", t, t,
       "  - {from: public.t, columns: {n: {sql: \"n + 1\", reverse: \"'{}'::json\"}}}\n",
       "the source refuses what would be written", "source column's type"},
      {"a reverse that is no SQL", t, t,
       "  - {from: public.t, columns: {n: {sql: \"n + 1\", reverse: \"n -\"}}}\n", "syntax error",
       "src.NAME"},
      {"the forward value cannot be computed on the source", t,
       t + "; CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'",
       "  - {from: public.t, columns: {n: {sql: \"public.twice(n)\", reverse: \"n / 2\"}}}\n",
       "whether n, which gives n, changed cannot be told",
       "ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL"},
      {"but old rows tell", rows,
       t + "; CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'; "
           "ALTER TABLE t REPLICA IDENTITY FULL",
       "  - {from: public.t, columns: {n: {sql: \"public.twice(n)\", reverse: \"n / 2\"}}}\n", "", ""},
      {"a key outside the target's identity", "CREATE TABLE t (id int PRIMARY KEY, v text)",
       "CREATE TABLE t (pk int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, legacy_id int NOT NULL DEFAULT 7 "
       "UNIQUE, v text)",
       "  - {from: public.t, key: [legacy_id], columns: {legacy_id: id}}\n",
       "the source's key is computed from legacy_id, which is not in the target's replica identity",
       "REPLICA IDENTITY FULL"},
      {"new rows without a key", "CREATE TABLE t (id int PRIMARY KEY, v text)",
       "CREATE TABLE t (pk int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, legacy_id int UNIQUE, v text);"
       "ALTER TABLE t REPLICA IDENTITY FULL",
       "  - {from: public.t, key: [legacy_id], columns: {legacy_id: id}}\n",
       "rows made on the target have no key on the source: legacy_id, which gives id, may be NULL",
       "SET DEFAULT nextval('...')"},
      {"new rows without a default", "CREATE TABLE t (id int PRIMARY KEY, v text)",
       "CREATE TABLE t (pk int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, legacy_id int NOT NULL UNIQUE, v "
       "text);"
       "ALTER TABLE t REPLICA IDENTITY FULL",
       "  - {from: public.t, key: [legacy_id], columns: {legacy_id: id}}\n",
       "legacy_id, which gives id, has no default", "reverse_key"},
      {"new rows with a default", "CREATE TABLE t (id int PRIMARY KEY, v text)",
       "CREATE SEQUENCE s; CREATE TABLE t (pk int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
       "legacy_id int NOT NULL DEFAULT nextval('s') UNIQUE, v text); ALTER TABLE t REPLICA IDENTITY FULL",
       "  - {from: public.t, key: [legacy_id], columns: {legacy_id: id}}\n", "", ""},
      {"no key comes back", "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL UNIQUE)",
       "CREATE TABLE t (id text PRIMARY KEY, v text)",
       "  - {from: public.t, columns: {id: {sql: \"md5(src.id::text)\"}, v: {sql: \"lower(v)\"}}}\n",
       "source column id is given by nothing", "reverse:"},
      {"several sources and no telling", t + "; CREATE TABLE u (id int PRIMARY KEY, v text, n int)", t,
       "  - public.t\n  - public.u: public.t\n",
       "source public.u leads to public.t too, and whose a row is cannot be told", "target_where:"},
      {"a filter outside the identity", t, "CREATE TABLE t (id int PRIMARY KEY, v text, n int, kind text)",
       "  - {from: public.t, columns: {kind: {constant: x}}, target_where: \"kind = 'x'\"}\n",
       "whose a row is depends on kind, which is not in the target's replica identity",
       "REPLICA IDENTITY FULL"},
      {"a filter that selects others", rows,
       "CREATE TABLE t (id int PRIMARY KEY, v text, n int, kind text); ALTER TABLE t REPLICA IDENTITY FULL",
       "  - {from: public.t, columns: {kind: {constant: x}}, target_where: \"kind = 'y'\"}\n",
       "rows that this table gives the target are none of its own by its target_where:",
       "correct target_where:"},
      {"one source to several targets", t, t + "; CREATE TABLE u (id int PRIMARY KEY, v text, n int)",
       "  - public.t\n  - public.t: public.u\n",
       "source public.t leads to public.t and to public.u, and only one of them", "one_way: true for all"},
      {"and one of them one_way", t, t + "; CREATE TABLE u (id int PRIMARY KEY, v text, n int)",
       "  - public.t\n  - {from: public.t, to: public.u, one_way: true}\n", "", ""},
  };
  for (const auto& c : cases) check_refused(c);
}

TEST_CASE("what is only worth a warning is one") {
  Migration m;
  m.source.exec(
      "CREATE TABLE t (id int PRIMARY KEY, v varchar(5) NOT NULL, n int, dropped text, inert text DEFAULT "
      "'d');"
      "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
      "CREATE TRIGGER audits AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();"
      "CREATE TRIGGER always_audits AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();"
      "ALTER TABLE t ENABLE ALWAYS TRIGGER always_audits;"
      "CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE)");
  m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v text, n bigint)");
  m.tables = "  - {from: public.t, where: \"n > 0\", columns: {dropped: false, inert: false}}\n";
  const auto says = all(ways_back(m).findings);
  INFO(says);
  CHECK(has(says, "source column v is character varying(5) and v is text: a value that the target writes"));
  CHECK(has(says, "source column n is integer and n is bigint"));
  CHECK(has(says, "source column v is NOT NULL and v is not"));
  CHECK(has(says, "source column dropped is NULL in rows made on the target"));
  CHECK(has(says, "source column inert gets its default in rows made on the target"));
  CHECK(has(says, "a row that the target writes outside where: comes back all the same"));
  CHECK(has(says, "trigger always_audits of public.t on the source fires"));
  CHECK_FALSE(has(says, "trigger audits"));
  CHECK_FALSE(has(says, "foreign key"));
  SECTION("a role that may not set session_replication_role meets all triggers and foreign keys") {
    m.source.exec(
        "DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN REPLICATION; ALTER TABLE t OWNER TO plain; "
        "ALTER TABLE child OWNER TO plain; GRANT ALL ON SCHEMA public TO plain;"
        "DO $$ BEGIN EXECUTE 'GRANT CREATE ON DATABASE ' || current_database() || ' TO plain'; END $$");
    m.source_url = m.source_url.replace(m.source_url.find("postgres@"), 8, "plain");
    const auto others = all(ways_back(m).findings);
    INFO(others);
    CHECK(has(others, "trigger audits of public.t on the source fires"));
    CHECK(has(others, "trigger always_audits"));
    CHECK(has(others, "foreign key child_t_fkey of public.child"));
    CHECK(has(others, "and changes rows by itself"));
    CHECK(has(others, "GRANT SET ON PARAMETER session_replication_role TO \"plain\""));
  }
}

TEST_CASE("a target that cannot be read as a source is refused with its settings") {
  Server source({.name = "source"});
  Server target({.name = "target",
                 .settings = {"wal_level = replica", "max_replication_slots = 1", "max_wal_senders = 0",
                              "archive_mode = off"}});
  auto from = source.create_database("app");
  auto into = target.create_database("app");
  from.exec("CREATE TABLE t (id int PRIMARY KEY)");
  into.exec(
      "CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE plain LOGIN; GRANT ALL ON t TO plain;"
      "GRANT TEMPORARY ON DATABASE app TO plain; SELECT pg_create_physical_replication_slot('taken')");
  const auto url = target.url("app");
  const auto parse = [&](const std::string& target_url, const std::string& rule) {
    return config::parse("migration: m\nsource: " + source.url("app") + "\ntarget: " + target_url +
                             "\nstate: /tmp/none\ntables:\n" + rule,
                         "test.yaml", [](const std::string&) { return std::nullopt; });
  };
  const auto said = [&](const std::string& target_url, const std::string& rule) {
    const auto config = parse(target_url, rule);
    return failed(stream::ways_back(config, stream::prepare(config, nullptr), nullptr).findings);
  };
  const auto all_of_it = said(url, "  - public.t\n");
  INFO(all_of_it);
  CHECK(has(all_of_it, "wal_level is replica, and changes on the target could not be read"));
  CHECK(has(all_of_it, "ALTER SYSTEM SET wal_level = logical, and restart the target"));
  CHECK(has(all_of_it, "all 1 replication slots are used"));
  CHECK(has(all_of_it, "all 0 WAL senders are in use"));
  CHECK(said(url, "  - {from: public.t, one_way: true}\n").empty());
  auto plain = url;
  plain = plain.replace(plain.find("postgres@"), 8, "plain");
  const auto of_role = said(plain, "  - public.t\n");
  INFO(of_role);
  CHECK(has(of_role, "role plain may not replicate"));
  CHECK(has(of_role, "role plain does not own \"public\".\"t\" on the target"));
  CHECK(has(of_role, "role plain may not make a publication"));
}
