// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The SQL of the fence. Names are qualified everywhere, and every function that an application's session runs is
// pinned: SECURITY DEFINER, search_path = pg_catalog, pg_temp, EXECUTE revoked from PUBLIC.
#pragma once

namespace walign::cutover {

// Kept as the comment on walign.fence.
inline constexpr const char* kFenceVersion = "walign fence 2";

extern const char* const kFenceTable;
extern const char* const kFenceFunctions;

}  // namespace walign::cutover
