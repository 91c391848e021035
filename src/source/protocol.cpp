// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "protocol.hpp"

#include "walign/versions.hpp"

namespace walign::source {

pg::ConnectionOptions as_replication(pg::ConnectionOptions options) {
  options.replication = true;
  return options;
}

decode::Place best_protocol(int server_version, bool streams) {
  return {streams ? pg::pgoutput_protocol(server_version) : 1, false, false};
}

// Transactions in two phases are for captures alone: after a PREPARE is acknowledged its content does not come again.
std::string plugin_options(const std::vector<std::string>& publications, const decode::Place& protocol,
                           bool two_phase) {
  std::vector<std::string> names;
  for (const auto& name : publications) names.push_back(pg::quote_ident(name));
  return cat("proto_version '", protocol.version, "', messages 'true', ",
             protocol.version > 1 ? "streaming 'on', " : "", two_phase ? "two_phase 'on', " : "",
             "publication_names ", pg::quote_literal(join(names, ",")));
}

// RULES 13: the walsender looks publications up as of each change that it decodes.
Error explained(const Error& error) {
  constexpr std::string_view kUndefinedObject = "42704";
  if (error.sqlstate() != kUndefinedObject) return error;
  return Error(ErrorKind::precondition, error.message(),
               "the publication was not there when what comes next was written: it is younger than the slot, "
               "or was "
               "dropped for a while. Make the slot again, after the publication; for a slot of walign's own: "
               "`walign "
               "remove`, then `walign run`")
      .with_sqlstate(error.sqlstate());
}

}  // namespace walign::source
