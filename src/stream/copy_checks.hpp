// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the copy of old rows needs, beyond what the stream does. Only for routes that are not copied yet; and what
// becomes of the rows that their target tables have (existing_rows).
#pragma once

#include "servers.hpp"

namespace walign::stream {

struct CopyChecks {
  const config::Config& config;
  const Prepared& prepared;
  pg::Connection& source;
  pg::Connection& target;
  bool replica_role = false;  // triggers and foreign keys of the target do not fire
};

// Adds findings. Needs routes: nothing to say where the mapping could not be resolved.
void check_copy(const CopyChecks& checks, mapping::Findings& findings);

// Error(precondition) where a table whose copy has not begun has rows on the target that the configuration does not
// let be emptied. Before anything is made for it.
void refuse_existing_rows(const config::Config& config, const std::vector<mapping::Route>& routes,
                          pg::Connection& target);

}  // namespace walign::stream
