// A table that is followed with schema_change: add_columns, and a load that does not know of what is added.
#pragma once

#include "support/copying.hpp"

namespace walign::test {

// Its columns, for a comparison of both sides.
inline constexpr const char* kColumns =
    "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull::text, pg_get_expr(d.adbin, "
    "d.adrelid), a.attcollation::regcollation::text FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid "
    "= "
    "a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = 't'::regclass AND a.attnum > 0 AND NOT "
    "a.attisdropped";

struct Followed {
  Migration m;
  Followed() {
    m.both("CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE TABLE t (id int PRIMARY KEY, a text, n int)");
    m.tables = "  - public.t\n";
    m.more = "schema_change: add_columns\n";
  }
  void first_rows() { m.source.exec("INSERT INTO t SELECT i, 'a' || i, i FROM generate_series(1, 200) i"); }
  // What came before the column, and is not in the stream any more.
  void follow() {
    Run run(m);
    run.wait_until_streaming();
    first_rows();
    run.catch_up(m.source);
    run.stop();
  }
  // Changes of every kind that do not know of the column.
  [[nodiscard]] std::unique_ptr<Writer> load() const {
    return std::make_unique<Writer>(
        m.source.conninfo(),
        [n = 1000](Sql& sql) mutable {
          const auto id = std::to_string(++n);
          const auto old = std::to_string(n % 150 + 1);
          sql.exec("BEGIN; INSERT INTO t (id, a, n) VALUES (" + id + ", 'new', " + id +
                   "); UPDATE t SET n = n + 1 WHERE id = " + old + "; COMMIT");
          if (n % 10 == 0) sql.exec("UPDATE t SET id = -id WHERE id = " + std::to_string(n - 3));
          if (n % 7 == 0) sql.exec("DELETE FROM t WHERE id = " + std::to_string(n - 5));
        },
        2ms);
  }
  // Gives some rows, old and new, another value in the column than they had.
  void touch(const std::string& column) {
    m.source.exec("UPDATE t SET " + column + " = NULL WHERE id % 11 = 0");
    m.source.exec("UPDATE t SET " + column + " = DEFAULT WHERE id % 5 = 0");
    m.source.exec("DELETE FROM t WHERE id % 50 = 3");
  }
  void check() {
    CHECK(m.equal("t"));
    CHECK(m.equal(kColumns, kColumns));
  }
  Error refused() {
    Run run(m);
    const auto error = run.wait();
    REQUIRE(error);
    INFO(error->describe());
    CHECK(error->kind() == ErrorKind::precondition);
    CHECK_FALSE(error->hint().empty());
    return *error;
  }
};

}  // namespace walign::test
