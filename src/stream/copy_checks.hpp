// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the copy of old rows needs, beyond what the stream does. Only for routes that are not copied yet.
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

}  // namespace walign::stream
