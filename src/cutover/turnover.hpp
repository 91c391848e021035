// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One change of sides, from what was asked for to the report: what is looked at and made beforehand, the driver with
// its hands, and what is left behind.
//
// Threads: one at a time, on whichever; the streams run on theirs.
#pragma once

#include "back.hpp"
#include "report.hpp"
#include "step_hands.hpp"

namespace walign::cutover {

class Turnover {
 public:
  struct Streams {
    const config::Config& config;  // of the way there
    stream::Sidecar& forward;
    verify::Verifier& verifier;  // of the way there
    Lane& lane;                  // of the way there
    Back& back;
    const Interrupt* stop;
  };
  Turnover(Streams streams, Controller::Tell tell, const std::atomic<bool>& cancelled)
      : streams_(streams), tell_(std::move(tell)), cancelled_(cancelled) {}

  Result run(const Request& request);
  // Brings to its end what an earlier instance has left half done. Nothing where nothing was.
  std::optional<Result> settle();

  // Of the gates when they were last asked; of a rollback that could be asked for now.
  [[nodiscard]] const std::vector<Gate>& gates() const { return gates_; }
  [[nodiscard]] const std::vector<Blocker>& blockers() const { return blockers_; }
  // From the first lock to the opening; nothing where writes were not stopped.
  [[nodiscard]] std::optional<double> pause_ms() const { return pause_ms_; }

 private:
  void look_at_servers(bool forward);
  std::optional<Result> nothing_to_do(Side giver);
  std::optional<Result> refuse_findings(Verb verb);
  std::optional<Result> try_all_privileges();
  std::optional<Result> refuse_loss(const Request& request);
  std::optional<Result> start_back();
  void close_target();
  double verify_beforehand(verify::Verifier& verifier, const verify::Request& request,
                           Millis most = std::chrono::hours(24 * 365));
  void prove_beforehand(Side giver);
  std::string prove_round_trips();
  void note_losses();
  void note_losses_behind();
  void telling(const char* what, const std::function<void()>& does);
  std::optional<Result> refuse_lag(Side giver) const;
  void make_hands();
  std::uint64_t claim_owner();
  Result drive(const Request& request);
  Result dry_run(Side giver);
  void look_beforehand(Side giver, Result& out);
  double measure_rest(Side giver);
  double measure_proof(Side giver, pg::Connection& gives, pg::Connection& takes);
  double measure_opening(Side giver, pg::Connection& gives, pg::Connection& takes);

  [[nodiscard]] FenceSide fence_side(Side side) const;
  [[nodiscard]] stream::Status status_of(Side giver) const;
  [[nodiscard]] Figures figures(Side giver) const;
  Answer prove(const Attempt& attempt, Millis left);
  void flow(Flow flow);
  bool still(Millis left);
  [[nodiscard]] Surroundings surroundings();
  [[nodiscard]] Timing timing() const;
  void ask_writers(Side giver, Side open, Writes& writes);
  void write_report(const Request& request, Result& result);
  void after_back_out(const Result& result);
  pg::ConnectionOptions connection(const std::string& conninfo) const;

  Streams streams_;
  const Controller::Tell tell_;
  const std::atomic<bool>& cancelled_;

  stream::Prepared prepared_;
  stream::WaysBack ways_;
  std::vector<mapping::Route> backward_;
  std::unique_ptr<StepHands> hands_;
  std::int64_t began_us_ = 0;         // since 1970, as the next
  std::int64_t driver_began_us_ = 0;  // what the steps' times count from
  bool drained_ = false;
  std::optional<Proved> proved_;
  std::optional<double> predicted_ms_;
  std::optional<double> proof_ms_;  // of the last proof while writes went on
  std::vector<Gate> gates_;
  std::vector<Blocker> blockers_;
  std::optional<double> pause_ms_;
};

}  // namespace walign::cutover
