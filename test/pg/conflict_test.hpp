// What tests of dead letters share.
#pragma once

#include "support/migration.hpp"

namespace walign::test {

// The dead letters as lines "operation key state chain", in order; chains numbered from the first that is seen.
inline std::vector<std::string> letters(Migration& m) {
  std::vector<std::string> out;
  std::map<std::string, int> chains;
  for (const auto& row : m.target.rows("SELECT operation, key, sqlstate, coalesce(chain, id)::text FROM "
                                       "walign.dead_letter ORDER BY id")) {
    const int chain = chains.try_emplace(*row[3], static_cast<int>(chains.size()) + 1).first->second;
    out.push_back(*row[0] + " " + *row[1] + (row[2]->empty() ? "" : " " + *row[2]) + " chain " +
                  std::to_string(chain));
  }
  return out;
}

inline std::int64_t first_letter(Migration& m) {
  return m.target.scalar<std::int64_t>("SELECT min(id) FROM walign.dead_letter");
}

inline constexpr const char* kDeadLetter = "apply: { on_conflict: dead_letter }\n";

// One table, whose target takes values of five characters; what it refuses is set aside.
struct NarrowTarget {
  NarrowTarget() {
    m.source.exec("CREATE TABLE t (id int PRIMARY KEY, v text)");
    m.target.exec("CREATE TABLE t (id int PRIMARY KEY, v varchar(5))");
    m.tables = "  - public.t\n";
    m.more = kDeadLetter;
  }
  Migration m;
};

}  // namespace walign::test
