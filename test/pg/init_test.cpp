// walign init: what it writes for real servers passes preflight and moves the rows as it is written; what differs
// between both sides, and what cannot be moved, stands in it.
#include <fstream>
#include <sstream>

#include "support/catch.hpp"
#include "support/compare.hpp"
#include "support/server.hpp"
#include "support/temporary_directory.hpp"

using namespace walign::test;

namespace {

Server& one_server() {
  static Server server({.name = "source"});
  return server;
}
Server& other_server() {
  static Server server({.name = "target"});
  return server;
}

class Place {
 public:
  Finished operator()(std::vector<std::string> args, const ProcessOptions& options = {}) const {
    args.insert(args.begin(), {WALIGN_BINARY, "-c", path()});
    return run(args, options, 120s);
  }
  Finished init(const std::string& source, const std::string& target,
                std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"init", "--source", source, "--target", target});
    return (*this)(more);
  }
  std::string path() const { return directory_ / "walign.yaml"; }
  std::string text() const {
    std::ifstream file(path());
    std::ostringstream all;
    all << file.rdbuf();
    return all.str();
  }
  void write(const std::string& text) const { std::ofstream(path()) << text; }

 private:
  TemporaryDirectory directory_;
};

// Without the '#' of the rule whose lines begin with this one.
std::string taken(const std::string& text, const std::string& first) {
  std::istringstream in(text);
  std::string out;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line == first)
      inside = true;
    else if (inside && !line.starts_with("  #  "))
      inside = false;
    if (inside) line = "  " + line.substr(3);
    out += line + "\n";
  }
  return out;
}

void check_moves(const Place& walign) {
  const auto checked = walign({"config", "check"});
  INFO(walign.text());
  INFO(checked.err);
  CHECK(checked.code == 0);
  const auto preflight = walign({"preflight"});
  INFO(preflight.out);
  CHECK(preflight.code == 0);
  const auto ran = walign({"run", "--until-caught-up"});
  INFO(ran.err);
  CHECK(ran.code == 0);
}

bool same_rows(Sql& source, const std::string& query, Sql& target, const std::string& other) {
  const auto result = compare_tables(source, query, target, other);
  if (!result.equal()) WARN(result.report());
  return result.equal();
}

// One table for each thing that may differ.
constexpr const char* kSource = R"(
  CREATE TABLE same (id serial PRIMARY KEY, v text);
  CREATE TABLE "Odd name" (id int PRIMARY KEY, "only" int, "a ""b""" text);
  CREATE TABLE differs (id int PRIMARY KEY, userName text, gone text NOT NULL, small int, wide varchar(40),
                        twice int GENERATED ALWAYS AS (small * 2) STORED, made int);
  CREATE TABLE text_to_number (id int PRIMARY KEY, age text);
  CREATE TABLE needs_value (id int PRIMARY KEY);
  CREATE TABLE by_unique (a int NOT NULL UNIQUE, v text);
  ALTER TABLE by_unique REPLICA IDENTITY USING INDEX by_unique_a_key;
  CREATE TABLE another_key (id int PRIMARY KEY, v text);
  CREATE TABLE no_identity (a int NOT NULL UNIQUE, v text);
  CREATE TABLE no_key (v text);
  CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
  CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
  CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
  CREATE TABLE accounts (id int PRIMARY KEY, v text);
  CREATE TABLE plant (id int PRIMARY KEY);
  CREATE VIEW seen AS SELECT id FROM same;
  CREATE MATERIALIZED VIEW kept AS SELECT id FROM same;
  CREATE SEQUENCE loose;
  SELECT lo_create(0);
  INSERT INTO same (v) SELECT 'v' || i FROM generate_series(1, 300) i;
  INSERT INTO "Odd name" VALUES (1, 2, 'x');
  INSERT INTO differs (id, userName, gone, small, wide, made) SELECT i, 'u' || i, 'g', i, 'w', i
    FROM generate_series(1, 50) i;
  INSERT INTO by_unique SELECT i, 'v' FROM generate_series(1, 20) i;
  INSERT INTO another_key SELECT i, 'v' || i FROM generate_series(1, 20) i;
  INSERT INTO parted SELECT i, 'p' FROM generate_series(1, 20) i;
  INSERT INTO text_to_number VALUES (1, '42');
  INSERT INTO needs_value VALUES (1), (2);
  ANALYZE)";

