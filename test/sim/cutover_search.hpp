// Breadth first through everything that can happen, so that the first thing found wrong has a shortest story.
#pragma once

#include "cutover_world.hpp"

namespace sim {

struct Found {
  std::string broken;  // empty: every rule holds
  std::vector<std::string> story;
  std::size_t states = 0;
  std::size_t moves = 0;
  bool complete = true;  // false: more states than were allowed
};

// `live`: whether P4 is checked too, which needs all moves in memory.
Found explore(const Rules& rules, bool live, std::size_t most_states);

}  // namespace sim
