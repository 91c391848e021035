// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The drain, as the taker's server sees it: whoever streams writes the position and, on passing the marker, the fence
// LSN (note_fence_lsn); this only waits for them, and makes the server flush.
#pragma once

#include "driver.hpp"
#include "fence.hpp"

namespace walign::cutover {

// Until the taker's row, CLOSED in this epoch, has the fence LSN, and the stream's position is at or past it and
// flushed. Refused where the row is another's; given up after `left`.
Answer drain(pg::Connection& taker, const FenceId& id, std::uint64_t epoch, const std::string& stream,
             Millis left, const std::function<void(Millis)>& pause);

}  // namespace walign::cutover
