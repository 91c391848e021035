// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// YAML text to a tree that forgets nothing: where each node stands, whether it was quoted, keys in their
// order and duplicates among them. (YAML::Node keeps one of two equal keys and says nothing.)
#pragma once

#include "walign/config.hpp"

namespace walign::config {

enum class NodeKind { null, scalar, sequence, mapping };

struct Node {
  NodeKind kind = NodeKind::null;
  Place place;
  std::string text;                // scalar, as written: ${VAR} still in it
  bool quoted = false;             // scalar: in quotes, a block, or tagged !!str; never a number or boolean
  std::vector<const Node*> items;  // sequence; mapping: key, value, key, value
};

// Nodes refer to each other by address; an alias is the same node again.
struct Document {
  std::deque<Node> nodes;
  const Node* root = nullptr;  // null where the text is empty or is not YAML
};

// Problems of the text itself (not UTF-8, not YAML, more than one document) are added to `problems`.
Document read_yaml(const std::string& yaml, std::vector<Problem>& problems);

}  // namespace walign::config
