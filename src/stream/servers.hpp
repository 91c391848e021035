// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the files of stream share about the two servers.
#pragma once

#include "walign/stream.hpp"

namespace walign::stream {

pg::ConnectionOptions connection_options(const config::Config& config, const std::string& conninfo,
                                         std::string_view what, const Interrupt* interrupt);

// prepare() on connections that exist; what only a copy of old rows needs is checked if there will be one.
Prepared prepare_with(const config::Config& config, pg::Connection& source, pg::Connection& target,
                      bool copies_old_rows);

// The same for a reversed configuration: the mapping's inverse, of the tables that have one.
Prepared prepare_back(const config::Config& config, pg::Connection& source, pg::Connection& target);

// The target's catalog and the routes, complete; findings. `p` has the servers and the source's catalog.
void resolve_routes(const config::Config& config, pg::Connection& target, Prepared& p);
// What the publications of p.routes must have.
void list_published(Prepared& p);

// The publications that the routes need: there and right, or to be made by a role that may. Adds findings.
// `started`: the stream has a position.
void check_publications(const config::Config& config, Prepared& prepared, bool started,
                        pg::Connection& source);

// RULES 16: a table that was dropped and made again, or exchanged its name, leaves its publication without a word.
// Throws Error(precondition) where a published table is no longer the one that `prepared` knows.
void require_still_published(const config::Config& config, const Prepared& prepared, pg::Connection& source);

}  // namespace walign::stream
