// The order of keys, as the server has it in its tables: whatever type and collation a key has, walign must find the
// same bounds below it, and cut a table into the same ranges.
//
// Every case fills `keys` (unique values, which become bounds) and `probe` (values of the same kind, with repetitions
// and other spellings of equal ones) at random, and lets the server say with plain comparisons of its columns what
// walign has to find.
#include "backfill/key_order.hpp"

#include <map>
#include <random>

#include "support/catch.hpp"
#include "support/server.hpp"

using namespace walign;
using namespace walign::backfill;
using walign::test::Row;
using walign::test::Server;
using walign::test::Sql;

namespace {

enum class How { here, asked };

struct Part {
  std::string type;    // of the column, with COLLATE if need be
  std::string random;  // SQL for a random value
};
struct Case {
  std::string name;
  How how;
  std::vector<Part> parts;
};

Server& server() {
  static Server one({.name = "keys"});
  return one;
}

// Random texts of few letters, so that many are equal or nearly so.
constexpr const char* kSetup = R"(
  CREATE EXTENSION citext;
  CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  CREATE COLLATION public."my C" (provider = libc, locale = 'C');
  CREATE TYPE public.mood AS ENUM ('sad', 'Ok', 'happy', 'abc', 'zz', 'AA');
  CREATE DOMAIN public.whole AS int;
  CREATE DOMAIN public.word AS text COLLATE pg_catalog."de-x-icu";
  CREATE DOMAIN public.longer_word AS public.word CHECK (VALUE <> 'impossible');
  CREATE DOMAIN public.code AS public.citext;
  CREATE FUNCTION public.letters() RETURNS text VOLATILE LANGUAGE sql AS $$
    SELECT coalesce(string_agg((ARRAY['a', 'A', 'b', 'B', 'ä', 'é', 'z', 'Z', ' ', '-', '_', '''', '\', '中', '😀', '1'])
      [1 + floor(random() * 16)::int], ''), '') FROM generate_series(1, floor(random() * 4)::int) $$;
  CREATE FUNCTION public.one_of(VARIADIC texts text[]) RETURNS text VOLATILE LANGUAGE sql AS $$
    SELECT texts[1 + floor(random() * cardinality(texts))::int] $$;
  CREATE FUNCTION public.moment() RETURNS timestamp VOLATILE LANGUAGE sql AS $$
    SELECT CASE floor(random() * 8)::int
      WHEN 0 THEN public.one_of('infinity', '-infinity')::timestamp
      WHEN 1 THEN timestamp '0044-03-15 12:00:00 BC' + floor(random() * 4) * interval '0.25 s'
      WHEN 2 THEN timestamp '0001-12-31 23:00:00 BC' + floor(random() * 8) * interval '1 h'
      WHEN 3 THEN timestamp '0001-12-31 BC' - floor(random() * 4700) * interval '1 year'
      WHEN 4 THEN timestamp '9999-12-31' + floor(random() * 4) * interval '1 day'
      WHEN 5 THEN timestamp '2024-01-01' + floor(random() * 280000) * interval '1 year'
      WHEN 6 THEN timestamp '2024-03-02 01:02:03' + floor(random() * 20) * interval '0.05 s'
      ELSE timestamp '2024-03-02 01:02:03' + floor(random() * 2000000) * interval '1 microsecond' END $$;
)";

Sql& database() {
  static Sql db = [] {
    Sql made = server().create_database("app");
    made.exec(kSetup);
    return made;
  }();
  return db;
}

std::string libc_collation() {  // one that is neither C nor POSIX, if the machine has one
  const auto found = database().rows(R"(
    SELECT format('%I.%I', n.nspname, c.collname) FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE collprovider = 'c' AND collcollate NOT IN ('', 'C', 'POSIX')
      AND collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))
    ORDER BY collname DESC LIMIT 1)");
  return found.empty() ? "" : *found[0][0];
}

pg::Connection connect(const std::string& name) {
  pg::ConnectionOptions options;
  options.conninfo = server().conninfo(name);
  options.application_name = "walign keys";
  return pg::Connection(options);
}

constexpr const char* kLetters = "public.letters()";
constexpr const char* kNumeric = R"(CASE floor(random() * 4)::int
  WHEN 0 THEN public.one_of('NaN', 'Infinity', '-Infinity', '0', '0.00', '-0.5', '1', '1.0', '1.00', '-1', '-1.0')
           ::numeric
  WHEN 1 THEN round((random() * 6 - 3)::numeric, floor(random() * 4)::int)
  WHEN 2 THEN round((random() * 200 - 100)::numeric, floor(random() * 6)::int)
  ELSE (random() * 2 - 1)::numeric * power(10::numeric, floor(random() * 60 - 30)) END)";

std::vector<Case> cases() {
  const std::string small_or_large =
      "floor(CASE WHEN random() < 0.7 THEN random() * 60 - 30 ELSE (random() - 0.5) * ";
  const Part icu{"text COLLATE pg_catalog.\"de-x-icu\"", kLetters};
  const Part text_c{"text COLLATE pg_catalog.\"C\"", kLetters};
  const Part int4{"int4", small_or_large + "4294967290 END)::int4"};
  const Part mood{"public.mood", "public.one_of('sad', 'Ok', 'happy', 'abc', 'zz', 'AA')::public.mood"};
  const Part citext{"public.citext", kLetters};
  const Part numeric{"numeric", kNumeric};
  const Part timestamptz{"timestamptz", "public.moment() AT TIME ZONE 'UTC'"};
  const Part uuid{
      "uuid",
      "(CASE WHEN random() < 0.5 THEN md5(random()::text) ELSE lpad(to_hex(floor(random() * 300)::int), "
      "32, '0') END)::uuid"};
  const Part bytea{"bytea", "decode(substr(md5(random()::text), 1, 2 * floor(random() * 3)::int), 'hex')"};
  std::vector<Case> all = {
      {"int2", How::here, {{"int2", small_or_large + "65530 END)::int2"}}},
      {"int4", How::here, {int4}},
      {"int8", How::here, {{"int8", small_or_large + "18000000000000000000 END)::int8"}}},
      {"oid", How::here, {{"oid", "floor(random() * 4294967295)::int8::oid"}}},
      {"uuid", How::here, {uuid}},
      {"bool", How::here, {{"bool", "random() < 0.5"}}},
      {"bytea", How::here, {bytea}},
      {"numeric", How::here, {numeric}},
      {"numeric(12,3)", How::here, {{"numeric(12,3)", "round((random() * 20 - 10)::numeric, 1)"}}},
      {"date", How::here, {{"date", "public.moment()::date"}}},
      {"date far away",
       How::here,
       {{"date", "date '2024-01-01' + floor(random() * 2000000000)::int - 700000"}}},
      {"timestamp", How::here, {{"timestamp", "public.moment()"}}},
      {"timestamptz", How::here, {timestamptz}},
      {"time", How::here, {{"time", "coalesce(public.moment()::time, time '24:00')"}}},
      {"text of the database's default, C", How::here, {{"text", kLetters}}},
      {"text C", How::here, {text_c}},
      {"text POSIX", How::here, {{"text COLLATE pg_catalog.\"POSIX\"", kLetters}}},
      {"text of a collation that is C by another name",
       How::here,
       {{"text COLLATE public.\"my C\"", kLetters}}},
      {"varchar C", How::here, {{"varchar(20) COLLATE pg_catalog.\"C\"", kLetters}}},
      {"name", How::here, {{"name", kLetters}}},
      {"domain over int", How::here, {{"public.whole", int4.random}}},
      {"text ICU", How::asked, {icu}},
      {"text ICU, case-insensitive", How::asked, {{"text COLLATE public.ci", kLetters}}},
      {"varchar ICU", How::asked, {{"varchar COLLATE pg_catalog.\"en-x-icu\"", kLetters}}},
      {"name under another collation", How::asked, {{"name COLLATE pg_catalog.\"de-x-icu\"", kLetters}}},
      {"char(n)", How::asked, {{"char(5)", kLetters}}},
      {"char(n) ICU", How::asked, {{"char(5) COLLATE pg_catalog.\"de-x-icu\"", kLetters}}},
      {"\"char\"", How::asked, {{"\"char\"", "public.one_of('a', 'B', ' ', '', '~', 'z')::\"char\""}}},
      {"citext", How::asked, {citext}},
      {"enum", How::asked, {mood}},
      {"domain with a collation", How::asked, {{"public.word", kLetters}}},
      {"domain over a domain", How::asked, {{"public.longer_word", kLetters}}},
      {"domain over citext", How::asked, {{"public.code", kLetters}}},
      {"domain with its collation replaced", How::asked, {{"public.word COLLATE public.ci", kLetters}}},
      {"inet",
       How::asked,
       {{"inet",
         "public.one_of('10.0.0.0/8', '10.0.0.1', '9.255.0.0/16', '10.0.0.1/24', '::1', 'fe80::/10', "
         "'192.168.1.200', '192.168.1.30')::inet"}}},
      {"float8",
       How::asked,
       {{"float8",
         "CASE WHEN random() < 0.2 THEN public.one_of('NaN', 'Infinity', '-Infinity', '-0', '0', "
         "'1e-300', '0.1')::float8 ELSE (random() - 0.5) * power(10, floor(random() * 30 - 15)) END"}}},
      {"float4",
       How::asked,
       {{"float4", "((random() - 0.5) * power(10, floor(random() * 20 - 10)))::float4"}}},
      {"timetz",
       How::asked,
       {{"timetz",
         "(floor(random() * 24)::text || ':30' || public.one_of('+00', '-08', '+05:30', '+14'))::timetz"}}},
      {"interval",
       How::asked,
       {{"interval",
         "floor(random() * 3) * interval '1 month' + floor(random() * 90 - 45) * interval '1 day'"}}},
      {"money", How::asked, {{"money", "(floor(random() * 100000) / 100 - 500)::numeric::money"}}},
      {"bit varying",
       How::asked,
       {{"varbit",
         "substring((floor(random() * 65536)::int)::bit(16), 1, "
         "1 + floor(random() * 9)::int)::varbit"}}},
      {"array of int",
       How::asked,
       {{"int4[]",
         "ARRAY(SELECT floor(random() * 12)::int FROM generate_series(1, "
         "floor(random() * 3)::int))"}}},
      {"array of text ICU",
       How::asked,
       {{"text[] COLLATE pg_catalog.\"de-x-icu\"", "ARRAY[public.letters(), public.letters()]"}}},
      {"range",
       How::asked,
       {{"int4range", "int4range(floor(random() * 9)::int, 9 + floor(random() * 9)::int)"}}},
      {"jsonb", How::asked, {{"jsonb", "to_jsonb(public.letters())"}}},
      {"int and int", How::here, {int4, {"int2", "floor(random() * 4)::int2"}}},
      {"text C, numeric and timestamptz",
       How::here,
       {{"text", "public.one_of('a', 'A', '', 'ab')"}, numeric, timestamptz}},
      {"uuid and bytea", How::here, {{"uuid", "lpad(floor(random() * 3)::text, 32, '0')::uuid"}, bytea}},
      {"int and text ICU", How::asked, {{"int4", "floor(random() * 4)::int4"}, icu}},
      {"text ICU and int", How::asked, {icu, {"int4", "floor(random() * 12)::int4"}}},
      {"case-insensitive text and text C", How::asked, {{"text COLLATE public.ci", kLetters}, text_c}},
      {"citext and citext", How::asked, {citext, {"public.code", kLetters}}},
      {"int and citext", How::asked, {{"int4", "floor(random() * 6)::int4"}, citext}},
      {"citext, enum and bool", How::asked, {citext, mood, {"bool", "random() < 0.5"}}},
      {"domain, char(n) and date",
       How::asked,
       {{"public.whole", "floor(random() * 3)"}, {"char(3)", kLetters}, {"date", "public.moment()::date"}}},
  };
  if (const std::string libc = libc_collation(); !libc.empty()) {
    all.push_back({"text of the C library's " + libc, How::asked, {{"text COLLATE " + libc, kLetters}}});
  }
  return all;
}

// c1, c2
std::string names_of(const Case& c, const std::string& prefix = "") {
  std::string out;
  for (std::size_t i = 1; i <= c.parts.size(); ++i) out += (i > 1 ? ", " : "") + cat(prefix, "c", i);
  return out;
}
std::string row_of(const Case& c, const std::string& prefix) { return cat("ROW(", names_of(c, prefix), ")"); }

void make_tables(Sql& db, const Case& c) {
  std::string columns;
  for (std::size_t i = 1; i <= c.parts.size(); ++i)
    columns += cat(", c", i, " ", c.parts[i - 1].type, " NOT NULL");
  db.exec(cat("DROP TABLE IF EXISTS public.keys, public.probe; CREATE TABLE public.keys (n serial", columns,
              ", PRIMARY KEY (", names_of(c), ")); CREATE TABLE public.probe (n serial", columns, ")"));
}

// Values may use g, the row's number.
void fill(Sql& db, const Case& c, const std::string& table, int rows) {
  std::string values;
  for (const Part& part : c.parts) values += (values.empty() ? "" : ", ") + part.random;
  db.exec(cat("INSERT INTO public.", table, " (", names_of(c), ") SELECT ", values,
              " FROM generate_series(1, ", rows, ") g ON CONFLICT DO NOTHING"));
}

void make_and_fill(Sql& db, const Case& c) {
  make_tables(db, c);
  db.exec("SELECT setseed(0.25)");
  fill(db, c, "keys", 150);
  fill(db, c, "probe", 150);
  // What is equal, spelled as the other one is.
  db.exec(
      cat("INSERT INTO public.probe (", names_of(c), ") SELECT ", names_of(c), " FROM public.keys LIMIT 60"));
}

std::vector<Key> keys_of(pg::Connection& connection, const Case& c, const std::string& table,
                         const std::string& order) {
  const pg::Result result =
      connection.exec(cat("SELECT ", names_of(c), " FROM public.", table, " ORDER BY ", order));
  std::vector<Key> keys;
  for (int i = 0; i < result.rows(); ++i) {
    keys.emplace_back();
    for (int j = 0; j < result.columns(); ++j) keys.back().push_back(result.str(i, j));
  }
  return keys;
}

std::vector<KeyColumn> columns_of(pg::Connection& connection, const Case& c) {
  std::vector<std::string> names;
  for (std::size_t i = 1; i <= c.parts.size(); ++i) names.push_back(cat("c", i));
  return read_key_columns(connection, pg::read_tables(connection).at({"public", "keys"}), names);
}

template <class T>
std::vector<const T*> pointers(const std::vector<T>& items) {
  std::vector<const T*> out;
  for (const T& item : items) out.push_back(&item);
  return out;
}

// Per row of `probe`: how many rows of `keys` are at or below it, and how many below.
struct Counts {
  std::size_t at_or_below = 0, below = 0;
};
std::vector<Counts> counts_of(Sql& db, const Case& c) {
  const std::string p = row_of(c, "p."), k = row_of(c, "k.");
  std::vector<Counts> counts;
  for (const Row& row : db.rows(cat("SELECT (SELECT count(*) FROM public.keys k WHERE ", k, " <= ", p,
                                    "), (SELECT count(*) FROM public.keys k WHERE ", k, " < ", p,
                                    ") FROM public.probe p ORDER BY p.n"))) {
    counts.push_back({std::stoul(*row[0]), std::stoul(*row[1])});
  }
  return counts;
}

void check_locate(KeyOrder& order, const std::vector<Key>& keys, const std::vector<Key>& probes,
                  const std::vector<Counts>& expected) {
  std::vector<Bound> before, after;
  for (const Key& key : keys) {
    before.push_back({key, false});
    after.push_back({key, true});
  }
  auto mixed = pointers(before);
  for (const Bound& bound : after) mixed.push_back(&bound);
  std::shuffle(mixed.begin(), mixed.end(), std::mt19937(7));  // NOLINT(cert-msc51-cpp): the same every time
  const auto below_before = order.locate(pointers(probes), pointers(before));
  const auto below_after = order.locate(pointers(probes), pointers(after));
  const auto below_mixed = order.locate(pointers(probes), mixed);
  REQUIRE(below_before.size() == expected.size());
  REQUIRE(below_after.size() == expected.size());
  REQUIRE(below_mixed.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO("probe " << join(probes[i], " | "));
    CHECK(below_before[i] == expected[i].at_or_below);
    CHECK(below_after[i] == expected[i].below);
    CHECK(below_mixed[i] == expected[i].at_or_below + expected[i].below);
  }
}

// Every few keys a bound; in which range is each row of `probe`?
void check_ranges(pg::Connection& connection, KeyOrder& order, const std::vector<KeyColumn>& columns,
                  const std::vector<Key>& keys, const std::vector<Key>& probes) {
  std::vector<Bound> bounds;
  for (std::size_t i = 0; i < keys.size(); i += std::max<std::size_t>(1, keys.size() / 9)) {
    bounds.push_back({keys[i], i % 2 == 1});
    if (i % 3 == 0) bounds.push_back({keys[i], true});
    if (bounds.size() > 1 && bounds.back() == bounds[bounds.size() - 2]) bounds.pop_back();
  }
  std::map<std::string, std::vector<std::size_t>> ranges_of_row;
  for (std::size_t i = 0; i <= bounds.size(); ++i) {
    const Range range{i == 0 ? Bound{} : bounds[i - 1], i == bounds.size() ? Bound{} : bounds[i]};
    const pg::Result rows =
        connection.exec(cat("SELECT n FROM public.probe WHERE ", range_condition(columns, range)));
    for (int row = 0; row < rows.rows(); ++row) ranges_of_row[rows.str(row, 0)].push_back(i);
  }
  const auto located = order.locate(pointers(probes), pointers(bounds));
  const pg::Result numbers = connection.exec("SELECT n FROM public.probe ORDER BY n");
  REQUIRE(static_cast<std::size_t>(numbers.rows()) == located.size());
  for (std::size_t i = 0; i < located.size(); ++i) {
    INFO("probe " << join(probes[i], " | "));
    CHECK(ranges_of_row[numbers.str(static_cast<int>(i), 0)] == std::vector<std::size_t>{located[i]});
  }
}

void check_case(Sql& db, pg::Connection& connection, const Case& c) {
  INFO(c.name);
  make_and_fill(db, c);
  std::vector<KeyColumn> columns = columns_of(connection, c);
  const bool asks = std::any_of(columns.begin(), columns.end(),
                                [](const KeyColumn& k) { return k.comparison == Comparison::ask; });
  CHECK(asks == (c.how == How::asked));

  const std::vector<Key> keys = keys_of(connection, c, "keys", names_of(c));
  CHECK(keys_of(connection, c, "keys", order_by(columns)) == keys);
  const std::vector<Key> probes = keys_of(connection, c, "probe", "n");
  const std::vector<Counts> counts = counts_of(db, c);
  const auto order = make_key_order(columns, connection);
  check_locate(*order, keys, probes, counts);
  check_ranges(connection, *order, columns, keys, probes);

  for (KeyColumn& column : columns) column.comparison = Comparison::ask;
  if (!asks) check_locate(*make_key_order(columns, connection), keys, probes, counts);
}

std::string plan_of(Sql& db, const std::string& sql) {
  std::string plan;
  for (const Row& row : db.rows("EXPLAIN (COSTS off) " + sql)) plan += *row[0] + "\n";
  return plan;
}

}  // namespace

TEST_CASE("keys of every type are found between bounds where the server would have them") {
  Sql& db = database();
  pg::Connection connection = connect("app");
  for (const Case& c : cases()) check_case(db, connection, c);
}

TEST_CASE("a text under C is asked for where the server's bytes are not those that arrive here") {
  Sql latin = server().create_database("latin", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
  latin.exec("SET client_encoding = 'UTF8'");
  pg::Connection connection = connect("latin");
  const std::string some = "(ARRAY['a', 'é', 'ÿ', 'z', 'Z', 'aé', 'äa', ''])[1 + floor(random() * 8)::int]";
  check_case(latin, connection, {"text", How::asked, {{"text", some}}});
  check_case(latin, connection, {"name", How::asked, {{"name", some}}});
  check_case(latin, connection, {"int4", How::here, {{"int4", "floor(random() * 99)::int"}}});
}

TEST_CASE("text of a database whose default is ICU is asked for") {
  Sql db = server().create_database(
      "icu", "LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C' ENCODING 'UTF8' TEMPLATE template0");
  pg::Connection connection = connect("icu");
  const std::string some =
      "(ARRAY['a', 'ä', 'B', 'b', 'z', 'Z', 'az', 'Äa', ''])[1 + floor(random() * 9)::int]";
  check_case(db, connection, {"text", How::asked, {{"text", some}}});
  check_case(db, connection, {"text C", How::here, {{"text COLLATE pg_catalog.\"C\"", some}}});
}

TEST_CASE("a row that its domain's check would not take is located and read all the same") {
  Sql& db = database();
  db.exec(
      "DROP TABLE IF EXISTS public.keys; CREATE DOMAIN public.shy AS text COLLATE public.ci; "
      "CREATE TABLE public.keys (c1 public.shy PRIMARY KEY); INSERT INTO public.keys VALUES ('bad'), "
      "('good'), ('x'); "
      "ALTER DOMAIN public.shy ADD CHECK (VALUE <> 'bad') NOT VALID");
  pg::Connection connection = connect("app");
  const auto columns = columns_of(connection, {"", How::asked, {{}}});
  const auto order = make_key_order(columns, connection);
  const Key bad = {"BAD"}, good = {"Good"};
  const Bound before_bad{bad, false}, after_bad{bad, true};
  CHECK(order->locate({&bad, &good}, {&before_bad, &after_bad}) == std::vector<std::size_t>{1, 2});
  const auto in = [&](const Range& range) {
    return connection.exec("SELECT c1 FROM public.keys WHERE " + range_condition(columns, range)).str(0, 0);
  };
  CHECK(in({before_bad, after_bad}) == "bad");
  CHECK(in({after_bad, {}}) == "good");
}

TEST_CASE("ranges and their order use the primary key's index") {
  Sql& db = database();
  db.exec("DROP TABLE IF EXISTS public.keys");
  const std::vector<Part> icu = {{"text COLLATE pg_catalog.\"de-x-icu\"", "md5(g::text)"}};
  const std::vector<Case> indexed = {
      {"int4", How::here, {{"int4", "g"}}},
      {"two columns", How::here, {{"int4", "g % 100"}, {"int8", "g"}}},
      {"text ICU", How::asked, icu},
      {"text of the database's default", How::here, {{"text", "md5(g::text)"}}},
      {"case-insensitive", How::asked, {{"text COLLATE public.ci", "md5(g::text)"}}},
      {"ICU and numeric", How::asked, {icu[0], {"numeric", "g"}}},
      {"citext", How::asked, {{"public.citext", "md5(g::text)"}}},
      {"domain over citext", How::asked, {{"public.code", "md5(g::text)"}}},
      {"two citext", How::asked, {{"public.citext", "md5(g::text)"}, {"public.citext", "g"}}},
      {"name under another collation",
       How::asked,
       {{"name COLLATE pg_catalog.\"de-x-icu\"", "md5(g::text)"}}},
      {"domain with a collation", How::asked, {{"public.word", "md5(g::text)"}}},
      {"char(n)", How::asked, {{"char(32)", "md5(g::text)"}}},
      {"array of text", How::asked, {{"text[]", "ARRAY[md5(g::text)]"}}},
  };
  for (const Case& c : indexed) {
    INFO(c.name);
    make_tables(db, c);
    fill(db, c, "keys", 30'000);
    db.exec("ANALYZE public.keys");
    pg::Connection connection = connect("app");
    const auto columns = columns_of(connection, c);
    const auto keys = keys_of(connection, c, "keys", names_of(c));
    const Range range{{keys.at(5000), true}, {keys.at(5100), true}};
    const std::string select = cat("SELECT * FROM public.keys WHERE ", range_condition(columns, range));
    CHECK(connection.exec(select).rows() == 100);

    const std::string plan = plan_of(db, select);
    INFO(plan);
    CHECK(plan.find("Index Cond") != std::string::npos);
    CHECK(plan.find("Filter") == std::string::npos);
    CHECK(plan.find("Seq Scan") == std::string::npos);
    // Where to cut: by the index's own order, without a sort.
    const std::string cut = plan_of(db, cat("SELECT ", names_of(c), " FROM public.keys WHERE ",
                                            range_condition(columns, {{keys.at(5000), true}, {}}),
                                            " ORDER BY ", order_by(columns), " OFFSET 100 LIMIT 1"));
    INFO(cut);
    CHECK(cut.find("Index Cond") != std::string::npos);
    CHECK(cut.find("Sort") == std::string::npos);
  }
}

TEST_CASE("a key column that is gone is said so") {
  Sql& db = database();
  db.exec("DROP TABLE IF EXISTS public.keys; CREATE TABLE public.keys (c1 int PRIMARY KEY, c2 int)");
  pg::Connection connection = connect("app");
  const pg::Table table = pg::read_tables(connection).at({"public", "keys"});
  db.exec("ALTER TABLE public.keys DROP COLUMN c2");
  try {
    read_key_columns(connection, table, {"c1", "c2"});
    FAIL("read");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::precondition);
    CHECK(error.message().find("\"c2\"") != std::string::npos);
    CHECK_FALSE(error.hint().empty());
  }
}