constexpr const char* kTarget = R"(
  CREATE SCHEMA app;
  CREATE TABLE same (id int PRIMARY KEY, v text);
  CREATE TABLE "Odd name" (id int PRIMARY KEY, "only" int, "a ""b""" text);
  CREATE TABLE differs (id int PRIMARY KEY, user_name text, small int8, wide varchar(60), twice int, extra text,
                        stamp timestamptz DEFAULT now(), made int GENERATED ALWAYS AS (small * 3) STORED);
  CREATE TABLE text_to_number (id int PRIMARY KEY, age int);
  CREATE TABLE needs_value (id int PRIMARY KEY, origin text NOT NULL);
  CREATE TABLE by_unique (a int NOT NULL UNIQUE, v text);
  CREATE TABLE another_key (uid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id int NOT NULL UNIQUE, v text);
  CREATE TABLE no_identity (a int NOT NULL UNIQUE, v text);
  CREATE TABLE no_key (v text);
  CREATE TABLE unlogged (id int PRIMARY KEY);
  CREATE TABLE parted (id int PRIMARY KEY, v text);
  CREATE TABLE app.accounts (id int PRIMARY KEY, v text);
  CREATE TABLE plants (id int PRIMARY KEY);
  CREATE TABLE brand_new_thing (id int PRIMARY KEY))";

}  // namespace

TEST_CASE("the file that init writes passes preflight and moves the rows as it is written") {
  Sql source = one_server().create_database("every");
  Sql target = other_server().create_database("every");
  source.exec(kSource);
  target.exec(kTarget);
  const Place walign;
  const auto said = walign.init(one_server().url("every"), other_server().url("every"));
  INFO(said.err);
  REQUIRE(said.code == 0);
  CHECK(has(said.out, "6 tables mapped, 5 to be decided, 2 on the source only"));
  const auto text = walign.text();
  CHECK(text.starts_with("# yaml-language-server: $schema="));

  check_moves(walign);
  CHECK(same_rows(source, "SELECT * FROM same", target, "SELECT * FROM same"));
  CHECK(same_rows(source, "SELECT * FROM \"Odd name\"", target, "SELECT * FROM \"Odd name\""));
  CHECK(same_rows(source, "SELECT id, userName, small::int8, wide, twice, NULL::text, small * 3 FROM differs",
                  target, "SELECT id, user_name, small, wide, twice, extra, made FROM differs"));
  CHECK(same_rows(source, "SELECT * FROM by_unique", target, "SELECT * FROM by_unique"));
  CHECK(same_rows(source, "SELECT id, v FROM another_key", target, "SELECT id, v FROM another_key"));
  CHECK(same_rows(source, "SELECT * FROM parted", target, "SELECT * FROM parted"));
  CHECK(target.scalar<int>("SELECT count(*)::int FROM text_to_number") == 0);

  // What differs, and what was done about it.
  CHECK(has(text, "user_name: username"));
  CHECK(has(text, "gone: false"));
  CHECK(has(text, "made: false"));
  CHECK(has(text, "twice: { sql: "));
  CHECK(has(text, "small is integer on the source and bigint on the target"));
  CHECK(has(text, "target only: extra (text) gets NULL"));
  CHECK(has(text, "target only: stamp (timestamp with time zone) gets its default"));
  CHECK(has(text, "id has a default on the source and none on the target"));
  CHECK(has(text, "key: [a]"));
  CHECK(has(text, "the target has no primary key: rows are found by unique index by_unique_a_key"));
  CHECK(has(text, "key: [id]"));
  CHECK(has(text, "the source does not make the target's primary key"));

  // What cannot be moved as it stands, and why.
  CHECK(has(text, "column age, text, cannot be assigned to age, integer, without an expression"));
  CHECK(has(text, "target column origin (text) is NOT NULL and has no default"));
  CHECK(has(text, "which row they mean: it has no replica identity"));
  CHECK(
      has(text, "ALTER TABLE \"public\".\"no_identity\" REPLICA IDENTITY USING INDEX \"no_identity_a_key\""));
  CHECK(has(text, "the target has no primary key"));
  CHECK(has(text, "is unlogged"));
  CHECK(has(text, "perhaps app.accounts: the same name in another schema"));
  CHECK(has(text, "perhaps public.plants: the same name in singular and plural"));
  CHECK(has(text, "public.brand_new_thing"));
  CHECK(has(text, "view public.seen"));
  CHECK(has(text, "materialized view public.kept"));
  CHECK(has(text, "sequence public.loose: serves no column"));
  CHECK_FALSE(has(text, "sequence public.same_id_seq"));
  CHECK(has(text, "1 large objects"));
}

TEST_CASE(
    "a rule that was to be decided, and a suggestion, work once the '#' before their lines is taken away") {
  Sql source = one_server().create_database("decided");
  Sql target = other_server().create_database("decided");
  source.exec(kSource);
  target.exec(kTarget);
  const Place walign;
  REQUIRE(walign.init(one_server().url("decided"), other_server().url("decided")).code == 0);
  auto text = walign.text();
  text = taken(text, "  #- from: public.text_to_number");
  text = taken(text, "  #- from: public.needs_value");
  text = taken(text, "  #- public.accounts: app.accounts");
  walign.write(text);
  check_moves(walign);
  CHECK(target.scalar<int>("SELECT age FROM text_to_number") == 42);
  CHECK(target.scalar<int>("SELECT count(*)::int FROM needs_value WHERE origin = ''") == 2);
}

