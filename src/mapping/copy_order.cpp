// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/mapping.hpp"

namespace walign::mapping {

namespace {

using Edges = std::vector<std::set<std::size_t>>;

Edges direct(const std::vector<Route>& routes) {
  Edges edges(routes.size());
  for (std::size_t reader = 0; reader < routes.size(); ++reader) {
    for (std::size_t read = 0; read < routes.size(); ++read) {
      const bool itself = routes[read].target == routes[reader].target;
      if (!itself && routes[reader].reads.contains(routes[read].target)) edges[reader].insert(read);
    }
  }
  return edges;
}

// Everything that is read from `from`, through others too.
std::set<std::size_t> reachable(const Edges& edges, std::size_t from) {
  std::set<std::size_t> found;
  std::vector<std::size_t> left(edges[from].begin(), edges[from].end());
  while (!left.empty()) {
    const auto next = left.back();
    left.pop_back();
    if (found.insert(next).second) left.insert(left.end(), edges[next].begin(), edges[next].end());
  }
  return found;
}

}  // namespace

CopyOrder copy_order(const std::vector<Route>& routes) {
  const auto edges = direct(routes);
  Edges all;
  for (std::size_t i = 0; i < routes.size(); ++i) all.push_back(reachable(edges, i));
  CopyOrder out;
  out.after.resize(routes.size());
  for (std::size_t i = 0; i < routes.size(); ++i) {
    std::vector<std::size_t> circle;
    for (const auto other : all[i]) {
      if (all[other].contains(i)) circle.push_back(other);
    }
    for (const auto read : edges[i]) {
      if (!all[read].contains(i)) out.after[i].push_back(read);
    }
    if (!circle.empty() && circle.front() == i) out.circles.push_back(std::move(circle));
  }
  return out;
}

}  // namespace walign::mapping
