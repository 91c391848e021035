// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The inside of Migration: two streams, one change of sides at a time, and a keeper who looks at the two rows.
#pragma once

#include "turnover.hpp"
#include "walign/backfill.hpp"

namespace walign::cutover {

struct Migration::Impl {
  explicit Impl(Options o);

  // ---- the controller's thread
  Result change(const Request& request, const Controller::Tell& tell, const std::atomic<bool>& cancelled);
  void ended(const Turnover& turnover);
  void log_step(const Progress& step) const;

  void refuse_if_finished();  // run()'s, before the others

  // ---- the keeper's thread
  void keep() noexcept;
  void look();
  void settle(const FenceRow& s);
  void keep_house(const FenceRow& s, const FenceRow& t);
  pg::Connection& server(Side side);
  // What the rows say, for whoever asks; the phase on disk where it has changed. Any thread.
  void note(const FenceRow& s, const FenceRow& t);
  void note_now();  // on connections of its own; best effort
  bool alarm_both(bool both);
  static bool both_open(const FenceRow& s, const FenceRow& t);
  static MigrationFact fact_of(const FenceRow& s, const FenceRow& t);

  // ---- any thread
  [[nodiscard]] stream::Status status() const;
  [[nodiscard]] bool reverse() const;  // the way back is the one that applies
  template <class Do>
  auto on_applying(Do what);

  void export_phase();

  const Options options;
  std::optional<obs::Metrics> forward_metrics,
      back_metrics;  // with the direction; none where nobody wants them
  const std::string fence;
  Lane lane;
  const std::unique_ptr<stream::Companion> backfill;
  const std::unique_ptr<verify::Verifier> verifier;
  stream::Sidecar forward;
  Back back;

  std::mutex changing;                // one change, or one look that acts, at a time
  std::atomic<bool> watching{false};  // there are rows, or will be
  std::atomic<bool> settled{false};   // what an earlier instance left is at rest
  std::atomic<bool> tidy{false};      // nothing of the last change is left to clear away
  const std::atomic<bool> never{false};

  mutable std::mutex mutex;  // the next five
  stream::SidesStatus sides;
  std::string shown_phase;  // empty: the forward stream's own
  bool phase_kept = false;  // the phase on disk was brought in line with the rows
  std::string not_back;
  bool both_are_open = false;

  // The keeper's, down to `target`.
  std::chrono::steady_clock::time_point back_tried;
  std::unique_ptr<pg::Connection> source, target;
  Interrupt done;
  std::thread keeper;
  Controller controller;  // last: its thread uses all of the above
};

}  // namespace walign::cutover
