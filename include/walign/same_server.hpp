// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// same_server: that a connection leads to the server that was looked at. A part of module pg. An address may name
// several servers, and one of them may be promoted between two connections: what was decided by one is not true of
// another.
#pragma once

#include "walign/catalog.hpp"

namespace walign::pg {

// Throws Error(transient) where the connection is to another server than `looked_at`, to another timeline of it, or to
// a standby: a new beginning looks at whichever is there then.
void require_same_server(Connection& connection, const ServerFacts& looked_at);

}  // namespace walign::pg