TEST_CASE("within one database init pairs tables of a like name") {
  Sql app = one_server().create_database("dual");
  app.exec(R"(
    CREATE TABLE users (id int PRIMARY KEY, name text); CREATE TABLE users_async (id int PRIMARY KEY, name text);
    CREATE TABLE plants (id int PRIMARY KEY); CREATE TABLE plants_async (id int PRIMARY KEY);
    CREATE TABLE plants_old (id int PRIMARY KEY); CREATE TABLE alone (id int PRIMARY KEY);
    INSERT INTO users SELECT i, 'u' FROM generate_series(1, 100) i; INSERT INTO plants VALUES (1))");
  const Place walign;
  const auto said =
      walign.init(one_server().url("dual"), one_server().url("dual"), {"--migration", "users-async"});
  INFO(said.err);
  REQUIRE(said.code == 0);
  CHECK(has(walign.text(), "  - public.users: public.users_async\n"));
  CHECK(has(walign.text(), "  - public.plants: public.plants_async\n"));
  CHECK(has(walign.text(), "migration: users-async\n"));
  check_moves(walign);
  CHECK(same_rows(app, "SELECT * FROM users", app, "SELECT * FROM users_async"));
  CHECK(same_rows(app, "SELECT * FROM plants", app, "SELECT * FROM plants_async"));
}

TEST_CASE("init replaces no file unless told to, and writes none where no table can be moved") {
  Sql source = one_server().create_database("refused");
  Sql target = other_server().create_database("refused");
  source.exec("CREATE TABLE a_table (v text); CREATE TABLE words (id int PRIMARY KEY)");
  target.exec("CREATE TABLE a_table (v text)");
  const Place walign;
  const auto nothing = walign.init(one_server().url("refused"), other_server().url("refused"));
  CHECK(nothing.code == 3);
  CHECK(has(nothing.err, "public.a_table"));
  CHECK(has(nothing.err, "the target has no primary key"));
  CHECK(walign.text().empty());

  target.exec("CREATE TABLE words (id int PRIMARY KEY)");
  walign.write("mine");
  const auto kept = walign.init(one_server().url("refused"), other_server().url("refused"));
  CHECK(kept.code == 2);
  CHECK(has(kept.err, "--force"));
  CHECK(walign.text() == "mine");
  CHECK(walign.init(one_server().url("refused"), other_server().url("refused"), {"--force"}).code == 0);
  check_moves(walign);
}

TEST_CASE("init writes no password, and leaves variables what they are") {
  Sql source = one_server().create_database("secret");
  Sql target = other_server().create_database("secret");
  source.exec("CREATE TABLE words (id int PRIMARY KEY)");
  target.exec("CREATE TABLE words (id int PRIMARY KEY)");
  const Place walign;
  const std::string host = "@127.0.0.1:" + std::to_string(one_server().port()) + "/secret";
  const auto refused = walign.init("postgresql://postgres:hunter2" + host, other_server().url("secret"));
  CHECK(refused.code == 2);
  CHECK(has(refused.err, "--source has a password in it"));
  CHECK_FALSE(has(refused.err, "hunter2"));
  const auto said = walign({"init", "--source", "postgresql://postgres:${OLD_PASSWORD}" + host, "--target",
                            other_server().url("secret")},
                           {.env = {{"OLD_PASSWORD", "hunter2"}}});
  INFO(said.err);
  CHECK(said.code == 0);
  CHECK(has(walign.text(), "postgres:${OLD_PASSWORD}@"));
  CHECK_FALSE(has(walign.text(), "hunter2"));
}

TEST_CASE("the role that docs/roles.sql makes is enough for everything that init and preflight ask for") {
  const auto roles = std::filesystem::path(WALIGN_TEST_DATA) / "../../docs/roles.sql";
  for (Server* server : {&one_server(), &other_server()}) {
    Sql database = server->create_database("least");
    database.exec(
        "CREATE ROLE app_owner; GRANT CREATE ON SCHEMA public TO app_owner; SET ROLE app_owner;"
        "CREATE TABLE users (id serial PRIMARY KEY, name text);"
        "CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users)");
    for (int twice = 0; twice < 2; ++twice) {
      const auto made = run({Server::program("psql"), "-X", "-d", server->conninfo("least"), "-v",
                             "owner=app_owner", "-v", "role=least", "-f", roles.string()});
      INFO(made.err);
      REQUIRE(made.code == 0);
    }
  }
  Sql source = one_server().connect("least");
  source.exec("INSERT INTO users (name) VALUES ('a'); INSERT INTO orders VALUES (1, 1)");
  const Place walign;
  const auto said = walign.init(one_server().conninfo("least") + " user=least",
                                other_server().conninfo("least") + " user=least");
  INFO(said.err);
  REQUIRE(said.code == 0);
  const auto preflight = walign({"preflight"});
  INFO(preflight.out);
  CHECK(preflight.code == 0);
  CHECK_FALSE(has(preflight.out, "GRANT"));
  check_moves(walign);
  Sql target = other_server().connect("least");
  CHECK(same_rows(source, "SELECT * FROM orders", target, "SELECT * FROM orders"));
}
