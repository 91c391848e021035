// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "shapes.hpp"

namespace walign::stream {

namespace {

using apply::RelationShape;

bool as_now(const RelationShape& shape, const v1::Relation& relation) {
  if (shape.schema != relation.schema() || shape.name != relation.name()) return false;
  if (static_cast<int>(shape.columns.size()) != relation.columns_size()) return false;
  for (int i = 0; i < relation.columns_size(); ++i) {
    const auto& its = shape.columns[static_cast<std::size_t>(i)];
    if (its.name != relation.columns(i).name() || its.type_oid != relation.columns(i).type_oid())
      return false;
  }
  return true;
}

// The text of every value of the first type is a text of the same value of the second, however the table was altered:
// the integers, and what is stored the same way. Types by OID (pg_type.dat).
bool same_text(pg::Oid before, pg::Oid now) {
  constexpr pg::Oid kInt2 = 21, kInt4 = 23, kInt8 = 20, kText = 25, kVarchar = 1043;
  if (before == now) return true;
  if (before == kInt2) return now == kInt4 || now == kInt8;
  if (before == kInt4) return now == kInt8;
  return (before == kVarchar && now == kText) || (before == kText && now == kVarchar);
}

std::string columns_text(const v1::Relation& relation) {
  std::vector<std::string> names;
  for (const auto& column : relation.columns()) names.push_back(cat(column.name(), " ", column.type_name()));
  return join(names, ", ");
}

}  // namespace

RelationShape shape_of(const pg::Table& its, pg::Oid table, Lsn seen) {
  RelationShape shape{its.oid, table, its.schema, its.name, {}, 0, seen};
  for (const auto& column : its.columns) {
    if (!column.generated) shape.columns.push_back({column.attnum, column.name, column.type_oid});
  }
  return shape;
}

std::vector<RelationShape> shapes_of(const Prepared& prepared, Lsn seen) {
  std::vector<RelationShape> out;
  std::set<pg::Oid> had;
  const auto add = [&](const std::string& schema, const std::string& name, pg::Oid table) -> pg::Oid {
    const auto found = prepared.source_catalog.find({schema, name});
    if (found == prepared.source_catalog.end()) return 0;
    const auto& its = found->second;
    if (had.insert(its.oid).second) out.push_back(shape_of(its, table == 0 ? its.oid : table, seen));
    return its.oid;
  };
  for (const auto& route : prepared.routes) {
    const pg::Oid root = add(route.source.schema, route.source.name, 0);
    for (const auto& leaf : route.leaves) add(leaf.schema, leaf.name, root);
  }
  return out;
}

Shapes::Shapes(const pg::Catalog& catalog, std::vector<RelationShape> now, std::vector<RelationShape> past) {
  const auto remember = [](Known& known, const RelationShape& shape) {
    for (const auto& column : shape.columns) {
      auto& had = known.ever[column.attnum];
      const std::pair<std::string, pg::Oid> its{column.name, column.type_oid};
      if (std::find(had.begin(), had.end(), its) == had.end()) had.push_back(its);
    }
  };
  for (auto& shape : now) {
    const auto found = catalog.find({shape.schema, shape.name});
    Known& known = known_[shape.oid];
    known.table = found == catalog.end() ? nullptr : &found->second;
    remember(known, shape);
    known.now = std::move(shape);
  }
  for (const auto& shape : past) {
    const auto found = known_.find(shape.oid);
    if (found == known_.end()) continue;
    found->second.changed = found->second.changed || shape.columns != found->second.now.columns;
    remember(found->second, shape);
    found->second.past.push_back(shape);
  }
}

// ------------------------------------------------------------------------------------------ which attnums

namespace {

// Every way to see the columns of a relation as attnums, ascending, up to two: more than one is doubt.
class Assignments {
 public:
  Assignments(const v1::Relation& relation,
              const std::map<int, std::vector<std::pair<std::string, pg::Oid>>>& ever)
      : relation_(relation), ever_(ever) {
    walk(0, ever_.begin());
  }
  [[nodiscard]] const std::vector<std::vector<int>>& found() const { return found_; }
  // The first column that no attnum of a suitable place has; empty if the trouble is another.
  [[nodiscard]] std::string stuck_at() const {
    return furthest_ < relation_.columns_size() ? relation_.columns(furthest_).name() : "";
  }

