// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the source's catalogs say of the key's columns, and SQL made of them.
#include <map>

#include "key_order.hpp"

namespace walign::backfill {

namespace {

struct Collation {
  std::string sql;  // COLLATE ..., empty where the type has none
  bool is_c = false;
};

// A collation that is the database's default ('d') has its provider and locale there. libc sorts by bytes under the
// locales C and POSIX; the built-in provider ('b', from 17 on) always sorts by code points, which is the order of
// UTF-8's bytes.
constexpr const char* kCollations = R"(
  SELECT a.attname, n.nspname, c.collname,
         c.oid IS NOT NULL AND c.collisdeterministic AND
         CASE CASE c.collprovider WHEN 'd' THEN d.datlocprovider ELSE c.collprovider END
           WHEN 'c' THEN CASE c.collprovider WHEN 'd' THEN d.datcollate ELSE c.collcollate END IN ('C', 'POSIX')
           WHEN 'b' THEN true
           ELSE false END AND
         pg_catalog.pg_encoding_to_char(d.encoding) IN ('UTF8', 'SQL_ASCII')
  FROM pg_catalog.pg_attribute a
       JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
       LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
       LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
  WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped)";

std::map<std::string, Collation> read_collations(pg::Connection& source, const pg::Table& table) {
  const pg::Result result = source.query(kCollations, {cat(table.oid)});
  std::map<std::string, Collation> collations;
  for (int i = 0; i < result.rows(); ++i) {
    Collation& collation = collations[result.str(i, 0)];
    if (result.is_null(i, 2)) continue;
    collation.sql = cat("COLLATE ", pg::qualified(result.text(i, 1), result.text(i, 2)));
    collation.is_c = result.boolean(i, 3);
  }
  return collations;
}

// Where the operators of a type's default btree operator class are; types whose are PostgreSQL's own are left out.
constexpr const char* kOperators = R"(
  SELECT tn.nspname, t.typname, pn.nspname
  FROM pg_catalog.pg_opclass c
       JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
       JOIN pg_catalog.pg_amop o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype
                                    AND o.amoprighttype = c.opcintype AND o.amopstrategy = 5
       JOIN pg_catalog.pg_operator p ON p.oid = o.amopopr
       JOIN pg_catalog.pg_namespace pn ON pn.oid = p.oprnamespace
       JOIN pg_catalog.pg_type t ON t.oid = c.opcintype
       JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
  WHERE c.opcdefault AND pn.nspname <> 'pg_catalog')";

std::map<pg::TypeName, std::string> read_operators(pg::Connection& source) {
  const pg::Result result = source.exec(kOperators);
  std::map<pg::TypeName, std::string> schemas;
  for (int i = 0; i < result.rows(); ++i) {
    schemas[{result.str(i, 0), result.str(i, 1)}] = result.str(i, 2);
  }
  return schemas;
}

std::string with_collation(std::string sql, const KeyColumn& column) {
  if (!column.collate_sql.empty()) sql += cat(" ", column.collate_sql);
  return sql;
}

std::string value_of(const KeyColumn& column, const std::string& text) {
  return with_collation(cat(pg::quote_literal(text), "::", column.type_sql), column);
}

std::string operation_of(const KeyColumn& column, const std::string& symbol) {
  if (column.operators == "pg_catalog") return symbol;
  return cat("OPERATOR(", pg::quote_ident(column.operators), ".", symbol, ")");
}

// (a, b), or without parentheses where there is one.
std::string row_of(const std::vector<std::string>& items) {
  return items.size() == 1 ? items.front() : cat("(", join(items, ", "), ")");
}

// A row comparison has one operator for all columns. Where theirs are in different schemas, it is spelled out from
// column `at` on; the index is used for the first column then. `symbol`: > or >=, < or <=.
std::string compared_one_by_one(const std::vector<KeyColumn>& columns, const std::string& symbol,
                                const Key& key, std::size_t at) {
  const KeyColumn& column = columns[at];
  const std::string name = pg::quote_ident(column.name), value = value_of(column, key[at]);
  const auto term = [&](const std::string& s) { return cat(name, " ", operation_of(column, s), " ", value); };
  if (at + 1 == columns.size()) return term(symbol);
  const std::string strictly = symbol.substr(0, 1);
  return cat(term(strictly + "="), " AND (", term(strictly), " OR ",
             compared_one_by_one(columns, symbol, key, at + 1), ")");
}

std::string compared(const std::vector<KeyColumn>& columns, const std::string& symbol, const Key& key) {
  WALIGN_CHECK(!columns.empty() && key.size() == columns.size());
  const bool alike = std::all_of(columns.begin(), columns.end(), [&](const KeyColumn& c) {
    return c.operators == columns.front().operators;
  });
  if (!alike) return compared_one_by_one(columns, symbol, key, 0);
  std::vector<std::string> names, values;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    names.push_back(pg::quote_ident(columns[i].name));
    values.push_back(value_of(columns[i], key[i]));
  }
  return cat(row_of(names), " ", operation_of(columns.front(), symbol), " ", row_of(values));
}

}  // namespace

std::vector<KeyColumn> read_key_columns(pg::Connection& source, const pg::Table& table,
                                        const std::vector<std::string>& names) {
  const auto collations = read_collations(source, table);
  const auto operators = read_operators(source);
  std::vector<KeyColumn> columns;
  for (const std::string& name : names) {
    const pg::Column* column = table.column(name);
    const auto collation = collations.find(name);
    if (column == nullptr || collation == collations.end()) {
      throw Error(ErrorKind::precondition,
                  cat("table ", pg::qualified(table.schema, table.name), " of the source has no column ",
                      pg::quote_ident(name), ", which its key had"),
                  "run `walign preflight`: it shows what has changed");
    }
    KeyColumn key{name, column->base_type.sql(), collation->second.sql,
                  comparison_of(column->base_type, collation->second.is_c)};
    if (const auto own = operators.find(column->base_type); own != operators.end())
      key.operators = own->second;
    columns.push_back(std::move(key));
  }
  return columns;
}

std::string range_condition(const std::vector<KeyColumn>& columns, const Range& range) {
  std::vector<std::string> parts;
  if (range.lower.key) parts.push_back(compared(columns, range.lower.after ? ">" : ">=", *range.lower.key));
  if (range.upper.key) parts.push_back(compared(columns, range.upper.after ? "<=" : "<", *range.upper.key));
  return parts.empty() ? "true" : join(parts, " AND ");
}

std::string order_by(const std::vector<KeyColumn>& columns, bool descending) {
  std::vector<std::string> parts;
  parts.reserve(columns.size());
  for (const KeyColumn& column : columns)
    parts.push_back(cat(with_collation(pg::quote_ident(column.name), column), descending ? " DESC" : ""));
  return join(parts, ", ");
}

}  // namespace walign::backfill
