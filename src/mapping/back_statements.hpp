// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The SQL of a way back, where it differs from that of a forward route (mapping.hpp, WayBack).
#pragma once

#include "walign/mapping.hpp"

namespace walign::mapping {

Statement delete_back(const Route& route);
// `key_change`: rows are found by the old row's key. `reinsert`: rows that stay are deleted and inserted again.
Statement update_back(const Route& route, const ColumnSet& unchanged, bool key_change, bool reinsert);

}  // namespace walign::mapping
