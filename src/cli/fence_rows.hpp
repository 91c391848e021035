// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Who takes writes, as the servers themselves have it: for when no sidecar can be asked.
#pragma once

#include "walign/config.hpp"
#include "walign/stream.hpp"

namespace walign::cli {

// Reads walign.fence on both servers, a few seconds at most; locks nothing. Nothing for a side that has no row. A line
// for each server that could not be asked.
std::vector<std::string> read_fence_rows(const config::Config& config, stream::SidesStatus& sides);

}  // namespace walign::cli
