// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "protocol.hpp"

namespace walign::source {

pg::ConnectionOptions as_replication(pg::ConnectionOptions options) {
  options.replication = true;
  return options;
}

// Transactions in two phases are never asked for: after a PREPARE is acknowledged its content does not come again.
decode::Place best_protocol(const pg::Connection& connection, bool streams) {
  const int major = connection.server_version() / 10000;
  if (!streams || major < 14) return {1, false, false};
  return {std::min(major, 16) - 12, false, false};  // 14 speaks version 2, 15 version 3, 16 version 4
}

std::string plugin_options(const std::vector<std::string>& publications, const decode::Place& protocol) {
  std::vector<std::string> names;
  for (const auto& name : publications) names.push_back(pg::quote_ident(name));
  return cat("proto_version '", protocol.version, "', messages 'true', ",
             protocol.version > 1 ? "streaming 'on', " : "", "publication_names ",
             pg::quote_literal(join(names, ",")));
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
