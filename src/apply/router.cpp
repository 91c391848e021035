// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "router.hpp"

#include "walign/apply.hpp"

namespace walign::apply {

namespace {

[[noreturn]] void changed(const mapping::Route& route, const std::string& what) {
  throw Error(ErrorKind::precondition, cat("table ", route.source.to_string(), " changed: ", what),
              cat("the stream stopped before the first row of the changed table; alter ",
                  route.target.to_string(), " or the mapping to match, then start `walign run` again"));
}

// Every column must be one that the mapping knows, of the same type, and none may be gone: otherwise values
// would be lost without a word.
void bind_columns(Binding& binding) {
  const auto& route = *binding.route;
  binding.relation_of.assign(route.source_columns.size(), -1);
  for (int i = 0; i < binding.relation->columns_size(); ++i) {
    const auto& column = binding.relation->columns(i);
    const auto found = std::find_if(route.source_columns.begin(), route.source_columns.end(),
                                    [&](const auto& c) { return c.name == column.name(); });
    if (found == route.source_columns.end()) changed(route, cat("it has a new column ", column.name()));
    if (found->type_oid != column.type_oid()) {
      changed(route, cat("column ", column.name(), " has another type (now ", column.type_name(), ")"));
    }
    const auto index = found - route.source_columns.begin();
    binding.source_of.push_back(static_cast<int>(index));
    binding.relation_of[static_cast<std::size_t>(index)] = i;
  }
  for (std::size_t i = 0; i < binding.relation_of.size(); ++i) {
    if (binding.relation_of[i] < 0) changed(route, cat("column ", route.source_columns[i].name, " is gone"));
  }
}

// RULES 16: under another replica identity a change of the key would come without the old key, and look like an
// update of a row that was never there.
void check_identity(const Binding& binding) {
  const auto& route = *binding.route;
  for (const int input : route.key_inputs) {
    const auto& column = binding.relation->columns(binding.relation_of[static_cast<std::size_t>(input)]);
    if (column.part_of_identity()) continue;
    changed(route, cat("its replica identity does not have column ", column.name(),
                       " any more, from which the target's key is computed"));
  }
}

const pg::Leaf* leaf_of(const mapping::Route& route, const v1::Relation& relation) {
  const auto found = std::find_if(route.leaves.begin(), route.leaves.end(), [&](const pg::Leaf& leaf) {
    return leaf.schema == relation.schema() && leaf.name == relation.name();
  });
  return found == route.leaves.end() ? nullptr : &*found;
}

}  // namespace

std::string relation_name(const Binding& binding) {
  return config::TableName{binding.relation->schema(), binding.relation->name()}.to_string();
}

Router::Router(const std::vector<mapping::Route>& routes, const std::set<pg::Oid>& ignored)
    : routes_(routes), ignored_(ignored) {}

const std::vector<Binding>& Router::bind(const event::RelationPtr& relation) {
  const auto found = bound_.find(relation.get());
  if (found != bound_.end()) return found->second.bindings;
  Bound bound{relation, {}};
  for (const auto& route : routes_) {
    const pg::Leaf* leaf = leaf_of(route, *relation);
    const bool itself = route.source.schema == relation->schema() && route.source.name == relation->name();
    if (leaf == nullptr && !itself) continue;
    Binding binding;
    binding.route = &route;
    binding.relation = relation.get();
    binding.leaf = leaf;
    bind_columns(binding);
    check_identity(binding);
    bound.bindings.push_back(std::move(binding));
  }
  if (bound.bindings.empty() && !ignored_.contains(relation->oid())) {
    throw UnknownRelation{{relation->schema(), relation->name()}, relation->oid()};
  }
  return bound_.emplace(relation.get(), std::move(bound)).first->second.bindings;
}

}  // namespace walign::apply
