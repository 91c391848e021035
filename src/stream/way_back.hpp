// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What preflight asks of a way back, in four parts: both servers, what the source does when rows are written to it,
// keys that it draws, and a sample of rows sent there and back.
#pragma once

#include "servers.hpp"

namespace walign::stream {

struct BothWays {
  const config::Config& config;
  const Prepared& prepared;
  pg::Connection& source;
  pg::Connection& target;
};

// A server's message without the statement of ours that it is about.
std::string bare(std::string message);

// The target as the one that is read: wal_level, slots, senders, privileges; the source as the one that is written.
void check_servers_back(const BothWays& both, const std::vector<mapping::WayBack>& ways,
                        mapping::Findings& findings);
// Triggers and foreign keys of the source's tables that would act on what comes back.
void check_reactions(const BothWays& both, const std::vector<mapping::WayBack>& ways,
                     mapping::Findings& findings);
// Of tables whose new rows get a key of the source's: that it can be drawn there, and written here.
void check_drawn_keys(const BothWays& both, std::vector<mapping::WayBack>& ways);
// Some of each table's present rows through the mapping, on the target, and back, on the source.
void check_sample(const BothWays& both, std::vector<mapping::WayBack>& ways);

}  // namespace walign::stream
