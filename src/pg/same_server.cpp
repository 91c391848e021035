// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/same_server.hpp"

namespace walign::pg {

void require_same_server(Connection& connection, const ServerFacts& looked_at) {
  const auto is = read_server(connection);
  if (!is.in_recovery && is.system_id == looked_at.system_id && is.timeline == looked_at.timeline) return;
  const std::string what = is.in_recovery
                               ? cat("a standby of system ", is.system_id)
                               : cat("the primary of system ", is.system_id, " on timeline ", is.timeline);
  throw Error(
      ErrorKind::transient,
      cat(connection.describe(), " is ", what, "; what was looked at is the primary of system ",
          looked_at.system_id, " on timeline ", looked_at.timeline),
      "walign looks again and goes on by itself where it may; if it comes again, let the address name "
      "one server, or add target_session_attrs=read-write");
}

}  // namespace walign::pg
