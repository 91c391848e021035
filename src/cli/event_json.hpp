// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Events as JSON lines, for programs that have no protobuf. A line for each of
//
//   {"op":"begin","xid":800,"commit_lsn":"0/15C95E0","commit_time":"2026-01-31T12:00:00.123456Z"}
//   {"op":"relation","table":"public.t","oid":16384,"identity":"default","columns":[{"name":"id","type":
//    "pg_catalog.int4","key":true},...]}                     before the first change of a table, and when it differs
//   {"op":"insert","table":"public.t","new":{"id":"1","v":null}}
//   {"op":"update","table":"public.t","key":{"id":"1"},"new":{...},"unchanged":["big"]}     or "old": the whole row
//   {"op":"delete","table":"public.t","key":{"id":"1"}}
//   {"op":"truncate","tables":["public.t"],"cascade":false,"restart_identity":false}
//   {"op":"message","prefix":"p","content":"..."}
//   {"op":"commit","end_lsn":"0/15C9758"}
//
// Values are PostgreSQL's text output, as strings. What is not UTF-8 (binary values, databases of encoding SQL_ASCII)
// is an object {"hex":"00ff"}. What an update leaves alone (TOAST) is named, not shown.
#pragma once

#include "walign/source.hpp"

namespace walign::cli {

// Whether everything that commits below `until` has come before this item; never where it is no position. A transaction
// that has begun ends.
bool is_past(const source::Item& item, Lsn until);

class EventLines {
 public:
  // The lines of one part, each with its newline. The part is self-contained, or has its relations beside it.
  std::string lines(const event::TransactionPart& part);

 private:
  std::map<std::string, std::string> described_;  // by table: the line last written
};

}  // namespace walign::cli
