// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// versions: what servers of different versions can do. A part of module pg, and the only place where a version's number
// is compared with another; everything else asks here, or the catalogs, which have what a server has.
//
// A version is PQserverVersion()'s: 150013 for 15.13.
#pragma once

#include <algorithm>

namespace walign::pg {

inline constexpr int kOldestVersion = 15;  // the first with GRANT SET ON PARAMETER

constexpr int major_version(int version) { return version / 10000; }
constexpr bool is_supported(int version) { return major_version(version) >= kOldestVersion; }

// What pgoutput speaks: 14 version 2 (transactions while they run), 15 version 3 (two phases), 16 version 4 (parallel).
constexpr int pgoutput_protocol(int version) {
  const int major = major_version(version);
  return major < 14 ? 1 : std::min(major, 16) - 12;
}

// A limit on whole transactions, which a role or database may have set; a start-up option of this name is refused by
// servers that do not know it.
constexpr bool has_transaction_timeout(int version) { return major_version(version) >= 17; }

// Slots that a standby synchronises, and which survive its promotion.
constexpr bool has_failover_slots(int version) { return major_version(version) >= 17; }

}  // namespace walign::pg
