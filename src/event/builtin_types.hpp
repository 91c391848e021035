// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace walign::event {

// OIDs below this are PostgreSQL's own and the same on every server (FirstGenbkiObjectId); pgoutput
// describes the types above it only.
inline constexpr std::uint32_t kFirstDescribedType = 10000;

// pg_type.typname of a type in pg_catalog; empty if PostgreSQL 15 has none of that OID.
std::string_view builtin_type_name(std::uint32_t oid);

}  // namespace walign::event
