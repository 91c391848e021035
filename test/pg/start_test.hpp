// What tests of a start share: a migration of one table, a server of its own for either side, and what a refusal
// must look like.
#pragma once

#include "support/migration.hpp"

namespace walign::test {

// A run that ends with this kind of error; its message has `words`, its hint `remedy`.
inline Error refused(const Migration& m, ErrorKind kind, const std::string& words, const std::string& remedy,
                     bool no_backfill = false) {
  Run run(m, {}, no_backfill);
  const auto error = run.wait();
  REQUIRE(error);
  INFO(error->describe());
  CHECK(error->kind() == kind);
  CHECK(has(error->message(), words));
  CHECK(has(error->message() + error->hint(), remedy));
  CHECK_FALSE(error->hint().empty());
  return *error;
}

inline bool nothing_left(Sql& source, Sql& target) {
  const auto left = [](Sql& db, const std::string& sql) {
    return db.scalar<int>("SELECT count(*) FROM " + sql);
  };
  CHECK(left(source, "pg_publication") == 0);
  CHECK(left(source, "pg_replication_slots WHERE database = current_database()") == 0);
  CHECK(left(target, "pg_namespace WHERE nspname = 'walign'") == 0);
  return left(source, "pg_publication") + left(target, "pg_namespace WHERE nspname = 'walign'") == 0;
}

inline constexpr const char* kTable = "CREATE TABLE t (id int PRIMARY KEY, v text)";

struct OneTable {
  OneTable() {
    m.both(kTable);
    m.tables = "  - public.t\n";
  }
  Migration m;
};

// A database with the table on a server of its own, which takes the place of the migration's source or target.
struct Own {
  explicit Own(ServerOptions options) : server(std::move(options)), sql(server.create_database("app")) {
    sql.exec(kTable);
  }
  [[nodiscard]] std::string url(const std::string& role) const {
    std::string url = server.url("app");
    return url.replace(url.find("postgres@"), 8, role);
  }
  Server server;
  Sql sql;
};

}  // namespace walign::test
