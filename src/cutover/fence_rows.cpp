// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// walign.fence: made, read, and changed by compare-and-set.
#include "fence_counters.hpp"
#include "fence_schema.hpp"
#include "fence_transaction.hpp"

namespace walign::cutover {

namespace {

constexpr std::array<std::pair<RowState, std::string_view>, 6> kStates = {{
    {RowState::open, "OPEN"},
    {RowState::fencing, "FENCING"},
    {RowState::fenced, "FENCED"},
    {RowState::sealed, "SEALED"},
    {RowState::closed, "CLOSED"},
    {RowState::aborted, "ABORTED"},
}};

constexpr const char* kRowColumns =
    "f.epoch, f.state, f.owner, (extract(epoch FROM f.lease_until) * 1000000)::pg_catalog.int8, f.fence_lsn, "
    "f.open_lsn, coalesce(pg_catalog.to_jsonb(f) ->> 'not_back', '')";  // version 1 has no such column

RowState parse_state(std::string_view text) {
  for (const auto& [state, name] : kStates) {
    if (name == text) return state;
  }
  throw Error(ErrorKind::precondition,
              cat("walign.fence has a state that this program does not know: ", text),
              "use the walign that wrote it");
}

std::optional<FenceRow> row_of(const pg::Result& r) {
  if (r.rows() == 0) return std::nullopt;
  FenceRow row;
  row.epoch = static_cast<std::uint64_t>(r.integer(0, 0));
  row.state = parse_state(r.text(0, 1));
  row.owner = static_cast<std::uint64_t>(r.integer(0, 2));
  if (!r.is_null(0, 3)) row.lease_until_us = r.integer(0, 3);
  if (!r.is_null(0, 4)) row.fence_lsn = r.lsn(0, 4);
  if (!r.is_null(0, 5)) row.open_lsn = r.lsn(0, 5);
  row.not_back = r.str(0, 6);
  return row;
}

std::optional<FenceRow> select_row(pg::Connection& server, const FenceId& id, const char* lock) {
  return row_of(server.query(
      cat("SELECT ", kRowColumns, " FROM walign.fence f WHERE f.migration = $1 AND f.side = $2", lock),
      {id.migration, std::string(side_name(id.side))}));
}

bool installed_version(pg::Connection& server) {
  const auto r =
      server.exec("SELECT pg_catalog.obj_description(pg_catalog.to_regclass('walign.fence'), 'pg_class') ");
  return r.text(0, 0) == kFenceVersion;
}

bool has_schema(pg::Connection& server) {
  return server.exec("SELECT pg_catalog.to_regnamespace('walign') IS NOT NULL").boolean(0, 0);
}

void lock_schema(pg::Connection& server) {
  server.exec("SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('walign schema'))");
}

constexpr const char* kSet = R"(
UPDATE walign.fence f SET epoch = $6::bigint, state = $7, owner = $8::bigint,
  lease_until = CASE WHEN $7 IN ('FENCING', 'FENCED') THEN
    coalesce(pg_catalog.clock_timestamp() + $9::bigint * interval '1 millisecond', f.lease_until) END,
  fence_lsn = CASE WHEN f.epoch = $6::bigint THEN f.fence_lsn END,
  open_lsn = CASE WHEN $7 <> 'OPEN' THEN f.open_lsn END, changed_at = pg_catalog.clock_timestamp()
WHERE f.migration = $1 AND f.side = $2 AND f.epoch = $3::bigint AND f.state = $4 AND f.owner = $5::bigint
RETURNING )";

pg::Param param(const std::string& text) { return {text, 0, false, false}; }

}  // namespace

std::string stream_to(const FenceId& id) {
  return id.side == Side::source ? id.migration + "_reverse" : id.migration;
}
std::string_view state_name(RowState state) { return kStates.at(static_cast<std::size_t>(state)).second; }
std::string_view side_name(Side side) { return side == Side::source ? "source" : "target"; }
std::string describe(const FenceRow& row) { return cat("epoch ", row.epoch, ", ", state_name(row.state)); }

