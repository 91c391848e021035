// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The point of no return.
#include "fence_transaction.hpp"

namespace walign::cutover {

namespace {

// $1 migration, $2 side, $3 epoch, $4 owner, $5 stream
constexpr const char* kWouldOpen = R"(
FROM walign.fence f LEFT JOIN walign.stream s ON s.name = $5
WHERE f.migration = $1 AND f.side = $2)";

constexpr const char* kOpen = R"(
UPDATE walign.fence f SET state = 'OPEN', lease_until = NULL, open_lsn = NULL,
  changed_at = pg_catalog.clock_timestamp()
FROM walign.stream s
WHERE f.migration = $1 AND f.side = $2 AND f.epoch = $3::pg_catalog.int8 AND f.state = 'CLOSED'
  AND f.owner = $4::pg_catalog.int8 AND s.name = $5 AND s.position >= f.fence_lsn)";

}  // namespace

Opening::Opening(pg::Connection& taker, FenceId id, FenceRow row, std::string stream, Millis timeout,
                 Millis max_idle)
    : taker_(taker), id_(std::move(id)), row_(row), stream_(std::move(stream)) {
  WALIGN_CHECK(row_.state == RowState::closed);
  const std::string side(side_name(id_.side));
  try {
    taker_.exec(cat("BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = ", timeout.count(),
                    "; SET LOCAL idle_in_transaction_session_timeout = ", max_idle.count()));
    in_transaction_ = true;
    const auto r = taker_.query(
        cat("SELECT f.epoch = $3::pg_catalog.int8 AND f.state = 'CLOSED' AND f.owner = $4::pg_catalog.int8, "
            "f.epoch, f.state, f.fence_lsn, s.position",
            kWouldOpen, " FOR UPDATE OF f"),
        {id_.migration, side, cat(row_.epoch), cat(row_.owner), stream_});
    if (r.rows() == 0) {
      refusal_ = cat("there is no row for the ", side, " side");
    } else if (!r.boolean(0, 0)) {
      refusal_ = cat("the ", side, " side is at epoch ", r.text(0, 1), ", ", r.text(0, 2));
    } else if (r.is_null(0, 3)) {
      refusal_ = "the stream has not passed the fence's marker";
    } else if (r.is_null(0, 4)) {
      refusal_ = cat("there is no stream ", stream_, " on this server");
    } else if (r.lsn(0, 4) < r.lsn(0, 3)) {
      refusal_ = cat("the stream is at ", r.lsn(0, 4), ", before the fence at ", r.lsn(0, 3));
    }
  } catch (...) {
    try {
      if (in_transaction_ && !taker_.broken()) taker_.exec("ROLLBACK");
    } catch (const Error&) {  // the connection went
    }
    throw;
  }
}

Opening::~Opening() {
  if (!in_transaction_) return;
  try {
    if (!taker_.broken()) taker_.exec("ROLLBACK");
  } catch (const std::exception&) {  // the connection went, and the transaction with it
  }
}

Opening::Opened Opening::open() {
  WALIGN_CHECK(in_transaction_);
  Opened opened;
  const auto changed = taker_.query(
      kOpen, {id_.migration, std::string(side_name(id_.side)), cat(row_.epoch), cat(row_.owner), stream_});
  if (changed.affected() != 1) return opened;
  const Marker marker{Marker::Kind::open, id_, row_.epoch};
  opened.marker_lsn = taker_
                          .query("SELECT pg_catalog.pg_logical_emit_message(true, $1, $2::text)",
                                 {kMarkerPrefix, marker_text(marker)})
                          .lsn(0, 0);
  in_transaction_ = false;
  commit_or_doubt(taker_, cat("opening the ", side_name(id_.side), " side"));
  opened.done = true;
  opened.after_lsn = end_of_wal(taker_);
  return opened;
}

}  // namespace walign::cutover
