// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "drain.hpp"

#include "fence_transaction.hpp"

namespace walign::cutover {

namespace {

constexpr Millis kBetween{2};

constexpr const char* kWhere = R"(
SELECT f.epoch = $3::pg_catalog.int8 AND f.state = 'CLOSED', f.fence_lsn, s.position, f.epoch, f.state
FROM walign.fence f LEFT JOIN walign.stream s ON s.name = $4
WHERE f.migration = $1 AND f.side = $2)";

// One synchronous commit: everything committed before it is flushed with it.
void flush(pg::Connection& server) {
  FenceTransaction transaction(server, {});
  server.exec("SELECT pg_catalog.pg_logical_emit_message(true, 'walign', '')");
  transaction.commit("flushing what was drained");
}

}  // namespace

Answer drain(pg::Connection& taker, const FenceId& id, std::uint64_t epoch, const std::string& stream,
             Millis left, const std::function<void(Millis)>& pause) {
  const auto end = std::chrono::steady_clock::now() + left;
  for (;;) {
    const auto r = taker.query(kWhere, {id.migration, std::string(side_name(id.side)), cat(epoch), stream});
    if (r.rows() == 0) return {Answer::Kind::refused, cat("the ", side_name(id.side), " has no row")};
    if (!r.boolean(0, 0)) {
      return {Answer::Kind::refused,
              cat("the ", side_name(id.side), " is at epoch ", r.text(0, 3), ", ", r.text(0, 4))};
    }
    const Lsn fence = r.lsn(0, 1), position = r.lsn(0, 2);
    if (fence.valid() && position >= fence) {
      flush(taker);
      return {};
    }
    if (std::chrono::steady_clock::now() >= end) {
      return {Answer::Kind::given_up,
              fence.valid() ? cat("the stream is at ", position, ", before the fence at ", fence)
                            : cat("the stream is at ", position, " and has not met the fence's marker yet")};
    }
    pause(kBetween);
  }
}

}  // namespace walign::cutover