bool fence_installed(pg::Connection& server) {
  return server.exec("SELECT pg_catalog.to_regclass('walign.fence') IS NOT NULL").boolean(0, 0);
}

void install_fence(pg::Connection& server) {
  if (installed_version(server)) return;
  FenceTransaction transaction(server, {});
  lock_schema(server);
  if (!has_schema(server)) server.exec("CREATE SCHEMA walign");
  server.exec(kFenceTable);
  server.exec(kFenceFunctions);
  server.exec(cat("COMMENT ON TABLE walign.fence IS ", pg::quote_literal(kFenceVersion)));
  transaction.commit("making walign.fence");
}

void remove_fence(pg::Connection& server, const std::string& migration) {
  if (!fence_installed(server)) return;
  FenceTransaction transaction(server, {});
  lock_schema(server);
  const auto up = server.query(
      "SELECT count(*) FROM pg_catalog.pg_trigger t WHERE t.tgparentid = 0 AND t.tgname IN ($1, $2) AND "
      "t.tgfoid = "
      "pg_catalog.to_regprocedure('walign.guard()')",
      {cat(migration, "_row"), cat(migration, "_statement")});
  if (up.integer(0, 0) > 0) {
    throw Error(ErrorKind::precondition,
                cat(up.integer(0, 0), " triggers of ", migration, " are still up: its fence stays"),
                "they come down when nobody holds their tables; run again");
  }
  server.query("DELETE FROM walign.fence WHERE migration = $1", {migration});
  for (const Side side : {Side::source, Side::target}) server.exec(drop_counters({migration, side}));
  if (server.exec("SELECT count(*) FROM walign.fence").integer(0, 0) == 0) {
    server.exec(
        "DROP FUNCTION walign.count_write(text, text, boolean), walign.guard(), walign.expect_fence(text, "
        "text, bigint, text, bigint), "
        "walign.guard_table(regclass, text, text, bigint, text), walign.reopen(text, boolean); "
        "DROP TABLE walign.fence");
    const auto others = server.exec(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = 'walign'::regnamespace) OR "
        "EXISTS "
        "(SELECT FROM pg_catalog.pg_proc WHERE pronamespace = 'walign'::regnamespace)");
    if (!others.boolean(0, 0)) server.exec("DROP SCHEMA walign");
  }
  transaction.commit("removing walign.fence");
}

std::optional<FenceRow> read_row(pg::Connection& server, const FenceId& id) {
  if (!fence_installed(server)) return std::nullopt;
  return select_row(server, id, "");
}

std::optional<FenceRow> settled_row(pg::Connection& server, const FenceId& id, Millis timeout) {
  if (!fence_installed(server)) return std::nullopt;
  FenceTransaction transaction(server, {timeout, Millis(0), false});
  auto row = select_row(server, id, " FOR UPDATE");
  transaction.rollback();
  return row;
}

bool insert_row(pg::Connection& server, const FenceId& id, const FenceRow& row) {
  FenceTransaction transaction(server, {});
  const auto r = server.query(
      "INSERT INTO walign.fence (migration, side, epoch, state, owner, open_lsn) VALUES ($1, $2, $3, $4, $5, "
      "CASE WHEN $4 = 'CLOSED' THEN '0/0'::pg_catalog.pg_lsn END) ON CONFLICT DO NOTHING",
      {id.migration, std::string(side_name(id.side)), cat(row.epoch), std::string(state_name(row.state)),
       cat(row.owner)});
  server.exec(make_counters(id));
  transaction.commit("the first row of the fence");
  return r.affected() == 1;
}

