// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "additions.hpp"

namespace walign::stream {

namespace {

using apply::RelationShape;

bool has_attnum(const RelationShape& shape, int attnum) {
  return std::any_of(shape.columns.begin(), shape.columns.end(),
                     [&](const auto& column) { return column.attnum == attnum; });
}

bool was_seen(const pg::Table& its, const std::vector<RelationShape>& past) {
  return std::any_of(past.begin(), past.end(), [&](const auto& shape) { return shape.oid == its.oid; });
}

}  // namespace

Given given_by(const pg::Table& its, const pg::Column& column, pg::Oid filenode,
               const std::vector<RelationShape>& past) {
  if (column.missing) return {true, column.missing};
  const auto was_without = [&](const RelationShape& shape) {
    return shape.oid == its.oid && shape.filenode != 0 && shape.filenode == filenode &&
           !has_attnum(shape, column.attnum);
  };
  return {std::any_of(past.begin(), past.end(), was_without), std::nullopt};
}

Given given_in_all(const pg::Table& table, const pg::Column& column, const pg::Catalog& catalog,
                   const std::map<pg::Oid, pg::Oid>& filenodes, const std::vector<RelationShape>& past) {
  const auto of_one = [&](const pg::Table& its, const pg::Column& its_column) {
    const auto filenode = filenodes.find(its.oid);
    return given_by(its, its_column, filenode == filenodes.end() ? 0 : filenode->second, past);
  };
  if (table.kind != 'p') return of_one(table, column);
  std::optional<Given> all;
  for (const auto& leaf : table.leaves) {
    const auto found = catalog.find({leaf.schema, leaf.name});
    if (found == catalog.end()) return {};
    const pg::Table& its = found->second;
    const pg::Column* its_column = its.column(column.name);
    if (its_column == nullptr) return {};
    // Made since: none of its rows is on the target but those that were copied, or that the stream brought, as rows of
    // the whole table.
    if (!its_column->missing && !was_seen(its, past)) continue;
    const Given given = of_one(its, *its_column);
    if (!given.known || (all && *all != given)) return {};
    all = given;
  }
  return all.value_or(Given{true, std::nullopt});
}

bool added_since(const pg::Table& table, const pg::Column& column, const std::vector<RelationShape>& past) {
  const auto newest =
      std::find_if(past.rbegin(), past.rend(), [&](const auto& shape) { return shape.oid == table.oid; });
  return newest != past.rend() && !has_attnum(*newest, column.attnum);
}

bool NewColumn::same(const NewColumn& other) const {
  return column.name == other.column.name && column.type == other.column.type &&
         column.declared == other.column.declared && column.not_null == other.column.not_null &&
         default_sql == other.default_sql && collation == other.collation && given == other.given;
}

// ----------------------------------------------------------------------------------------- the judgement

namespace {

struct Refusal {
  std::string why;
  std::string remedy;  // empty: none of its own
};

// Of what the source has.
std::optional<Refusal> refused_by_source(const config::TableName& source, const NewColumn& its,
                                         const std::string& by_hand) {
  const pg::Column& column = its.column;
  const std::string then_read =
      cat(by_hand, " on the target, run again, and let its values be read: walign verify --table ",
          source.to_string(), " --all --repair");
  if (column.identity != 0)
    return Refusal{"it is an identity column, which gave its rows values of their own", then_read};
  if (its.volatile_default)
    return Refusal{"its default is not a constant, so that rows may have values of their own", then_read};
  // Its constraints would make the target's table be written anew, under its lock.
  if (column.type_kind == 'd') return Refusal{"its type is a domain", then_read};
  if (!its.given.known) {
    return Refusal{
        "the table was written anew since it was last seen (a default that is no constant, ALTER TYPE, "
        "VACUUM "
        "FULL, TRUNCATE), and what its rows from before have in it is not known",
        then_read};
  }
  if (column.not_null && !its.given.value) {
    return Refusal{"it is NOT NULL, and rows from before have no value in it",
                   cat(by_hand, " on the target, without NOT NULL, and run again")};
  }
  return std::nullopt;
}

// Of what the target has.
std::optional<Refusal> refused_by_target(const NewColumn& its, const pg::Table& target,
                                         const std::set<pg::TypeName>& types) {
  const std::string table = pg::qualified(target.schema, target.name);
  if (target.column(its.column.name) != nullptr) {
    return Refusal{"the target has a column of that name, which is generated", ""};
  }
  if (!types.contains(its.column.type)) {
    return Refusal{cat("the target has no type ", its.column.declared),
                   "make that type on the target as it is on the source, and run again"};
  }
  if (target.is_partition) {
    return Refusal{
        cat(target.schema, ".", target.name, " is a partition, which gets columns from its table only"),
        "add it to the table that this is a partition of, and run again"};
  }
  if (!target.is_owner) {
    return Refusal{cat("walign's role does not own ", target.schema, ".", target.name, " on the target"),
                   cat("let the role own it (ALTER TABLE ", table,
                       " OWNER TO ...) or be a member of its owner's, and run "
                       "again")};
  }
  return std::nullopt;
}

std::string type_of(const NewColumn& its) {
  return its.collation.empty() ? its.column.declared : cat(its.column.declared, " COLLATE ", its.collation);
}

// ADD COLUMN by itself: rows that are there have the value of the time, as on the source, by the same means.
std::string add_sql(const pg::Table& target, const NewColumn& its) {
  std::string sql = cat("ALTER TABLE ", pg::qualified(target.schema, target.name), " ADD COLUMN ",
                        pg::quote_ident(its.column.name), " ", type_of(its));
  if (its.given.value)
    sql += cat(" DEFAULT ", pg::quote_literal(*its.given.value), "::", its.column.declared);
  return sql;
}

std::vector<std::string> all_sql(const pg::Table& target, const NewColumn& its) {
  std::vector<std::string> out = {cat(add_sql(target, its), its.column.not_null ? " NOT NULL" : "")};
  const std::string alter = cat("ALTER TABLE ", pg::qualified(target.schema, target.name), " ALTER COLUMN ",
                                pg::quote_ident(its.column.name));
  if (!its.default_sql.empty()) {
    out.push_back(cat(alter, " SET DEFAULT ", its.default_sql));
  } else if (its.given.value) {
    out.push_back(alter + " DROP DEFAULT");
  }
  return out;
}

}  // namespace

AdditionVerdict judge_addition(const std::vector<std::pair<config::TableName, NewColumn>>& wishes,
                               const pg::Table& target, bool others, const std::set<pg::TypeName>& types) {
  WALIGN_CHECK(!wishes.empty());
  const NewColumn& first = wishes.front().second;
  const std::string by_hand = add_sql(target, first);
  for (const auto& [source, its] : wishes) {
    auto refusal = refused_by_source(source, its, by_hand);
    if (!refusal) refusal = refused_by_target(its, target, types);
    if (refusal) return {{}, refusal->why, refusal->remedy};
    if (its.same(first)) continue;
    return {{},
            cat("several sources lead to this table, and ", wishes.front().first.to_string(), " and ",
                source.to_string(), " do not have it alike"),
            "add it on the target, with what rows of each source should have in it, and run again"};
  }
  if (others && (first.given.value || !first.default_sql.empty())) {
    return {{},
            "other sources lead to this table too, and their rows would get its default",
            "add it to all of them at once; or add it on the target, and run again"};
  }
  return {all_sql(target, first), "", ""};
}

}  // namespace walign::stream
