// The awkward tables (test/data/sql/awkward.sql): how to map them, load them, and compare them.
#pragma once

#include "support/compare.hpp"
#include "support/server.hpp"

namespace walign::test {

// Rules for walign.yaml: every table of awkward.sql by the same name.
inline std::string awkward_rules() {
  std::string rules;
  for (const char* table : {"ledger", "many_keys", "wide", "toasted_key", "every_type", "every_array",
                            "generated_columns", "identity_always", "identity_default", "parted",
                            "full_identity", "two_uniques", "truncated", "truncated_child"}) {
    rules += std::string("  - awkward.") + table + "\n";
  }
  rules += "  - { from: awkward.index_identity, to: awkward.index_identity, key: [code] }\n";
  rules += "  - '\"Größe & Co\".*'\n";
  return rules;
}

// Every table that exists in both, all columns; what differs, for a message. Empty if nothing does.
inline std::string compare_awkward(Sql& source, Sql& target) {
  std::string differences;
  for (const auto& row :
       source.rows("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN "
                   "('awkward', 'Größe & Co') ORDER BY 1")) {
    const auto result = compare_same(source, target, *row[0]);
    if (!result.equal()) differences += *row[0] + ": " + result.report() + "\n";
  }
  return differences;
}

// pgbench calling awkward.step() with some clients, at most `rate` a second (0: as fast as it can).
inline Process awkward_load(const Server& server, const std::string& database, int seconds, int clients,
                            int rate, bool verbose_errors = false) {
  std::vector<std::string> args = {Server::program("pgbench"),
                                   "-n",
                                   "-f",
                                   WALIGN_TEST_DATA "/sql/awkward.pgbench",
                                   "-c",
                                   std::to_string(clients),
                                   "-j",
                                   "1",
                                   "-T",
                                   std::to_string(seconds)};
  if (rate > 0) args.insert(args.end(), {"-R", std::to_string(rate)});
  if (verbose_errors) args.emplace_back("--verbose-errors");
  args.insert(args.end(), {"--max-tries", "10", server.conninfo(database)});
  return Process(args);
}

}  // namespace walign::test
