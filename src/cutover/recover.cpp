// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// recover: the protocol with no stream, no mapping and no hooks, only the two rows.
#include <thread>

#include "fence_hands.hpp"

namespace walign::cutover {

namespace {

constexpr Millis kReach{10'000};
constexpr Millis kRowPatience{500};
constexpr const char* kApplication = "walign recover";

class RowsOnly : public FenceHands {
 public:
  using FenceHands::FenceHands;
  Answer work(Step step, const Attempt& /*attempt*/, Millis /*left*/) override {
    if (step == Step::switch_over) return {};  // the caller says what is left to do
    return {Answer::Kind::refused, cat("recover has no stream: ", name(step), " is not for it")};
  }
  void flow(Flow /*flow*/) override {}

  // Triggers of the open side; what could not be had stays, and lets every write pass.
  std::vector<std::string> take_down(Side open) {
    const auto row = settled_row(server(open), id(open), kRowPatience);
    if (!row || row->state != RowState::open) return {};
    return take_guards_down(server(open), id(open), row->epoch, kRowPatience);
  }
};

struct Place {
  Side side;
  pg::ConnectionOptions options;
};

std::vector<std::string> names_on(pg::Connection& server, Side side) {
  std::vector<std::string> out;
  if (!fence_installed(server)) return out;
  const auto r = server.query("SELECT f.migration FROM walign.fence f WHERE f.side = $1 ORDER BY 1",
                              {std::string(side_name(side))});
  for (int i = 0; i < r.rows(); ++i) out.push_back(r.str(i, 0));
  return out;
}

std::string find_migration(pg::Connection& server, Side side, const std::string& asked) {
  const auto names = names_on(server, side);
  if (!asked.empty() && std::find(names.begin(), names.end(), asked) != names.end()) return asked;
  if (asked.empty() && names.size() == 1) return names.front();
  if (names.empty() || !asked.empty()) {
    throw Error(
        ErrorKind::precondition,
        cat("there is no fence ", asked.empty() ? "" : cat("of ", asked, " "), "as the ", side_name(side),
            " on ", server.describe()),
        "are the two servers exchanged, or was nothing ever cut over here? Then there is nothing to recover");
  }
  throw Error(ErrorKind::precondition, cat("several migrations have a fence there: ", join(names, ", ")),
              "say which one is meant");
}

// Above the owners of both rows; on the target the stream's start epoch, which this takes over: an instance that
// still runs can apply nothing from here on.
std::uint64_t claim(const std::string& migration, const std::vector<Place>& places) {
  std::uint64_t highest = 0;
  for (const auto& place : places) {
    pg::Connection server(place.options);
    const auto row = settled_row(server, {migration, place.side}, kReach);
    if (row) highest = std::max(highest, row->owner);
  }
  for (const auto& place : places) {
    if (place.side != Side::target) continue;
    pg::Connection target(place.options);
    if (!apply::schema_installed(target) || !apply::read_stream(target, migration)) continue;
    std::uint64_t epoch = 0;
    do epoch = apply::take_over(target, migration);
    while (epoch <= highest);
    return epoch;
  }
  return highest + 1;
}

FenceSide side_of(const Recovery& recovery, Side side, const std::string& migration) {
  FenceSide out;
  out.connection.conninfo = side == Side::source ? recovery.source : recovery.target;
  out.connection.application_name = kApplication;
  out.connection.interrupt = recovery.interrupt;
  out.address = pg::describe_conninfo(side == Side::source ? recovery.target : recovery.source);
  out.stream = stream_to({migration, side});
  return out;
}

std::string where_writes_are(const Result& result, const std::vector<std::string>& left) {
  std::string text = cat("writes go to the ", result.writes);
  if (!left.empty()) text += cat("; triggers that let them pass are still on ", join(left, ", "));
  return text;
}

}  // namespace

Result recover(const Recovery& recovery, const std::function<void(const Progress&)>& tell) {
  std::vector<Place> places;
  std::string migration = recovery.migration;
  for (const Side side : {Side::source, Side::target}) {
    const auto gone = side == Side::source ? Recovery::Gone::source : Recovery::Gone::target;
    if (recovery.gone == gone) continue;
    places.push_back({side, side_of(recovery, side, {}).connection});
    pg::Connection server(places.back().options);
    migration = find_migration(server, side, migration);
  }
  RowsOnly hands(migration, side_of(recovery, Side::source, migration),
                 side_of(recovery, Side::target, migration), config::Cutover{}, claim(migration, places));
  Timing timing;
  timing.reach = kReach;
  timing.goes_on = false;
  const auto pause = [&recovery](Millis time) {
    if (recovery.interrupt != nullptr) return recovery.interrupt->sleep_for(time);
    std::this_thread::sleep_for(time);
  };
  Driver driver(hands, timing, Clock::system(), pause, tell);
  std::optional<Side> gone;
  if (recovery.gone == Recovery::Gone::source) gone = Side::source;
  if (recovery.gone == Recovery::Gone::target) gone = Side::target;
  Result result = driver.recover(gone);
  if (result.outcome != Result::Outcome::done) return result;
  const Side open = result.writes == name(Side::source) ? Side::source : Side::target;
  result.message = where_writes_are(result, hands.take_down(open));
  const bool switched = std::any_of(result.steps.begin(), result.steps.end(),
                                    [](const Progress& p) { return p.step == name(Step::switch_over); });
  if (switched) result.hint = "if the switch hook has not run yet, run it: recover does not know it";
  return result;
}

}  // namespace walign::cutover
