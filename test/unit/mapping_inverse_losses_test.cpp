// What a mapping loses without a word, and literals that mean the moment in which they are read.
#include "mapping/losses.hpp"
#include "mapping_route_test.hpp"

using namespace route_test;
using mapping::Finding;

namespace {

pg::Column typed(const std::string& name, const std::string& type, const std::string& declared) {
  pg::Column c;
  c.name = name;
  c.type = c.base_type = {"pg_catalog", type};
  c.declared = declared;
  return c;
}

// What is said of a column v of these types; empty if nothing.
std::string lost(const pg::Column& source, const pg::Column& target) {
  pg::Table s, t;
  s.schema = t.schema = "public";
  s.name = t.name = "t";
  s.columns = {source};
  t.columns = {target};
  mapping::Route route;
  route.source_columns.push_back({});
  route.source_columns[0].name = "v";
  route.columns.push_back({});
  route.columns[0].name = "v";
  route.columns[0].inputs = {0};
  mapping::Findings findings;
  mapping::warn_of_losses(route, s, t, findings);
  if (findings.empty()) return "";
  CHECK(findings.size() == 1);
  CHECK(findings[0].level == Finding::Level::warn);
  CHECK(has(findings[0].remedy, "ALTER COLUMN \"v\" TYPE " + source.declared));
  return findings[0].what;
}

}  // namespace

TEST_CASE("assignments that lose something say what") {
  const auto numeric = typed("v", "numeric", "numeric");
  const auto two = typed("v", "numeric", "numeric(10,2)");
  const auto four = typed("v", "numeric", "numeric(10,4)");
  const auto integer = typed("v", "int4", "integer");
  const auto big = typed("v", "int8", "bigint");
  const auto real = typed("v", "float4", "real");
  const auto wide = typed("v", "float8", "double precision");
  const auto text = typed("v", "text", "text");
  const auto five = typed("v", "varchar", "character varying(5)");
  const auto ten = typed("v", "varchar", "character varying(10)");
  const auto fixed = typed("v", "bpchar", "character(5)");
  const auto stamp = typed("v", "timestamp", "timestamp without time zone");
  const auto seconds = typed("v", "timestamp", "timestamp(0) without time zone");
  const auto zoned = typed("v", "timestamptz", "timestamp with time zone");
  const auto date = typed("v", "date", "date");

  CHECK(lost(four, two) ==
        "column v, numeric(10,2), is given v, numeric(10,4): digits beyond the 2 behind the decimal point "
        "are rounded "
        "away, without an error");
  CHECK(has(lost(numeric, two), "beyond the 2"));
  CHECK(has(lost(numeric, typed("v", "numeric", "numeric(10)")), "beyond the 0"));
  CHECK(has(lost(wide, two), "beyond the 2"));
  CHECK(has(lost(wide, integer), "rounded away"));
  CHECK(has(lost(two, big), "rounded away"));
  CHECK(has(lost(wide, real), "beyond the sixth"));
  CHECK(has(lost(numeric, wide), "of a float"));
  CHECK(has(lost(big, wide), "beyond the fifteenth"));
  CHECK(has(lost(stamp, date), "time of day"));
  CHECK(has(lost(zoned, date), "time of day"));
  CHECK(has(lost(zoned, stamp), "UTC"));
  CHECK(has(lost(stamp, seconds), "beyond 0"));
  CHECK(has(lost(text, five), "blanks at the end that make it longer than 5"));
  CHECK(has(lost(ten, five), "longer than 5"));
  CHECK(has(lost(text, fixed), "no longer count"));
  CHECK(has(lost(fixed, text), "cut off"));

  for (const auto& same :
       {numeric, two, four, integer, big, real, wide, text, five, ten, fixed, stamp, seconds, zoned, date}) {
    INFO(same.declared);
    CHECK(lost(same, same).empty());
  }
  CHECK(lost(two, four).empty());
  CHECK(lost(two, numeric).empty());
  CHECK(lost(integer, big).empty());
  CHECK(lost(integer, wide).empty());
  CHECK(lost(integer, two).empty());
  CHECK(lost(five, ten).empty());
  CHECK(lost(five, text).empty());
  CHECK(lost(date, stamp).empty());
  CHECK(lost(seconds, stamp).empty());
}

TEST_CASE("now, today and their like are found where they are dates or times") {
  for (const std::string sql :
       {"'now'::timestamptz", "'today'::date", "v > 'yesterday' :: timestamp", "date 'tomorrow'",
        "CAST('now' AS timestamp with time zone)", "timestamp with time zone 'now'",
        "('today')::pg_catalog.date", "'NOW '::\"pg_catalog\".\"timestamptz\"", "'today 12:00'::timestamp",
        "'tomorrow zulu'::timestamptz", "x = 'it''s' AND y = 'now'::time", "E'\\'' || 'now'::timestamptz"}) {
    INFO(sql);
    const auto moment = mapping::find_moment(sql);
    REQUIRE(moment);
    CHECK(moment->certain);
  }
  for (const std::string sql : {"v = 'today'", "coalesce(v, 'now')", "(VALUES ('yesterday'))"}) {
    INFO(sql);
    const auto moment = mapping::find_moment(sql);
    REQUIRE(moment);
    CHECK_FALSE(moment->certain);
  }
  for (const std::string sql :
       {"v = 'today'::text", "now", "\"now\"::date", "'not now'::text", "'nowhere'::text",
        "'infinity'::timestamp", "'2024-01-01'::date", "v -- 'now'::date", "v /* 'now'::date */",
        "'a ''now''::date'", "", "'", "/*", "\"", "--", "CAST('today' AS text)", "'buy now'"}) {
    INFO(sql);
    CHECK_FALSE(mapping::find_moment(sql));
  }
}

TEST_CASE("a rule with such a literal is refused by name") {
  World w;
  w.both(table("public.t", {"id int4 key", "v text"}));
  w.answer = [](const std::string&) {
    mapping::ExpressionFacts facts;
    facts.columns = {"v"};
    return facts;
  };
  w.tables = R"(  - from: public.t
    where: "v > 'today'::date::text"
    columns: { v: { sql: "v || 'now'::timestamptz", reverse: "left(v, 1) || 'tomorrow'" } }
)";
  auto findings = w.all_findings();
  std::erase_if(findings, [](const Finding& f) { return !has(f.what, " has '"); });
  REQUIRE(findings.size() == 3);
  CHECK(findings[0].level == Finding::Level::fail);
  CHECK(has(findings[0].what, "where has 'today'"));
  CHECK(findings[1].level == Finding::Level::fail);
  CHECK(has(findings[1].what, "column v has 'now'"));
  CHECK(findings[2].level == Finding::Level::warn);
  CHECK(has(findings[2].what, "reverse: of column v has 'tomorrow'"));
}
