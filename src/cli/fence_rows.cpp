// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "fence_rows.hpp"

#include <future>

#include "text.hpp"
#include "walign/pg.hpp"

namespace walign::cli {

namespace {

constexpr std::chrono::seconds kPatience(3);  // with both servers together

struct Row {
  std::optional<std::string> state;
  std::optional<std::int64_t> lease_until_us;
  std::optional<std::uint64_t> epoch;
  std::string why_not;  // it could not be read
};

Row read_row(const std::string& conninfo, const std::string& fence, const char* side,
             const Interrupt& enough) {
  Row out;
  pg::ConnectionOptions options;
  options.conninfo = conninfo;
  options.application_name = "walign status";
  options.interrupt = &enough;
  pg::Connection server(options);
  if (!server.exec("SELECT pg_catalog.to_regclass('walign.fence') IS NOT NULL").boolean(0, 0)) return out;
  const auto r = server.query(
      "SELECT f.state, f.epoch, (extract(epoch FROM f.lease_until) * 1000000)::pg_catalog.int8 FROM "
      "walign.fence f "
      "WHERE f.migration = $1 AND f.side = $2",
      {fence, side});
  if (r.rows() == 0) return out;
  out.state = r.str(0, 0);
  out.epoch = static_cast<std::uint64_t>(r.integer(0, 1));
  if (!r.is_null(0, 2)) out.lease_until_us = r.integer(0, 2);
  return out;
}

Row try_to_read(const std::string& conninfo, const std::string& fence, const char* side,
                const Interrupt& enough) {
  try {
    return read_row(conninfo, fence, side, enough);
  } catch (const Error& error) {
    Row out;
    out.why_not = error.kind() == ErrorKind::interrupted ? cat("no answer within ", kPatience.count(), " s")
                                                         : one_line(error.message());
    return out;
  }
}

}  // namespace

std::vector<std::string> read_fence_rows(const config::Config& config, stream::SidesStatus& sides) {
  Interrupt enough;
  const std::string fence = config.fence_name();
  const auto ask = [&](const std::string& conninfo, const char* side) {
    return std::async(std::launch::async, [&enough, &conninfo, &fence, side] {
      return try_to_read(conninfo, fence, side, enough);
    });
  };
  auto asked_source = ask(config.source, "source");
  auto asked_target = ask(config.target, "target");
  const auto end = std::chrono::steady_clock::now() + kPatience;
  (void)asked_source.wait_until(end);
  (void)asked_target.wait_until(end);
  enough.raise();
  const Row source = asked_source.get();
  const Row target = asked_target.get();
  sides.source = source.state;
  sides.target = target.state;
  sides.epoch = std::max(source.epoch, target.epoch);
  sides.lease_until_us = source.lease_until_us ? source.lease_until_us : target.lease_until_us;
  std::vector<std::string> out;
  if (!source.why_not.empty())
    out.push_back(cat("the source could not be asked who takes writes: ", source.why_not));
  if (!target.why_not.empty())
    out.push_back(cat("the target could not be asked who takes writes: ", target.why_not));
  return out;
}

}  // namespace walign::cli
