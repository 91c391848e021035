// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "init.hpp"

namespace walign::cli::init {

namespace {

constexpr const char* kOfUsers =
    " c.relpersistence <> 't' AND n.nspname NOT IN ('information_schema', 'walign') AND n.nspname !~ '^pg_' ";
constexpr const char* kNotOfExtension =
    " NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass "
    "AND d.objid = c.oid AND d.deptype = 'e') ";

void read_objects(pg::Connection& connection, Others& others) {
  const auto r = connection.exec(
      cat("SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'foreign table' "
          "END, n.nspname, c.relname FROM pg_catalog.pg_class c "
          "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm', 'f') AND",
          kOfUsers, "AND", kNotOfExtension, "ORDER BY n.nspname, c.relname"));
  for (int i = 0; i < r.rows(); ++i) others.objects.push_back({r.str(i, 0), {r.str(i, 1), r.str(i, 2)}});
}

void read_sequences(pg::Connection& connection, Others& others) {
  const auto r = connection.exec(cat(
      "SELECT n.nspname, c.relname, "
      "EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND "
      "d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0 AND "
      "d.deptype IN ('a', 'i')) OR "
      "EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND "
      "d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid) "
      "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
      "WHERE c.relkind = 'S' AND",
      kOfUsers, "AND", kNotOfExtension, "ORDER BY 1, 2"));
  for (int i = 0; i < r.rows(); ++i)
    others.sequences.push_back({{r.str(i, 0), r.str(i, 1)}, r.boolean(i, 2)});
}

void read_extension_tables(pg::Connection& connection, Others& others) {
  const auto r =
      connection.exec(cat("SELECT n.nspname, c.relname FROM pg_catalog.pg_class c "
                          "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                          "WHERE c.relkind IN ('r', 'p') AND NOT (",
                          kNotOfExtension, ")"));
  for (int i = 0; i < r.rows(); ++i) others.of_extensions.insert({r.str(i, 0), r.str(i, 1)});
}

// With everything named by its schema, as walign's own sessions see it.
void read_generated(pg::Connection& connection, Others& others) {
  const auto r = connection.exec(
      cat("SELECT n.nspname, c.relname, a.attname, pg_catalog.pg_get_expr(e.adbin, e.adrelid) "
          "FROM pg_catalog.pg_attrdef e JOIN pg_catalog.pg_class c ON c.oid = e.adrelid "
          "JOIN pg_catalog.pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum "
          "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE a.attgenerated <> '' AND",
          kOfUsers));
  for (int i = 0; i < r.rows(); ++i) {
    others.generated.emplace(std::pair(TableName{r.str(i, 0), r.str(i, 1)}, r.str(i, 2)), r.str(i, 3));
  }
}

}  // namespace

Others read_others(pg::Connection& connection) {
  Others others;
  read_objects(connection, others);
  read_sequences(connection, others);
  read_extension_tables(connection, others);
  read_generated(connection, others);
  others.large_objects =
      connection.exec("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").integer(0, 0);
  return others;
}

}  // namespace walign::cli::init
