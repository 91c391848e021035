// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a server is set to, and checks of it.
#pragma once

#include "servers.hpp"

namespace walign::stream {

// Values that the catalogs do not have.
struct Settings {
  std::string wal_level;
  std::int64_t max_slots = 0, used_slots = 0;
  std::int64_t max_senders = 0, used_senders = 0;
  std::int64_t max_slot_wal_keep_mb = -1;
  std::int64_t prepared_transactions = 0;
  std::int64_t oldest_transaction_s = 0;
  std::int64_t unseen_transactions = 0;  // writing, of other roles, for how long is hidden
  bool can_create = false;
  bool can_make_temporary = false;
};

Settings read_settings(pg::Connection& connection);

// Whether this role may keep triggers and foreign keys from firing for its session.
bool may_set_replica_role(pg::Connection& connection);

class Checks {
 public:
  explicit Checks(mapping::Findings& findings) : findings_(findings) {}
  // ok with `good`, or `level` with `bad` and a remedy.
  void that(bool holds, const std::string& subject, const std::string& good, mapping::Finding::Level level,
            const std::string& bad, const std::string& remedy) {
    if (holds) {
      findings_.push_back({mapping::Finding::Level::ok, subject, good, ""});
    } else {
      findings_.push_back({level, subject, bad, remedy});
    }
  }

 private:
  mapping::Findings& findings_;
};

}  // namespace walign::stream
