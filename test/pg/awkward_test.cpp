// Tables that programs like this stumble over, under load.
#include "support/awkward.hpp"

#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("the awkward tables arrive as they are, under load") {
  Migration m;
  for (Sql* db : {&m.source, &m.target}) db->exec_file("awkward.sql");
  m.source.exec_file("awkward_load.sql");
  m.tables = awkward_rules();
  Run run(m);
  run.wait_until_streaming();
  auto load = awkward_load(source_server(), m.source.scalar("SELECT current_database()"), 10, 4, 400);
  REQUIRE(load.wait() == 0);
  run.catch_up(m.source);
  const auto differences = compare_awkward(m.source, m.target);
  INFO(differences);
  CHECK(differences.empty());
  CHECK(m.target.scalar<int>("SELECT count(*)::int FROM awkward.ledger") > 100);
  for (const auto& table : run.status().tables) {
    INFO(table.source);
    CHECK(table.books.balance());
  }
  run.stop();
}
