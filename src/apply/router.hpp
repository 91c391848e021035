// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// From a relation of the stream to the routes it takes. Bound by column name, once per description.
#pragma once

#include "walign/event.hpp"
#include "walign/mapping.hpp"

namespace walign::apply {

struct Binding {
  const mapping::Route* route = nullptr;
  const v1::Relation* relation = nullptr;
  const pg::Leaf* leaf = nullptr;  // the partition that the relation is; null for the table itself
  std::vector<int> source_of;      // by column of the relation: index into route->source_columns
  std::vector<int> relation_of;    // the reverse
};

// The source's table or partition, as schema.name.
std::string relation_name(const Binding& binding);

class Router {
 public:
  Router(const std::vector<mapping::Route>& routes, const std::set<pg::Oid>& ignored);
  // The routes of a relation; none for an ignored one. References stay valid as long as the Router. Throws
  // UnknownRelation where the mapping does not name it, Error(precondition) where it is not what the mapping was
  // made for.
  const std::vector<Binding>& bind(const event::RelationPtr& relation);

 private:
  struct Bound {
    event::RelationPtr relation;  // kept, so that its address is not used again
    std::vector<Binding> bindings;
  };
  const std::vector<mapping::Route>& routes_;
  const std::set<pg::Oid>& ignored_;
  std::unordered_map<const v1::Relation*, Bound> bound_;
};

}  // namespace walign::apply
