// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// How a stream is asked for.
#pragma once

#include "walign/source.hpp"

namespace walign::source {

pg::ConnectionOptions as_replication(pg::ConnectionOptions options);

// The newest version of the protocol that a server of that version (150013) speaks. `streams`: transactions may come
// while they run.
decode::Place best_protocol(int server_version, bool streams);

// START_REPLICATION's plugin options.
std::string plugin_options(const std::vector<std::string>& publications, const decode::Place& protocol,
                           bool two_phase = false);

// What an error of the walsender means to an operator.
Error explained(const Error& error);

}  // namespace walign::source
