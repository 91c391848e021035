// Runs of inserts as COPY: which tables' can come so, from how many rows on, and how their values are written.
#include "apply_test.hpp"

using namespace apply_test;
using namespace std::chrono_literals;

namespace {

struct CopyBench {
  explicit CopyBench(std::vector<std::string> columns = {"id", "v"})
      : routes{route(0, "t", columns)}, t(routes[0]) {}
  std::vector<apply::Execution> encode(std::size_t copy_from) {
    encoder.copy_from(copy_from);
    std::vector<apply::Execution> out;
    std::map<int, std::uint64_t> cancelled;
    for (const auto& step : compactor.take()) {
      encoder.rows(std::get<apply::RowsStep>(step), apply::Updates::in_place, out, cancelled);
    }
    return out;
  }
  std::vector<mapping::Route> routes;
  Table t;
  apply::Compactor compactor{false, routes};
  apply::Statements statements;
  apply::Encoder encoder{statements};
};

}  // namespace

TEST_CASE("so many inserts or more come by COPY, fewer in arrays") {
  CopyBench b;
  for (const char* id : {"1", "2", "3"}) b.compactor.add(b.t.insert({id, "a"}));
  const auto many = b.encode(3);
  REQUIRE(many.size() == 1);
  CHECK(many[0].sql == R"(COPY "public"."t" ("id", "v") FROM STDIN)");
  CHECK(many[0].copy == "1\ta\n2\ta\n3\ta\n");
  CHECK(many[0].count == "3");
  CHECK(many[0].weight == 3);
  for (const char* id : {"1", "2"}) b.compactor.add(b.t.insert({id, "a"}));
  const auto few = b.encode(3);
  REQUIRE(few.size() == 1);
  CHECK(few[0].copy.empty());
  CHECK(few[0].arrays.size() == 2);
}

TEST_CASE("deletes are before the rows that come by COPY, and updates stay what they are") {
  CopyBench b;
  b.compactor.add(b.t.remove({"1", kNotSent}));
  b.compactor.add(b.t.insert({"1", "again"}));
  b.compactor.add(b.t.update({"2", "new"}));
  b.compactor.add(b.t.insert({"3", "c"}));
  b.compactor.add(b.t.update({"3", "d"}));
  const auto out = b.encode(2);
  REQUIRE(out.size() == 3);
  CHECK(out[0].copy.empty());
  CHECK(out[1].copy.empty());
  CHECK(out[2].copy == "1\tagain\n3\td\n");
  CHECK(out[0].weight + out[1].weight + out[2].weight == 5);
}

TEST_CASE("what has a meaning in COPY's text is escaped, and NULL is not its text") {
  CopyBench b;
  b.compactor.add(b.t.insert({"a\tb", "c\nd"}));
  b.compactor.add(b.t.insert({"\\N", kNull}));
  b.compactor.add(b.t.insert({"", "\r\\."}));
  CHECK(b.encode(1).at(0).copy == "a\\tb\tc\\nd\n\\\\N\t\\N\n\t\\r\\\\.\n");
}

TEST_CASE("a column that is written twice, or in another order, has its value each time") {
  CopyBench b;
  auto& columns = b.routes[0].columns;
  columns.push_back(columns[0]);
  columns.back().name = "id2";
  std::swap(columns[0], columns[1]);
  b.compactor.add(b.t.insert({"1", "a"}));
  const auto out = b.encode(1);
  CHECK(out.at(0).sql == R"(COPY "public"."t" ("v", "id", "id2") FROM STDIN)");
  CHECK(out.at(0).copy == "a\t1\t1\n");
}

TEST_CASE("where the mapping makes something of a value or a row, or a type differs, rows come in arrays") {
  const auto plain = route(0, "t", {"id", "v"});
  CHECK(apply::copy_into(plain));
  auto other = plain;
  other.columns[1].expression = "upper(src.\"v\")";
  CHECK_FALSE(apply::copy_into(other));
  other = plain;
  other.columns[1].base_type_sql = R"("pg_catalog"."varchar")";
  CHECK_FALSE(apply::copy_into(other));
  other = plain;
  other.filter = "src.v <> ''";
  CHECK_FALSE(apply::copy_into(other));
  other = plain;
  other.back = true;
  CHECK_FALSE(apply::copy_into(other));
}

TEST_CASE("a value that was not sent is missed by name") {
  CopyBench b;
  b.compactor.add(b.t.insert({"1", kUnchanged}));
  try {
    b.encode(1);
    FAIL("it was encoded");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::conflict);
    CHECK(error.message().find("the value of v is needed") != std::string::npos);
  }
}

TEST_CASE("over a long line a COPY must be larger to be worth its round trips") {
  CHECK(apply::rows_worth_a_copy(50us) == 500);
  CHECK(apply::rows_worth_a_copy(10ms) == 40'000);
}
