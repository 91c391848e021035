// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "crossing.hpp"

namespace walign::stream {

namespace {

state::TimelineHistory read_history(const config::Config& config, std::uint32_t timeline) {
  if (timeline <= 1) return {};  // the first one has no history
  auto options = connection_options(config, config.source, "timeline", nullptr);
  options.replication = true;
  pg::Connection walsender(options);
  return state::parse_timeline_history(walsender.exec(cat("TIMELINE_HISTORY ", timeline)).text(0, 1));
}

// Of tables that are not mapped any more nothing is gone on with.
std::vector<state::CopiedTo> read_copied(pg::Connection& target, const std::string& stream,
                                         const std::vector<mapping::Route>& routes) {
  const auto r = target.query(
      "SELECT route, max(fence) FROM walign.chunk WHERE stream = $1 GROUP BY route ORDER BY 2 DESC",
      {stream});
  std::vector<state::CopiedTo> out;
  for (int i = 0; i < r.rows(); ++i) {
    const auto is_it = [&](const mapping::Route& route) { return route.label() == r.text(i, 0); };
    if (std::any_of(routes.begin(), routes.end(), is_it)) out.push_back({r.str(i, 0), r.lsn(i, 1)});
  }
  return out;
}

}  // namespace

std::optional<state::Crossing> cross(const config::Config& config, const std::vector<mapping::Route>& routes,
                                     state::StartFacts& facts, pg::Connection& target) {
  if (!state::is_other_timeline(facts)) return std::nullopt;
  if (config.reverse) return std::nullopt;  // decide_start() refuses it
  const std::string stream = config.stream_name();
  const auto history = read_history(config, facts.source_timeline);
  auto first_look = facts;
  state::cross_timeline(first_look, history, read_copied(target, stream, routes));
  // Once more when an earlier session can write nothing more: a commit of it may have been on its way.
  apply::take_over(target, stream);
  if (const auto row = apply::read_stream(target, stream)) facts.target->position = row->position;
  const auto crossing = state::cross_timeline(facts, history, read_copied(target, stream, routes));
  obs::warn("the source failed over; all that was read from its old timeline is on the new one, too",
            {{"from_timeline", crossing.from},
             {"timeline", crossing.to},
             {"old_end", crossing.end},
             {"lsn", facts.target->position}});
  return crossing;
}

void note_crossing(pg::Connection& target, const std::string& stream, const state::Crossing& crossing) {
  target.exec("BEGIN; SET LOCAL synchronous_commit = on");
  target.query("UPDATE walign.stream SET source_timeline = $2 WHERE name = $1", {stream, cat(crossing.to)});
  target.query("DELETE FROM walign.relation WHERE stream = $1 AND seen > $2",
               {stream, crossing.end.to_string()});
  target.exec("COMMIT");
}

}  // namespace walign::stream
