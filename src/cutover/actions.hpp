// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a change of sides does beside the rows: privileges tried beforehand, catalogs compared, flushes awaited.
#pragma once

#include <map>

#include "gates.hpp"
#include "walign/mapping.hpp"

namespace walign::cutover {

// Every privilege that a later step needs on this side, as findings with remedies. Ownership is read off the catalogs
// and tried: triggers are made in a transaction that is rolled back, table by table, where the table can be had within
// `patience`. Works without schema walign; leaves nothing.
mapping::Findings try_privileges(pg::Connection& server, const FenceId& id,
                                 const std::vector<TableName>& tables, Millis patience);

// One text per table, which changes when its columns, constraints, indexes, partitions, replica identity or row
// security do, or when it is another table of the same name. Triggers are not part of it.
std::map<TableName, std::string> fingerprints(pg::Connection& server, const std::vector<TableName>& tables);
// Tables whose fingerprints differ, and those that only one has.
std::vector<TableName> changed_tables(const std::map<TableName, std::string>& before,
                                      const std::map<TableName, std::string>& now);

struct Flushed {
  bool done = false;
  std::vector<Standby> behind;  // if not done
  int hidden_standbys = 0;      // nothing is known of them
  double ms = 0;
};
// Until this server and its connected standbys have flushed everything below `lsn`. Standbys that go away meanwhile
// are not waited for.
Flushed wait_until_flushed(pg::Connection& server, Lsn lsn, Millis timeout, const Interrupt* interrupt);

}  // namespace walign::cutover
