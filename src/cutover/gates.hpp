// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The gates: what must hold before writes are stopped, each with its figure and its limit. Measuring is apart from
// judging, which is pure.
//
// A figure that is not known does not let anything through. What a role may not see (other roles' sessions, without
// pg_read_all_stats) is said, and does not close a gate: the fence's own lock_timeout answers for it.
#pragma once

#include "fence.hpp"

namespace walign::cutover {

struct Session {
  int pid = 0;
  std::string query;   // as pg_stat_activity shows it to us
  double seconds = 0;  // since its transaction began
};
// Somebody who holds a mapped table in a mode that the fence has to wait for, other than by writing.
struct LockHolder {
  int pid = 0;
  std::string table;
  std::string mode;  // ShareUpdateExclusiveLock: VACUUM, ANALYZE, CREATE INDEX CONCURRENTLY
  std::string query;
  bool gives_way = false;  // an autovacuum that is not there to prevent wraparound
};
struct Standby {
  std::string name;
  std::string state;  // streaming, catchup, ...
  std::int64_t behind_bytes = 0;
};

// Of one server.
struct ServerFigures {
  std::vector<std::string> prepared;  // gid, of prepared transactions in this database
  std::vector<Session> transactions;  // of others in this database, oldest first
  int hidden_sessions = 0;            // whose age we may not see
  std::vector<LockHolder> holders;
  std::vector<Standby> standbys;
  int hidden_standbys = 0;
};
ServerFigures measure(pg::Connection& server, const std::vector<TableName>& tables);

// What the stream and the verification know; nothing where they do not.
struct Figures {
  std::optional<std::int64_t> lag_bytes;
  std::optional<double> lag_seconds;
  std::optional<std::int64_t> differences;
  std::optional<std::int64_t> dead_letters;
  std::optional<bool> books_balance;
  std::optional<Millis> stable_for;  // since the last error, retry or pause
  // What the last proof took while writes went on, and how long writes may wait: behind the fence it comes once more.
  std::optional<double> proof_ms;
  Millis max_pause{5'000};
  std::vector<std::string> compared_whole;  // tables without a key, whatever has changed in them
  ServerFigures giver;
  ServerFigures taker;
};

struct Gate {
  std::string name;
  std::string value;
  std::string limit;
  bool ok = false;
  bool operator==(const Gate&) const = default;
};
// `autovacuum_gives_way`: Limits::break_deadlocks.
std::vector<Gate> judge(const config::Gates& limits, const Figures& figures, bool autovacuum_gives_way);
bool all_hold(const std::vector<Gate>& gates);

struct Blocker {
  int pid = 0;
  std::string query;
  bool operator==(const Blocker&) const = default;
};
// Who keeps the gates shut.
std::vector<Blocker> blockers(const config::Gates& limits, const Figures& figures, bool autovacuum_gives_way);

}  // namespace walign::cutover
