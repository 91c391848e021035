// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the files of stream share about the two servers.
#pragma once

#include "walign/relations.hpp"
#include "walign/stream.hpp"

namespace walign::stream {

pg::ConnectionOptions connection_options(const config::Config& config, const std::string& conninfo,
                                         std::string_view what, const Interrupt* interrupt);

inline constexpr std::string_view kLockTimeout = "55P03";
pg::ConnectionOptions looking_options(const config::Config& config, const std::string& conninfo,
                                      const Interrupt* interrupt);
Error locked_out(const config::Config& config, const Interrupt* interrupt, const Error& error);
// Of a look at both servers, `what` of which waits for locks: a bounded time, and with who has them in its error. Size
// and bounds of a table are behind its lock, and the catalogs are read with all tables in them.
template <class What>
auto looking(const config::Config& config, const Interrupt* interrupt, What what) {
  pg::Connection source(looking_options(config, config.source, interrupt));
  pg::Connection target(looking_options(config, config.target, interrupt));
  try {
    return what(source, target);
  } catch (const Error& error) {
    if (error.sqlstate() != kLockTimeout) throw;
    throw locked_out(config, interrupt, error);
  }
}

// prepare() on connections that exist; what only a copy of old rows needs is checked if there will be one.
Prepared prepare_with(const config::Config& config, pg::Connection& source, pg::Connection& target,
                      bool copies_old_rows);

// The same for a reversed configuration: the mapping's inverse, of the tables that have one.
Prepared prepare_back(const config::Config& config, pg::Connection& source, pg::Connection& target);

// For what was recorded of a source that need not be there: the mapping and the target alone.
Prepared prepare_replay(const config::Config& config, pg::ServerFacts source, pg::Catalog tables,
                        pg::Connection& target);

// The target's catalog and the routes, complete; findings. `p` has the servers and the source's catalog.
void resolve_routes(const config::Config& config, pg::Connection& target, Prepared& p);
// What the publications of p.routes must have.
void list_published(Prepared& p);

// The publications that the routes need: there and right, or to be made by a role that may. Adds findings.
// `started`: the stream has a position.
void check_publications(const config::Config& config, Prepared& prepared, bool started,
                        pg::Connection& source);

// `known`: what walign.relation has of the stream. A table of the configuration that the stream has followed must be
// the one that it has followed, and be published still: what was written meanwhile would be missing without a word.
// Adds findings; partitions that have come or gone are warnings.
void check_followed(const config::Config& config, Prepared& prepared,
                    const std::vector<apply::RelationShape>& known, pg::Connection& source);
// The partitions of all mapped tables now, by OID, ascending.
std::vector<pg::Oid> read_partitions(const Prepared& prepared, pg::Connection& source);
// pg_relation_filenode() of every table, by OID.
std::map<pg::Oid, pg::Oid> read_filenodes(pg::Connection& source);
// The catalogs of `shapes` were read between `before` and `after`. Where a table was written anew meanwhile nothing
// says which columns that was with, and it has none.
void put_filenodes(const std::map<pg::Oid, pg::Oid>& before, const std::map<pg::Oid, pg::Oid>& after,
                   std::vector<apply::RelationShape>& shapes);
// Notes every shape that is new, and forgets the tables that are followed no more. `now`: shapes_of().
void note_shapes(pg::Connection& target, const std::string& stream,
                 const std::vector<apply::RelationShape>& now,
                 const std::vector<apply::RelationShape>& known);

// RULES 16: a table that was dropped and made again, or exchanged its name, leaves its publication without a word.
// Throws Error(precondition) where a published table is no longer the one that `prepared` knows.
void require_still_published(const config::Config& config, const Prepared& prepared, pg::Connection& source);

}  // namespace walign::stream
