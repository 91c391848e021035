// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "way_back.hpp"

namespace walign::stream {

namespace {

using mapping::Finding;
using mapping::WayBack;

bool may_make_temporary(pg::Connection& connection) {
  return connection
      .exec("SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')")
      .boolean(0, 0);
}

std::vector<mapping::ExpressionFacts> probe(pg::Connection& source, const mapping::Route& route) {
  auto facts = apply::probe(source, route);
  for (auto& fact : facts) fact.error = bare(std::move(fact.error));
  return facts;
}

// Lets the source judge what would run there.
void complete(const BothWays& both, std::vector<WayBack>& ways) {
  for (std::size_t i = 0; i < ways.size(); ++i) {
    WayBack& way = ways[i];
    if (!way.route) continue;
    const auto& forward = both.prepared.routes[i];
    mapping::complete_way_back(way, forward, probe(both.source, *way.route),
                               probe(both.source, mapping::asked_of_source(forward)));
  }
}

// The statements themselves; what the source refuses of a table ends its way back.
void check_statements(const BothWays& both, std::vector<WayBack>& ways) {
  for (auto& way : ways) {
    if (!way.route) continue;
    for (const auto& finding : apply::check_statements(both.source, {*way.route})) {
      if (finding.level != Finding::Level::fail) continue;
      const auto at = finding.what.find(": ");
      way.findings.push_back({Finding::Level::fail, way.label,
                              cat("no way back: the source refuses what would be written: ",
                                  at == std::string::npos ? finding.what : finding.what.substr(at + 2)),
                              "give the column a reverse: of the source column's type, or one_way: true"});
    }
    if (mapping::any_failed(way.findings)) way.route.reset();
  }
}

bool any_route(const std::vector<WayBack>& ways) {
  return std::any_of(ways.begin(), ways.end(), [](const WayBack& way) { return way.route.has_value(); });
}

}  // namespace

std::string bare(std::string message) {
  if (const auto at = message.find(", in: "); at != std::string::npos) message.resize(at);
  return message;
}

WaysBack ways_back(const config::Config& config, const Prepared& prepared, pg::Connection& source,
                   pg::Connection& target) {
  const BothWays both{config, prepared, source, target};
  WaysBack out;
  out.tables = mapping::invert(prepared.routes, prepared.source_catalog, prepared.target_catalog,
                               pg::read_types(source));
  if (any_route(out.tables)) {
    check_servers_back(both, out.tables, out.findings);
    if (!mapping::any_failed(out.findings) && may_make_temporary(source)) {
      complete(both, out.tables);
      check_statements(both, out.tables);
      check_drawn_keys(both, out.tables);
      check_sample(both, out.tables);
    }
    check_reactions(both, out.tables, out.findings);
  }
  for (const auto& way : out.tables) {
    out.findings.insert(out.findings.end(), way.findings.begin(), way.findings.end());
  }
  const auto back = std::count_if(out.tables.begin(), out.tables.end(),
                                  [](const WayBack& way) { return way.route.has_value(); });
  if (!mapping::any_failed(out.findings)) {
    out.findings.push_back(
        {Finding::Level::ok, "way back", cat(back, " of ", out.tables.size(), " tables"), ""});
  }
  return out;
}

WaysBack ways_back(const config::Config& config, const Prepared& prepared, const Interrupt* interrupt) {
  return looking(config, interrupt, [&](pg::Connection& source, pg::Connection& target) {
    return ways_back(config, prepared, source, target);
  });
}

}  // namespace walign::stream