Swapped compare_and_set(pg::Connection& server, const FenceId& id, const FenceRow& expected, const Change& to,
                        Millis timeout) {
  const std::vector<std::string> text = {id.migration,
                                         std::string(side_name(id.side)),
                                         cat(expected.epoch),
                                         std::string(state_name(expected.state)),
                                         cat(expected.owner),
                                         cat(to.epoch),
                                         std::string(state_name(to.state)),
                                         cat(to.owner)};
  const std::string lease = to.lease ? cat(to.lease->count()) : std::string();
  std::vector<pg::Param> params;
  for (const auto& value : text) params.push_back(param(value));
  params.push_back({lease, 0, false, !to.lease});
  FenceTransaction transaction(server, {timeout, Millis(0), false});
  Swapped swapped;
  swapped.row = row_of(server.query_params(cat(kSet, kRowColumns), params));
  swapped.done = swapped.row.has_value();
  if (!swapped.done) swapped.row = select_row(server, id, "");
  if (swapped.done && !to.displaces.empty()) apply::displace(server, to.displaces);
  transaction.commit(cat("the ", side_name(id.side), "'s row to ", state_name(to.state)));
  return swapped;
}

bool switched(pg::Connection& opened, const FenceId& id, std::uint64_t epoch) {
  const auto r = opened.query(
      "SELECT f.switched_epoch = $3::pg_catalog.int8 FROM walign.fence f WHERE f.migration = $1 AND f.side = "
      "$2",
      {id.migration, std::string(side_name(id.side)), cat(epoch)});
  return r.rows() == 1 && !r.is_null(0, 0) && r.boolean(0, 0);
}

void note_switched(pg::Connection& opened, const FenceId& id, std::uint64_t epoch) {
  FenceTransaction transaction(opened, {});
  opened.query("UPDATE walign.fence f SET switched_epoch = $3 WHERE f.migration = $1 AND f.side = $2",
               {id.migration, std::string(side_name(id.side)), cat(epoch)});
  transaction.commit("noting the switch");
}

void note_not_back(pg::Connection& target, const std::string& migration, const std::string& why) {
  FenceTransaction transaction(target, {});
  target.query(
      "UPDATE walign.fence f SET not_back = nullif($3, '') WHERE f.migration = $1 AND f.side = $2 AND "
      "f.not_back IS DISTINCT FROM nullif($3, '')",
      {migration, std::string(side_name(Side::target)), why});
  transaction.commit("noting whether writes could come back");
}

apply::Extra note_fence_lsn(const FenceId& taker, std::uint64_t epoch, Lsn marker_end) {
  return {
      "UPDATE walign.fence f SET fence_lsn = $4::pg_catalog.pg_lsn WHERE f.migration = $1 AND f.side = $2 "
      "AND "
      "f.epoch = $3::pg_catalog.int8 AND f.state = 'CLOSED'",
      {taker.migration, std::string(side_name(taker.side)), cat(epoch), marker_end.to_string()}};
}

apply::Extra note_open_lsn(const FenceId& side, std::uint64_t epoch, Lsn marker_end) {
  return {
      "UPDATE walign.fence f SET open_lsn = $4::pg_catalog.pg_lsn WHERE f.migration = $1 AND f.side = $2 "
      "AND f.epoch >= $3::pg_catalog.int8 AND f.state IN ('SEALED', 'CLOSED', 'ABORTED') AND f.open_lsn IS "
      "NULL",
      {side.migration, std::string(side_name(side.side)), cat(epoch), marker_end.to_string()}};
}

// fence MIGRATION source 7
std::string marker_text(const Marker& marker) {
  return cat(marker.kind == Marker::Kind::fence ? "fence " : "open ", marker.id.migration, " ",
             side_name(marker.id.side), " ", marker.epoch);
}

namespace {

std::string_view next_word(std::string_view& text) {
  const auto space = text.find(' ');
  const auto word = text.substr(0, space);
  text = space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
  return word;
}

}  // namespace

std::optional<Marker> parse_marker(std::string_view text) {
  Marker marker;
  const auto kind = next_word(text);
  if (kind != "fence" && kind != "open") return std::nullopt;
  marker.kind = kind == "fence" ? Marker::Kind::fence : Marker::Kind::open;
  marker.id.migration = std::string(next_word(text));
  const auto side = next_word(text);
  if (marker.id.migration.empty() || (side != "source" && side != "target")) return std::nullopt;
  marker.id.side = side == "source" ? Side::source : Side::target;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), marker.epoch);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return marker;
}

std::pair<std::string, std::string> pass_setting(const std::string& migration) {
  return {config::kPassSetting, migration};
}

}  // namespace walign::cutover
