// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The two sides compared, each in a transaction that somebody else has opened at the right moment.
#pragma once

#include "plan.hpp"

namespace walign::verify {

struct Found {
  std::int64_t rows = 0;  // of the source
  std::int64_t differences = 0;
  std::vector<v1::Difference> kept;

  // Keeps it if there is room.
  void add(v1::Difference difference) {
    if (kept.size() < static_cast<std::size_t>(kMostKept)) kept.push_back(std::move(difference));
  }
};

class Comparer {
 public:
  Comparer(const Plan& plan, pg::Connection& source, pg::Connection& target)
      : plan_(plan), source_(source), target_(target) {}

  // Temporary tables on the target; not inside the transaction, whose snapshot they would make.
  void prepare();
  // A pass over all rows begins: nothing is claimed yet.
  void begin_pass();
  void range(const Range& range, Found& found);
  void keys(const std::vector<Key>& keys, Found& found);
  // At the end of a pass: rows of the target that no range claimed; `changed`: source keys that have changed since the
  // pass began, of which nothing can be said. Does nothing where ranges find them by themselves.
  void extras(const std::vector<Key>& changed, Found& found);
  [[nodiscard]] bool extras_at_the_end() const { return plan_.way == Way::mapped && plan_.tells_extras; }

 private:
  struct Row {
    std::vector<std::optional<std::string>> values;
  };
  using Rows = std::map<Key, Row>;
  void by_hashes(const std::string& on_source, const std::string& on_target, Found& found);
  std::map<Key, std::string> hashes(Side side, const std::string& condition);
  Rows rows(Side side, const std::vector<Key>& keys);
  void look_at(const std::vector<Key>& differing, Found& found);
  void bring(const std::string& condition);
  void ask(const std::vector<Key>& keys);
  void joined(Found& found);
  void take_extras(const pg::Result& r, Found& found);
  void content(Found& found);

  const Plan& plan_;
  pg::Connection& source_;
  pg::Connection& target_;
};

// Foreign keys of and to the target's table, and checks that are NOT VALID: apply runs with foreign keys off. A note
// for each that does not hold; the number of rows that break one. On a connection that is in no transaction.
std::int64_t check_constraints(pg::Connection& target, const mapping::Route& route,
                               std::vector<std::string>& notes);

}  // namespace walign::verify
