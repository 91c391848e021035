// Values of every type arrive as they were, whichever format COPY has.
#include "support/copying.hpp"

using namespace walign;
using namespace walign::test;

namespace {

struct Typed {
  std::string type;
  std::vector<std::string> values;  // as text; NULL is always there too
};

// Those that COPY may bring in binary format.
const std::vector<Typed> kBinary = {
    {"bool", {"t", "f"}},
    {"int2", {"-32768", "32767", "0"}},
    {"int4", {"-2147483648", "2147483647"}},
    {"int8", {"-9223372036854775808", "9223372036854775807"}},
    {"oid", {"0", "4294967295"}},
    {"float4", {"NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "0.1"}},
    {"float8",
     {"NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "0.30000000000000004"}},
    {"numeric",
     {"NaN", "Infinity", "-Infinity", "0", "0.000", "1.500", "-1e-16383", "1e1000", "10000", "9999.9999"}},
    {"numeric(12,2)", {"NaN", "9999999999.99", "-0.01", "0.00"}},
    {"numeric(3,5)", {"0.00999", "-0.00001"}},
    {"text", {"", "a", "tab\there", "back\\slash", "\\N", "line\nfeed", "\r", "\xc3\xa9", "\\."}},
    {"varchar", {"", "  spaces  "}},
    {"varchar(7)", {"", "seven 7"}},
    {"char(5)", {"", "ab", "  x"}},
    {"name", {"", "a name"}},
    {"bytea", {"\\x", "\\x00", "\\xffff", "\\x5047434f50590aff0d0a00"}},
    {"uuid", {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
    {"date", {"infinity", "-infinity", "4713-11-24 BC", "0001-01-01 BC", "5874897-12-31"}},
    {"time", {"00:00:00", "24:00:00", "23:59:59.999999"}},
    {"time(0)", {"12:34:56"}},
    {"timetz", {"00:00:00+15:59", "24:00:00-15:59"}},
    {"timestamp", {"infinity", "-infinity", "4713-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999"}},
    {"timestamptz",
     {"infinity", "-infinity", "4713-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"}},
    {"timestamp(3)", {"2000-01-01 00:00:00.123"}},
    {"interval", {"0", "-178000000 years", "1 mon -1 day 00:00:00.000001", "178000000 years"}},
    {"json", {"null", "{ \"b\" : 1,  \"a\": [1.0, \"\\u00e9\"], \"b\": 2 }"}},
    {"jsonb", {"null", "{\"a\": 1.000, \"b\": [true, \"\"]}", "1e300", "\"\""}},
    {"bit(3)", {"101", "000"}},
    {"varbit", {"", "1", "010101010101"}},
    {"inet", {"10.0.0.1/8", "::1", "255.255.255.255"}},
    {"cidr", {"10.0.0.0/8", "2001:db8::/32"}},
    {"macaddr", {"08:00:2b:01:02:03"}},
    {"macaddr8", {"08:00:2b:01:02:03:04:05"}},
    {"pg_lsn", {"0/0", "FFFFFFFF/FFFFFFFF"}},
    {"point", {"(NaN,Infinity)", "(0.1,-0)"}},
    {"lseg", {"[(0,0),(1,1)]"}},
    {"box", {"(1,1),(0,0)"}},
    {"path", {"[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"}},
    {"line", {"{1,-1,0.5}"}},
    {"polygon", {"((0,0),(1,1),(2,0))"}},
    {"circle", {"<(1,2),0.1>"}},
    {"tsvector", {"", "'a':1A,2B 'z':3"}},
    {"int4range", {"empty", "(,)", "[1,5)", "[,-3)"}},
    {"int8range", {"[9223372036854775806,9223372036854775807)"}},
    {"numrange", {"(0.10,1.200]", "empty"}},
    {"daterange", {"[-infinity,infinity)", "[2024-01-01,)"}},
    {"tsrange", {"[\"2024-01-01 00:00:00\",infinity]"}},
    {"tstzrange", {"(,\"2024-01-01 00:00:00+00\")"}},
    {"int4[]", {"{}", "{NULL,1}", "{{1,2},{3,NULL}}", "[-1:1]={1,2,3}"}},
    {"text[]", {"{}", "{\"\",NULL,\"NULL\",\"a,b\",\"\\\\\"}"}},
    {"numeric(5,1)[]", {"{1.5,NaN,0.0}"}},
    {"timestamptz[]", {"{infinity,NULL}"}},
    {"uuid[]", {"{00000000-0000-0000-0000-000000000001}"}},
    {"jsonb[]", {"{\"{\\\"a\\\": 1}\",NULL}"}},
    {"positive", {"1", "2147483647"}},
};

// And those that only text says rightly on another server.
const std::vector<Typed> kText = {
    // The empty one cannot be read back in binary format.
    {"tsquery", {"", "'a' & !('b' | 'c':*A)"}},
    {"money", {"-$92,233,720,368,547,758.08", "$0.01"}},
    {"xml", {"<a b=\"c\">\xc3\xa9</a>", "text"}},
    {"regclass", {"local", "pg_catalog.pg_class"}},
    {"regtype", {"mood", "integer"}},
    {"mood", {"ok", "sad"}},
    {"mood[]", {"{ok,NULL}"}},
    {"pair", {"(1,)", "(,\"a b\")"}},
    {"\"char\"", {"", "x"}},
    {"jsonpath", {"$.\"a\"[*]?(@ > 1)"}},
    {"int4multirange", {"{}", "{[1,3),[5,6)}"}},
    {"xid8", {"18446744073709551615"}},
};

std::string quoted(const std::string& text) {
  std::string out = "E'";
  for (const char c : text) out += c == '\'' || c == '\\' ? std::string(2, c) : std::string(1, c);
  return out + "'";
}

// A column for each type; in each row, every column has the next of its values, and NULL now and then.
void make(Migration& m, const std::string& table, const std::vector<Typed>& types, int rows) {
  std::string columns, values;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const auto& [type, texts] = types[i];
    columns += ", c" + std::to_string(i) + " " + type;
    values += ", (ARRAY[NULL";
    for (const auto& text : texts) values += ", " + quoted(text);
    values += "])[i % " + std::to_string(texts.size() + 1) + " + 1]::" + type;
  }
  m.both("CREATE TABLE " + table + " (id int PRIMARY KEY" + columns + ")");
  m.source.exec("INSERT INTO " + table + " SELECT i" + values + " FROM generate_series(1, " +
                std::to_string(rows) + ") i; ANALYZE " + table);
}

struct Logged {
  explicit Logged(const std::vector<std::string>& initdb = {})
      : server({.name = "source", .settings = {"log_statement = all"}, .initdb = initdb}) {
    m.source = server.create_database("app");
    m.source_url = server.url("app");
  }
  // In which format chunks of a table were read: "binary", "text", or both.
  std::string format(const std::string& table) {
    const std::string log = server.log();
    std::string found;
    const auto from = " FROM \"public\".\"" + table + "\" WHERE";
    for (std::size_t at = log.find(from); at != std::string::npos; at = log.find(from, at + 1)) {
      const auto line = log.substr(at, log.find('\n', at) - at);
      if (line.find(" TO STDOUT") == std::string::npos) continue;
      const std::string its = line.find("FORMAT binary") == std::string::npos ? "text" : "binary";
      if (found.find(its) == std::string::npos) found += its;
    }
    return found;
  }
  Server server;
  Migration m;
};

}  // namespace

TEST_CASE("every built-in type is copied exactly, in binary format where that is the same everywhere") {
  Logged logged;
  Migration& m = logged.m;
  // Tables and types have other numbers on the target.
  m.target.exec("CREATE TABLE something_else (); CREATE TYPE something AS (a int)");
  m.both(
      "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text); "
      "CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TABLE local ()");
  auto text = kBinary;
  text.insert(text.end(), kText.begin(), kText.end());
  make(m, "fast", kBinary, 200);
  make(m, "slow", text, 200);
  m.tables = "  - public.fast\n  - public.slow\n";
  m.more = "backfill: { chunk_rows: 30 }\n";
  Copying run(m);
  run.wait_until_copied();
  CHECK(m.equal("fast"));
  CHECK(m.equal("slow"));
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM fast") == 200);
  // Intervals have another meaning from version 17 on.
  const auto version = [](Sql& db) {
    return db.scalar<int>("SELECT current_setting('server_version_num')::int / 10000");
  };
  CHECK(logged.format("fast") == (version(m.source) == version(m.target) ? "binary" : "text"));
  CHECK(logged.format("slow") == "text");
  // The stream says the same of them.
  for (const std::string table : {"fast", "slow"}) m.source.exec("UPDATE " + table + " SET id = id + 1000");
  run.catch_up(m.source);
  CHECK(m.equal("fast"));
  CHECK(m.equal("slow"));
}

TEST_CASE("large values are copied exactly, compressed and not, in one row and in many") {
  Migration m;
  m.both("CREATE TABLE t (id int PRIMARY KEY, a text, b bytea); ALTER TABLE t ALTER b SET STORAGE EXTERNAL");
  m.source.exec(
      "INSERT INTO t SELECT i, (SELECT string_agg(md5((i * 1000 + g)::text), '') FROM generate_series(1, i * "
      "200) g), "
      "decode(repeat(md5(i::text), i * 300), 'hex') FROM generate_series(1, 60) i; "
      "INSERT INTO t SELECT 100, repeat('x', 30000000), decode(repeat('00ff', 10000000), 'hex'); ANALYZE t");
  m.tables = "  - public.t\n";
  m.more =
      "backfill: { chunk_rows: 10, chunk_bytes: 1MiB, workers: " + std::to_string(GENERATE(1, 2)) + " }\n";
  Copying run(m);
  run.wait_until_copied();
  CHECK(m.equal("t"));
}

TEST_CASE("columns of other types, domains and modifiers on the target are copied as they should be") {
  Logged logged;
  Migration& m = logged.m;
  m.source.exec(
      "CREATE TABLE wider (id int4 PRIMARY KEY, v text); CREATE TABLE same (id int4 PRIMARY KEY, v "
      "varchar(30), n "
      "numeric(10,4))");
  m.target.exec(
      "CREATE TABLE wider (id int8 PRIMARY KEY, v varchar); "
      "CREATE DOMAIN amount AS numeric(8,2) CHECK (VALUE >= 0); CREATE TABLE same (id int4 PRIMARY KEY, v "
      "varchar(3), n amount)");
  m.source.exec(
      "INSERT INTO wider SELECT i, 'v' || i FROM generate_series(1, 100) i; "
      "INSERT INTO same SELECT i, 'abc   ', i / 7.0 FROM generate_series(1, 100) i");
  m.tables = "  - public.wider\n  - public.same\n";
  m.more = "backfill: { chunk_rows: 30 }\n";
  Copying run(m);
  run.wait_until_copied();
  CHECK(m.equal("SELECT id::int8, v::varchar FROM wider", "SELECT * FROM wider"));
  CHECK(m.equal("SELECT id, 'abc'::varchar(3), n::numeric(8,2) FROM same",
                "SELECT id, v, n::numeric(8,2) FROM same"));
}
