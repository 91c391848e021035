// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Which tables a configuration means: wildcards expanded, names looked up, pairs checked.
#pragma once

#include "walign/mapping.hpp"

namespace walign::mapping {

struct TablePair {
  const config::TableRule* rule;
  const pg::Table* source;
  const pg::Table* target;
};

// The pairs in the order of the rules; what is not found becomes a finding.
std::vector<TablePair> pair_tables(const config::Config& config, const pg::Catalog& source,
                                   const pg::Catalog& target, Findings& findings);

// What hinders a table on either side, whatever its columns.
void check_tables(const TablePair& pair, Findings& findings);

Finding fail(std::string subject, std::string what, std::string remedy);
Finding warn(std::string subject, std::string what, std::string remedy);

}  // namespace walign::mapping
