// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What finish and remove share: both servers of a migration of which nothing runs, what of it is there, and the steps
// by which it goes. Every step looks at what is there and may be repeated.
//
//   finish   the old side closed by triggers of its own ──> guards down ──> [renamed] ──> streams ──> rows
//   remove   guards down ──> rows ──> streams
//
// finish never leaves a moment in which the old side could be written to: what refuses for good is there before the
// guards go. The source's row, SEALED, goes last: as long as there is anything of the migration's, it says that the
// source does not take writes.
#pragma once

#include <set>

#include "fence.hpp"
#include "walign/cutover.hpp"

namespace walign::cutover {

using Tell = std::function<void(const std::string&)>;

struct TwoServers {
  TwoServers(const config::Config& config, const char* doing, const Interrupt* interrupt);

  [[nodiscard]] pg::Connection& server(Side side) { return side == Side::source ? source : target; }
  [[nodiscard]] const std::string& name() const { return fence; }

  const config::Config& config;
  const Interrupt* interrupt;
  const std::string fence;  // Config::fence_name()
  pg::Connection source;
  pg::Connection target;
  bool one_database = false;
  std::string source_address, target_address;  // where an application would write: db.example:5432/app
};

struct FenceRows {
  std::optional<FenceRow> source, target;
  [[nodiscard]] std::string describe() const;
};
// Settled: waits for whoever is changing one.
FenceRows read_rows(TwoServers& servers);
// Whoever else works on this migration, stalled or on another host, is displaced: it changes no row from here on.
void displace(TwoServers& servers, const FenceRows& rows);

// Error(precondition) while somebody reads one of the migration's slots, or where another migration of the same name
// has its fence on one of the servers.
void refuse_company(TwoServers& servers);

// What is lost on the way, or not to be had now, is no reason to stop half way: the error says to run `command` again.
void repeatable(const char* command, const std::function<void()>& act);

// Error(precondition) where tables are held longer than the configuration's attempts allow.
void guards_down(TwoServers& servers, const Tell& tell);

// Tries until it is done, as often as cutover: attempts allows; `attempt` gives what is left to do. Error(precondition)
// with who holds them.
void patiently(TwoServers& servers, Side side, const std::string& doing,
               const std::function<std::vector<std::string>()>& attempt);

// Slots, publications and the stream's rows of both directions, as far as they are there; a line each.
std::vector<std::string> things_of_streams(TwoServers& servers);
void remove_streams(TwoServers& servers, const Tell& tell);
// The rows of both sides, the source's last.
void remove_rows(TwoServers& servers, const Tell& tell);

// ------------------------------------------------------------------------------------- the old side's tables

// A mapped table of the source, by what is on the source: it has a guard or walign_closed of this migration, or it is
// named in the configuration and published. (By the name alone it could be another one: in one database, the target
// under the old name.)
struct OldTable {
  TableName table;
  bool partitioned = false;
  bool guarded = false;
  bool closed = false;    // has walign_closed of this migration
  bool archived = false;  // and the name and comment of an archive
  std::string moved_to;   // db.example:5432/app, table public.users_async
};
std::vector<OldTable> old_tables(TwoServers& servers);

// Of these tables, or of others, walign_closed says that this migration was finished: also where nothing else is left
// of it, the state directory included.
bool finished_on(pg::Connection& source, const std::string& fence);

struct ArchiveDates {
  std::string compact;  // 20261120
  std::string today;    // 2026-11-20
  std::string until;    // empty: not said
};
ArchiveDates archive_dates(pg::Connection& source, std::optional<int> keep_days);
// NAME_archived_20261120, cut at a character's beginning where that is longer than names may be, numbered where a table
// or type of the schema, or one of `taken`, has it already.
std::string archive_name(pg::Connection& source, const TableName& table, const ArchiveDates& dates,
                         const std::set<TableName>& taken);
// Renamed and commented in one transaction. False where somebody holds the table.
bool archive(TwoServers& servers, const OldTable& table, const std::string& name, const ArchiveDates& dates);

}  // namespace walign::cutover
