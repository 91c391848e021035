// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The target's row of one key of the source: how it is found, and deleted before its key is read again.
#pragma once

#include "key_order.hpp"
#include "store.hpp"
#include "walign/mapping.hpp"

namespace walign::backfill {

// Whether the target's key is computed from the columns by which the source is cut.
bool finds_row(const mapping::Route& route, const std::vector<KeyColumn>& key);
// Deletes the target's row of this key, if there is one that is ours. Needs finds_row().
Sql delete_row(const mapping::Route& route, const std::vector<KeyColumn>& columns, const Key& key);
// One row, one boolean: the filter keeps the row that has these values in the columns Route::filter_inputs and
// Route::key_inputs, in that order and as text parameters from $1 on; and, if `only_absent`, the target has no row of
// its key.
std::string enters_filter_sql(const mapping::Route& route, bool only_absent);

}  // namespace walign::backfill
