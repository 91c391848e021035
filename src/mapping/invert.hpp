// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tables.hpp"

namespace walign::mapping {

// Rule 4: whose a row of the target is where several sources lead to it, and which target's a source's row comes
// from where it leads to several. Adds filters to the routes, and findings.
void tell_apart(const std::vector<Route>& routes, std::vector<WayBack>& ways);

// Unique indexes of the source whose like the target does not have: it may take two rows that the source cannot.
void warn_of_collisions(WayBack& way, const pg::Catalog& source, const pg::Catalog& target);

}  // namespace walign::mapping
