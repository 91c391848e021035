// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Triggers down. DROP TRIGGER takes ACCESS EXCLUSIVE: it waits for every reader, and all who come later wait behind it.
// So each table is a transaction of its own with a short lock_timeout, to be tried again when it did not come through.
#include "fence_transaction.hpp"

namespace walign::cutover {

namespace {

// Not the clones on partitions, which go with their root's. Both sides may be in this database, under the same names:
// which one a trigger is of stands in its arguments (migration, side, ...), each of which ends with a zero byte.
constexpr const char* kUp =
    "SELECT t.tgrelid::pg_catalog.regclass::text, t.tgname FROM pg_catalog.pg_trigger t "
    "WHERE t.tgparentid = 0 AND t.tgname IN ($1, $2) AND t.tgfoid = "
    "pg_catalog.to_regprocedure('walign.guard()') AND ($3 = '' OR $3 = "
    "(pg_catalog.string_to_array(pg_catalog.encode(t.tgargs, 'escape'), E'\\\\000'))[2]) "
    "ORDER BY 1, 2";

struct Up {
  std::string relation;  // quoted and qualified
  std::vector<std::string> triggers;
};

// `side`: empty for both.
std::vector<Up> guards_up(pg::Connection& server, const std::string& migration, std::string_view side) {
  const auto r = server.query(kUp, {cat(migration, "_row"), cat(migration, "_statement"), std::string(side)});
  std::vector<Up> up;
  for (int i = 0; i < r.rows(); ++i) {
    if (up.empty() || up.back().relation != r.text(i, 0)) up.push_back({r.str(i, 0), {}});
    up.back().triggers.push_back(r.str(i, 1));
  }
  return up;
}

// False where somebody holds the table.
bool drop_triggers(pg::Connection& server, const Up& up, const std::string& check, Millis patience) {
  std::string drops;
  for (const auto& trigger : up.triggers) {
    drops += cat("DROP TRIGGER IF EXISTS ", pg::quote_ident(trigger), " ON ", up.relation, "; ");
  }
  try {
    FenceTransaction transaction(server, {patience, Millis(0), false}, check + drops);
    transaction.commit(cat("taking the triggers of ", up.relation, " down"));
    return true;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::transient) return false;
    if (error.sqlstate() == "42P01") return true;  // the table went, and its triggers with it
    throw;
  }
}

std::vector<std::string> take_down(pg::Connection& server, const std::string& migration,
                                   std::string_view side, const std::string& check, Millis patience) {
  std::vector<std::string> left;
  for (const auto& up : guards_up(server, migration, side)) {
    if (!drop_triggers(server, up, check, patience)) left.push_back(up.relation);
  }
  return left;
}

}  // namespace

std::vector<std::string> take_guards_down(pg::Connection& server, const FenceId& id, std::uint64_t epoch,
                                          Millis patience) {
  const std::string check = cat("SELECT walign.expect_fence(", pg::quote_literal(id.migration), ", ",
                                pg::quote_literal(side_name(id.side)), ", ", epoch, ", 'OPEN', NULL); ");
  return take_down(server, id.migration, side_name(id.side), check, patience);
}

std::vector<std::string> take_all_guards_down(pg::Connection& server, const std::string& migration,
                                              Millis patience) {
  return take_down(server, migration, "", "", patience);
}

}  // namespace walign::cutover
