// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a stream in the other direction is prepared with: the forward mapping, resolved again, and its inverse.
#include "additions.hpp"

namespace walign::stream {

namespace {

// As the way there sees it: its source is what the way back writes to.
Prepared prepare_there(const config::Config& there, pg::Connection& its_source, pg::Connection& its_target) {
  Prepared p;
  p.source = pg::read_server(its_source);
  p.target = pg::read_server(its_target);
  p.source_catalog = pg::read_tables(its_source);
  resolve_routes(there, its_target, p);
  return p;
}

void take_routes(WaysBack& ways, Prepared& back) {
  for (auto& way : ways.tables) {
    if (!way.route) continue;
    way.route->id = static_cast<int>(back.routes.size());
    back.routes.push_back(std::move(*way.route));
  }
}

}  // namespace

Prepared prepare_back(const config::Config& config, pg::Connection& source, pg::Connection& target) {
  const config::Config there = config::reversed(config);
  Prepared forward = prepare_there(there, target, source);
  Prepared back;
  back.findings = forward.findings;
  if (!mapping::any_failed(forward.findings)) {
    auto ways = ways_back(there, forward, target, source);
    back.findings.insert(back.findings.end(), ways.findings.begin(), ways.findings.end());
    take_routes(ways, back);
  }
  back.source = std::move(forward.target);
  back.target = std::move(forward.source);
  back.source_catalog = std::move(forward.target_catalog);
  back.target_catalog = std::move(forward.source_catalog);
  list_published(back);
  const auto row = apply::read_stream(target, config.stream_name());
  check_publications(config, back, row && row->position.valid(), source);
  const auto known = apply::read_relations(target, config.stream_name());
  check_followed(config, back, known, source);
  if (config.schema_change == config::SchemaChange::add_columns) {
    judge_additions_back(forward.routes, back, known, source, target);
  }
  return back;
}

}  // namespace walign::stream
