// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Rows made on the target are given the keys that the source has drawn for them (walign/crosswalk.hpp). Before writes
// return to the source every one must have its key: by that, the way there finds it again, and the proof compares it.
#pragma once

#include "driver.hpp"

namespace walign::cutover {

// Some route of the way back draws keys.
bool draws_keys(const std::vector<mapping::Route>& backward);
// Until no row of their tables is without a key; the giver is fenced, so none comes. Given up after `left`.
Answer keys_written(pg::Connection& giver, const std::vector<mapping::Route>& backward, Millis left,
                    const std::function<void(Millis)>& pause);

}  // namespace walign::cutover