 private:
  using Place = std::map<int, std::vector<std::pair<std::string, pg::Oid>>>::const_iterator;

  void walk(int column, Place from) {
    if (found_.size() > 1) return;
    furthest_ = std::max(furthest_, column);
    if (column == relation_.columns_size()) {
      found_.push_back(chosen_);
      return;
    }
    const auto& its = relation_.columns(column);
    for (auto place = from; place != ever_.end(); ++place) {
      const auto fits = [&](const auto& had) {
        return had.first == its.name() && had.second == its.type_oid();
      };
      if (std::none_of(place->second.begin(), place->second.end(), fits)) continue;
      chosen_.push_back(place->first);
      walk(column + 1, std::next(place));
      chosen_.pop_back();
    }
  }

  const v1::Relation& relation_;
  const std::map<int, std::vector<std::pair<std::string, pg::Oid>>>& ever_;
  std::vector<int> chosen_;
  std::vector<std::vector<int>> found_;
  int furthest_ = 0;
};

v1::Column described(const pg::Column& column) {
  v1::Column out;
  out.set_name(column.name);
  out.set_type_oid(column.type_oid);
  out.set_type_schema(column.base_type.schema);
  out.set_type_name(column.base_type.name);
  out.set_type_modifier(-1);
  return out;
}

}  // namespace

// Its constant default, which is kept; else NULL, unless the table was written anew with a default that is none.
Shapes::Added Shapes::added(const Known& known, const pg::Column& column) {
  if (column.missing) return {true, column.missing};
  if (!column.has_default && column.identity == 0) return {true, std::nullopt};
  const auto was_without = [&](const RelationShape& shape) {
    return shape.filenode != 0 && shape.filenode == known.now.filenode &&
           std::none_of(shape.columns.begin(), shape.columns.end(),
                        [&](const auto& c) { return c.attnum == column.attnum; });
  };
  return {std::any_of(known.past.begin(), known.past.end(), was_without), std::nullopt};
}

// An attnum is never used again.
Shapes::Columns Shapes::possible(const Known& known, Lsn commit_lsn) {
  Columns out = known.ever;
  for (auto later = known.past.begin(); later != known.past.end(); ++later) {
    if (later->seen > commit_lsn) continue;
    for (auto earlier = known.past.begin(); earlier != later; ++earlier) {
      for (const auto& column : earlier->columns) {
        const bool still = std::any_of(later->columns.begin(), later->columns.end(),
                                       [&](const auto& c) { return c.attnum == column.attnum; });
        if (!still) out.erase(column.attnum);
      }
    }
  }
  return out;
}

Shapes::Way Shapes::make_way(const event::RelationPtr& relation, Lsn commit_lsn) const {
  Way way{relation, nullptr, {}, {}};
  const auto refuse = [&](std::string what) {
    throw ShapeUnknown{{relation->schema(), relation->name()}, relation->oid(), commit_lsn, std::move(what)};
  };
  const auto found = known_.find(relation->oid());
  if (found == known_.end()) return way;  // none of the mapping's, or not as far as is known
  const Known& known = found->second;
  const bool exact = as_now(known.now, *relation);
  if (exact && (!known.changed || commit_lsn >= known.now.seen)) return way;
  if (commit_lsn >= known.now.seen || known.table == nullptr) {
    refuse(cat("it has the columns ", columns_text(*relation), " there"));
  }
  const Columns columns = possible(known, commit_lsn);
  const Assignments ways(*relation, columns);
  if (ways.found().empty()) {
    refuse(cat("it has the columns ", columns_text(*relation), " there, and which column ", ways.stuck_at(),
               " is now is not known"));
  }
  if (ways.found().size() > 1) {
    refuse(cat("it has the columns ", columns_text(*relation),
               " there, and these could be more than one of the ", "columns that it had since"));
  }
  if (exact) return way;
  const auto& attnums = ways.found()[0];
  auto now = std::make_shared<v1::Relation>();
  now->set_oid(relation->oid());
  now->set_schema(known.now.schema);
  now->set_name(known.now.name);
  now->set_replica_identity(relation->replica_identity());
  const auto identity = known.table->identity_columns();
  for (const auto& column : known.now.columns) {
    const auto at = std::find(attnums.begin(), attnums.end(), column.attnum);
    const auto* its = known.table->column(column.name);
    WALIGN_CHECK(its != nullptr);
    auto* described_now = now->add_columns();
    *described_now = described(*its);
    if (at == attnums.end()) {
      if (std::find(identity.begin(), identity.end(), column.name) != identity.end()) {
        refuse(cat("it does not have column ", column.name, " there, which is in its key now"));
      }
      way.from.push_back(-1);
      way.added.push_back(added(known, *its));
      continue;
    }
    const int index = static_cast<int>(at - attnums.begin());
    const auto& before = relation->columns(index);
    if (!same_text(before.type_oid(), column.type_oid)) {
      refuse(
          cat("column ", column.name, " has the type ", before.type_name(), " there, and another one now"));
    }
    described_now->set_type_modifier(before.type_modifier());
    described_now->set_part_of_identity(before.part_of_identity());
    way.from.push_back(index);
    way.added.emplace_back();
  }
  way.now = std::move(now);
  obs::info("rows from before a change of their table are brought up to its columns of now",
            {{"table", known.now.name}, {"lsn", commit_lsn}, {"columns", columns_text(*relation)}});
  return way;
}

const Shapes::Way& Shapes::way_of(const event::RelationPtr& relation, Lsn commit_lsn) {
  const auto found = ways_.find(relation.get());
  if (found != ways_.end()) return found->second;
  return ways_.emplace(relation.get(), make_way(relation, commit_lsn)).first->second;
}

// --------------------------------------------------------------------------------------------- the rows

void Shapes::rewrite_row(const v1::Tuple& row, const Way& way, event::State missing, v1::Tuple& out) {
  std::vector<event::Value> values(static_cast<std::size_t>(row.lengths_size()));
  event::for_each_value(row, [&](int i, const event::Value& v) { values[static_cast<std::size_t>(i)] = v; });
  for (std::size_t i = 0; i < way.from.size(); ++i) {
    if (way.from[i] >= 0) {
      event::append_value(out, values[static_cast<std::size_t>(way.from[i])]);
      continue;
    }
    if (missing != event::State::value) {
      event::append_value(out, {missing, {}, false});
      continue;
    }
    const auto& added = way.added[i];
    if (!added.known) {
      throw Error(
          ErrorKind::precondition,
          cat("table ", way.now->schema(), ".", way.now->name(), ": column ",
              way.now->columns(static_cast<int>(i)).name(),
              " was added while the stream was behind, and what rows inserted before have in it is not a "
              "constant"),
          "docs/schema.md, \"The table must be copied again\": take the table out of walign.yaml, run, "
          "and put it back with existing_rows: adopt");
    }
    event::append_value(
        out, added.value ? event::Value{event::State::value, *added.value, false} : event::Value());
  }
}

event::TransactionPart Shapes::rewrite(const event::TransactionPart& part) {
  std::vector<const Way*> ways;
  for (const auto& relation : part.relations()) ways.push_back(&way_of(relation, part.commit_lsn()));
  event::TransactionPart out;
  out.set_memory_bytes(part.memory_bytes());
  auto& tx = out.mutable_tx();
  tx = part.tx();
  tx.clear_relations();
  tx.clear_changes();
  for (const auto* way : ways) out.add_relation(way->now ? way->now : way->before);
  for (const auto& change : part.tx().changes()) {
    auto& copy = *tx.add_changes();
    copy = change;
    if (change.kind() == v1::Change::MESSAGE || change.kind() == v1::Change::TRUNCATE) continue;
    const Way& way = *ways.at(change.relation());
    if (!way.now) continue;
    if (change.has_new_row()) {
      copy.clear_new_row();
      const bool insert = change.kind() == v1::Change::INSERT;
      rewrite_row(change.new_row(), way, insert ? event::State::value : event::State::unchanged_toast,
                  *copy.mutable_new_row());
    }
    if (change.has_old_row()) {
      copy.clear_old_row();
      rewrite_row(change.old_row(), way, event::State::not_sent, *copy.mutable_old_row());
    }
  }
  return out;
}

event::TransactionPart Shapes::bring_up(event::TransactionPart part) {
  bool any = false;
  for (const auto& relation : part.relations()) any = way_of(relation, part.commit_lsn()).now || any;
  return any ? rewrite(part) : std::move(part);
}

}  // namespace walign::stream
