// A migration with transforms and its writers.
#pragma once

#include "support/sides.hpp"
#include "support/writers.hpp"

namespace walign::test {

// A migration with transforms over two tables, one referring to the other, between two servers or within one database.
struct Shop {
  explicit Shop(Migration& migration, bool one_database)
      : m(migration), there(one_database ? m.source : m.target) {
    if (one_database) m.target_url = m.source_url;
    m.source.exec(
        "CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL, plan text NOT NULL DEFAULT 'FREE');"
        "CREATE TABLE orders (id bigint PRIMARY KEY, person bigint NOT NULL REFERENCES people, cents int NOT "
        "NULL)");
    there.exec(
        "CREATE SCHEMA app; CREATE TABLE app.members (member_id bigint PRIMARY KEY, full_name text NOT NULL, "
        "tier text NOT NULL DEFAULT 'free');"
        "CREATE TABLE app.sales (sale_id bigint PRIMARY KEY, member bigint NOT NULL REFERENCES app.members, "
        "price numeric(12,2) NOT NULL)");
    m.tables = R"yaml(  - from: public.people
    to: app.members
    columns:
      member_id: id
      full_name: name
      tier: { values: { FREE: free, PRO: professional }, from: plan }
  - from: public.orders
    to: app.sales
    columns:
      sale_id: id
      member: person
      price: { sql: "cents / 100.0", reverse: "round(price * 100)::int" }
)yaml";
    m.source.exec(
        "INSERT INTO people SELECT -i, 'old ' || i FROM generate_series(1, 500) i;"
        "INSERT INTO orders SELECT -i, -1 - i % 500, i FROM generate_series(1, 2000) i");
  }
  std::vector<Writers::SideOf> sides() {
    return {{m.source_url,
             [](Sql& sql, std::int64_t id) {
               const std::string i = std::to_string(id);
               sql.exec("BEGIN; INSERT INTO people VALUES (" + i +
                        ", 'p', 'PRO'); INSERT INTO orders VALUES (" + i + ", " + i + ", " +
                        std::to_string(id % 1000) +
                        "); UPDATE orders SET cents = cents + 1 WHERE id = -1 - " + i + " % 2000; COMMIT");
             }},
            {m.target_url, [](Sql& sql, std::int64_t id) {
               const std::string i = std::to_string(id);
               sql.exec("BEGIN; INSERT INTO app.members VALUES (" + i +
                        ", 'p', 'professional'); INSERT INTO app.sales VALUES (" + i + ", " + i + ", " +
                        std::to_string(id % 1000) +
                        " / 100.0); UPDATE app.sales SET price = price + 0.01 WHERE sale_id = -1 - " + i +
                        " % 2000; COMMIT");
             }}};
  }
  bool equal() {
    const auto a = compare_tables(
        m.source, "SELECT id, name, CASE plan WHEN 'FREE' THEN 'free' ELSE 'professional' END FROM people",
        there, "SELECT member_id, full_name, tier FROM app.members");
    const auto b = compare_tables(m.source, "SELECT id, person, (cents / 100.0)::numeric(12,2) FROM orders",
                                  there, "SELECT sale_id, member, price FROM app.sales");
    for (const auto* each : {&a, &b}) {
      if (!each->equal()) WARN(each->report());
    }
    return a.equal() && b.equal();
  }

  Migration& m;
  Sql& there;
};

}  // namespace walign::test
